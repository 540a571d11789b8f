"""Time in a trace: which steps ran when, what ran side by side, and what the end had to wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, Trace

WORKING = frozenset({"llm", "tool", "retriever", "embedding", "reranker", "guardrail"})
Interval = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A part of the critical path.

    Args:
        span: The span that ran.
        start_ns: From when.
        end_ns: Until when.
    """

    span: Span
    start_ns: int
    end_ns: int


def working(trace: Trace, steps: Iterable[str] = WORKING) -> list[Span]:
    """The spans that do the work: of these step kinds, each step once, with a duration, none within another of them.

    Args:
        trace: The trace.
        steps: Which kinds.
    """
    kinds = frozenset(steps)
    found: list[Span] = []
    inside: set[str] = set()
    for span in trace.spans:  # parents stand before their children
        within = (span.parent_span_id or "") in inside
        counts = span.step in kinds and span.duration_ns is not None and span.same_as is None
        if within or counts:
            inside.add(span.span_id)
        if counts and not within:
            found.append(span)
    return found


def interval(span: Span) -> Interval:
    """A span's begin and end in nanoseconds."""
    return span.start_ns, span.start_ns + (span.duration_ns or 0)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The time that intervals cover together, as intervals that do not touch.

    Example:
        >>> merged([(5, 7), (0, 2), (1, 3)])
        [(0, 3), (5, 7)]
    """
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def covered(intervals: Iterable[Interval]) -> int:
    """How long intervals are together, what overlaps counted once.

    Example:
        >>> covered([(0, 2), (1, 3), (5, 7)])
        5
    """
    return sum(end - start for start, end in merged(intervals))


def critical_path(trace: Trace) -> list[Piece]:
    """What the trace's end had to wait for: walked from the end backwards, always to the child that ended last.

    A child that ends after its parent is cut off there. The pieces do not overlap and cover the root's time.

    Args:
        trace: The trace.
    """
    children: dict[str | None, list[Span]] = {}
    ids = {span.span_id for span in trace.spans}
    for span in trace.spans:
        parent = span.parent_span_id if span.parent_span_id in ids else None
        children.setdefault(parent, []).append(span)
    tops = [span for span in children.get(None, ()) if span.duration_ns is not None]
    if not tops:
        return []
    found: list[Piece] = []
    root = min(tops, key=lambda span: (span.start_ns, -(span.duration_ns or 0)))
    start, end = interval(root)
    waiting: list[tuple[Span, int, int]] = [(root, start, end)]
    while waiting:
        span, least, most = waiting.pop()
        now = most
        inner = [each for each in children.get(span.span_id, ()) if each.duration_ns]
        for child in sorted(inner, key=lambda each: interval(each)[1], reverse=True):
            begin, finish = interval(child)
            finish = min(finish, now)
            begin = max(begin, least)
            if begin >= finish:
                continue
            if finish < now:
                found.append(Piece(span, finish, now))
            waiting.append((child, begin, finish))
            now = begin
        if now > least:
            found.append(Piece(span, least, now))
    return sorted(found, key=lambda piece: piece.start_ns)


def gaps(intervals: Sequence[Interval], start: int, end: int) -> list[Interval]:
    """The time between start and end that no interval covers.

    Example:
        >>> gaps([(2, 3), (5, 7)], 0, 8)
        [(0, 2), (3, 5), (7, 8)]
    """
    found: list[Interval] = []
    now = start
    for begin, finish in merged(intervals):
        if begin > now:
            found.append((now, min(begin, end)))
        now = max(now, finish)
    if now < end:
        found.append((now, end))
    return [each for each in found if each[0] < each[1]]
