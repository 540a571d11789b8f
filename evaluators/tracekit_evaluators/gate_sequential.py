"""The sequential gate: cases are judged in random order, a batch at a time, until the verdict is certain.

Each gated score has two bettors, one against "worse by the margin or more", one against "not worse by more than the
margin" (`statistics.sequential`). The gate passes once the first holds 1/alpha for every score, and fails once the
second holds m/alpha for one of m scores. Whenever one looks, either happens wrongly with a probability of at most
alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators._gate_checks import golden_checks, golden_of
from tracekit_evaluators.clustering import case_rows, find_clusters
from tracekit_evaluators.gate import calibration, gate_rows, with_sequential
from tracekit_evaluators.gate_policy import Policy, ScoreRule
from tracekit_evaluators.gate_result import FAIL, INCONCLUSIVE, PASS, Check, GateResult
from tracekit_evaluators.paired_scores import PairedScore, PairedScores
from tracekit_evaluators.pairing import Pairing, RunRows, pair, read_run
from tracekit_evaluators.statistics import EProcess
from tracekit_evaluators.verdict import amount, figure

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators._plan import Plan

JudgeSome = Callable[[Sequence[str]], RunRows]
_READ_AT_ONCE = 5_000


@dataclass
class _Bets:
    """The two bettors of one score."""

    rule: ScoreRule
    reach: float
    better: EProcess = field(init=False)
    worse: EProcess = field(init=False)
    total: float = 0.0
    cases: int = 0

    def __post_init__(self) -> None:
        margin = self.rule.margin or 0.0
        if margin >= self.reach:
            raise UsageError(f"the margin {margin:g} of {self.rule.name} is as wide as the score can differ")
        self.better = EProcess(mean=-margin, low=-self.reach, high=self.reach)
        self.worse = EProcess(mean=margin, low=-self.reach, high=self.reach)

    def take(self, differences: Sequence[float], *, largest: int) -> None:
        """Bet on a source's cases at once, weighted so that each case counts the same."""
        if differences:
            mean = sum(differences) / len(differences)
            self.better.add(mean, weight=len(differences) / largest)
            self.worse.add(-mean, weight=len(differences) / largest)
            self.total += sum(differences)
            self.cases += len(differences)

    def verdict(self, alpha: float, tests: int) -> str:
        if self.worse.best >= tests / alpha:
            return FAIL
        return PASS if self.better.best >= 1 / alpha else INCONCLUSIVE


def sequential_gate(
    store: Store,
    run: RunRecord,
    *,
    policy: Policy,
    baseline: RunRecord,
    plan: Plan | None = None,
    judge_some: Callable[[Sequence[str]], object] | None = None,
    seed: int = 0,
    batch: int = 20,
) -> GateResult:
    """Judge a run by a policy, and stop judging as soon as the verdict is certain.

    Golden cases come first; the others follow in an order that the seed decides, cases that share a session, a user or
    a source together. What the run has scored already is not judged again.

    Args:
        store: An open store.
        run: The run to judge, which may have no score yet.
        policy: What must hold. Scores that are no shares need a `range`; `at_least`, `at_most` and `increase`, which
            are for a fixed number of cases, are refused.
        baseline: The run to compare with, all of its cases scored.
        plan: What the run is going to judge; what it has scored where there is none.
        judge_some: Judges the traces of these ids into the run; nothing is judged where it is not given.
        seed: Seed of the order.
        batch: How many cases to judge before looking.

    Raises:
        UsageError: The policy cannot be judged step by step.
    """
    if batch < 1:
        raise UsageError(f"a batch has at least 1 case, not {batch}")
    _check(policy)
    before = read_run(store, baseline)
    planned = read_run(store, run) if plan is None else _planned(store, run, plan.ids)

    def judge(ids: Sequence[str]) -> RunRows:
        if judge_some is not None:
            judge_some(ids)
        return read_run(store, store.catalog.runs.find(run.id))

    return sequential_gate_rows(
        before,
        planned,
        judge=judge,
        policy=policy,
        seed=seed,
        batch=batch,
        calibrations=lambda rows, name: calibration(store, rows, name),
    )


