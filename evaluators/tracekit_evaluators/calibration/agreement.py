"""Agreement of two raters on categories: accuracy, Cohen's kappa (plain and weighted), Gwet's AC1, PABAK."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.resampling import OfSums, interval_of_sums
from tracekit_evaluators.statistics import Estimate, proportion_of_cases, wilson_interval
from tracekit_evaluators.statistics.estimate import Reals

Label = str | int | float | bool
Weights = Literal["linear", "quadratic"]
_MOST_LABELS = 200


@dataclass(frozen=True)
class Ratings:
    """What two raters said of the same items.

    Args:
        first: One rater's labels, by item.
        second: The other's.
        labels: All labels that there are, in order where they have one; those seen, sorted, when not given.
        clusters: For each item what it shares with others, such as its case.

    Raises:
        UsageError: The lists differ in length, a label is not among `labels`, or there are more than 200.

    Example:
        >>> Ratings([1, 1, 0], [1, 0, 0]).labels
        (0, 1)
    """

    first: Sequence[Label]
    second: Sequence[Label]
    labels: Sequence[Label] | None = None
    clusters: Sequence[Hashable] | None = None

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second):
            raise UsageError(f"two raters rate the same items; these rated {len(self.first)} and {len(self.second)}")
        seen = {*self.first, *self.second}
        labels = tuple(in_order(seen) if self.labels is None else self.labels)
        unknown = seen - set(labels)
        if unknown:
            raise UsageError(f"labels that are not among the given ones: {sorted(map(str, unknown))[:5]}")
        if len(labels) > _MOST_LABELS:
            raise UsageError(f"{len(labels)} labels are no categories; use a correlation for numbers")
        object.__setattr__(self, "labels", labels)

    def table(self) -> Reals:
        """How many items each pair of labels has; rows are the first rater's."""
        k = len(self.labels or ())
        counts: Reals = self.cells().sum(axis=0).reshape(k, k)
        return counts

    def cells(self) -> Reals:
        """For each item its pair of labels, as a one in the row-by-row table."""
        labels = tuple(self.labels or ())
        place = {label: index for index, label in enumerate(labels)}
        cells = np.zeros((len(self.first), len(labels) ** 2))
        for row, (one, two) in enumerate(zip(self.first, self.second, strict=True)):
            cells[row, place[one] * len(labels) + place[two]] = 1.0
        return cells


def accuracy(ratings: Ratings, *, level: float = 0.95) -> Estimate:
    """The share of items on which both say the same, with Wilson's interval (clusters shrink the number of items).

    Agreement alone misleads where one label is frequent: see `constant_baseline`.

    Example:
        >>> accuracy(Ratings([1, 1, 0, 0], [1, 0, 0, 0])).value
        0.75
    """
    same = [float(one == two) for one, two in zip(ratings.first, ratings.second, strict=True)]
    if ratings.clusters is None:
        return wilson_interval(sum(same), n=len(same), level=level)
    return proportion_of_cases([[value] for value in same], clusters=ratings.clusters, level=level)


def cohen_kappa(ratings: Ratings, *, weights: Weights | None = None, level: float = 0.95, seed: int = 0) -> Estimate:
    """Agreement beyond what the raters' own label frequencies would give by chance: (po - pe) / (1 - pe).

    J. Cohen, Educ. Psychol. Meas. 20 (1960); weighted: Psychol. Bull. 70 (1968), in which a disagreement counts by the
    distance of the labels' places, or by its square. 0 is chance, 1 is perfect.

    Args:
        ratings: What both said; `labels` in order where weighted.
        weights: `linear` or `quadratic` for ordered labels.
        level: Confidence level of the bootstrap interval over items.
        seed: Its seed.

    Example:
        >>> round(cohen_kappa(Ratings([1, 1, 0, 0], [1, 0, 0, 0])).value, 3)
        0.5
    """
    k = len(ratings.labels or ())
    cost = _costs(k, weights)

    def kappa(sums: Reals) -> Reals:
        shares = _shares(sums, k)
        chance = shares.sum(axis=2)[:, :, None] * shares.sum(axis=1)[:, None, :]
        expected = (cost * chance).sum(axis=(1, 2))
        return np.where(expected > 0, 1 - (cost * shares).sum(axis=(1, 2)) / expected, np.nan)

    name = "kappa" if weights is None else f"{weights}-weighted kappa"
    found = _estimated(ratings, kappa, name, level, seed)
    if weights is not None or found.value != 1.0 or found.low is not None:
        return found
    shares = _shares(ratings.table().reshape(1, -1), k)[0]
    return _perfect(ratings, 1 - float(shares.sum(axis=1) @ shares.sum(axis=0)), level)


