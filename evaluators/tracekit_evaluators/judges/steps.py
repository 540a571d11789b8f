"""How many steps the agent took."""

from __future__ import annotations

from tracekit.attributes import STEP_KINDS
from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject


@judge(direction="minimize", values="count ≥ 0")
def steps(*, kind: str | None = None, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes
    """Steps in the trace: model calls, tool calls, retrievals and so on, each once.

    Args:
        kind: One step kind to count (`tool`, `llm`, …); all but plain spans when not given.
        max: The most that passes; without it nothing passes or fails.

    Raises:
        UsageError: There is no such step kind, or max is no number.

    Example:
        >>> steps(kind="tool", max=10).parameters
        {'kind': 'tool', 'max': 10}
    """
    if kind is not None and kind not in STEP_KINDS:
        raise UsageError(f"steps has no kind {kind!r}; one of {', '.join(STEP_KINDS)}")

    limit = limit_of("steps", max)

    def call(subject: Subject) -> Score:
        counts = subject.trace.steps
        count = counts.get(kind, 0) if kind else sum(n for step, n in counts.items() if step != "span")
        return limited(count, limit, f"{kind or 'all'} steps")

    return call