def sequential_gate_rows(
    baseline: RunRows,
    planned: RunRows,
    *,
    judge: JudgeSome,
    policy: Policy,
    seed: int = 0,
    batch: int = 20,
    calibrations: Callable[[RunRows, str], Mapping[str, object] | None] | None = None,
) -> GateResult:
    """The same over rows that have been read.

    Args:
        baseline: The run to compare with.
        planned: The candidate's traces and cases, scored or not.
        judge: Gives the candidate's rows once the traces of these ids are judged.
        policy: What must hold.
        seed: Seed of the order.
        batch: How many cases to judge before looking.
        calibrations: Gives a score's calibration.
    """
    pairing = pair(baseline, planned)
    first, units = _order(pairing, planned, policy, seed)
    traces: dict[str, list[str]] = {}
    for trace_id, key in pairing.candidate.items():
        traces.setdefault(key, []).append(trace_id)
    largest = max(map(len, units), default=1)
    rules = [rule for rule in policy.scores if rule.relative]
    bets: dict[str, _Bets] = {}
    judged: list[str] = []
    groups = [[first]] if first else []
    groups += _batches(units, batch)
    candidate = planned
    for place, group in enumerate(groups):
        keys = [key for unit in group for key in unit]
        judged += keys
        candidate = judge([trace for key in keys for trace in traces.get(key, ())])
        scores = PairedScores(baseline, _only(candidate, judged, pairing), pairing).scores
        if not (first and place == 0):
            _bet(bets, rules, scores, group, largest)
        failed = any(check.verdict == FAIL for check in golden_checks(policy, candidate))
        known = [bets.get(rule.name) for rule in rules]
        verdicts = [INCONCLUSIVE if each is None else each.verdict(policy.alpha, len(rules)) for each in known]
        if (failed and first) or FAIL in verdicts or all(each == PASS for each in verdicts):
            break
    total = len(first) + sum(map(len, units))
    seen = _only(candidate, judged, pairing)
    checks = [_score_check(rule, bets.get(rule.name), seen, policy, len(rules)) for rule in rules]
    result = gate_rows(
        seen,
        policy=policy,
        baseline=baseline,
        calibrations=None if calibrations is None else partial(calibrations, seen),
        pairing=pairing,
        tested=checks,
    )
    return with_sequential(result, {"judged": len(judged), "cases": total, "seed": seed, "batch": batch})


def _check(policy: Policy) -> None:
    fixed = [rule.name for rule in policy.scores if rule.at_least is not None or rule.at_most is not None]
    fixed += [f"budgets.{name}.increase" for name, limits in policy.budgets.items() if "increase" in limits]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)}: at_least, at_most and increase are for a fixed number of cases; "
            "leave them out, or gate without --sequential"
        )
    if not any(rule.relative for rule in policy.scores):
        raise UsageError("a sequential gate needs a score with a margin, or with test: superiority")


def _planned(store: Store, run: RunRecord, ids: Sequence[str]) -> RunRows:
    traces: dict[str, Mapping[str, object]] = {}
    for start in range(0, len(ids), _READ_AT_ONCE):
        query = "SELECT * FROM traces WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY trace_id"
        for row in store.sql(query, [list(ids[start : start + _READ_AT_ONCE])]):
            traces[str(row["trace_id"])] = row
    rows = tuple({"trace_id": trace_id, "case_id": row.get("case_id")} for trace_id, row in traces.items())
    return RunRows(run, rows, traces, case_rows(store, run))


def _order(pairing: Pairing, planned: RunRows, policy: Policy, seed: int) -> tuple[list[str], list[list[str]]]:
    """Golden cases, and the others in random order, those that share a source together."""
    both, _, _ = pairing.keys()
    golden = {f"case:{case}" for case in golden_of(policy, planned)}
    first = [key for key in both if key in golden]
    rest = [key for key in both if key not in golden]
    rows: dict[str, list[Mapping[str, object]]] = {key: [] for key in rest}
    for row in planned.rows:
        key = pairing.candidate.get(str(row.get("trace_id")))
        if key in rows:
            rows[str(key)].append(row)
    shared = find_clusters(rows, planned.facts) if rest else None
    units: dict[str, list[str]] = {}
    for key, of in zip(rest, rest if shared is None else shared.of, strict=True):
        units.setdefault(of, []).append(key)
    listed = list(units.values())
    return first, [listed[place] for place in np.random.default_rng(seed).permutation(len(listed))]


