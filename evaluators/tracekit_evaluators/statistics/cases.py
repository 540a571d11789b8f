"""Means and shares over cases that may be repeated, and that may share a source."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.clusters import (
    FEWEST_TO_TRUST,
    cluster_codes,
    effective_trials,
    few_clusters,
    half_widths,
    spread,
)
from tracekit_evaluators.statistics.distributions import t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals, reals
from tracekit_evaluators.statistics.heaped import heap_of, heaped_mean
from tracekit_evaluators.statistics.intervals import (
    FLAT,
    check_level,
    clopper_pearson_interval,
    wilson_interval,
)
from tracekit_evaluators.statistics.means import independent_mean


@dataclass(frozen=True, slots=True)
class Repeats:
    """Where the spread of a mean over repeated cases comes from.

    Args:
        between: The variance between cases, noise of repeats taken off; never below 0.
        within: The variance of one try within its case.
        repeats: The harmonic mean of the tries of a case.
        cases: How many cases.
    """

    between: float
    within: float
    repeats: float
    cases: int

    @property
    def within_share(self) -> float | None:
        """Which share of the mean's variance more repeats could take away; `None` where nothing varies."""
        noise = self.within / self.repeats
        total = self.between + noise
        return noise / total if total > 0 else None

    @property
    def advice(self) -> str:
        """What would make the mean surer: more cases, or more repeats of them."""
        share = self.within_share
        if share is None:
            return "nothing varies"
        return "more repeats would help" if share > 0.5 else "more cases would help more than more repeats"


def flattened(cases: Sequence[Sequence[float]]) -> tuple[Reals, Reals]:
    """For each case that has any value its mean and how many values it has.

    Example:
        >>> flattened([[1.0, 0.0], [], [1.0]])
        (array([0.5, 1. ]), array([2., 1.]))
    """
    sizes = np.fromiter(map(len, cases), dtype=np.intp, count=len(cases))
    sizes = sizes[sizes > 0]
    values = reals(np.fromiter(chain.from_iterable(cases), dtype=np.float64, count=int(sizes.sum())))
    if len(sizes) == len(values):
        return values, sizes.astype(np.float64)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    with np.errstate(over="ignore"):
        means: Reals = np.add.reduceat(values, starts) / sizes
    return means, sizes.astype(np.float64)


@np.errstate(over="ignore", invalid="ignore")
def clustered_mean(
    values: Iterable[float],
    *,
    clusters: Sequence[Hashable],
    level: float = 0.95,
    seed: int = 0,
    both_ways: bool = False,
) -> Estimate:
    """The mean of values that share a source, with an interval that knows that they do.

    The standard error and its degrees of freedom are those of `statistics.clusters.spread`, the interval is Student's
    t, where clusters are skewed a bootstrap-t that draws clusters, and where half of the values or more are one and the
    same, the others on one side of it, that of `heaped_mean`. With 40 clusters of five alike values the plain
    interval holds the truth in 77 % of repetitions, this one in 95 %.

    Args:
        values: Finite numbers.
        clusters: For each value, what it shares with others: a case, a session, a user.
        level: Confidence level in (0, 1).
        seed: Seed of the bootstrap.
        both_ways: As for `independent_mean`.

    Example:
        >>> found = clustered_mean([1, 2, 5, 7] * 6, clusters=[i // 2 for i in range(24)])
        >>> found.method, round(found.design_effect, 2)
        ('clustered Student t (12 clusters)', 1.86)
    """
    check_level(level)
    array = reals(values)
    if len(clusters) != len(array):
        raise UsageError(f"{len(array)} values need {len(array)} clusters, got {len(clusters)}")
    codes, count = cluster_codes(clusters)
    n = len(array)
    if n == 0:
        return Estimate(None, None, None, 0, "no scores")
    if count == n:
        return independent_mean(array, level=level, seed=seed, both_ways=both_ways)
    if count == 1:
        return Estimate(float(array.mean()), None, None, n, "one cluster has no spread to make an interval from")
    if array.max() == array.min():
        return Estimate(float(array[0]), None, None, n, FLAT, 0.0, clusters=count)
    found = spread(array, codes, count)
    heap = None if both_ways else heap_of(array)
    if heap is not None and not (len(heap.above) and len(heap.below)):
        return heaped_mean(heap, shared=found, level=level)
    down, up, method, warning = half_widths(found, level=level, seed=seed)
    if not (math.isfinite(down) and math.isfinite(up)):
        down = up = t_quantile(0.5 + level / 2, degrees=found.degrees) * found.standard_error
        method = f"clustered Student t ({count} clusters)"
    return Estimate(
        found.mean,
        found.mean - down,
        found.mean + up,
        n,
        method,
        found.standard_error,
        clusters=count,
        design_effect=found.design_effect,
        warning=warning,
    )


