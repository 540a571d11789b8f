"""For tests of traced code: spans in memory, with ids that count and a clock that ticks, so that dumps are literal."""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from tracekit import _delivery, settings
from tracekit import attributes as names
from tracekit._runtime import Runtime, runtime
from tracekit._tracer import StepTracer

FIRST_NS = 1_700_000_000_000_000_000
TICK_NS = 1_000_000_000


@dataclass(frozen=True)
class RecordedSpan:
    """A span that has ended.

    Args:
        name: The span's name.
        step: Its step kind; `None` on another instrumentation's span.
        parent: The name of its parent; `None` where it has none in this recording.
        status: `unset`, `ok` or `error`.
        attributes: Its attributes, lists as tuples.
        events: Names and attributes of its events.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; `None` on a root.
        start_ns: When it began, in nanoseconds since 1970.
        end_ns: When it ended.
    """

    name: str
    step: str | None
    parent: str | None
    status: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int

    @property
    def input(self) -> str | None:
        """The recorded input."""
        return self.attributes.get(names.INPUT)

    @property
    def output(self) -> str | None:
        """The recorded output."""
        return self.attributes.get(names.OUTPUT)

    @property
    def error(self) -> str | None:
        """The class of the error that it ended with."""
        return self.attributes.get(names.ERROR_TYPE)


@dataclass(frozen=True)
class RecordedRecord:
    """A score, a registered agent version, or another record.

    Args:
        event: The event's name.
        attributes: What it says.
        trace_id: The trace it belongs to, 32 hex digits; `None` for none.
        span_id: The span it belongs to, 16 hex digits; `None` for none.
    """

    event: str
    attributes: dict[str, Any]
    trace_id: str | None
    span_id: str | None


