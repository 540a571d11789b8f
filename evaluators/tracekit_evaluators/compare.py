"""Two runs side by side: is the candidate better than the baseline, on what, and in which cases?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tracekit_evaluators.calibration.shown import Corrections, corrections
from tracekit_evaluators.comparison import CaseChange, Comparison, ScoreDifference
from tracekit_evaluators.paired_scores import SAME, PairedScore, PairedScores, means_of, unsteady
from tracekit_evaluators.pairing import RunRows, case_name, natural, pair, read_run
from tracekit_evaluators.slices import reversals, slices_of
from tracekit_evaluators.statistics import (
    Estimate,
    PValue,
    cases_needed,
    detectable,
    effect_sizes,
    fisher_exact_p,
    holm,
    independent_difference,
    independent_proportion_difference,
    mcnemar_exact_p,
    mcnemar_mid_p,
    paired_difference,
    paired_effect_size,
    sign_flip_p,
    tango_difference,
)
from tracekit_evaluators.summary import Row, number
from tracekit_evaluators.verdict import verdict

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

__all__ = ["CaseChange", "Comparison", "ScoreDifference", "compare", "compare_rows", "with_corrections"]


def compare(store: Store, baseline: RunRecord, candidate: RunRecord) -> Comparison:
    """Compare two runs of a store.

    Cases are paired by case id, else by equal input; repeats of a case are averaged first. A score that passes or fails
    is tested by McNemar's exact test, any other by sign-flip permutation; where cases share a session, a user or a
    source, these are what is flipped and what the interval counts. p-values are corrected by Holm over the scores,
    those of slices by Benjamini and Hochberg. Where a calibration of the judge counts, what people would say stands
    beside its own numbers.

    Args:
        store: The store that has both runs.
        baseline: The run to compare with.
        candidate: The run to judge.

    Returns:
        The differences, candidate minus baseline, with 95 % intervals, and the cases that changed.
    """
    found = compare_rows(read_run(store, baseline), read_run(store, candidate))
    return with_corrections(found, corrections(store, (baseline, candidate)))


def compare_rows(baseline: RunRows, candidate: RunRows) -> Comparison:
    """Compare two runs whose rows have been read."""
    pairing = pair(baseline, candidate)
    both, before_only, after_only = pairing.keys()
    found = PairedScores(baseline, candidate, pairing)
    traces = candidate.traces or baseline.traces
    scores = [_with_changes(_difference(each, baseline, candidate), each, traces) for each in found.scores.values()]
    measures = [_difference(each, baseline, candidate) for each in found.measures.values()]
    told = [each for each in measures if each.estimate.value is not None and (each.baseline or each.candidate)]
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
        _judged(told),
        tuple(sorted(set(baseline.groups) ^ set(candidate.groups))),
        (*notes, *reversals(found.scores, baseline=baseline, candidate=candidate)),
        slices_of(found.scores, baseline=baseline, candidate=candidate),
    )


def with_corrections(found: Comparison, told: Corrections) -> Comparison:
    """The same comparison with what people would say beside the judges' own numbers."""
    scores = []
    for each in found.scores:
        sides = {
            "baseline": told.means.get((found.baseline.id, each.name)),
            "candidate": told.means.get((found.candidate.id, each.name)),
            "difference": told.differences.get(each.name),
        }
        known = {side: corrected.to_dict() for side, corrected in sides.items() if corrected is not None}
        scores.append(replace(each, corrected=known or None))
    return replace(found, scores=tuple(scores), notes=(*found.notes, *told.notes))


def _judged(differences: Sequence[ScoreDifference]) -> tuple[ScoreDifference, ...]:
    adjusted = holm([each.p.value for each in differences])
    return tuple(
        replace(each, p_adjusted=p, verdict=verdict(each.estimate.value, p, each.direction))
        for each, p in zip(differences, adjusted, strict=True)
    )


