"""The sequential gate: cases are judged in random order, a batch at a time, until the verdict is certain.

Each thing that is asked of scores has two bettors, one for it and one against it (`gate_bets`): against the baseline,
of the mean, of an increase of what the traces take. The gate passes once the first holds 1/alpha for all, and fails
once the second holds m/alpha for one of m. Whenever one looks, either happens wrongly with a probability of at most
alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators._gate_checks import golden_checks, golden_of
from tracekit_evaluators.clustering import case_rows, find_clusters
from tracekit_evaluators.gate import calibration, gate_rows, with_sequential
from tracekit_evaluators.gate_bets import Book, wagers_of
from tracekit_evaluators.gate_policy import Policy
from tracekit_evaluators.gate_result import FAIL, PASS, GateResult
from tracekit_evaluators.pairing import Pairing, RunRows, pair, read_run

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators._plan import Plan

JudgeSome = Callable[[Sequence[str]], RunRows]
_READ_AT_ONCE = 5_000


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
        policy: What must hold. Scores that are no shares need a `range`, and a budget's `increase` needs a `max`.
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
    wagers_of(policy)  # what cannot be bet on is said before anything is read
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
    wagers = wagers_of(policy)
    first, units = _order(pairing, planned, policy, seed)
    traces: dict[str, list[str]] = {}
    for trace_id, key in pairing.candidate.items():
        traces.setdefault(key, []).append(trace_id)
    largest = max(map(len, units), default=1)
    judged: list[str] = []
    groups = [[first]] if first else []
    groups += _batches(units, batch)
    candidate = planned
    for place, group in enumerate(groups):
        keys = [key for unit in group for key in unit]
        judged += keys
        candidate = judge([trace for key in keys for trace in traces.get(key, ())])
        book = Book(baseline, _only(candidate, judged, pairing), pairing)
        if not (first and place == 0):
            for wager in wagers:
                wager.take(book, group, largest)
        failed = any(check.verdict == FAIL for check in golden_checks(policy, candidate))
        verdicts = [wager.verdict(policy.alpha, len(wagers)) for wager in wagers]
        if (failed and first) or FAIL in verdicts or all(each == PASS for each in verdicts):
            break
    total = len(first) + sum(map(len, units))
    seen = _only(candidate, judged, pairing)
    book = Book(baseline, seen, pairing)
    result = gate_rows(
        seen,
        policy=policy,
        baseline=baseline,
        calibrations=None if calibrations is None else partial(calibrations, seen),
        pairing=pairing,
        tested=[wager.check(book, policy.alpha, len(wagers)) for wager in wagers],
    )
    return with_sequential(result, {"judged": len(judged), "cases": total, "seed": seed, "batch": batch})


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
    both, _, added = pairing.keys()
    if any(rule.at_least is not None or rule.at_most is not None for rule in policy.scores):
        both = both + added  # a level is asked of all cases, whether or not the baseline has them
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


def _only(run: RunRows, keys: Sequence[str], pairing: Pairing) -> RunRows:
    """A run as far as it has been looked at."""
    wanted = set(keys)
    kept = {trace_id for trace_id, key in pairing.candidate.items() if key in wanted}
    rows = tuple(row for row in run.rows if row.get("name") is not None and str(row.get("trace_id")) in kept)
    traces = {trace_id: row for trace_id, row in run.traces.items() if trace_id in kept}
    return RunRows(run.run, rows, traces, run.cases, run.models, run.tools)


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
