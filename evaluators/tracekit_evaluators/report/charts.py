"""The geometry of the report's charts: plain numbers that templates draw as SVG.

All coordinates are in the units of the chart's view box, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracekit_evaluators.verdict import SHARES, amount, figure

_BINS = 20


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, where `at` is its coordinate."""

    at: float
    label: str


@dataclass(frozen=True)
class Whisker:
    """An estimate with its interval, on an axis from 0 to 100.

    Args:
        at: The estimate.
        low: The interval's lower end; `None` where there is no interval.
        high: Its upper end.
        zero: Where no difference is; `None` on an axis of values.
        own_scale: Whether it is drawn on a scale of its own.
    """

    at: float
    low: float | None
    high: float | None
    zero: float | None = None
    own_scale: bool = False

    def ground(self) -> str:
        """What it stands on, and zero as dashes, as the data of one SVG path in a view box of 100 × 22."""
        zero = "" if self.zero is None else f"M{self.zero:g} 0" + "v2m0 2" * 6
        return f"M0 11H100{zero}"

    def reach(self) -> str:
        """The interval and its ends, as the data of one SVG path; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"M{self.low:g} 7v8M{self.high:g} 7v8M{self.low:g} 11H{self.high:g}"


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: x and width in per cent, its height in per cent of the highest, and what it says."""

    x: float
    width: float
    height: float
    count: int
    label: str
    baseline_height: float | None = None
    baseline_count: int | None = None
    tone: str = ""


@dataclass(frozen=True)
class Distribution:
    """How a score's values spread.

    Args:
        name: The score.
        bars: Its bars from left to right.
        ticks: Marks on the value axis, in per cent.
        least: Where the first bar of a histogram begins.
        bin_width: How wide each of its bars is.
        score: The score as the store has it.
        column: Its place among the columns of the list of cases, where it has one.
    """

    name: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    least: float = 0.0
    bin_width: float = 1.0
    score: str = ""
    column: int | None = None

    def mine(self) -> str:
        """The bars of a histogram as the data of one SVG path, in a view box of 100 × 100."""
        return "".join(
            f"M{bar.x:g} 100V{100 - bar.height:.5g}H{bar.x + bar.width:.5g}V100z" for bar in self.bars if bar.height
        )

    def theirs(self) -> str:
        """The baseline's heights as the data of one SVG path; empty without a baseline."""
        return "".join(
            f"M{bar.x:g} {100 - bar.baseline_height:.5g}H{bar.x + bar.width:.5g}"
            for bar in self.bars
            if bar.baseline_height is not None
        )

    def place(self, value: float) -> int:
        """Which bar of a histogram holds a value."""
        return min(len(self.bars) - 1, int((value - self.least) / self.bin_width))


@dataclass(frozen=True)
class Point:
    """A point of a curve with its band, in view-box units, and what it says."""

    x: float
    y: float
    low: float | None
    high: float | None
    label: str


@dataclass(frozen=True)
class Curve:
    """pass^k over k, in a view box of 320 × 150.

    Args:
        name: The score.
        points: The run's points.
        baseline: The baseline's points.
        band: The run's band as an SVG polygon's points; empty where it has none.
        x_ticks: k.
        y_ticks: Shares.
    """

    name: str
    points: tuple[Point, ...]
    baseline: tuple[Point, ...]
    band: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def difference_scale(differences: Sequence[tuple[float | None, ...]]) -> float:
    """The half-width of an axis around zero that holds all of these shares, a round number of points."""
    reach = max((abs(value) for each in differences for value in each if value is not None), default=0.0)
    return next((step for step in (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0) if reach <= step), 1.0)


def difference_axis(reach: float) -> tuple[Tick, ...]:
    """The axis from -reach to +reach, in points."""
    shown = amount(reach, kind="bool", signed=True).replace(".0", "")
    return Tick(0.0, shown.replace("+", "−")), Tick(50.0, "0"), Tick(100.0, shown)


def difference_whisker(
    value: float | None, *, low: float | None, high: float | None, reach: float, own_scale: bool = False
) -> Whisker | None:
    """A difference on an axis from -reach to +reach."""
    if value is None or reach <= 0:
        return None

    def place(number: float) -> float:
        return _round(50 + 50 * max(-1.0, min(1.0, number / reach)))

    ends = (None, None) if low is None or high is None else (place(low), place(high))
    return Whisker(place(value), ends[0], ends[1], zero=50.0, own_scale=own_scale)


def share_whisker(value: float | None, *, low: float | None, high: float | None) -> Whisker | None:
    """A share on an axis from 0 to 1."""
    if value is None:
        return None
    ends = (None, None) if low is None or high is None else (_round(100 * low), _round(100 * high))
    return Whisker(_round(100 * value), ends[0], ends[1])


