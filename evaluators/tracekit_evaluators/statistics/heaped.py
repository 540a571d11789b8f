"""Means of numbers most of which are one and the same: scores that are nearly all perfect, pairs that seldom differ.

Of such numbers a sample shows few that say anything, and Student's t and bootstraps take what those few vary by for all
there is: a score that 17 of 20 cases have perfectly they hold in 87 % of repetitions, over three rare failures in 200
cases in 80 to 88 %. The number of those that differ is a count, and counts have good intervals. Two of them are taken
here for sizes that vary: a mean gap θ with E(gap²) = M·θ has the variance (θ·M - θ²)/n, that of M times a share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tracekit_evaluators.statistics.bootstrap import MOST_TO_DRAW, bootstrap_t_interval
from tracekit_evaluators.statistics.clusters import FEWEST_TO_TRUST, Spread, effective_trials, few_clusters
from tracekit_evaluators.statistics.distributions import normal_probability, t_probability, t_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals
from tracekit_evaluators.statistics.intervals import wilson_end
from tracekit_evaluators.statistics.paired import tango_end, tango_z

FEWEST = 5
_ROUNDING = 1e-12  # of the largest number: what sums of tenths differ by
_USUAL = 0.5  # what (s/m)² of the gaps is taken for until they show theirs
_ENOUGH = 8  # gaps from which a bootstrap sees what they vary by
_LONG_TAIL, _VERY_LONG_TAIL = 0.4, 1.0  # (s/m)² of the gaps from which its far end, and its near one, are asked


@dataclass(frozen=True, slots=True)
class Heap:
    """Numbers of which at least half are one and the same.

    Args:
        value: That one.
        above: By how much others are above it.
        below: By how much others are below it.
        n: How many numbers.
        standard_error: s/√n of all of them.
    """

    value: float
    above: Reals
    below: Reals
    n: int
    standard_error: float

    @property
    def gaps(self) -> Reals:
        """By how much numbers differ from it."""
        return np.concatenate([self.above, self.below])

    @property
    def mean(self) -> float:
        """The mean of all numbers."""
        return self.value + (float(self.above.sum()) - float(self.below.sum())) / self.n


@dataclass(frozen=True, slots=True)
class _Size:
    """What a gap counts as, M, and the degrees of freedom with which that is known."""

    of_one: float
    degrees: float

    def reach(self, probability: float) -> float:
        return t_quantile(probability, degrees=self.degrees)

    def chance(self, z: float) -> float:
        return t_probability(z, degrees=self.degrees) if math.isfinite(self.degrees) else normal_probability(z)


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def heap_of(values: Reals) -> Heap | None:
    """The heap that five numbers or more stand on; `None` where fewer than half are one, or all are.

    Example:
        >>> heap_of(np.array([1.0, 1.0, 0.25, 1.0, 1.0])).below
        array([0.75])
    """
    n = len(values)
    if n < FEWEST:
        return None
    middle = float(np.partition(values, n // 2)[n // 2])
    if 2 * np.count_nonzero(values == middle) < n:
        middle = float(np.partition(values, (n - 1) // 2)[(n - 1) // 2])
    rest = values - middle
    scale = float(np.abs(values).max())
    rest = rest[np.abs(rest) > _ROUNDING * scale]
    error = float(values.std(ddof=1)) / math.sqrt(n)
    if not 0 < 2 * len(rest) <= n or not 0 < error < math.inf:
        return None
    return Heap(middle, rest[rest > 0], -rest[rest < 0], n, error)


def heaped_mean(heap: Heap, *, shared: Spread | None = None, level: float = 0.95, seed: int = 0) -> Estimate:
    """The mean of such numbers with an interval that counts those which differ.

    Where all of them differ to one side, as scores below a perfect one do, E. B. Wilson's interval of a share (JASA 22,
    1927), in which a gap counts as M = Σ gap²/Σ gap. So it is at the end nearer to the heap. Few gaps show too little
    of the larger ones: at the other end M is m·(1 + v)·(1 + 2v/k), and Student's t of k/(2v) degrees of freedom stands
    in the normal's place, v being (s/m)² of the k gaps, with 1/2 as a first one's worth. Where eight gaps or more vary
    (v > 0.4) that end is no nearer than a bootstrap-t's; where they vary much (v > 1) the other is the bootstrap's too.
    Where gaps go both ways, as `heaped_difference`. Where numbers share sources, they are as many as the
    `effective_trials` of a share, and t has k/v degrees of freedom.

    Args:
        heap: The numbers; where they share sources, differing to one side.
        shared: How their mean spreads over sources.
        level: Confidence level in (0, 1).
        seed: Seed of the bootstrap.

    Example:
        >>> found = heaped_mean(heap_of(np.array([1.0] * 17 + [0.2, 0.5, 0.9])))
        >>> round(found.low, 3), round(found.value, 3), round(found.high, 3), found.method
        (0.565, 0.93, 0.98, 'Wilson on the 3 of 20 that differ')
    """
    if len(heap.above) and len(heap.below):
        return heaped_difference(heap, level=level)
    gaps, n = heap.gaps, heap.n
    mean, spread = float(gaps.sum()) / n, _variation(gaps)
    plain, wide = _plain(gaps), _cautious(gaps, spread, more=2.0, degrees=0.5 if shared is None else 1.0)
    near, far = (_end(mean, size, side, n, shared, level) for size, side in ((plain, -1), (wide, 1)))
    method = f"Wilson on the {_counted(heap)} that differ"
    if shared is None and len(gaps) >= _ENOUGH and spread > _LONG_TAIL and n <= MOST_TO_DRAW:
        all_gaps, telling = np.concatenate([gaps, np.zeros(n - len(gaps))]), (n + len(gaps)) / 2
        drawn = bootstrap_t_interval(all_gaps, level=level, seed=seed, telling=telling)
        if drawn.low is not None and drawn.high is not None:
            near = max(0.0, drawn.low) if spread > _VERY_LONG_TAIL else near
            far, method = max(far, drawn.high), f"{method}, and {drawn.method}"
    low, high = (near, far) if len(heap.above) else (-far, -near)
    found = Estimate(heap.mean, heap.value + low, heap.value + high, n, method, heap.standard_error)
    if shared is None:
        return found
    return replace(
        found,
        method=f"{method} ({shared.clusters} clusters)",
        standard_error=shared.standard_error,
        clusters=shared.clusters,
        design_effect=shared.design_effect,
        warning=few_clusters(shared.clusters) if shared.clusters < FEWEST_TO_TRUST else None,
    )


def heaped_difference(heap: Heap, *, level: float = 0.95) -> Estimate:
    """The mean of numbers that differ from their heap to both sides, or could: paired differences, mostly 0.

    T. Tango's interval of paired pass rates (Stat. Med. 17, 1998), in which a gap counts as M, here
    m·(1 + v)·(1 + v/4k) with Student's t of 3k/v degrees of freedom (see `heaped_mean`). Where none differs to one
    side, the end on that side knows M as Σ gap²/Σ gap and takes the normal. For many gaps of one size that is nearly
    Tango's own.

    Args:
        heap: The numbers.
        level: Confidence level in (0, 1).

    Example:
        >>> found = heaped_difference(heap_of(np.array([0.0] * 45 + [0.5, 0.5, -0.5, 0.25, 0.75])))
        >>> round(found.low, 3), round(found.value, 3), round(found.high, 3), found.method
        (-0.028, 0.03, 0.097, 'Tango on the 5 of 50 that differ')
    """
    probability = 0.5 + level / 2
    ends = []
    for side in (-1, 1):
        size, up, down = _sides(heap, side)
        z = -side * size.reach(probability)
        ends.append(heap.value + size.of_one * tango_end(gained=up, lost=down, n=heap.n, z=z))
    method = f"Tango on the {_counted(heap)} that differ"
    return Estimate(heap.mean, ends[0], ends[1], heap.n, method, heap.standard_error)


def heaped_p(heap: Heap, *, difference: float) -> tuple[float, float]:
    """One-sided p-values against a true mean of at most, and of at least, a number: those of `heaped_difference`.

    Args:
        heap: The numbers.
        difference: The number.

    Example:
        >>> above, below = heaped_p(heap_of(np.array([0.0] * 45 + [0.5, 0.5, 0.5, 0.25, 0.75])), difference=0.0)
        >>> round(above, 3), round(below, 3)
        (0.017, 0.977)
    """
    found = []
    for side in (-1, 1):
        size, up, down = _sides(heap, side)
        share = (difference - heap.value) / size.of_one
        if abs(share) >= 1:
            found.append(float((share > 0) == (side < 0)))
            continue
        found.append(size.chance(side * tango_z(gained=up, lost=down, n=heap.n, difference=share)))
    return found[0], found[1]


def _end(mean: float, size: _Size, side: int, n: int, shared: Spread | None, level: float) -> float:
    """An end of the interval of the mean gap, the nearer to the heap or the farther."""
    share, trials = mean / size.of_one, float(n)
    if shared is not None:
        error = shared.standard_error / size.of_one
        trials = effective_trials(share, error, shared, cases=n, most=n, level=level)
    return size.of_one * wilson_end(share, n=trials, z=side * size.reach(0.5 + level / 2))


def _sides(heap: Heap, side: int) -> tuple[_Size, float, float]:
    """For an end of the interval what a gap counts as, and how many that makes above and below."""
    gaps = heap.gaps
    seen = heap.below if side < 0 else heap.above
    size = _cautious(gaps, _variation(gaps), more=0.25, degrees=3.0) if len(seen) else _plain(gaps)
    return size, float(heap.above.sum()) / size.of_one, float(heap.below.sum()) / size.of_one


def _plain(gaps: Reals) -> _Size:
    largest = float(gaps.max())
    scaled = gaps / largest
    return _Size(largest * float(scaled @ scaled) / float(scaled.sum()), math.inf)


def _cautious(gaps: Reals, variation: float, *, more: float, degrees: float) -> _Size:
    k = len(gaps)
    return _Size(float(gaps.mean()) * (1 + variation) * (1 + more * variation / k), max(1.0, degrees * k / variation))


def _variation(gaps: Reals) -> float:
    """(s/m)² of the gaps, one of the usual ones added."""
    k = len(gaps)
    own = float((gaps / gaps.mean()).var(ddof=1)) if k > 1 else 0.0
    return ((k - 1) * own + _USUAL) / k


def _counted(heap: Heap) -> str:
    return f"{len(heap.above) + len(heap.below)} of {heap.n}"
