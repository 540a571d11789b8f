"""What was not scored: how much of it, and how far it could move the mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracekit_evaluators.statistics.cases import mean_of_cases


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of those that could be scored were.

    Args:
        scored: How many have a value.
        eligible: How many could have one: all but the `not_applicable`.
        missing: How many of each status other than `scored`, by status, sorted.
    """

    scored: int
    eligible: int
    missing: dict[str, int]

    @property
    def share(self) -> float | None:
        """The scored among the eligible; `None` when nothing is eligible."""
        return self.scored / self.eligible if self.eligible else None


def coverage(statuses: Iterable[str]) -> Coverage:
    """Count what was scored.

    Args:
        statuses: The status of each score; see the design's list.

    Example:
        >>> coverage(["scored", "judge_error", "not_applicable"]).share
        0.5
    """
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    scored = counts.pop("scored", 0)
    eligible = scored + sum(count for status, count in counts.items() if status != "not_applicable")
    return Coverage(scored, eligible, dict(sorted(counts.items())))


def worst_case_bounds(
    cases: Sequence[Sequence[float | None]], *, low: float = 0.0, high: float = 1.0
) -> tuple[float | None, float | None]:
    """The lowest and the highest that the mean over cases could be, whatever the missing scores are.

    Every missing score is taken as `low`, then as `high`; C. F. Manski, AER 80 (1990).

    Args:
        cases: For each case its values, `None` where one is missing.
        low: The least a score can be.
        high: The most a score can be.

    Example:
        >>> worst_case_bounds([[1.0], [None], [0.0], [1.0]])
        (0.5, 0.75)
    """
    ends = [
        mean_of_cases([[fill if value is None else value for value in case] for case in cases]).value
        for fill in (low, high)
    ]
    return ends[0], ends[1]
