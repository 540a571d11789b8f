"""The report's charts as SVG files that stand alone, with their own style for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tracekit_evaluators.report.charts import Bar, Curve, Distribution, Tick, Whisker
from tracekit_evaluators.report.payload import Report
from tracekit_evaluators.report.scatters import Frontier, Scatter
from tracekit_evaluators.report.text import shown

_STYLE = (
    "svg{color-scheme:light dark;font:12px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}"
    ".ground{fill:#fff}.ink{fill:#16191d}.muted{fill:#59636e}.line{stroke:#e1e5e9}"
    ".zero{stroke:#7c8792;stroke-dasharray:2 2}"
    ".reach{stroke:#2757c9;stroke-width:2}.point{fill:#2757c9}.good .reach{stroke:#14713f}.good .point{fill:#14713f}"
    ".bad .reach{stroke:#b3261e}.bad .point{fill:#b3261e}.strong{font-weight:600}.band{fill:#d6e0f8}"
    ".people .reach{stroke:#7a4fc9}.people .point{fill:#7a4fc9}"
    ".own{fill:#fff;stroke:#7c8792;stroke-width:1.5}.curve{fill:none;stroke:#2757c9;stroke-width:2}"
    ".theirs{fill:none;stroke:#3d4650;stroke-width:2;stroke-dasharray:4 3}.mark{stroke:#3d4650;stroke-width:2}"
    ".bar{fill:#86a7ee}.bar.good{fill:#14713f}.bar.bad{fill:#b3261e}.bar.none{fill:#7c8792}"
    ".dots{fill:none;stroke:#86a7ee;stroke-width:5;stroke-linecap:round}.dots.bad{stroke:#b3261e}"
    "@media(prefers-color-scheme:dark){.ground{fill:#15191e}.ink{fill:#e7eaee}.muted{fill:#98a3af}.line{stroke:#2a313a}"
    ".reach{stroke:#86adff}.point{fill:#86adff}.good .reach{stroke:#5bc48b}.good .point{fill:#5bc48b}"
    ".bad .reach{stroke:#ff8e84}.bad .point{fill:#ff8e84}.band{fill:#223358}"
    ".own{fill:#15191e}.curve{stroke:#86adff}.theirs,.mark{stroke:#c9d1da}"
    ".bar{fill:#4468b8}.bar.good{fill:#5bc48b}.bar.bad{fill:#ff8e84}.dots{stroke:#4468b8}.dots.bad{stroke:#ff8e84}}"
)


def drawings(report: Report) -> dict[str, str]:
    """The report's headline charts by file name.

    `scores.svg`, the forest plot; `pass-k-1.svg` … for curves; `distribution-1.svg` … for scores; `time-and-cost.svg`
    of cases and `frontier.svg` of versions, where the report has them.
    """
    found = {"scores.svg": forest(report)} if report.scores else {}
    found |= {f"pass-k-{place}.svg": pass_k(curve) for place, curve in enumerate(report.curves, 1)}
    found |= {f"distribution-{place}.svg": distribution(each) for place, each in enumerate(report.distributions, 1)}
    if report.scatter is not None:
        found["time-and-cost.svg"] = time_and_cost(report.scatter)
    if report.frontier is not None:
        found["frontier.svg"] = cost_frontier(report.frontier)
    return found


def forest(report: Report) -> str:
    """Every score's mean, or its difference from the baseline, with its 95 % interval."""
    rows = [each for score in report.scores for each in score.and_people() if each.whisker is not None]
    height = 56 + 28 * len(rows)
    title = report.title + (f" against {report.baseline_title}" if report.compared else "")
    parts = [_text(16, 24, title, "ink strong")]
    parts += [_text(_x(tick.at), 46, tick.label, "muted", anchor=_anchor(tick)) for tick in report.axis]
    for place, score in enumerate(rows):
        y = 66 + 28 * place
        parts.append(f'<g class="{"people" if score.told_by_people else score.tone}">')
        parts.append(_text(16, y + 4, "as people would say" if score.told_by_people else _cut(score.name, 26), "ink"))
        if score.whisker is not None:
            parts.append(_whisker(score.whisker, y))
        said = score.difference if report.compared else score.value
        parts.append(_text(704, y + 4, f"{said} ({score.difference_interval or score.interval})", "ink"))
        parts.append("</g>")
    return _svg(920, height, parts, f"Scores of {report.title}")


def pass_k(curve: Curve) -> str:
    """How likely a case passes k times out of k, over k, with the band of its intervals."""
    parts = [_text(16, 24, f"pass^k of {curve.name}", "ink strong"), '<g transform="translate(0 30) scale(1.5)">']
    parts += _plane(curve.x_ticks, curve.y_ticks, left=40, bottom=144)
    if curve.band:
        parts.append(f'<polygon class="band" points="{curve.band}"/>')
    for kind, points in (("theirs", curve.baseline), ("curve", curve.points)):
        if points:
            parts.append(f'<polyline class="{kind}" points="{" ".join(f"{p.x},{p.y}" for p in points)}"/>')
    for point in curve.points:
        parts.append(f'<circle class="point" cx="{point.x}" cy="{point.y}" r="3"/>')
        parts.append(_text(point.x, point.y - 8, point.label, "ink strong", anchor="middle", size=9))
    return _svg(480, 262, [*parts, "</g>"], f"pass^k of {curve.name}")


