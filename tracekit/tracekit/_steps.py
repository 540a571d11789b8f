"""What a decorated function's calls do: a span each, with what went in and what came out.

Everything that a function tells before it is called is worked out when it is decorated. `Recording` is one call's span;
a call that goes on after its function has returned is a `Stream`. Nothing here raises into the code that is recorded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import _content, _decorated, _guard
from tracekit import attributes as names
from tracekit._capture import clean_text
from tracekit._identity import facts, leave
from tracekit._parameters import Parameters
from tracekit._prompt_links import links
from tracekit._returned import NOT_FOLLOWED, followed, sort_of
from tracekit._runtime import runtime
from tracekit._selection import Capture, selection
from tracekit._spans import claim_agent, finish, mark_ending, otel_kind, say, span_name, static_attributes
from tracekit._streams import Stream

if TYPE_CHECKING:
    from tracekit._responses import Answer
    from tracekit._tracer import StepTracer

Hook = Callable[[Any], Any]

_DESCRIPTION_LIMIT = 1_000


class Step:
    """A decorated function.

    Args:
        function: The function.
        kind: The step kind.
        name: What the step is called; the function's name when not given.
        capture: What is recorded, as `_selection.selection` reads it.
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether streams and awaitables that the function returns are followed to their end.
        version: An agent's version.
        attributes: What each span carries besides.

    Raises:
        UsageError: `capture` names a parameter that the function does not have.
    """

    __slots__ = (
        "_agent_version",
        "_attributes",
        "_definition",
        "_explicit",
        "_follows",
        "_function",
        "_keeps_input",
        "_keeps_output",
        "_kind",
        "_name",
        "_otel_kind",
        "_parameters",
        "_process_input",
        "_process_output",
        "_span_name",
        "_takes_model",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        kind: str,
        *,
        name: str | None = None,
        capture: Capture = True,
        process_input: Hook | None = None,
        process_output: Hook | None = None,
        stream: bool = True,
        version: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        self._kind = kind
        self._explicit = name is not None
        plain = function.func if isinstance(function, functools.partial) else function
        _decorated.note(plain)
        self._name = clean_text(name or getattr(plain, "__name__", None) or type(plain).__name__)
        self._agent_version = version
        wanted = selection(capture)
        self._keeps_input, self._keeps_output = wanted.has_input, wanted.has_output
        self._process_input, self._process_output = process_input, process_output
        self._follows = stream
        self._parameters = Parameters(function, wanted.keep, wanted.drop)
        self._function = function
        self._definition: str | None = None
        self._attributes = {**static_attributes(kind, self._name), **_content.facts(attributes or {})}
        if kind == "tool" and inspect.isroutine(plain) and plain.__doc__:
            summary = inspect.cleandoc(plain.__doc__).partition("\n\n")[0]
            self._attributes[names.TOOL_DESCRIPTION] = clean_text(summary, limit=_DESCRIPTION_LIMIT)
        model = self._attributes.get(names.REQUEST_MODEL)
        self._takes_model = kind in {"llm", "embedding"} and not self._explicit
        self._span_name = span_name(kind, str(model) if model and self._takes_model else self._name)
        self._otel_kind = otel_kind(kind)

    def begin(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Recording | None:
        """Begin a call's span and make it current; `None` while tracing is off."""
        tracer = runtime.tracer or runtime.start()
        if tracer is None:
            return None
        try:
            current = otel_context.get_current()
            span = self._started(tracer, current, args, kwargs)
            token = otel_context.attach(trace.set_span_in_context(span, current))
            return Recording(self, span, token)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("beginning a step")
            return None

    def stream(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Stream:
        """Begin a generator's span, current only between `enter` and `leave`."""
        tracer = runtime.tracer or runtime.start()
        if tracer is not None:
            try:
                current = otel_context.get_current()
                span = self._started(tracer, current, args, kwargs)
                return Stream(self, span, trace.set_span_in_context(span, current))
            except Exception:  # noqa: BLE001 - never into the user's code
                _guard.fault("beginning a step")
        return Stream(self, trace.INVALID_SPAN, None)

    def _started(
        self, tracer: StepTracer, current: Context, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> trace.Span:
        used = links(current) if self._kind == "llm" else {}
        attributes = {**runtime.identity, **facts(current), **used, **self._attributes}
        name = self._span_name
        if self._kind == "agent":
            claim_agent(attributes, self._name, explicit=self._explicit, version=self._agent_version)
        if runtime.capture:
            if self._keeps_input:
                self._add_input(attributes, args, kwargs)
                if self._takes_model and names.REQUEST_MODEL in attributes:
                    name = span_name(self._kind, str(attributes[names.REQUEST_MODEL]))
            if self._kind == "tool":
                attributes[names.TOOL_DEFINITIONS] = self._definition or self._defined()
        return tracer.start_span(name, current, self._otel_kind, attributes, start_time=runtime.now())

    def _add_input(
        self, attributes: dict[str, AttributeValue], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        try:
            values: Any = self._parameters.named(args, kwargs)
            if self._process_input is None:
                attributes.update(_content.arguments(self._kind, values))
            else:
                attributes.update(_content.given(self._kind, processed(self._process_input, values, "process_input")))
        except Exception:  # noqa: BLE001 - an argument that resists costs the input, not the span
            _guard.fault("reading arguments")

    def _defined(self) -> str:
        """The tool's definition as JSON, made at the first call, when all names in its annotations are known."""
        from tracekit._definitions import definition_text  # noqa: PLC0415 - only tools need it

        self._definition = definition_text(self._function, str(self._attributes[names.TOOL_NAME]))
        return self._definition

    def result(self, span: trace.Span, value: object) -> None:
        """Record the output, unless the function has set one itself, and what a model's response says of itself."""
        if not span.is_recording():
            return
        try:
            answer = None
            if self._kind == "llm" and type(value) is not str:
                from tracekit import _responses  # noqa: PLC0415 - only models' answers need it

                with suppress(Exception):  # an object that resists being looked at is in the output all the same
                    answer = _responses.read(value)
            self._record(span, value, answer)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording an output")

    def answer(self, span: trace.Span, answer: Answer) -> None:
        """Record a model's answer that has come in chunks."""
        if span.is_recording():
            self._record(span, answer.output, answer)

    def _record(self, span: trace.Span, value: object, answer: Answer | None) -> None:
        found: dict[str, AttributeValue] = {} if answer is None else _content.facts(answer.facts)
        content: dict[str, AttributeValue] = {}
        if self._keeps_output and runtime.capture:
            if self._process_output is not None:
                value = processed(self._process_output, value, "process_output")
            elif answer is not None:
                found[names.OUTPUT_MESSAGES] = _content.messages_text(answer.messages)
            content = _content.result(self._kind, value)
        known = _said(span)
        if content and names.OUTPUT not in known:
            found = {**content, **found}
        if found:
            found = {key: item for key, item in found.items() if key not in known}
            say(span, _content.fitted(found, known))

    @property
    def follows(self) -> bool:
        """Whether streams and awaitables that the function returns are followed to their end."""
        return self._follows

    @property
    def kind(self) -> str:
        """The step kind."""
        return self._kind


def _said(span: trace.Span) -> Mapping[str, AttributeValue]:
    """What a span says so far: a plain copy, because each look for what is not there costs the SDK an exception."""
    said: Any = getattr(span, "attributes", None)
    try:
        return cast("Mapping[str, AttributeValue]", said.copy())
    except AttributeError:  # none, or a mapping of another make
        return said or {}


def processed(hook: Hook, value: object, name: str) -> object:
    """What a hook of the user's makes of a value; where it raises, a mark instead of what it was to hide.

    Args:
        hook: The hook.
        value: What it is given.
        name: What the hook is called.
    """
    try:
        return hook(value)
    except Exception as error:  # noqa: BLE001 - recording must not break the call
        _guard.fault(f"calling {name}")
        return f"…[{name} raised {type(error).__name__}]"


class Recording:
    """One call of a decorated function."""

    __slots__ = ("_generation", "_span", "_step", "_token")

    def __init__(self, step: Step, span: trace.Span, token: object) -> None:
        self._step = step
        self._span = span
        self._token = token
        self._generation = runtime.generation

    def end(self, value: object) -> None:
        """The call has returned `value`."""
        self._step.result(self._span, value)
        leave(self._token)
        finish(self._span, self._generation)

    def returned(self, value: Any) -> Any:
        """The call has returned `value`; gives what its caller gets, which stands in for a stream or coroutine."""
        kind = type(value)
        if kind in NOT_FOLLOWED or not self._step.follows or sort_of(kind) is None:
            self.end(value)
            return value
        current = otel_context.get_current()
        leave(self._token)
        stream = Stream(self._step, self._span, current).since_the_call()
        try:
            return followed(value, stream)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("following what a step returned")
            stream.give(value)
            return value

    def fail(self, error: BaseException) -> None:
        """The call has raised."""
        try:
            mark_ending(self._span, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("marking a failure")
        leave(self._token)
        finish(self._span, self._generation)
