"""Evaluation: stored traces through judges into scores and a run, resumable at any point."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from tracekit.errors import UsageError
from tracekit_evaluators._artifacts import kept
from tracekit_evaluators._cases import DatasetSource
from tracekit_evaluators._judging import Pace, judge_all
from tracekit_evaluators._plan import (
    Asked,
    Plan,
    begun,
    begun_trying,
    done_before,
    extended,
    planned,
    resumed,
    standing,
    to_try,
)
from tracekit_evaluators._selection import Makers, makers
from tracekit_evaluators._sets import judge_sets
from tracekit_evaluators._writer import ScoreWriter
from tracekit_evaluators.asking import Desk, desk
from tracekit_evaluators.budget import Budget
from tracekit_evaluators.cache import Cache
from tracekit_evaluators.forecast import Forecast, forecast, forecast_of_cases
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.judge_traces import JudgeTraces
from tracekit_evaluators.notebook import Shown
from tracekit_evaluators.tasks import TaskSource, Trying, tried_before, try_all, trying

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

JudgeSource = str | Mapping[str, object] | Judge | Callable[..., object]
T = TypeVar("T")
# What summing up reads of a score: texts, which are most of it, stay in the lake.
_SUMMED = (
    "score_id, trace_id, span_id, session_id, case_id, repeat, source, name, value_type, value, label, passed, "
    "direction, status, cost_usd"
)
_COUNTS = (
    "SELECT name, status, source, count(*) AS n, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced, "
    "fsum(cost_usd) AS usd FROM scores WHERE run_id = ? AND score_id NOT IN "
    "(SELECT supersedes FROM scores WHERE run_id = ? AND supersedes IS NOT NULL) "
    "GROUP BY name, status, source ORDER BY name, status, source"
)


@dataclass(frozen=True)
class Run(Shown):
    """A run, with its scores at hand; in a notebook it shows its numbers and a forest plot.

    Args:
        store: Where it is kept; scores can be read while it is open.
        record: The run as the catalog has it.
    """

    store: Store
    record: RunRecord

    @classmethod
    def find(cls, store: Store, ref: str) -> Run:
        """A run that is already in a store, by its name (the newest of that name) or id.

        Raises:
            NotFoundError: There is none.
        """
        return cls(store, store.catalog.runs.find(ref))

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


def evaluate(
    store: Store,
    *,
    judges: Sequence[JudgeSource] = (),
    task: TaskSource | None = None,
    where: str | None = None,
    agent: str | None = None,
    dataset: DatasetSource | None = None,
    split: str | None = None,
    repeats: int | None = None,
    timeout: float | None = None,
    expected_from: str | None = None,
    against: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    samples: int | None = None,
    resume: str | None = None,
    into: str | None = None,
    only_unscored: bool = False,
    budget: Budget | None = None,
    concurrency: int = 8,
    cache: bool = True,
    trace_judges: bool = True,
    progress: bool = True,
) -> Run:
    """Judge stored traces, or those of a task that is tried now, and keep the scores as a run.

    A judge that fails costs its score, which then says why; the run goes on. A run that was killed can be resumed: what
    is already scored is not judged again.

    Args:
        store: An open store.
        judges: Specs (`"latency?max=2"`), judges, or functions that take a `Subject`.
        task: What is tried with the input of each case: a function, sync or async, or `package.module:function`. An
            input that is a mapping is given by keywords where the task takes them. A try that raises or takes too long
            is an outcome, and a trace like any other.
        where: A condition in SQL over the view `traces`; all traces when not given.
        agent: `name` for all versions of an agent, or `name@version`; with a task, whose traces its tries are.
        dataset: Cases: `NAME`, `NAME@VERSION` or `NAME@VERSION:SPLIT` of the store's datasets, a JSONL, CSV or Parquet
            file, or mappings with `case_id`, `input`, `expected`, `tags`. Only traces that tried one of them are
            judged, matched by case id, else by equal input.
        split: Only the dataset's cases of this split.
        repeats: How many times a task tries each case; once when not given.
        timeout: How long a try of a task may take, in seconds.
        expected_from: A run whose scores' metadata are the expectations, by trace, else by case. It also names the case
            and the repeat of a trace that does not name them itself.
        against: For judges that compare two tries at a case: a run, or an agent (`name`, `name@version`), whose traces
            are the other ones.
        name: What to call the run; made from the time when not given.
        limit: The most traces to judge, the newest ones; with a task, the most cases to try, the first ones.
        samples: How many independent verdicts each judge that asks a model gives on each subject; 1 when not given.
        resume: A run to go on with, with the traces, cases and judges that it began with. Its judges need only be given
            where they cannot be loaded by name.
        into: A run whose traces these judges judge too; scores by the same names are replaced.
        only_unscored: Whether to leave out what any run has scored already with the same judge.
        budget: What may be spent on models. When it is used up, what is left has the status `budget_exceeded`, and
            resuming with a new budget goes on there.
        concurrency: The most judges that wait for an answer at once, and the most tries of a task.
        cache: Whether answers of models are kept in the store and used again.
        trace_judges: Whether what judges ask models is recorded as traces, linked to what is judged.
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
    asked = Asked(where, agent, dataset, split, expected_from, against, name, limit, samples)
    given = [
        key for key, value in (*vars(asked).items(), ("repeats", repeats), ("timeout", timeout)) if value is not None
    ]
    if resume is not None or into is not None:
        if given or (resume is not None and into is not None):
            raise UsageError(
                f"a resumed run keeps what it began with; leave out {', '.join(given) or 'resume or into'}"
            )
        if into is not None and task is not None:
            raise UsageError("a task is tried in a run of its own; leave out task or into")
    if resume is not None:
        record = store.catalog.runs.find(resume)
        _try(store, record, tried_before(record, task), concurrency=concurrency, progress=progress)
        plan = resumed(store, record.id, loaded)
    elif into is not None:
        plan = extended(store, into, loaded)
    elif task is not None:
        how = trying(task, repeats=repeats, timeout=timeout, agent=agent)
        record = begun_trying(store, loaded, asked, how, concurrency=concurrency)
        _try(store, record, how, concurrency=concurrency, progress=progress)
        plan = resumed(store, record.id, loaded)
    elif repeats is not None or timeout is not None:
        raise UsageError("repeats and timeout are for a task that is tried; name one, or leave them out")
    else:
        plan = begun(store, planned(store, loaded, asked), name, concurrency)
    lent = Desk(
        cache=Cache(store.location / "judge-cache.db") if cache else None,
        budget=Budget() if budget is None else budget,
        traces=_traces(store, plan) if trace_judges else None,
        session=partial(_session, store),
    )
    return _carried_out(store, plan, lent, concurrency=concurrency, progress=progress, anywhere=only_unscored)


