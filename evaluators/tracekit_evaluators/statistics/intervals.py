"""Intervals of means and shares of independent values."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.distributions import beta_quantile, normal_quantile, t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals, reals

FLAT = "all values are equal: no spread to make an interval from"


def wilson_interval(successes: float, *, n: float, level: float = 0.95) -> Estimate:
    """A share with Wilson's score interval, and Clopper-Pearson's where all or none succeed.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), from E. B. Wilson, JASA 22 (1927). At n = 30 and a true
    share of 0.9 it holds the share in 97 % of repetitions, where the textbook p ± z·SE holds it in 81 %.

    Args:
        successes: How many succeeded, 0 ≤ successes ≤ n; not whole when `n` is an effective size.
        n: How many were tried.
        level: Confidence level in (0, 1).

    Example:
        >>> share = wilson_interval(84, n=200)
        >>> round(share.low, 4), round(share.high, 4)
        (0.3537, 0.4893)
    """
    check_level(level)
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} is no share: successes must lie between 0 and n")
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    if successes in (0, n):
        return clopper_pearson_interval(successes, n=n, level=level)
    share, z = successes / n, normal_quantile(0.5 + level / 2)
    error = math.sqrt(share * (1 - share) / n)
    low, high = (wilson_end(share, n=n, z=each) for each in (-z, z))
    return Estimate(share, low, high, round(n), "Wilson", error)


def wilson_end(share: float, *, n: float, z: float) -> float:
    """The share that lies z of its own standard errors above a share that was seen (below, where z is negative).

    Example:
        >>> round(wilson_end(0.42, n=200, z=1.959964), 4)
        0.4893
    """
    square = z * z / n
    return (share + square / 2 + z * math.sqrt(share * (1 - share) / n + square / (4 * n))) / (1 + square)


def clopper_pearson_interval(successes: float, *, n: float, level: float = 0.95) -> Estimate:
    """A share with the exact interval of C. J. Clopper and E. S. Pearson, Biometrika 26 (1934).

    Beta quantiles: low = B(α/2; s, n-s+1), high = B(1-α/2; s+1, n-s). It never covers too little.

    Args:
        successes: How many succeeded.
        n: How many were tried.
        level: Confidence level in (0, 1).

    Example:
        >>> round(clopper_pearson_interval(30, n=30).low, 3)
        0.884
    """
    check_level(level)
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, a=successes, b=n - successes + 1)
    high = 1.0 if successes == n else beta_quantile(1 - tail, a=successes + 1, b=n - successes)
    return Estimate(successes / n, low, high, round(n), "Clopper-Pearson")


@np.errstate(over="ignore", invalid="ignore")
def mean_interval(values: Iterable[float], *, level: float = 0.95) -> Estimate:
    """The mean of independent values with Student's t interval, m ± t(n-1) · s/√n.

    Args:
        values: Finite numbers; they may be none.
        level: Confidence level in (0, 1).

    Example:
        >>> mean = mean_interval([1.0, 2.0, 3.0])
        >>> mean.value, round(mean.low, 3), round(mean.high, 3)
        (2.0, -0.484, 4.484)
        >>> mean_interval([5.0]).method
        'one value has no spread to make an interval from'
    """
    check_level(level)
    array = reals(values)
    n = len(array)
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean, None, None, 1, "one value has no spread to make an interval from")
    error = float(array.std(ddof=1)) / math.sqrt(n)
    if _flat(array):
        return Estimate(float(array[0]), None, None, n, FLAT, 0.0)
    half = t_quantile(0.5 + level / 2, degrees=n - 1) * error
    return Estimate(mean, mean - half, mean + half, n, "Student t", error)


def _flat(array: Reals) -> bool:
    return bool(array.max() == array.min())


def check_level(level: float) -> None:
    """Raise where a confidence level is none."""
    if not 0 < level < 1:
        raise UsageError(f"a confidence level lies between 0 and 1, not {level}")
