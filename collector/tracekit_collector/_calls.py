"""Model calls and tool calls of a trace, each real one once, although several spans may describe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracekit_collector import messages
from tracekit_collector._tree import Node
from tracekit_collector.prices import is_told

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_PARTS_STEPS = frozenset({"tool", "agent"})  # between two model calls these make two of them
_CLOSE_NS = 2_000_000  # two instrumentations of one call begin and end within this of each other


@dataclass
class Call:
    """One real call: the span that says most, the others that describe it too, and those that only began it.

    A writer that streams may end the span of the request at once and tell the answer in another, of no length.
    """

    node: Node
    others: list[Node] = field(default_factory=list)
    silent: list[Node] = field(default_factory=list)

    def all(self) -> list[Node]:
        """Every span that describes the call."""
        return [self.node, *self.others]

    def value(self, name: str) -> Any:
        """A column of the call: of the span that says most, else of another."""
        if not self.others and not self.silent:
            return self.node.row.get(name)
        told = (*self.all(), *self.silent) if self.silent else self.all()
        return next((value for node in told if (value := node.row.get(name)) is not None), None)

    def largest(self, name: str) -> Any:
        """The largest number that any of the spans gives; the smaller ones are partial."""
        if not self.others:
            return self.node.row.get(name)
        return max((value for node in self.all() if (value := node.row.get(name)) is not None), default=None)

    @property
    def cost(self) -> tuple[float | None, bool]:
        """What the call cost in US dollars, and whether a span said so: that wins over a price list."""
        costs = [(cost, is_told(node.row)) for node in self.all() if (cost := node.row.get("cost_usd")) is not None]
        told = [cost for cost, said in costs if said]
        return max(told or [cost for cost, _ in costs], default=None), bool(told)

    @property
    def failed(self) -> bool:
        """Whether the call failed: what the outermost of its spans says, which saw any retry inside."""
        if not self.others:
            return self.node.failed
        return min(self.all(), key=lambda node: (node.start, -node.end)).failed

    @property
    def given(self) -> list[messages.Message]:
        """The input messages."""
        if not self.others and not self.silent:
            return self.node.given
        return next((node.given for node in (*self.all(), *self.silent) if node.given), [])

    @property
    def answered(self) -> list[messages.Message]:
        """The output messages."""
        if not self.others:
            return self.node.answered
        return next((node.answered for node in self.all() if node.answered), [])

    @property
    def start(self) -> int:
        """When the call began, in nanoseconds."""
        return min(self.node.start, self.silent[0].start) if self.silent else self.node.start

    @property
    def duration_ns(self) -> int | None:
        """How long the call took."""
        own: int | None = self.node.row.get("duration_ns")
        if not self.silent:
            return own
        return max(self.node.end, *(node.end for node in self.silent)) - self.start

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
    spans, silent = _speaking([node for node in nodes if node.step == "llm"])
    spans = _without_wrappers(spans)
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
    calls = sorted((_call(group) for group in groups.values()), key=lambda call: call.order)
    for node in silent:
        _add_silent(node, calls)
    _add_answering(calls, nodes)
    return calls


def _add_answering(calls: Sequence[Call], nodes: Sequence[Node]) -> None:
    """The step that takes an answer may tell which model gave it, where the call's own span does not."""
    takers = [node for node in nodes if node.step == "chain" and node.row.get("model") and node.row.get("response_id")]
    takers.sort(key=lambda node: node.start)
    for place, call in enumerate(calls if takers else ()):
        if call.value("model") is None:
            taken = [node for node in takers if node.start >= call.node.end]
            if taken and (place + 1 == len(calls) or taken[0].start <= calls[place + 1].node.start):
                told = {name: taken[0].row[name] for name in ("model", "response_id")}
                call.node.row = {**call.node.row, **told}


