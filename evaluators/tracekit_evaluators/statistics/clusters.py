"""Values that share a source (a session, a user, a document): their variance, and intervals from few sources.

Numbers of one source resemble each other, so a thousand of them from ten sources say little more than ten do. And where
sources are of unequal size, the largest ones weigh so much that C sources say less than C numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.bootstrap import MOST_TO_DRAW, resamples_for, studentised_reach_of_clusters
from tracekit_evaluators.statistics.distributions import normal_quantile, t_quantile
from tracekit_evaluators.statistics.estimate import Reals

FEWEST_TO_TRUST = 10  # below, a reader is warned
_FEWEST_TO_DRAW = 10
SKEWED = 0.1  # |skewness| / √n from which Student's t holds the mean visibly less often than it promises
_VERY_SKEWED = 2 * SKEWED
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a mean of clustered values may be off.

    Args:
        mean: The mean of all values.
        standard_error: Its clustered standard error.
        degrees: The degrees of freedom of that error: C-1 for clusters of one size, less for others.
        design_effect: (clustered / plain standard error)²; `None` where the values do not vary.
        clusters: How many clusters.
        sums: For each cluster the sum of its values.
        sizes: For each cluster how many values it has.
        skewness: That of the values.
    """

    mean: float
    standard_error: float
    degrees: float
    design_effect: float | None
    clusters: int
    sums: Reals
    sizes: Reals
    skewness: float


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
    """The clustered standard error of a mean, and its degrees of freedom.

    SE = √(Σ_c (Σ_{i in c} (x_i - m))² / (1 - n_c/n)) / n, the "CR2" of R. M. Bell and D. F. McCaffrey, Survey
    Methodology 28 (2002); for clusters of one size that is √(C/(C-1) · Σ …)/n, as E. Miller, arXiv 2411.00640, uses it
    for evaluations. The degrees of freedom are theirs (Satterthwaite's) too, for values that resemble each other within
    clusters as these do (G. W. Imbens and M. Kolesár, Rev. Econ. Stat. 98, 2016).

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
    rest = sums - sizes * mean
    error = math.sqrt(float((np.square(rest) / (1 - sizes / n)).sum())) / n
    plain = float(values.std(ddof=1)) / math.sqrt(n)
    effect = (error / plain) ** 2 if plain > 0 and math.isfinite(error) else None
    alike = _alikeness(values, sums, sizes)
    return Spread(mean, error, degrees_of_freedom(sizes, alike), effect, count, sums, sizes, skewness(values))


def half_widths(found: Spread, *, level: float, seed: int = 0) -> tuple[float, float, str, str | None]:
    """How far an interval reaches below and above a clustered mean, its method, and a warning where clusters are few.

    Student's t with the degrees of freedom of `spread`. Where the clusters' sums are so skewed that it would hold the
    mean too seldom (|skewness|/√C > 0.1, ten to 20,000 clusters), a seeded bootstrap-t that draws clusters
    (`studentised_reach_of_clusters`). Warned of are fewer than ten clusters, and fewer than twenty with that above 0.2.
    """
    count = found.clusters
    rest = found.sums - found.sizes * found.mean
    skewed = abs(skewness(rest)) / math.sqrt(count)
    few = count < FEWEST_TO_TRUST or (count < 2 * FEWEST_TO_TRUST and skewed > _VERY_SKEWED)
    warning = few_clusters(count) if few else None
    if _FEWEST_TO_DRAW <= count <= MOST_TO_DRAW and 0 < found.standard_error < math.inf and skewed > SKEWED:
        drawn, degrees, tails = resamples_for(count), np.array([found.degrees]), np.array([found.skewness])
        ends = studentised_reach_of_clusters(
            rest[None, :], found.sizes, degrees=degrees, tails=tails, level=level, resamples=drawn, seed=seed
        )
        down, up = (each * found.standard_error for each in ends[:, 0].tolist())
        if math.isfinite(down) and math.isfinite(up):
            return down, up, f"cluster bootstrap-t ({count} clusters, {drawn} resamples, seed {seed})", warning
    reach = t_quantile(0.5 + level / 2, degrees=found.degrees) * found.standard_error
    return reach, reach, f"clustered Student t ({count} clusters)", warning


def effective_trials(
    share: float, error: float, found: Spread | None, *, cases: int, most: float, level: float = 0.95
) -> float:
    """How many independent trials would make a share as sure as its standard error does.

    p(1-p)/SE² · (z/t)^2w, the degrees of freedom of t being C-1 over cases and Bell and McCaffrey's over sources. Over
    C sources of m trials w = 1 - 1/m, because what one trial varies by, the share itself tells; and trials are never
    fewer than (Σ m)²/Σ m², as many as there are sources of one size.

    Args:
        share: It, between 0 and 1.
        error: Its standard error.
        found: How it spreads over sources; `None` where cases share none.
        cases: How many cases.
        most: How many trials it is at most.
        level: Confidence level in (0, 1).

    Example:
        >>> round(effective_trials(0.5, 0.05, None, cases=10**9, most=1000), 3)
        100.0
    """
    if error <= 0:
        return most
    degrees, power, least = cases - 1.0, 2.0, 0.0
    if found is not None:
        degrees, power = found.degrees, 2 * (1 - found.clusters / max(cases, most))
        least = cases**2 / float(np.square(found.sizes).sum())
    shrink = normal_quantile(0.5 + level / 2) / t_quantile(0.5 + level / 2, degrees=degrees)
    return max(least, min(most, share * (1 - share) / error**2 * math.pow(shrink, power)))


def few_clusters(count: int) -> str:
    """What a reader should know of an interval from fewer than ten clusters."""
    return f"only {count} clusters: the interval is unsure of itself; more sources would help more than more cases"


def skewness(array: Reals) -> float:
    """The third standardised moment; 0 without spread."""
    scale = float(array.std())
    return float((((array - array.mean()) / scale) ** 3).mean()) if scale > 0 and math.isfinite(scale) else 0.0


def _alikeness(values: Reals, sums: Reals, sizes: Reals) -> float:
    """The intraclass correlation by analysis of variance, kept in [0, 1]."""
    n, count, mean = len(values), len(sizes), float(values.mean())
    of_sums = float((np.square(sums - sizes * mean) / sizes).sum())
    between, within = of_sums, float(np.square(values - mean).sum()) - of_sums
    if count == n or not (math.isfinite(between) and math.isfinite(within)):
        return 0.0
    of_one = max(0.0, within) / (n - count)
    usual = (n - float(np.square(sizes).sum()) / n) / (count - 1)
    shared = (between / (count - 1) - of_one) / usual
    return min(1.0, max(0.0, shared / (shared + of_one))) if shared > 0 else 0.0


def degrees_of_freedom(sizes: Reals, alike: float) -> float:
    """Bell and McCaffrey's: tr(M)²/tr(M²) of the variance estimate's quadratic form M, without its C × C matrix.

    Args:
        sizes: For each cluster how many values it has.
        alike: How much values of one cluster resemble each other, from 0 to 1.

    Example:
        >>> round(degrees_of_freedom(np.full(12, 5.0), 0.3), 6)
        11.0
    """
    n = float(sizes.sum())
    scale = 1 / np.sqrt(1 - sizes / n)
    variances = sizes * (1 - alike) + alike * np.square(sizes)
    whole = float(variances.sum())
    # M = D - (p q' + q p')/n + q q'·whole/n², D being diagonal.
    own, p, q = np.square(scale) * variances, scale * variances, scale * sizes
    pq, pp, qq = float(p @ q), float(p @ p), float(q @ q)
    trace = float(own.sum()) - 2 * pq / n + whole * qq / n**2
    squares = float(own @ own) + 2 * (-2 * float(own @ (p * q)) / n + whole * float(own @ np.square(q)) / n**2)
    squares += (2 * pq**2 + 2 * pp * qq) / n**2 - 4 * whole * pq * qq / n**3 + (whole * qq) ** 2 / n**4
    found = trace * trace / squares if squares > 0 else 1.0
    return min(float(len(sizes) - 1), max(1.0, found))
