"""Agreement of raters on numbers: rank correlations, and the intraclass correlation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.resampling import interval_of_sums
from tracekit_evaluators.statistics import Estimate
from tracekit_evaluators.statistics.distributions import normal_quantile
from tracekit_evaluators.statistics.estimate import Reals, reals

_FLAT = "a correlation is undefined here: one of the raters always says the same"
_AT_ONCE = 512


def ranks(values: Iterable[float]) -> Reals:
    """Ranks from 1, ties sharing their mean.

    Example:
        >>> ranks([10, 20, 20]).tolist()
        [1.0, 2.5, 2.5]
    """
    array = reals(values)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    found: Reals = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return found


def spearman(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Spearman's rank correlation, with the interval of D. G. Bonett and T. A. Wright, Psychometrika 65 (2000).

    tanh(atanh r ± z √((1 + r²/2)/(n-3))).

    Example:
        >>> spearman([1, 2, 3, 4], [1, 2, 4, 3]).value
        0.8
    """
    one, two = ranks(first), ranks(second)
    _check(one, two)
    n = len(one)
    if n < 2 or one.min() == one.max() or two.min() == two.max():
        return Estimate(None, None, None, n, _FLAT if n else "no items")
    a, b = one - one.mean(), two - two.mean()
    r = float((a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    return _fisher(r, n, (1 + r * r / 2) / (n - 3) if n > 3 else None, level)


def kendall(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Kendall's τ-b, with the interval of Bonett and Wright (2000): variance 0.437/(n-4) after Fisher's z.

    Example:
        >>> round(kendall([1, 2, 3, 4], [1, 2, 4, 3]).value, 3)
        0.667
    """
    one, two = reals(first), reals(second)
    _check(one, two)
    n = len(one)
    concordance, tied_one, tied_two = 0.0, 0.0, 0.0
    for start in range(0, n, _AT_ONCE):
        a = np.sign(one[start : start + _AT_ONCE, None] - one[None, :])
        b = np.sign(two[start : start + _AT_ONCE, None] - two[None, :])
        concordance += float((a * b).sum())
        tied_one += float(np.abs(a).sum())
        tied_two += float(np.abs(b).sum())
    if not tied_one or not tied_two:
        return Estimate(None, None, None, n, _FLAT if n else "no items")
    tau = max(-1.0, min(1.0, concordance / math.sqrt(tied_one * tied_two)))
    return _fisher(tau, n, 0.437 / (n - 4) if n > 4 else None, level)


def intraclass_correlation(
    rows: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """ICC(2,1): how much of the spread is the items', where raters are to give the same number.

    (MSR - MSE) / (MSR + (k-1)·MSE + k(MSC - MSE)/n); P. E. Shrout and J. L. Fleiss, Psychol. Bull. 86 (1979).

    Args:
        rows: For each item every rater's number; none may be missing (see `krippendorff_alpha` for that).
        clusters: For each item what it shares with others.
        level: Confidence level of the bootstrap interval over items.
        seed: Its seed.

    Example:
        >>> round(intraclass_correlation([[1, 2], [3, 4], [5, 6]]).value, 3)
        0.889
    """
    if len({len(row) for row in rows}) > 1:
        raise UsageError("an intraclass correlation needs every rater's number for every item")
    table = np.array([[float(value) for value in row] for row in rows], dtype=np.float64)
    if table.size == 0 or table.shape[1] < 2:
        return Estimate(None, None, None, len(rows), "an intraclass correlation needs two raters")
    if not np.isfinite(table).all():
        raise UsageError("the values hold NaN or infinity; leave out what was not scored")
    table = table - table.mean()
    k = table.shape[1]
    totals = table.sum(axis=1)
    features = np.column_stack([np.ones(len(table)), totals**2, (table**2).sum(axis=1), table])

    def icc(sums: Reals) -> Reals:
        n, of_rows, squares, columns = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
        grand = columns.sum(axis=1) ** 2 / (n * k)
        rows_ss, columns_ss = of_rows / k - grand, (columns**2).sum(axis=1) / n - grand
        msr, msc = rows_ss / (n - 1), columns_ss / (k - 1)
        mse = np.maximum(squares - grand - rows_ss - columns_ss, 0) / ((n - 1) * (k - 1))
        below = msr + (k - 1) * mse + k * (msc - mse) / n
        return np.where(np.abs(below) > 1e-300, (msr - mse) / below, np.nan)

    return interval_of_sums(features, icc, name="ICC", clusters=clusters, level=level, seed=seed)


def _fisher(r: float, n: int, variance: float | None, level: float) -> Estimate:
    if variance is None:
        return Estimate(r, None, None, n, "too few items to make an interval from")
    if abs(r) >= 1:
        return Estimate(r, None, None, n, "the raters agree on every order: no spread to make an interval from")
    half = normal_quantile(0.5 + level / 2) * math.sqrt(variance)
    z = math.atanh(r)
    return Estimate(r, math.tanh(z - half), math.tanh(z + half), n, "Fisher z (Bonett and Wright)")


def _check(one: Reals, two: Reals) -> None:
    if len(one) != len(two):
        raise UsageError(f"two raters rate the same items; these rated {len(one)} and {len(two)}")
