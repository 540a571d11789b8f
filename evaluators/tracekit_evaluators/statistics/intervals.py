"""Intervals of one run's means and shares."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.distributions import beta_quantile, normal_quantile, t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals, reals

_FLAT = "all values are equal: no spread to make an interval from"


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
    _check_level(level)
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} is no share: successes must lie between 0 and n")
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    if successes in (0, n):
        return clopper_pearson_interval(successes, n=n, level=level)
    share, z = successes / n, normal_quantile(0.5 + level / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    error = math.sqrt(share * (1 - share) / n)
    return Estimate(share, centre - half, centre + half, round(n), "Wilson", error)


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
    _check_level(level)
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
    _check_level(level)
    array = reals(values)
    n = len(array)
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean, None, None, 1, "one value has no spread to make an interval from")
    error = float(array.std(ddof=1)) / math.sqrt(n)
    if _flat(array):
        return Estimate(float(array[0]), None, None, n, _FLAT, 0.0)
    half = t_quantile(0.5 + level / 2, degrees=n - 1) * error
    return Estimate(mean, mean - half, mean + half, n, "Student t", error)


@np.errstate(over="ignore", invalid="ignore")
def clustered_mean(values: Iterable[float], *, clusters: Sequence[Hashable], level: float = 0.95) -> Estimate:
    """The mean of values that share a source, with an interval that knows that they do.

    SE = √(C/(C-1) · Σ_c (Σ_{i in c} (x_i - m))²) / n with t on C-1 degrees of freedom; K.-Y. Liang and S. L.
    Zeger, Biometrika 73 (1986), as E. Miller, arXiv 2411.00640, uses it for evaluations. With 40 clusters of
    five alike values the plain interval holds the truth in 77 % of repetitions, this one in 95 %.

    Args:
        values: Finite numbers.
        clusters: For each value, what it shares with others: a case, a session, a user.
        level: Confidence level in (0, 1).

    Example:
        >>> clustered_mean([1, 1, 0, 0], clusters=["a", "a", "b", "b"]).method
        'clustered Student t (2 clusters)'
    """
    _check_level(level)
    array = reals(values)
    if len(clusters) != len(array):
        raise UsageError(f"{len(array)} values need {len(array)} clusters, got {len(clusters)}")
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.intp)
    count, n = len(codes), len(array)
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    if count == n:
        return mean_interval(array, level=level)
    mean = float(array.mean())
    if count == 1:
        return Estimate(mean, None, None, 1, "one cluster has no spread to make an interval from")
    if _flat(array):
        return Estimate(float(array[0]), None, None, count, _FLAT, 0.0)
    sums = np.bincount(index, weights=array - mean, minlength=count)
    error = math.sqrt(count / (count - 1) * float(np.square(sums).sum())) / n
    half = t_quantile(0.5 + level / 2, degrees=count - 1) * error
    return Estimate(mean, mean - half, mean + half, count, f"clustered Student t ({count} clusters)", error)


@np.errstate(over="ignore", invalid="ignore")
def mean_of_cases(cases: Sequence[Sequence[float]], *, level: float = 0.95) -> Estimate:
    """The mean over cases of the mean over a case's repeats: each case counts the same.

    With as many repeats for each case this is the clustered mean with cases as clusters.

    Args:
        cases: For each case the values of its repeats; a case without any is left out.
        level: Confidence level in (0, 1).

    Example:
        >>> mean_of_cases([[1.0, 0.0], [1.0, 1.0], [0.0]]).value
        0.5
    """
    means = np.array([reals(case).mean() for case in cases if len(case)], dtype=np.float64)
    found = mean_interval(means, level=level)
    if found.low is None or not any(len(case) > 1 for case in cases):
        return found
    return Estimate(found.value, found.low, found.high, found.n, "Student t over case means", found.standard_error)


def proportion_of_cases(cases: Sequence[Sequence[float]], *, level: float = 0.95) -> Estimate:
    """A pass rate over cases that may be repeated, with Wilson's interval on the effective number of trials.

    Each case counts the same. Trials of one case resemble each other, so their number n shrinks to
    min(n, p(1-p)/v · (z/t(C-1))²), v being the variance of the mean over C cases; E. L. Korn and B. I.
    Graubard, Survey Methodology 24 (1998). Where all or no trials pass, Clopper-Pearson over cases.

    Args:
        cases: For each case its trials as 0 and 1; a case without any is left out.
        level: Confidence level in (0, 1).

    Example:
        >>> rate = proportion_of_cases([[1], [1], [0]])
        >>> round(rate.value, 3), rate.method
        (0.667, 'Wilson')
        >>> proportion_of_cases([[1, 1], [1, 0], [0, 0]]).method
        'Wilson on the effective number of trials (3 cases)'
    """
    _check_level(level)
    kept = [reals(case) for case in cases if len(case)]
    if any(((case != 0) & (case != 1)).any() for case in kept):
        raise UsageError("trials of a pass rate are 0 or 1")
    count, trials = len(kept), sum(len(case) for case in kept)
    if trials == count:
        return wilson_interval(sum(float(case[0]) for case in kept), n=count, level=level)
    shares = np.array([case.mean() for case in kept], dtype=np.float64)
    share = float(shares.mean())
    if share in (0.0, 1.0):
        exact = clopper_pearson_interval(share * count, n=count, level=level)
        return Estimate(share, exact.low, exact.high, count, f"Clopper-Pearson over {count} cases")
    if count == 1:
        return Estimate(share, None, None, 1, "one case has no spread to make an interval from")
    variance = float(shares.var(ddof=1)) / count
    shrink = (normal_quantile(0.5 + level / 2) / t_quantile(0.5 + level / 2, degrees=count - 1)) ** 2
    effective = trials if variance <= 0 else min(trials, share * (1 - share) / variance * shrink)
    found = wilson_interval(share * effective, n=effective, level=level)
    method = f"Wilson on the effective number of trials ({count} cases)"
    return Estimate(share, found.low, found.high, count, method, math.sqrt(variance))


def _flat(array: Reals) -> bool:
    return bool(array.max() == array.min())


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"a confidence level lies between 0 and 1, not {level}")
