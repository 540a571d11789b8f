"""A queue and the thread that empties it: what stands between a span's end and its way out.

The thread takes what has come every half second, or as soon as a batch is full, in batches of bounded count and size.
Nobody who puts something in waits for the way out, but for one case: a full queue before a local inbox, where waiting
a moment is better than losing. What is dropped is counted and said once.
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
BATCH = 512
BATCH_BYTES = 4 << 20
DELAY = 0.5
THREAD_PREFIX = "tracekit-"


class Batch(Generic[Item]):
    """Hands what is put in to `export`, in order, in batches, from a thread of its own.

    Args:
        name: What is in the queue, for messages and the thread's name.
        export: Takes a batch; says whether it was delivered.
        size_of: An item's size in bytes, roughly.
        patience: How long to wait for room in a full queue before dropping, in seconds.
    """

    def __init__(
        self,
        name: str,
        export: Callable[[list[Item]], bool],
        *,
        size_of: Callable[[Item], int],
        patience: float = 0.0,
    ) -> None:
        self._name = name
        self._export = export
        self._size_of = size_of
        self._patience = patience
        self._queue: deque[Item] = deque()
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Begin anew, as in a child process: the parent's items are the parent's to deliver."""
        self._queue.clear()
        self._wake = threading.Event()
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
        if len(queue) >= BATCH and not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until everything that was put in before is handed over; say whether that was so within `timeout` s."""
        with self._progress:
            target = self._done + self._in_hand + len(self._queue)
        if self._thread is None and self._queue:
            self._start()
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._done >= target, timeout)

    def close(self, timeout: float) -> bool:
        """Flush, and end the thread."""
        flushed = self.flush(timeout)
        self._closed = True
        self._wake.set()
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
            self._wake.wait(DELAY)
            self._wake.clear()
            self._deliver_all()

    def _deliver_all(self) -> None:
        while self._queue:
            batch = self._take()
            try:
                self.healthy = self._export(batch)
            except Exception:  # noqa: BLE001 - an exporter's fault costs its batch, and nothing else
                self.healthy = False
                _guard.fault(f"delivering {self._name}")
            with self._progress:
                self._done += len(batch)
                self._in_hand = 0
                self._progress.notify_all()

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        size = 0
        with self._progress:
            while self._queue and len(batch) < BATCH and size < BATCH_BYTES:
                item = self._queue.popleft()
                batch.append(item)
                size += self._size_of(item)
            self._in_hand = len(batch)
        return batch

    def _wait_for_room(self) -> bool:
        if self._patience <= 0 or self._closed or threading.current_thread() is self._thread:
            return False
        deadline = time.monotonic() + self._patience
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: len(self._queue) < QUEUE, deadline - time.monotonic())


_all: weakref.WeakSet[Batch[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for batch in list(_all):
        batch._renew()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
