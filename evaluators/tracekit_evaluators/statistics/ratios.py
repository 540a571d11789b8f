"""Ratios of two means over the same cases, such as dollars for each success."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.bootstrap import resamples_for, studentised_reach
from tracekit_evaluators.statistics.clusters import (
    FEWEST_TO_TRUST,
    Codes,
    cluster_codes,
    few_clusters,
    half_widths,
    spread,
)
from tracekit_evaluators.statistics.distributions import t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals, reals
from tracekit_evaluators.statistics.means import is_skewed

_METHODS = ("fieller", "studentised", "delta", "bootstrap")


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def ratio_of_means(
    numerators: Sequence[float],
    *,
    denominators: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    method: str = "fieller",
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Σ numerators / Σ denominators with its interval.

    `fieller` (E. C. Fieller, JRSS B 16, 1954) holds all ρ for which the mean of numerator - ρ·denominator could be 0;
    it stays right where the denominator is unsure, and has no end where that could be 0. The error is that of
    `statistics.clusters.spread`. `studentised` is the same with the bootstrap-t of `mean_of_cases` in
    Student's place where numerator - ρ·denominator is skewed. `delta` is its first
    approximation, ρ ± t·√Var(numerator - ρ·denominator)/mean(denominator). `bootstrap` draws cases (or clusters).

    Args:
        numerators: One for each case.
        denominators: One for each case.
        clusters: For each case what it shares with others.
        method: `fieller`, `studentised`, `delta` (with bootstrap-t where skewed) or `bootstrap`.
        level: Confidence level in (0, 1).
        seed: Seed of the bootstrap.

    Example:
        >>> found = ratio_of_means([0.1, 0.2, 0.3, 0.2] * 5, denominators=[1, 1, 0, 1] * 5)
        >>> round(found.value, 4), round(found.low, 4), round(found.high, 4), found.method
        (0.2667, 0.1768, 0.4231, 'Fieller')
    """
    above, below = reals(numerators), reals(denominators)
    if method not in _METHODS:
        raise UsageError(f"a ratio's method is one of {', '.join(_METHODS)}, not {method}")
    if len(above) != len(below):
        raise UsageError(f"{len(above)} numerators need as many denominators, got {len(below)}")
    n = len(above)
    if n == 0 or not below.sum():
        return Estimate(None, None, None, n, "no scores" if n == 0 else "the denominators add up to 0")
    if clusters is None:
        codes, count = np.arange(n, dtype=np.intp), n
    else:
        codes, count = cluster_codes(clusters)
    value = float(above.sum() / below.sum())
    if count < 2:
        return Estimate(value, None, None, n, "one value has no spread to make an interval from")
    told = None if count == n else count
    if method == "bootstrap":
        sums = [np.bincount(codes, weights=side, minlength=count).astype(np.float64) for side in (above, below)]
        low, high = _drawn(sums[0], sums[1], level, seed)
        return Estimate(value, low, high, n, f"bootstrap (2000 resamples, seed {seed})", clusters=told)
    parts = _covariance(above, below, codes, count)
    mean_above, mean_below = float(above.mean()), float(below.mean())
    error = math.sqrt(max(0.0, parts[0] - 2 * value * parts[1] + value * value * parts[2])) / abs(mean_below)
    rest = above - value * below  # its mean is 0 where the ratio is true
    down, up, words = _reaches(
        rest / float(np.abs(rest).max() or 1.0), codes, count, level, seed, drawn=method != "fieller"
    )
    if method == "delta":
        return Estimate(
            value, value - down * error, value + up * error, n, f"delta method{words}", error, clusters=told
        )
    if mean_below < 0:
        down, up = up, down
    ends = [_root(mean_above, mean_below, parts, reach, side) for reach, side in ((down, -1.0), (up, 1.0))]
    if words and None in ends:
        down, up, words = _reaches(rest, codes, count, level, seed, drawn=False)
        ends = [_root(mean_above, mean_below, parts, reach, side) for reach, side in ((down, -1.0), (up, 1.0))]
    lower, upper = ends
    if lower is None or upper is None:
        reason = "the denominator is not clearly different from 0: the ratio has no interval"
        return Estimate(value, None, None, n, reason, error, clusters=told)
    warning = few_clusters(count) if told is not None and count < FEWEST_TO_TRUST else None
    return Estimate(value, lower, upper, n, f"Fieller{words}", error, clusters=told, warning=warning)


def _root(above: float, below: float, parts: tuple[float, float, float], reach: float, side: float) -> float | None:
    """An end of all ρ with (a - ρb)² ≤ t²·Var(a - ρb), a quadratic in ρ; `None` where they have no end."""
    square = reach * reach
    a = below**2 - square * parts[2]
    b = above * below - square * parts[1]
    c = above**2 - square * parts[0]
    return None if a <= 0 else (b + side * math.sqrt(max(0.0, b * b - a * c))) / a


def _reaches(
    rest: Reals, codes: Codes, count: int, level: float, seed: int, *, drawn: bool
) -> tuple[float, float, str]:
    """How many standard errors the interval of the mean of what is left reaches below and above 0."""
    if count < len(rest):
        found = spread(rest, codes, count)
        if drawn and found.standard_error > 0:
            down, up, method, _ = half_widths(found, level=level, seed=seed)
            words = f" with {method}" if "bootstrap" in method else ""
            return down / found.standard_error, up / found.standard_error, words
        reach = t_quantile(0.5 + level / 2, degrees=found.degrees)
        return reach, reach, ""
    reach = t_quantile(0.5 + level / 2, degrees=count - 1)
    if drawn and is_skewed(rest):
        ends = studentised_reach(rest[None, :], level=level, resamples=resamples_for(count), seed=seed)[:, 0].tolist()
        if math.isfinite(ends[0] + ends[1]):
            return ends[0], ends[1], f" with bootstrap-t ({resamples_for(count)} resamples, seed {seed})"
    return reach, reach, ""


def _covariance(above: Reals, below: Reals, codes: Codes, count: int) -> tuple[float, float, float]:
    sums = [np.bincount(codes, weights=side - side.mean(), minlength=count) for side in (above, below)]
    n = len(above)
    weights = 1 / (1 - np.bincount(codes, minlength=count) / n) / n**2  # CR2, as in `clusters.spread`
    return (
        float(weights @ (sums[0] * sums[0])),
        float(weights @ (sums[0] * sums[1])),
        float(weights @ (sums[1] * sums[1])),
    )


def _drawn(above: Reals, below: Reals, level: float, seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    n = len(above)
    found = np.empty(2000)
    for place in range(2000):
        weights = np.bincount(generator.integers(0, n, n), minlength=n)
        found[place] = (weights @ above) / (weights @ below)
    usable = found[np.isfinite(found)]
    low, high = np.quantile(usable, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
