"""A queue and the thread that empties it: what stands between a span's end and its way out.

The thread takes what has come every second, or when the queue fills up, in batches of bounded count and size: a burst
is made first and delivered after, because encoding a span takes as much of the interpreter's time as making it.
Nobody who puts something in waits for the way out, but for one case: a full queue before a local inbox, where waiting
a moment is better than losing. What is dropped is counted and said once. While the queue is not pressing and nobody
waits for it, the thread takes no more than a fifth of the interpreter's time from the code that is traced.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from tracekit import _guard

Item = TypeVar("Item")

QUEUE = 1 << 15  # a hundred megabytes of spans of a few kilobytes
PRESSING = QUEUE * 3 // 4
BATCH = 512
BATCH_BYTES = 4 << 20
DELAY = 1.0
_MODESTY = 4.0  # how long to rest, in times of the work that a batch was
THREAD_PREFIX = "tracekit-"


class Batch(Generic[Item]):
    """Hands what is put in to `export`, in order, in batches, from a thread of its own.

    Args:
        name: What is in the queue, for messages and the thread's name.
        export: Takes a batch; says whether it was delivered.
        size_of: An item's size in bytes, roughly.
        patience: How long to wait for room in a full queue before dropping, in seconds.
        idle: Called now and then while nothing comes.
        set_aside: Takes a batch that could not be exported before the end.
    """

    def __init__(
        self,
        name: str,
        export: Callable[[list[Item]], bool],
        *,
        size_of: Callable[[Item], int],
        patience: float = 0.0,
        idle: Callable[[], None] | None = None,
        set_aside: Callable[[list[Item]], None] | None = None,
    ) -> None:
        self._name = name
        self._export = export
        self._size_of = size_of
        self._patience = patience
        self._idle = idle
        self._set_aside = set_aside
        self._queue: deque[Item] = deque()
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Begin anew, as in a child process: the parent's items are the parent's to deliver."""
        self._queue.clear()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._progress = threading.Condition()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._in_hand = 0
        self._done = 0
        self._closed = False
        self.healthy = True

    def put(self, item: Item) -> None:
        """Add an item; never raises, and never waits longer than `patience`."""
        queue = self._queue
        if self._closed:
            return
        if len(queue) >= QUEUE and not self._wait_for_room():
            _guard.note(
                f"dropped {self._name}", f"{self._name} come faster than they can be delivered; some are dropped"
            )
            return
        queue.append(item)
        if self._thread is None:
            self._start()
        if len(queue) >= PRESSING and not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until everything that was put in before is handed over; say whether that was so within `timeout` s."""
        with self._progress:
            target = self._done + self._in_hand + len(self._queue)
        if self._thread is None and self._queue:
            self._start()
        self._hurry.set()
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._done >= target, timeout)

    def close(self, timeout: float) -> bool:
        """Flush, and end the thread; what was not exported in time is set aside."""
        flushed = self.flush(timeout)
        self._closed = True
        self._wake.set()
        if not flushed and self._set_aside is not None:
            while rest := self._taken():
                try:
                    self._set_aside(rest)
                except Exception:  # noqa: BLE001 - as in `_deliver_all`
                    _guard.fault(f"setting {self._name} aside")
        return flushed

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None or self._closed:
                return
            thread = threading.Thread(target=self._work, name=f"{THREAD_PREFIX}{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._deliver_all()  # the interpreter is ending and starts no more threads
            else:
                self._thread = thread

    def _work(self) -> None:
        quiet = otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True)
        otel_context.attach(quiet)  # what delivers spans must not make spans
        while not self._closed:
            woken = self._wake.wait(DELAY)
            self._wake.clear()
            self._deliver_all()
            if not woken and self._idle is not None and not self._closed:
                try:
                    self._idle()
                except Exception:  # noqa: BLE001 - as in `_deliver_all`
                    _guard.fault(f"delivering {self._name} later")

    def _deliver_all(self) -> None:
        while batch := self._take():
            begun = time.thread_time()
            try:
                self.healthy = self._export(batch)
            except Exception:  # noqa: BLE001 - an exporter's fault costs its batch, and nothing else
                self.healthy = False
                _guard.fault(f"delivering {self._name}")
            with self._progress:
                self._done += len(batch)
                self._in_hand = 0
                self._progress.notify_all()
            if 0 < len(self._queue) < PRESSING and not self._closed:
                self._hurry.wait(min(DELAY, _MODESTY * (time.thread_time() - begun)))
        self._hurry.clear()

    def _take(self) -> list[Item]:
        with self._progress:
            batch = self._taken()
            self._in_hand = len(batch)
        return batch

    def _taken(self) -> list[Item]:
        batch: list[Item] = []
        size = 0
        while self._queue and len(batch) < BATCH and size < BATCH_BYTES:
            try:
                item = self._queue.popleft()
            except IndexError:  # the thread and the end of the process both empty it
                break
            batch.append(item)
            size += self._size_of(item)
        return batch

    def _wait_for_room(self) -> bool:
        if self._patience <= 0 or self._closed or threading.current_thread() is self._thread:
            return False
        deadline = time.monotonic() + self._patience
        self._hurry.set()
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: len(self._queue) < QUEUE, deadline - time.monotonic())


_all: weakref.WeakSet[Batch[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for batch in list(_all):
        batch._renew()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
