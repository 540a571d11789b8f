"""What a run is going to do: its judges, traces and cases, from what was asked, or from a run that is gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, cast

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators._cases import Cases, DatasetSource, dataset_bytes, expectations_of
from tracekit_evaluators._ids import TraceIds, lines_of
from tracekit_evaluators._judging import Done
from tracekit_evaluators._selection import Makers, condition, makers, selected
from tracekit_evaluators._targets import Other, Targets
from tracekit_evaluators._writer import Key
from tracekit_evaluators.datasets import Chosen, case_id, cases_of
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.tasks import check_inputs

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.tasks import Trying

# What may end otherwise the next time is judged again when a run is gone on with.
AGAIN = ("judge_error", "parse_error", "timeout", "budget_exceeded")


@dataclass(frozen=True)
class Asked:
    """What `evaluate` was asked to select, as it was said."""

    where: str | None = None
    agent: str | None = None
    dataset: DatasetSource | None = None
    split: str | None = None
    expected_from: str | None = None
    against: str | None = None
    name: str | None = None
    limit: int | None = None
    samples: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    Args:
        judges: Who judges.
        ids: The traces, in order.
        cases: Gives each trace its case.
        samples: How many verdicts a judge that asks a model gives on each subject.
        other: What pairs are made with.
        record: The run in the catalog; `None` before it is begun.
        selection: What the record says of the selection.
        replacing: Whether scores of other judges by the same names are to be replaced.
        makers: Who made the traces; `None` where nobody has looked yet.
        new: Whether the run was begun just now, so that nothing is scored.
    """

    judges: list[Judge]
    ids: Sequence[str]
    cases: Cases
    samples: int
    other: Other | None
    record: RunRecord | None
    selection: dict[str, object]
    replacing: bool = False
    makers: Makers | None = None
    new: bool = False

    @property
    def run(self) -> RunRecord:
        """The run, once it is begun."""
        return cast("RunRecord", self.record)

    def targets(self, store: Store) -> Targets:
        """What the judges are called with."""
        return Targets(store, self.cases, [judge for judge in self.judges if not judge.of_a_set], self.other)


def planned(store: Store, judges: list[Judge], asked: Asked) -> Plan:
    """A new run's plan; nothing is written yet but what the selection keeps."""
    _check(judges, asked)
    samples = _samples(asked)
    chosen = None if asked.dataset is None else cases_of(store, asked.dataset, split=asked.split)
    rows = None if chosen is None else chosen.rows
    expecting = None if asked.expected_from is None else store.catalog.runs.find(asked.expected_from)
    # With a dataset the limit counts traces that tried a case, which only reading them tells.
    picked = condition(store, where=asked.where, agent=asked.agent)
    ids, known = selected(store, picked, limit=asked.limit if rows is None else None)
    cases = _cases(store, rows, None if expecting is None else expecting.id)
    if rows is not None:
        ids = _matched(store, ids, cases, asked.limit)
        known = makers(store, ids)
    selection: dict[str, object] = {
        "where": asked.where,
        "agent": asked.agent,
        "limit": asked.limit,
        "traces": len(ids),
        "trace_ids": keep(store.artifacts, lines_of(ids)),
        "expected_from": None if expecting is None else expecting.id,
        "samples": samples,
    }
    if chosen is not None:
        selection["dataset"] = keep(store.artifacts, dataset_bytes(chosen.rows))
        selection.update(chosen.selection())
        selection["cases_without_trace"] = cases.untried()
    against = _against(store, judges, asked.against)
    if against is not None:
        selection["against"] = asked.against
        selection["against_trace_ids"] = keep(store.artifacts, lines_of(against))
    other = None if against is None else Other.of(store, against, _cases(store, rows, None))
    return Plan(judges, ids, cases, samples, other, None, selection, makers=known)


