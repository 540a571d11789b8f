"""The report's small charts and its table of time and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tracekit_evaluators.comparison import Comparison, ScoreDifference
from tracekit_evaluators.pairing import MEASURES, RunRows
from tracekit_evaluators.report import charts
from tracekit_evaluators.report.charts import Curve, Distribution
from tracekit_evaluators.report.headline import GLYPHS, TONES, Metric, numbers
from tracekit_evaluators.report.text import line
from tracekit_evaluators.report.waterfall import duration
from tracekit_evaluators.summary import Row, ScoreGroup, number, status
from tracekit_evaluators.verdict import figure

NOT_SCORED = "not scored"
_BAR_TONES = {"passed": "good", "failed": "bad", NOT_SCORED: "none"}
_MOST_LABELS = 12


@dataclass(frozen=True)
class MeasureLine:
    """Latency, cost, tokens or calls of the traces."""

    name: str
    median: str
    p95: str
    total: str
    traces: int
    baseline_median: str = ""
    difference: str = ""
    verdict: str = ""
    tone: str = ""
    glyph: str = ""


def measures(run: RunRows, baseline: RunRows | None, comparison: Comparison | None) -> Iterator[MeasureLine]:
    """What the traces took; a measure that no trace has is left out."""
    compared = {each.name: each for each in comparison.measures} if comparison is not None else {}
    mine, theirs = _measured(run), _measured(baseline) if baseline is not None else {}
    for name in MEASURES:
        values = mine.get(name, [])
        if not any(values):
            continue
        found = compared.get(name)
        yield MeasureLine(
            name=name.partition(" (")[0],
            median=_measure(name, float(np.median(values))),
            p95=_measure(name, float(np.quantile(values, 0.95))),
            total=_measure(name, sum(values)),
            traces=len(values),
            baseline_median=_measure(name, float(np.median(theirs[name]))) if theirs.get(name) else "",
            difference="" if found is None else _measure_difference(name, found),
            verdict="" if found is None else found.verdict,
            tone="" if found is None else TONES.get(found.verdict, ""),
            glyph="" if found is None else GLYPHS[found.verdict],
        )


def distributions(run: RunRows, baseline: RunRows | None) -> Iterator[Distribution]:
    """How each score's values spread, with the baseline's beside them."""
    before = baseline.groups if baseline is not None else {}
    for name, group in run.groups.items():
        theirs = before.get(name)
        if group.kind == "number":
            values = numbers(theirs) if theirs is not None else []
            found = charts.histogram(line(name, longest=80), numbers(group), baseline=values)
        else:
            counts = None if theirs is None else _counts(theirs)
            found = charts.shares(line(name, longest=80), _counts(group), baseline=counts, tones=_BAR_TONES)
        if found is not None and found.bars:
            yield replace(found, score=name)


def curves(metrics: Mapping[str, Metric], baseline: Mapping[str, Metric], run: RunRows) -> Iterator[Curve]:
    """pass^k over k for each score that was repeated."""
    for name in run.groups:
        curve = charts.pass_curve(
            line(name, longest=80), _reliability(metrics, name), baseline=_reliability(baseline, name)
        )
        if curve is not None:
            yield curve


def _reliability(metrics: Mapping[str, Metric], score: str) -> list[Metric]:
    return [metric for metric in metrics.values() if metric.get("score") == score and metric.get("k") is not None]


def _measured(side: RunRows) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, value, _ in side.measures():
        if value is not None:
            found.setdefault(name, []).append(value)
    return found


def bar_label(group: ScoreGroup, row: Row) -> str | None:
    """Which bar of a score that passes, fails or says a word counts a row; `None` where it counts for nothing."""
    state = status(row)
    if group.kind in {"label", "text"}:
        if state == "scored":
            return line(row.get("label"), longest=60)
    elif group.kind == "bool" and (value := number(row)) is not None:
        names = ("yes", "no") if group.direction == "neutral" else ("passed", "failed")
        return names[value != (0.0 if group.direction == "minimize" else 1.0)]
    return None if state == "not_applicable" else NOT_SCORED


def _counts(group: ScoreGroup) -> dict[str, int]:
    found: dict[str, int] = {"yes": 0, "no": 0} if group.direction == "neutral" else {"passed": 0, "failed": 0}
    found = found if group.kind == "bool" else {}
    for row in group.rows:
        label = bar_label(group, row)
        if label is not None:
            found[label] = found.get(label, 0) + 1
    missing = found.pop(NOT_SCORED, 0)
    if group.kind != "bool":
        found = dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_MOST_LABELS])
    return {**found, NOT_SCORED: missing} if missing else found


def _measure(name: str, value: float) -> str:
    if name.startswith("latency"):
        return duration(value * 1e9)
    if name.startswith("cost"):
        return f"${figure(value)}"
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def _measure_difference(name: str, found: ScoreDifference) -> str:
    value = found.estimate.value
    if value is None:
        return ""
    return ("−" if value < 0 else "+" if value > 0 else "") + _measure(name, abs(value))
