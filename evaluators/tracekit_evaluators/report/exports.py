"""The headline of a report outside of it: as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tracekit_evaluators.report.headline import ScoreLine
from tracekit_evaluators.report.payload import Report
from tracekit_evaluators.report.text import shown

_COMPARED = ("Score", "Baseline", "This run", "Difference", "95 % interval", "p, corrected", "Verdict", "▼ / ▲", "n")


def markdown(report: Report) -> str:
    """The report's verdict, tables and worst cases as Markdown; whatever came from traces is escaped."""
    return "\n".join(_markdown(report)).rstrip() + "\n"


def _markdown(report: Report) -> Iterator[str]:
    title = _word(report.title) + (f" against {_word(report.baseline_title)}" if report.compared else "")
    yield f"## {title}\n"
    yield f"{_word(report.subtitle)}\n"
    if report.word:
        yield f"**{report.glyph} {report.word.capitalize()}.** {_word(report.sentence)}\n"
    else:
        yield f"{_word(report.sentence)}\n"
    for note in report.notes:
        yield f"> {_word(note)}\n"
    if report.compared:
        lines = [_compared(each) for score in report.scores for each in score.and_people()]
        yield from _table(_COMPARED, lines)
    else:
        every = [each for score in report.scores for each in score.and_people()]
        rows = [(each.name, each.value, each.interval, each.cases, each.coverage) for each in every]
        yield from _table(("Score", "Mean", "95 % interval", "Cases", "Scored"), rows)
    yield from _table(
        ("Per trace", "Median", "95th percentile", "Total", "Traces"),
        [(m.name, m.median, m.p95, m.total, f"{m.traces:,}") for m in report.measures],
    )
    for found in report.differing[:1]:
        if found.differences:
            yield f"### What differs: {_word(found.score)}, {found.failed:,} failed, {found.passed:,} passed\n"
            yield from _table(
                ("Failed traces", "Failed", "Passed", "Effect", "p, corrected"),
                [(each.name, each.failed, each.passed, each.told, each.p) for each in found.differences],
            )
    if report.cases:
        yield f"### {'Worst regressions' if report.compared else 'Worst cases'}\n"
        yield from _table(
            ("Case", "Input", *report.columns),
            [
                (view.name, _cut(view.summary, 120), *(f"{cell.text} {cell.change}".strip() for cell in view.cells))
                for view, _ in report.cases[:10]
            ],
        )
    for command in report.commands:
        yield f"    {shown(command)}"


def _compared(score: ScoreLine) -> Sequence[str]:
    alone = score.method if score.told_by_people else "only in this run"
    verdict = f"{score.glyph} {score.verdict}" if score.verdict else alone
    difference = (score.difference, score.difference_interval, score.p_adjusted)
    changed = f"{score.regressed} / {score.improved}" if score.verdict else ""
    return (score.name, score.baseline, score.value, *difference, verdict, changed, score.cases)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"| {' | '.join(_word(name) for name in head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_word(cell) or '–' for cell in row)} |"
    yield ""


def _word(text: str) -> str:
    """Text that Markdown leaves as it is: no markup, no table cell, no mention, no link, no line break."""
    flat = " ".join(shown(text).split())
    for character in "\\`*_[]|~":
        flat = flat.replace(character, f"\\{character}")
    return escape(flat, quote=False).replace("@", "@\u200d").replace("://", ":\u200d//").replace("#", "\\#")


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"
