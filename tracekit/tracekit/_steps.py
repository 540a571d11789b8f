"""What a decorated function's calls do: a span each, with what went in and what came out.

Everything that a function tells before it is called is worked out when it is decorated. `Recording` is one call's span;
`Stream` is one call of a generator, whose span is current only while the generator's own code runs. Nothing here raises
into the code that is recorded.
"""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import _content, _guard
from tracekit import attributes as names
from tracekit._capture import LIMIT, clean_text, to_json
from tracekit._identity import facts, leave
from tracekit._parameters import Parameters
from tracekit._runtime import runtime
from tracekit._spans import claim_agent, finish, mark_ending, otel_kind, span_name, static_attributes

_DESCRIPTION_LIMIT = 1_000
_RETURN = "return"


class Step:
    """A decorated function.

    Args:
        function: The function.
        kind: The step kind.
        name: What the step is called; the function's name when not given.
        capture: What is recorded: `True` everything, `False` nothing, else the names of parameters, and `return`
            for the output.
        version: An agent's version.
        attributes: What each span carries besides.

    Raises:
        UsageError: `capture` names a parameter that the function does not have.
    """

    __slots__ = (
        "_agent_version",
        "_attributes",
        "_explicit",
        "_keeps_input",
        "_keeps_output",
        "_kind",
        "_name",
        "_otel_kind",
        "_parameters",
        "_span_name",
        "_takes_model",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        kind: str,
        *,
        name: str | None = None,
        capture: bool | Sequence[str] = True,
        version: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        self._kind = kind
        self._explicit = name is not None
        plain = function.func if isinstance(function, functools.partial) else function
        self._name = clean_text(name or getattr(plain, "__name__", None) or type(plain).__name__)
        self._agent_version = version
        wanted = None if isinstance(capture, bool) else frozenset([capture] if isinstance(capture, str) else capture)
        self._keeps_input = capture is True or (wanted is not None and bool(wanted - {_RETURN}))
        self._keeps_output = capture is True or (wanted is not None and _RETURN in wanted)
        self._parameters = Parameters(function, None if wanted is None else wanted - {_RETURN})
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
        self, tracer: trace.Tracer, current: Context, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> trace.Span:
        attributes = {**runtime.identity, **facts(current), **self._attributes}
        name = self._span_name
        if self._kind == "agent":
            claim_agent(attributes, self._name, explicit=self._explicit, version=self._agent_version)
        if self._keeps_input and runtime.capture:
            try:
                attributes.update(_content.arguments(self._kind, self._parameters.named(args, kwargs)))
            except Exception:  # noqa: BLE001 - an argument that resists costs the input, not the span
                _guard.fault("reading arguments")
            if self._takes_model and names.REQUEST_MODEL in attributes:
                name = span_name(self._kind, str(attributes[names.REQUEST_MODEL]))
        return tracer.start_span(name, current, self._otel_kind, attributes, start_time=runtime.now())

    def result(self, span: trace.Span, value: object) -> None:
        """Record the output, unless the function has set one itself."""
        if not (self._keeps_output and runtime.capture and span.is_recording()):
            return
        try:
            known: Mapping[str, AttributeValue] = getattr(span, "attributes", None) or {}
            found = _content.result(self._kind, value)
            if names.OUTPUT in known:
                return
            span.set_attributes({key: item for key, item in found.items() if key not in known})
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording an output")

    @property
    def kind(self) -> str:
        """The step kind."""
        return self._kind


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

    def fail(self, error: BaseException) -> None:
        """The call has raised."""
        try:
            mark_ending(self._span, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("marking a failure")
        leave(self._token)
        finish(self._span, self._generation)


class Stream:
    """One call of a decorated generator; its chunks are joined into the output.

    The context that the generator's code leaves behind at a `yield` is the one that it finds when it goes on, so spans
    that it opens around a `yield` nest as they are written.
    """

    __slots__ = ("_begun_ns", "_chunks", "_context", "_cut", "_generation", "_room", "_span", "_step", "_token")

    def __init__(self, step: Step, span: trace.Span, context: Context | None) -> None:
        self._step = step
        self._span = span
        self._context = context
        self._token: object = None
        self._chunks: list[tuple[bool, str]] = []
        self._room = LIMIT
        self._cut = 0
        self._generation = runtime.generation
        self._begun_ns = time.perf_counter_ns()

    def enter(self) -> None:
        """The generator's code is about to run."""
        if self._context is not None:
            self._token = otel_context.attach(self._context)

    def leave(self) -> None:
        """The generator's code has come to a `yield` or an end."""
        if self._token is not None:
            self._context = otel_context.get_current()
            leave(self._token)
            self._token = None

    def chunk(self, item: object) -> None:
        """The generator has yielded `item`."""
        if self._context is None:
            return
        try:
            if not self._chunks and self._step.kind == "llm" and runtime.clock is None:
                seconds = (time.perf_counter_ns() - self._begun_ns) / 1e9
                self._span.set_attribute(names.TIME_TO_FIRST_CHUNK, seconds)
            if self._room <= 0 or not runtime.capture:
                self._cut += 1
                return
            is_text = type(item) is str
            text = clean_text(item) if isinstance(item, str) and is_text else to_json(item)
            self._chunks.append((is_text, text))
            self._room -= len(text)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording a chunk")

    def end(self, value: object = None) -> None:
        """The generator has returned `value`."""
        if self._context is None:
            return
        if self._chunks or value is None:
            self._record_chunks()
        else:
            self._step.result(self._span, value)
        self._finish()

    def fail(self, error: BaseException) -> None:
        """The generator has raised, or was closed by its consumer, which is no failure."""
        if self._context is None:
            return
        try:
            if isinstance(error, GeneratorExit):
                self._span.set_attribute(names.PARTIAL, value=True)
            mark_ending(self._span, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("marking a failure")
        if self._chunks:
            self._record_chunks()
        self._finish()

    def _finish(self) -> None:
        self._context = None
        finish(self._span, self._generation)

    def _record_chunks(self) -> None:
        mark = f"…[truncated: {self._cut} more chunks]"
        output: object
        if self._chunks and all(is_text for is_text, _ in self._chunks):
            output = "".join(text for _, text in self._chunks) + (mark if self._cut else "")
        else:
            items = [text if is_text else json.loads(text) for is_text, text in self._chunks]
            output = [*items, mark] if self._cut else items
        self._step.result(self._span, output)
