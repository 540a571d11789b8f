"""A whole trace, assembled from its rows: each call once, usage not doubled, the error that mattered.

`assemble` is pure. Judges, the command line, the UI and reports all read traces through it; the views of
`tracekit_collector.views` say the same rules for many traces at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError
from tracekit_collector import messages
from tracekit_collector._calls import TOKENS, Call, Requested, model_calls, requested, tool_spans
from tracekit_collector._facts import (
    Finder,
    agent_of,
    conversation_of,
    cost_of,
    duration_of,
    input_of,
    output_of,
    repeats_parent,
    steps_of,
    system_of,
    usage_of,
)
from tracekit_collector._faults import Fault, error_of, fault_of
from tracekit_collector._tree import Node, Row, grow, root_of
from tracekit_collector.anyvalue import loaded, python_of
from tracekit_collector.folding import unfold

_UNTOLD = {"told": False}  # a field that `to_dict` leaves out


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of all model calls; None where nobody counted. Input includes cached, output includes reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A retrieved document, with what the writer told of it."""

    id: Any
    content: Any
    score: float | None
    metadata: Any
    span_id: str


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One real call of a model; messages in OTel's GenAI schema, tokens and cost None where nobody counted."""

    span_id: str
    provider: str | None
    model_requested: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    start_ns: int
    duration_ns: int | None
    ttft_ms: float | None
    finish_reasons: tuple[str, ...]
    input_messages: list[messages.Message]
    output_messages: list[messages.Message]
    status: str  # ok | error
    error: dict[str, str | None] | None
    response_id: str | None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One real call of a tool: of a span, or, where no span shows it, of the messages (`span_id` is then None).

    `status` is ok or error, and None for a call that a model asked for when nothing shows that it was made.
    """

    span_id: str | None
    id: str | None
    name: str | None
    arguments: Any
    result: Any
    status: str | None
    error: dict[str, str | None] | None
    start_ns: int
    duration_ns: int | None


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the tree, depth first; `same_as` is the span that describes the same call better.

    `row` is the row that it was made of, no part of what is printed; `attributes`, `events` and `offered` read it.
    """

    span_id: str
    parent_span_id: str | None
    depth: int
    name: str
    step: str
    kind: str | None
    start_ns: int
    duration_ns: int | None
    status: str  # unset | ok | error
    failed: bool
    error_type: str | None
    error_message: str | None
    input: str | None
    output: str | None
    provider: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    tool_name: str | None
    agent_name: str | None
    same_as: str | None
    row: Row = field(default_factory=dict, repr=False, compare=False, metadata=_UNTOLD)

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes as the writer set them, decoded at every call."""
        text = self.row.get("attributes")
        found = python_of(loaded(unfold(text, self.row))) if isinstance(text, str) else None
        return found if isinstance(found, dict) else {}

    @property
    def events(self) -> list[dict[str, Any]]:
        """The span's events as {name, time_ns, attributes}, in order, decoded at every call."""
        text = self.row.get("events")
        found = loaded(text) if isinstance(text, str) else None
        told = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        return [{**each, "attributes": python_of(each.get("attributes") or {})} for each in told]

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The definitions of tools that the span shows: {type, name, description?, parameters?}."""
        text = self.row.get("tool_definitions")
        found = messages.decoded(text) if isinstance(text, str) else None
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


class _Assembling:
    """The tree of a trace, and what of it several facts are made of; each made when it is first asked for."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.root = root_of(nodes)
        self._calls: list[Call] | None = None
        self._tools: list[Call] | None = None
        self._asked: list[Requested] | None = None
        self._fault: tuple[Fault | None] | None = None

    @property
    def calls(self) -> list[Call]:
        if self._calls is None:
            self._calls = model_calls(self.nodes)
        return self._calls

    @property
    def tools(self) -> list[Call]:
        if self._tools is None:
            self._tools = tool_spans(self.nodes)
        return self._tools

    @property
    def asked(self) -> list[Requested]:
        if self._asked is None:
            self._asked = requested(self.calls)
        return self._asked

    @property
    def fault(self) -> Fault | None:
        if self._fault is None:
            self._fault = (fault_of(self.root, self.nodes, self.calls, self.tools),)
        return self._fault[0]


class _Later:
    """Fields that are made when they are first asked for: few judges ask for all that a trace tells."""

    __slots__ = ("_assembling",)

    if not TYPE_CHECKING:  # it would hide from type checkers which fields there are

        def __getattr__(self, name: str) -> object:
            if name not in _LATER:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            value = _LATER[name](object.__getattribute__(self, "_assembling"))
            object.__setattr__(self, name, value)
            return value


