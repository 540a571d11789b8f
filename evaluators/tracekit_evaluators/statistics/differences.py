"""The difference between two runs: paired where they tried the same cases, independent where they did not.

Differences are candidate minus baseline.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.cases import clustered_mean
from tracekit_evaluators.statistics.distributions import (
    fair_coin_two_sided,
    fisher_two_sided,
    normal_quantile,
    t_quantile,
    t_two_sided,
)
from tracekit_evaluators.statistics.estimate import Estimate, PValue, Reals, reals
from tracekit_evaluators.statistics.intervals import wilson_interval
from tracekit_evaluators.statistics.means import independent_mean

_EXACT_UP_TO = 16  # 65,536 sign patterns
_DRAWN_UP_TO = 2_000  # beyond, the t test's p-value is the same to three digits
_CELLS = 4_000_000


@np.errstate(over="ignore", invalid="ignore")
def paired_difference(
    differences: Iterable[float], *, clusters: Sequence[Hashable] | None = None, level: float = 0.95
) -> Estimate:
    """The mean of paired differences with its interval (`independent_mean`), clustered where pairs share a source.

    The variance is that of the differences, so what makes a case hard for both versions cancels out: it is
    smaller than that of two independent means by 2·Cov/n (E. Miller, arXiv 2411.00640).

    Args:
        differences: One for each pair: the candidate's mean over repeats minus the baseline's.
        clusters: For each pair what it shares with others, such as a session.
        level: Confidence level in (0, 1).

    Example:
        >>> found = paired_difference([0.1, 0.2, 0.0, 0.1])
        >>> round(found.value, 3), found.method
        (0.1, 'paired Student t')
    """
    array = reals(differences)
    found = (
        independent_mean(array, level=level, both_ways=True)
        if clusters is None
        else clustered_mean(array, clusters=clusters, level=level, both_ways=True)
    )
    method = found.method if found.low is None else f"paired {found.method}"
    method = method.replace("values are", "differences are").replace("no scores", "no pairs")
    return replace(found, method=method)


def paired_proportion_difference(*, gained: int, lost: int, n: int, level: float = 0.95) -> Estimate:
    """The difference of two paired pass rates with the adjusted interval of D. G. Bonett and R. M. Price.

    J. Educ. Behav. Stat. 37 (2012): with p12 = (gained+1)/(n+2) and p21 = (lost+1)/(n+2),
    p12 - p21 ± z √((p12 + p21 - (p12 - p21)²)/(n+2)). It has a width even when no pair differs.

    Args:
        gained: Pairs in which only the candidate passes.
        lost: Pairs in which only the baseline passes.
        n: All pairs.
        level: Confidence level in (0, 1).

    Example:
        >>> found = paired_proportion_difference(gained=12, lost=3, n=60)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.15, 0.02, 0.27)
    """
    if min(gained, lost) < 0 or gained + lost > n:
        raise UsageError(f"{gained} gained and {lost} lost do not fit into {n} pairs")
    if n == 0:
        return Estimate(None, None, None, 0, "no pairs")
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = normal_quantile(0.5 + level / 2) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    return Estimate((gained - lost) / n, low, high, n, "Bonett-Price, paired")


def mcnemar_exact_p(*, gained: int, lost: int) -> PValue:
    """McNemar's exact test: are the pairs that changed as likely to be gained as lost?

    Two-sided binomial of the discordant pairs with probability 1/2; Q. McNemar, Psychometrika 12 (1947).

    Example:
        >>> round(mcnemar_exact_p(gained=12, lost=3).value, 4)
        0.0352
    """
    return PValue(fair_coin_two_sided(gained, tosses=gained + lost), "McNemar, exact")


@np.errstate(over="ignore", invalid="ignore")
def sign_flip_p(
    differences: Iterable[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> PValue:
    """The permutation test of paired differences: how often do flipped signs give as large a mean?

    All 2ⁿ patterns for up to 16 differences that are not zero; else (1 + #)/(B + 1) over B seeded draws; for
    more than 2,000 the paired t test. Whole clusters flip together. Exact when differences are symmetric
    under no change.

    Args:
        differences: One for each pair.
        clusters: For each pair what it shares with others.
        resamples: B.
        seed: Seed of the draws.

    Example:
        >>> sign_flip_p([1.0, 1.0, 1.0, 1.0, 1.0]).value
        0.0625
    """
    array = reals(differences)
    if len(array) == 0:
        return PValue(None, "no pairs")
    if clusters is not None:
        array = _cluster_sums(array, clusters)
    moved = np.sort(array[array != 0])  # the same differences in another order get the same draws
    if len(moved) == 0:
        return PValue(1.0, "sign-flip permutation, exact")
    if len(moved) > _DRAWN_UP_TO:
        return _t_test(array)
    moved = moved / np.abs(moved).max()  # the test knows no unit, and sums of large numbers overflow
    # Equal sums in another order differ in the last bit, and so do those that cancel out.
    seen = abs(float(moved.sum())) - 1e-12 * float(np.abs(moved).sum())
    if len(moved) <= _EXACT_UP_TO:
        signs = np.array(list(product((1.0, -1.0), repeat=len(moved) - 1)), dtype=np.float64)
        sums = moved[0] + signs.reshape(2 ** (len(moved) - 1), len(moved) - 1) @ moved[1:]
        return PValue(float(np.mean(np.abs(sums) >= seen)), "sign-flip permutation, exact")
    as_large = flips_as_large(moved[None, :], seen=np.array([seen]), resamples=resamples, seed=seed)
    return PValue((1 + int(as_large[0])) / (resamples + 1), f"sign-flip permutation ({resamples} draws, seed {seed})")


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def paired_effect_size(differences: Iterable[float]) -> float | None:
    """Cohen's d_z: mean difference / standard deviation of the differences; `None` without spread.

    J. Cohen, Statistical Power Analysis (1988), ch. 2. Around 0.2 is small, 0.5 middling, 0.8 large.

    Example:
        >>> round(paired_effect_size([1.0, 2.0, 3.0]), 3)
        2.0
    """
    array = reals(differences)
    if len(array) < 2 or array.max() == array.min():
        return None
    spread = float(array.std(ddof=1))
    effect = float(array.mean()) / spread if spread > 0 else math.inf
    return effect if math.isfinite(effect) else None


@np.errstate(over="ignore", invalid="ignore")
def independent_difference(
    baseline: Iterable[float], *, candidate: Iterable[float], level: float = 0.95
) -> tuple[Estimate, PValue]:
    """The difference of two independent means with B. L. Welch's t interval and test, Biometrika 34 (1947).

    Args:
        baseline: The baseline's case means.
        candidate: The candidate's case means.
        level: Confidence level in (0, 1).

    Example:
        >>> found, p = independent_difference([1.0, 2.0, 3.0], candidate=[2.0, 3.0, 4.0])
        >>> found.value, round(p.value, 3)
        (1.0, 0.288)
    """
    before, after = reals(baseline), reals(candidate)
    n = min(len(before), len(after))
    if n == 0:
        return Estimate(None, None, None, 0, "one side has no scores"), PValue(None, "one side has no scores")
    value = float(after.mean() - before.mean())
    if n == 1:
        reason = "one side has a single value: no spread to make an interval from"
        return Estimate(value, None, None, 1, reason), PValue(None, reason)
    parts = [float(side.var(ddof=1)) / len(side) for side in (before, after)]
    error = math.sqrt(sum(parts))
    if not error > 0:
        reason = "all values of both sides are equal: no spread to make an interval from"
        return Estimate(value, None, None, n, reason, 0.0), PValue(None, reason)
    shares = [part / sum(parts) for part in parts]
    degrees = 1 / sum(s**2 / (len(side) - 1) for s, side in zip(shares, (before, after), strict=True))
    half = t_quantile(0.5 + level / 2, degrees=degrees) * error
    found = Estimate(value, value - half, value + half, n, "Welch t, unpaired", error)
    return found, PValue(t_two_sided(value / error, degrees=degrees), "Welch t, unpaired")


def independent_proportion_difference(
    *, baseline: tuple[int, int], candidate: tuple[int, int], level: float = 0.95
) -> Estimate:
    """The difference of two independent pass rates with R. G. Newcombe's hybrid score interval.

    Stat. Med. 17 (1998), method 10: from Wilson's ends l and u of either side, d - √((p2-l2)² + (u1-p1)²) and
    d + √((u2-p2)² + (p1-l1)²).

    Args:
        baseline: (passed, tried).
        candidate: (passed, tried).
        level: Confidence level in (0, 1).

    Example:
        >>> found = independent_proportion_difference(baseline=(48, 80), candidate=(56, 70))
        >>> round(found.value, 3), round(found.low, 4), round(found.high, 4)
        (0.2, 0.0524, 0.3339)
    """
    if not baseline[1] or not candidate[1]:
        return Estimate(None, None, None, 0, "one side has no scores")
    (p1, l1, u1), (p2, l2, u2) = (_plain_wilson(*side, level=level) for side in (baseline, candidate))
    value = p2 - p1
    low = value - math.hypot(p2 - l2, u1 - p1)
    high = value + math.hypot(u2 - p2, p1 - l1)
    return Estimate(value, low, high, min(baseline[1], candidate[1]), "Newcombe, unpaired")


def fisher_exact_p(*, baseline: tuple[int, int], candidate: tuple[int, int]) -> PValue:
    """R. A. Fisher's exact test of two independent pass rates, each given as (passed, tried).

    Example:
        >>> round(fisher_exact_p(baseline=(1, 10), candidate=(8, 10)).value, 4)
        0.0055
    """
    if not baseline[1] or not candidate[1]:
        return PValue(None, "one side has no scores")
    table = ((candidate[0], candidate[1] - candidate[0]), (baseline[0], baseline[1] - baseline[0]))
    return PValue(min(1.0, fisher_two_sided(table)), "Fisher, exact, unpaired")


def _plain_wilson(passed: int, tried: int, *, level: float) -> tuple[float, float, float]:
    # Newcombe's method is defined by Wilson's ends at 0 and 1 too, where `wilson_interval` gives Clopper-
    # Pearson's.
    if 0 < passed < tried:
        found = wilson_interval(passed, n=tried, level=level)
        return float(found.value or 0.0), float(found.low or 0.0), float(found.high or 0.0)
    z2 = normal_quantile(0.5 + level / 2) ** 2
    width = z2 / (tried + z2)
    return (0.0, 0.0, width) if passed == 0 else (1.0, 1 - width, 1.0)


def _cluster_sums(array: Reals, clusters: Sequence[Hashable]) -> Reals:
    if len(clusters) != len(array):
        raise UsageError(f"{len(array)} differences need {len(array)} clusters, got {len(clusters)}")
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.intp)
    sums = np.bincount(index, weights=array, minlength=len(codes))
    return sums.astype(np.float64)


def flips_as_large(
    rows: Reals, *, seen: Reals, resamples: int = 9999, seed: int = 0
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """How many of the drawn sign patterns give each sample (row) a sum at least as large as was seen.

    Args:
        rows: For each sample its differences that are not zero, sorted, all samples of one size.
        seen: For each sample the sum that was seen.
        resamples: How many patterns to draw; the same ones for each sample.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    size, part = max(1, _CELLS // rows.shape[1]), max(1, _CELLS // len(rows))
    total = rows.sum(axis=1)
    found = np.zeros(len(rows), dtype=np.intp)
    for start in range(0, resamples, size):
        flips = generator.integers(0, 2, (min(size, resamples - start), rows.shape[1]), dtype=np.int8)
        for at in range(0, len(flips), part):
            sums = np.abs(total - 2.0 * (flips[at : at + part].astype(np.float64) @ rows.T))
            found += np.count_nonzero(sums >= seen, axis=0)
    return found


def _t_test(array: Reals) -> PValue:
    error = float(array.std(ddof=1)) / math.sqrt(len(array))
    if not error > 0:
        return PValue(None, "all differences are equal: no spread to test against")
    return PValue(t_two_sided(float(array.mean()) / error, degrees=len(array) - 1), "paired Student t")
