"""Evaluation: stored traces through judges into scores and a run, resumable at any point."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypeVar

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators._cases import Cases, DatasetSource, dataset_bytes, expectations_of, read_dataset
from tracekit_evaluators._judging import Pace, judge_all
from tracekit_evaluators._selection import Makers, condition, makers, trace_ids
from tracekit_evaluators._writer import ScoreWriter
from tracekit_evaluators.cache import Cache, using
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

JudgeSource = str | Mapping[str, object] | Judge | Callable[..., object]
T = TypeVar("T")
# What summing up reads of a score: texts, which are most of it, stay in the lake.
_SUMMED = (
    "score_id, trace_id, span_id, session_id, case_id, repeat, source, name, value_type, value, label, passed, "
    "direction, status, cost_usd"
)
# What may end otherwise the next time is judged again when a run is resumed.
_AGAIN = ("judge_error", "parse_error", "timeout", "budget_exceeded")


@dataclass(frozen=True)
class Run:
    """A run, with its scores at hand.

    Args:
        store: Where it is kept; scores can be read while it is open.
        record: The run as the catalog has it.
    """

    store: Store
    record: RunRecord

    @property
    def id(self) -> str:
        """Its id, a ULID."""
        return self.record.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def status(self) -> str:
        """`running`, `finished` or `failed`."""
        return self.record.status

    @property
    def metrics(self) -> dict[str, dict[str, object]]:
        """Its metrics by name: value, low and high of the 95 % interval, n, method and more."""
        return self.record.metrics

    @property
    def summary(self) -> dict[str, object]:
        """Counts by status and agent version, what could not be matched, what judging cost."""
        return self.record.summary

    def scores(self) -> list[dict[str, object]]:
        """Its scores, as rows of the table `scores`, in the order of name and trace."""
        return scores_of(self.store, self.id)


@dataclass(frozen=True)
class _Asked:
    where: str | None
    agent: str | None
    dataset: DatasetSource | None
    expected_from: str | None
    name: str | None
    limit: int | None


@dataclass(frozen=True)
class _Plan:
    judges: list[Judge]
    ids: list[str]
    cases: Cases
    record: RunRecord


def evaluate(
    store: Store,
    *,
    judges: Sequence[JudgeSource] = (),
    where: str | None = None,
    agent: str | None = None,
    dataset: DatasetSource | None = None,
    expected_from: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    resume: str | None = None,
    concurrency: int = 8,
    cache: bool = True,
    progress: bool = True,
) -> Run:
    """Judge stored traces and keep the scores as a run.

    A judge that fails costs its score, which then says why; the run goes on. A run that was killed can be resumed: what
    is already scored is not judged again.

    Args:
        store: An open store.
        judges: Specs (`"latency?max=2"`), judges, or functions that take a `Subject`.
        where: A condition in SQL over the view `traces`; all traces when not given.
        agent: `name` for all versions of an agent, or `name@version`.
        dataset: A JSONL file or mappings with `case_id`, `input`, `expected`, `tags`; only traces that tried one of its
            cases are judged, matched by case id, else by equal input.
        expected_from: A run whose scores' metadata are the expectations, by trace, else by case. It also names the case
            and the repeat of a trace that does not name them itself.
        name: What to call the run; made from the time when not given.
        limit: The most traces to judge, the newest ones.
        resume: A run to go on with, with the traces, cases and judges that it began with. Its judges need only be given
            where they cannot be loaded by name.
        concurrency: The most judges that wait for an answer at once.
        cache: Whether answers of models are kept in the store and used again.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        The finished run.

    Raises:
        UsageError: No judge, two judges of one name, a wrong filter or dataset, or resumed judges that have changed.
        NotFoundError: No trace matches, or there is no such run or agent.
        StoreError: The store cannot be read or written.

    Example:
        >>> run = evaluate(store, judges=["error", "latency?max=2"], where="agent_name = 'bot'")  # doctest: +SKIP
        >>> run.metrics["error"]["value"]  # doctest: +SKIP
        0.05
    """
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, not {concurrency}")
    loaded = [load(judge) for judge in judges]
    asked = _Asked(where, agent, dataset, expected_from, name, limit)
    if resume is None:
        plan = _begun(store, loaded, asked, concurrency)
    else:
        given = [key for key, value in vars(asked).items() if value is not None]
        if given:
            raise UsageError(f"a resumed run keeps what it began with; leave out {', '.join(given)}")
        plan = _resumed(store, resume, loaded)
    return _carried_out(store, plan, concurrency=concurrency, cache=cache, progress=progress)


def scores_of(store: Store, run_id: str) -> list[dict[str, object]]:
    """The scores of a run as rows of the table `scores`, those that were superseded left out, in a fixed order."""
    return _standing(store, run_id, "*")


def _standing(store: Store, run_id: str, columns: str) -> list[dict[str, object]]:
    query = (
        f"SELECT {columns} FROM scores WHERE run_id = ? AND score_id NOT IN "  # noqa: S608 - our own columns
        "(SELECT supersedes FROM scores WHERE run_id = ? AND supersedes IS NOT NULL) "
        'ORDER BY name, case_id, "repeat", trace_id, score_id'
    )
    return store.sql(query, [run_id, run_id]).dicts()


def finish(store: Store, run_id: str, makers: Makers, more: Mapping[str, object]) -> RunRecord:
    """Sum a run's scores up and mark it finished.

    Args:
        store: The store.
        run_id: The run.
        makers: Who made its traces.
        more: What else its summary says.
    """
    from tracekit_evaluators.summary import summarise  # noqa: PLC0415 - the façade stays light

    rows = _standing(store, run_id, _SUMMED)
    statuses: dict[str, int] = {}
    for row in rows:
        statuses[str(row["status"])] = statuses.get(str(row["status"]), 0) + 1
    summary = {"scores": len(rows), "statuses": statuses, "agent_versions": makers.counts, **_spent(rows), **more}
    return store.catalog.runs.update(
        run_id, status="finished", metrics=summarise(rows), summary=summary, agent_version=makers.version
    )


def _begun(store: Store, judges: list[Judge], asked: _Asked, concurrency: int) -> _Plan:
    if not judges:
        raise UsageError("no judge is given; `tracekit judges list` shows those that are installed")
    _distinct(judges)
    if asked.limit is not None and asked.limit < 1:
        raise UsageError(f"limit must be at least 1, not {asked.limit}")
    rows = None if asked.dataset is None else read_dataset(asked.dataset)
    expecting = None if asked.expected_from is None else store.catalog.runs.find(asked.expected_from)
    # With a dataset the limit counts traces that tried a case, which only reading them tells.
    picked = condition(store, where=asked.where, agent=asked.agent)
    ids = trace_ids(store, picked, limit=asked.limit if rows is None else None)
    cases = _cases(store, rows, None if expecting is None else expecting.id)
    if rows is not None:
        ids = _matched(store, ids, cases, asked.limit)
    selection: dict[str, object] = {
        "where": asked.where,
        "agent": asked.agent,
        "limit": asked.limit,
        "traces": len(ids),
        "trace_ids": keep(store.artifacts, "\n".join(ids).encode()),
        "expected_from": None if expecting is None else expecting.id,
    }
    if rows is not None:
        selection["dataset"] = keep(store.artifacts, dataset_bytes(rows))
        selection["dataset_file"] = os.fspath(asked.dataset) if isinstance(asked.dataset, (str, os.PathLike)) else None
        selection["cases"] = len(rows)
        selection["cases_without_trace"] = cases.untried()
    record = store.catalog.runs.create(
        asked.name or f"eval-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}",
        kind="eval",
        agent_version=makers(store, ids).version,
        parameters={"judges": [judge.spec for judge in judges], "concurrency": concurrency},
        judges=[judge.record() for judge in judges],
        selection=selection,
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    return _Plan(judges, ids, cases, record)


def _resumed(store: Store, ref: str, judges: list[Judge]) -> _Plan:
    record = store.catalog.runs.find(ref)
    if record.kind != "eval":
        raise UsageError(f"the run {record.name} is of kind {record.kind}; only evaluations can be resumed")
    judges = judges or [load(str(each["spec"])).named(str(each["name"])) for each in record.judges]
    begun = {str(each["name"]): each["digest"] for each in record.judges}
    given = {judge.name: judge.digest for judge in judges}
    if given != begun:
        changed = sorted(name for name in given if name in begun and given[name] != begun[name])
        what = f"{', '.join(changed)} changed since it began"
        if given.keys() != begun.keys():
            what = f"it began with the judges {', '.join(sorted(begun))}"
        raise UsageError(f"the run {record.name} cannot be resumed: {what}; begin a new run")
    ids = kept(store.artifacts, str(record.selection["trace_ids"])).decode().split("\n")
    dataset = record.selection.get("dataset")
    rows = None
    if dataset is not None:
        rows = [json.loads(line) for line in kept(store.artifacts, str(dataset)).splitlines()]
    expecting = record.selection.get("expected_from")
    store.settle()
    cases = _cases(store, rows, None if expecting is None else str(expecting))
    store.catalog.runs.update(record.id, status="running")
    return _Plan(judges, ids, cases, record)


def _carried_out(store: Store, plan: _Plan, *, concurrency: int, cache: bool, progress: bool) -> Run:
    from tracekit_collector.terminal import progress as bar  # noqa: PLC0415 - the façade stays light

    began = time.monotonic()
    done, earlier = _done(store, plan.record.id)
    writer = ScoreWriter(store, plan.record.id, earlier)
    answers = Cache(store.location / "judge-cache.db") if cache else None
    open_ids = [each for each in plan.ids if any((each, judge.digest) not in done for judge in plan.judges)]
    total = len(open_ids) * len(plan.judges)
    try:
        with using(answers), ExitStack() as shown:
            advance = shown.enter_context(bar(f"judging {plan.record.name}", total)) if progress else _silent
            pace = Pace(concurrency, advance)
            _blocking(lambda: judge_all(_subjects(store, open_ids, plan.cases), plan.judges, done, writer, pace))
        writer.flush()
    except BaseException:
        _keep_what_is_there(store, writer, plan.record.id)
        raise
    finally:
        if answers is not None:
            answers.close()
    before = plan.record.summary.get("seconds")
    seconds = time.monotonic() - began + (before if isinstance(before, (int, float)) else 0)
    more: dict[str, object] = {"traces": len(plan.ids), "seconds": round(seconds, 3)}
    return Run(store, finish(store, plan.record.id, makers(store, plan.ids), more))


def _keep_what_is_there(store: Store, writer: ScoreWriter, run_id: str) -> None:
    try:
        writer.flush()
    finally:
        store.catalog.runs.update(run_id, status="failed")


def _subjects(store: Store, ids: Sequence[str], cases: Cases) -> Iterator[Subject]:
    for trace in store.traces(ids):
        case = cases.of(trace)
        if case is not None:
            yield Subject(trace, case)


def _matched(store: Store, ids: Sequence[str], cases: Cases, limit: int | None) -> list[str]:
    """Those of the traces that tried a case of the dataset."""
    found: list[str] = []
    for subject in _subjects(store, ids, cases):
        found.append(subject.trace.trace_id)
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


def _done(store: Store, run_id: str) -> tuple[set[tuple[str, str]], dict[tuple[str, str, str], str]]:
    """What a run has scored already, and the ids of the scores that are to be tried again."""
    done: set[tuple[str, str]] = set()
    earlier: dict[tuple[str, str, str], str] = {}
    again: set[tuple[str, str]] = set()
    for row in _standing(store, run_id, "trace_id, judge_digest, name, score_id, status"):
        key = (str(row["trace_id"]), str(row["judge_digest"]))
        done.add(key)
        earlier[key[0], key[1], str(row["name"])] = str(row["score_id"])
        if row["status"] in _AGAIN:
            again.add(key)
    return done - again, {name: score for name, score in earlier.items() if name[:2] in again}


def _distinct(judges: Sequence[Judge]) -> None:
    names = [judge.name for judge in judges]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two judges are called {', '.join(twice)}; name one of them otherwise with `name=…`")


def _spent(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What the models that judged took; nothing where none did, unknown where one does not say."""
    asked = [row for row in rows if row["source"] == "llm"]
    if not asked:
        return {}
    costs = [row["cost_usd"] for row in asked]
    known = [cost for cost in costs if isinstance(cost, (int, float))]
    return {"judge_cost_usd": sum(known) if len(known) == len(costs) else None}


def _blocking(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run to the end, also where an event loop is already running (as in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    found: list[T] = []
    failed: list[BaseException] = []
    context = contextvars.copy_context()

    def body() -> None:
        try:
            found.append(context.run(asyncio.run, work()))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=body, name="tracekit-evaluate")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _silent(n: int = 1) -> None:
    del n
