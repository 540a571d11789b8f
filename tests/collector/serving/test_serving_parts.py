"""Frames, questions and answers: the parts of serving that need no server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracekit
from tracekit import _batch
from tracekit._serving_frames import Frames, Kind, frame
from tracekit._serving_worker import Worker, encoded
from tracekit.entry_point import Entry, load
from tracekit_collector.serving.messages import Asked, said
from tracekit_collector.serving.refusals import Refusal
from tracekit_collector.store import Store

Say = Callable[[bytes], Awaitable[None]]
Hear = Callable[[int], Awaitable[list[tuple[int, int, bytes]]]]

CALL = b'{"input": "x", "stream": false}'

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, (1 << 64) - 1), st.binary(max_size=200)), max_size=8)


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_the_same_however_the_bytes_are_cut(frames: list[tuple[int, int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frame(*each) for each in frames)
    reader, found, at, turn = Frames(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == frames


@pytest.mark.parametrize(
    ("schema", "asked"),
    [
        ({}, "two"),
        ({"type": "string"}, "two"),
        ({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"question": {"type": "string"}}}]}, "two"),
        ({"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}, {"q": "two"}),
        (
            {
                "type": "object",
                "required": ["city"],
                "properties": {"city": {"$ref": "#/$defs/City"}, "tone": {"type": "string"}},
                "$defs": {"City": {"type": "string"}},
            },
            {"city": "two"},
        ),
        (
            {"type": "object", "properties": {"messages": {"type": "array"}, "temperature": {"type": "number"}}},
            {
                "messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
                "temperature": 0.5,
            },
        ),
    ],
)
def test_what_an_agent_is_asked_follows_from_its_signature(schema: dict[str, Any], asked: object) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert Asked(schema).input(messages, {"temperature": 0.5, "top_p": 1}) == asked


def test_a_chat_without_a_user_message_asks_nothing() -> None:
    with pytest.raises(Refusal, match="there is none"):
        Asked({}).input([{"role": "system", "content": "be short"}], {})


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("yes", "yes"),
        (None, ""),
        ({"answer": "yes", "sources": [1]}, "yes"),
        ({"messages": [{"type": "human", "content": "?"}, {"type": "ai", "content": "yes"}]}, "yes"),
        ({"choices": [{"message": {"role": "assistant", "content": "yes"}}]}, "yes"),
        ({"role": "assistant", "content": [{"type": "text", "text": "yes"}]}, "yes"),
        ({"verdict": 1}, '{"verdict":1}'),
        ([1, 2], "[1,2]"),
    ],
)
def test_what_a_chat_shows_of_an_output(output: object, text: str) -> None:
    assert said(output) == text


def test_outputs_that_json_lacks_words_for_go_out_all_the_same() -> None:
    assert encoded({"share": float("nan"), "parts": {1}, "text": "\ud800"}) == (
        b'{"share":"NaN","parts":[1],"text":"\\\\ud800"}'
    )


def test_a_call_that_is_given_up_before_it_begins_is_ended_all_the_same(tmp_path: Path) -> None:
    """Both frames come at once where the worker was busy meanwhile; without an end the place would stay taken."""
    (tmp_path / "given_up.py").write_text("async def answer(question: str) -> str:\n    return question\n")
    entry = load("given_up:answer", folder=tmp_path)

    async def told() -> list[tuple[int, int, bytes]]:
        async with worker_of(entry) as (say, hear):
            await say(frame(Kind.CALL, 1, CALL) + frame(Kind.CANCEL, 1) + frame(Kind.CALL, 2, CALL))
            return await hear(3)

    _, *ends = asyncio.run(told())
    assert sorted((kind, number) for kind, number, _ in ends) == [(Kind.RESULT, 2), (Kind.FAILED, 1)]


@pytest.mark.usefixtures("fresh")
def test_spans_of_an_answered_request_do_not_wait_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed later on loses none of them, though its process may deliver as seldom as it likes."""
    monkeypatch.setattr(_batch, "DELAY", 3_600.0)
    tracekit.init(store=tmp_path / "store")
    (tmp_path / "traced.py").write_text(
        "import tracekit\n\n@tracekit.agent\ndef answer(q: str) -> str:\n    return q\n"
    )
    entry = load("traced:answer", folder=tmp_path)

    async def scene() -> None:
        async with worker_of(entry) as (say, hear):
            await say(frame(Kind.CALL, 1, CALL))
            await hear(2)
            with Store.open(tmp_path / "store") as store:
                for _ in range(1_000):
                    if [row["name"] for row in store.sql("SELECT name FROM spans").dicts()] == ["invoke_agent answer"]:
                        return
                    await asyncio.sleep(0.02)
        pytest.fail("the span has not come")

    asyncio.run(scene())


@contextlib.asynccontextmanager
async def worker_of(entry: Entry) -> AsyncIterator[tuple[Say, Hear]]:
    """A worker of this process: how to say something to it, and how to hear so many frames of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop, reader = asyncio.get_running_loop(), Frames()
    transport, _ = await loop.create_unix_connection(lambda: Worker(entry, asyncio.Event()), sock=theirs)

    async def hear(count: int) -> list[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        while len(found) < count:
            found += reader.feed(await asyncio.wait_for(loop.sock_recv(ours, 65_536), 10))
        return found

    try:
        yield lambda data: loop.sock_sendall(ours, data), hear
    finally:
        transport.close()
        ours.close()
