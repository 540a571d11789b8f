"""The report's table of slices: a comparison by tag, model, tool and length, and whether a changed mix made it."""

from __future__ import annotations

from dataclasses import dataclass

from tracekit_evaluators.comparison import Comparison
from tracekit_evaluators.report import charts
from tracekit_evaluators.report.charts import Tick, Whisker
from tracekit_evaluators.report.headline import GLYPHS, TONES
from tracekit_evaluators.report.text import line
from tracekit_evaluators.slices import FALSE_SHARE
from tracekit_evaluators.verdict import amount, interval, p_figure

_MOST = 30


@dataclass(frozen=True)
class SliceLine:
    """A score's difference in a slice, in words, and drawn."""

    of: str
    score: str
    baseline: str
    value: str
    difference: str
    interval: str
    q: str
    verdict: str
    tone: str
    glyph: str
    cases: str
    whisker: Whisker | None


@dataclass(frozen=True)
class SliceTable:
    """A comparison's slices.

    Args:
        lines: The slices, those most surely different first.
        count: How many there are, all of them corrected for.
        axis: Ticks of the axis that shares' whiskers stand on.
        simpson: What the check for Simpson's paradox found.
        reversed: Whether it found one.
    """

    lines: tuple[SliceLine, ...]
    count: int
    axis: tuple[Tick, ...]
    simpson: str
    reversed: bool


def slice_table(comparison: Comparison) -> SliceTable | None:
    """The slices of a comparison; `None` where it has none."""
    found = sorted(comparison.slices, key=lambda each: 2.0 if each.q is None else each.q)
    if not found:
        return None
    shares = [each.estimate for each in found[:_MOST] if charts.is_share(each.kind)]
    reach = charts.difference_scale([(each.value, each.low, each.high) for each in shares])
    paradoxes = [note for note in comparison.notes if "Simpson" in note]
    ways = ", ".join(dict.fromkeys(each.by for each in comparison.slices))
    calm = f"Simpson check: no score moves one way overall and the other way in every slice (by {ways})."
    lines = []
    for each in found[:_MOST]:
        estimate, own = each.estimate, not charts.is_share(each.kind)
        ends = (estimate.value, estimate.low, estimate.high)
        width = 1.15 * max((abs(end) for end in ends if end is not None), default=0.0) if own else reach
        lines.append(
            SliceLine(
                of=line(f"{each.by}: {each.value}", longest=80),
                score=line(each.score, longest=60),
                baseline=amount(each.baseline, kind=each.kind),
                value=amount(each.candidate, kind=each.kind),
                difference=amount(estimate.value, kind=each.kind, signed=True),
                interval=interval(estimate.low, estimate.high, kind=each.kind, signed=True),
                q=p_figure(each.q),
                verdict=each.verdict,
                tone=TONES.get(each.verdict, ""),
                glyph=GLYPHS[each.verdict],
                cases=f"{each.pairs}" if each.pairs else f"{each.cases[0]} + {each.cases[1]}",
                whisker=charts.difference_whisker(
                    estimate.value, low=estimate.low, high=estimate.high, reach=width, own_scale=own
                ),
            )
        )
    return SliceTable(
        tuple(lines),
        len(found),
        charts.difference_axis(reach),
        line(" ".join(f"{note[0].upper()}{note[1:]}." for note in paradoxes), longest=1_000) or calm,
        bool(paradoxes),
    )


def slice_method(table: SliceTable) -> str:
    """How the slices were tested, in a sentence."""
    return (
        f"Slices: {table.count} in all, p-values corrected by Benjamini and Hochberg over them; of those below "
        f"{FALSE_SHARE}, {FALSE_SHARE:.0%} may be marked by chance.".replace("%", " %")
    )
