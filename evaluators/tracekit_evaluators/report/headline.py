"""The report's headline numbers and its table of scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracekit_evaluators.calibration.corrections import Corrected
from tracekit_evaluators.calibration.shown import Corrections
from tracekit_evaluators.comparison import Comparison, ScoreDifference
from tracekit_evaluators.pairing import RunRows
from tracekit_evaluators.report import charts
from tracekit_evaluators.report.charts import Tick, Whisker
from tracekit_evaluators.report.text import line
from tracekit_evaluators.summary import ScoreGroup, number
from tracekit_evaluators.verdict import amount, interval, p_figure

Metric = Mapping[str, object]
GLYPHS = {"better": "▲", "worse": "▼", "higher": "▲", "lower": "▼", "no clear difference": "≈", "not tested": "–"}
TONES = {"better": "good", "worse": "bad"}
_MOST_TILES = 6
_ALWAYS = (
    "An interval holds the truth in 95 of 100 repetitions. Repeats of a case are averaged first, so that each case "
    "counts the same."
)
_DIRECTIONS = {"maximize": "higher is better", "minimize": "lower is better"}


@dataclass(frozen=True)
class Tile:
    """A headline number: what, how much, how sure, and the change since the baseline."""

    label: str
    value: str
    interval: str
    change: str = ""
    change_tone: str = ""
    change_glyph: str = ""


@dataclass(frozen=True)
class PeopleLine:
    """What people would say of a score, by its judge's calibration; without a baseline the mean alone.

    Args:
        value: The run's mean.
        interval: Its interval.
        method: How it was made.
        baseline: The baseline's mean with its interval.
        difference: The difference.
        difference_interval: Its interval.
        whisker: The mean, or the difference, drawn like the judge's own.
        expires: From when on it no longer counts, as `2027-02-01`; empty where that never comes.
    """

    value: str
    interval: str
    method: str
    baseline: str = ""
    difference: str = ""
    difference_interval: str = ""
    whisker: Whisker | None = None
    expires: str = ""

    def as_line(self, of: ScoreLine) -> ScoreLine:
        """The same as a line of the table of scores, for tables that know no other."""
        return ScoreLine(
            name=f"{of.name}, as people would say",
            direction="",
            value=self.value,
            interval=self.interval,
            cases="",
            coverage="",
            coverage_note="",
            method=self.method,
            whisker=self.whisker,
            baseline=self.baseline,
            difference=self.difference,
            difference_interval=self.difference_interval,
            told_by_people=True,
        )


@dataclass(frozen=True)
class ScoreLine:
    """A line of the table of scores; the columns of a comparison are empty without a baseline."""

    name: str
    direction: str
    value: str
    interval: str
    cases: str
    coverage: str
    coverage_note: str
    method: str
    whisker: Whisker | None
    baseline: str = ""
    difference: str = ""
    difference_interval: str = ""
    p: str = ""
    p_adjusted: str = ""
    test: str = ""
    verdict: str = ""
    tone: str = ""
    glyph: str = ""
    regressed: int = 0
    improved: int = 0
    unsettled: str = ""
    settles: str = ""
    people: PeopleLine | None = None
    told_by_people: bool = False

    def and_people(self) -> tuple[ScoreLine, ...]:
        """The line, and below it what people would say, where its judge was calibrated."""
        return (self,) if self.people is None else (self, self.people.as_line(self))


class Headline:
    """Tiles and lines for a run's metrics.

    Args:
        run: The run's rows.
        metrics: Its metrics, as `summarise` gives them.
        comparison: Its comparison with a baseline.
        corrected: What people would say of the run.
        expires: For scores the day from which on that no longer counts.
    """

    def __init__(
        self,
        run: RunRows,
        *,
        metrics: Mapping[str, Metric],
        comparison: Comparison | None,
        corrected: Corrections | None = None,
        expires: Mapping[str, str] | None = None,
    ) -> None:
        self._run = run
        self._metrics = metrics
        self._differences = {each.name: each for each in comparison.scores} if comparison is not None else {}
        self._compared = comparison is not None
        self._expires = expires or {}
        means: Mapping[tuple[str, str], Corrected] = {} if corrected is None else corrected.means
        self._means = {score: each.to_dict() for (id_, score), each in means.items() if id_ == run.run.id}
        shares = [each for each in self._differences.values() if charts.is_share(each.kind)]
        ends = [(each.estimate.value, each.estimate.low, each.estimate.high) for each in shares]
        people = [each.corrected["difference"] for each in shares if each.corrected and "difference" in each.corrected]
        ends += [_ends(told) for told in people]
        self._reach = charts.difference_scale(ends)

    def tiles(self) -> Iterator[Tile]:
        """The scores that have a mean, and the hardest pass^k."""
        chosen = [name for name in self._run.groups if real(self._metrics[name].get("value")) is not None]
        hardest = [name for name in self._metrics if name not in self._run.groups][-1:]
        for name in [*chosen[:_MOST_TILES], *hardest][:_MOST_TILES]:
            yield self._tile(name, self._metrics[name])

    def lines(self) -> Iterator[ScoreLine]:
        """One line a score; without a baseline also one for each pass^k."""
        for name in self._metrics:
            if name in self._run.groups or not self._compared:
                yield self._line(name)

    def axis(self) -> tuple[Tick, ...]:
        """The axis that the whiskers of shares stand on."""
        if not self._compared:
            return tuple(Tick(at, f"{at:.0f} %") for at in (0.0, 50.0, 100.0))
        return charts.difference_axis(self._reach)

    def _tile(self, name: str, metric: Metric) -> Tile:
        kind = str(metric["kind"])
        tile = Tile(
            label=line(name, longest=60),
            value=amount(real(metric.get("value")), kind=kind),
            interval=interval(real(metric.get("low")), real(metric.get("high")), kind=kind) or "no interval",
        )
        found = self._differences.get(name)
        if found is None or found.estimate.value is None:
            return tile
        return replace(
            tile,
            change=amount(found.estimate.value, kind=found.kind, signed=True),
            change_tone=TONES.get(found.verdict, ""),
            change_glyph=GLYPHS[found.verdict],
        )

    def _line(self, name: str) -> ScoreLine:
        metric = self._metrics[name]
        kind = str(metric["kind"])
        value, low, high = (real(metric.get(key)) for key in ("value", "low", "high"))
        told = ScoreLine(
            name=line(name, longest=80),
            direction=_DIRECTIONS.get(str(metric["direction"]), ""),
            value=amount(value, kind=kind),
            interval=interval(low, high, kind=kind),
            cases=cases_words(metric),
            coverage=amount(real(metric.get("coverage")), kind="bool"),
            coverage_note=missing_words(metric),
            method=str(metric["method"]),
            whisker=None if self._compared else self._whisker(name, kind, value, low, high),
        )
        found = self._differences.get(name)
        if found is not None:
            return self._compared_line(told, found)
        people = None if self._compared else self._means.get(name)
        return told if people is None else replace(told, people=self._people(name, kind, people))

    def _people(self, name: str, kind: str, told: Metric) -> PeopleLine:
        value, low, high = _ends(told)
        return PeopleLine(
            value=amount(value, kind=kind),
            interval=interval(low, high, kind=kind),
            method=str(told.get("method")),
            whisker=self._whisker(name, kind, value, low, high),
            expires=self._expires.get(name, ""),
        )

    def _whisker(
        self, name: str, kind: str, value: float | None, low: float | None, high: float | None
    ) -> Whisker | None:
        if charts.is_share(kind):
            return charts.share_whisker(value, low=low, high=high)
        return charts.number_whisker(value, low=low, high=high, values=numbers(self._run.groups[name]))

    def _compared_line(self, told: ScoreLine, found: ScoreDifference) -> ScoreLine:
        estimate, kind = found.estimate, found.kind
        own, reach = not charts.is_share(kind), self._reach
        if own:
            ends = (estimate.value, estimate.low, estimate.high)
            reach = 1.15 * max((abs(end) for end in ends if end is not None), default=0.0)
        return replace(
            told,
            value=amount(found.candidate, kind=kind),
            baseline=amount(found.baseline, kind=kind),
            difference=amount(estimate.value, kind=kind, signed=True),
            difference_interval=interval(estimate.low, estimate.high, kind=kind, signed=True),
            p=p_figure(found.p.value),
            p_adjusted=p_figure(found.p_adjusted),
            test=found.p.test,
            verdict=found.verdict,
            tone=TONES.get(found.verdict, ""),
            glyph=GLYPHS[found.verdict],
            regressed=len(found.regressed),
            improved=len(found.improved),
            whisker=charts.difference_whisker(
                estimate.value, low=estimate.low, high=estimate.high, reach=reach, own_scale=own
            ),
            cases=f"{found.pairs}" if found.pairs else told.cases,
            people=self._people_compared(found, reach=reach, own=own),
            unsettled=_unsettled(found),
            settles=f"about {_round(found.more_cases):,} more cases would settle it" if found.more_cases else "",
        )

    def _people_compared(self, found: ScoreDifference, *, reach: float, own: bool) -> PeopleLine | None:
        told = found.corrected
        if told is None:
            return None
        sides = {side: _ends(told.get(side, {})) for side in ("baseline", "candidate", "difference")}
        words = {side: amount(ends[0], kind=found.kind) if side in told else "" for side, ends in sides.items()}
        value, low, high = sides["difference"]
        return PeopleLine(
            value=words["candidate"],
            interval=interval(*sides["candidate"][1:], kind=found.kind),
            method=str(list(told.values())[-1]["method"]),
            baseline=words["baseline"],
            difference=amount(value, kind=found.kind, signed=True) if "difference" in told else "",
            difference_interval=interval(low, high, kind=found.kind, signed=True),
            whisker=charts.difference_whisker(value, low=low, high=high, reach=reach, own_scale=own),
            expires=self._expires.get(found.name, ""),
        )


def _round(count: int) -> int:
    """A count that is itself an estimate, in two digits."""
    return int(float(f"{count:.2g}"))


def _ends(told: Metric) -> tuple[float | None, float | None, float | None]:
    return real(told.get("value")), real(told.get("low")), real(told.get("high"))


def _unsettled(found: ScoreDifference) -> str:
    """How large a difference so many cases show, where they showed none."""
    if found.verdict != "no clear difference" or found.detectable is None:
        return ""
    if charts.is_share(found.kind) and found.detectable > 1:
        return "too few cases to show any difference"
    return f"shows from {amount(found.detectable, kind=found.kind, signed=True).lstrip('+')} on"


def cases_words(metric: Metric) -> str:
    """How many cases, and how often each was tried."""
    repeats = metric.get("repeats") or metric.get("trials")
    count = f"{metric['n']} cases"
    if not isinstance(repeats, list) or repeats == [1, 1]:
        return count
    return f"{count} × {repeats[0]}" if repeats[0] == repeats[1] else f"{count}, {repeats[0]} to {repeats[1]} repeats"


def missing_words(metric: Metric) -> str:
    """What was not scored, and how far that could move a share; empty when nothing is missing."""
    missing = metric.get("missing")
    if not isinstance(missing, Mapping) or not missing:
        return ""
    told = "not scored: " + ", ".join(f"{count} {str(name).replace('_', ' ')}" for name, count in missing.items())
    bounds = metric.get("bounds")
    if isinstance(bounds, list) and bounds[0] is not None and bounds[0] != bounds[1]:
        told += f"; whatever these are, the share is {interval(bounds[0], bounds[1], kind='bool')}"
    return told


def numbers(group: ScoreGroup) -> list[float]:
    """The values of a score."""
    return [value for row in group.rows if (value := number(row)) is not None]


def real(value: object) -> float | None:
    """A number out of a metric; `None` where there is none."""
    return float(value) if isinstance(value, (int, float)) else None


def methods(metrics: Mapping[str, Metric], comparison: Comparison | None) -> Sequence[str]:
    """How the numbers were made, in sentences."""
    told = [_ALWAYS]
    for name, metric in metrics.items():
        if real(metric.get("value")) is not None:
            told.append(f"{line(name, longest=80)}: {metric['method']}; {cases_words(metric)}.")
    for each in comparison.scores if comparison is not None else ():
        of = line(each.name, longest=80)
        told.append(f"Difference in {of}: {each.estimate.method}; p by {each.p.test}; {each.pairs} pairs.")
    if comparison is not None:
        told.append(
            "p-values are corrected by Holm over the scores; a corrected p below 0.05 is called a clear difference."
        )
        told.append(
            "Where none is clear: the smallest difference that so many cases show in 80 of 100 repetitions, and how "
            "many more cases would show the difference that was seen, were it the true one."
        )
    return [*told, "A judge that failed gives no value: it is counted under coverage, never as a zero."]
