"""The ways out: to the local inbox, or to a collector by OTLP over HTTP with a spool behind it.

What goes out is redacted here, in the request, so it holds for every instrumentation's spans and for log records, and
costs the code that is traced nothing. Imported only when tracing starts: it brings OpenTelemetry's encoders.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

from tracekit import _guard
from tracekit._delivery import signal_url
from tracekit._redacted import redact_request
from tracekit._sender import Answer, Sender
from tracekit._spool import Spool, spool_folder
from tracekit._wire import SpanEncoder
from tracekit.errors import StoreError
from tracekit.inbox import SegmentWriter, Signal
from tracekit.redaction import Redactor

_DOUBTS = 3
_LONGEST_PAUSE = 60.0
_LONGEST_WISH = 300.0
_LOOK_SECONDS = 5.0


class Encoder:
    """Makes serialized, redacted requests of batches.

    Args:
        signal: `traces` for spans, `logs` for log records.
        redactor: What to redact; `None` for nothing.
    """

    def __init__(self, signal: Signal, redactor: Redactor | None) -> None:
        self._redactor = redactor
        self._request: Callable[[Sequence[Any]], bytes]
        self._request = SpanEncoder(redactor).request if signal == "traces" else self._of_records

    def requests(self, batch: Sequence[Any]) -> list[bytes]:
        """One request for all; where one of them cannot be encoded, one for each half that can."""
        try:
            return [self._request(batch)]
        except Exception:  # noqa: BLE001 - another instrumentation's odd attribute costs its span, not the batch
            if len(batch) == 1:
                _guard.fault("encoding a span or record")
                return []
        half = len(batch) // 2
        return self.requests(batch[:half]) + self.requests(batch[half:])

    def _of_records(self, records: Sequence[Any]) -> bytes:
        request = encode_logs(records)
        if self._redactor is not None:
            redact_request(request, self._redactor)
        return request.SerializeToString()


class InboxOutlet:
    """Appends spans or log records to a store's inbox; on success they are on the disk.

    Args:
        folder: The store's `inbox` folder.
        signal: `traces` for spans, `logs` for log records.
        redactor: What to redact; `None` for nothing.
    """

    exit_seconds = 60.0  # a disk always gets on
    patience = 1.0

    def __init__(self, folder: Path, signal: Signal, redactor: Redactor | None = None) -> None:
        self._folder = folder
        self._writer = SegmentWriter(folder, signal)
        self._encoder = Encoder(signal, redactor)

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Append a batch as one request; what cannot be encoded is left out and counted."""
        payloads = self._encoder.requests(batch)
        if not payloads:
            return False
        try:
            self._writer.append(*payloads)
        except StoreError as error:
            message = f"{error}; {len(batch)} spans or records are lost, more may follow"
            _guard.note(f"inbox {self._folder}", message, count=len(batch))
            return False
        return True

    def idle(self) -> None:
        """Nothing is ever left to do."""

    def set_aside(self, batch: Sequence[Any]) -> None:
        """Append a batch at the very end."""
        self.deliver(batch)

    def settle(self, deadline: float) -> bool:
        """Whether nothing is left to be delivered later."""
        return deadline is not None

    def close(self) -> None:
        """Close the segment, so that it can be settled whole."""
        self._writer.close()