@np.errstate(over="ignore", invalid="ignore")
def mean_of_cases(
    cases: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """The mean over cases of the mean over a case's repeats: each case counts the same.

    The interval is that of `independent_mean` over the cases' means or, where cases share sources, of `clustered_mean`.

    Args:
        cases: For each case the values of its repeats; a case without any is left out.
        clusters: For each case what it shares with others.
        level: Confidence level in (0, 1).
        seed: Seed of a bootstrap.

    Example:
        >>> mean_of_cases([[1.0, 0.0], [1.0, 1.0], [0.0]]).value
        0.5
    """
    means, sizes = flattened(cases)
    groups = _kept(clusters, cases)
    if groups is not None and len(set(groups)) < len(means):
        return clustered_mean(means, clusters=groups, level=level, seed=seed)
    found = independent_mean(means, level=level, seed=seed)
    repeated = found.low is not None and sizes.max() > 1
    return replace(found, method=f"{found.method} over case means") if repeated else found


def proportion_of_cases(
    cases: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Estimate:
    """A pass rate over cases that may be repeated, with Wilson's interval on the effective number of trials.

    Each case counts the same. Trials of one case (and cases of one source) resemble each other, so their number n
    shrinks to min(n, p(1-p)/v · (z/t)²), v being the variance of the mean over cases or sources; E. L. Korn and B. I.
    Graubard, Survey Methodology 24 (1998); `effective_trials` says what it is over few sources. Where all or no trials
    pass, Clopper-Pearson over cases or sources. Below ten sources it warns.

    Args:
        cases: For each case its trials as 0 and 1; a case without any is left out.
        clusters: For each case what it shares with others.
        level: Confidence level in (0, 1).

    Example:
        >>> rate = proportion_of_cases([[1], [1], [0]])
        >>> round(rate.value, 3), rate.method
        (0.667, 'Wilson')
        >>> proportion_of_cases([[1, 1], [1, 0], [0, 0]]).method
        'Wilson on the effective number of trials (3 cases)'
    """
    check_level(level)
    if any(value not in (0, 1) for value in chain.from_iterable(cases)):
        raise UsageError("trials of a pass rate are 0 or 1")
    shares, sizes = flattened(cases)
    count, trials = len(shares), int(sizes.sum())
    groups = _kept(clusters, cases)
    sources = count if groups is None else len(set(groups))
    if trials == count and sources == count:
        return wilson_interval(float(shares.sum()), n=count, level=level)
    share = float(shares.mean())
    if share in (0.0, 1.0):
        exact = clopper_pearson_interval(share * sources, n=sources, level=level)
        what = f"{count} cases" if sources == count else f"{sources} clusters"
        told = None if sources == count else sources
        return Estimate(share, exact.low, exact.high, count, f"Clopper-Pearson over {what}", clusters=told)
    return share_of_cases(shares, groups, most=trials, level=level)


def share_of_cases(shares: Reals, groups: Sequence[Hashable] | None, *, most: float, level: float = 0.95) -> Estimate:
    """The mean of cases' shares with Wilson's interval on the trials that it is as sure as; see `effective_trials`.

    Args:
        shares: For each case its share, not all of them 0 or all of them 1.
        groups: For each case what it shares with others.
        most: How many trials it is at most.
        level: Confidence level in (0, 1).
    """
    count, share = len(shares), float(shares.mean())
    sources = count if groups is None else len(set(groups))
    if sources == 1:
        reason = f"one {'case' if count == 1 else 'cluster'} has no spread to make an interval from"
        return Estimate(share, None, None, count, reason)
    if groups is None or sources == count:
        error, found = float(shares.std(ddof=1)) / math.sqrt(count), None
    else:
        found = spread(shares, *cluster_codes(groups))
        error = found.standard_error
    effective = effective_trials(share, error, found, cases=count, most=most, level=level)
    inside = wilson_interval(share * effective, n=effective, level=level)
    what = f"{count} cases" if found is None else f"{sources} clusters"
    return Estimate(
        share,
        inside.low,
        inside.high,
        count,
        f"Wilson on the effective number of trials ({what})",
        error,
        clusters=None if found is None else sources,
        design_effect=None if found is None else found.design_effect,
        warning=few_clusters(sources) if found is not None and sources < FEWEST_TO_TRUST else None,
    )


@np.errstate(over="ignore", invalid="ignore")
def repeats_of_cases(cases: Sequence[Sequence[float]]) -> Repeats | None:
    """How much of a mean's variance lies between cases and how much within them; `None` without repeats.

    Var(mean) = between/n + within/(n·K); the between part is the variance of the cases' means less their noise.

    Example:
        >>> found = repeats_of_cases([[1, 0], [1, 1], [0, 0]])
        >>> round(found.within, 3), round(found.between, 3), found.advice
        (0.167, 0.167, 'more cases would help more than more repeats')
    """
    means, sizes = flattened(cases)
    n, trials = len(means), float(sizes.sum())
    if n < 2 or trials <= n:
        return None
    squares = float(sum(value * value for value in chain.from_iterable(cases)))
    within = max(0.0, squares - float((sizes * np.square(means)).sum())) / (trials - n)
    harmonic = n / float((1 / sizes).sum())
    between = max(0.0, float(means.var(ddof=1)) - within / harmonic)
    if not (math.isfinite(within) and math.isfinite(between)):
        return None
    return Repeats(between, within, harmonic, n)


def _kept(clusters: Sequence[Hashable] | None, cases: Sequence[Sequence[float]]) -> list[Hashable] | None:
    if clusters is None:
        return None
    if len(clusters) != len(cases):
        raise UsageError(f"{len(cases)} cases need {len(cases)} clusters, got {len(clusters)}")
    return [cluster for cluster, case in zip(clusters, cases, strict=True) if len(case)]
