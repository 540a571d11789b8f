"""Two runs side by side: is the candidate better than the baseline, on what, and in which cases?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracekit_evaluators.comparison import CaseChange, Comparison, ScoreDifference
from tracekit_evaluators.pairing import Pairing, RunRows, case_name, natural, pair, read_run
from tracekit_evaluators.statistics import (
    Estimate,
    PValue,
    fisher_exact_p,
    holm,
    independent_difference,
    independent_proportion_difference,
    mcnemar_exact_p,
    paired_difference,
    paired_effect_size,
    paired_proportion_difference,
    sign_flip_p,
)
from tracekit_evaluators.summary import Row, ScoreGroup, number, trial
from tracekit_evaluators.verdict import verdict

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

__all__ = ["CaseChange", "Comparison", "ScoreDifference", "compare", "compare_rows"]

_SAME = 1e-12  # differences of means below this are rounding


def compare(store: Store, baseline: RunRecord, candidate: RunRecord) -> Comparison:
    """Compare two runs of a store.

    Cases are paired by case id, else by equal input; repeats of a case are averaged first. A score that passes or fails
    is tested by McNemar's exact test, any other by sign-flip permutation; p-values are corrected by Holm over the
    scores.

    Args:
        store: The store that has both runs.
        baseline: The run to compare with.
        candidate: The run to judge.

    Returns:
        The differences, candidate minus baseline, with 95 % intervals, and the cases that changed.
    """
    return compare_rows(read_run(store, baseline), read_run(store, candidate))


def compare_rows(baseline: RunRows, candidate: RunRows) -> Comparison:
    """Compare two runs whose rows have been read."""
    pairing = pair(baseline, candidate)
    both, before_only, after_only = pairing.keys()
    before, after = baseline.groups, candidate.groups
    scores = [
        _score_difference(before[name], after[name], pairing, baseline, candidate) for name in before if name in after
    ]
    notes = (
        ["both runs judged the same traces, so a difference is the judges'"]
        if _same_traces(baseline, candidate)
        else []
    )
    if pairing.by == "none":
        notes.append("no case and no input is in both runs, so they are compared as two independent samples")
    return Comparison(
        baseline.run,
        candidate.run,
        pairing.by,
        tuple(case_name(key) for key in both),
        tuple(case_name(key) for key in before_only),
        tuple(case_name(key) for key in after_only),
        _judged(scores),
        _judged(_measure_differences(baseline, candidate, pairing)),
        tuple(sorted(set(before) ^ set(after))),
        tuple(notes),
    )


def _judged(differences: Sequence[ScoreDifference]) -> tuple[ScoreDifference, ...]:
    adjusted = holm([each.p.value for each in differences])
    return tuple(
        replace(each, p_adjusted=p, verdict=verdict(each.estimate.value, p, each.direction))
        for each, p in zip(differences, adjusted, strict=True)
    )


@dataclass(frozen=True)
class _Values:
    """One side's values by case key, with the rows that they came from."""

    values: dict[str, list[float]]
    rows: dict[str, list[Row]]

    def mean(self, key: str) -> float:
        return sum(self.values[key]) / len(self.values[key])


def _collected(entries: Iterable[tuple[str | None, float | None, Row]]) -> _Values:
    found = _Values({}, {})
    for key, value, row in entries:
        if key is not None and value is not None:
            found.values.setdefault(key, []).append(value)
            found.rows.setdefault(key, []).append(row)
    return found


def _score_values(group: ScoreGroup, keys: Mapping[str, str]) -> _Values:
    as_pass = group.kind in {"label", "text"}
    return _collected(
        (
            keys.get(str(row.get("trace_id"))) or _own_key(row),
            trial(row, direction=group.direction) if as_pass else number(row),
            row,
        )
        for row in group.rows
    )


def _own_key(row: Row) -> str | None:
    # A score of something that is no trace, or of a trace that the store does not hold, still pairs by its case.
    return None if row.get("case_id") is None else f"case:{row['case_id']}"


def _score_difference(
    before: ScoreGroup, after: ScoreGroup, pairing: Pairing, baseline: RunRows, candidate: RunRows
) -> ScoreDifference:
    kind = before.kind if after.kind == "none" else after.kind
    if {before.kind, after.kind} == {"bool", "number"}:
        kind = "number"
    left, right = _score_values(before, pairing.baseline), _score_values(after, pairing.candidate)
    direction = "maximize" if kind in {"label", "text"} else after.direction
    found = _difference(before.name, kind, direction, left, right, paired=pairing.by != "none")
    regressed, improved = _changes(found, left, right, candidate.traces or baseline.traces)
    return replace(
        found,
        regressed=regressed,
        improved=improved,
        baseline_metric=baseline.metrics[before.name],
        candidate_metric=candidate.metrics[after.name],
    )


