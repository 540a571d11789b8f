"""Everything that the report shows, gathered and put into words; templates only lay it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tracekit_evaluators.calibration.shown import Corrections
from tracekit_evaluators.comparison import Comparison
from tracekit_evaluators.pairing import Pairing, RunRows
from tracekit_evaluators.report.cases import BRIEF, LONGEST, CaseBody, Cases, CaseView, linked, paired_keys
from tracekit_evaluators.report.charts import Curve, Distribution, Tick
from tracekit_evaluators.report.differing import Differing, differing
from tracekit_evaluators.report.facts import Fact, commands, run_facts
from tracekit_evaluators.report.figures import MeasureLine, curves, distributions, measures
from tracekit_evaluators.report.headline import (
    GLYPHS,
    TONES,
    Headline,
    ScoreLine,
    Tile,
    methods,
    missing_words,
    real,
)
from tracekit_evaluators.report.judge_cards import JudgeCard, weak
from tracekit_evaluators.report.listing import listing
from tracekit_evaluators.report.packing import MOST_CHARACTERS, Packer, Shelf
from tracekit_evaluators.report.picking import Bars, bars
from tracekit_evaluators.report.scatters import Frontier, Scatter, time_and_cost
from tracekit_evaluators.report.slicing import SliceTable, slice_method, slice_table
from tracekit_evaluators.report.text import line
from tracekit_evaluators.report.trace_view import TraceView
from tracekit_evaluators.report.versions import VersionTable
from tracekit_evaluators.verdict import run_sentence, run_words

MOST_BYTES = 5_000_000
_MOST_SHOWN = 20  # cases that the page shows and prints without JavaScript
_LONGEST_SHOWN = 1_200
FEWEST_FILTERED = 30  # cases; of fewer a list says what charts of a part of them would
EMPTY = Shelf((), (), 0)


@dataclass(frozen=True)
class Report:
    """A report.

    Args:
        title: The run's name and version.
        baseline_title: The baseline's; empty without one.
        subtitle: When, how many cases, how many traces.
        word: The verdict in a word; empty without a baseline.
        tone: `good`, `bad` or empty.
        glyph: The word's sign, so that no colour is needed.
        sentence: The verdict in a sentence.
        notes: What a reader should know before trusting the numbers.
        tiles: Headline numbers.
        scores: The table of scores.
        axis: Ticks of the axis that the shares' whiskers stand on, in per cent.
        measures: Latency, cost, tokens, calls.
        distributions: How scores spread.
        curves: pass^k over k.
        differing: For each score that passes or fails, how the traces that failed differ from those that passed.
        versions: The same scores of other versions of the agent.
        frontier: What versions are worth and cost.
        scatter: Time and cost of each case.
        slices: The comparison by tag, model, tool and length.
        judges: What is known of each judge.
        library: Whether the page carries the library that draws charts of the cases that a filter leaves.
        columns: The names of the case list's score columns.
        columns_left_out: How many scores have no column.
        cases: The worst cases, with what opens under them: what is shown and printed without JavaScript.
        cases_total: How many cases there are, all of them in the list.
        listing: The list of cases, packed.
        texts: For the first of them, what opens under them.
        traces: For the first of these, their traces.
        facts: What the run is and read.
        commands: How to make all this again.
        methods: How the numbers were made.
    """

    title: str
    baseline_title: str
    subtitle: str
    word: str
    tone: str
    glyph: str
    sentence: str
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    scores: tuple[ScoreLine, ...]
    axis: tuple[Tick, ...]
    measures: tuple[MeasureLine, ...]
    distributions: tuple[Distribution, ...]
    curves: tuple[Curve, ...]
    differing: tuple[Differing, ...]
    versions: VersionTable | None
    frontier: Frontier | None
    scatter: Scatter | None
    slices: SliceTable | None
    judges: tuple[JudgeCard, ...]
    library: bool
    columns: tuple[str, ...]
    columns_left_out: int
    cases: tuple[tuple[CaseView, CaseBody], ...]
    cases_total: int
    listing: str
    texts: Shelf
    traces: Shelf
    facts: tuple[Fact, ...]
    commands: tuple[str, ...]
    methods: tuple[str, ...]

    @property
    def compared(self) -> bool:
        """Whether there is a baseline."""
        return bool(self.baseline_title)


class Builder:
    """Gathers a report: first all but the data of cases, then as much of that as there is room for.

    Args:
        run: The run's rows.
        baseline: The baseline's rows.
        pairing: How their cases pair.
        comparison: Their comparison.
        versions: The same scores of other versions.
        frontier: What versions are worth and cost.
        judges: What is known of each judge.
        corrected: What people would say of the run and the baseline.
        library: Whether there is room for the library of charts.
        max_cases: How many cases, the worst first, bring their traces.
    """

    def __init__(
        self,
        run: RunRows,
        *,
        baseline: RunRows | None = None,
        pairing: Pairing | None = None,
        comparison: Comparison | None = None,
        versions: VersionTable | None = None,
        frontier: Frontier | None = None,
        judges: Sequence[JudgeCard] = (),
        corrected: Corrections | None = None,
        library: bool = True,
        max_cases: int = 200,
    ) -> None:
        self._run, self._baseline, self._comparison, self._versions = run, baseline, comparison, versions
        self._frontier, self._judges, self._library = frontier, tuple(judges), library
        self._corrected = corrected
        self._metrics = run.metrics
        paired = None if baseline is None or pairing is None or pairing.by == "none" else (baseline, pairing.baseline)
        self._cases = Cases(run, keys=paired_keys(pairing, run), baseline=paired, comparison=comparison)
        self._traced = self._cases.ordered[:max_cases]

    @cached_property
    def _views(self) -> list[CaseView]:
        longest = 300 if len(self._cases.ordered) <= 1_000 else 140
        return linked(self._cases.view(key, longest=longest) for key in self._cases.ordered)

    def shell(self) -> Report:
        """The report without the data that JavaScript would show."""
        word, tone = self._verdict()
        headline = Headline(
            self._run,
            metrics=self._metrics,
            comparison=self._comparison,
            corrected=self._corrected,
            expires={card.score: card.expires for card in self._judges if card.expires},
        )
        before = self._baseline.metrics if self._baseline is not None else {}
        slices = None if self._comparison is None else slice_table(self._comparison)
        return Report(
            title=line(run_words(self._run.run), longest=200),
            baseline_title="" if self._baseline is None else line(run_words(self._baseline.run), longest=200),
            subtitle=self._subtitle(),
            word=word,
            tone=tone,
            glyph=GLYPHS.get(word, "◆" if word else ""),
            sentence=self._sentence(),
            notes=tuple(self._notes()),
            tiles=tuple(headline.tiles()),
            scores=tuple(headline.lines()),
            axis=headline.axis(),
            measures=tuple(measures(self._run, self._baseline, self._comparison)),
            distributions=tuple(self._charts()),
            curves=tuple(curves(self._metrics, before, self._run)),
            differing=differing(self._run),
            versions=self._versions,
            frontier=self._frontier,
            scatter=time_and_cost(self._views),
            slices=slices,
            judges=self._judges,
            library=self._library and len(self._cases.ordered) >= FEWEST_FILTERED,
            columns=tuple(line(name, longest=80) for name in self._cases.columns),
            columns_left_out=len(self._run.groups) - len(self._cases.columns),
            cases=tuple(
                (view, self._cases.body(view.key, longest=_LONGEST_SHOWN)) for view in self._views[:_MOST_SHOWN]
            ),
            cases_total=len(self._cases.ordered),
            listing="",
            texts=EMPTY,
            traces=EMPTY,
            facts=tuple(run_facts(self._run, self._baseline)),
            commands=tuple(commands(self._run.run, None if self._baseline is None else self._baseline.run)),
            methods=(*methods(self._metrics, self._comparison), *([slice_method(slices)] if slices else [])),
        )

    def filled(self, shell: Report, *, room: int, read: Callable[[list[str]], Iterator[TraceView]]) -> Report:
        """The report with the list of cases, and as many of their texts and traces as there is room for.

        The list is whole whatever the room. Texts take at most six tenths of what is left until the traces of the
        worst cases are in; what these leave goes to more texts.

        Args:
            shell: The report without data.
            room: How many bytes of the page the data may take.
            read: Gives the traces of ids that the store holds.
        """
        kinds = {name: group.kind for name, group in self._run.groups.items()}
        packed = listing(
            self._views,
            columns=self._cases.columns,
            kinds=kinds,
            compared=shell.compared,
            charts={chart.score: self._bars(chart) for chart in shell.distributions if chart.column is not None},
        )
        left = max(0, room - len(packed))
        most = max(10_000, min(MOST_CHARACTERS, left // 8))  # small chunks for a small page, which they fill better
        texts = Packer("texts-", self._bodies(), most=most)
        texts.fill(left * 6 // 10)
        traces = Packer("traces-", self._traces(read), most=most).fill(left - texts.size)
        return replace(shell, listing=packed, texts=texts.fill(left - traces.size), traces=traces)

    def _bars(self, chart: Distribution) -> Bars:
        rows = [self._cases.rows(view.key, chart.score) for view in self._views]
        return bars(chart, self._run.groups[chart.score], rows=rows)

    def _charts(self) -> Iterator[Distribution]:
        places = {name: place for place, name in enumerate(self._cases.columns)}
        for chart in distributions(self._run, self._baseline):
            yield replace(chart, column=places.get(chart.score))

    def _bodies(self) -> Iterator[CaseBody]:
        for place, key in enumerate(self._cases.ordered):
            yield self._cases.body(key, longest=LONGEST if place < len(self._traced) else BRIEF)

    def _traces(self, read: Callable[[list[str]], Iterator[TraceView]]) -> Iterator[list[TraceView]]:
        stored = self._run.traces.keys() | (set() if self._baseline is None else self._baseline.traces.keys())
        shown = ([*self._cases.trace_ids(key), *self._cases.baseline_trace_ids(key)] for key in self._traced)
        wanted = [[trace for trace in ids if trace in stored] for ids in shown]
        found = read([trace for ids in wanted for trace in ids])
        waiting = next(found, None)
        for ids in wanted:
            mine: list[TraceView] = []
            while waiting is not None and waiting.trace_id in ids:
                mine.append(waiting)
                waiting = next(found, None)
            yield mine

    def _verdict(self) -> tuple[str, str]:
        if self._comparison is None:
            return "", ""
        words = {each.verdict for each in self._comparison.scores}
        if {"better", "worse"} <= words:
            return "better and worse", "bad"
        for word in ("worse", "better", "higher", "lower", "no clear difference"):
            if word in words:
                return word, TONES.get(word, "")
        return "not tested", ""

    def _sentence(self) -> str:
        said = self._comparison.sentence if self._comparison else run_sentence(self._run.run, self._metrics)
        return line(said, longest=2_000)

    def _subtitle(self) -> str:
        ended = self._run.run.finished_at or self._run.run.created_at
        failed = sum(1 for trace in self._run.traces.values() if trace.get("status") == "error")
        parts = [
            f"{ended:%Y-%m-%d %H:%M} UTC",
            f"{len(self._cases.ordered):,} cases",
            f"{len(self._run.traces):,} traces",
            f"{failed:,} with errors" if failed else "",
        ]
        return " · ".join(part for part in parts if part)

    def _notes(self) -> Iterator[str]:
        if self._run.run.status != "finished":
            yield f"The run is {self._run.run.status}: its numbers may change."
        if self._comparison is not None:
            for note in self._comparison.notes:
                yield f"{note[0].upper()}{note[1:]}."
            if self._comparison.missing_scores:
                yield f"Only one of the runs has {line(', '.join(self._comparison.missing_scores), longest=300)}."
        elif self._corrected is not None:
            yield from (f"{note[0].upper()}{note[1:]}." for note in self._corrected.notes)
        doubted = weak(self._judges)
        if doubted:
            yield f"People’s labels speak against {', '.join(doubted)}: see the judges before trusting the scores."
        for name, metric in self._metrics.items():
            covered = real(metric.get("coverage"))
            if covered is not None and covered < 1:
                yield f"{line(name, longest=80)}: {missing_words(metric)}."
