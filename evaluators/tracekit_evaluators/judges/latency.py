"""How long the agent took."""

from __future__ import annotations

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject


@judge(direction="minimize", needs=("duration",), values="seconds ≥ 0")
def latency(*, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Seconds from the trace's start to its end.

    Args:
        max: The longest time that passes, in seconds; without it nothing passes or fails.

    Raises:
        UsageError: max is no number.

    Example:
        >>> latency(max=2.5).parameters
        {'max': 2.5}
    """
    limit = limit_of("latency", max)

    def call(subject: Subject) -> Score:
        if subject.trace.duration_ns is None:
            raise MissingInput("the trace has no duration")
        return limited(subject.trace.duration_ns / 1e9, limit, "s")

    return call