def judge_some(
    store: Store, plan: Plan, ids: Sequence[str], *, budget: Budget, concurrency: int = 8, cache: bool = True
) -> Run:
    """Judge those of a begun run's traces that are named and not scored yet; the others can be judged later.

    Args:
        store: An open store.
        plan: What the run is going to judge.
        ids: Which of its traces.
        budget: What may be spent on models.
        concurrency: The most judges that wait for an answer at once.
        cache: Whether answers of models are kept in the store and used again.
    """
    some = replace(plan, ids=list(ids), makers=None, new=False)
    lent = Desk(
        cache=Cache(store.location / "judge-cache.db") if cache else None,
        budget=budget,
        traces=_traces(store, some),
        session=partial(_session, store),
    )
    return _carried_out(store, some, lent, concurrency=concurrency, progress=False, anywhere=False)


def estimate(
    store: Store,
    *,
    judges: Sequence[JudgeSource] = (),
    task: TaskSource | None = None,
    where: str | None = None,
    agent: str | None = None,
    dataset: DatasetSource | None = None,
    split: str | None = None,
    expected_from: str | None = None,
    against: str | None = None,
    limit: int | None = None,
    samples: int | None = None,
    repeats: int | None = None,
) -> list[Forecast]:
    """What an evaluation would ask of models, and about what that would cost; nothing is asked and no run begun.

    Args:
        store: An open store.
        judges: As for `evaluate`, and so the rest.
        task: What is going to be tried; it is not called. Its judging is foretold from the dataset's cases alone, and
            what it asks of models itself is in no forecast.
        where: A condition in SQL over the view `traces`.
        agent: An agent, or a version of it.
        dataset: Cases.
        split: Only those of this split.
        expected_from: A run whose scores' metadata are the expectations.
        against: For judges that compare.
        limit: The most traces.
        samples: Verdicts on each subject.
        repeats: How often the task tries each case.

    Returns:
        One forecast for each judge, in their order.

    Raises:
        UsageError: As for `evaluate`.
        NotFoundError: No trace matches.
    """
    asked = Asked(where, agent, dataset, split, expected_from, against, None, limit, samples)
    loaded = [load(judge) for judge in judges]
    if task is not None:
        how = trying(task, repeats=repeats, agent=agent)
        rows, samples = to_try(store, loaded, asked)
        return forecast_of_cases(loaded, rows, repeats=how.repeats, samples=samples)
    plan = planned(store, loaded, asked)
    return forecast(plan.targets(store), plan.ids, plan.samples)


def scores_of(store: Store, run_id: str) -> list[dict[str, object]]:
    """The scores of a run as rows of the table `scores`, those that were superseded left out, in a fixed order."""
    return standing(store, run_id, "*")


