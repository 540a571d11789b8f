"""Values that share a source (a session, a user, a document): their variance, and intervals from few sources.

Numbers of one source resemble each other, so a thousand of them from ten sources say little more than ten do.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.distributions import t_quantile
from tracekit_evaluators.statistics.estimate import Reals

FEWEST_FOR_T = 10  # below, the variance of so few sums is too unsure for Student's t
_FEWEST_FOR_BOOTSTRAP = 3
_DRAWS = 1999
_WEBB = (-math.sqrt(1.5), -1.0, -math.sqrt(0.5), math.sqrt(0.5), 1.0, math.sqrt(1.5))
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a mean of clustered values may be off.

    Args:
        mean: The mean of all values.
        standard_error: Its clustered standard error.
        design_effect: (clustered / plain standard error)²; `None` where the values do not vary.
        clusters: How many clusters.
        sums: For each cluster the sum of its values.
        sizes: For each cluster how many values it has.
    """

    mean: float
    standard_error: float
    design_effect: float | None
    clusters: int
    sums: Reals
    sizes: Reals


def cluster_codes(clusters: Sequence[Hashable]) -> tuple[Codes, int]:
    """Clusters as numbers from 0 in order of first appearance, and how many there are.

    Example:
        >>> cluster_codes(["b", "a", "b"])
        (array([0, 1, 0]), 2)
    """
    codes: dict[Hashable, int] = {}
    index = np.fromiter((codes.setdefault(each, len(codes)) for each in clusters), dtype=np.intp, count=len(clusters))
    return index, len(codes)


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def spread(values: Reals, codes: Codes, count: int) -> Spread:
    """The clustered standard error of a mean.

    SE = √(C/(C-1) · Σ_c (Σ_{i in c} (x_i - m))²) / n; K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986), as E. Miller,
    arXiv 2411.00640, uses it for evaluations.

    Args:
        values: At least two finite numbers.
        codes: For each its cluster, from 0.
        count: How many clusters, at least two.
    """
    n = len(values)
    if len(codes) != n:
        raise UsageError(f"{n} values need {n} clusters, got {len(codes)}")
    mean = float(values.mean())
    sums = np.bincount(codes, weights=values, minlength=count).astype(np.float64)
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    error = math.sqrt(count / (count - 1) * float(np.square(sums - sizes * mean).sum())) / n
    plain = float(values.std(ddof=1)) / math.sqrt(n)
    effect = (error / plain) ** 2 if plain > 0 and math.isfinite(error) else None
    return Spread(mean, error, effect, count, sums, sizes)


def half_widths(found: Spread, *, level: float, seed: int = 0) -> tuple[float, float, str, str | None]:
    """How far an interval reaches below and above a clustered mean, its method, and a warning where clusters are few.

    From ten clusters on t with C-1 degrees of freedom. Below, the wild cluster bootstrap: the interval holds each mean
    that a test does not reject, which weighs the clusters' sums of deviations from that mean by M. Webb's six weights
    (A. C. Cameron, J. B. Gelbach and D. L. Miller, Rev. Econ. Stat. 90, 2008). With two clusters t is all there is.
    """
    count = found.clusters
    reach = t_quantile(0.5 + level / 2, degrees=count - 1) * found.standard_error
    if count >= FEWEST_FOR_T:
        return reach, reach, f"clustered Student t ({count} clusters)", None
    warning = few_clusters(count)
    if count < _FEWEST_FOR_BOOTSTRAP or not 0 < found.standard_error < math.inf:
        return reach, reach, f"clustered Student t ({count} clusters)", warning
    weights = _weights(count, seed)
    ends = [_reach(found, weights, sign, 1 - level, reach) for sign in (-1.0, 1.0)]
    return ends[0], ends[1], f"wild cluster bootstrap ({count} clusters, seed {seed})", warning


def few_clusters(count: int) -> str:
    """What a reader should know of an interval from fewer than ten clusters."""
    return f"only {count} clusters: the interval is unsure of itself; more sources would help more than more cases"


def wild_p(found: Spread, mean: float, *, seed: int = 0) -> float:
    """The two-sided p-value of the wild cluster bootstrap that the true mean is `mean`."""
    return _p(found, _weights(found.clusters, seed), mean)


@lru_cache(maxsize=16)
def _weights(count: int, seed: int) -> Reals:
    if len(_WEBB) ** count <= _DRAWS:
        return np.array(list(product(_WEBB, repeat=count)), dtype=np.float64)
    return np.random.default_rng(seed).choice(np.array(_WEBB), (_DRAWS, count))


def _p(found: Spread, weights: Reals, mean: float) -> float:
    deviations = found.sums - found.sizes * mean
    seen = _studentised(deviations[None, :], found.sizes)[0]
    drawn = _studentised(weights * deviations, found.sizes)
    return float(np.mean(np.abs(drawn) >= abs(seen) * (1 - 1e-12)))


def _studentised(sums: Reals, sizes: Reals) -> Reals:
    totals = sums.sum(axis=1)
    rest = sums - sizes * (totals / sizes.sum())[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Reals = totals / np.sqrt(np.square(rest).sum(axis=1))
    return np.nan_to_num(found, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _reach(found: Spread, weights: Reals, sign: float, alpha: float, start: float) -> float:
    inside, outside = 0.0, start
    for _ in range(12):
        if _p(found, weights, found.mean + sign * outside) <= alpha:
            break
        inside, outside = outside, outside * 2
    else:
        return math.inf  # so few clusters never reject
    for _ in range(18):
        middle = (inside + outside) / 2
        if _p(found, weights, found.mean + sign * middle) > alpha:
            inside = middle
        else:
            outside = middle
    return outside