@dataclass(frozen=True, slots=True)
class Trace(_Later):
    """What happened in one trace.

    Times are nanoseconds; `error` is {type, message, span_id} and None unless `status` is error; `steps` counts each
    real step once; `messages` is the conversation of the last model call with its answer.
    """

    trace_id: str
    name: str
    start_ns: int
    duration_ns: int | None
    status: str  # ok | error
    error: dict[str, str | None] | None
    input: str | None
    output: str | None
    system_instructions: str | None
    session_id: str | None
    user_id: str | None
    agent_name: str | None
    agent_version: str | None
    project: str | None
    environment: str | None
    service_name: str | None
    case_id: str | None
    repeat: int | None
    run_id: str | None
    cost_usd: float | None
    model_calls: tuple[ModelCall, ...]
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    steps: dict[str, int]
    documents: tuple[Document, ...]
    messages: list[messages.Message]
    spans: tuple[Span, ...]

    def to_dict(self) -> dict[str, Any]:
        """The trace as plain dicts and lists, as `tracekit trace ID --format json` prints it."""
        found: dict[str, Any] = _plain(self)
        return found


def assemble(spans: Sequence[Row], logs: Sequence[Row] = ()) -> Trace:
    """A trace from its rows.

    Args:
        spans: Rows of `spans`, all of one trace, in any order; a root is not needed.
        logs: Rows of `logs` of the same trace; model content in them is joined by span id. Of a coding agent's
            records steps are made where there are no spans of them.

    Returns:
        The trace.

    Raises:
        UsageError: There are neither spans nor records that tell of steps.
    """
    nodes = grow(spans, logs)
    if not nodes:
        raise UsageError("a trace needs at least one span, or a log record that tells of a step")
    made = _Assembling(nodes)
    trace = Trace.__new__(Trace)
    object.__setattr__(trace, "_assembling", made)
    root, first_of = made.root, Finder(made.root, nodes)
    said = {
        "trace_id": str(root.row["trace_id"]),
        "name": str(root.row.get("name") or ""),
        "start_ns": min(node.start for node in nodes),
        "session_id": first_of.session(),
        **{name: first_of(name) for name in ("user_id", "case_id", "repeat", "run_id")},
    }
    for name, value in said.items():
        object.__setattr__(trace, name, value)
    return trace


_LATER: dict[str, Callable[[_Assembling], object]] = {
    "duration_ns": lambda made: duration_of(made.root, made.nodes),
    "status": lambda made: "error" if made.fault is not None else "ok",
    "error": lambda made: _error(made.fault),
    "input": lambda made: input_of(made.root, made.nodes, made.calls),
    "output": lambda made: output_of(made.root, made.nodes, made.calls),
    "system_instructions": lambda made: system_of(made.nodes, made.calls),
    "agent_name": lambda made: agent_of(made.root, made.nodes).row.get("agent_name"),
    "agent_version": lambda made: agent_of(made.root, made.nodes).row.get("agent_version"),
    "project": lambda made: Finder(made.root, made.nodes)("project"),
    "environment": lambda made: Finder(made.root, made.nodes)("environment"),
    "service_name": lambda made: Finder(made.root, made.nodes)("service_name"),
    "cost_usd": lambda made: cost_of(made.nodes, made.calls),
    "model_calls": lambda made: tuple(_model_call(call) for call in made.calls),
    "tool_calls": lambda made: _tool_calls(made.tools, made.asked),
    "usage": lambda made: Usage(**{name: usage_of(name, made.nodes, made.calls) for name in TOKENS}),
    "steps": lambda made: steps_of(made.nodes, made.calls, made.tools),
    "documents": lambda made: _documents(made.nodes),
    "messages": lambda made: conversation_of(made.calls),
    "spans": lambda made: _spans(made.nodes, [*made.calls, *made.tools]),
}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        told = [each.name for each in fields(value) if each.metadata.get("told", True)]
        return {name: _plain(getattr(value, name)) for name in told}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _error(fault: Fault | None) -> dict[str, str | None] | None:
    return None if fault is None else fault._asdict()


def _model_call(call: Call) -> ModelCall:
    return ModelCall(
        span_id=call.node.span_id,
        provider=call.value("provider"),
        model_requested=call.value("model_requested"),
        model=call.value("model"),
        **{name: call.largest(name) for name in TOKENS},
        cost_usd=call.cost[0],
        start_ns=call.start,
        duration_ns=call.duration_ns,
        ttft_ms=call.value("ttft_ms"),
        finish_reasons=tuple(call.value("finish_reasons") or ()),
        input_messages=call.given,
        output_messages=call.answered,
        status="error" if call.failed else "ok",
        error=_call_error(call),
        response_id=call.value("response_id"),
    )


def _call_error(call: Call) -> dict[str, str | None] | None:
    if not call.failed:
        return None
    faults = [fault for node in call.all() if (fault := error_of(node)) is not None]
    told = next((fault for fault in faults if fault.message), faults[0] if faults else None)
    return None if told is None else {"type": told.type, "message": told.message}


