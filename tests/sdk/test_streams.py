"""What generators record, and whose child a span is while code runs here and there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tracekit
from tracekit.testing import Recorder


def test_a_generator_that_ignores_being_closed_fails_as_ever(recorder: Recorder) -> None:
    @tracekit.step
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        generator.close()


def test_a_generators_chunks_are_joined_into_its_output(recorder: Recorder) -> None:
    @tracekit.llm(model="small-1")
    def stream(prompt: str) -> Iterator[str]:
        yield from ("Hel", "lo", "!")

    @tracekit.tool
    def rows() -> Iterator[object]:
        yield {"a": 1}
        yield "text"

    assert "".join(stream("x")) == "Hello!"
    assert list(rows()) == [{"a": 1}, "text"]
    first, second = recorder.spans
    assert first.output == "Hello!"
    assert first.attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "Hello!"}]}]'
    )
    assert second.output == '[{"a": 1}, "text"]'


def test_a_partly_consumed_generator_records_what_had_come(recorder: Recorder) -> None:
    @tracekit.step
    def stream() -> Iterator[str]:
        yield "a"
        yield "b"

    generator = stream()
    next(generator)
    generator.close()
    assert recorder.spans[0].output == "a"
    assert recorder.spans[0].attributes["tracekit.output.partial"] is True


def test_an_endless_generator_records_a_bounded_output(recorder: Recorder) -> None:
    @tracekit.step
    def stream() -> Iterator[str]:
        for _ in range(3_000):
            yield "x" * 100

    assert sum(map(len, stream())) == 300_000
    assert recorder.spans[0].output is not None
    assert len(recorder.spans[0].output) <= 65_536
    assert "…[truncated: " in recorder.spans[0].output


def test_a_generators_span_is_current_in_its_own_code_only(recorder: Recorder) -> None:
    seen: list[str] = []

    def note(where: str) -> None:
        with tracekit.span(where):
            seen.append(where)

    @tracekit.step
    def stream() -> Iterator[int]:
        with tracekit.span("around"):
            note("inside one")
            yield 1
            note("inside two")
            yield 2
        note("inside three")

    with tracekit.span("consumer"):
        for number in stream():
            note(f"outside {number}")
    assert recorder.tree() == (
        "consumer\n  stream\n    around\n      inside one\n      inside two\n    inside three\n  outside 1\n  outside 2"
    )


def test_an_async_generators_span_is_current_in_its_own_code_only(recorder: Recorder) -> None:
    @tracekit.step
    async def stream() -> AsyncIterator[int]:
        for number in (1, 2):
            with tracekit.span(f"inside {number}"):
                await asyncio.sleep(0)
            yield number

    async def main() -> None:
        with tracekit.span("consumer"):
            async for number in stream():
                with tracekit.span(f"outside {number}"):
                    await asyncio.sleep(0)

    asyncio.run(main())
    assert recorder.tree() == "consumer\n  stream\n    inside 1\n    inside 2\n  outside 1\n  outside 2"


def test_concurrent_tasks_do_not_mix_their_trees(recorder: Recorder) -> None:
    @tracekit.tool
    async def look(name: str) -> None:
        await asyncio.sleep(0)

    @tracekit.agent
    async def work(name: str) -> None:
        await asyncio.sleep(0)
        await look(name)

    async def main() -> None:
        await asyncio.gather(*(work(str(number)) for number in range(20)))

    asyncio.run(main())
    by_id = {span.span_id: span for span in recorder.spans}
    children = [span for span in recorder.spans if span.step == "tool"]
    assert len(children) == 20
    for child in children:
        assert child.parent_id is not None
        assert child.input == by_id[child.parent_id].input


def test_recursion_nests(recorder: Recorder) -> None:
    @tracekit.step
    def down(n: int) -> int:
        return n and down(n - 1)

    assert down(3) == 0
    assert recorder.tree() == "down\n  down\n    down\n      down"


def test_threads_of_their_own_begin_traces_of_their_own(recorder: Recorder) -> None:
    @tracekit.tool
    def look() -> None: ...

    with tracekit.span("main"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert recorder.tree() == "main\nexecute_tool look"


@pytest.mark.parametrize("kind", ["coroutine", "iterator"])
def test_without_following_a_function_gives_that_very_object(recorder: Recorder, kind: str) -> None:
    async def later() -> int:
        return 3

    returned: Any = later() if kind == "coroutine" else iter([1, 2])

    @tracekit.tool(stream=False)
    def begin() -> Any:
        return returned

    assert begin() is returned
    assert (asyncio.run(returned) if kind == "coroutine" else list(returned)) == (3 if kind == "coroutine" else [1, 2])
    expected = f'"<coroutine {later.__qualname__}>"' if kind == "coroutine" else '"<list_iterator>"'
    assert [span.output for span in recorder.spans] == [expected]
