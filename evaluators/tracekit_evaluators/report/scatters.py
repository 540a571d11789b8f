"""The report's scatter charts: time and cost of each case, and quality against cost of each version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.cases import CaseView
from tracekit_evaluators.report.charts import Tick
from tracekit_evaluators.report.text import line
from tracekit_evaluators.report.waterfall import duration
from tracekit_evaluators.verdict import amount, figure

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_MOST_DOTS = 1_000
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 312.0, 12.0, 148.0  # the plane in a view box of 320 × 180
_STEPS = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Scatter:
    """Time and cost of each case, on logarithmic axes, in a view box of 320 × 180.

    Args:
        passed: The dots of cases of which nothing failed, as the data of an SVG path.
        failed: The dots of the others.
        x_ticks: Durations.
        y_ticks: Costs.
        drawn: How many cases have a dot.
        of: How many cases have both a duration and a cost.
    """

    passed: str
    failed: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    drawn: int
    of: int


@dataclass(frozen=True)
class Spot:
    """A version on the plane of cost and quality: where, how it is called, what it says, whether it is the report's."""

    x: float
    y: float
    label: str
    said: str
    anchor: str
    own: bool
    on_frontier: bool


@dataclass(frozen=True)
class Frontier:
    """Quality against cost by version.

    Args:
        score: The score on the upright axis.
        spots: The versions.
        line: The frontier as the points of an SVG polyline.
        x_ticks: Costs of a trace.
        y_ticks: Values of the score.
    """

    score: str
    spots: tuple[Spot, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def time_and_cost(views: Sequence[CaseView]) -> Scatter | None:
    """How long each case took and what it cost; `None` where fewer than three cases tell both."""
    known = [
        (view.milliseconds, view.dollars, view.failed or view.error)
        for view in views
        if view.milliseconds and view.dollars and view.milliseconds > 0 and view.dollars > 0
    ]
    if len(known) < 3:
        return None
    times, costs = _Log([each[0] for each in known]), _Log([each[1] for each in known])
    shown = known[:: math.ceil(len(known) / _MOST_DOTS)]
    dots: dict[bool, list[str]] = {False: [], True: []}
    for milliseconds, dollars, failed in shown:
        x, y = _LEFT + (_RIGHT - _LEFT) * times.share(milliseconds), _BOTTOM - (_BOTTOM - _TOP) * costs.share(dollars)
        dots[failed].append(f"M{x:.1f} {y:.1f}h0")
    return Scatter(
        "".join(dots[False]),
        "".join(dots[True]),
        tuple(Tick(round(_LEFT + (_RIGHT - _LEFT) * times.share(at), 1), duration(at * 1e6)) for at in times.ticks()),
        tuple(Tick(round(_BOTTOM - (_BOTTOM - _TOP) * costs.share(at), 1), f"${figure(at)}") for at in costs.ticks()),
        len(shown),
        len(known),
    )


def frontier(store: Store, runs: Sequence[RunRecord], run: RunRecord) -> Frontier | None:
    """What versions of an agent are worth and cost; `None` where fewer than two tell both.

    Args:
        store: The store that has their traces.
        runs: The run that is shown of each version.
        run: The report's own.
    """
    named = [
        name
        for name, metric in sorted(run.metrics.items())
        if metric.get("direction") in {"maximize", "minimize"} and metric.get("k") is None
    ]
    costs = {each.id: _cost(store, each) for each in runs} if named else {}
    for name in named:
        found = [
            (each, cost, value)
            for each in runs
            if (cost := costs[each.id]) is not None and (value := _real(each.metrics.get(name))) is not None
        ]
        if len(found) > 1:
            return _drawn(name, run, found)
    return None


def undominated(spots: Sequence[tuple[float, float]]) -> list[bool]:
    """Which spots (cost, quality) no other is at least as good and as cheap as, and better in one of the two.

    Example:
        >>> undominated([(1.0, 0.5), (2.0, 0.9), (3.0, 0.9), (2.5, 0.4)])
        [True, True, False, False]
    """
    return [
        not any(quality >= mine and price <= cost and (quality > mine or price < cost) for price, quality in spots)
        for cost, mine in spots
    ]


def _drawn(name: str, run: RunRecord, found: Sequence[tuple[RunRecord, float, float]]) -> Frontier:
    metric = run.metrics[name]
    kind, sign = str(metric.get("kind") or "number"), -1.0 if metric.get("direction") == "minimize" else 1.0
    best = undominated([(cost, sign * value) for _, cost, value in found])
    prices, values = _Straight([cost for _, cost, _ in found]), _Straight([value for _, _, value in found])
    spots = []
    for (each, cost, value), good in zip(found, best, strict=True):
        x, y = _LEFT + (_RIGHT - _LEFT) * prices.share(cost), _BOTTOM - (_BOTTOM - _TOP) * values.share(value)
        ref = "" if each.agent_version is None else each.agent_version.ref
        said = f"{ref}: {amount(value, kind=kind)} at ${figure(cost)} a trace{', on the frontier' if good else ''}"
        share = (x - _LEFT) / (_RIGHT - _LEFT)
        anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
        spots.append(
            Spot(
                round(x, 1),
                round(y, 1),
                line(ref, longest=24),
                line(said, longest=200),
                anchor,
                each.id == run.id,
                good,
            )
        )
    steps = sorted((spot.x, spot.y) for spot in spots if spot.on_frontier)
    points = [f"{x},{y}" for x, y in steps]
    return Frontier(
        line(name, longest=80),
        tuple(spots),
        " ".join(points) if len(points) > 1 else "",
        tuple(Tick(round(_LEFT + (_RIGHT - _LEFT) * prices.share(at), 1), f"${figure(at)}") for at in prices.ticks()),
        tuple(
            Tick(round(_BOTTOM - (_BOTTOM - _TOP) * values.share(at), 1), amount(at, kind=kind).replace(".0 %", " %"))
            for at in values.ticks()
        ),
    )


class _Log:
    """A logarithmic axis that holds all of these numbers, each above 0."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._least, self._most = min(numbers) / 1.1, max(numbers) * 1.1

    def share(self, number: float) -> float:
        return math.log(number / self._least) / math.log(self._most / self._least)

    def ticks(self) -> list[float]:
        first, last = math.floor(math.log10(self._least)), math.ceil(math.log10(self._most))
        every = [step * 10.0**power for power in range(first, last + 1) for step in _STEPS]
        inside = [at for at in every if self._least <= at <= self._most]
        return inside[:: math.ceil(len(inside) / 4)] if inside else [(self._least * self._most) ** 0.5]


class _Straight:
    """An axis that holds all of these numbers, with a margin."""

    def __init__(self, numbers: Sequence[float]) -> None:
        spread = max(numbers) - min(numbers) or abs(max(numbers)) or 1.0
        self._least = min(numbers) - 0.15 * spread
        self._most = max(numbers) + 0.15 * spread

    def share(self, number: float) -> float:
        return (number - self._least) / (self._most - self._least)

    def ticks(self) -> list[float]:
        every = (self._most - self._least) / 3
        power = 10.0 ** math.floor(math.log10(every))
        step = next(power * size for size in (1.0, 2.0, 5.0, 10.0) if power * size >= every)
        first = math.ceil(self._least / step)
        return [place * step for place in range(first, math.floor(self._most / step) + 1)]


def _cost(store: Store, run: RunRecord) -> float | None:
    query = (
        "SELECT avg(cost_usd) AS mean, count(*) AS traces, count(cost_usd) AS priced FROM traces "
        "WHERE trace_id IN (SELECT trace_id FROM scores WHERE run_id = ?)"
    )
    row = store.sql(query, [run.id], settle=False).fetchone()
    if row is None or not row[1] or row[1] != row[2]:  # the mean of some would be the mean of others
        return None
    return _real({"value": row[0]})


def _real(metric: Mapping[str, object] | None) -> float | None:
    value = None if metric is None else metric.get("value")
    return float(value) if isinstance(value, (int, float)) else None