class OtlpOutlet:
    """Sends spans or log records to a collector as protobuf over HTTP, compressed with gzip.

    While the collector is away, requests go to a spool on the disk, and from there to the collector in order.

    Args:
        endpoint: The collector's base URL, or the full URL of the signal.
        signal: `traces` for spans, `logs` for log records.
        headers: Headers besides those of `OTEL_EXPORTER_OTLP_HEADERS`.
        redactor: What to redact; `None` for nothing.
        spool: The folder of all spools; one in the user's cache folder when not given.
        spool_bytes: How much to keep there; 0 for no spool.

    Raises:
        SettingError: The endpoint is no http or https URL.
    """

    exit_seconds = 4.0  # a collector may be down
    patience = 0.0

    def __init__(
        self,
        endpoint: str,
        signal: Signal,
        headers: Mapping[str, str] | None,
        redactor: Redactor | None = None,
        *,
        spool: str | None = None,
        spool_bytes: int = 0,
    ) -> None:
        self._signal = signal
        self._sender = Sender(signal_url(endpoint, signal), signal, headers)
        self._encoder = Encoder(signal, redactor)
        folder = spool_folder(spool, self._sender.url, self._sender.headers)
        self._folder = folder
        self._spool = Spool(folder, spool_bytes) if spool_bytes > 0 else None
        self._closed = threading.Event()
        self._failures = 0
        self._not_before = 0.0
        self._next_look = 0.0
        self._doubts: dict[str, int] = {}
        self._sending: bytes | None = None
        self._aside: Path | None = None

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Send a batch, or keep it for later; says whether it was taken."""
        bodies = [gzip.compress(request, 6, mtime=0) for request in self._encoder.requests(batch)]
        taken = [self._hand_over(body, len(batch)) for body in bodies]
        return bool(taken) and all(taken)

    def idle(self) -> None:
        """Send what was kept, by an earlier process too, if it is time to."""
        now = time.monotonic()
        if now >= max(self._next_look, self._not_before):
            self._next_look = now + _LOOK_SECONDS
            self._drain()

    def settle(self, deadline: float) -> bool:
        """Try to send what was kept until the deadline on the monotonic clock; says whether nothing is left."""
        while self._spool is not None and not self._spool.empty():
            pause = self._not_before - time.monotonic()
            if time.monotonic() + max(0.0, pause) >= deadline or self._closed.wait(max(0.01, pause)):
                return False
            self._drain(deadline)
        return True

    def set_aside(self, batch: Sequence[Any]) -> None:
        """Keep a batch without trying to send it, as at the end of a process."""
        self._set_sending_aside()
        for request in self._encoder.requests(batch):
            self._keep(gzip.compress(request, 6, mtime=0), len(batch), "there was no time left")

    def close(self) -> None:
        """Give up what is being sent or retried; what was not taken is kept."""
        self._closed.set()
        self._set_sending_aside()

    def _set_sending_aside(self) -> None:
        """Keep what is being sent right now: if it is taken all the same, a repeat is known by its bytes."""
        sending = self._sending
        if sending is not None and self._spool is not None and self._aside is None:
            self._aside = self._spool.put(sending, self._signal)

    def _hand_over(self, body: bytes, count: int) -> bool:
        if self._spool is None:
            return self._insist(body, count)
        if time.monotonic() < self._not_before or not self._spool.empty():
            return self._keep(body, count, "") and self._drain()  # in order: what waits goes first
        self._sending = body
        answer = self._sender.send(body)
        self._sending = None
        if answer.outcome in {"later", "doubtful"}:
            self._pause(answer)
            if self._aside is None:
                self._keep(body, count, answer.reason)
            return False
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)
        return self._ended(answer, count)

    def _insist(self, body: bytes, count: int) -> bool:
        """Without a spool: try for as long as a request may take."""
        end = time.monotonic() + self._sender.timeout
        while True:
            answer = self._sender.send(body)
            if answer.outcome in {"taken", "refused"}:
                return self._ended(answer, count)
            self._pause(answer)
            pause = self._not_before - time.monotonic()
            if time.monotonic() + pause >= end or self._closed.wait(max(0.0, pause)):
                return self._lost(count, answer.reason)

    def _drain(self, deadline: float | None = None) -> bool:
        """Send what is kept, oldest first, as long as it is taken; says whether nothing is left."""
        spool = self._spool
        if spool is None or spool.empty():
            return True
        if time.monotonic() < self._not_before:
            return False
        with spool.mine() as mine:
            if not mine:
                return False
            for path in spool.waiting():
                if self._closed.is_set() or (deadline is not None and time.monotonic() >= deadline):
                    return False
                if not self._sent(path):
                    return False
        return spool.empty()

    def _sent(self, path: Path) -> bool:
        """Whether a kept request is done with."""
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            return True
        except OSError as error:
            _guard.note("reading the spool", f"cannot read {path}: {error.strerror}; it is left there")
            return False
        answer = self._sender.send(body)
        if answer.outcome == "doubtful":
            self._doubts[path.name] = self._doubts.get(path.name, 0) + 1
        if answer.outcome == "later" or (answer.outcome == "doubtful" and self._doubts[path.name] < _DOUBTS):
            self._pause(answer)
            return False
        path.unlink(missing_ok=True)
        self._doubts.pop(path.name, None)
        self._ended(answer, 1)
        return True

    def _ended(self, answer: Answer, count: int) -> bool:
        self._failures, self._not_before = 0, 0.0
        if answer.outcome != "taken":
            return self._lost(count, answer.reason)
        if answer.rejected:
            message = f"{self._sender.url} left out {answer.rejected} spans or records of a request"
            _guard.note(f"left out by {self._sender.url}", message, count=answer.rejected)
        return True

    def _pause(self, answer: Answer) -> None:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, 2.0 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        if answer.retry_after is not None:
            pause = min(answer.retry_after, _LONGEST_WISH)
        self._not_before = time.monotonic() + pause

    def _keep(self, body: bytes, count: int, reason: str) -> bool:
        if self._spool is None or self._spool.put(body, self._signal) is None:
            return self._lost(count, reason or "it is away")
        if reason:
            message = f"cannot deliver to {self._sender.url} ({reason}); it is kept in {self._folder} and sent later"
            _guard.note(f"kept for {self._sender.url}", message, count=count)
        return True

    def _lost(self, count: int, reason: str) -> bool:
        message = f"cannot deliver to {self._sender.url} ({reason}); {count} spans or records are lost, more may follow"
        _guard.note(f"endpoint {self._sender.url}", message, count=count)
        return False
