"""The seeded bootstrap over items, for statistics that are functions of sums over items.

Agreement is such a statistic: each item adds its cell to a table, and the coefficient is made of the table. So a
resample needs no list of items, only how often each distinct kind of item was drawn, and leaving one item out is a
subtraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tracekit_evaluators.statistics.distributions import normal_probability, normal_quantile
from tracekit_evaluators.statistics.estimate import Estimate, Reals

Counts = npt.NDArray[np.int64]
OfSums = Callable[[Reals], Reals]
RESAMPLES = 2000
_CELLS = 4_000_000  # counts drawn at once; more would only cost memory
_MOST_UNDEFINED = 0.2  # share of resamples without a value above which no interval is given


@np.errstate(divide="ignore", invalid="ignore")
def interval_of_sums(
    features: Reals,
    statistic: OfSums,
    *,
    name: str,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic of sums over items with its bootstrap interval: BCa, by B. Efron, JASA 82 (1987).

    Args:
        features: For each item (row) what it adds to each sum (column).
        statistic: Takes rows of sums, returns one number a row, NaN where it is undefined.
        name: What the statistic is called, for the reason where it is undefined.
        clusters: For each item what it shares with others: whole clusters are drawn then.
        level: Confidence level in (0, 1).
        seed: Seed of the draws: same seed, same interval.
    """
    items = len(features)
    if items == 0:
        return Estimate(None, None, None, 0, "no items")
    drawn_from = features if clusters is None else _summed(features, clusters)
    n = len(drawn_from)
    value = float(statistic(features.sum(axis=0)[None, :])[0])
    if not math.isfinite(value):
        return Estimate(None, None, None, items, f"{name} is undefined here: the labels do not vary")
    kinds, often = np.unique(drawn_from, axis=0, return_counts=True)
    drawn = _drawn(kinds, often, statistic, seed)
    known = drawn[np.isfinite(drawn)]
    if n < 2 or len(known) < len(drawn) * (1 - _MOST_UNDEFINED) or known.max() == known.min():
        return Estimate(value, None, None, items, "no resample differs enough to make an interval from")
    ends = _bca_ends(value, known, kinds, often, statistic, level)
    words = (
        f"BCa bootstrap over {'items' if clusters is None else f'{n} clusters'} ({RESAMPLES} resamples, seed {seed})"
    )
    # A bootstrap of a skewed statistic may shift past its own estimate by rounding: the estimate stays inside.
    found = Estimate(value, min(ends[0], value), max(ends[1], value), items, words, float(known.std(ddof=1)))
    return found if clusters is None else replace(found, clusters=n)


def _summed(features: Reals, clusters: Sequence[Hashable]) -> Reals:
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.intp)
    sums = np.zeros((len(codes), features.shape[1]))
    np.add.at(sums, index, features)
    return sums


def _drawn(kinds: Reals, often: Counts, statistic: OfSums, seed: int) -> Reals:
    generator = np.random.default_rng(seed)
    n = int(often.sum())
    rows = max(1, min(RESAMPLES, _CELLS // len(kinds)))
    parts = []
    for start in range(0, RESAMPLES, rows):
        counts = generator.multinomial(n, often / n, size=min(rows, RESAMPLES - start))
        parts.append(statistic(counts @ kinds))
    return np.concatenate(parts)


def _bca_ends(
    value: float,
    drawn: Reals,
    kinds: Reals,
    often: Counts,
    statistic: OfSums,
    level: float,
) -> tuple[float, float]:
    below = float(np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    shift = normal_quantile(min(max(below, 1e-3), 1 - 1e-3))
    pull = _acceleration(kinds, often, statistic)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = shift + normal_quantile(tail)
        ends.append(float(np.quantile(drawn, normal_probability(shift + z / (1 - pull * z)))))
    return ends[0], ends[1]


def _acceleration(kinds: Reals, often: Counts, statistic: OfSums) -> float:
    total = (often[:, None] * kinds).sum(axis=0)
    left_out = statistic(total - kinds)
    known = np.isfinite(left_out)
    if not known.any():
        return 0.0
    weight = often[known].astype(np.float64)
    deviations = np.average(left_out[known], weights=weight) - left_out[known]
    largest = float(np.abs(deviations).max())
    if largest == 0:
        return 0.0
    deviations = deviations / largest
    squares = float((weight * deviations**2).sum())
    return float((weight * deviations**3).sum()) / (6 * math.pow(squares, 1.5))
