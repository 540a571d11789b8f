"""Spans by hand: `with span(…)`, and the handle on a span that code uses to say more about it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from tracekit import _content, _guard
from tracekit import attributes as names
from tracekit._capture import clean_text
from tracekit._identity import facts, leave
from tracekit._prompt_links import links
from tracekit._runtime import runtime
from tracekit.attributes import OPERATION_OF_STEP, STEP_KINDS, StepKind
from tracekit.errors import UsageError

_NOTHING = object()
_CALLS_OUT = frozenset({"llm", "embedding"})  # the kinds that are requests to somebody else's service


def span_name(kind: str, name: str) -> str:
    """A span's name as OpenTelemetry's GenAI conventions want it: `execute_tool search`."""
    operation = OPERATION_OF_STEP.get(kind)
    return name if operation is None else f"{operation} {name}"


def static_attributes(kind: str, name: str) -> dict[str, AttributeValue]:
    """What every span of a step of this kind and name carries."""
    found: dict[str, AttributeValue] = {names.STEP: kind}
    if kind in OPERATION_OF_STEP:
        found[names.OPERATION] = OPERATION_OF_STEP[kind]
    if kind == "tool":
        found[names.TOOL_NAME] = name
        found[names.TOOL_TYPE] = "function"
    return found


def otel_kind(kind: str) -> SpanKind:
    """`CLIENT` for steps that call a service, else `INTERNAL`."""
    return SpanKind.CLIENT if kind in _CALLS_OUT else SpanKind.INTERNAL


def claim_agent(attributes: dict[str, AttributeValue], name: str, *, explicit: bool, version: str | None) -> None:
    """Put an agent's own name and version on its span.

    A name that was given wins over the process's agent, whose version then says nothing about this one.
    """
    if explicit and attributes.get(names.AGENT_NAME) not in (None, name):
        attributes.pop(names.AGENT_VERSION, None)
    if explicit or names.AGENT_NAME not in attributes:
        attributes[names.AGENT_NAME] = name
    if version is not None:
        attributes[names.AGENT_VERSION] = version


def checked_kind(kind: str) -> str:
    """The step kind itself.

    Raises:
        UsageError: There is no such kind.
    """
    if kind not in STEP_KINDS:
        raise UsageError(f"there is no step kind {kind!r}; use one of {', '.join(STEP_KINDS)}")
    return kind


@final
class Span:
    """A span of tracekit's; what is set on it goes to the trace, and nothing it does raises into your code.

    Made by `tracekit.span` (use it with `with` or `async with`) and `tracekit.current_span`.
    """

    __slots__ = ("_attributes", "_generation", "_input", "_kind", "_name", "_otel", "_output", "_said", "_token")

    def __init__(self, name: str, kind: str, value: object, attributes: Mapping[str, object] | None) -> None:
        self._name = name
        self._kind = kind
        self._input = value
        self._output: object = None
        self._said: object = _NOTHING  # what a response said, which is the output if no other is set
        self._attributes = attributes
        self._otel: trace.Span = trace.INVALID_SPAN
        self._token: object = None
        self._generation = runtime.generation

    def __repr__(self) -> str:
        return f"<tracekit.Span {self._name!r} {self._kind}>"

    @property
    def trace_id(self) -> str | None:
        """The trace's id as 32 hex digits; `None` while tracing is off."""
        return trace_id_of(self._otel)

    @property
    def span_id(self) -> str | None:
        """The span's id as 16 hex digits; `None` while tracing is off."""
        context = self._otel.get_span_context()
        return trace.format_span_id(context.span_id) if context.is_valid else None

    @property
    def input(self) -> object:
        """What was set as the step's input by this handle; `None` before."""
        return None if self._input is _NOTHING else self._input

    @input.setter  # noqa: A003 - as above
    def input(self, value: object) -> None:
        self._input = value
        self._record(_content.given, value)

    @property
    def output(self) -> object:
        """What was set as the step's output by this handle; `None` before."""
        return self._output

    @output.setter
    def output(self, value: object) -> None:
        self._output = value
        self._record(_content.result, value)

    def set(self, **facts: object) -> None:
        """Say more about the step; `None` is unknown, and sets nothing.

        Args:
            facts: `model`, `provider`, `input_tokens`, `output_tokens`, `cached_tokens`, `reasoning_tokens`,
                `cost_usd` (US dollars), `temperature`, `finish_reasons`, `response_id`, `documents`,
                `input_messages`, `output_messages`, `prompt_name`, `prompt_version`, `tags` and the like go to the
                attributes that these have in OpenTelemetry; each entry of the mapping `metadata`, and any other
                keyword, to `tracekit.metadata.<keyword>`.

        Example:
            >>> with span("ask", step="llm") as step:
            ...     step.set(model="small-1", input_tokens=12, output_tokens=3, shelf="left")
        """
        try:
            if not runtime.capture:
                facts = {key: value for key, value in facts.items() if key not in _content.CONTENT_KEYS}
            self._put(_content.facts(facts))
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("setting a span's facts")

    def record(self, response: object) -> None:
        """Record what a model's response says: messages, tool calls, tokens, model, id, why it ended.

        Args:
            response: What OpenAI's, Anthropic's or Gemini's client returned, a LangChain message or result, the same
                as plain dicts, or a list of the chunks of such a response that was streamed.

        Example:
            >>> message = {"role": "assistant", "content": "yes"}
            >>> with span("ask", step="llm") as step:
            ...     step.record({"id": "r1", "choices": [{"message": message, "finish_reason": "stop"}]})
        """
        from tracekit import _responses  # noqa: PLC0415 - only models' answers need it

        try:
            answer = _responses.read(response) or _responses.folded(response)
            if answer is None:
                told = f"{type(response).__name__} is no model's response that is known; say what it has with `set`"
                _guard.note("recording a response", told)
                return
            found = _content.facts(answer.facts)
            if runtime.capture:
                found[names.OUTPUT_MESSAGES] = _content.messages_text(answer.messages)
                self._said = answer.output
            self._put(found)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording a response")

    def fail(self, error: BaseException) -> None:
        """Mark the step as failed with an exception that you handle yourself.

        Args:
            error: What went wrong.
        """
        try:
            mark_failure(self._otel, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("marking a failure")

    def __enter__(self) -> Span:
        try:
            self._begin()
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("beginning a span")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if self._said is not _NOTHING and self._output is None:
                self._record(_content.result, self._said)
            if error is not None:
                mark_ending(self._otel, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("ending a span")
        finally:
            if self._token is not None:
                leave(self._token)
                self._token = None
            finish(self._otel, self._generation)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, where)

    def _begin(self) -> None:
        tracer = runtime.tracer or runtime.start()
        if tracer is None:
            return
        current = otel_context.get_current()
        used = links(current) if self._kind == "llm" else {}
        attributes = {**runtime.identity, **facts(current), **used, **static_attributes(self._kind, self._name)}
        if self._kind == "agent":
            claim_agent(attributes, self._name, explicit=True, version=None)
        if self._input is not _NOTHING and runtime.capture:
            attributes.update(_content.given(self._kind, self._input))
        if self._attributes:
            given = self._attributes
            if not runtime.capture:
                given = {key: value for key, value in given.items() if key not in _content.CONTENT_KEYS}
            attributes.update(_content.facts(given))
        name = span_name(self._kind, self._name)
        self._generation = runtime.generation
        self._otel = tracer.start_span(
            name, current, otel_kind(self._kind), attributes=attributes, start_time=runtime.now()
        )
        self._token = otel_context.attach(trace.set_span_in_context(self._otel, current))

    def _record(self, write: Any, value: object) -> None:
        if not runtime.capture or not self._otel.is_recording():
            return
        try:
            found = write(self._kind, value)
            if value is self._said:
                known = getattr(self._otel, "attributes", None) or {}
                found = {key: item for key, item in found.items() if key not in known}
            self._put(found)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording a span's content")

    def _put(self, found: dict[str, AttributeValue]) -> None:
        say(self._otel, _content.fitted(found, getattr(self._otel, "attributes", None) or {}))


def span(
    name: str,
    *,
    step: StepKind = "span",
    input: object = _NOTHING,  # noqa: A002 - the word of the whole API
    metadata: Mapping[str, object] | None = None,
) -> Span:
    """A step of a block of code: `with tracekit.span("plan", step="chain") as step:`.

    Args:
        name: What the step is called.
        step: Which kind of step it is.
        input: What it works on; a mapping is read as arguments by name.
        metadata: More facts, as for `Span.set`.

    Returns:
        The span, to be used with `with` or `async with`.

    Raises:
        UsageError: There is no such step kind.

    Example:
        >>> with span("add", step="tool", input={"a": 1, "b": 2}) as step:
        ...     step.output = 3
    """
    return Span(clean_text(str(name)), checked_kind(step), input, metadata)


def current_span() -> Span:
    """The handle on the span that this code runs in, as of the innermost decorated function or `with` block.

    Returns:
        The handle; one that does nothing while no span is open.

    Example:
        >>> current_span().set(model="small-1")
    """
    found = trace.get_current_span()
    recorded = getattr(found, "attributes", None) or {}
    handle = Span(getattr(found, "name", ""), str(recorded.get(names.STEP, "span")), _NOTHING, None)
    handle._otel = found  # noqa: SLF001 - its own class
    return handle


def trace_id() -> str | None:
    """The id of the trace that this code runs in, as 32 hex digits; `None` outside of any.

    Example:
        >>> trace_id() is None
        True
    """
    return trace_id_of(trace.get_current_span())


def trace_id_of(span: trace.Span) -> str | None:
    """A span's trace id as 32 hex digits; `None` where there is none."""
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def mark_ending(span: trace.Span, error: BaseException) -> None:
    """Say on a span how it was left: failed, cancelled, or with a clean exit, which is neither."""
    if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return
    if not isinstance(error, Exception) and _is_cancellation(error):
        span.set_attribute(names.CANCELLED, value=True)
        return
    mark_failure(span, error)


def mark_failure(span: trace.Span, error: BaseException) -> None:
    """Say on a span that it failed: status, `error.type`, and the exception as an event."""
    if not span.is_recording():
        return
    kind, message = _content.failure(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, message or kind))
    event: dict[str, AttributeValue] = {"exception.type": kind, "exception.message": message}
    with suppress(Exception):  # an exception of the user's may raise when it is asked for its text
        event["exception.stacktrace"] = clean_text("".join(traceback.format_exception(error)))
    span.add_event("exception", event, timestamp=runtime.now())


def say(span: trace.Span, attributes: Mapping[str, AttributeValue]) -> None:
    """Set attributes on a span."""
    tracer = runtime.tracer
    if tracer is None:
        span.set_attributes(attributes)
    else:
        tracer.add(span, attributes)


def finish(span: trace.Span, generation: int) -> None:
    """End a span, unless this process is a fork of the one that began it."""
    if generation == runtime.generation:
        relay = runtime.relay
        try:
            if relay is None:
                span.end(runtime.now())
            else:
                relay.end(span, runtime.now())
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("ending a span")


def _is_cancellation(error: BaseException) -> bool:
    """Whether asyncio, anyio or trio is cancelling the task; by name, so that none of them is imported."""
    return any(kind.__name__ in {"CancelledError", "Cancelled"} for kind in type(error).__mro__)


def detached(trace_id: int, span_id: int) -> Context:
    """A context that holds a span of which only the ids are known."""
    place = trace.SpanContext(trace_id, span_id, is_remote=False)
    return trace.set_span_in_context(NonRecordingSpan(place), Context())