def gwet_ac1(ratings: Ratings, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Agreement beyond chance that stays sensible where one label is frequent: chance is Σ π(1-π) / (k-1).

    K. L. Gwet, Br. J. Math. Stat. Psychol. 61 (2008); π is a label's share over both raters.

    Example:
        >>> round(gwet_ac1(Ratings([1] * 9 + [0], [1] * 10)).value, 3)
        0.89
    """
    k = len(ratings.labels or ())

    def ac1(sums: Reals) -> Reals:
        if k < 2:
            return np.full(len(sums), np.nan)
        shares = _shares(sums, k)
        agreed = np.trace(shares, axis1=1, axis2=2)
        both = (shares.sum(axis=2) + shares.sum(axis=1)) / 2
        expected = (both * (1 - both)).sum(axis=1) / (k - 1)
        return np.where(expected < 1, (agreed - expected) / (1 - expected), np.nan)

    found = _estimated(ratings, ac1, "AC1", level, seed)
    if found.value != 1.0 or found.low is not None:
        return found
    said = ratings.table().sum(axis=0) / len(ratings.second)
    return _perfect(ratings, 1 - float((said * (1 - said)).sum()) / (k - 1), level)


def pabak(ratings: Ratings, *, level: float = 0.95) -> Estimate:
    """Prevalence- and bias-adjusted kappa, (k·po - 1) / (k - 1), with the accuracy's interval taken along.

    T. Byrt, J. Bishop and J. B. Carlin, J. Clin. Epidemiol. 46 (1993).

    Example:
        >>> pabak(Ratings([1, 1, 0, 0], [1, 0, 0, 0])).value
        0.5
    """
    k = len(ratings.labels or ())
    found = accuracy(ratings, level=level)
    if k < 2 or found.value is None:
        return Estimate(None, None, None, found.n, "PABAK is undefined here: the labels do not vary")
    ends = [None if end is None else (k * end - 1) / (k - 1) for end in (found.value, found.low, found.high)]
    return Estimate(ends[0], ends[1], ends[2], found.n, f"{found.method}, rescaled")


def constant_baseline(ratings: Ratings) -> tuple[Label | None, float | None]:
    """The second rater's most frequent label, and the accuracy of a judge that always says it.

    Example:
        >>> constant_baseline(Ratings([0, 1, 1], [1, 1, 0]))
        (1, 0.6666666666666666)
    """
    counts: dict[Label, int] = {}
    for label in ratings.second:
        counts[label] = counts.get(label, 0) + 1
    if not counts:
        return None, None
    common = max(counts, key=lambda label: counts[label])
    return common, counts[common] / len(ratings.second)


def _perfect(ratings: Ratings, beyond_chance: float, level: float) -> Estimate:
    """Full agreement, whose resamples are all alike: the accuracy's exact interval, taken beyond chance as observed."""
    found = accuracy(ratings, level=level)
    low = None if found.low is None else 1 - (1 - found.low) / beyond_chance
    return Estimate(1.0, low, 1.0, len(ratings.second), f"{found.method}, rescaled: all agree")


def _estimated(ratings: Ratings, statistic: OfSums, name: str, level: float, seed: int) -> Estimate:
    return interval_of_sums(ratings.cells(), statistic, name=name, clusters=ratings.clusters, level=level, seed=seed)


@np.errstate(divide="ignore", invalid="ignore")
def _shares(sums: Reals, k: int) -> Reals:
    tables = sums.reshape(len(sums), k, k)
    shares: Reals = tables / tables.sum(axis=(1, 2), keepdims=True)
    return shares


def _costs(k: int, weights: Weights | None) -> Reals:
    places = np.arange(k, dtype=np.float64)
    apart = np.abs(places[:, None] - places[None, :])
    if weights is None:
        return (apart > 0).astype(np.float64)
    if weights not in ("linear", "quadratic"):
        raise UsageError(f"{weights!r} weighs nothing; one of linear, quadratic")
    return apart if weights == "linear" else apart**2


def in_order(labels: set[Label]) -> list[Label]:
    """Labels in a fixed order: numbers by size, then words."""
    return sorted(
        labels, key=lambda label: (isinstance(label, str), label if not isinstance(label, str) else 0, str(label))
    )
