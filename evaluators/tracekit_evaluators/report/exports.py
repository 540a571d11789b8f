"""The headline of a report outside of it: as Markdown for a pull request, and as SVG charts that stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tracekit_evaluators.report.charts import Curve, Tick, Whisker
from tracekit_evaluators.report.headline import ScoreLine
from tracekit_evaluators.report.payload import Report
from tracekit_evaluators.report.text import shown

_COMPARED = ("Score", "Baseline", "This run", "Difference", "95 % interval", "p, corrected", "Verdict", "▼ / ▲", "n")
_STYLE = (
    "svg{color-scheme:light dark;font:12px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}"
    ".ground{fill:#fff}.ink{fill:#16191d}.muted{fill:#59636e}.line{stroke:#e1e5e9}"
    ".zero{stroke:#7c8792;stroke-dasharray:2 2}"
    ".reach{stroke:#2757c9;stroke-width:2}.point{fill:#2757c9}.good .reach{stroke:#14713f}.good .point{fill:#14713f}"
    ".bad .reach{stroke:#b3261e}.bad .point{fill:#b3261e}.strong{font-weight:600}.band{fill:#d6e0f8}"
    ".own{fill:#fff;stroke:#7c8792;stroke-width:1.5}.curve{fill:none;stroke:#2757c9;stroke-width:2}"
    ".theirs{fill:none;stroke:#3d4650;stroke-width:2;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){.ground{fill:#15191e}.ink{fill:#e7eaee}.muted{fill:#98a3af}.line{stroke:#2a313a}"
    ".reach{stroke:#86adff}.point{fill:#86adff}.good .reach{stroke:#5bc48b}.good .point{fill:#5bc48b}"
    ".bad .reach{stroke:#ff8e84}.bad .point{fill:#ff8e84}.band{fill:#223358}"
    ".own{fill:#15191e}.curve{stroke:#86adff}.theirs{stroke:#c9d1da}}"
)


def markdown(report: Report) -> str:
    """The report's verdict, tables and worst cases as Markdown; whatever came from traces is escaped."""
    return "\n".join(_markdown(report)).rstrip() + "\n"


def drawings(report: Report) -> dict[str, str]:
    """The report's headline charts by file name: `scores.svg`, the forest plot, and `pass-k-1.svg` … for curves."""
    found = {"scores.svg": _forest(report)} if report.scores else {}
    for place, curve in enumerate(report.curves, 1):
        found[f"pass-k-{place}.svg"] = _curve(curve)
    return found


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
        yield from _table(_COMPARED, [_compared(score) for score in report.scores])
    else:
        rows = [(each.name, each.value, each.interval, each.cases, each.coverage) for each in report.scores]
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
    verdict = f"{score.glyph} {score.verdict}" if score.verdict else "only in this run"
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


def _forest(report: Report) -> str:
    rows = [score for score in report.scores if score.whisker is not None]
    height = 56 + 28 * len(rows)
    title = report.title + (f" against {report.baseline_title}" if report.compared else "")
    parts = [_text(16, 24, title, "ink strong")]
    parts += [_text(_x(tick.at), 46, tick.label, "muted", anchor=_anchor(tick)) for tick in report.axis]
    for place, score in enumerate(rows):
        y = 66 + 28 * place
        parts.append(f'<g class="{score.tone}">')
        parts.append(_text(16, y + 4, _cut(score.name, 26), "ink"))
        if score.whisker is not None:
            parts.append(_whisker(score.whisker, y))
        said = score.difference if report.compared else score.value
        parts.append(_text(704, y + 4, f"{said} ({score.difference_interval or score.interval})", "ink"))
        parts.append("</g>")
    return _svg(920, height, parts, f"Scores of {report.title}")


def _whisker(whisker: Whisker, y: int) -> str:
    found = f'<line class="line" x1="{_x(0)}" x2="{_x(100)}" y1="{y}" y2="{y}"/>'
    if whisker.zero is not None:
        zero = _x(whisker.zero)
        found += f'<line class="zero" x1="{zero}" x2="{zero}" y1="{y - 12}" y2="{y + 12}"/>'
    if whisker.low is not None and whisker.high is not None:
        found += f'<line class="reach" x1="{_x(whisker.low)}" x2="{_x(whisker.high)}" y1="{y}" y2="{y}"/>'
    kind = "own" if whisker.own_scale else "point"
    return found + f'<circle class="{kind}" cx="{_x(whisker.at)}" cy="{y}" r="4"/>'


def _curve(curve: Curve) -> str:
    parts = [_text(16, 24, f"pass^k of {curve.name}", "ink strong"), '<g transform="translate(0 30) scale(1.5)">']
    for tick in curve.y_ticks:
        parts.append(f'<line class="line" x1="40" x2="312" y1="{tick.at}" y2="{tick.at}"/>')
        parts.append(_text(34, tick.at + 3.5, tick.label, "muted", anchor="end", size=9))
    parts += [_text(tick.at, 144, tick.label, "muted", anchor="middle", size=9) for tick in curve.x_ticks]
    if curve.band:
        parts.append(f'<polygon class="band" points="{curve.band}"/>')
    for kind, points in (("theirs", curve.baseline), ("curve", curve.points)):
        if points:
            parts.append(f'<polyline class="{kind}" points="{" ".join(f"{p.x},{p.y}" for p in points)}"/>')
    for point in curve.points:
        parts.append(f'<circle class="point" cx="{point.x}" cy="{point.y}" r="3"/>')
        parts.append(_text(point.x, point.y - 8, point.label, "ink strong", anchor="middle", size=9))
    return _svg(480, 262, [*parts, "</g>"], f"pass^k of {curve.name}")


def _svg(width: int, height: int, parts: list[str], label: str) -> str:
    named = escape(shown(label))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{named}"><title>{named}</title><style>{_STYLE}</style>'
        f'<rect class="ground" width="{width}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start", size: int = 12) -> str:
    said = escape(shown(words), quote=False)
    return f'<text class="{kind}" x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{said}</text>'


def _x(per_cent: float) -> float:
    return round(220 + 4.6 * per_cent, 2)


def _anchor(tick: Tick) -> str:
    return "start" if tick.at == 0 else "end" if tick.at == 100 else "middle"


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"