def _measure_differences(baseline: RunRows, candidate: RunRows, pairing: Pairing) -> list[ScoreDifference]:
    sides: list[dict[str, list[tuple[str | None, float | None, Row]]]] = []
    for side, keys in ((baseline, pairing.baseline), (candidate, pairing.candidate)):
        entries: dict[str, list[tuple[str | None, float | None, Row]]] = {}
        for name, value, row in side.measures():
            entries.setdefault(name, []).append((keys.get(str(row["trace_id"])), value, row))
        sides.append(entries)
    found = [
        _difference(
            name,
            "number",
            "minimize",
            _collected(sides[0][name]),
            _collected(sides[1][name]),
            paired=pairing.by != "none",
        )
        for name in sides[0]
        if name in sides[1]
    ]
    return [each for each in found if each.estimate.value is not None and (each.baseline or each.candidate)]


def _difference(
    name: str, kind: str, direction: str, left: _Values, right: _Values, *, paired: bool
) -> ScoreDifference:
    both = natural(set(left.values) & set(right.values)) if paired else []
    used = (both, both) if paired else (list(left.values), list(right.values))
    means = [left.mean(key) for key in used[0]], [right.mean(key) for key in used[1]]
    yes_no = kind in {"bool", "label", "text"}
    once = all(len(side.values[key]) == 1 for side, keys in zip((left, right), used, strict=True) for key in keys)
    differences = [after - before for before, after in zip(*means, strict=True)] if paired else []
    if paired:
        estimate, p = _paired(differences, yes_no=yes_no, once=once)
    else:
        estimate, p = _independent(*means, yes_no=yes_no and once)
    return ScoreDifference(
        name=name,
        kind=kind,
        direction=direction,
        baseline=sum(means[0]) / len(means[0]) if means[0] else None,
        candidate=sum(means[1]) / len(means[1]) if means[1] else None,
        estimate=estimate,
        p=p,
        pairs=len(both),
        effect=paired_effect_size(differences),
        only_baseline=tuple(case_name(key) for key in natural(set(left.values) - set(right.values))),
        only_candidate=tuple(case_name(key) for key in natural(set(right.values) - set(left.values))),
    )


def _paired(differences: Sequence[float], *, yes_no: bool, once: bool) -> tuple[Estimate, PValue]:
    moved = [0.0 if abs(each) < _SAME else each for each in differences]
    gained, lost = sum(1 for each in moved if each > 0), sum(1 for each in moved if each < 0)
    if yes_no and (once or not gained + lost):
        estimate = paired_proportion_difference(gained=gained, lost=lost, n=len(moved))
        return estimate, mcnemar_exact_p(gained=gained, lost=lost) if moved else PValue(None, "no pairs")
    return paired_difference(moved), sign_flip_p(moved)


def _independent(before: Sequence[float], after: Sequence[float], *, yes_no: bool) -> tuple[Estimate, PValue]:
    if yes_no:
        sides = (round(sum(before)), len(before)), (round(sum(after)), len(after))
        return (
            independent_proportion_difference(baseline=sides[0], candidate=sides[1]),
            fisher_exact_p(baseline=sides[0], candidate=sides[1]),
        )
    return independent_difference(before, candidate=after)


def _changes(
    found: ScoreDifference, left: _Values, right: _Values, traces: Mapping[str, Row]
) -> tuple[tuple[CaseChange, ...], tuple[CaseChange, ...]]:
    if not found.pairs:
        return (), ()
    sign = -1.0 if found.direction == "minimize" else 1.0
    changes = []
    for key in natural(set(left.values) & set(right.values)):
        before, after = left.mean(key), right.mean(key)
        if abs(after - before) >= _SAME:
            changes.append(_change(key, found.name, (before, after), (left.rows[key], right.rows[key]), sign, traces))
    ordered = sorted(changes, key=lambda change: sign * (change.difference or 0.0))
    regressed = tuple(change for change in ordered if sign * (change.difference or 0.0) < 0)
    improved = tuple(change for change in reversed(ordered) if sign * (change.difference or 0.0) > 0)
    return regressed, improved


def _change(
    key: str,
    score: str,
    means: tuple[float, float],
    rows: tuple[Sequence[Row], Sequence[Row]],
    sign: float,
    traces: Mapping[str, Row],
) -> CaseChange:
    worst = [min(side, key=lambda row: sign * (number(row) or 0.0)) for side in rows]
    trace_ids = [tuple(str(row["trace_id"]) for row in side if row.get("trace_id")) for side in rows]
    asked = next((traces[each].get("input") for each in trace_ids[1] if each in traces), None)
    said = [row.get("explanation") for row in worst]
    return CaseChange(
        case=case_name(key),
        key=key,
        score=score,
        baseline=means[0],
        candidate=means[1],
        difference=means[1] - means[0],
        input=None if asked is None else str(asked),
        baseline_traces=trace_ids[0],
        candidate_traces=trace_ids[1],
        baseline_explanation=None if said[0] is None else str(said[0]),
        candidate_explanation=None if said[1] is None else str(said[1]),
    )


def _same_traces(baseline: RunRows, candidate: RunRows) -> bool:
    return bool(baseline.traces) and set(baseline.traces) == set(candidate.traces)
