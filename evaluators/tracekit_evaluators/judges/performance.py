"""Where an agent's time went: waiting for models and tools, side by side or one after the other, or for nothing."""

from __future__ import annotations

import math
from builtins import max as greatest

from tracekit.errors import UsageError
from tracekit_evaluators.intervals import covered, critical_path, gaps, interval, working
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject

_WHICH = ("first", "last", "mean", "max")


@judge(direction="minimize", needs=("time to first chunk",), values="seconds ≥ 0")
def ttft(*, which: str = "max", max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Seconds until a model call's first chunk.

    Args:
        which: Of the trace's model calls that say so: the `first`, the `last`, their `mean`, or the slowest (`max`).
        max: The most that passes, in seconds; without it nothing passes or fails.

    Raises:
        UsageError: There is no such choice.

    Example:
        >>> ttft(which="last", max=1.5).parameters
        {'which': 'last', 'max': 1.5}
    """
    if which not in _WHICH:
        raise UsageError(f"ttft has no choice {which!r}; one of {', '.join(_WHICH)}")
    limit = limit_of("ttft", max)

    def call(subject: Subject) -> Score:
        times = [each.ttft_ms / 1e3 for each in subject.model_calls if each.ttft_ms is not None]
        if not times:
            raise MissingInput("no model call says when its first chunk came")
        if which == "mean":
            return limited(math.fsum(times) / len(times), limit, "s")
        return limited({"first": times[0], "last": times[-1], "max": greatest(times)}[which], limit, "s")

    return call


@judge(direction="neutral", needs=("duration",), values="[0,1] each")
def critical_path_share(subject: Subject) -> dict[str, Score]:
    """Share of the trace's time on its critical path that steps account for; by kind `.llm`, `.tool`, `.retriever`.

    The critical path is what the end had to wait for: from the end backwards, always the child that ended last. What
    no step accounts for is the agent's own code. What runs beside the critical path costs no time.
    """
    pieces = critical_path(subject.trace)
    total = sum(piece.end_ns - piece.start_ns for piece in pieces)
    if not total:
        raise MissingInput("the trace has no duration")
    spans = {span.span_id: span for span in subject.trace.spans}
    by_kind = dict.fromkeys(("llm", "tool", "retriever"), 0)
    longest: dict[str, int] = {}
    steps = 0
    working_under: dict[str, str | None] = {}
    for span in subject.trace.spans:  # parents stand before their children
        above = working_under.get(span.parent_span_id or "")
        own = span.step if span.step not in ("span", "agent", "chain", "task") else None
        working_under[span.span_id] = above or own
    for piece in pieces:
        kind = working_under[piece.span.span_id]
        took = piece.end_ns - piece.start_ns
        longest[piece.span.span_id] = longest.get(piece.span.span_id, 0) + took
        if kind is not None:
            steps += took
            if kind in by_kind:
                by_kind[kind] += took
    worst = sorted(longest, key=lambda span_id: -longest[span_id])[:5]
    told = ", ".join(f"{spans[span_id].name} {longest[span_id] / 1e9:.3g} s" for span_id in worst)
    return {
        "critical_path_share": Score(
            steps / total, explanation=told, evidence=[Evidence(span_id, spans[span_id].name) for span_id in worst]
        ),
        **{f"critical_path_share.{kind}": Score(took / total) for kind, took in by_kind.items()},
    }


@judge(direction="minimize", needs=("duration",), values="[0,1]")
def tool_wait_share(*, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Share of the trace's time in which at least one tool was running.

    Args:
        max: The most that passes, in [0,1]; without it nothing passes or fails.
    """
    limit = limit_of("tool_wait_share", max)

    def call(subject: Subject) -> Score:
        total = _duration(subject)
        spans = working(subject.trace, ("tool",))
        if not spans:
            raise NotApplicable("no span of a tool has a duration")
        share = min(1.0, covered(map(interval, spans)) / total)
        slowest = sorted(spans, key=lambda span: -(span.duration_ns or 0))[:3]
        score = limited(share, limit, "of the time")
        return Score(score.value, passed=score.passed, evidence=[Evidence(each.span_id, each.name) for each in slowest])

    return call


@judge(needs=("duration",), values="number ≥ 0")
def parallelism(subject: Subject) -> Score:
    """How many steps ran side by side: the durations of model calls, tools and retrievals summed / the trace's time.

    Below 1 the agent waited for none of them at times; without steps it is not applicable.
    """
    total = _duration(subject)
    spans = working(subject.trace)
    if not spans:
        raise NotApplicable("no step has a duration")
    return Score(sum(span.duration_ns or 0 for span in spans) / total)


@judge(direction="minimize", needs=("duration",), values="seconds ≥ 0")
def queue_gap(*, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Seconds of the trace in which no step ran: queues, the agent's own code, or what nobody traced.

    Besides it says `queue_gap.longest`: the longest single gap.

    Args:
        max: The most that passes, in seconds; without it nothing passes or fails.
    """
    limit = limit_of("queue_gap", max)

    def call(subject: Subject) -> dict[str, Score]:
        total = _duration(subject)
        spans = working(subject.trace)
        if not spans:
            raise NotApplicable("no step has a duration")
        start = subject.trace.start_ns
        found = [end - begin for begin, end in gaps([interval(span) for span in spans], start, start + total)]
        longest = greatest(found) if found else 0
        return {
            "queue_gap": limited(sum(found) / 1e9, limit, "s"),
            "queue_gap.longest": Score(longest / 1e9),
        }

    return call


def _duration(subject: Subject) -> int:
    total = subject.trace.duration_ns
    if not total:
        raise MissingInput("the trace has no duration")
    return total
