"""A trace's rows as a tree: order, parents, content from log records, and which spans fold into one step.

Nothing here needs a root: spans whose parent never came stand at the top, and a hostile circle of parents is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from tracekit_collector import messages
from tracekit_collector._log_content import add_log_content
from tracekit_collector.anyvalue import loaded, python_of

Row = Mapping[str, object]


class Node:
    """A span in its tree: its row, with what log records add to it.

    What is asked for many times is read from the row once, when the node is made.

    Args:
        row: The row; replaced, never changed, by what other spans tell of it.
    """

    __slots__ = (
        "_answered",
        "_given",
        "children",
        "depth",
        "end",
        "failed",
        "parent",
        "parent_id",
        "row",
        "span_id",
        "start",
        "step",
    )

    def __init__(self, row: Row) -> None:
        get = row.get
        self.row: Mapping[str, Any] = row
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.depth = 0
        self.span_id = str(row["span_id"])
        self.parent_id: Any = get("parent_span_id")
        self.step: str = cast("str", get("step")) or "span"
        self.start: int = cast("int", get("start_ns")) or 0
        self.end: int = self.start + (cast("int", get("duration_ns")) or 0)
        """In nanoseconds; the start where the end is not known."""
        status = get("status")
        self.failed = status == "error" or (status != "ok" and get("error_type") is not None)
        """Whether the span says that it failed."""
        self._given: list[messages.Message] | None = None
        self._answered: list[messages.Message] | None = None

    @property
    def is_noise(self) -> bool:
        """Whether the span tells of the writer's own insides: Codex exports every span of its program."""
        return self.step == "span" and self.row.get("dialect") == "codex"

    @property
    def given(self) -> list[messages.Message]:
        """The input messages."""
        if self._given is None:
            self._given = _messages(self.row.get("input_messages"))
        return self._given

    @property
    def answered(self) -> list[messages.Message]:
        """The output messages."""
        if self._answered is None:
            self._answered = _messages(self.row.get("output_messages"))
        return self._answered

    def ancestors(self) -> Iterator[Node]:
        """Parent, grandparent and so on."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def grow(spans: Sequence[Row], logs: Sequence[Row]) -> list[Node]:
    """The trace's spans as nodes, depth first, siblings by time; roots first begun first.

    Args:
        spans: Rows of `spans` of one trace, in any order; of rows with one span id the last counts.
        logs: Rows of `logs` of that trace.
    """
    rows: dict[str, Row] = {str(row["span_id"]): row for row in spans}
    if logs:
        filled = {span_id: dict(row) for span_id, row in rows.items()}
        add_log_content(filled, logs)
        rows = {**filled}
    nodes = {span_id: Node(row) for span_id, row in rows.items()}
    ordered = sorted(nodes.values(), key=lambda node: (node.start, -node.end, node.span_id))
    tops: list[Node] = []
    for node in ordered:
        parent = nodes.get(str(node.parent_id))
        if parent is None or parent is node:
            tops.append(node)
        else:
            node.parent = parent
            parent.children.append(node)
    return _walked(tops, ordered)


def root_of(nodes: Sequence[Node]) -> Node:
    """The span that speaks for the trace: of those without a parent the first; without one, the first to begin."""
    whole = [node for node in nodes if not node.parent_id] or nodes
    return min(whole, key=lambda node: (node.start, -node.end, node.span_id))


def _walked(tops: list[Node], ordered: list[Node]) -> list[Node]:
    found: list[Node] = []
    seen: set[str] = set()
    waiting = [*reversed(tops)]
    left = iter(ordered)
    while True:
        while waiting:
            node = waiting.pop()
            if node.span_id in seen:
                continue
            seen.add(node.span_id)
            found.append(node)
            node.depth = 0 if node.parent is None else node.parent.depth + 1
            waiting.extend(child for child in reversed(node.children) if child.span_id not in seen)
        cut = next((node for node in left if node.span_id not in seen), None)
        if cut is None:
            return found
        if cut.parent is not None:  # only a circle of parents leaves spans unseen
            cut.parent.children.remove(cut)
            cut.parent = None
        waiting.append(cut)


def _messages(text: object) -> list[messages.Message]:
    if not isinstance(text, str):
        return []
    found = messages.decoded(text)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def exceptions_of(row: Row) -> list[dict[str, object]]:
    """The attributes of a span's exception events, in order."""
    text = row.get("events")
    if not isinstance(text, str) or '"exception"' not in text:
        return []
    return [
        {key: python_of(value) for key, value in entry.get("attributes", {}).items()}
        for entry in loaded(text)
        if entry.get("name") == "exception"
    ]
