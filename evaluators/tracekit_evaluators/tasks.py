"""Tries: an agent runs over the cases of a dataset, each try a trace that names its case, its repeat and its run.

A try that fails or takes too long is an outcome, not a failure of the run. What stands in the store already, of a run
that was stopped, is not tried again.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from opentelemetry import context as otel_context

import tracekit
from tracekit import attributes as names
from tracekit import plugins
from tracekit._identity import Scope
from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators._digest import code_digest
from tracekit_evaluators._recording import recording

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

Task = Callable[..., object]
TaskSource = str | Task
Try = tuple[Mapping[str, object], int]
T = TypeVar("T")
# A try that was stopped from outside has a root too, which says so.
_ENDED = (
    'SELECT case_id, "repeat", trace_id FROM spans WHERE run_id = ? AND parent_span_id IS NULL '
    "AND step = 'task' AND starts_with(name, 'try ') AND NOT contains(attributes, '\"tracekit.cancelled\"') "
    "AND error_type IS DISTINCT FROM 'KeyboardInterrupt' ORDER BY start_ns DESC, trace_id"
)


@dataclass(frozen=True)
class Trying:
    """How a task is tried.

    Args:
        task: Takes a case's input, returns the output; sync or async.
        spec: What names it: `package.module:function`.
        repeats: How many times each case is tried.
        timeout: How long a try may take, in seconds; `None` for as long as it takes.
        agent: Whose traces they are: `name`, or `name@version`; what the process says of itself when `None`.
    """

    task: Task
    spec: str
    repeats: int = 1
    timeout: float | None = None
    agent: str | None = None

    def record(self) -> dict[str, object]:
        """What a run keeps of it."""
        digest = code_digest(self.task)
        told = {"digest": digest, "repeats": self.repeats, "timeout": self.timeout, "agent": self.agent}
        return {"spec": self.spec, **told}


def trying(
    task: TaskSource, *, repeats: int | None = None, timeout: float | None = None, agent: str | None = None
) -> Trying:
    """A task, found and checked.

    Args:
        task: A function, or `package.module:function`.
        repeats: How many times each case is tried; once when not given.
        timeout: How long a try may take, in seconds.
        agent: Whose traces they are.

    Raises:
        UsageError: It is none, or there are fewer repeats than one.
        PluginError: Nothing has that name.
    """
    count = 1 if repeats is None else repeats
    if count < 1:
        raise UsageError(f"repeats must be at least 1, not {count}")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"timeout must be above 0 seconds, not {timeout:g}")
    if isinstance(task, str):
        if ":" not in task:
            raise UsageError(f"a task is named as package.module:function, not {task!r}")
        return Trying(plugins.find("tracekit.judges", task), task, count, timeout, agent)
    if not callable(task):
        raise UsageError(f"a task is a function, or package.module:function, not a {type(task).__name__}")
    owner = task if hasattr(task, "__qualname__") else type(task)
    return Trying(task, f"{owner.__module__}:{owner.__qualname__}", count, timeout, agent)


def tried_before(record: RunRecord, task: TaskSource | None) -> Trying | None:
    """How the task of a run was tried; `None` where the run had none.

    Raises:
        UsageError: The task has changed since, or a run that tried none is given one.
    """
    told = record.selection.get("task")
    if not isinstance(told, Mapping):
        if task is not None:
            raise UsageError(f"the run {record.name} judges stored traces; leave the task out")
        return None
    repeats, timeout, agent = told.get("repeats"), told.get("timeout"), told.get("agent")
    found = trying(
        str(told["spec"]) if task is None else task,
        repeats=repeats if isinstance(repeats, int) else 1,
        timeout=timeout if isinstance(timeout, (int, float)) else None,
        agent=None if agent is None else str(agent),
    )
    if code_digest(found.task) != told.get("digest"):
        raise UsageError(f"the run {record.name} cannot be resumed: its task changed since it began; begin a new run")
    return found


async def try_all(
    store: Store, record: RunRecord, how: Trying, *, concurrency: int, advance: Callable[[int], None]
) -> RunRecord:
    """Try every case as often as the run wants, but what has been tried before.

    Args:
        store: Where the traces go.
        record: The run.
        how: The task, and how it is tried.
        concurrency: The most tries at once.
        advance: Moves a progress bar on.

    Returns:
        The run, with the ids of its traces in its selection.

    Raises:
        UsageError: No try left a trace.
    """
    rows = _rows(store, record)
    done = _ended(store, record.id)
    wanted = [(row, repeat) for repeat in range(how.repeats) for row in rows]
    left = iter([each for each in wanted if (str(each[0]["case_id"]), each[1]) not in done])
    advance(len(done))
    facts = {names.RUN: record.id, **_agent(store, how.agent)}
    with recording(store):
        workers = [asyncio.ensure_future(_work(left, how, facts, advance)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    found = _ended(store, record.id)
    ids = [found[key] for row, repeat in wanted if (key := (str(row["case_id"]), repeat)) in found]
    if not ids:
        raise UsageError("no try left a trace in the store; is tracing switched off inside the task?")
    selection = {**record.selection, "trace_ids": keep(store.artifacts, "\n".join(ids).encode()), "traces": len(ids)}
    selection["tries_without_trace"] = len(wanted) - len(ids)
    return store.catalog.runs.update(record.id, selection=selection, lake_versions=store.versions())


def _rows(store: Store, record: RunRecord) -> list[dict[str, object]]:
    return [json.loads(line) for line in kept(store.artifacts, str(record.selection["dataset"])).splitlines()]


def _ended(store: Store, run_id: str) -> dict[tuple[str, int], str]:
    """The trace of each case and repeat that has been tried to the end."""
    found: dict[tuple[str, int], str] = {}
    for case, repeat, trace_id in store.sql(_ENDED, [run_id]).fetchall():
        found[str(case), repeat if isinstance(repeat, int) else 0] = str(trace_id)
    return found


async def _work(
    left: Iterator[Try], how: Trying, facts: Mapping[str, AttributeValue], advance: Callable[[int], None]
) -> None:
    for row, repeat in left:
        case = str(row["case_id"])
        token = otel_context.attach(otel_context.Context())  # a trace of its own, wherever this is called
        try:
            with Scope(case, {**facts, names.CASE: case, names.REPEAT: repeat}):
                await _one(how, case, row.get("input"))
        finally:
            otel_context.detach(token)
        advance(1)


async def _one(how: Trying, case: str, given: object) -> None:
    try:
        with tracekit.span(f"try {case}", step="task", input=given) as step:
            tracekit.keep()
            step.output = await asyncio.wait_for(_called(how.task, given), how.timeout)
    except (Exception, SystemExit):  # noqa: BLE001 - how the try ended stands in its trace
        return


def _called(task: Task, given: object) -> Awaitable[object]:
    call = _call(task, given)
    if inspect.iscoroutinefunction(task) or inspect.iscoroutinefunction(getattr(task, "__call__", None)):  # noqa: B004 - whether it is async
        return cast("Awaitable[object]", call())
    return _settled(call)


async def _settled(call: Callable[[], object]) -> object:
    found = await _in_thread(call)
    return await found if inspect.isawaitable(found) else found


def _call(task: Task, given: object) -> Callable[[], object]:
    """The call: a mapping by keywords where the task takes them, else the input as the one argument."""
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        try:
            inspect.signature(task).bind(**given)
        except (TypeError, ValueError):
            pass
        else:
            return partial(task, **given)
    return partial(task, given)


async def _in_thread(call: Callable[[], T]) -> T:
    """Run in a thread of its own, which is left behind where nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast("T", result))
        else:
            future.set_exception(error)

    def body() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = context.run(call)
        except StopIteration as error:  # which a future cannot carry
            failed = RuntimeError(f"the task raised StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            return  # the loop is closed: the try was given up

    threading.Thread(target=body, name="tracekit-try", daemon=True).start()
    return await future


def _agent(store: Store, ref: str | None) -> dict[str, AttributeValue]:
    """What spans say of whose they are."""
    if ref is None:
        return {}
    name, at, wanted = ref.partition("@")
    if not at:
        return {names.AGENT_NAME: name}
    try:
        version = store.catalog.agents.resolve(ref)
        label = version.label or version.digest or wanted
    except NotFoundError:
        label = wanted
    return {names.AGENT_NAME: name, names.AGENT_VERSION: label}


def check_inputs(rows: Sequence[Mapping[str, object]]) -> None:
    """See that every case can be tried.

    Raises:
        UsageError: A case has no input, or no id.
    """
    poor = [str(row.get("case_id")) for row in rows if row.get("input") is None]
    if poor:
        raise UsageError(f"a task needs the input of each case, and {len(poor)} have none: {', '.join(poor[:5])}")