def _speaking(spans: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The spans that are calls, and those that say nothing beside or above one that does."""
    bare = [node for node in spans if _is_bare(node)]
    if not bare or len(bare) == len(spans):
        return list(spans), []
    left_out = {id(node) for node in bare}
    above = {node.parent_id for node in spans if id(node) not in left_out} - {None}
    silent = [node for node in bare if node.span_id in above or node.parent_id in above]
    left_out = {id(node) for node in silent}
    return [node for node in spans if id(node) not in left_out], silent


def _without_wrappers(spans: list[Node]) -> list[Node]:
    """The spans less those that hold several calls, one after the other: their usage is a sum, or the last call's."""
    known = {id(node): node for node in spans}
    inside: dict[int, list[Node]] = {}
    for node in spans:
        outer = _enclosing(node, known)
        if outer is not None:
            inside.setdefault(id(outer), []).append(node)
    wrappers = {key for key, held in inside.items() if len(held) > 1 and _are_several(held)}
    return [node for node in spans if id(node) not in wrappers] if wrappers else spans


def _are_several(inner: Sequence[Node]) -> bool:
    answered = [node for node in inner if not node.failed and not _is_bare(node)]
    responses = {node.row.get("response_id") for node in answered} - {None}
    if responses:
        return len(responses) > 1
    ordered = sorted(answered, key=lambda node: node.start)
    counted = [node for node in ordered if node.row.get("input_tokens") is not None]
    return bool(counted) and counted[0].end <= counted[-1].start and len(counted) > 1


def _add_silent(node: Node, calls: Sequence[Call]) -> None:
    """Give a span that says nothing to the call beside or below it that began next."""
    parent = node.parent_id
    for call in calls:
        beside = call.node.parent_id
        if call.node.start >= node.start and beside in (parent, node.span_id) and beside is not None:
            if not call.node.row.get("duration_ns") and _models(call.node) & _models(node):
                call.silent.append(node)
            return


def tool_spans(nodes: Sequence[Node]) -> list[Call]:
    """The tool calls that spans describe, in order.

    A span inside another of the same tool is the same call: an MCP call is told by client, transport and server. So
    are two that different instrumentations wrote side by side with one call id.
    """
    found: dict[int, Call] = {}
    by_id: dict[object, Call] = {}
    for node in nodes:
        if node.step != "tool":
            continue
        outer = next((above for above in node.ancestors() if above.step in ("tool", "agent", "llm")), None)
        call = found.get(id(outer)) if outer is not None else None
        if call is not None and _same_tool(node, call.node):
            call.others.append(node)
            found[id(node)] = call
            continue
        call_id = node.row.get("tool_call_id")
        beside = by_id.get(call_id)
        if beside is not None and _is_beside(node, beside.node):
            beside.others.append(node)
            found[id(node)] = beside
        else:
            found[id(node)] = Call(node)
            if call_id is not None:
                by_id[call_id] = found[id(node)]
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
        seen.update(part.get("id") for part in _call_parts(calls[0].given))
    for place, call in enumerate(calls):
        if place:
            for part in _call_parts(call.given):
                if part.get("id") is not None and part["id"] not in seen:
                    seen.add(part["id"])
                    found.append(_request(part, calls, place - 1))
        for part in _call_parts(call.answered):
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
                for message in later.given
                for response in messages.parts_of(message, "tool_call_response")
                if response.get("id") == call_id
            ]
            if responses:
                answered, result = True, responses[-1].get("response", responses[-1].get("result"))
                break
    arguments = messages.decoded(part.get("arguments"))
    return Requested(call_id, str(part.get("name") or ""), arguments, result, answered, calls[place])


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
            parent = node.parent_id
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
    name, outer_name = node.row.get("tool_name"), outer.row.get("tool_name")
    if name == outer_name:
        return True
    # What an MCP client calls by its own name (`mcp__docs__search`), the server calls by the tool's.
    return _is_mcp(node) and (name is None or node.row.get("name") == name or str(outer_name).endswith(str(name)))


def _is_mcp(node: Node) -> bool:
    return '"mcp.method.name"' in str(node.row.get("attributes"))


def _is_beside(node: Node, other: Node) -> bool:
    return (
        node.parent_id == other.parent_id
        and node.row.get("tool_name") == other.row.get("tool_name")
        and node.row.get("scope") != other.row.get("scope")
        and (_covers(node, other) or _covers(other, node))
    )
