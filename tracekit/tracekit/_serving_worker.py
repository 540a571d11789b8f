"""Runs a served agent inside its own environment, and answers the server's requests over a socket.

    python -m tracekit._serving_worker --fd 3 --entry module:callable --folder source --threads 32

Only the standard library and the SDK are needed here. Many requests are answered at once: coroutines on one loop,
plain functions on threads that are kept. What the agent's code traces belongs to the server's span.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextvars
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import tracekit
from tracekit import attributes as names
from tracekit._capture import plain
from tracekit._identity import with_facts
from tracekit._runtime import runtime
from tracekit._serving_frames import FORMAT, Frames, Kind, frame

if TYPE_CHECKING:
    from tracekit.entry_point import Entry

WINDOW = 64
"""How many chunks of a stream may be on their way to a client that reads slowly."""

_END_SECONDS = 5.0
_DELIVER_SECONDS = 0.1
"""How long the spans of an answered request may wait to be delivered with those of others: a kill costs no more."""

_MESSAGE_LIMIT = 2_000

_on_threads: contextvars.ContextVar[list[concurrent.futures.Future[Any]] | None] = contextvars.ContextVar(
    "tracekit-on-threads", default=None
)


class _Threads(concurrent.futures.ThreadPoolExecutor):
    """Threads that tell which work belongs to which request, since work on a thread cannot be cancelled."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        held = _on_threads.get()
        if held is not None:
            held.append(future)
        return future


