"""The ways out: to the local inbox, or to a collector by OTLP over HTTP.

Imported only when tracing starts, because it brings the OpenTelemetry SDK and its exporters.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from tracekit import _guard
from tracekit import attributes as names
from tracekit._batch import THREAD_PREFIX, Batch
from tracekit._identity import facts
from tracekit.errors import SettingError, StoreError
from tracekit.inbox import SegmentWriter, Signal

SCOPE = "tracekit"

_INBOX_PATIENCE = 1.0
_EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
)


class Outlet(Protocol):
    """What a `Batch` empties into."""

    exit_seconds: float
    """How long the end of a process may wait for it."""

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Hand a batch over; say whether that worked."""

    def close(self) -> None:
        """Let go of files and connections, and give up what is being retried."""


class InboxOutlet:
    """Appends spans or log records to a store's inbox; on success they are on the disk.

    Args:
        folder: The store's `inbox` folder.
        signal: `traces` for spans, `logs` for log records.
    """

    exit_seconds = 60.0  # a disk always gets on

    def __init__(self, folder: Path, signal: Signal) -> None:
        self._folder = folder
        self._writer = SegmentWriter(folder, signal)
        self._encode: Callable[[Sequence[Any]], Any] = encode_spans if signal == "traces" else encode_logs

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Append a batch as one request; what cannot be encoded is left out and counted."""
        payloads = self._encoded(batch)
        if not payloads:
            return False
        try:
            self._writer.append(*payloads)
        except StoreError as error:
            _guard.note(f"inbox {self._folder}", f"{error}; {len(batch)} spans or records are lost, more may follow")
            return False
        return True

    def close(self) -> None:
        """Close the segment, so that it can be settled whole."""
        self._writer.close()

    def _encoded(self, batch: Sequence[Any]) -> list[bytes]:
        """One request for all; where one of them cannot be encoded, one for each that can."""
        try:
            return [self._encode(batch).SerializeToString()]
        except Exception:  # noqa: BLE001 - another instrumentation's odd attribute costs its span, not the batch
            if len(batch) == 1:
                _guard.fault("encoding a span or record")
                return []
        half = len(batch) // 2
        return self._encoded(batch[:half]) + self._encoded(batch[half:])


class OtlpOutlet:
    """Sends spans or log records to a collector as protobuf over HTTP, compressed with gzip.

    Args:
        endpoint: The collector's base URL, or the full URL of the signal.
        signal: `traces` for spans, `logs` for log records.
        headers: Headers besides those of `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        SettingError: The endpoint is no http or https URL.
    """

    exit_seconds = 4.0  # a collector may be down

    def __init__(self, endpoint: str, signal: Signal, headers: Mapping[str, str] | None) -> None:
        self._url = signal_url(endpoint, signal)
        self._exporter = _exporter(self._url, signal, headers)
        for name in _EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(_from_elsewhere)

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Send a batch; the exporter retries for a while what can be retried."""
        if self._exporter.export(batch).name == "SUCCESS":
            return True
        message = f"cannot deliver to {self._url}; {len(batch)} spans or records are lost, more may follow"
        _guard.note(f"endpoint {self._url}", message)
        return False

    def close(self) -> None:
        """Stop retrying and close the connection."""
        self._exporter.shutdown()


def signal_url(endpoint: str, signal: Signal) -> str:
    """The URL that takes a signal, given a collector's base URL or the full one.

    Args:
        endpoint: `http://host:4318`, with or without `/v1/traces`.
        signal: `traces` or `logs`.

    Raises:
        SettingError: The endpoint is no http or https URL.

    Example:
        >>> signal_url("http://127.0.0.1:4318/", "logs")
        'http://127.0.0.1:4318/v1/logs'
    """
    if not endpoint.startswith(("http://", "https://")):
        raise SettingError(f"the endpoint {endpoint!r} is no http or https URL; write it like http://127.0.0.1:4318")
    base = endpoint.rstrip("/").removesuffix("/v1/traces").removesuffix("/v1/logs")
    return f"{base}/v1/{signal}"


def _exporter(url: str, signal: Signal, headers: Mapping[str, str] | None) -> Any:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - only an endpoint needs HTTP

    given = _with_those_of_the_environment(headers) if headers else None
    if signal == "traces":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter(endpoint=url, headers=given, compression=Compression.Gzip)
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415

    return OTLPLogExporter(endpoint=url, headers=given, compression=Compression.Gzip)


def _with_those_of_the_environment(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are given and those of the variable; older exporters take either the ones or the others."""
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415 - as above

    said = parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True)
    return {**said, **{key.lower(): value for key, value in headers.items()}}


def _from_elsewhere(record: logging.LogRecord) -> bool:
    """Keep the exporter's own words about our deliveries out of the log: we say it once."""
    return not (record.threadName or "").startswith(THREAD_PREFIX)


def batch_for(outlet: Outlet, name: str) -> Batch[Any]:
    """A queue before an outlet; a full one waits a moment where the outlet is local."""
    patience = _INBOX_PATIENCE if isinstance(outlet, InboxOutlet) else 0.0
    return Batch(name, outlet.deliver, size_of=_size, patience=patience)


def _size(item: Any) -> int:
    attributes = getattr(item, "attributes", None) or {}
    return 200 + sum(len(value) if isinstance(value, str) else 16 for value in attributes.values())


class Relay(SpanProcessor):
    """Passes ended spans on to whatever the present configuration sends them to.

    It is added to a provider once, and stays: a new configuration changes `batch`, so nothing is delivered twice.
    Without a batch it only marks other instrumentations' spans.
    """

    def __init__(self) -> None:
        self.batch: Batch[Any] | None = None
        self.extra: Mapping[str, Any] = {}
        self.active = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Put on other instrumentations' spans what ours carry from the start."""
        if not self.active or (span.instrumentation_scope is not None and span.instrumentation_scope.name == SCOPE):
            return
        try:
            inside = {**self.extra, **facts(get_current() if parent_context is None else parent_context)}
            known = span.attributes or {}
            if names.AGENT_NAME in known:
                inside.pop(names.AGENT_VERSION, None)  # the version is our agent's, and this is another one
            span.set_attributes({key: value for key, value in inside.items() if key not in known})
        except Exception:  # noqa: BLE001 - never into the code that begins a span
            _guard.fault("marking a span")

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        batch = self.batch
        if batch is not None and span.context is not None and span.context.trace_flags.sampled:
            batch.put(span)

    def shutdown(self) -> None:
        """The provider is being shut down: deliver what there is."""
        if self.batch is not None:
            self.batch.flush(5.0)

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """Deliver what there is."""
        return self.batch is None or self.batch.flush((timeout_millis or 30_000) / 1_000)


def logger_for(batch: Batch[Any], resource: Any) -> Any:
    """A logger whose records go into a queue.

    Args:
        batch: The queue.
        resource: The resource that the records are of.
    """
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor  # noqa: PLC0415 - records are rare

    from tracekit import __version__  # noqa: PLC0415

    class Queueing(LogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            batch.put(log_record)

        def shutdown(self) -> None:
            batch.flush(5.0)

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return batch.flush(timeout_millis / 1_000)

    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(Queueing())
    return provider.get_logger(SCOPE, __version__)
