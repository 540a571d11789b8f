"""One worker process as the server sees it: its socket, and the calls that it is answering."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import orjson

from tracekit._serving_frames import FORMAT, Frames, Kind, frame
from tracekit.errors import TracekitError

STUCK_SECONDS = 5.0
"""How long all places of a worker may be held by calls that nobody waits for, before the worker is replaced."""

_MORE = 32
_STOP_SECONDS = 10.0

logger = logging.getLogger(__name__)


class WorkerError(TracekitError):
    """A worker did not start: the agent cannot be loaded in its environment, or it took too long."""


class Ending(IntEnum):
    """How a call ends that the worker did not end; besides the kinds of frames."""

    TIMED_OUT = 64
    DIED = 65
    GONE = 66  # the client


class Call:
    """A request on its way through a pool.

    Args:
        payload: What the worker is told.
    """

    __slots__ = ("_arrived", "_taken", "_waiter", "number", "over", "payload", "timer", "worker")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.number = 0
        self.worker: Worker | None = None
        self.over = False  # nobody waits for it any more
        self.timer: asyncio.TimerHandle | None = None
        self._arrived: deque[tuple[int, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._taken = 0

    def arrive(self, kind: int, payload: bytes = b"") -> None:
        """Something is known of the call."""
        self._arrived.append((kind, payload))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[int, bytes]:
        """The next part of the answer, or how the call ended."""
        if not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        kind, payload = self._arrived.popleft()
        if kind == Kind.CHUNK:
            self._taken += 1
            if self._taken % _MORE == 0 and self.worker is not None:
                self.worker.say(Kind.MORE, self.number, b"%d" % _MORE)
        return kind, payload


class Worker(asyncio.Protocol):
    """The server's end of a worker's socket.

    Args:
        places: How many calls it takes at once.
        freed: Called when a place is free again.
        lost: Called when the process is gone.
    """

    def __init__(self, places: int, freed: Callable[[], None], lost: Callable[[Worker], None]) -> None:
        self.calls: dict[int, Call] = {}
        self.places = places
        self.alive = False
        self.signature: Mapping[str, Any] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0  # on the monotonic clock
        self._freed = freed
        self._lost = lost
        self._frames = Frames()
        self._transport: Any = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last = 0

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return None if self.process is None else self.process.pid

    async def start(self, command: Sequence[str], folder: str, environment: Mapping[str, str], seconds: float) -> None:
        """Start the process and wait until the agent is loaded.

        Args:
            command: What to run; the socket's number is added to it.
            folder: Where to run it.
            environment: Its variables.
            seconds: The longest wait.

        Raises:
            WorkerError: It did not start.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the socket's own interface
        number = theirs.fileno()
        loop = asyncio.get_running_loop()
        try:
            self.process = await loop.run_in_executor(
                None,
                lambda: subprocess.Popen(  # noqa: S603 - the interpreter of the agent's environment
                    [*command, "--fd", str(number)],
                    cwd=folder,
                    env=dict(environment),
                    pass_fds=(number,),
                    stdin=subprocess.DEVNULL,
                ),
            )
        except OSError as error:
            ours.close()
            raise WorkerError(f"cannot run {command[0]}: {error.strerror or error}") from error
        finally:
            theirs.close()
        await loop.create_unix_connection(lambda: self, sock=ours)
        try:
            await asyncio.wait_for(self._ready, seconds)
        except asyncio.TimeoutError:
            raise WorkerError(f"the agent was not loaded within {seconds:g} s") from None
        finally:
            if not self.alive:
                await self.stop(0)

    def take(self, call: Call) -> None:
        """Send a call to the worker."""
        self._last += 1
        call.number, call.worker = self._last, self
        self.calls[self._last] = call
        self._transport.write(frame(Kind.CALL, self._last, call.payload))

    def give_up(self, call: Call) -> None:
        """Nobody waits for a call any more; its place is free when the worker says so."""
        if call.number in self.calls:
            self.say(Kind.CANCEL, call.number)
            asyncio.get_running_loop().call_later(STUCK_SECONDS, self._replace_if_stuck)

    def say(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        """Send a frame, if the worker is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(kind, number, payload))

    async def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Have the process end, and see to it that it does.

        Args:
            seconds: How long it may take to deliver its spans.
        """
        self.alive = False
        if seconds:
            self.say(Kind.STOP)
        process = self.process
        if process is not None:
            await asyncio.get_running_loop().run_in_executor(None, _ended, process, seconds)
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes came from the worker."""
        for kind, number, payload in self._frames.feed(data):
            if number == 0:
                self._begun(kind, payload)
                continue
            call = self.calls.get(number) if kind == Kind.CHUNK else self.calls.pop(number, None)
            if call is None:
                continue
            if not call.over:
                call.arrive(kind, payload)
            if kind != Kind.CHUNK:
                self._freed()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """The worker is gone, with whatever it was answering."""
        was_alive, self.alive = self.alive, False
        calls, self.calls = list(self.calls.values()), {}
        for call in calls:
            if not call.over:
                call.arrive(Ending.DIED)
        if not self._ready.done():
            self._ready.set_exception(WorkerError("the worker ended before the agent was loaded; its log says why"))
        if was_alive:
            self._lost(self)

    def _begun(self, kind: int, payload: bytes) -> None:
        if self._ready.done():
            return
        said = orjson.loads(payload)
        if kind == Kind.READY and said.get("format") == FORMAT:
            self.signature = said.get("signature")
            self.alive = True
            self._ready.set_result(None)
        elif kind == Kind.READY:
            self._ready.set_exception(WorkerError("the tracekit in the agent's environment is of another format"))
        else:
            self._ready.set_exception(WorkerError(f"the agent cannot be loaded: {said['type']}: {said['message']}"))

    def _replace_if_stuck(self) -> None:
        if self.alive and len(self.calls) >= self.places and all(call.over for call in self.calls.values()):
            logger.warning("worker %s is replaced: calls that nobody waits for hold all of its places", self.pid)
            if self.process is not None:
                self.process.kill()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def environment_of(given: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without the server's own, and with what is given."""
    own = ("PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "TRACEKIT_CATALOG", "TRACEKIT_HOST", "TRACEKIT_PORT")
    return {**{key: value for key, value in os.environ.items() if key not in own}, **given}
