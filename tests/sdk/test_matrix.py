"""Every callable that goes on after its function has returned, by every way to end: as undecorated, and the tree."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tracekit
from tracekit.testing import Recorder

Log = list[object]
PROBLEM = ValueError("as it is")


def same(value: Any) -> Any:
    return value


def note(log: Log, what: str) -> None:
    """A line in the log, and a span that shows in whose code it was written."""
    with tracekit.span(what):
        log.append(what)


def numbers(log: Log, fail: bool) -> Iterator[int]:
    try:
        note(log, "body")
        yield 1
        if fail:
            raise PROBLEM
        yield 2
    finally:
        log.append("out")


async def async_numbers(log: Log, fail: bool) -> AsyncIterator[int]:
    try:
        note(log, "body")
        yield 1
        await asyncio.sleep(0)
        if fail:
            raise PROBLEM
        yield 2
    finally:
        log.append("out")


async def later(log: Log, fail: bool) -> int:
    note(log, "body")
    await asyncio.sleep(0)
    if fail:
        raise PROBLEM
    return 3


class ResponseStream:
    """What clients give for a streamed response: iterable by a generator of its own, closable, with facts besides."""

    def __init__(self, log: Log, fail: bool) -> None:
        self._items = numbers(log, fail)
        self.status_code = 200

    def __iter__(self) -> Iterator[int]:
        yield from self._items

    def __next__(self) -> int:
        return next(self._items)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._items.close()


def work_of(make: Callable[..., Any]) -> Any:
    """A plain function that returns what another makes."""

    def work(log: Log, fail: bool) -> Any:
        return make(log, fail)

    return work


# Each maker gives the function to call, undecorated or decorated.
def returns_generator(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(numbers))


def returns_response_stream(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(ResponseStream))


def returns_map(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(lambda log, fail: map(same, numbers(log, fail))))


def awaits_a_generator(wrap: Callable[[Any], Any]) -> Any:
    async def work(log: Log, fail: bool) -> Any:
        return numbers(log, fail)

    decorated = wrap(work)
    return lambda log, fail: asyncio.run(decorated(log, fail))


def returns_async_generator(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(async_numbers))


def returns_coroutine(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(later))


def returns_task(wrap: Callable[[Any], Any]) -> Any:
    return wrap(work_of(lambda log, fail: asyncio.get_running_loop().create_task(later(log, fail))))


def context_manager(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    @contextlib.contextmanager
    def work(log: Log, fail: bool) -> Iterator[int]:
        note(log, "body")
        try:
            yield 1
        finally:
            log.append("out")

    return work


def async_context_manager(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    @contextlib.asynccontextmanager
    async def work(log: Log, fail: bool) -> AsyncIterator[int]:
        note(log, "body")
        try:
            yield 1
        finally:
            log.append("out")

    return work


def consume(stream: Any, log: Log, fail: bool) -> object:
    return list(stream)


def close_early(stream: Any, log: Log, fail: bool) -> object:
    first = next(stream)
    note(log, "outside")
    return [first, stream.close() if hasattr(stream, "close") else None]


def drop_early(stream: Any, log: Log, fail: bool) -> object:
    return next(stream)


def never(stream: Any, log: Log, fail: bool) -> object:
    return None


def thread_hop(stream: Any, log: Log, fail: bool) -> object:
    first = next(stream)
    with ThreadPoolExecutor(1) as pool:
        return [first, pool.submit(list, stream).result()]


async def consume_async(stream: Any, log: Log) -> object:
    return [item async for item in stream]


async def close_async(stream: Any, log: Log) -> object:
    first = await stream.__anext__()
    note(log, "outside")
    return [first, await stream.aclose()]


async def drop_async(stream: Any, log: Log) -> object:
    first = await stream.__anext__()
    del stream
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    return first


async def cancel_async(stream: Any, log: Log) -> object:
    task = asyncio.create_task(consume_async(stream, log))
    await asyncio.sleep(0)
    task.cancel("stop")
    return await task


async def await_it(waiting: Any, log: Log) -> object:
    note(log, "outside")
    return await waiting


async def await_in_a_task(waiting: Any, log: Log) -> object:
    return await asyncio.create_task(waiting) if asyncio.iscoroutine(waiting) else await waiting


async def cancel_it(waiting: Any, log: Log) -> object:
    task = asyncio.create_task(waiting) if asyncio.iscoroutine(waiting) else waiting
    await asyncio.sleep(0)
    task.cancel("stop")
    return await task


SYNC = (returns_generator, returns_response_stream, returns_map, awaits_a_generator)
SYNC_OUTCOMES: dict[str, tuple[Any, bool, str]] = {
    "return": (consume, False, "work\n  body"),
    "raise": (consume, True, "work !ValueError\n  body"),
    "early close": (close_early, False, "work\n  body\noutside"),
    "dropped": (drop_early, False, "work\n  body"),
    "never consumed": (never, False, "work"),
    "thread hop": (thread_hop, False, "work\n  body"),
}
ASYNC_OUTCOMES: dict[str, tuple[Any, Any, bool, str]] = {
    "async stream: return": (returns_async_generator, consume_async, False, "work\n  body"),
    "async stream: raise": (returns_async_generator, consume_async, True, "work !ValueError\n  body"),
    "async stream: early close": (returns_async_generator, close_async, False, "work\n  body\noutside"),
    "async stream: dropped": (returns_async_generator, drop_async, False, "work\n  body"),
    "async stream: cancel": (returns_async_generator, cancel_async, False, "work\n  body"),
    "coroutine: return": (returns_coroutine, await_it, False, "work\n  body\noutside"),
    "coroutine: raise": (returns_coroutine, await_it, True, "work !ValueError\n  body\noutside"),
    "coroutine: in a task": (returns_coroutine, await_in_a_task, False, "work\n  body"),
    "coroutine: cancel": (returns_coroutine, cancel_it, False, "work\n  body"),
    "task: return": (returns_task, await_it, False, "work\n  body\noutside"),
    "task: raise": (returns_task, await_it, True, "work !ValueError\n  body\noutside"),
    "task: cancel": (returns_task, cancel_it, False, "work\n  body"),
}


def outcome(run: Callable[[], object], log: Log) -> Log:
    """What a caller sees: the value, or the exception by identity, and what the body noted."""
    try:
        log.append(("returned", run()))
    except BaseException as error:
        log.append(("raised", error if error is PROBLEM else (type(error), error.args)))
    return log


def settled() -> None:
    gc.collect()
    assert tracekit.trace_id() is None


@pytest.mark.parametrize("make", SYNC, ids=lambda make: make.__name__)
@pytest.mark.parametrize("how", SYNC_OUTCOMES)
def test_streams(recorder: Recorder, make: Any, how: str) -> None:
    drive, fail, tree = SYNC_OUTCOMES[how]

    def run(wrap: Any) -> Log:
        log: Log = []
        return outcome(lambda: drive(make(wrap)(log, fail), log, fail), log)

    plain = run(same)
    settled()
    before = len(recorder.spans)
    decorated = run(tracekit.step(kind="chain"))
    settled()
    assert plain == decorated
    assert "\n".join(recorder.tree().splitlines()[before:]) == tree
    span = recorder.find(step="chain")
    is_partial = how in {"dropped", "never consumed", "early close"}
    assert span.attributes.get("tracekit.output.partial") is (True if is_partial else None)
    assert span.output == {"return": "[1, 2]", "thread hop": "[1, 2]", "never consumed": None}.get(how, "[1]")


@pytest.mark.parametrize("how", ASYNC_OUTCOMES)
def test_async_streams_and_awaitables(recorder: Recorder, how: str, caplog: pytest.LogCaptureFixture) -> None:
    make, drive, fail, tree = ASYNC_OUTCOMES[how]

    def run(wrap: Any) -> Log:
        log: Log = []

        async def main() -> object:
            return await drive(make(wrap)(log, fail), log)

        return outcome(lambda: asyncio.run(main()), log)

    plain = run(same)
    settled()
    before = len(recorder.spans)
    decorated = run(tracekit.step(kind="chain"))
    settled()
    assert plain == decorated
    assert "\n".join(recorder.tree().splitlines()[before:]) == tree
    span = recorder.find(step="chain")
    assert span.attributes.get("tracekit.cancelled") is (True if "cancel" in how else None)
    if how.endswith(("return", "in a task")):
        assert span.output == ("[1, 2]" if how.startswith("async stream") else "3")
    assert [record.message for record in caplog.records] == []


@pytest.mark.parametrize("inside", ["return", "raise", "suppressed"])
@pytest.mark.parametrize("make", [context_manager, async_context_manager], ids=lambda make: make.__name__)
def test_context_managers(recorder: Recorder, make: Any, inside: str) -> None:
    async def block(work: Any, log: Log) -> object:
        manager = work(log, False)
        if make is context_manager:
            with manager as value:
                note(log, "inside")
                if inside == "raise":
                    raise PROBLEM
        else:
            async with manager as value:
                note(log, "inside")
                if inside == "raise":
                    raise PROBLEM
        return value

    def run(wrap: Any) -> Log:
        log: Log = []
        return outcome(lambda: asyncio.run(block(make(wrap), log)), log)

    plain = run(same)
    before = len(recorder.spans)
    decorated = run(tracekit.step(kind="chain"))
    assert plain == decorated
    failed = " !ValueError" if inside == "raise" else ""
    assert "\n".join(recorder.tree().splitlines()[before:]) == f"work{failed}\n  body\n  inside"
    settled()


def test_a_context_manager_that_swallows_an_error_has_not_failed_and_works_as_a_decorator(recorder: Recorder) -> None:
    @tracekit.step
    @contextlib.contextmanager
    def quiet(name: str) -> Iterator[str]:
        with contextlib.suppress(KeyError):
            yield name

    @quiet("again")
    def look() -> None:
        raise KeyError("x")

    look()
    look()
    assert [(span.name, span.status, span.input) for span in recorder.spans] == [
        ("quiet", "unset", '{"name": "again"}'),
        ("quiet", "unset", '{"name": "again"}'),
    ]
    assert isinstance(quiet("x"), contextlib.AbstractContextManager)
    assert len(recorder.spans) == 2  # it has not been entered


def test_a_stream_behaves_as_the_object_that_it_is(recorder: Recorder) -> None:
    work = returns_response_stream(tracekit.llm)
    with work([], False) as stream:
        assert isinstance(stream, ResponseStream)
        assert stream.status_code == 200
        stream.status_code = 201
        assert list(stream) == [1, 2]
        assert stream.status_code == 201
    generator = returns_generator(tracekit.step)([], False)
    assert isinstance(generator, types.GeneratorType)
    assert inspect.isgenerator(generator)
    assert inspect.getgeneratorstate(generator) == "GEN_CREATED"
    assert next(generator) == 1
    assert generator.send(None) == 2
    with pytest.raises(StopIteration):
        next(generator)
    assert [span.output for span in recorder.spans if span.step in {"llm", "span"} and span.output] == [
        "[1, 2]",
        "[1, 2]",
    ]


def test_a_generator_that_somebody_else_keeps_goes_on_after_the_stand_in_is_dropped(recorder: Recorder) -> None:
    kept = numbers([], False)

    @tracekit.step
    def look() -> Iterator[int]:
        return kept

    assert next(look()) == 1
    assert next(look()) == 2


@pytest.mark.parametrize(
    "open_it", [lambda path: path.open(encoding="utf-8"), lambda path: iter(())], ids=["file", "none"]
)
def test_files_are_returned_as_they_are(recorder: Recorder, tmp_path, open_it) -> None:
    path = tmp_path / "lines"
    path.write_text("a\nb\n", encoding="utf-8")
    opened = open_it(path)

    @tracekit.step
    def look() -> Any:
        return opened

    returned = look()
    assert (returned is opened) == hasattr(opened, "readline")
    if hasattr(opened, "close"):
        opened.close()


def test_a_task_that_fails_unseen_is_told_of_as_ever(recorder: Recorder) -> None:
    told: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))
        returns_task(tracekit.tool)([], True)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()

    asyncio.run(main())
    assert told == ["Task exception was never retrieved"]
    assert recorder.find(step="tool").error == "ValueError"


def test_a_coroutine_that_is_never_awaited_warns_once(recorder: Recorder) -> None:
    def forget() -> None:
        returns_coroutine(tracekit.tool)([], False)
        gc.collect()

    with pytest.warns(RuntimeWarning, match="coroutine 'later' was never awaited") as warned:
        forget()
    assert len(warned) == 1
    warned.clear()  # the warning has the coroutine
    assert recorder.find(step="tool").attributes["tracekit.output.partial"] is True


def test_a_concurrent_future_is_followed(recorder: Recorder) -> None:
    with ThreadPoolExecutor(1) as pool:

        @tracekit.tool
        def begin(value: int) -> Any:
            return pool.submit(same, value)

        assert begin(3).result() == 3
    assert recorder.spans[0].output == "3"


def test_the_time_to_the_first_chunk_counts_from_the_call(fresh, script, tmp_path, stored) -> None:
    script(
        """
        import time
        import tracekit
        tracekit.init(store="s")

        @tracekit.llm(model="m")
        def ask():
            def chunks():
                time.sleep(0.05)
                yield "a"
                yield "b"
            return chunks()

        assert "".join(ask()) == "ab"
        left_open = iter(ask())
        next(left_open)
        """
    )
    first, second = (stored.attributes(span) for span in stored.spans(tmp_path / "s"))
    assert first["output.value"] == "ab"
    assert 0.05 <= first["gen_ai.response.time_to_first_chunk"] < 5
    assert (second["output.value"], second["tracekit.output.partial"]) == ("a", True)
