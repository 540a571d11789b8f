"""Everything that the report shows, gathered and put into words; templates only lay it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.comparison import Comparison
from tracekit_evaluators.pairing import Pairing, RunRows
from tracekit_evaluators.report.cases import Cases, CaseView, anchors, paired_keys
from tracekit_evaluators.report.charts import Curve, Distribution, Tick
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
from tracekit_evaluators.report.text import line
from tracekit_evaluators.verdict import run_sentence, run_words

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace


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
        columns: The names of the case table's score columns.
        columns_left_out: How many scores have no column.
        cases: The cases that the table lists, worst first.
        cases_total: How many cases there are.
        cases_closed: How many of them do not open.
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
    columns: tuple[str, ...]
    columns_left_out: int
    cases: tuple[CaseView, ...]
    cases_total: int
    cases_closed: int
    facts: tuple[Fact, ...]
    commands: tuple[str, ...]
    methods: tuple[str, ...]

    @property
    def compared(self) -> bool:
        """Whether there is a baseline."""
        return bool(self.baseline_title)


class Builder:
    """Gathers a report in two steps: which traces it needs is known only after the first.

    Args:
        run: The run's rows.
        baseline: The baseline's rows.
        pairing: How their cases pair.
        comparison: Their comparison.
        max_cases: How many cases open to their traces.
        max_rows: How many cases the table lists.
        max_characters: How much text the opened cases may hold together; those after that do not open.
    """

    def __init__(
        self,
        run: RunRows,
        *,
        baseline: RunRows | None = None,
        pairing: Pairing | None = None,
        comparison: Comparison | None = None,
        max_cases: int = 200,
        max_rows: int = 2_000,
        max_characters: int = 8_000_000,
    ) -> None:
        self._run, self._baseline, self._comparison = run, baseline, comparison
        self._metrics = run.metrics
        paired = None if baseline is None or pairing is None or pairing.by == "none" else (baseline, pairing.baseline)
        self._cases = Cases(run, keys=paired_keys(pairing, run), baseline=paired, comparison=comparison)
        self._listed = self._cases.ordered[: max(max_cases, max_rows)]
        self._opened = self._listed[:max_cases]
        self._most_characters = max_characters

    def trace_ids(self) -> list[str]:
        """The traces that the report shows in full."""
        return list(dict.fromkeys(trace for key in self._opened for trace in self._cases.trace_ids(key)))

    def report(self, traces: Mapping[str, Trace]) -> Report:
        """The report, given the traces by id; one that is missing is said to be missing."""
        views = anchors([self._cases.view(key) for key in self._listed])
        views = self._opened_within(views, traces)
        closed = sum(1 for view in views if not view.attempts) + len(self._cases.ordered) - len(views)
        word, tone = self._verdict()
        headline = Headline(self._run, metrics=self._metrics, comparison=self._comparison)
        before = self._baseline.metrics if self._baseline is not None else {}
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
            distributions=tuple(distributions(self._run, self._baseline)),
            curves=tuple(curves(self._metrics, before, self._run)),
            columns=tuple(line(name, longest=80) for name in self._cases.columns),
            columns_left_out=len(self._run.groups) - len(self._cases.columns),
            cases=tuple(views),
            cases_total=len(self._cases.ordered),
            cases_closed=closed,
            facts=tuple(run_facts(self._run, self._baseline)),
            commands=tuple(commands(self._run.run, None if self._baseline is None else self._baseline.run)),
            methods=tuple(methods(self._metrics, self._comparison)),
        )

    def _opened_within(self, views: Sequence[CaseView], traces: Mapping[str, Trace]) -> list[CaseView]:
        """The cases, the first of them opened, until the file would grow too large for a browser."""
        opened, left = set(self._opened), self._most_characters
        found = []
        for view in views:
            whole = self._cases.opened(view, traces) if view.key in opened and left > 0 else view
            left -= weight(whole)
            found.append(whole)
        return found

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
        for name, metric in self._metrics.items():
            covered = real(metric.get("coverage"))
            if covered is not None and covered < 1:
                yield f"{line(name, longest=80)}: {missing_words(metric)}."


def weight(part: object) -> int:
    """How many characters a part of the report holds, near enough."""
    if isinstance(part, str):
        return len(part)
    if isinstance(part, tuple):
        return sum(weight(each) for each in part)
    if is_dataclass(part):
        return 40 + sum(weight(getattr(part, each.name)) for each in fields(part))
    return 0
