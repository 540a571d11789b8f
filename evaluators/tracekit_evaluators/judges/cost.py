"""What the agent's model calls cost."""

from __future__ import annotations

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject


@judge(direction="minimize", needs=("cost",), values="US dollars ≥ 0")
def cost(*, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """US dollars that the trace's model calls cost.

    Args:
        max: The most that passes, in US dollars; without it nothing passes or fails.

    Raises:
        UsageError: max is no number.

    Example:
        >>> cost(max=0.05).parameters
        {'max': 0.05}
    """
    limit = limit_of("cost", max)

    def call(subject: Subject) -> Score:
        if subject.trace.cost_usd is None:
            raise MissingInput("the trace does not say what it cost")
        return limited(subject.trace.cost_usd, limit, "US dollars")

    return call