@dataclass
class Recorder(SpanProcessor):
    """What has been recorded so far.

    Args:
        tracer_provider: The provider that records, for code that is not decorated.
        records: Scores and other records, in the order of their coming.
    """

    tracer_provider: TracerProvider
    records: list[RecordedRecord] = field(default_factory=list)
    _ended: list[ReadableSpan] = field(default_factory=list)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep an ended span."""
        self._ended.append(span)

    @property
    def spans(self) -> list[RecordedSpan]:
        """The spans that have ended, in the order of their beginning."""
        found = sorted(self._ended, key=lambda span: _ids(span)[1])  # ids count in the order of beginning
        by_id = {_ids(span): span.name for span in found}
        return [_recorded(span, by_id) for span in found]

    def find(
        self,
        *,
        name: str | None = None,
        step: str | None = None,
        status: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> RecordedSpan:
        """The one span that fits.

        Args:
            name: The span's name, or how it ends: `search` finds `execute_tool search`.
            step: The step kind.
            status: `unset`, `ok` or `error`.
            attributes: What it carries, among others.

        Raises:
            LookupError: There is none, or more than one; the message shows what was recorded.
        """
        found = self.all(name=name, step=step, status=status, attributes=attributes)
        if len(found) != 1:
            given = {"name": name, "step": step, "status": status, "attributes": attributes}
            wanted = ", ".join(f"{key}={value!r}" for key, value in given.items() if value is not None)
            recorded = self.tree().replace("\n", "\n  ") or "nothing"
            raise LookupError(f"{len(found)} spans have {wanted or 'no conditions'}; recorded:\n  {recorded}")
        return found[0]

    one = find

    def all(
        self,
        *,
        name: str | None = None,
        step: str | None = None,
        status: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> list[RecordedSpan]:
        """Every span that fits, in the order of their beginning; the conditions are those of `find`."""
        return [
            span
            for span in self.spans
            if (name is None or span.name == name or span.name.endswith(f" {name}"))
            and step in (None, span.step)
            and status in (None, span.status)
            and all(span.attributes.get(key) == value for key, value in (attributes or {}).items())
        ]

    def children(self, span: RecordedSpan) -> list[RecordedSpan]:
        """The spans right below another one, in the order of their beginning."""
        return [child for child in self.spans if child.parent_id == span.span_id and child.trace_id == span.trace_id]

    def clear(self) -> None:
        """Forget what has been recorded so far; ids and the clock go on."""
        self._ended.clear()
        self.records.clear()

    def tree(self) -> str:
        """The spans as an indented outline: each line a name, and `!` with the class of its error.

        Example:
            >>> import tracekit
            >>> with recorded() as recorder:
            ...     with tracekit.span("plan", step="chain"), tracekit.span("look", step="tool"):
            ...         pass
            >>> print(recorder.tree())
            plan
              execute_tool look
        """
        lines = []
        for depth, span in self._outline():
            failed = f" !{span.error or 'error'}" if span.status == "error" else ""
            lines.append(f"{'  ' * depth}{span.name}{failed}")
        return "\n".join(lines)

    def _outline(self) -> list[tuple[int, RecordedSpan]]:
        """The spans from the roots downwards, each with its depth."""
        spans = self.spans
        known = {span.span_id for span in spans}
        children: dict[str | None, list[RecordedSpan]] = {}
        for span in spans:
            children.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
        outline: list[tuple[int, RecordedSpan]] = []
        left = [(0, root) for root in reversed(children.get(None, []))]
        while left:
            depth, span = left.pop()
            outline.append((depth, span))
            left += [(depth + 1, child) for child in reversed(children.get(span.span_id, []))]
        return outline


@contextmanager
def recorded(
    *, agent: str | None = None, agent_version: str | None = None, capture_content: bool = True
) -> Iterator[Recorder]:
    """Record in memory what the block traces, apart from all configuration and from any span around it.

    Args:
        agent: The agent's name on every span.
        agent_version: The agent's version on every span.
        capture_content: Whether inputs and outputs are recorded.

    Example:
        >>> import tracekit
        >>> @tracekit.tool
        ... def add(a: int, b: int = 2) -> int:
        ...     return a + b
        >>> with recorded() as recorder:
        ...     _ = add(1)
        >>> recorder.find(name="add").input
        '{"a": 1, "b": 2}'
    """
    provider = TracerProvider(
        resource=Resource({"service.name": "test"}), id_generator=_CountingIds(), shutdown_on_exit=False
    )
    recorder = Recorder(provider)
    said = {names.AGENT_NAME: agent, names.AGENT_VERSION: agent_version}
    identity: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    relay = _delivery.Relay()
    relay.active, relay.extra = True, identity
    provider.add_span_processor(relay)
    provider.add_span_processor(recorder)
    ticks = itertools.count(FIRST_NS, TICK_NS)
    ours = Runtime(
        tracer=StepTracer(provider.get_tracer(_delivery.SCOPE), relay),
        started=True,
        capture=capture_content,
        identity=identity,
        clock=lambda: next(ticks),
        sink=lambda event, attributes, context: recorder.records.append(_record(event, attributes, context)),
        relay=relay,
    )
    before = _swapped(ours)
    token = otel_context.attach(Context())
    try:
        yield recorder
    finally:
        otel_context.detach(token)
        _swapped(before)


def golden(
    recorder: Recorder,
    path: str | os.PathLike[str],
    *,
    attributes: Sequence[str] = (names.STEP, names.INPUT, names.OUTPUT),
    update: bool | None = None,
) -> None:
    """Compare what was recorded with a golden file: the tree of spans, their errors and some of their attributes.

    Args:
        recorder: What was recorded.
        path: The golden file; it is text to be read, kept beside the test.
        attributes: The attributes that are compared.
        update: Whether the file is written anew; when not given, `pytest --update-golden` or the setting
            `update_golden` says so.

    Raises:
        AssertionError: They differ, or there is no golden file yet; the message shows the difference.

    Example:
        >>> import tempfile, tracekit
        >>> file = Path(tempfile.mkdtemp()) / "look.txt"
        >>> with recorded() as recorder, tracekit.span("look", step="tool", input={"q": "x"}):
        ...     pass
        >>> golden(recorder, file, update=True)
        >>> print(file.read_text(encoding="utf-8"), end="")
        - execute_tool look
            tracekit.step: tool
            input.value: {"q": "x"}
    """
    file = Path(path)
    found = "".join(f"{line}\n" for line in _dump(recorder, attributes))
    if settings.switch("update_golden") if update is None else update:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found, encoding="utf-8", newline="\n")
        return
    mend = "run pytest with --update-golden (or set TRACEKIT_UPDATE_GOLDEN=1) if this is as it should be"
    try:
        expected = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AssertionError(f"there is no golden file {file}; {mend}. It would be:\n{found}") from None
    if found != expected:
        lines = difflib.unified_diff(
            expected.splitlines(), found.splitlines(), f"{file.name} (expected)", "recorded", lineterm="", n=5
        )
        raise AssertionError(f"the spans differ from {file}; {mend}\n" + "\n".join(lines))


def _dump(recorder: Recorder, attributes: Sequence[str]) -> Iterator[str]:
    for depth, span in recorder._outline():  # noqa: SLF001 - its own module
        indent = "  " * depth
        failed = f" !{span.error or 'error'}" if span.status == "error" else ""
        yield f"{indent}- {_line(span.name)}{failed}"
        for name in attributes:
            if name in span.attributes:
                yield f"{indent}    {name}: {_line(span.attributes[name])}"


def _line(value: object) -> str:
    """A value on one line: text as it is where that is clear, all else as JSON."""
    if isinstance(value, str) and value.isprintable() and value.strip() == value and value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _swapped(new: Runtime) -> Runtime:
    """Put another configuration in force; returns the one that was."""
    before = Runtime(**{item.name: getattr(runtime, item.name) for item in fields(Runtime)})
    for item in fields(Runtime):
        if item.name not in {"generation", "lock"}:
            setattr(runtime, item.name, getattr(new, item.name))
    return before


class _CountingIds(IdGenerator):
    def __init__(self) -> None:
        self._traces = itertools.count(1)
        self._spans = itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._traces)

    def generate_span_id(self) -> int:
        return next(self._spans)


def _ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    return (0, 0) if context is None else (context.trace_id, context.span_id)


def _recorded(span: ReadableSpan, by_id: dict[tuple[int, int], str]) -> RecordedSpan:
    trace_id, span_id = _ids(span)
    attributes = dict(span.attributes or {})
    step = attributes.get(names.STEP)
    return RecordedSpan(
        name=span.name,
        step=None if step is None else str(step),
        parent=None if span.parent is None else by_id.get((span.parent.trace_id, span.parent.span_id)),
        status=span.status.status_code.name.lower(),
        attributes=attributes,
        events=[(event.name, dict(event.attributes or {})) for event in span.events],
        trace_id=trace.format_trace_id(trace_id),
        span_id=trace.format_span_id(span_id),
        parent_id=None if span.parent is None else trace.format_span_id(span.parent.span_id),
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
    )


def _record(event: str, attributes: dict[str, Any], context: Context) -> RecordedRecord:
    place = trace.get_current_span(context).get_span_context()
    return RecordedRecord(
        event=event,
        attributes=attributes,
        trace_id=trace.format_trace_id(place.trace_id) if place.trace_id else None,
        span_id=trace.format_span_id(place.span_id) if place.span_id else None,
    )