def _batches(units: Sequence[list[str]], size: int) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    count = size
    for unit in units:
        if count >= size:
            found.append([])
            count = 0
        found[-1].append(unit)
        count += len(unit)
    return found


def _bet(
    bets: dict[str, _Bets],
    rules: Sequence[ScoreRule],
    scores: Mapping[str, PairedScore],
    group: Sequence[Sequence[str]],
    largest: int,
) -> None:
    for rule in rules:
        score = scores.get(rule.name)
        if score is None:
            continue
        if rule.name not in bets:
            bets[rule.name] = _Bets(rule, _reach(rule, score))
        better = {key: score.sign * each for key, each in zip(score.keys, score.differences, strict=True)}
        for unit in group:
            bets[rule.name].take([better[key] for key in unit if key in better], largest=largest)


def _reach(rule: ScoreRule, score: PairedScore) -> float:
    if rule.range is not None:
        return rule.range[1] - rule.range[0]
    if score.yes_no:
        return 1.0
    raise UsageError(f"{rule.name} is a number: say what it can be, as `range: [0, 1]` in the policy")


def _only(run: RunRows, keys: Sequence[str], pairing: Pairing) -> RunRows:
    """A run as far as it has been looked at."""
    wanted = set(keys)
    kept = {trace_id for trace_id, key in pairing.candidate.items() if key in wanted}
    rows = tuple(row for row in run.rows if row.get("name") is not None and str(row.get("trace_id")) in kept)
    traces = {trace_id: row for trace_id, row in run.traces.items() if trace_id in kept}
    return RunRows(run.run, rows, traces, run.cases, run.models, run.tools)


def _score_check(rule: ScoreRule, bets: _Bets | None, run: RunRows, policy: Policy, tests: int) -> Check:
    group = run.groups.get(rule.name)
    kind = "number" if group is None else group.kind
    wanted = "better than the baseline" if rule.superior else f"at most {amount(rule.margin, kind=kind)} worse"
    asked = f"{rule.name}: {wanted.replace(' %', ' pt')}"
    if bets is None or not bets.cases:
        return Check(asked, "score", INCONCLUSIVE, "no case that both runs have was scored")
    sign = -1.0 if group is not None and group.direction == "minimize" else 1.0
    value = sign * bets.total / bets.cases
    verdict = bets.verdict(policy.alpha, tests)
    held = bets.worse.best if verdict == FAIL else bets.better.best
    needed = (tests if verdict == FAIL else 1) / policy.alpha
    said = (
        f"{amount(value, kind=kind, signed=True)} over {bets.cases} cases "
        f"(e-value {figure(held)}, {figure(needed)} needed)"
    )
    figures = {
        "score": rule.name,
        "value": value,
        "n": bets.cases,
        "margin": rule.margin,
        "alpha": policy.alpha,
        "e_no_worse": bets.better.best,
        "e_worse": bets.worse.best,
        "needed": needed,
        "method": "betting e-processes",
    }
    return Check(asked, "score", verdict, said, figures)


def begin(
    store: Store,
    name: str,
    *,
    baseline: RunRecord,
    judges: Sequence[str] = (),
    agent: str | None = None,
    where: str | None = None,
    dataset: str | None = None,
    expected_from: str | None = None,
) -> Plan:
    """Begin a run without judging anything yet.

    Args:
        store: An open store.
        name: What to call it.
        baseline: Whose judges judge where none are given.
        judges: Specs of judges.
        agent: Whose traces.
        where: A condition over the view `traces`.
        dataset: Cases.
        expected_from: A run whose scores' metadata are the expectations.
    """
    from tracekit_evaluators._plan import Asked, begun, planned  # noqa: PLC0415 - judging is heavier than gating
    from tracekit_evaluators.judge import load  # noqa: PLC0415 - the same

    if judges:
        loaded = [load(spec) for spec in judges]
    else:
        loaded = [load(str(each["spec"])).named(str(each["name"])) for each in baseline.judges]
    asked = Asked(where, agent, dataset, None, expected_from, None, name)
    return begun(store, planned(store, loaded, asked), name, 8)
