"""May the new version be shipped? A run against a policy, and against a baseline case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators._gate_checks import (
    budget_checks,
    calibration_check,
    case_checks,
    coverage_check,
    golden_checks,
    judge_check,
    level_check,
)
from tracekit_evaluators.gate_policy import Policy, ScoreRule
from tracekit_evaluators.gate_result import FAIL, INCONCLUSIVE, PASS, Check, GateResult
from tracekit_evaluators.paired_scores import PairedScore, PairedScores
from tracekit_evaluators.pairing import Pairing, RunRows, case_name, pair, read_run
from tracekit_evaluators.statistics import MarginTest, cases_needed, holm, margin_test
from tracekit_evaluators.verdict import amount, interval, p_figure

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

Calibrations = Callable[[str], Mapping[str, object] | None]
_MOST_CASES = 20


def gate(store: Store, run: RunRecord, *, policy: Policy, baseline: RunRecord | None = None) -> GateResult:
    """Judge a run by a policy.

    A score is compared with the baseline case by case. It passes once the one-sided bound at `1 - alpha` of the
    difference lies within the margin, fails once a test at `alpha` (corrected by Holm over all scores) says that it is
    worse by more, and is inconclusive else. All scores must pass, so passing needs no correction.

    Args:
        store: The store that has both runs.
        run: The run to judge.
        policy: What must hold.
        baseline: The run to compare with.

    Raises:
        UsageError: The policy compares and there is no baseline, or the two are one run.
    """
    if baseline is not None and baseline.id == run.id:
        raise UsageError(f"the run {run.name} cannot be its own baseline; name another")
    candidate = read_run(store, run)
    before = None if baseline is None else read_run(store, baseline)
    return gate_rows(
        candidate, baseline=before, policy=policy, calibrations=lambda name: calibration(store, candidate, name)
    )


def gate_rows(
    candidate: RunRows,
    *,
    policy: Policy,
    baseline: RunRows | None = None,
    calibrations: Calibrations | None = None,
    pairing: Pairing | None = None,
    tested: Sequence[Check] | None = None,
) -> GateResult:
    """Judge a run whose rows have been read.

    Args:
        candidate: The run to judge.
        policy: What must hold.
        baseline: The run to compare with.
        calibrations: Gives a score's calibration, as figures by name; without it, none is known.
        pairing: Which case is which, where more cases were planned than the candidate has rows of.
        tested: The checks of scores and of increases, where they were made otherwise.
    """
    relative = [rule for rule in policy.scores if rule.relative]
    if baseline is None and (relative or any("increase" in limits for limits in policy.budgets.values())):
        raise UsageError(
            "the policy compares with a baseline; name one with --baseline RUN or `baseline:` in the policy"
        )
    told = calibrations or (lambda _: None)
    checks: list[Check] = []
    for rule in policy.scores:
        checks += (coverage_check(rule, candidate), *calibration_check(rule, told))
    if baseline is not None:
        matched = pairing or pair(baseline, candidate)
        found = PairedScores(baseline, candidate, matched)
        checks += case_checks(policy, matched)
        if not policy.allow_judge_change:
            checks += [each for rule in relative if (each := judge_check(rule.name, baseline, candidate)) is not None]
        checks += score_checks(relative, found.scores, policy) if tested is None else tested
        checks += budget_checks(policy, candidate, found.measures, increases=tested is None)
    else:
        checks += budget_checks(policy, candidate, {})
    absolute = [rule for rule in policy.scores if rule.at_least is not None or rule.at_most is not None]
    if tested is None:
        checks += [level_check(rule, candidate, alpha=policy.alpha, tests=len(absolute)) for rule in absolute]
    checks += golden_checks(policy, candidate)
    run = None if baseline is None else baseline.run
    return GateResult(candidate.run, run, tuple(sorted(checks, key=_order)), policy.digest)


def baseline_of(store: Store, run: RunRecord, ref: str) -> RunRecord:
    """The run that a name means: a run, or the newest finished run of an agent version or alias.

    Args:
        store: Where they are.
        run: The run that is judged, which is never its own baseline.
        ref: A run's name or id, `agent@alias`, `agent@4`, or an alias of the agent of `run`.

    Raises:
        NotFoundError: It means nothing.
    """
    runs = store.catalog.runs
    if "@" not in ref:
        try:
            found = runs.find(ref)
        except NotFoundError:
            if run.agent_version is None:
                raise
        else:
            if found.id != run.id:
                return found
            same = [
                each for each in runs.list() if each.name == ref and each.id != run.id and each.status == "finished"
            ]
            if same:
                return same[0]
            raise UsageError(f"the run {ref} cannot be its own baseline; name another")
        ref = f"{run.agent_version.agent}@{ref}"
    version = store.catalog.agents.resolve(ref)
    names = set(run.metrics)
    of_it = [
        each
        for each in runs.list()
        if each.agent_version is not None and each.agent_version.id == version.id and each.status == "finished"
    ]
    fitting = [each for each in of_it if each.id != run.id and (names & set(each.metrics) or not names)]
    if not fitting:
        raise NotFoundError(f"no finished run of {version.ref} has a score that {run.name} has; evaluate it first")
    return fitting[0]


def score_checks(rules: Sequence[ScoreRule], scores: Mapping[str, PairedScore], policy: Policy) -> list[Check]:
    """The checks of scores against the baseline, corrected together."""
    tests = {rule.name: _tested(rule, scores[rule.name], policy) for rule in rules if rule.name in scores}
    adjusted = dict(zip(tests, holm([each.worse for each in tests.values()]), strict=True))
    checks = []
    for rule in rules:
        if rule.name not in tests:
            said = "the baseline has no such score to compare with"
            checks.append(Check(_asked(rule, "number"), "score", INCONCLUSIVE, said))
        else:
            checks.append(_score_check(rule, scores[rule.name], tests[rule.name], adjusted[rule.name], policy))
    return checks


def _tested(rule: ScoreRule, score: PairedScore, policy: Policy) -> MarginTest:
    better = [score.sign * each for each in score.differences]
    return margin_test(
        better,
        margin=rule.margin or 0.0,
        yes_no=score.yes_no and score.once,
        alpha=policy.alpha,
        clusters=None if score.clusters is None else score.clusters.of,
        scale=_scale(rule, score),
    )


def _scale(rule: ScoreRule, score: PairedScore) -> float:
    if rule.range is not None:
        return rule.range[1] - rule.range[0]
    values = [abs(each) for side in (score.left, score.right) for each in side.means(score.keys)]
    return max(1.0 if score.yes_no else 0.0, max(values, default=0.0))


def _score_check(rule: ScoreRule, score: PairedScore, found: MarginTest, worse: float | None, policy: Policy) -> Check:
    estimate, n, margin = found.estimate, len(score.keys), rule.margin or 0.0
    verdict, more = INCONCLUSIVE, None
    if found.no_worse is None or worse is None or estimate.value is None:
        said = f"it cannot be tested: {estimate.method}"
    elif n < policy.min_cases:
        said, more = f"only {n} cases are in both runs, and the policy wants {policy.min_cases}", policy.min_cases - n
    else:
        verdict = PASS if found.no_worse <= policy.alpha else FAIL if worse <= policy.alpha else INCONCLUSIVE
        if verdict == INCONCLUSIVE and found.spread:
            needed = cases_needed(found.spread, difference=estimate.value + margin, alpha=policy.alpha, sides=1)
            more = None if needed is None else max(1, needed - n)
        said = _said(score, found, worse, verdict, policy)
    worst = sorted(zip(score.differences, score.keys, strict=True), key=lambda pair: score.sign * pair[0])
    lost = tuple(case_name(key) for difference, key in worst if score.sign * difference < 0)
    figures = {
        "score": rule.name,
        "direction": score.direction,
        **estimate.to_dict(),
        "margin": rule.margin,
        "alpha": policy.alpha,
        "p_no_worse": found.no_worse,
        "p_worse": found.worse,
        "p_worse_adjusted": worse,
        "more_cases": more,
        "clusters": None if estimate.clusters is None or score.clusters is None else score.clusters.by,
        "design_effect": estimate.design_effect,
        "warning": estimate.warning,
        "regressed": len(lost),
    }
    return Check(_asked(rule, score.kind), "score", verdict, said, figures, lost[:_MOST_CASES])


def _said(score: PairedScore, found: MarginTest, worse: float, verdict: str, policy: Policy) -> str:
    estimate, sign = found.estimate, score.sign
    value = None if estimate.value is None else sign * estimate.value
    ends: tuple[float | None, float | None] = (None, None)
    if estimate.low is not None and estimate.high is not None:
        ends = (estimate.low, estimate.high) if sign > 0 else (-estimate.high, -estimate.low)
    p = found.no_worse if verdict == PASS else worse
    said = f"{amount(value, kind=score.kind, signed=True)} over {len(score.keys)} cases"
    inside = f"{1 - 2 * policy.alpha:.0%} interval {interval(*ends, kind=score.kind, signed=True)}, p {p_figure(p)}"
    return f"{said} ({inside})"


def _asked(rule: ScoreRule, kind: str) -> str:
    if rule.superior:
        return f"{rule.name}: better than the baseline"
    return f"{rule.name}: at most {amount(rule.margin, kind=kind, signed=True).lstrip('+')} worse"


def calibration(store: Store, run: RunRows, name: str) -> Mapping[str, object] | None:
    """A score's calibration as figures by name, `expired` where it no longer counts; `None` where there is none.

    A calibration is bound to a judge's digest. Where several versions of a judge scored the run, all must have one.
    """
    from tracekit_evaluators.calibration.record import calibration_of  # noqa: PLC0415 - only who asks for it

    digests = {str(row["judge_digest"]) for row in run.rows if row.get("name") == name and row.get("judge_digest")}
    found: list[dict[str, object]] = []
    for digest in sorted(digests):
        held = calibration_of(store, digest, score=name, expired=True)
        if held is None:
            return None
        figures = {key: metric.get("value") for key, metric in held.metrics.items()}
        found.append({**figures, "n": held.n, "expired": not held.valid()})
    return max(found, key=lambda each: bool(each["expired"])) if found else None


def _order(check: Check) -> int:
    return {FAIL: 0, INCONCLUSIVE: 1, PASS: 2}[check.verdict]


def with_sequential(result: GateResult, told: Mapping[str, object]) -> GateResult:
    """The same verdict, saying how far judging went."""
    return replace(result, sequential=told)


__all__ = ["Calibrations", "Pairing", "baseline_of", "gate", "gate_rows", "score_checks", "with_sequential"]
