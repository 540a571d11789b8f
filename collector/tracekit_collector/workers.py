"""Worker processes that load ranges of segments, so that decoding does not hold up the door.

A worker is a plain child with a pipe to its parent: it takes a task, asks which requests are known, and answers with
the files that it wrote. It ends when its parent does, or after a while without work. A worker that dies costs nothing:
its task is done again here, over what it may have left behind.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any

from tracekit.errors import StoreError, TracekitError
from tracekit_collector._heap import child_code, give_back
from tracekit_collector.loading import Known, Loaded, Task, load

_LENGTH = struct.Struct("<I")
_IDLE_SECONDS = 20.0
_NICE = 5  # the doors go first: whoever sends waits for them, and for nobody here
_TASKS_A_COLLECTION = 64
_PATIENCE_SECONDS = 10  # for a worker that was told to end
# One heap a worker gives memory back; several keep what each once needed.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1048576", "ARROW_DEFAULT_MEMORY_POOL": "system"}

logger = logging.getLogger(__name__)


class Workers:
    """Some worker processes, started when there is work and ended when there is none for a while.

    Args:
        count: How many at most.
        idle_seconds: How long they stay without work.

    Example:
        >>> workers = Workers(2)
        >>> workers.load([], set)
        []
        >>> workers.close()
    """

    def __init__(self, count: int, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self.count = count
        self._idle_seconds = idle_seconds
        self._workers: list[_Worker | None] = [None] * count
        self._threads: ThreadPoolExecutor | None = None
        self._timer: threading.Timer | None = None
        self._mutex = threading.Lock()

    def load(self, tasks: Sequence[Task], known: Callable[[Task], Known]) -> list[Loaded]:
        """What each task's range held, in their order; task and worker at the same place go together.

        Args:
            tasks: What to load.
            known: Takes a task and gives what tells which of its requests are settled already, or another task's;
                called from several threads, one call at a time, and again for a task that is done again.

        Raises:
            StoreError: A segment cannot be read or a file not written.
        """
        with self._mutex:
            if self._timer is not None:
                self._timer.cancel()
            asking = threading.Lock()

            def ask(task: Task, digests: Sequence[str]) -> set[str]:
                with asking:
                    return known(task)(digests)

            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="tracekit-worker")
            try:
                rounds = [tasks[start : start + self.count] for start in range(0, len(tasks), self.count)]
                return [
                    each
                    for some in rounds
                    for each in self._threads.map(
                        self._load, range(len(some)), some, [partial(ask, task) for task in some]
                    )
                ]
            finally:
                self._timer = threading.Timer(self._idle_seconds, self._rest)
                self._timer.daemon = True
                self._timer.start()

    def pids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.pid for worker in self._workers if worker is not None]

    def close(self) -> None:
        """End the workers; `load` starts them again."""
        with self._mutex:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for place, worker in enumerate(self._workers):
                if worker is not None:
                    worker.end()
                    self._workers[place] = None
            if self._threads is not None:
                self._threads.shutdown()
                self._threads = None

    def _rest(self) -> None:
        if self._mutex.acquire(blocking=False):
            self._mutex.release()
            self.close()

    def _load(self, place: int, task: Task, known: Known) -> Loaded:
        try:
            worker = self._workers[place]
            if worker is None:
                worker = self._workers[place] = _Worker()
            return worker.load(task, known)
        except (OSError, EOFError, pickle.UnpicklingError, struct.error) as error:
            lost, self._workers[place] = self._workers[place], None
            if lost is not None:
                lost.end()
            logger.warning("a worker process ended (%s); its part is done again", str(error) or type(error).__name__)
            return load(task, known)


class _Worker:
    def __init__(self) -> None:
        code = child_code("tracekit_collector.workers")
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ENVIRONMENT},
        )
        self.pid = self._process.pid

    def load(self, task: Task, known: Known) -> Loaded:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise EOFError("the pipe to the worker is closed")
        _send(to, task)
        _send(to, sorted(known(_receive(back))))
        answer = _receive(back)
        if isinstance(answer, Loaded):
            return answer
        raise StoreError(str(answer))

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve() -> None:
    """Be a worker: take tasks from standard input and answer on standard output, until the input ends."""
    # What else this process prints must not get between the answers.
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(_NICE)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    source = sys.stdin.buffer
    # Rows hold no cycles: looking for some in them takes a tenth of the time.
    gc.disable()
    tasks = 0

    def known(digests: Sequence[str]) -> set[str]:
        _send(back, list(digests))
        return set(_receive(source))

    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            _send(back, _done(_receive(source), known))
            give_back()  # what a task takes at most, the worker would else keep
            tasks += 1
            if tasks % _TASKS_A_COLLECTION == 0:
                gc.collect()


def _done(task: Task, known: Callable[[Sequence[str]], set[str]]) -> Loaded | str:
    try:
        return load(task, known)
    except TracekitError as error:
        return str(error)


def _send(pipe: IO[bytes], message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("the other side is gone")
    return pickle.loads(pipe.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - from our own child or parent
