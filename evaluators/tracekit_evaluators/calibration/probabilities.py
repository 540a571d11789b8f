"""Judges that give probabilities: how far these can be believed, and maps that mend them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics import Estimate, mean_interval, wilson_interval
from tracekit_evaluators.statistics.estimate import Reals, reals

Map = Callable[[Reals], Reals]
Method = Literal["isotonic", "platt"]


@dataclass(frozen=True, slots=True)
class Bin:
    """One row of a reliability table.

    Args:
        low: Its lower end.
        high: Its upper end.
        n: How many probabilities fall in it.
        predicted: Their mean.
        observed: The share that came true, with Wilson's interval.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: Estimate


def brier(probabilities: Sequence[float], outcomes: Sequence[bool], *, level: float = 0.95) -> Estimate:
    """The mean squared distance of probabilities from what came true, 0 being best.

    G. W. Brier, Mon. Weather Rev. 78 (1950).

    Example:
        >>> brier([0.9, 0.2], [True, False]).value
        0.025
    """
    p, y = _checked(probabilities, outcomes)
    found = mean_interval((p - y) ** 2, level=level)
    return found.clipped(0.0, 1.0)


def reliability_table(
    probabilities: Sequence[float], outcomes: Sequence[bool], *, bins: int = 10, level: float = 0.95
) -> list[Bin]:
    """What came true beside what was said, in bins of equal width; empty bins are left out.

    Example:
        >>> [(each.predicted, each.observed.value) for each in reliability_table([0.1, 0.9], [False, True], bins=2)]
        [(0.1, 0.0), (0.9, 1.0)]
    """
    p, y = _checked(probabilities, outcomes)
    place = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for each in range(bins):
        inside = place == each
        n = int(inside.sum())
        if n:
            observed = wilson_interval(float(y[inside].sum()), n=n, level=level)
            found.append(Bin(each / bins, (each + 1) / bins, n, float(p[inside].mean()), observed))
    return found


def expected_calibration_error(
    probabilities: Sequence[float], outcomes: Sequence[bool], *, bins: int = 10
) -> float | None:
    """How far, on average, what came true lies from what was said: Σ n_b/n · |observed - predicted|.

    M. P. Naeini et al., AAAI 2015. It depends on the bins, and is above 0 for a perfect judge by chance alone.

    Example:
        >>> expected_calibration_error([0.75, 0.75], [True, False])
        0.25
    """
    table = reliability_table(probabilities, outcomes, bins=bins)
    total = sum(each.n for each in table)
    if not total:
        return None
    return sum(each.n * abs((each.observed.value or 0.0) - each.predicted) for each in table) / total


def isotonic(probabilities: Sequence[float], outcomes: Sequence[bool]) -> Map:
    """The non-decreasing map that fits best: pool adjacent violators; linear between its steps' ends, flat outside.

    Example:
        >>> isotonic([0.1, 0.2, 0.3, 0.9], [False, True, False, True])(np.array([0.25, 0.9])).tolist()
        [0.5, 1.0]
    """
    p, y = _checked(probabilities, outcomes)
    if not len(p):
        raise UsageError("a map needs at least one labelled probability")
    places, index = np.unique(p, return_inverse=True)
    count = np.bincount(index).astype(np.float64)
    mean = np.bincount(index, weights=y) / count
    blocks: list[list[float]] = []  # mean, weight, how many places
    for value, weight in zip(mean, count, strict=True):
        blocks.append([float(value), float(weight), 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            upper, lower = blocks.pop(), blocks.pop()
            heavy = lower[1] + upper[1]
            blocks.append([(lower[0] * lower[1] + upper[0] * upper[1]) / heavy, heavy, lower[2] + upper[2]])
    fitted = np.concatenate([np.full(int(each[2]), each[0]) for each in blocks])
    return lambda values: np.interp(values, places, fitted)


def platt(probabilities: Sequence[float], outcomes: Sequence[bool]) -> Map:
    """A logistic map of the log odds, 1/(1 + exp(-(a·logit p + b))), fitted to targets drawn in a little.

    J. Platt (1999), with his targets (n₊+1)/(n₊+2) and 1/(n₋+2), so that separable data have a finite fit.

    Example:
        >>> mended = platt([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], [1, 1, 1, 0, 0, 0, 0, 1])
        >>> round(float(mended(np.array([0.9]))[0]), 2)
        0.67
    """
    p, y = _checked(probabilities, outcomes)
    if not len(p):
        raise UsageError("a map needs at least one labelled probability")
    yes = float(y.sum())
    target = np.where(y == 1, (yes + 1) / (yes + 2), 1 / (len(y) - yes + 2))
    x = np.column_stack([_log_odds(p), np.ones(len(p))])
    beta = np.zeros(2)
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-x @ beta))
        slope = x.T @ (target - fitted) - 1e-9 * beta
        curve = (x * (fitted * (1 - fitted))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        beta = beta + step * min(1.0, 5.0 / (float(np.abs(step).max()) + 1e-300))
        if float(np.abs(step).max()) < 1e-10:
            break
    return lambda values: 1 / (1 + np.exp(-(beta[0] * _log_odds(values) + beta[1])))


def cross_fitted(
    probabilities: Sequence[float],
    outcomes: Sequence[bool],
    *,
    method: Method = "isotonic",
    folds: int = 5,
    seed: int = 0,
) -> list[float]:
    """Every probability mended by a map that never saw its own outcome, so that the mended ones can be tested.

    Args:
        probabilities: In [0, 1].
        outcomes: What came true.
        method: `isotonic` (a hundred labels or more) or `platt` (fewer).
        folds: In how many parts the items are divided.
        seed: Seed of the division.

    Raises:
        UsageError: There are fewer items than folds, or the method is unknown.
    """
    if method not in ("isotonic", "platt"):
        raise UsageError(f"{method!r} is no map; one of isotonic, platt")
    p, y = _checked(probabilities, outcomes)
    if len(p) < folds or folds < 2:
        raise UsageError(f"{len(p)} labelled items cannot be divided into {folds} parts")
    fold = np.random.default_rng(seed).permutation(len(p)) % folds
    mended = np.empty(len(p))
    fit = isotonic if method == "isotonic" else platt
    for each in range(folds):
        inside = fold == each
        mended[inside] = fit(p[~inside].tolist(), y[~inside].astype(bool).tolist())(p[inside])
    return [float(value) for value in mended]


def _checked(probabilities: Sequence[float], outcomes: Sequence[bool]) -> tuple[Reals, Reals]:
    p, y = reals(probabilities), reals([float(outcome) for outcome in outcomes])
    if len(p) != len(y):
        raise UsageError(f"{len(p)} probabilities need {len(p)} outcomes, got {len(y)}")
    if ((p < 0) | (p > 1)).any():
        raise UsageError("a probability lies between 0 and 1")
    if ((y != 0) & (y != 1)).any():
        raise UsageError("an outcome is true or false")
    return p, y


def _log_odds(p: Reals) -> Reals:
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Reals = np.log(inside / (1 - inside))
    return odds
