"""Model calls and tool calls of a trace, each real one once, although several spans may describe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracekit_collector import messages
from tracekit_collector._tree import Node

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_PARTS_STEPS = frozenset({"tool", "agent"})  # between two model calls these make two of them
_CLOSE_NS = 2_000_000  # two instrumentations of one call begin and end within this of each other


@dataclass
class Call:
    """One real call: the span that says most, and the others that describe it too."""

    node: Node
    others: list[Node] = field(default_factory=list)

    def all(self) -> list[Node]:
        """Every span that describes the call."""
        return [self.node, *self.others]

    def value(self, name: str) -> Any:
        """A column of the call: of the span that says most, else of another."""
        return next((value for node in self.all() if (value := node.row.get(name)) is not None), None)

    def largest(self, name: str) -> Any:
        """The largest number that any of the spans gives; the smaller ones are partial."""
        return max((value for node in self.all() if (value := node.row.get(name)) is not None), default=None)

    @property
    def failed(self) -> bool:
        """Whether the call failed: what the outermost of its spans says, which saw any retry inside."""
        return min(self.all(), key=lambda node: (node.start, -node.end)).failed

    @property
    def order(self) -> tuple[int, int, str]:
        """Calls sort by this."""
        return (self.node.start, self.node.end, self.node.span_id)


@dataclass
class Requested:
    """A tool call that a model's answer asks for, with the result that a later call was given."""

    id: Any
    name: str
    arguments: Any
    result: Any
    answered: bool
    model_call: Call


def model_calls(nodes: Sequence[Node]) -> list[Call]:
    """The model calls of a trace, in order.

    Spans describe one call when they carry one response id; when one lies inside the other and no tool or agent
    between; or when two instrumentations wrote siblings of one model, usage and time. A span of step `llm` that
    carries no answer, usage and error, beside or above one that does, is none.
    """
    spans = [node for node in nodes if node.step == "llm"]
    above = {node.parent.span_id for node in spans if node.parent is not None and not _is_bare(node)}
    spans = [
        node
        for node in spans
        if not _is_bare(node)
        or (node.span_id not in above and (node.parent is None or node.parent.span_id not in above))
    ]
    leader: dict[int, Node] = {id(node): node for node in spans}

    def lead(node: Node) -> Node:
        while leader[id(node)] is not node:
            node = leader[id(node)]
        return node

    by_response: dict[str, Node] = {}
    for node in spans:
        outer = _enclosing(node, leader)
        if outer is not None:
            leader[id(lead(node))] = lead(outer)
        response = node.row.get("response_id")
        if response is not None:
            leader[id(lead(node))] = lead(by_response.setdefault(response, node))
    for node, twin in _twins(spans):
        leader[id(lead(node))] = lead(twin)
    groups: dict[int, list[Node]] = {}
    for node in spans:
        groups.setdefault(id(lead(node)), []).append(node)
    return sorted((_call(group) for group in groups.values()), key=lambda call: call.order)


def tool_spans(nodes: Sequence[Node]) -> list[Call]:
    """The tool calls that spans describe, in order; a span inside another of the same tool is the same call."""
    found: dict[int, Call] = {}
    for node in nodes:
        if node.step != "tool":
            continue
        outer = next((above for above in node.ancestors() if above.step in ("tool", "agent", "llm")), None)
        call = found.get(id(outer)) if outer is not None else None
        if call is not None and _same_tool(node, call.node):
            call.others.append(node)
            found[id(node)] = call
        else:
            found[id(node)] = Call(node)
    calls = {id(call): call for call in found.values()}
    return sorted(calls.values(), key=lambda call: call.order)


def requested(calls: Sequence[Call]) -> list[Requested]:
    """The tool calls that models asked for in a trace, in order.

    What stands in the first call's input was asked for before this trace. A later input may show a request whose
    answer was not recorded.
    """
    found: list[Requested] = []
    seen: set[object] = set()
    if calls:
        seen.update(part.get("id") for part in _call_parts(_given(calls[0])))
    for place, call in enumerate(calls):
        if place:
            for part in _call_parts(_given(call)):
                if part.get("id") is not None and part["id"] not in seen:
                    seen.add(part["id"])
                    found.append(_request(part, calls, place - 1))
        for part in _call_parts(_answered(call)):
            seen.add(part.get("id"))
            found.append(_request(part, calls, place))
    return found


def _request(part: dict[str, Any], calls: Sequence[Call], place: int) -> Requested:
    call_id = part.get("id")
    answered, result = False, None
    if call_id is not None:
        for later in calls[place + 1 :]:
            responses = [
                response
                for message in _given(later)
                for response in messages.parts_of(message, "tool_call_response")
                if response.get("id") == call_id
            ]
            if responses:
                answered, result = True, responses[-1].get("response", responses[-1].get("result"))
                break
    arguments = messages.decoded(part.get("arguments"))
    return Requested(call_id, str(part.get("name") or ""), arguments, result, answered, calls[place])


def _given(call: Call) -> list[messages.Message]:
    return next((node.given for node in call.all() if node.given), [])


def _answered(call: Call) -> list[messages.Message]:
    return next((node.answered for node in call.all() if node.answered), [])


def _call_parts(found: Sequence[messages.Message]) -> Iterator[dict[str, Any]]:
    for message in found:
        yield from messages.parts_of(message, "tool_call")


def _is_bare(node: Node) -> bool:
    row = node.row
    says = ("output_messages", "output", "input_tokens", "output_tokens")
    return not node.failed and all(row.get(name) is None for name in says)


def _enclosing(node: Node, calls: dict[int, Node]) -> Node | None:
    for above in node.ancestors():
        if above.step in _PARTS_STEPS:
            return None
        if id(above) in calls:
            return above
    return None


def _twins(spans: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Siblings that two instrumentations wrote of one call: one model, usage and time, and no id to tell by."""
    alike: dict[tuple[object, ...], list[Node]] = {}
    for node in spans:
        if node.row.get("input_tokens") is not None:
            parent = node.row.get("parent_span_id")
            key = (parent, node.row["input_tokens"], node.row.get("output_tokens"))
            alike.setdefault(key, []).append(node)
    for group in alike.values():
        for node in group:
            if node.row.get("response_id") is None:
                twin = next((other for other in group if _is_twin(node, other)), None)
                if twin is not None:
                    yield node, twin


def _is_twin(node: Node, other: Node) -> bool:
    return (
        other.row.get("scope") != node.row.get("scope")
        and bool(_models(other) & _models(node))
        and (_covers(other, node) or _covers(node, other))
    )


def _models(node: Node) -> set[str]:
    return {name for key in ("model", "model_requested") if (name := node.row.get(key))}


def _covers(outer: Node, inner: Node) -> bool:
    return outer.start - _CLOSE_NS <= inner.start and inner.end <= outer.end + _CLOSE_NS


def _call(group: list[Node]) -> Call:
    ranked = sorted(group, key=_says_less)
    return Call(ranked[0], ranked[1:])


def _says_less(node: Node) -> tuple[bool, bool, bool, int, int]:
    row = node.row
    silent = (row.get("output_messages") is None, row.get("input_messages") is None, row.get("input_tokens") is None)
    return (*silent, node.depth, node.start)


def _same_tool(node: Node, outer: Node) -> bool:
    ids = (node.row.get("tool_call_id"), outer.row.get("tool_call_id"))
    if None not in ids:
        return ids[0] == ids[1]
    return node.row.get("tool_name") == outer.row.get("tool_name")