def _difference(score: PairedScore, baseline: RunRows, candidate: RunRows) -> ScoreDifference:
    before, after = means_of(score)
    differences = score.differences
    estimate, p = _paired(score) if score.paired else _independent(before, after, yes_no=score.yes_no and score.once)
    counted = score.paired and score.yes_no and score.once
    gained, lost = _moved(differences)
    spread = _spread(score, estimate)
    return ScoreDifference(
        name=score.name,
        kind=score.kind,
        direction=score.direction,
        baseline=sum(before) / len(before) if before else None,
        candidate=sum(after) / len(after) if after else None,
        estimate=estimate,
        p=p,
        pairs=len(score.keys),
        effect=paired_effect_size(differences),
        effects=effect_sizes(differences),
        p_mid=mcnemar_mid_p(gained=gained, lost=lost).value if counted and score.clusters is None else None,
        clusters=_clusters(score, estimate),
        detectable=detectable(spread / math.sqrt(estimate.n)) if spread and estimate.n else None,
        cases_needed=cases_needed(spread, difference=estimate.value) if spread and estimate.value else None,
        flaky=tuple(case_name(key) for key in unsteady(score)),
        only_baseline=tuple(case_name(key) for key in natural(set(score.left.values) - set(score.right.values))),
        only_candidate=tuple(case_name(key) for key in natural(set(score.right.values) - set(score.left.values))),
        baseline_metric=baseline.metrics.get(score.name, {}),
        candidate_metric=candidate.metrics.get(score.name, {}),
    )


def _moved(differences: Sequence[float]) -> tuple[int, int]:
    return sum(1 for each in differences if each > 0), sum(1 for each in differences if each < 0)


def _spread(score: PairedScore, estimate: Estimate) -> float | None:
    """What a pair's difference would vary by if the pairs were independent."""
    n = estimate.n
    if not score.paired or not n:
        return None if estimate.standard_error is None else estimate.standard_error * math.sqrt(n)
    if score.yes_no and score.clusters is None and score.once:
        gained, lost = _moved(score.differences)  # smoothed: that no pair differs does not say that none would
        return math.sqrt(max(0.0, (gained + lost + 2) / (n + 2) - ((gained - lost) / (n + 2)) ** 2))
    return None if estimate.standard_error is None else estimate.standard_error * math.sqrt(n)


def _clusters(score: PairedScore, estimate: Estimate) -> dict[str, object] | None:
    if score.clusters is None or estimate.clusters is None:
        return None
    return {
        "by": score.clusters.by,
        "count": estimate.clusters,
        "largest": score.clusters.largest,
        "design_effect": estimate.design_effect,
        "effective_n": estimate.effective_n,
        "warning": estimate.warning,
    }


def _paired(score: PairedScore) -> tuple[Estimate, PValue]:
    differences = score.differences
    gained, lost = _moved(differences)
    if score.clusters is not None and gained + lost:
        groups = score.clusters.of
        return paired_difference(differences, clusters=groups), sign_flip_p(differences, clusters=groups)
    if score.yes_no and (score.once or not gained + lost):
        estimate = tango_difference(gained=gained, lost=lost, n=len(differences))
        return estimate, mcnemar_exact_p(gained=gained, lost=lost) if differences else PValue(None, "no pairs")
    return paired_difference(differences), sign_flip_p(differences)


def _independent(before: Sequence[float], after: Sequence[float], *, yes_no: bool) -> tuple[Estimate, PValue]:
    if yes_no:
        sides = (round(sum(before)), len(before)), (round(sum(after)), len(after))
        return (
            independent_proportion_difference(baseline=sides[0], candidate=sides[1]),
            fisher_exact_p(baseline=sides[0], candidate=sides[1]),
        )
    return independent_difference(before, candidate=after)


def _with_changes(found: ScoreDifference, score: PairedScore, traces: Mapping[str, Row]) -> ScoreDifference:
    sign, left, right = score.sign, score.left, score.right
    changes = []
    for key in score.keys:
        before, after = left.mean(key), right.mean(key)
        if abs(after - before) >= SAME:
            changes.append(_change(key, found.name, (before, after), (left.rows[key], right.rows[key]), sign, traces))
    ordered = sorted(changes, key=lambda change: sign * (change.difference or 0.0))
    regressed = tuple(change for change in ordered if sign * (change.difference or 0.0) < 0)
    improved = tuple(change for change in reversed(ordered) if sign * (change.difference or 0.0) > 0)
    return replace(found, regressed=regressed, improved=improved)


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