def number_whisker(
    value: float | None, *, low: float | None, high: float | None, values: Sequence[float]
) -> Whisker | None:
    """A number on an axis of its own, from the least to the most of the values that it is the mean of."""
    if value is None or not values:
        return None
    ends = [end for end in (low, high, *values) if end is not None]
    least, most = min(ends), max(ends)
    if not most > least:
        return None

    def place(number: float) -> float:
        return _round(100 * (number - least) / (most - least))

    inside = (None, None) if low is None or high is None else (place(low), place(high))
    return Whisker(place(value), inside[0], inside[1], own_scale=True)


def histogram(name: str, values: Sequence[float], *, baseline: Sequence[float] = ()) -> Distribution | None:
    """Counts of numbers in equal bins, or one bin for each whole number where there are few of them."""
    every = [*values, *baseline]
    if not values:
        return None
    least, most = min(every), max(every)
    whole = all(value == math.floor(value) for value in every) and most - least < _BINS
    bins = int(most - least) + 1 if whole else _BINS if most > least else 1
    width = 1.0 if whole else (most - least) / bins or 1.0

    def counts(side: Sequence[float]) -> list[int]:
        found = [0] * bins
        for value in side:
            found[min(bins - 1, int((value - least) / width))] += 1
        return found

    mine, theirs = counts(values), counts(baseline)
    highest = max([*(count / len(values) for count in mine), *(count / max(1, len(baseline)) for count in theirs)])
    bars = tuple(
        Bar(
            x=_round(100 * place / bins),
            width=_round(100 / bins),
            height=_round(100 * mine[place] / len(values) / highest),
            count=mine[place],
            label=_bin_label(least, width, place, whole=whole),
            baseline_height=_round(100 * theirs[place] / len(baseline) / highest) if baseline else None,
            baseline_count=theirs[place] if baseline else None,
        )
        for place in range(bins)
    )
    return Distribution(name, bars, _value_ticks(least, width, bins, whole=whole), least, width)


def shares(
    name: str, counts: Mapping[str, int], *, baseline: Mapping[str, int] | None = None, tones: Mapping[str, str]
) -> Distribution:
    """Counts of labels as bars whose length is their share of all."""
    total, theirs = sum(counts.values()), sum((baseline or {}).values())
    labels = [*counts, *(label for label in baseline or {} if label not in counts)]
    bars = tuple(
        Bar(
            x=0.0,
            width=_round(100 * counts.get(label, 0) / total) if total else 0.0,
            height=0.0,
            count=counts.get(label, 0),
            label=label,
            baseline_height=_round(100 * (baseline or {}).get(label, 0) / theirs) if theirs else None,
            baseline_count=(baseline or {}).get(label, 0) if theirs else None,
            tone=tones.get(label, ""),
        )
        for label in labels
    )
    return Distribution(name, bars, ())


def pass_curve(
    name: str, metrics: Sequence[Mapping[str, object]], *, baseline: Sequence[Mapping[str, object]] = ()
) -> Curve | None:
    """pass^1 … pass^K as a curve with the band of its intervals."""
    longest = max(len(metrics), len(baseline))
    if longest < 2 or not metrics:
        return None
    step = 222.0 / (longest - 1)

    def y(share: float) -> float:
        return _round(10 + 115 * (1 - share))

    def points(side: Sequence[Mapping[str, object]]) -> tuple[Point, ...]:
        found = []
        for place, metric in enumerate(side):
            value, low, high = (_number(metric.get(key)) for key in ("value", "low", "high"))
            if value is not None:
                ends = (None, None) if low is None or high is None else (y(low), y(high))
                found.append(Point(_round(66 + place * step), y(value), ends[0], ends[1], amount(value, kind="bool")))
        return tuple(found)

    mine = points(metrics)
    upper = [f"{point.x},{point.high}" for point in mine if point.high is not None]
    lower = [f"{point.x},{point.low}" for point in reversed(mine) if point.low is not None]
    return Curve(
        name,
        mine,
        points(baseline),
        " ".join([*upper, *lower]),
        tuple(Tick(_round(66 + place * step), str(place + 1)) for place in range(longest)),
        tuple(Tick(y(share), f"{share:.0%}".replace("%", " %")) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
    )


def is_share(kind: str) -> bool:
    """Whether a score of this kind is a share, drawn from 0 to 100 per cent."""
    return kind in SHARES


def _bin_label(least: float, width: float, place: int, *, whole: bool) -> str:
    if whole:
        return f"{least + place:g}"
    return f"{figure(least + place * width)} to {figure(least + (place + 1) * width)}"


def _value_ticks(least: float, width: float, bins: int, *, whole: bool) -> tuple[Tick, ...]:
    if whole:
        every = max(1, math.ceil(bins / 8))
        return tuple(Tick(_round(100 * (place + 0.5) / bins), f"{least + place:g}") for place in range(0, bins, every))
    places = (0, bins / 2, bins) if bins > 1 else (0.5,)
    return tuple(Tick(_round(100 * place / bins), figure(least + place * width)) for place in places)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _round(number: float) -> float:
    return round(number, 2)
