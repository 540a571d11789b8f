"""A trace's spans as rows of a tree, with their times on a shared ruler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.text import Text, line, shown, text

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, Trace

_LONGEST = 1_500
_BRIEF = 300
_FACTS = ("model", "tool_name", "input_tokens", "output_tokens", "cost_usd", "error_type", "error_message")


@dataclass(frozen=True)
class SpanRow:
    """One span of a trace.

    Args:
        span_id: Its id.
        name: Its name.
        step: Its step kind.
        depth: How deep in the tree, from 0.
        start: When it began, in nanoseconds after the first span.
        length: How long it took in nanoseconds; 0 where unknown.
        duration: The same as people read it.
        error: Whether it failed.
        facts: Model, tokens, error and the like, as (name, value).
        input: What went in.
        output: What came out.
    """

    span_id: str
    name: str
    step: str
    depth: int
    start: int
    length: int
    duration: str
    error: bool
    facts: tuple[tuple[str, str], ...]
    input: Text | None
    output: Text | None


@dataclass(frozen=True)
class Waterfall:
    """The spans of a trace from top to bottom.

    Args:
        rows: The spans that are shown.
        ticks: What a ruler from the first start to the last end says at its quarters.
        length: From the first start to the last end, in nanoseconds.
        left_out: How many spans are not shown.
    """

    rows: tuple[SpanRow, ...]
    ticks: tuple[str, ...]
    length: int
    left_out: int


def waterfall(trace: Trace, *, most: int) -> Waterfall:
    """The waterfall of a trace.

    Args:
        trace: The trace, its spans depth first.
        most: How many spans to show.
    """
    spans = list(trace.spans)
    begin = min((span.start_ns for span in spans), default=0)
    end = max((span.start_ns + (span.duration_ns or 0) for span in spans), default=0)
    # The conversation and the table of tool calls say the same at length.
    told = {"llm": bool(trace.messages), "tool": bool(trace.tool_calls)}
    rows = tuple(_row(span, begin, _BRIEF if told.get(span.step) else _LONGEST) for span in spans[:most])
    ticks = tuple(duration((end - begin) * quarter / 4) for quarter in range(5))
    return Waterfall(rows, ticks, max(1, end - begin), max(0, len(spans) - most))


def duration(nanoseconds: float | None) -> str:
    """A duration as people read it.

    Example:
        >>> duration(1_500_000), duration(2_340_000_000), duration(75e9), duration(None)
        ('1.50 ms', '2.34 s', '1 min 15 s', '–')
    """
    if nanoseconds is None:
        return "–"
    if nanoseconds >= 60e9:
        minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            number = nanoseconds / size
            return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f} {unit}"
    return f"{nanoseconds:.0f} ns" if nanoseconds else "0"


def _row(span: Span, begin: int, longest: int) -> SpanRow:
    return SpanRow(
        span_id=span.span_id,
        name=line(span.name, longest=120) or "unnamed",
        step=span.step or "span",
        depth=min(span.depth, 40),
        start=max(0, span.start_ns - begin),
        length=max(0, span.duration_ns or 0),
        duration=duration(span.duration_ns),
        error=span.failed,
        facts=tuple(_facts(span)),
        input=text(span.input, longest=longest),
        output=text(span.output, longest=longest),
    )


def _facts(span: Span) -> list[tuple[str, str]]:
    found = [("span", span.span_id), ("step", span.step or "span"), ("status", span.status or "unset")]
    for name in _FACTS:
        value = getattr(span, name)
        if value is not None:
            found.append((name.replace("_", " "), shown(str(value))[:300]))
    return found
