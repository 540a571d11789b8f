"""Krippendorff's alpha: agreement of any number of raters, any of whom may have left items out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.agreement import Label, in_order
from tracekit_evaluators.calibration.resampling import OfSums, interval_of_sums
from tracekit_evaluators.statistics import Estimate
from tracekit_evaluators.statistics.estimate import Reals

Measurement = Literal["nominal", "ordinal", "interval"]
MEASUREMENTS: tuple[str, ...] = ("nominal", "ordinal", "interval")
_MOST_RANKS = 60


def krippendorff_alpha(
    units: Sequence[Sequence[Label | None]],
    *,
    measurement: Measurement = "nominal",
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """1 - Do/De: 1 is perfect, 0 what chance gives, below 0 systematic disagreement.

    K. Krippendorff, Content Analysis (4th ed., 2018), ch. 12. Items that fewer than two rated say nothing and are left
    out. A disagreement counts 1 (nominal), the square of how many ratings lie between (ordinal), or the square of the
    difference (interval).

    Args:
        units: For each item the raters' values, `None` where one is missing.
        measurement: `nominal`, `ordinal` or `interval`; values are numbers for the latter, and sortable for ordinal.
        clusters: For each item what it shares with others.
        level: Confidence level of the bootstrap interval over items.
        seed: Its seed.

    Raises:
        UsageError: The measurement is unknown, or the values do not fit it.

    Example:
        >>> round(krippendorff_alpha([[1, 1], [2, 2], [1, 2], [1, None]]).value, 3)
        0.444
    """
    if measurement not in MEASUREMENTS:
        raise UsageError(f"{measurement!r} is no measurement; one of {', '.join(MEASUREMENTS)}")
    kept, groups = [], []
    for place, unit in enumerate(units):
        values = [value for value in unit if value is not None]
        if len(values) > 1:
            kept.append(values)
            groups.append(place if clusters is None else clusters[place])
    if not kept:
        return Estimate(None, None, None, 0, "no item was rated twice")
    features, statistic = _interval(kept) if measurement == "interval" else _categories(kept, measurement)
    drawn = None if clusters is None else groups
    return interval_of_sums(features, statistic, name="alpha", clusters=drawn, level=level, seed=seed)


def _interval(units: Sequence[Sequence[Label]]) -> tuple[Reals, OfSums]:
    """Each unit adds its disagreement, its count, its sum and its sum of squares."""
    try:
        numbers = [np.array([float(value) for value in unit]) for unit in units]
    except (TypeError, ValueError):
        raise UsageError("alpha for intervals needs numbers") from None
    middle = float(np.concatenate(numbers).mean())  # differences are all that counts; large offsets lose digits
    rows = []
    for raw in numbers:
        values = raw - middle
        m, total, squares = len(values), float(values.sum()), float((values**2).sum())
        rows.append([2 * (m * squares - total * total) / (m - 1), m, total, squares])

    def alpha(sums: Reals) -> Reals:
        observed, n, total, squares = sums.T
        expected = 2 * (n * squares - total**2)
        return np.where(expected > 1e-300, 1 - (n - 1) * observed / expected, np.nan)

    return np.array(rows), alpha


def _categories(units: Sequence[Sequence[Label]], measurement: str) -> tuple[Reals, OfSums]:
    """Each unit adds its coincidences of values."""
    labels = in_order({value for unit in units for value in unit})
    k = len(labels)
    if measurement == "ordinal" and k > _MOST_RANKS:
        raise UsageError(f"{k} different values are no ranks; use the measurement interval")
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(units), k))
    for row, unit in enumerate(units):
        for value in unit:
            counts[row, place[value]] += 1
    m = counts.sum(axis=1)
    if measurement == "nominal":
        disagreed = (counts * (m[:, None] - counts)).sum(axis=1) / (m - 1)
        return np.column_stack([disagreed, counts]), _nominal_alpha
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, np.arange(k), np.arange(k)] -= counts
    pairs /= (m - 1)[:, None, None]
    return np.column_stack([pairs.reshape(len(units), k * k), counts]), lambda sums: _ordinal_alpha(sums, k)


def _nominal_alpha(sums: Reals) -> Reals:
    observed, counts = sums[:, 0], sums[:, 1:]
    n = counts.sum(axis=1)
    expected = n**2 - (counts**2).sum(axis=1)
    return np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)


def _ordinal_alpha(sums: Reals, k: int) -> Reals:
    pairs, counts = sums[:, : k * k].reshape(len(sums), k, k), sums[:, k * k :]
    upto = counts.cumsum(axis=1)
    # Ratings between two ranks, both ends counted half: the middle of a rank is where it lies.
    middle = upto - counts / 2
    apart = (middle[:, :, None] - middle[:, None, :]) ** 2
    n = counts.sum(axis=1)
    chance = counts[:, :, None] * counts[:, None, :]
    expected = (chance * apart).sum(axis=(1, 2))
    observed = (pairs * apart).sum(axis=(1, 2))
    return np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)
