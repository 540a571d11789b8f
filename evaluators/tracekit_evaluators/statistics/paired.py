"""Two paired pass rates: T. Tango's score interval and test, McNemar's mid-p, and how large a difference is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.distributions import (
    fair_coin,
    fair_coin_two_sided,
    normal_probability,
    normal_quantile,
)
from tracekit_evaluators.statistics.estimate import Estimate, PValue, reals


@dataclass(frozen=True, slots=True)
class EffectSizes:
    """How large a paired difference is, in other words than its mean.

    Args:
        d_z: Cohen's d_z; `None` where differences do not vary.
        odds: Gained pairs for each lost one, halves added so that it is finite; `None` where no pair differs.
        superiority: The probability that the candidate is above the baseline in a pair, ties half.
    """

    d_z: float | None
    odds: float | None
    superiority: float | None


def tango_difference(*, gained: int, lost: int, n: int, level: float = 0.95) -> Estimate:
    """The difference of two paired pass rates with T. Tango's score interval, Stat. Med. 17 (1998).

    All differences that the score test of `tango_z` does not reject. It has a width even when no pair differs.

    Args:
        gained: Pairs in which only the candidate passes.
        lost: Pairs in which only the baseline passes.
        n: All pairs.
        level: Confidence level in (0, 1).

    Example:
        >>> found = tango_difference(gained=1, lost=7, n=21)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (-0.286, -0.517, -0.026)
    """
    _check(gained, lost, n)
    if n == 0:
        return Estimate(None, None, None, 0, "no pairs")
    value, z = (gained - lost) / n, normal_quantile(0.5 + level / 2)
    low, high = (tango_end(gained=gained, lost=lost, n=n, z=each) for each in (z, -z))
    error = math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / n)) / n
    return Estimate(value, low, high, n, "Tango score, paired", error)


def tango_end(*, gained: float, lost: float, n: int, z: float) -> float:
    """The difference whose `tango_z` is z: below the one that was seen where z is positive.

    Example:
        >>> round(tango_end(gained=1, lost=7, n=21, z=1.959964), 3)
        -0.517
    """
    value = (gained - lost) / n
    ends = (-1.0, value) if z > 0 else (value, 1.0)
    return _root(lambda d: tango_z(gained=gained, lost=lost, n=n, difference=d) - z, *ends)


def tango_z(*, gained: float, lost: float, n: int, difference: float) -> float:
    """The score statistic of "the true difference is `difference`": normal when so, positive when the data lie above.

    (gained - lost - n·δ) / √(n·(2·q + δ·(1 - δ))), q being the likeliest share of lost pairs under that difference.
    Counts need not be whole where pairs differ more or less.

    Example:
        >>> round(tango_z(gained=12, lost=3, n=60, difference=0.0), 4)  # (12-3)/√15
        2.3238
    """
    _check(gained, lost, n)
    share = _likeliest(gained, lost, n, difference)
    variance = n * (2 * share + difference * (1 - difference))
    top = gained - lost - n * difference
    if variance <= 1e-300:
        return 0.0 if abs(top) < 1e-12 else math.copysign(math.inf, top)
    return top / math.sqrt(variance)


def mcnemar_mid_p(*, gained: int, lost: int) -> PValue:
    """McNemar's mid-p test: the exact one, with half of the probability of what was seen.

    M. W. Fagerland, S. Lydersen and P. Laake, BMC Med. Res. Methodol. 13:91 (2013). Less cautious than the exact test
    and still rarely above its level.

    Example:
        >>> round(mcnemar_mid_p(gained=1, lost=7).value, 4)
        0.0391
    """
    tosses = gained + lost
    if tosses == 0:
        return PValue(1.0, "McNemar, mid-p")
    point = math.exp(math.lgamma(tosses + 1) - math.lgamma(gained + 1) - math.lgamma(lost + 1) - tosses * math.log(2.0))
    exact = fair_coin_two_sided(gained, tosses=tosses)
    return PValue(min(1.0, 1.0 - point / 2 if gained == lost else exact - point), "McNemar, mid-p")


def mcnemar_one_sided_p(*, gained: int, lost: int) -> float:
    """The exact probability of at least so many lost pairs among those that differ, when nothing has changed.

    Example:
        >>> mcnemar_one_sided_p(gained=0, lost=3)
        0.125
    """
    return fair_coin(gained, tosses=gained + lost)


def tango_p(*, gained: int, lost: int, n: int, difference: float) -> float:
    """The one-sided p-value against a true difference of at most `difference`; small when the data lie above."""
    return normal_probability(-tango_z(gained=gained, lost=lost, n=n, difference=difference))


def effect_sizes(differences: Iterable[float]) -> EffectSizes:
    """How large paired differences are: Cohen's d_z, the odds of gained to lost, the probability of superiority.

    Example:
        >>> found = effect_sizes([1, 1, 1, -1, 0, 0])
        >>> round(found.d_z, 3), round(found.odds, 3), round(found.superiority, 3)
        (0.408, 2.333, 0.667)
    """
    array = reals(differences)
    n = len(array)
    if n == 0:
        return EffectSizes(None, None, None)
    gained, lost = int(np.count_nonzero(array > 0)), int(np.count_nonzero(array < 0))
    scale = float(np.abs(array).max())
    with np.errstate(over="ignore", under="ignore"):
        spread = float((array / scale).std(ddof=1)) if n > 1 and scale > 0 else 0.0
        mean = float((array / scale).mean()) if scale > 0 else 0.0
    d_z = mean / spread if spread > 1e-15 else None
    odds = (gained + 0.5) / (lost + 0.5) if gained + lost else None
    return EffectSizes(d_z, odds, (gained + (n - gained - lost) / 2) / n)


def _likeliest(gained: float, lost: float, n: int, difference: float) -> float:
    """The likeliest probability of a lost pair when P(gained) = P(lost) + difference."""
    # The root of the likelihood's derivative, 2n·q² + b·q + c = 0.
    a = 2.0 * n
    b = 2.0 * n * difference - (gained + lost) - difference * (gained - lost)
    c = -lost * difference * (1 - difference)
    root = (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
    return min(max(root, 0.0, -difference), (1 - difference) / 2)


def _root(at: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between two ends; an end where it does not."""
    for _ in range(100):
        middle = (low + high) / 2
        if at(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(gained: float, lost: float, n: int) -> None:
    if min(gained, lost) < 0 or gained + lost > n:
        raise UsageError(f"{gained} gained and {lost} lost do not fit into {n} pairs")