def _tool_calls(spans: Sequence[Call], asked: Sequence[Requested]) -> tuple[ToolCall, ...]:
    """Calls of tool spans, with what the messages add; and calls that only the messages show."""
    free = list(spans)
    found: list[tuple[tuple[int, int, str], ToolCall]] = []
    for request in asked:
        span = _span_for(request, free)
        if span is not None:
            free.remove(span)
            found.append((span.order, _tool_call(span, request)))
        elif request.answered or not spans:
            # What is asked for is done after the answer that asks for it.
            end = request.model_call.node.end
            found.append(((end, end, request.model_call.node.span_id), _asked_call(request, end)))
    found += [(span.order, _tool_call(span, None)) for span in free]
    return tuple(call for _, call in sorted(found, key=lambda pair: pair[0]))


def _span_for(request: Requested, free: Sequence[Call]) -> Call | None:
    later = [span for span in free if span.node.start >= request.model_call.node.start] or list(free)
    if request.id is not None:
        for span in later:
            if span.value("tool_call_id") == request.id:
                return span
    named = [span for span in later if span.value("tool_call_id") is None and span.value("tool_name") == request.name]
    same = [span for span in named if _arguments(span) == request.arguments]
    if same or named:
        return (same or named)[0]
    for span in later:  # Google's ADK gives a call another id than the model did
        if span.value("tool_name") == request.name and _arguments(span) == request.arguments:
            return span
    return None


def _arguments(span: Call) -> Any:
    return messages.decoded(span.value("tool_arguments"))


def _tool_call(span: Call, request: Requested | None) -> ToolCall:
    arguments = _arguments(span)
    result = span.value("tool_result")
    if request is not None:
        if not isinstance(arguments, dict) and request.arguments is not None:
            arguments = request.arguments
        result = request.result if result is None else result
    failed = any(node.failed for node in span.all())
    return ToolCall(
        span_id=span.node.span_id,
        id=span.value("tool_call_id") or (request.id if request is not None else None),
        name=span.value("tool_name"),
        arguments=arguments,
        result=result,
        status="error" if failed else "ok",
        error=_call_error(span) if span.failed else None,
        start_ns=span.node.start,
        duration_ns=span.node.row.get("duration_ns"),
    )


def _asked_call(request: Requested, end: int) -> ToolCall:
    return ToolCall(
        span_id=None,
        id=request.id,
        name=request.name or None,
        arguments=request.arguments,
        result=request.result,
        status="ok" if request.answered else None,
        error=None,
        start_ns=end,
        duration_ns=None,
    )


def _documents(nodes: Sequence[Node]) -> tuple[Document, ...]:
    """What retrievers found, else what rerankers kept, else what any step shows."""
    for steps in (("retriever",), ("reranker",), None):
        found: list[Document] = []
        for node in nodes:
            text = node.row.get("documents")
            if text is None or (steps is not None and node.step not in steps) or _shown_above(node):
                continue
            for item in messages.decoded(text) or ():
                if isinstance(item, dict):
                    told = {key: item.get(key) for key in ("id", "content", "score", "metadata")}
                    found.append(Document(**told, span_id=node.span_id))
        if found:
            return tuple(found)
    return ()


def _shown_above(node: Node) -> bool:
    return repeats_parent(node) and node.parent is not None and node.parent.row.get("documents") is not None


def _spans(nodes: Sequence[Node], calls: Sequence[Call]) -> tuple[Span, ...]:
    same_as = {other.span_id: call.node.span_id for call in calls for other in (*call.others, *call.silent)}
    return tuple(_span(node, same_as.get(node.span_id)) for node in nodes)


def _span(node: Node, same_as: str | None) -> Span:
    row = node.row
    fault = error_of(node)
    return Span(
        span_id=node.span_id,
        parent_span_id=row.get("parent_span_id"),
        depth=node.depth,
        name=str(row.get("name") or ""),
        step=node.step,
        kind=row.get("kind"),
        start_ns=node.start,
        duration_ns=row.get("duration_ns"),
        status=str(row.get("status") or "unset"),
        failed=node.failed,
        error_type=row.get("error_type") or (fault.type if fault else None),
        error_message=fault.message if fault else None,
        input=row.get("input"),
        output=row.get("output"),
        provider=row.get("provider"),
        model=row.get("model") or row.get("model_requested"),
        input_tokens=row.get("input_tokens"),
        output_tokens=row.get("output_tokens"),
        cost_usd=row.get("cost_usd"),
        tool_name=row.get("tool_name"),
        agent_name=row.get("agent_name"),
        same_as=same_as,
        row=row,
    )