class Worker(asyncio.Protocol):
    """The worker's end of the socket.

    Args:
        entry: The agent.
        ended: Set when the server says stop, or is gone.
    """

    def __init__(self, entry: Entry, ended: asyncio.Event) -> None:
        self._entry = entry
        self._ended = ended
        self._frames = Frames()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room: dict[int, asyncio.Semaphore] = {}
        self._transport: Any = None
        self._delivering: asyncio.TimerHandle | None = None
        self._undelivered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = transport
        ready = {"format": FORMAT, "pid": os.getpid(), "signature": _signature(self._entry)}
        self._say(Kind.READY, 0, json.dumps(ready).encode())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """The server is gone, so nobody waits for anything."""
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        for kind, number, payload in self._frames.feed(data):
            if kind == Kind.CALL:
                self._tasks[number] = asyncio.get_running_loop().create_task(self._answer(number, payload))
            elif kind == Kind.CANCEL and number in self._tasks:
                self._give_up(number, self._tasks[number])
            elif kind == Kind.MORE and number in self._room:
                for _ in range(int(payload)):
                    self._room[number].release()
            elif kind == Kind.STOP:
                self._ended.set()

    async def finish(self) -> None:
        """Cancel what is still being answered."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        self._transport.close()

    def _give_up(self, number: int, task: asyncio.Task[None]) -> None:
        def over(_: object) -> None:
            if self._tasks.pop(number, None) is not None:  # cancelled before its first step, so it has said nothing
                self._say(Kind.FAILED, number, _failure(asyncio.CancelledError()))

        task.add_done_callback(over)
        task.cancel()

    async def _answer(self, number: int, payload: bytes) -> None:
        held: list[concurrent.futures.Future[Any]] = []
        _on_threads.set(held)
        try:
            last = await self._answered(number, json.loads(payload))
        except BaseException as error:  # noqa: BLE001 - an agent may raise what it likes; its request has failed
            last = Kind.FAILED, _failure(error)
            await _left(held)
        self._tasks.pop(number, None)
        self._room.pop(number, None)
        self._say(last[0], number, last[1])
        self._deliver()

    def _deliver(self) -> None:
        """Have spans delivered: at once, or with those of other requests where that was done a moment ago."""
        if self._delivering is not None:
            self._undelivered = True
            return
        for line in list(runtime.lines.values()):
            line.batch.flush(0.0)  # wakes the thread that delivers, and waits for nothing
        self._delivering = asyncio.get_running_loop().call_later(_DELIVER_SECONDS, self._deliver_again)

    def _deliver_again(self) -> None:
        self._delivering = None
        if self._undelivered:
            self._undelivered = False
            self._deliver()

    async def _answered(self, number: int, call: dict[str, Any]) -> tuple[Kind, bytes]:
        otel_context.attach(_context(call))
        if not call.get("stream"):
            return Kind.RESULT, encoded(await self._entry.call(call["input"]))
        room = self._room[number] = asyncio.Semaphore(WINDOW)
        stream = self._entry.stream(call["input"])
        try:
            async for chunk in stream:
                await room.acquire()
                self._say(Kind.CHUNK, number, encoded(chunk))
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        return Kind.END, b""

    def _say(self, kind: int, number: int, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame(kind, number, payload))


def encoded(value: object) -> bytes:
    r"""What an agent gave as JSON; objects as their fields, numbers that JSON lacks as text.

    Example:
        >>> encoded({"answer": "grün", "share": float("inf")})
        b'{"answer":"gr\xc3\xbcn","share":"Infinity"}'
    """
    try:
        return _dumped(value)
    except (TypeError, ValueError, RecursionError):
        return _dumped(plain(value, limit=None))


def main(arguments: list[str] | None = None) -> int:
    """Load the agent, say so, and answer until the server says stop."""
    parser = argparse.ArgumentParser(prog="python -m tracekit._serving_worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--entry", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    chosen = parser.parse_args(arguments)
    os.dup2(2, 1)  # what the agent prints is the server's log, not its answer
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _left_to_the_server)  # not ignored: programs that the agent starts would ignore it too
    connection = socket.socket(fileno=chosen.fd)
    try:
        from tracekit.entry_point import load  # noqa: PLC0415 - what it raises is told to the server

        entry = load(chosen.entry, folder=chosen.folder)
        _begin_tracing()
    except BaseException as error:  # noqa: BLE001 - the agent's module may raise, or exit
        connection.sendall(frame(Kind.FAILED, 0, _failure(error)))
        return 1
    asyncio.run(_serve(connection, entry, chosen.threads))
    end = threading.Timer(_END_SECONDS, os._exit, (0,))  # a thread of the agent's may never end
    end.daemon = True
    end.start()
    tracekit.shutdown(_END_SECONDS - 1)
    return 0


async def _serve(connection: socket.socket, entry: Entry, threads: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(_Threads(threads, thread_name_prefix="agent"))
    _, worker = await loop.create_unix_connection(lambda: Worker(entry, ended), sock=connection)
    await ended.wait()
    await worker.finish()
    loop.set_default_executor(_Threads(1))  # the loop's end would wait for threads that may never end


def _begin_tracing() -> None:
    """Start tracing now rather than in the first request; the version that is served is who answers."""
    runtime.start()
    served = {
        name: os.environ[variable]
        for name, variable in ((names.AGENT_NAME, "TRACEKIT_AGENT"), (names.AGENT_VERSION, "TRACEKIT_AGENT_VERSION"))
        if os.environ.get(variable)
    }
    runtime.identity = {**runtime.identity, **served}  # the agent's module may have called `init` with its own
    if runtime.relay is not None:
        runtime.relay.extra = runtime.identity


def _context(call: dict[str, Any]) -> Context:
    """What the agent's code runs in: the server's span, and whose session it is."""
    context = Context()
    parts = (call.get("traceparent") or "").split("-")
    if len(parts) == 4:
        flags = TraceFlags(int(parts[3], 16))
        place = SpanContext(int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(NonRecordingSpan(place), context)
    said = call.get("facts")
    return with_facts(context, said, share=runtime.shares()) if said else context


def _signature(entry: Entry) -> object:
    try:
        return entry.signature()
    except Exception:  # noqa: BLE001 - types that have no schema leave the agent without a signature
        traceback.print_exc()
        return None


async def _left(held: list[concurrent.futures.Future[Any]]) -> None:
    """Wait until no thread works for the request any more: until then its place is taken."""
    running = [future for future in held if not future.cancel() and not future.done()]
    if running:
        await asyncio.wait([asyncio.wrap_future(future) for future in running])


def _failure(error: BaseException) -> bytes:
    if not isinstance(error, asyncio.CancelledError):
        traceback.print_exception(error)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - somebody else's exception
        message = "its text cannot be read"
    found = {"type": type(error).__name__, "message": message[:_MESSAGE_LIMIT]}
    return json.dumps(found).encode()


def _left_to_the_server(_number: int, _frame: object) -> None:
    """A signal for the whole process group: the server drains first, and then says stop."""


def _dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


if __name__ == "__main__":
    sys.exit(main())
