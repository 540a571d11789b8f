"""From a span's end to the queue before its way out: our processor in a provider, and our logger.

Imported only when tracing starts, because it brings the OpenTelemetry SDK.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, _Span
from opentelemetry.trace import TraceFlags

from tracekit import _guard
from tracekit import attributes as names
from tracekit._batch import Batch
from tracekit._identity import facts
from tracekit._prompt_links import is_call, links
from tracekit._wire import taken
from tracekit.errors import SettingError
from tracekit.inbox import Signal
from tracekit.sampling import TailSampler

SCOPE = "tracekit"
_SAMPLED = TraceFlags.SAMPLED


class Outlet(Protocol):
    """What a `Batch` empties into."""

    exit_seconds: float
    """How long the end of a process may wait for it."""
    patience: float
    """How long code that is traced may wait for room in a full queue."""

    def deliver(self, batch: Sequence[Any]) -> bool:
        """Hand a batch over; say whether that worked."""

    def idle(self) -> None:
        """Nothing has come for a moment: do what was put off."""

    def set_aside(self, batch: Sequence[Any]) -> None:
        """Keep a batch for which there is no time left."""

    def settle(self, deadline: float) -> bool:
        """Deliver what was put off, until a time on the monotonic clock; say whether nothing is left."""

    def close(self) -> None:
        """Let go of files and connections, and give up what is being retried."""


def batch_for(outlet: Outlet, name: str) -> Batch[Any]:
    """A queue before an outlet; a full one waits a moment where the outlet is local."""
    return Batch(
        name,
        outlet.deliver,
        size_of=_size,
        patience=outlet.patience,
        idle=outlet.idle,
        set_aside=outlet.set_aside,
    )


def _size(item: Any) -> int:
    if type(item) is not tuple and type(body := getattr(getattr(item, "log_record", item), "body", None)) is bytes:
        return 200 + len(body)
    if type(item) is not tuple:
        values = (getattr(item, "attributes", None) or {}).values()
    else:
        values = item if type(item[0]) is int else item[9].values()
    return 200 + sum(len(value) if isinstance(value, str) else 16 for value in values)


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


class Relay(SpanProcessor):
    """Passes ended spans on to whatever the present configuration sends them to.

    It is added to a provider once, and stays: a new configuration changes `batch`, so nothing is delivered twice.
    Without a batch it only marks other instrumentations' spans.
    """

    def __init__(self) -> None:
        self.batch: Batch[Any] | None = None
        self.extra: Mapping[str, Any] = {}
        self.active = False
        self.first: Callable[[Span], None] | None = None  # finds out what is known only when the first span begins
        self.sampler: TailSampler | None = None
        _relays.add(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Put on other instrumentations' spans what ours carry from the start."""
        if self.first is not None and self.active:
            self.first(span)
        if self.sampler is not None and self.active:
            try:
                self.sampler.started(span)
            except Exception:  # noqa: BLE001 - never into the code that begins a span
                _guard.fault("sampling a span")
        if not self.active or (span.instrumentation_scope is not None and span.instrumentation_scope.name == SCOPE):
            return
        try:
            context = get_current() if parent_context is None else parent_context
            inside = {**self.extra, **facts(context)}
            known = span.attributes or {}
            if is_call(known):
                inside.update(links(context))
            if names.AGENT_NAME in known:
                inside.pop(names.AGENT_VERSION, None)  # the version is our agent's, and this is another one
            span.set_attributes({key: value for key, value in inside.items() if key not in known})
        except Exception:  # noqa: BLE001 - never into the code that begins a span
            _guard.fault("marking a span")

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        batch = self.batch
        if self.sampler is not None:
            if batch is not None and self.active and span.context is not None:
                try:
                    self.sampler.ended(span)
                except Exception:  # noqa: BLE001 - never into the code that ends a span
                    _guard.fault("sampling a span")
        elif batch is not None and (context := span.context) is not None and context.trace_flags & _SAMPLED:
            batch.put(taken(span))

    def begin(self, span: Any, now: int | None, context: Context | None) -> None:
        """Begin a span of ours; nobody is told where nobody is there to listen.

        Args:
            span: A span that has not begun.
            now: When it begins, in nanoseconds since 1970; now when not given.
            context: Holds the parent.
        """
        if self.first is None and self.sampler is None and self._is_alone(span):
            span._start_time = time.time_ns() if now is None else now  # noqa: SLF001
        else:
            span.start(now, context)

    def end(self, span: Any, now: int | None) -> None:
        """End a span; where nobody else is to see it end, without the copy that the SDK makes for that.

        Args:
            span: A span.
            now: When it ends, in nanoseconds since 1970; now when not given.
        """
        batch = self.batch
        if (
            type(span) is _Span
            and batch is not None
            and self.sampler is None
            and self._is_alone(span)
            and span._context.trace_flags & _SAMPLED  # type: ignore[union-attr]  # noqa: SLF001
        ):
            with span._lock:  # noqa: SLF001
                first = span._end_time is None and span._start_time is not None  # noqa: SLF001
                if first:
                    span._end_time = time.time_ns() if now is None else now  # noqa: SLF001
                    span._attributes._immutable = True  # type: ignore[union-attr]  # noqa: SLF001
            if first:
                if span._record_end_metrics:  # noqa: SLF001
                    span._record_end_metrics()  # noqa: SLF001
                row = taken(span)
                batch.put(span._readable_span() if row is span else row)  # noqa: SLF001
                return
        span.end(now)

    def _is_alone(self, span: Any) -> bool:
        """Whether a span's provider has no processor but this one."""
        try:
            (only,) = span._span_processor._span_processors  # noqa: SLF001
        except (AttributeError, TypeError, ValueError):  # there are others, or this is another SDK
            return False
        return only is self

    def put(self, span: ReadableSpan) -> None:
        """Queue a span that is to be delivered."""
        if self.batch is not None:
            self.batch.put(taken(span))

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


_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


def _after_fork() -> None:
    for relay in list(_relays):
        if relay.sampler is not None:
            relay.sampler._renew()  # noqa: SLF001 - what is held back is the parent's to deliver


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
