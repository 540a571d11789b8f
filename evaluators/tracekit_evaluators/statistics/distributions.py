"""Quantiles and tail probabilities. The only module of the package that imports scipy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special, stats


@lru_cache(maxsize=64)
def normal_quantile(probability: float) -> float:
    """The standard normal's quantile."""
    return float(special.ndtri(probability))


def normal_probability(quantile: float) -> float:
    """The standard normal's distribution function."""
    return float(special.ndtr(quantile))


@lru_cache(maxsize=4096)
def t_quantile(probability: float, *, degrees: float) -> float:
    """Student's t quantile."""
    return float(special.stdtrit(degrees, probability))


def t_quantiles(probability: float, degrees: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """Student's t quantile for each of several degrees of freedom."""
    found: npt.NDArray[np.float64] = np.asarray(special.stdtrit(degrees, probability))
    return found


def t_two_sided(statistic: float, *, degrees: float) -> float:
    """The probability that |t| is at least this large."""
    return float(2.0 * special.stdtr(degrees, -abs(statistic)))


def beta_quantile(probability: float, *, a: float, b: float) -> float:
    """The beta distribution's quantile."""
    return float(special.betaincinv(a, b, probability))


def fair_coin_two_sided(heads: int, *, tosses: int) -> float:
    """Exact two-sided p-value of this many heads from a fair coin."""
    return float(min(1.0, 2.0 * special.bdtr(min(heads, tosses - heads), tosses, 0.5)))


def fisher_two_sided(table: tuple[tuple[int, int], tuple[int, int]]) -> float:
    """Fisher's exact two-sided p-value of a 2 × 2 table."""
    return float(stats.fisher_exact(table).pvalue)


def fair_coin(heads: int, *, tosses: int) -> float:
    """The probability of at most this many heads from a fair coin."""
    return float(special.bdtr(heads, tosses, 0.5)) if tosses else 1.0


def t_probability(statistic: float, *, degrees: float) -> float:
    """Student's t distribution function."""
    return float(special.stdtr(degrees, statistic))


def f_quantile(probability: float, *, above: float, below: float) -> float:
    """The F distribution's quantile."""
    return float(special.fdtri(above, below, probability))
