"""How the traces that failed differ from those that passed: each thing known of them, the most telling first.

What is compared: which tools and models a trace used, its case's tags, whether it ended in an error, and its duration,
cost, tokens, calls and lengths. The effect is Cliff's delta, from -1 to 1: how much likelier a failed trace has more of
it than a passed one than less (N. Cliff, Psychol. Bull. 114 (1993)); for something that a trace has or lacks, that is
the difference of the two shares. The p-value of something had or lacked is Fisher's where each case was tried once;
any other is that of a regression of ranks on failing, with repeats of a case as one cluster (CR1, t with G - 1 degrees
of freedom). The p-values of one score are corrected by Benjamini and Hochberg.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tracekit_evaluators.pairing import MEASURES, RunRows
from tracekit_evaluators.report.text import line
from tracekit_evaluators.report.waterfall import duration
from tracekit_evaluators.statistics import benjamini_hochberg, fisher_exact_p
from tracekit_evaluators.statistics.distributions import t_probability
from tracekit_evaluators.summary import Row, ScoreGroup, trial
from tracekit_evaluators.verdict import amount, figure, p_figure

_Numbers = npt.NDArray[np.float64]
_FEWEST = 3  # traces on either side; of fewer nothing can be said
_MOST_SCORES = 3
_MOST_NAMES = 40
_MOST_TOLD = 8
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """One thing in which failed and passed traces differ.

    Args:
        name: What it is: `calls the tool book`, `duration`.
        failed: How the failed ones are: a share, or a median.
        passed: How the passed ones are.
        effect: Cliff's delta; above 0 the failed ones have more of it.
        told: The effect as people read it.
        has: Whether it is something that a trace has or lacks.
        p: The corrected p-value as people read it; – where there is no test.
        clear: Whether it is below 0.05.
    """

    name: str
    failed: str
    passed: str
    effect: float
    told: str
    has: bool
    p: str = "–"
    clear: bool = False


@dataclass(frozen=True)
class Differing:
    """What differs between traces that failed a score and those that passed it.

    Args:
        score: The score.
        failed: How many failed.
        passed: How many passed.
        looked_at: How many things were compared.
        differences: The most telling, the surest first.
    """

    score: str
    failed: int
    passed: int
    looked_at: int
    differences: tuple[Difference, ...]


def differing(run: RunRows) -> tuple[Differing, ...]:
    """For the first scores that pass or fail, how failed traces differ from passed ones; the surest first."""
    found = []
    for group in run.groups.values():
        told = _of_score(group, run)
        if told is not None:
            found.append(told)
        if len(found) == _MOST_SCORES:
            break
    return tuple(found)


def cliffs_delta(failed: Sequence[float], passed: Sequence[float]) -> float:
    """Cliff's delta: the share of pairs in which the failed one has more, less that in which it has less.

    Example:
        >>> cliffs_delta([3, 4], [1, 2]), cliffs_delta([1, 1], [1, 0])
        (1.0, 0.5)
    """
    ranks = _ranks(np.array([*failed, *passed], dtype=float))
    n, m = len(failed), len(passed)
    above = float(ranks[:n].sum()) - n * (n + 1) / 2
    return 2 * above / (n * m) - 1


def _of_score(group: ScoreGroup, run: RunRows) -> Differing | None:
    outcomes = _outcomes(group, run)
    traces = list(outcomes)
    y = np.array([outcomes[trace] for trace in traces], dtype=float)
    if y.sum() < _FEWEST or len(y) - y.sum() < _FEWEST:
        return None
    clusters = np.unique([run.own_keys[trace] for trace in traces], return_inverse=True)[1]
    found: list[tuple[float | None, Difference]] = []
    for name, has, column in _attributes(traces, run):
        told = _difference(name, column, y, clusters, has=has)
        if told is not None:
            found.append(told)
    adjusted = benjamini_hochberg([p for p, _ in found])
    ranked = sorted(
        zip(adjusted, (each for _, each in found), strict=True),
        key=lambda item: (2.0 if item[0] is None else item[0], -abs(item[1].effect), item[1].name),
    )
    differences = tuple(
        replace(each, p=p_figure(p) or "–", clear=p is not None and p < _LEVEL) for p, each in ranked[:_MOST_TOLD]
    )
    failed = int(y.sum())
    return Differing(line(group.name, longest=80), failed, len(y) - failed, len(found), differences)


def _outcomes(group: ScoreGroup, run: RunRows) -> dict[str, float]:
    """For each trace 1 if it failed the score, 0 if it passed; traces of which nobody said either are left out."""
    said: dict[str, list[float]] = {}
    for row in group.rows:
        trace = str(row.get("trace_id"))
        judged = group.kind == "bool" or row.get("passed") is not None
        passed = trial(row, direction=group.direction) if judged else None
        if passed is not None and trace in run.traces and group.direction != "neutral":
            said.setdefault(trace, []).append(passed)
    return {trace: float(min(values) < 1) for trace, values in said.items()}


def _attributes(traces: Sequence[str], run: RunRows) -> list[tuple[str, bool, list[float | None]]]:
    """Everything that is known of traces: a name, whether it is had or lacked, and its values."""
    found: list[tuple[str, bool, list[float | None]]] = []
    for words, of in (("calls the tool", run.tools), ("uses the model", run.models), ("tagged", _tags(run))):
        counts: dict[str, int] = {}
        for trace in traces:
            for name in of.get(trace, ()):
                counts[name] = counts.get(name, 0) + 1
        common = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_NAMES]
        found += [
            (f"{words} {line(name, longest=60)}", True, [float(name in of.get(trace, ())) for trace in traces])
            for name in common
        ]
    rows = [run.traces[trace] for trace in traces]
    found.append(("ended in an error", True, [float(row.get("status") == "error") for row in rows]))
    for name, (column, scale) in MEASURES.items():
        found.append((name, False, [_real(row, column, scale) for row in rows]))
    for column in ("input", "output"):
        found.append((f"{column} length (characters)", False, [_length(row.get(column)) for row in rows]))
    return found


def _tags(run: RunRows) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in run.rows:
        tags = run.cases.get(str(row.get("case_id")), {}).get("tags")
        if isinstance(tags, str) and tags[:1] == "[":
            try:
                tags = json.loads(tags)
            except ValueError:
                tags = None
        if isinstance(tags, (list, tuple)):
            found[str(row.get("trace_id"))] = tuple(str(tag) for tag in tags)
    return found


def _difference(
    name: str, column: Sequence[float | None], y: _Numbers, clusters: npt.NDArray[np.intp], *, has: bool
) -> tuple[float | None, Difference] | None:
    known = np.array([value is not None for value in column])
    x, y, clusters = np.array([value for value in column if value is not None], dtype=float), y[known], clusters[known]
    failed, passed = x[y == 1], x[y == 0]
    if len(failed) < _FEWEST or len(passed) < _FEWEST or x.min() == x.max():
        return None
    effect = cliffs_delta(failed.tolist(), passed.tolist())
    once = len(np.unique(clusters)) == len(clusters)
    if has and once:
        counts = [(int(side.sum()), len(side)) for side in (passed, failed)]
        p = fisher_exact_p(baseline=counts[0], candidate=counts[1]).value
    else:
        p = _clustered_p(_ranks(x), y, clusters)
    told = [_share(side) if has else _middle(name, side) for side in (failed, passed)]
    shown = amount(effect, kind="bool", signed=True) if has else figure(effect, signed=True)
    return p, Difference(name if has else name.partition(" (")[0], told[0], told[1], round(effect, 4), shown, has)


def _clustered_p(x: _Numbers, y: _Numbers, clusters: npt.NDArray[np.intp]) -> float | None:
    """The two-sided p-value of a difference of means between y = 1 and y = 0; `None` where neither side varies."""
    share = y.mean()
    lean = y - share
    slope = float(lean @ x / (lean @ lean))
    rest = x - x.mean() - slope * lean
    sums = np.bincount(clusters, weights=lean * rest)
    n, groups = len(x), len(np.unique(clusters))
    if groups < 3:
        return None
    variance = float((sums**2).sum()) / float(lean @ lean) ** 2 * groups / (groups - 1) * (n - 1) / (n - 2)
    if variance <= 1e-18 * max(1.0, slope**2):
        return None
    return 2 * t_probability(-abs(slope) / float(np.sqrt(variance)), degrees=groups - 1)


def _ranks(values: _Numbers) -> _Numbers:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: _Numbers = last - (counts - 1) / 2
    return middle[place]


def _share(side: _Numbers) -> str:
    return amount(float(side.mean()), kind="bool")


def _middle(name: str, side: _Numbers) -> str:
    value = float(np.median(side))
    if name.startswith("latency"):
        return duration(value * 1e9)
    return f"${figure(value)}" if name.startswith("cost") else f"{value:,.0f}" if value >= 100 else f"{value:g}"


def _real(row: Row, column: str, scale: float) -> float | None:
    value = row.get(column)
    return float(value) * scale if isinstance(value, (int, float)) else None


def _length(value: object) -> float | None:
    return float(len(value)) if isinstance(value, str) else None
