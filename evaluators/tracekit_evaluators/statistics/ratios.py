"""Ratios of two means over the same cases, such as dollars for each success."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.clusters import Codes, cluster_codes
from tracekit_evaluators.statistics.distributions import t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals, reals

_METHODS = ("fieller", "delta", "bootstrap")


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
    it stays right where the denominator is unsure, and has no end where that could be 0. `delta` is its first
    approximation, ρ ± t·√Var(numerator - ρ·denominator)/mean(denominator). `bootstrap` draws cases (or clusters).

    Args:
        numerators: One for each case.
        denominators: One for each case.
        clusters: For each case what it shares with others.
        method: `fieller`, `delta` or `bootstrap`.
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
    reach = t_quantile(0.5 + level / 2, degrees=count - 1)
    parts = _covariance(above, below, codes, count)
    mean_above, mean_below = float(above.mean()), float(below.mean())
    error = math.sqrt(max(0.0, parts[0] - 2 * value * parts[1] + value * value * parts[2])) / abs(mean_below)
    if method == "delta":
        half = reach * error
        return Estimate(value, value - half, value + half, n, "delta method", error, clusters=told)
    # All ρ with (a - ρb)² ≤ t²·Var(a - ρb): a quadratic in ρ.
    square = reach * reach
    a = mean_below**2 - square * parts[2]
    b = mean_above * mean_below - square * parts[1]
    c = mean_above**2 - square * parts[0]
    if a <= 0:
        reason = "the denominator is not clearly different from 0: the ratio has no interval"
        return Estimate(value, None, None, n, reason, error, clusters=told)
    root = math.sqrt(max(0.0, b * b - a * c))
    return Estimate(value, (b - root) / a, (b + root) / a, n, "Fieller", error, clusters=told)


def _covariance(above: Reals, below: Reals, codes: Codes, count: int) -> tuple[float, float, float]:
    sums = [np.bincount(codes, weights=side - side.mean(), minlength=count) for side in (above, below)]
    scale = count / (count - 1) / len(above) ** 2
    return (
        scale * float((sums[0] ** 2).sum()),
        scale * float((sums[0] * sums[1]).sum()),
        scale * float((sums[1] ** 2).sum()),
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
