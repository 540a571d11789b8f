"""The workers of one version: who answers which call, who waits, and who is replaced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracekit.errors import TracekitError
from tracekit_collector.serving.target import Target
from tracekit_collector.serving.worker import Call, Ending, Worker, WorkerError

_YOUNG_SECONDS = 10.0
_LONGEST_PAUSE = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is taken on.

    Args:
        workers: Processes for each version.
        concurrency: Requests that one of them answers at once.
        queue: Requests that may wait for a version's workers.
        timeout: Seconds that a request may take, waiting included.
        max_body: Bytes of one request.
        start: Seconds that a worker may take to load the agent.
    """

    workers: int = 2
    concurrency: int = 16
    queue: int = 256
    timeout: float = 300.0
    max_body: int = 8 << 20
    start: float = 120.0


class QueueFullError(TracekitError):
    """Too many requests wait already."""


class NoWorkerError(TracekitError):
    """No worker is alive, and the last one that was to be did not start."""


class Pool:
    """Keeps workers alive, and hands calls to them.

    Args:
        target: What they run.
        limits: How many there are, and how much they take on.
    """

    def __init__(self, target: Target, limits: Limits) -> None:
        self.target = target
        self.limits = limits
        self.restarts = 0
        self.failure: str | None = None  # why the last worker did not start
        self.signature: Mapping[str, Any] | None = None
        self._workers: list[Worker] = []
        self._waiting: deque[Call] = deque()
        self._given_up = 0  # of those that wait
        self._starting: set[asyncio.Task[None]] = set()
        self._closing = False
        self._idle = asyncio.Event()

    @property
    def alive(self) -> int:
        """How many workers can answer."""
        return sum(worker.alive for worker in self._workers)

    @property
    def running(self) -> int:
        """How many calls the workers hold."""
        return sum(len(worker.calls) for worker in self._workers)

    @property
    def waiting(self) -> int:
        """How many calls wait for a worker."""
        return len(self._waiting) - self._given_up

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.pid for worker in self._workers if worker.alive and worker.pid is not None]

    async def start(self) -> None:
        """Start all workers.

        Raises:
            WorkerError: One of them did not start; the others are ended.
        """
        found = await asyncio.gather(*(self._add() for _ in range(self.limits.workers)), return_exceptions=True)
        errors = [each for each in found if isinstance(each, BaseException)]
        if errors:
            await self.close()
            raise errors[0]

    def submit(self, payload: bytes) -> Call:
        """Have a worker answer a call, now or when one has room.

        Args:
            payload: What the worker is told.

        Returns:
            The call, whose parts are to be read, and which is to be ended with `done`.

        Raises:
            QueueFullError: Too many wait already.
            NoWorkerError: Nobody is there to answer it.
        """
        call = Call(payload)
        worker = self._free()
        if worker is not None and not self._waiting:
            worker.take(call)
        elif not self.alive and self.failure is not None:
            raise NoWorkerError(self.failure)
        elif self.waiting >= self.limits.queue:
            raise QueueFullError(f"{self.waiting} requests wait already")
        else:
            self._waiting.append(call)
        call.timer = asyncio.get_running_loop().call_later(self.limits.timeout, self._expire, call)
        return call

    def done(self, call: Call) -> None:
        """Nobody waits for the call any more, whether or not it is answered."""
        if call.timer is not None:
            call.timer.cancel()
        if call.over:
            return
        call.over = True
        if call.worker is not None:
            call.worker.give_up(call)
        else:
            self._given_up += 1
            self._hand_out()
        self._idle.set()

    def _expire(self, call: Call) -> None:
        """Give up a call whose time is over, also where its client has stopped reading what it is sent."""
        call.arrive(Ending.TIMED_OUT)
        self.done(call)

    async def drain(self) -> None:
        """Wait until every call is answered; none may be submitted any more."""
        while self.waiting or any(not call.over for worker in self._workers for call in worker.calls.values()):
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """End the workers."""
        self._closing = True
        for task in list(self._starting):
            task.cancel()
        if self._starting:
            await asyncio.wait(self._starting)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._workers.clear()

    def _free(self) -> Worker | None:
        best: Worker | None = None
        for worker in self._workers:
            if worker.alive and len(worker.calls) < worker.places:
                if not worker.calls:
                    return worker
                if best is None or len(worker.calls) < len(best.calls):
                    best = worker
        return best

    def _hand_out(self) -> None:
        while self._waiting:
            if self._waiting[0].over:
                self._waiting.popleft()
                self._given_up -= 1
                continue
            worker = self._free()
            if worker is None:
                break
            worker.take(self._waiting.popleft())
        self._idle.set()

    async def _add(self) -> None:
        worker = Worker(self.limits.concurrency, self._hand_out, self._lost)
        target = self.target
        await worker.start(
            target.command(self.limits.concurrency), str(target.folder), target.environment, self.limits.start
        )
        worker.started_at = time.monotonic()
        self.signature = worker.signature
        self.failure = None
        self._workers.append(worker)
        self._hand_out()

    def _lost(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        self._idle.set()
        if self._closing:
            return
        lived = time.monotonic() - worker.started_at
        logger.warning(
            "worker %s of %s is gone after %.0f s; another one is started", worker.pid, self.target.ref, lived
        )
        task = asyncio.get_running_loop().create_task(self._replace(worker, lived))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _replace(self, worker: Worker, lived: float) -> None:
        await worker.stop(0)  # takes note of how the process ended
        pause = 0.0 if lived > _YOUNG_SECONDS or not self.restarts else 1.0
        while not self._closing:
            await asyncio.sleep(pause)
            self.restarts += 1
            try:
                await self._add()
            except WorkerError as error:
                self.failure = str(error)
                logger.error("a worker of %s did not start: %s", self.target.ref, error)  # noqa: TRY400 - its log has more
                self._refuse_waiting()
                pause = min(_LONGEST_PAUSE, max(1.0, 2 * pause))
            else:
                return

    def _refuse_waiting(self) -> None:
        """Answer those who wait for workers of which none is left."""
        if not self.alive:
            for call in self._waiting:
                if not call.over:
                    call.arrive(Ending.DIED)
