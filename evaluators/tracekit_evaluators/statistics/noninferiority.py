"""Is the candidate at most a margin worse? One-sided tests of paired differences against -margin, both ways.

Differences are "better is positive". `no_worse` is the p-value against "worse by more than the margin", `worse` that
against "not worse by more than the margin". Both follow from one estimate, so they never contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tracekit_evaluators.statistics.cases import clustered_mean
from tracekit_evaluators.statistics.clusters import cluster_codes, spread
from tracekit_evaluators.statistics.distributions import t_probability
from tracekit_evaluators.statistics.estimate import Estimate, reals
from tracekit_evaluators.statistics.heaped import heap_of, heaped_difference, heaped_p
from tracekit_evaluators.statistics.intervals import mean_interval
from tracekit_evaluators.statistics.paired import mcnemar_one_sided_p, tango_difference, tango_p

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class MarginTest:
    """A paired difference against a margin.

    Args:
        estimate: The difference with the interval whose ends are the one-sided bounds at `1 - alpha`.
        no_worse: p-value against "worse by at least the margin"; small speaks for PASS. `None` where nothing can be
            tested, which `estimate.method` explains.
        worse: p-value against "at most the margin worse"; small speaks for FAIL.
        spread: The standard deviation that a pair would have if the pairs were independent: SE·√n.
    """

    estimate: Estimate
    no_worse: float | None
    worse: float | None
    spread: float | None


def margin_test(
    differences: Sequence[float],
    *,
    margin: float,
    yes_no: bool,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
    scale: float = 1.0,
    seed: int = 0,
) -> MarginTest:
    """Test paired differences against -margin.

    Pass or fail, each case once: T. Tango's score test; what it says for "worse" must also hold in McNemar's exact
    one-sided test, and so must "better" where the margin is 0. Numbers of which half or more are one and the same, as
    where few cases differ at all: `heaped_difference`. Otherwise t over cases or, where cases share a source, over
    sources. Where all differences are equal: with n of them, a share of
    1 - α^(1/n) could be anything up to `scale` away.

    Args:
        differences: One for each case, better is positive.
        margin: How much worse is still as good, 0 or more. With 0, `no_worse` is the test for "better".
        yes_no: Whether every difference is -1, 0 or 1.
        alpha: Level of each one-sided test.
        clusters: For each case what it shares with others.
        scale: How far apart two scores can be: 1 for shares.
        seed: Seed of the bootstrap.

    Example:
        >>> found = margin_test([0] * 180 + [1] * 12 + [-1] * 8, margin=0.05, yes_no=True)
        >>> found.no_worse < 0.05, found.worse > 0.05
        (True, True)
    """
    array = reals(differences)
    array[np.abs(array) < _ROUNDING] = 0.0
    n, level = len(array), 1 - 2 * alpha
    if n == 0:
        return MarginTest(Estimate(None, None, None, 0, "no pairs"), None, None, None)
    shared = clusters is not None and len(set(clusters)) < n
    if yes_no and not shared:
        return _counted(int((array > 0).sum()), int((array < 0).sum()), n, margin, level)
    if array.min() == array.max():
        return _all_equal(float(array[0]), n if not shared else len(set(clusters or ())), n, margin, alpha, scale)
    if clusters is None or not shared:
        heap = heap_of(array)
        if heap is not None:
            no_worse, worse = heaped_p(heap, difference=-margin)
            found = heaped_difference(heap, level=level)
            return MarginTest(found, no_worse, worse, heap.standard_error * math.sqrt(n))
        found = mean_interval(array, level=level)
        assert found.standard_error is not None  # noqa: S101 - two values that differ have one
        return _by_t(found, n - 1, margin, n)
    codes, count = cluster_codes(clusters)
    found = clustered_mean(array, clusters=clusters, level=level, seed=seed)
    if count < 2 or not found.standard_error:
        return MarginTest(found, None, None, None)
    return _by_t(found, spread(array, codes, count).degrees, margin, n)


def _counted(gained: int, lost: int, n: int, margin: float, level: float) -> MarginTest:
    found = tango_difference(gained=gained, lost=lost, n=n, level=level)
    no_worse = tango_p(gained=gained, lost=lost, n=n, difference=max(-1.0, min(1.0, -margin)))
    worse = max(1 - no_worse, mcnemar_one_sided_p(gained=gained, lost=lost))
    if margin == 0:
        no_worse = max(no_worse, mcnemar_one_sided_p(gained=lost, lost=gained))
    share = (gained + lost + 2) / (n + 2)  # smoothed: no pair that differs is not no spread
    return MarginTest(found, no_worse, worse, math.sqrt(max(0.0, share - ((gained - lost) / (n + 2)) ** 2)))


def _by_t(found: Estimate, degrees: float, margin: float, n: int) -> MarginTest:
    error = found.standard_error or 0.0
    worse = t_probability(((found.value or 0.0) + margin) / error, degrees=degrees)
    return MarginTest(found, 1 - worse, worse, error * math.sqrt(n))


def _all_equal(value: float, sources: int, n: int, margin: float, alpha: float, scale: float) -> MarginTest:
    unseen = 1 - alpha ** (1 / sources)
    low, high = value - unseen * (scale + value), value + unseen * (scale - value)
    low, high = min(low, value), max(high, value)
    method = f"all {n} differences are equal: bounds on what was not seen"
    found = Estimate(value, low, high, n, method)
    # The least α at which the bound would clear the margin, solved for it.
    gap_up, gap_down = value + margin, -margin - value
    no_worse = _chance(gap_up, scale + value, sources)
    worse = _chance(gap_down, scale - value, sources)
    return MarginTest(found, no_worse, worse, unseen * scale * math.sqrt(n))


def _chance(gap: float, room: float, n: int) -> float:
    if gap < 0 or (gap == 0 and room > 0):
        return 1.0
    return 0.0 if room <= gap else (1 - gap / room) ** n
