"""Decorating changes nothing that a caller can see: every sort of callable, every way for a call to end."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import pickle
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tracekit
from tracekit.testing import Recorder

Observed = list[object]


class TroubleError(Exception):
    pass


def same(value: Any) -> Any:
    return value


# Each subject is made undecorated and decorated; `wrap` is the decorator or nothing.
def make_function(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    def work(x: int, *, log: Observed, fail: bool = False) -> object:
        log.append("in")
        if fail:
            raise PROBLEM
        return VALUE

    return work


def make_method(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @wrap
        def work(self, x: int, *, log: Observed, fail: bool = False) -> object:
            log.append("in")
            if fail:
                raise PROBLEM
            return VALUE

    return Worker().work


def make_classmethod(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @classmethod
        @wrap
        def work(cls, x: int, *, log: Observed, fail: bool = False) -> object:
            log.append(cls.__name__)
            if fail:
                raise PROBLEM
            return VALUE

    return Worker.work


def make_outer_classmethod(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @wrap
        @classmethod
        def work(cls, x: int, *, log: Observed, fail: bool = False) -> object:
            log.append(cls.__name__)
            if fail:
                raise PROBLEM
            return VALUE

    return Worker.work


def make_staticmethod(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @staticmethod
        @wrap
        def work(x: int, *, log: Observed, fail: bool = False) -> object:
            log.append("in")
            if fail:
                raise PROBLEM
            return VALUE

    return Worker().work


def make_callable_object(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        def __call__(self, x: int, *, log: Observed, fail: bool = False) -> object:
            log.append("in")
            if fail:
                raise PROBLEM
            return VALUE

    return wrap(Worker())


def make_partial(wrap: Callable[[Any], Any]) -> Any:
    return wrap(functools.partial(make_function(same), log=[]))


def make_coroutine(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    async def work(x: int, *, log: Observed, fail: bool = False) -> object:
        log.append("in")
        await asyncio.sleep(0)
        if fail:
            raise PROBLEM
        return VALUE

    return work


def make_async_method(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @wrap
        async def work(self, x: int, *, log: Observed, fail: bool = False) -> object:
            log.append("in")
            await asyncio.sleep(0)
            if fail:
                raise PROBLEM
            return VALUE

    return Worker().work


def make_generator(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    def work(x: int, *, log: Observed, fail: bool = False) -> Iterator[object]:
        log.append("in")
        try:
            for _ in range(x):
                try:
                    log.append(("sent", (yield VALUE)))
                except KeyError as error:
                    log.append(("thrown", error))
            if fail:
                raise PROBLEM
            return VALUE
        finally:
            log.append("out")

    return work


def make_async_generator(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    async def work(x: int, *, log: Observed, fail: bool = False) -> AsyncIterator[object]:
        log.append("in")
        try:
            for _ in range(x):
                await asyncio.sleep(0)
                try:
                    log.append(("sent", (yield VALUE)))
                except KeyError as error:
                    log.append(("thrown", error))
            if fail:
                raise PROBLEM
        finally:
            await asyncio.sleep(0)
            log.append("out")

    return work


VALUE = object()
PROBLEM = TroubleError("as it is")
THROWN = KeyError("from outside")

SYNC = [
    make_function,
    make_method,
    make_classmethod,
    make_outer_classmethod,
    make_staticmethod,
    make_callable_object,
    make_partial,
]
ASYNC = [make_coroutine, make_async_method]


def outcome(run: Callable[[], object], log: Observed) -> Observed:
    """What a caller sees: the value or exception by identity, and what the body noted."""
    try:
        log.append(("returned", run()))
    except BaseException as error:
        log.append(("raised", error if isinstance(error, (TroubleError, KeyError)) else (type(error), error.args)))
    return log


def both(make: Callable[..., Any], drive: Callable[[Any, Observed], object]) -> tuple[Observed, Observed]:
    plain: Observed = []
    decorated: Observed = []
    outcome(lambda: drive(make(same), plain), plain)
    outcome(lambda: drive(make(tracekit.tool), decorated), decorated)
    return plain, decorated


def in_thread(run: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@pytest.mark.parametrize("make", SYNC, ids=lambda make: make.__name__[5:])
@pytest.mark.parametrize("fail", [False, True], ids=["return", "raise"])
@pytest.mark.parametrize("hop", [False, True], ids=["here", "in a thread"])
def test_sync_callables(recorder: Recorder, make, fail: bool, hop: bool) -> None:
    def drive(work: Any, log: Observed) -> object:
        call = functools.partial(work, 2, log=log, fail=fail)
        return in_thread(call) if hop else call()

    plain, decorated = both(make, drive)
    assert plain == decorated
    ends = {False: ["unset"], True: ["error"]}
    assert [span.status for span in recorder.spans] == ends[fail]
    assert recorder.spans[0].parent is None


@pytest.mark.parametrize("make", ASYNC, ids=lambda make: make.__name__[5:])
@pytest.mark.parametrize("fail", [False, True], ids=["return", "raise"])
@pytest.mark.parametrize("hop", [False, True], ids=["here", "in a thread"])
def test_coroutines(recorder: Recorder, make, fail: bool, hop: bool) -> None:
    def drive(work: Any, log: Observed) -> object:
        def call() -> object:
            return asyncio.run(work(2, log=log, fail=fail))

        return in_thread(call) if hop else call()

    plain, decorated = both(make, drive)
    assert plain == decorated
    assert [span.status for span in recorder.spans] == ["error" if fail else "unset"]


@pytest.mark.parametrize("make", ASYNC, ids=lambda make: make.__name__[5:])
def test_a_cancelled_coroutine(recorder: Recorder, make) -> None:
    def drive(work: Any, log: Observed) -> object:
        async def main() -> object:
            task = asyncio.create_task(work(2, log=log))
            await asyncio.sleep(0)
            task.cancel("stop")
            return await task

        return asyncio.run(main())

    plain, decorated = both(make, drive)
    assert plain == decorated
    assert plain[0] == "in"
    assert recorder.spans[0].attributes["tracekit.cancelled"] is True


def test_a_coroutine_that_is_closed_instead_of_awaited_to_its_end(recorder: Recorder) -> None:
    work = make_coroutine(tracekit.tool)
    log: Observed = []
    waiting = work(1, log=log)
    waiting.send(None)
    waiting.close()
    assert log == ["in"]
    assert [(span.name, span.status) for span in recorder.spans] == [("execute_tool work", "unset")]
    assert tracekit.trace_id() is None


def test_a_coroutine_that_is_never_awaited_warns_as_ever_and_records_nothing(recorder: Recorder) -> None:
    work = make_coroutine(tracekit.tool)

    def forget() -> None:
        work(1, log=[])
        gc.collect()

    with pytest.warns(RuntimeWarning, match=r"coroutine '.*work' was never awaited"):
        forget()
    assert recorder.spans == []


GENERATOR_DRIVES: dict[str, Callable[[Any, Observed], object]] = {
    "consumed": lambda work, log: [same(item) for item in work(2, log=log)],
    "raises": lambda work, log: list(work(2, log=log, fail=True)),
    "never begun": lambda work, log: work(2, log=log) and None,
    "send": lambda work, log: _send(work(2, log=log)),
    "throw, handled": lambda work, log: _throw(work(2, log=log), THROWN),
    "throw, not handled": lambda work, log: _throw(work(2, log=log), PROBLEM),
    "closed early": lambda work, log: _close(work(2, log=log)),
    "closed before it began": lambda work, log: work(2, log=log).close(),
    "dropped early": lambda work, log: _drop(work(2, log=log)),
    "return value": lambda work, log: _value(work(0, log=log)),
    "wrong call": lambda work, log: list(work()),
    "thread hop": lambda work, log: _hop(work(2, log=log)),
}


def _send(generator: Any) -> object:
    next(generator)
    return [generator.send("a"), [*generator]]


def _throw(generator: Any, error: BaseException) -> object:
    next(generator)
    return generator.throw(error)


def _close(generator: Any) -> object:
    next(generator)
    return generator.close()


def _drop(generator: Any) -> object:
    next(generator)
    del generator
    gc.collect()
    return None


def _value(generator: Any) -> object:
    def outer() -> Iterator[object]:
        yield (yield from generator)

    return list(outer())


def _hop(generator: Any) -> object:
    first = next(generator)
    return [first, in_thread(lambda: list(generator))]


@pytest.mark.parametrize("drive", GENERATOR_DRIVES)
def test_generators(recorder: Recorder, drive: str) -> None:
    plain, decorated = both(make_generator, GENERATOR_DRIVES[drive])
    assert plain == decorated
    spans = {"never begun": 0, "closed before it began": 0, "wrong call": 0}
    errors = {"raises", "throw, not handled"}
    assert len(recorder.spans) == spans.get(drive, 1)
    if recorder.spans:
        assert (recorder.spans[0].status == "error") == (drive in errors)
        assert ("tracekit.output.partial" in recorder.spans[0].attributes) == (
            drive in {"closed early", "dropped early", "throw, handled"}
        )
    assert tracekit.trace_id() is None


async def _consume(stream: Any) -> object:
    return [item async for item in stream]


async def _async_send(stream: Any) -> object:
    await stream.__anext__()
    return [await stream.asend("a"), [item async for item in stream]]


async def _async_throw(stream: Any, error: BaseException) -> object:
    await stream.__anext__()
    try:
        return await stream.athrow(error)
    finally:
        await stream.aclose()


async def _async_close(stream: Any) -> object:
    await stream.__anext__()
    return await stream.aclose()


async def _async_drop(stream: Any) -> object:
    async for _ in stream:
        break
    del stream
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    return None


async def _async_leave(stream: Any) -> object:
    async for _ in stream:
        break
    KEPT.append(stream)  # still alive when the loop shuts down
    return None


async def _async_cancel(stream: Any) -> object:
    task = asyncio.create_task(_consume(stream))
    await asyncio.sleep(0)
    task.cancel("stop")
    return await task


async def _other_task(stream: Any) -> object:
    first = await stream.__anext__()
    return [first, await asyncio.create_task(_consume(stream))]


KEPT: list[Any] = []

ASYNC_DRIVES: dict[str, Callable[[Any, Observed], Any]] = {
    "consumed": lambda work, log: _consume(work(2, log=log)),
    "raises": lambda work, log: _consume(work(2, log=log, fail=True)),
    "send": lambda work, log: _async_send(work(2, log=log)),
    "throw, handled": lambda work, log: _async_throw(work(2, log=log), THROWN),
    "throw, not handled": lambda work, log: _async_throw(work(2, log=log), PROBLEM),
    "closed early": lambda work, log: _async_close(work(2, log=log)),
    "dropped early": lambda work, log: _async_drop(work(2, log=log)),
    "left to the loop": lambda work, log: _async_leave(work(2, log=log)),
    "cancelled": lambda work, log: _async_cancel(work(2, log=log)),
    "another task": lambda work, log: _other_task(work(2, log=log)),
}


@pytest.mark.parametrize("drive", ASYNC_DRIVES)
def test_async_generators(recorder: Recorder, drive: str, caplog) -> None:
    plain, decorated = both(make_async_generator, lambda work, log: asyncio.run(ASYNC_DRIVES[drive](work, log)))
    KEPT.clear()
    gc.collect()
    assert plain == decorated
    assert [span.name for span in recorder.spans] == ["execute_tool work"]
    assert (recorder.spans[0].status == "error") == (drive in {"raises", "throw, not handled"})
    assert ("tracekit.cancelled" in recorder.spans[0].attributes) == (drive == "cancelled")
    assert [record.message for record in caplog.records] == []
    assert tracekit.trace_id() is None


@pytest.mark.parametrize(
    "make",
    [*SYNC, *ASYNC, make_generator, make_async_generator],
    ids=lambda make: make.__name__[5:],
)
def test_inspection_sees_the_same_function(make) -> None:
    plain, decorated = make(same), make(tracekit.tool)
    assert inspect.signature(plain) == inspect.signature(decorated)
    for question in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert question(plain) == question(decorated)
    if hasattr(plain, "__qualname__"):
        assert plain.__name__ == decorated.__name__
        assert plain.__doc__ == decorated.__doc__
        assert plain.__module__ == decorated.__module__


@tracekit.tool
def at_module_level(x: int) -> int:
    """Doc."""
    return x


def test_a_decorated_function_can_be_pickled_by_name(recorder: Recorder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, at_module_level.__module__, sys.modules.get(__name__) or _this_module())
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


def _this_module() -> Any:
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(at_module_level=at_module_level)
    return module


def test_the_same_exception_comes_out_with_its_own_context(recorder: Recorder) -> None:
    @tracekit.tool
    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise TroubleError("second") from error

    with pytest.raises(TroubleError) as caught:
        fail()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__context__ is caught.value.__cause__
    assert not hasattr(caught.value, "__notes__")


def test_no_warning_comes_from_recording(recorder: Recorder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_function(tracekit.tool)(1, log=[])
        list(make_generator(tracekit.tool)(2, log=[]))
