"""Which bars of a chart each case stands in, so that a reader who picks a bar sees its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracekit_evaluators.report.charts import Distribution
from tracekit_evaluators.report.figures import bar_label
from tracekit_evaluators.summary import Row, ScoreGroup, number


@dataclass(frozen=True)
class Bars:
    """The bars of a score's chart.

    Args:
        labels: What each says.
        counts: How many values stand in each.
        before: The same of the baseline; empty without one.
        masks: For each case the bars that its tries stand in, bar k as 2^k.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    before: tuple[int, ...]
    masks: tuple[int, ...]


def bars(chart: Distribution, group: ScoreGroup, *, rows: Sequence[Sequence[Row]]) -> Bars:
    """The bars of a chart with their cases.

    Args:
        chart: The chart.
        group: Its score.
        rows: For each case its rows of this score.
    """
    places = {bar.label: place for place, bar in enumerate(chart.bars)}

    def place(row: Row) -> int | None:
        if chart.ticks:
            value = number(row)
            return None if value is None else chart.place(value)
        label = bar_label(group, row)
        return None if label is None else places.get(label)

    masks = []
    for mine in rows:
        found = {place(row) for row in mine}
        masks.append(sum(1 << at for at in found if at is not None))
    before = tuple(bar.baseline_count or 0 for bar in chart.bars)
    return Bars(
        tuple(bar.label for bar in chart.bars),
        tuple(bar.count for bar in chart.bars),
        before if any(bar.baseline_count is not None for bar in chart.bars) else (),
        tuple(masks),
    )