def begun(store: Store, plan: Plan, name: str | None, concurrency: int) -> Plan:
    """The plan, with its run in the catalog."""
    known = plan.makers or makers(store, plan.ids)
    record = store.catalog.runs.create(
        name or f"eval-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}",
        kind="eval",
        agent_version=known.version,
        parameters={"judges": [judge.spec for judge in plan.judges], "concurrency": concurrency},
        judges=[judge.record() for judge in plan.judges],
        selection=plan.selection,
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    return replace(plan, record=record, makers=known, new=True)


def begun_trying(store: Store, judges: list[Judge], asked: Asked, how: Trying, *, concurrency: int) -> RunRecord:
    """A new run that is going to try a task; its traces are not there yet."""
    chosen, rows = _cases_to_try(store, judges, asked)
    selection: dict[str, object] = {
        "agent": asked.agent,
        "limit": asked.limit,
        "traces": len(rows) * how.repeats,
        "samples": _samples(asked),
        "task": how.record(),
        "dataset": keep(store.artifacts, dataset_bytes(rows)),
        **chosen.selection(),
    }
    against = _against(store, judges, asked.against)
    if against is not None:
        selection["against"] = asked.against
        selection["against_trace_ids"] = keep(store.artifacts, lines_of(against))
    empty = Plan(judges, [], Cases(), _samples(asked), None, None, selection)
    return begun(store, empty, asked.name, concurrency).run


def to_try(store: Store, judges: list[Judge], asked: Asked) -> tuple[list[dict[str, object]], int]:
    """The cases that a task would be tried with, and how many verdicts would be asked for on each try."""
    return _cases_to_try(store, judges, asked)[1], _samples(asked)


def _cases_to_try(store: Store, judges: list[Judge], asked: Asked) -> tuple[Chosen, list[dict[str, object]]]:
    if asked.dataset is None:
        raise UsageError("a task needs cases to try; name a dataset")
    if asked.where is not None or asked.expected_from is not None:
        raise UsageError("where and expected_from choose stored traces; a task makes its own")
    _check(judges, asked)
    chosen = cases_of(store, asked.dataset, split=asked.split)
    rows = [{**row, "case_id": case_id(row)} for row in chosen.rows][: asked.limit]
    check_inputs(rows)
    return chosen, rows


def resumed(store: Store, ref: str, judges: list[Judge]) -> Plan:
    """The plan of a run that is gone on with, by the judges that it began with."""
    record = _evaluation(store, ref)
    judges = judges or [load(str(each["spec"])).named(str(each["name"])) for each in record.judges]
    begun_with = {str(each["name"]): each["digest"] for each in record.judges}
    given = {judge.name: judge.digest for judge in judges}
    if given != begun_with:
        changed = sorted(name for name in given if name in begun_with and given[name] != begun_with[name])
        what = f"{', '.join(changed)} changed since it began"
        if given.keys() != begun_with.keys():
            what = f"it began with the judges {', '.join(sorted(begun_with))}"
        raise UsageError(f"the run {record.name} cannot be resumed: {what}; begin a new run")
    return _again(store, record, judges)


def extended(store: Store, ref: str, judges: list[Judge]) -> Plan:
    """The plan of judging a run's traces by more judges, or by others in the place of those of the same name."""
    if not judges:
        raise UsageError("no judge is given that a run could be extended with")
    distinct(judges)
    plan = replace(_again(store, _evaluation(store, ref), judges), replacing=True)
    record = plan.run
    ours = {judge.name for judge in judges}
    kept_ones = [each for each in record.judges if str(each["name"]) not in ours]
    listed = [*kept_ones, *(judge.record() for judge in judges)]
    return replace(plan, record=store.catalog.runs.update(record.id, status="running", judges=listed))


def done_before(store: Store, plan: Plan, *, anywhere: bool) -> tuple[set[Done], dict[Key, str]]:
    """What need not be judged again, and the ids of the scores that new ones replace.

    Args:
        store: Where the scores are.
        plan: What is going to be judged.
        anywhere: Whether what another run has scored with the same judges counts too.
    """
    record = plan.run
    names = "score_id, judge_digest, judge, name, status, target, trace_id, span_id, session_id, sample"
    done: set[Done] = set()
    again: set[Done] = set()
    earlier: dict[Key, str] = {}
    digests = {judge.name: judge.digest for judge in plan.judges}
    for row in () if plan.new else standing(store, record.id, names):
        target, target_id, sample = _target_of(row)
        key = (str(row["judge_digest"]), target, target_id, sample)
        done.add(key)
        ours = digests.get(str(row["judge"]))
        if row["status"] in AGAIN:
            again.add(key)
        if row["status"] in AGAIN or (plan.replacing and ours is not None and ours != row["judge_digest"]):
            earlier[target, target_id, sample, str(row["name"])] = str(row["score_id"])
    done -= again
    if anywhere:
        done |= _scored_elsewhere(store, list(digests.values()))
    return done, earlier


def standing(
    store: Store, run_id: str, columns: str, *, name: str | None = None, settle: bool = True
) -> list[dict[str, object]]:
    """The scores of a run that no later one supersedes, in a fixed order."""
    only = "" if name is None else "AND name = ? "
    query = (
        f"SELECT {columns} FROM scores WHERE run_id = ? {only}AND score_id NOT IN "  # noqa: S608 - our own columns
        "(SELECT supersedes FROM scores WHERE run_id = ? AND supersedes IS NOT NULL) "
        'ORDER BY name, case_id, "repeat", trace_id, span_id, sample, score_id'
    )
    return store.sql(query, [run_id, *([] if name is None else [name]), run_id], settle=settle).dicts()


def distinct(judges: Sequence[Judge]) -> None:
    """Raise where two judges have one name."""
    names = [judge.name for judge in judges]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two judges are called {', '.join(twice)}; name one of them otherwise with `name=…`")


def _check(judges: Sequence[Judge], asked: Asked) -> None:
    if not judges:
        raise UsageError("no judge is given; `tracekit judges list` shows those that are installed")
    distinct(judges)
    if asked.limit is not None and asked.limit < 1:
        raise UsageError(f"limit must be at least 1, not {asked.limit}")
    if asked.split is not None and asked.dataset is None:
        raise UsageError("a split is a part of a dataset; name the dataset too")


def _samples(asked: Asked) -> int:
    samples = 1 if asked.samples is None else asked.samples
    if samples < 1:
        raise UsageError(f"samples must be at least 1, not {samples}")
    return samples


def _evaluation(store: Store, ref: str) -> RunRecord:
    record = store.catalog.runs.find(ref)
    if record.kind != "eval":
        raise UsageError(f"the run {record.name} is of kind {record.kind}; only evaluations can be resumed")
    return record


def _again(store: Store, record: RunRecord, judges: list[Judge]) -> Plan:
    selection = record.selection
    dataset = selection.get("dataset")
    rows = None
    if dataset is not None:
        rows = [json.loads(line) for line in kept(store.artifacts, str(dataset)).splitlines()]
    expecting = selection.get("expected_from")
    store.settle()
    cases = _cases(store, rows, None if expecting is None else str(expecting))
    listed = selection.get("against_trace_ids")
    other = None
    if listed is not None:
        other = Other.of(store, TraceIds.from_lines(kept(store.artifacts, str(listed))), _cases(store, rows, None))
    elif any(judge.declared.subject == "pair" for judge in judges):
        raise UsageError(f"the run {record.name} was begun without another run to compare with; begin a new one")
    samples = selection.get("samples")
    ids = TraceIds.from_lines(kept(store.artifacts, str(selection["trace_ids"])))
    record = store.catalog.runs.update(record.id, status="running")
    return Plan(judges, ids, cases, samples if isinstance(samples, int) else 1, other, record, dict(selection))


def _against(store: Store, judges: Sequence[Judge], ref: str | None) -> Sequence[str] | None:
    pairs = sorted(judge.name for judge in judges if judge.declared.subject == "pair")
    if ref is None:
        if pairs:
            raise UsageError(f"{', '.join(pairs)} compares two tries; name a run or an agent with `against`")
        return None
    if not pairs:
        raise UsageError("`against` is for judges that compare two tries, and none of these does")
    try:
        listed = store.catalog.runs.find(ref).selection.get("trace_ids")
    except NotFoundError:
        return selected(store, condition(store, where=None, agent=ref), limit=None)[0]
    if listed is None:
        raise UsageError(f"the run {ref} does not say which traces it read; name an evaluation or an agent")
    return TraceIds.from_lines(kept(store.artifacts, str(listed)))


def _matched(store: Store, ids: Sequence[str], cases: Cases, limit: int | None) -> Sequence[str]:
    """Those of the traces that tried a case of the dataset."""
    found: list[str] = []
    for trace in store.traces(ids):
        if cases.of(trace) is not None:
            found.append(trace.trace_id)
        if limit is not None and len(found) == limit:
            break
    if not found:
        raise NotFoundError(
            f"none of {len(ids)} traces tried a case of the dataset: no case_id is the same, and no input is equal"
        )
    return found


def _cases(store: Store, rows: list[dict[str, object]] | None, expecting: str | None) -> Cases:
    if expecting is None:
        return Cases(rows)
    by_trace, by_case = expectations_of(store, expecting)
    if not by_trace and not by_case:
        raise UsageError(f"the scores of the run {expecting} have no metadata that could be expectations")
    return Cases(rows, by_trace, by_case)


def _scored_elsewhere(store: Store, digests: list[str]) -> set[Done]:
    query = (
        "SELECT DISTINCT judge_digest, target, trace_id, span_id, session_id, sample FROM scores "
        "WHERE status IN ('scored', 'not_applicable') AND judge_digest IN (SELECT unnest(?::VARCHAR[]))"
    )
    rows = store.sql(query, [digests]).dicts()
    return {(str(row["judge_digest"]), *_target_of(row)) for row in rows}


def _target_of(row: Mapping[str, object]) -> tuple[str, str, int]:
    target = str(row["target"] or "trace")
    sample = row["sample"]
    ids = {"span": f"{row['trace_id']}/{row['span_id']}", "session": str(row["session_id"])}
    return target, ids.get(target, str(row["trace_id"])), sample if isinstance(sample, int) else 0
