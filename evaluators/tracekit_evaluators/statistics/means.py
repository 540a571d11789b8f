"""The mean of independent numbers, by the interval that fits how they lie."""

from __future__ import annotations

import math

from tracekit_evaluators.statistics.bootstrap import MOST_TO_DRAW, bootstrap_t_interval
from tracekit_evaluators.statistics.clusters import SKEWED, skewness
from tracekit_evaluators.statistics.estimate import Estimate, Reals
from tracekit_evaluators.statistics.heaped import heap_of, heaped_difference, heaped_mean
from tracekit_evaluators.statistics.intervals import mean_interval

_FEWEST_TO_DRAW = 20


def independent_mean(array: Reals, *, level: float = 0.95, seed: int = 0, both_ways: bool = False) -> Estimate:
    """The mean of finite numbers that share nothing, with its interval.

    Where half of them or more are one and the same, `heaped_mean`. Where they are so skewed that Student's t would hold
    the mean too seldom (|skewness|/√n > 0.1, 20 to 20,000 numbers), the seeded `bootstrap_t_interval`. Else Student's.

    Args:
        array: The numbers.
        level: Confidence level in (0, 1).
        seed: Seed of a bootstrap.
        both_ways: Whether numbers could lie on both sides of the one that most are, though none does: they are
            differences.
    """
    heap = heap_of(array)
    if heap is not None:
        return heaped_difference(heap, level=level) if both_ways else heaped_mean(heap, level=level, seed=seed)
    found = mean_interval(array, level=level)
    if found.low is None or not is_skewed(array):
        return found
    drawn = bootstrap_t_interval(array, level=level, seed=seed)
    return found if drawn.low is None else drawn


def is_skewed(array: Reals) -> bool:
    """Whether Student's t holds the mean of such numbers visibly less often than it promises, and a bootstrap helps."""
    n = len(array)
    return _FEWEST_TO_DRAW <= n <= MOST_TO_DRAW and abs(skewness(array)) / math.sqrt(n) > SKEWED