def finish(
    store: Store,
    run_id: str,
    makers: Makers,
    more: Mapping[str, object],
    *,
    known: Mapping[str, Mapping[str, object]] | None = None,
) -> RunRecord:
    """Sum a run's scores up and mark it finished.

    Args:
        store: The store.
        run_id: The run.
        makers: Who made its traces.
        more: What else its summary says.
        known: What its traces share, where that was found out already (see `clustering.shared_by`).
    """
    from tracekit_evaluators import _lone  # noqa: PLC0415 - the façade stays light
    from tracekit_evaluators.clustering import Facts, facts_of  # noqa: PLC0415
    from tracekit_evaluators.summary import Summing  # noqa: PLC0415

    # Its scores are in the lake; what else waits to be settled, such as the traces of judging, can wait for its reader.
    counts = store.sql(_COUNTS, [run_id, run_id], settle=False).dicts()
    by_name: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for row in counts:
        by_name[str(row["name"])] += cast("int", row["n"])
        statuses[str(row["status"])] += cast("int", row["n"])
    many = any(n > _lone.MANY for n in by_name.values())
    traces = _lone.Traces.of(store, run_id) if many else None
    facts: Facts | None = None
    metrics: dict[str, dict[str, object] | None] = {}
    for name, n in by_name.items():
        large = traces is not None and n > _lone.MANY
        metrics[name] = _lone.metric_of_many(store, run_id, name, traces) if large and traces is not None else None
    if None in metrics.values():
        facts = facts_of(store, store.catalog.runs.find(run_id), traces=known)
    summing = Summing(facts)
    for name, metric in sorted(metrics.items()):
        if metric is None:
            summing.add(standing(store, run_id, _SUMMED, name=name, settle=False))
        else:
            summing.put(name, metric)
    summary = {
        "scores": by_name.total(),
        "statuses": dict(sorted(statuses.items())),
        "agent_versions": makers.counts,
        **_spent(counts),
        **more,
    }
    return store.catalog.runs.update(
        run_id, status="finished", metrics=summing.metrics(), summary=summary, agent_version=makers.version
    )


def _spent(counts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What the models that judged took; nothing where none did, unknown where one does not say."""
    asked = [row for row in counts if row["source"] == "llm"]
    if not asked:
        return {}
    known = all(row["unpriced"] == 0 for row in asked)
    return {"judge_cost_usd": math.fsum(cast("float", row["usd"] or 0.0) for row in asked) if known else None}


def _try(store: Store, record: RunRecord, how: Trying | None, *, concurrency: int, progress: bool) -> None:
    """Try what a run's task has not tried yet; nothing where the run judges stored traces."""
    from tracekit_collector.terminal import progress as bar  # noqa: PLC0415 - the façade stays light

    if how is None:
        return
    record = store.catalog.runs.update(record.id, status="running")
    try:
        with ExitStack() as shown:
            total = len(kept(store.artifacts, str(record.selection["dataset"])).splitlines()) * how.repeats
            advance = shown.enter_context(bar(f"trying {record.name}", total)) if progress else _silent
            _blocking(lambda: try_all(store, record, how, concurrency=concurrency, advance=advance))
    except BaseException:
        store.catalog.runs.update(record.id, status="failed")
        raise


def _session(store: Store, session_id: str) -> list[Trace]:
    """The traces of a session, in order; of a very long one the first 200."""
    query = "SELECT trace_id FROM traces WHERE session_id = ? ORDER BY start_ns, trace_id LIMIT 200"
    found = store.sql(query, [session_id], settle=False).fetchall()
    return list(store.traces([str(row[0]) for row in found]))


def _traces(store: Store, plan: Plan) -> JudgeTraces | None:
    asking = any(judge.declared.source == "llm" for judge in plan.judges)
    return JudgeTraces(store.inbox, plan.record.id) if asking and plan.record is not None else None


def _carried_out(store: Store, plan: Plan, lent: Desk, *, concurrency: int, progress: bool, anywhere: bool) -> Run:
    from tracekit_collector.terminal import progress as bar  # noqa: PLC0415 - the façade stays light
    from tracekit_evaluators._aside import Aside  # noqa: PLC0415 - as above

    record = plan.run
    began = time.monotonic()
    done, earlier = done_before(store, plan, anywhere=anywhere)
    writer = ScoreWriter(store, record.id, earlier)
    targets = plan.targets(store)
    try:
        with desk(lent), Aside(store, plan.ids if plan.new else None) as aside, ExitStack() as shown:
            total = targets.count(plan.ids) + sum(judge.of_a_set for judge in plan.judges)
            advance = shown.enter_context(bar(f"judging {record.name}", total)) if progress else _silent
            pace = Pace(concurrency, advance, plan.samples)
            judge_sets(store, plan, done, earlier, writer, advance)
            _blocking(lambda: judge_all(aside.beside(targets.of(plan.ids)), plan.judges, done, writer, pace))
        writer.flush()
    except BaseException:
        _keep_what_is_there(store, writer, record.id)
        raise
    finally:
        for each in (lent.cache, lent.traces):
            if each is not None:
                each.close()
    before = record.summary.get("seconds")
    seconds = time.monotonic() - began + (before if isinstance(before, (int, float)) else 0)
    more: dict[str, object] = {"traces": len(plan.ids), "seconds": round(seconds, 3)}
    if lent.budget is not None and lent.budget.requests:
        more["asked"] = lent.budget.summary()
    made = plan.makers or makers(store, plan.ids)
    return Run(store, finish(store, record.id, made, more, known=aside.traces))


def _keep_what_is_there(store: Store, writer: ScoreWriter, run_id: str) -> None:
    try:
        writer.flush()
    finally:
        store.catalog.runs.update(run_id, status="failed")


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
