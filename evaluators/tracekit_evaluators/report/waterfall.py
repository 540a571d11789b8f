"""A trace's spans as rows of a tree with bars on a shared ruler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.charts import Tick
from tracekit_evaluators.report.text import Text, line, shown, text

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, Trace

_LONGEST = 1_500
_BRIEF = 300
_FACTS = ("model", "tool_name", "input_tokens", "output_tokens", "cost_usd", "error_type", "error_message")


@dataclass(frozen=True)
class SpanRow:
    """One span of a waterfall.

    Args:
        span_id: Its id.
        name: Its name.
        step: Its step kind.
        depth: How deep in the tree, from 0.
        x: Where its bar begins, in per cent of the trace.
        width: How long its bar is, in per cent, wide enough to be seen.
        duration: Its duration as people read it.
        label: Where the duration has room: `right` of the bar, `inside` its end, or `left` of it.
        label_x: Where that is, in per cent.
        error: Whether it failed.
        facts: Model, tokens, error and the like, as (name, value).
        input: What went in.
        output: What came out.
    """

    span_id: str
    name: str
    step: str
    depth: int
    x: float
    width: float
    duration: str
    label: str
    label_x: float
    error: bool
    facts: tuple[tuple[str, str], ...]
    input: Text | None
    output: Text | None


@dataclass(frozen=True)
class Waterfall:
    """The spans of a trace from top to bottom.

    Args:
        rows: The spans that are shown.
        ticks: The ruler, in per cent.
        left_out: How many spans are not shown.
    """

    rows: tuple[SpanRow, ...]
    ticks: tuple[Tick, ...]
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
    rows = tuple(
        _row(span, begin, max(1, end - begin), _BRIEF if told.get(span.step) else _LONGEST) for span in spans[:most]
    )
    ticks = tuple(Tick(25.0 * quarter, duration((end - begin) * quarter / 4)) for quarter in range(5))
    return Waterfall(rows, ticks, max(0, len(spans) - most))


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


def _row(span: Span, begin: int, length: int, longest: int) -> SpanRow:
    x = min(99.6, max(0.0, 100 * (span.start_ns - begin) / length))
    width = min(100 - x, max(0.4, 100 * (span.duration_ns or 0) / length))
    label = "right" if x + width <= 86 else "inside" if width >= 14 else "left"
    return SpanRow(
        span_id=span.span_id,
        name=line(span.name, longest=120) or "unnamed",
        step=span.step or "span",
        depth=min(span.depth, 40),
        x=round(x, 2),
        width=round(width, 2),
        duration=duration(span.duration_ns),
        label=label,
        label_x=round(x if label == "left" else x + width, 2),
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
