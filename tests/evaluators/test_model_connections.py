"""How a model's server is reached: connections that are kept, bodies that are packed, proxies, time that is up."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable

import pytest

from tracekit_evaluators.models._http import Wire
from tracekit_evaluators.models._retry import Fault
from tracekit_evaluators.score import TimedOut

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def packed(body: bytes, *more: str) -> bytes:
    head = [b"HTTP/1.1 200 OK", f"content-length: {len(body)}".encode(), *(each.encode() for each in more)]
    return b"\r\n".join([*head, b"", body])


async def question(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(int(length.split(b":")[1]))


def asked(answers: Answers, *, times: int = 1, timeout: float = 10.0) -> list[object]:
    """What a wire gives of a server that answers each connection so, asked again and again."""

    async def go() -> list[object]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answers(reader, writer)
            except asyncio.IncompleteReadError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat?key=1"
        wire = Wire()
        try:
            return [(await wire.post(url, {"a": "ü"}, {}, who="m", timeout=timeout))[2] for _ in range(times)]
        finally:
            await wire.aclose()
            server.close()

    return asyncio.run(go())


def test_one_connection_serves_questions_that_follow_each_other() -> None:
    opened: list[list[bytes]] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append([])
        while True:
            opened[-1].append(await question(reader))
            writer.write(packed(b'{"n": %d}' % len(opened[-1])))

    assert asked(answers, times=3) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [len(each) for each in opened] == [3]
    first = opened[0][0]
    assert first.startswith(b"POST /v1/chat?key=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert first.endswith('\r\n\r\n{"a":"ü"}'.encode())


def test_a_server_that_closes_after_each_answer_is_connected_to_anew() -> None:
    opened: list[int] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(1)
        await question(reader)
        writer.write(packed(b"[]", "connection: close"))

    assert asked(answers, times=2) == [[], []]
    assert len(opened) == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_packed_or_comes_in_pieces_is_read(chunked: bool) -> None:
    body = gzip.compress(json.dumps({"said": "x" * 5000}).encode())

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        if chunked:
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
            pieces = [body[:7], body[7:]]
            writer.write(head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
        else:
            writer.write(packed(body, "content-encoding: gzip"))

    assert asked(answers) == [{"said": "x" * 5000}]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        b"SSH-2.0-x\r\n\r\n",
        packed(b"no", "content-encoding: gzip"),
    ],
)
def test_an_answer_that_breaks_off_or_is_none_is_a_fault_that_may_mend(answer: bytes) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(answer)

    with pytest.raises(Fault) as raised:
        asked(answers)
    assert raised.value.retryable


def test_a_server_that_drips_is_given_up_when_the_time_is_up() -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
        await reader.read()  # until the other side has gone

    with pytest.raises(TimedOut, match=r"m did not answer within 0\.2 s"):
        asked(answers, timeout=0.2)


def test_a_proxy_is_asked_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await question(reader))
        writer.write(packed(b'"by proxy"'))

    async def go() -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answers(reader, writer)
            writer.close()

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        wire = Wire()
        try:
            return (await wire.post("http://model.invalid/v1", {}, {}, who="m", timeout=10))[2]
        finally:
            await wire.aclose()
            proxy.close()

    assert asyncio.run(go()) == "by proxy"
    assert heads[0].startswith(b"POST http://model.invalid/v1 HTTP/1.1\r\n")
