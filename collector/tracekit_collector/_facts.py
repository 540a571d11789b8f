"""The facts of a whole trace that its spans and calls tell together: what went in and out, who, how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tracekit_collector import messages
from tracekit_collector._calls import Call
from tracekit_collector._tree import Node
from tracekit_collector.prices import is_told

_ONCE = frozenset({"retriever", "embedding", "reranker", "agent"})  # nested in its like, such a step is the same step
_PAID = frozenset({"embedding", "reranker", "retriever", "tool", "guardrail", "evaluator"})
_CALLS_OF_TOOLS = '[{"name":'  # an output that only asks for tools is no last word
_MAKES_UP_SESSIONS = frozenset({"pydantic_ai", "pydantic-ai"})
_SPEAKS = frozenset({"agent", "chain", "task", "span", "llm"})


class Finder:
    """The first value of a column: the root's, else that of the span that begins first."""

    def __init__(self, root: Node, nodes: Sequence[Node]) -> None:
        self._nodes = [root, *sorted(nodes, key=lambda node: node.start)]

    def __call__(self, name: str) -> Any:
        return next((value for node in self._nodes if (value := node.row.get(name)) is not None), None)

    def session(self) -> Any:
        """The session: as any other column, but an id that pydantic-ai made up loses to one that somebody set."""
        named = [node for node in self._nodes if node.row.get("session_id") is not None]
        told = next((node for node in named if node.row.get("dialect") not in _MAKES_UP_SESSIONS), None)
        return (told or named[0]).row["session_id"] if named else None


def agent_of(root: Node, nodes: Sequence[Node]) -> Node:
    """The span that says which agent this is: a parentless one, else the first agent step, else the first at all."""
    named = [node for node in nodes if node.row.get("agent_name") is not None]
    return min(named, key=_names_agent, default=root)


def _names_agent(node: Node) -> tuple[int, int]:
    return (0 if not node.parent_id else 1 if node.step == "agent" else 2, node.start)


def duration_of(root: Node, nodes: Sequence[Node]) -> int | None:
    """How long the trace took, in nanoseconds: the root's own time, else from first start to last end."""
    own = root.row.get("duration_ns")
    if own is not None and not root.parent_id:
        return int(own)
    known = [node for node in nodes if node.row.get("duration_ns") is not None]
    return max(node.end for node in known) - min(node.start for node in nodes) if known else None


def input_of(root: Node, nodes: Sequence[Node], calls: Sequence[Call]) -> str | None:
    """What the trace was asked: the root's input, else the question of its first model call."""
    if root.row.get("input") is not None:
        return str(root.row["input"])
    for call in calls:
        question = messages.question_of(call.given)
        if question is not None:
            return question
    return _first_words(nodes, "input")


def output_of(root: Node, nodes: Sequence[Node], calls: Sequence[Call]) -> str | None:
    """What the trace answered: the root's output, else the text of the last model call that gave one."""
    if root.row.get("output") is not None:
        return str(root.row["output"])
    for call in reversed([call for call in calls if not call.failed]):
        texts = [text for message in call.answered if (text := messages.text_of(message))]
        if texts:
            return "\n".join(texts)
        said = None if call.answered else call.value("output")
        if said is not None and not said.startswith(_CALLS_OF_TOOLS):
            return str(said)
    return _first_words([node for node in nodes if not calls or node.step != "llm"], "output")


def _first_words(nodes: Sequence[Node], name: str) -> str | None:
    speaking = [node for node in nodes if node.step in _SPEAKS and node.row.get(name) is not None]
    speaking.sort(key=lambda node: node.depth)
    return str(speaking[0].row[name]) if speaking else None


def system_of(nodes: Sequence[Node], calls: Sequence[Call]) -> str | None:
    """The text of the system instructions that the model was given."""
    candidates = [*(node for call in calls for node in call.all()), *nodes]
    for node in candidates:
        found = messages.instructions_text(node.row.get("system_instructions"))
        found = found or (messages.system_of(node.given) if node.row.get("input_messages") else None)
        if found:
            return found
    return None


def usage_of(name: str, nodes: Sequence[Node], calls: Sequence[Call]) -> int | None:
    """The sum over the calls; where no call was counted, the largest sum that a step above them gives."""
    counted = [count for call in calls if (count := call.largest(name)) is not None]
    if counted:
        return int(sum(counted))
    above = [node.row.get(name) for node in nodes if node.step not in ("llm", "embedding", "reranker")]
    largest: int | None = max((count for count in above if isinstance(count, int)), default=None)
    return largest


def cost_of(nodes: Sequence[Node], calls: Sequence[Call]) -> float | None:
    """What the calls cost, and steps that are paid for by themselves; else the largest sum that a step gives.

    A sum that a step gives wins over parts that all come from a price list.
    """
    paid = [call.cost for call in calls]
    paid += [(node.row.get("cost_usd"), is_told(node.row)) for node in nodes if node.step in _PAID]
    known = [(cost, told) for cost, told in paid if cost is not None]
    if not any(told for _, told in known):
        sums = [
            cost
            for node in nodes
            if node.step not in ("llm", *_PAID) and (cost := node.row.get("cost_usd")) is not None and is_told(node.row)
        ]
        if sums:
            return float(max(sums))
    if known:
        return float(sum(cost for cost, _ in known))
    sums = [cost for node in nodes if node.step != "llm" and (cost := node.row.get("cost_usd")) is not None]
    return max(sums, default=None)


def steps_of(nodes: Sequence[Node], calls: Sequence[Call], tools: Sequence[Call]) -> dict[str, int]:
    """How many real steps of each kind, each once."""
    counts = Counter(
        node.step
        for node in nodes
        if node.step not in ("llm", "tool") and not node.is_noise and not repeats_parent(node) and not _is_begun(node)
    )
    counts["llm"], counts["tool"] = len(calls), len(tools)
    return {step: count for step, count in sorted(counts.items()) if count}


def repeats_parent(node: Node) -> bool:
    """Whether a span describes the same step as its parent."""
    parent = node.parent
    if parent is None or node.step not in _ONCE or parent.step != node.step:
        return False
    return node.step != "agent" or parent.row.get("agent_name") == node.row.get("agent_name")


def _is_begun(node: Node) -> bool:
    """Whether a span of an embedding says nothing, and the one beside it tells all."""
    if node.step != "embedding" or node.parent is None or _counts(node) or node.failed:
        return False
    return any(other.step == "embedding" and _counts(other) for other in node.parent.children)


def _counts(node: Node) -> bool:
    return node.row.get("input_tokens") is not None or node.row.get("output") is not None


def conversation_of(calls: Sequence[Call]) -> list[messages.Message]:
    """The messages of the last model call that was given any, with its answer."""
    for call in reversed(calls):
        given, answered = call.given, call.answered
        if not given:
            continue
        system = messages.instructions_text(call.value("system_instructions"))
        opening: list[messages.Message] = []
        if system and messages.system_of(given) is None:
            opening = [{"role": "system", "parts": [messages.text_part(system)]}]
        return [_decoded_arguments(message) for message in (*opening, *given, *answered)]
    return []


def _decoded_arguments(message: messages.Message) -> messages.Message:
    parts = message.get("parts")
    if not isinstance(parts, list) or not messages.parts_of(message, "tool_call"):
        return message
    whole = [
        {**part, "arguments": messages.decoded(part.get("arguments"))}
        if isinstance(part, dict) and part.get("type") == "tool_call"
        else part
        for part in parts
    ]
    return {**message, "parts": whole}