def distribution(chart: Distribution) -> str:
    """How a score's values spread: a histogram of numbers, bars of labels; lines are the baseline's."""
    parts = [_text(16, 24, chart.name, "ink strong")]
    if not chart.ticks:
        for place, bar in enumerate(chart.bars):
            parts += _label_bar(bar, 48 + 24 * place)
        return _svg(480, 50 + 24 * len(chart.bars), parts, f"Distribution of {chart.name}")
    for bar in chart.bars:
        x, width = 16 + 4.48 * bar.x, 4.48 * bar.width
        high = 1.4 * bar.height
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{190 - high:.1f}" width="{width - 1:.1f}" height="{high:.1f}"/>'
        )
        if bar.baseline_height is not None:
            y = 190 - 1.4 * bar.baseline_height
            parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x + width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append('<line class="line" x1="16" x2="464" y1="190" y2="190"/>')
    parts += [
        _text(round(16 + 4.48 * tick.at, 1), 208, tick.label, "muted", anchor=_anchor(tick)) for tick in chart.ticks
    ]
    return _svg(480, 220, parts, f"Distribution of {chart.name}")


def time_and_cost(chart: Scatter) -> str:
    """How long each case took and what it cost, on logarithmic axes; failed cases in red."""
    title = "Time and cost of each case"
    parts = [_text(16, 24, title, "ink strong"), '<g transform="translate(0 24) scale(1.5)">']
    parts += _plane(chart.x_ticks, chart.y_ticks, left=52, bottom=166)
    parts += [
        f'<path class="dots{tone}" d="{dots}"/>' for tone, dots in (("", chart.passed), (" bad", chart.failed)) if dots
    ]
    return _svg(480, 290, [*parts, "</g>"], title)


def cost_frontier(chart: Frontier) -> str:
    """What each version of the agent is worth and costs; ★ where no other is as good and cheaper."""
    title = f"{chart.score} against cost"
    parts = [_text(16, 24, title, "ink strong"), '<g transform="translate(0 24) scale(1.5)">']
    parts += _plane(chart.x_ticks, chart.y_ticks, left=52, bottom=166)
    if chart.line:
        parts.append(f'<polyline class="theirs" points="{chart.line}"/>')
    for spot in chart.spots:
        parts.append(f'<circle class="point" cx="{spot.x}" cy="{spot.y}" r="4"/>')
        words = f"{spot.label}{' ★' if spot.on_frontier else ''}"
        parts.append(_text(spot.x, spot.y - 8, words, "ink strong" if spot.own else "ink", anchor=spot.anchor, size=9))
    return _svg(480, 290, [*parts, "</g>"], title)


def _label_bar(bar: Bar, y: int) -> list[str]:
    found = [_text(16, y + 4, _cut(bar.label, 20), "ink")]
    found.append(f'<rect class="bar {bar.tone}" x="150" y="{y - 8}" width="{2.7 * bar.width:.1f}" height="14"/>')
    if bar.baseline_height is not None:
        at = 150 + 2.7 * bar.baseline_height
        found.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 10}" y2="{y + 8}"/>')
    return [*found, _text(464, y + 4, f"{bar.count:,}", "muted", anchor="end")]


def _plane(x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], *, left: int, bottom: int) -> list[str]:
    found = []
    for tick in y_ticks:
        found.append(f'<line class="line" x1="{left}" x2="312" y1="{tick.at}" y2="{tick.at}"/>')
        found.append(_text(left - 6, tick.at + 3.5, tick.label, "muted", anchor="end", size=9))
    return found + [_text(tick.at, bottom, tick.label, "muted", anchor="middle", size=9) for tick in x_ticks]


def _whisker(whisker: Whisker, y: int) -> str:
    found = f'<line class="line" x1="{_x(0)}" x2="{_x(100)}" y1="{y}" y2="{y}"/>'
    if whisker.zero is not None:
        zero = _x(whisker.zero)
        found += f'<line class="zero" x1="{zero}" x2="{zero}" y1="{y - 12}" y2="{y + 12}"/>'
    if whisker.low is not None and whisker.high is not None:
        found += f'<line class="reach" x1="{_x(whisker.low)}" x2="{_x(whisker.high)}" y1="{y}" y2="{y}"/>'
    kind = "own" if whisker.own_scale else "point"
    return found + f'<circle class="{kind}" cx="{_x(whisker.at)}" cy="{y}" r="4"/>'


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
