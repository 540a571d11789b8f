"""Tests that may be looked at after every case: betting e-processes.

A bettor who starts with 1 and bets on each next case cannot, when the hypothesis is true, be expected to gain. To hold
1/α at any time then has a probability of at most α (J. Ville, 1939), whenever and for whatever reason one stops; I.
Waudby-Smith and A. Ramdas, JRSS B 86 (2024), arXiv 2010.09686.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.estimate import Reals, reals

_BETS = (0.05, 0.1, 0.2, 0.35, 0.55, 0.8)  # shares of the largest bet that cannot lose all


class EProcess:
    """The wealth of a bettor against "the mean is at most `mean`", six fixed bets averaged.

    Args:
        mean: The bound of the hypothesis.
        low: The least that a value can be.
        high: The most that a value can be.

    Example:
        >>> process = EProcess(mean=0.0, low=-1.0, high=1.0)
        >>> for value in [1.0] * 12: process.add(value)
        >>> process.wealth > 20  # the mean is above 0, at the 5 % level
        True
    """

    def __init__(self, *, mean: float, low: float, high: float) -> None:
        if not low < mean < high:
            raise UsageError(f"the bound {mean:g} lies outside of what values can be, {low:g} to {high:g}")
        self._mean, self._low, self._high = mean, low, high
        self._bets: Reals = np.array(_BETS) / (mean - low)
        self._logs: Reals = np.zeros(len(_BETS))
        self.n = 0
        self.best = 1.0

    def add(self, value: float, *, weight: float = 1.0) -> None:
        """Bet on one more value.

        Args:
            value: It, or the mean of a cluster.
            weight: In (0, 1]: a cluster's size as a share of the largest one's, so that each case counts the same.
        """
        if not self._low - 1e-9 <= value <= self._high + 1e-9:
            raise UsageError(f"{value:g} lies outside of what values can be, {self._low:g} to {self._high:g}")
        self._logs = self._logs + np.log1p(np.maximum(self._bets * (value - self._mean) * weight, -1 + 1e-12))
        self.n += 1
        self.best = max(self.best, self.wealth)

    @property
    def wealth(self) -> float:
        """What the bettor holds now: an e-value."""
        top = float(self._logs.max())
        held = float(np.exp(self._logs - top).mean())
        return math.exp(min(700.0, top + math.log(held)))


def e_values(values: Iterable[float], *, mean: float, low: float, high: float) -> Reals:
    """The e-process of `EProcess` after each value, at once.

    Args:
        values: In the order in which they came; the order must not depend on them.
        mean: The bound of the hypothesis "the mean is at most this".
        low: The least that a value can be.
        high: The most that a value can be.

    Example:
        >>> round(float(e_values([1.0] * 12, mean=0.0, low=-1.0, high=1.0)[-1]), 1)
        233.3
    """
    array = reals(values)
    if not low < mean < high:
        raise UsageError(f"the bound {mean:g} lies outside of what values can be, {low:g} to {high:g}")
    bets = np.array(_BETS) / (mean - low)
    logs = np.cumsum(np.log1p(np.maximum(bets[:, None] * (array - mean)[None, :], -1 + 1e-12)), axis=1)
    found: Reals = np.exp(np.minimum(logs, 700.0)).mean(axis=0)
    return found
