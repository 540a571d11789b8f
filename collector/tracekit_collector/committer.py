"""Group commit: requests that wait at the same time reach the disk in one write and one fsync."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from tracekit.errors import StoreError
from tracekit.inbox import SIGNALS, SegmentWriter, Signal

_GROUP_BYTES = 16 << 20
_SEGMENT_BYTES = 64 << 20  # a batch takes few segments then, and of each segment two files are made


@dataclass(frozen=True)
class _Waiting:
    signal: Signal
    payload: bytes
    received_ns: int
    kept: Future[None]


class Committer:
    """Writes payloads to an inbox on a thread of its own.

    Args:
        inbox: The store's `inbox` folder.
        committed: Is told how many bytes were written, whenever some were.

    Example:
        >>> import tempfile
        >>> committer = Committer(Path(tempfile.mkdtemp()))
        >>> committer.keep("traces", b"a request").result()
        >>> committer.close()
    """

    def __init__(self, inbox: Path, *, committed: Callable[[int], None] = lambda _: None) -> None:
        self._committed = committed
        self._writers: dict[Signal, SegmentWriter] = {
            signal: SegmentWriter(inbox, signal, segment_bytes=_SEGMENT_BYTES)
            for signal in ("traces", "logs", "metrics")
        }
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self.failure: tuple[float, str] | None = None
        self._thread = threading.Thread(target=self._run, name="tracekit-committer", daemon=True)
        self._thread.start()

    def keep(self, signal: Signal, payload: bytes) -> Future[None]:
        """Have a payload written.

        Args:
            signal: `traces`, `logs` or `metrics`.
            payload: A serialized request.

        Returns:
            A future that is done when the payload is on the disk, or holds the `StoreError` that kept it off.

        Raises:
            StoreError: The committer is closed.
        """
        waiting = _Waiting(signal, payload, time.time_ns(), Future())
        with self._closing:
            if self._closed:
                raise StoreError("the collector is stopping; send the request again in a moment")
            self._waiting.put(waiting)
        return waiting.kept

    def waiting(self) -> int:
        """How many payloads wait for the disk."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Write what still waits, then close the segments."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        for writer in self._writers.values():
            writer.close()

    def _run(self) -> None:
        while True:
            group, open_still = self._next_group()
            for signal in SIGNALS:
                ours = [waiting for waiting in group if waiting.signal == signal]
                if ours:
                    self._commit(self._writers[ours[0].signal], ours)
            if not open_still:
                return

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        first = self._waiting.get()
        if first is None:
            return [], False
        group, size = [first], len(first.payload)
        while size < _GROUP_BYTES:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
            if following is None:
                return group, False
            group.append(following)
            size += len(following.payload)
        return group, True

    def _commit(self, writer: SegmentWriter, group: list[_Waiting]) -> None:
        # From here on a future cannot be cancelled; one that was is of a client that waits no more.
        awaited = [waiting for waiting in group if waiting.kept.set_running_or_notify_cancel()]
        if not awaited:
            return
        try:
            writer.append(*(waiting.payload for waiting in awaited), received_ns=awaited[0].received_ns)
        except Exception as error:  # noqa: BLE001 - whoever waits is told; the thread serves the next
            told = error if isinstance(error, StoreError) else StoreError(f"cannot write to the inbox: {error}")
            self.failure = (time.monotonic(), str(told))
            for waiting in awaited:
                waiting.kept.set_exception(told)
            return
        self.failure = None
        self._committed(sum(len(waiting.payload) for waiting in awaited))
        for waiting in awaited:
            waiting.kept.set_result(None)
