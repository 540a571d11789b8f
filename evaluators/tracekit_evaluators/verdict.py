"""Numbers and comparisons in words: what stands first in a terminal, a pull request and a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_evaluators.comparison import Comparison, ScoreDifference

LEVEL = 0.05
SHARES = frozenset({"bool", "reliability", "label", "text"})  # kinds whose value is a share of cases
_ORDER = ("worse", "better", "higher", "lower")
_WORDS = {("maximize", True): "better", ("maximize", False): "worse"}
_WORDS |= {("minimize", True): "worse", ("minimize", False): "better"}
_WORDS |= {("neutral", True): "higher", ("neutral", False): "lower"}
_PAIRED_BY = {"case": "by case id", "input": "by equal input"}


def verdict(difference: float | None, p_adjusted: float | None, direction: str, *, level: float = LEVEL) -> str:
    """The word for a difference: it is clear when its corrected p-value is below the level.

    Example:
        >>> verdict(-0.2, 0.001, "maximize"), verdict(-0.2, 0.3, "maximize")
        ('worse', 'no clear difference')
    """
    if difference is None or p_adjusted is None:
        return "not tested"
    if p_adjusted >= level or difference == 0:
        return "no clear difference"
    return _WORDS[direction, difference > 0]


def figure(value: float | None, *, signed: bool = False) -> str:
    """A number as people read it; – where unknown.

    Example:
        >>> figure(1.23456), figure(-0.05, signed=True), figure(0.000123), figure(12345.6), figure(None)
        ('1.235', '−0.0500', '0.000123', '12,346', '–')
    """
    if value is None:
        return "–"
    size = abs(value)
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    if size == 0:
        text = "0"
    elif size >= 1e9 or size < 1e-6:
        text = f"{size:.3g}"
    elif size >= 100:
        text = f"{size:,.0f}"
    elif size >= 1:
        text = f"{size:.3f}" if size < 10 else f"{size:.2f}"
    else:
        text = f"{size:.{2 - math.floor(math.log10(size))}f}"
    return sign + text


def amount(value: float | None, *, kind: str, signed: bool = False) -> str:
    """A score as people read it: a share in per cent, a difference of shares in points, any other number as it is.

    Example:
        >>> amount(0.42, kind="bool"), amount(0.294, kind="bool", signed=True), amount(7.0, kind="number")
        ('42.0 %', '+29.4 pt', '7.000')
    """
    if value is None or kind not in SHARES:
        return figure(value, signed=signed)
    return f"{_points(value, signed=signed)} {'pt' if signed else '%'}"


def p_figure(p: float | None) -> str:
    """A p-value as people read it.

    Example:
        >>> p_figure(0.03519), p_figure(0.00001), p_figure(None)
        ('0.035', '< 0.001', '–')
    """
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(low: float | None, high: float | None, *, kind: str, signed: bool = False) -> str:
    """An interval as people read it; empty where there is none.

    Example:
        >>> interval(0.1, 0.25, kind="bool"), interval(-1.0, 2.0, kind="number", signed=True)
        ('10.0 to 25.0 %', '−1.000 to +2.000')
    """
    if low is None or high is None:
        return ""
    if kind not in SHARES:
        return f"{figure(low, signed=signed)} to {figure(high, signed=signed)}"
    return f"{_points(low, signed=signed)} to {_points(high, signed=signed)} {'pt' if signed else '%'}"


def run_words(run: RunRecord) -> str:
    """A run as a reader knows it: its name and the agent version."""
    return run.name if run.agent_version is None else f"{run.name} ({run.agent_version.ref})"


def run_sentence(run: RunRecord, metrics: Mapping[str, Mapping[str, object]]) -> str:
    """A run's scores in a sentence or two."""
    named = {name: metric for name, metric in metrics.items() if metric.get("kind") != "reliability"}
    told = [_told(name, metric) for name, metric in named.items() if isinstance(metric.get("value"), float)]
    if not told:
        return f"{run_words(run)} has no score with a value yet."
    more = f", and {len(told) - 3} more scores" if len(told) > 3 else ""
    missing = sum(_count_missing(metric) for metric in named.values())
    are = "score is" if missing == 1 else "scores are"
    rest = f" {missing:,} {are} missing." if missing else " Everything that could be scored was."
    return f"{run_words(run)}: {'; '.join(told[:3])}{more}.{rest}"


def sentence(comparison: Comparison) -> str:
    """The comparison in a sentence or two, the clear differences first."""
    names = run_words(comparison.candidate), run_words(comparison.baseline)
    tested = [each for each in comparison.scores if each.verdict != "not tested"]
    words = [word for word in _ORDER if any(each.verdict == word for each in tested)]
    listed = {word: _listed([each for each in tested if each.verdict == word]) for word in words}
    unclear = sum(1 for each in tested if each.verdict == "no clear difference")
    rest = f"; no clear difference on {unclear} other score{'s' * (unclear > 1)}" if unclear else ""
    if not tested:
        said = f"{names[0]} cannot be compared with {names[1]}: {_why_not(comparison)}."
    elif not words:
        which = tested[0].name + _numbers(tested[0]) if len(tested) == 1 else f"any of {len(tested)} scores"
        said = f"No clear difference between {names[0]} and {names[1]} on {which}."
    elif len(words) == 1:
        said = f"{names[0]} is {words[0]} than {names[1]} on {listed[words[0]]}{rest}."
    else:
        parts = ", ".join(f"{word} on {listed[word]}" for word in words)
        said = f"Compared with {names[1]}, {names[0]} is {parts}{rest}."
    return f"{said} {_paired(comparison)}".strip()


def _listed(found: Sequence[ScoreDifference]) -> str:
    return " and ".join(each.name + _numbers(each) for each in found)


def _numbers(each: ScoreDifference) -> str:
    found = each.estimate
    inside = [amount(found.value, kind=each.kind, signed=True)]
    if found.low is not None:
        inside.append(f"95 % interval {interval(found.low, found.high, kind=each.kind, signed=True)}")
    if each.p_adjusted is not None:
        inside.append(f"p {'' if each.p_adjusted < 0.001 else '= '}{p_figure(each.p_adjusted)}")
    return f" ({', '.join(inside)})"


def _points(share: float, *, signed: bool) -> str:
    rounded = round(100 * share, 1)
    sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):.1f}"


def _why_not(comparison: Comparison) -> str:
    if not comparison.scores:
        return "they have no score in common"
    return comparison.scores[0].p.test


def _paired(comparison: Comparison) -> str:
    if comparison.paired_by == "none":
        return "The runs share no case and no input, so they are compared as independent samples."
    total = len(comparison.paired) + len(comparison.only_baseline) + len(comparison.only_candidate)
    return f"{len(comparison.paired)} of {total} cases are in both, paired {_PAIRED_BY[comparison.paired_by]}."


def _told(name: str, metric: Mapping[str, object]) -> str:
    value, low, high = (metric.get(key) for key in ("value", "low", "high"))
    kind = str(metric.get("kind"))
    said = amount(value if isinstance(value, float) else None, kind=kind)
    inside = ""
    if isinstance(low, float) and isinstance(high, float):
        inside = f" (95 % interval {interval(low, high, kind=kind)})"
    return f"{name} {said} over {metric.get('n')} cases{inside}"


def _count_missing(metric: Mapping[str, object]) -> int:
    missing = metric.get("missing")
    counts = missing.items() if isinstance(missing, Mapping) else ()
    return sum(count for status, count in counts if status != "not_applicable" and isinstance(count, int))
