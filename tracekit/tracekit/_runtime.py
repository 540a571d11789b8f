"""What is in force in this process: the tracer, what every span carries, and the ways out.

Light to import. Code that is traced before anybody called `init` is configured from the settings at its first span.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import _guard

if TYPE_CHECKING:
    from tracekit._batch import Batch
    from tracekit._delivery import Outlet, Relay
    from tracekit._tracer import StepTracer

_UNHEALTHY_SECONDS = 1.0

Opener = Callable[[Any], "Outlet"]


@dataclass
class Line:
    """One signal's queue and what it empties into."""

    batch: Batch[Any]
    outlet: Outlet

    def close(self, deadline: float) -> bool:
        """Deliver what there is, then let go.

        Args:
            deadline: When to give up, on the monotonic clock; a second from now if delivery fails anyway.
        """
        left = max(0.0, deadline - time.monotonic())
        flushed = self.batch.close(left if self.batch.healthy else min(left, _UNHEALTHY_SECONDS))
        self.outlet.close()
        return flushed


@dataclass
class Runtime:
    """The configuration in force; there is one, `runtime`.

    Args:
        tracer: Makes our spans; `None` while tracing is off.
        started: Whether somebody has configured this process, if only to be off.
        capture: Whether inputs and outputs are recorded.
        identity: What each of our own spans carries.
        clock: The time of spans in nanoseconds since 1970; `None` for the SDK's own.
        sink: Takes records instead of a log exporter.
        generation: How many forks lie between the first process and this one.
        lines: The ways out, by signal.
        relay: Our processor in the provider.
        resource: What records say of the process.
        open_outlet: Makes a way out for a signal.
        logger: Emits records; made when the first one comes.
        artifacts: The local store's folder for attachments; `None` where spans go to an endpoint.
        redactor: What is redacted of attachments that are texts; `None` where nothing is.
        provider: Whose spans we take.
        join: Moves what is in force to another provider, when somebody sets theirs after us.
        baggage: Whether session and user go to other services; `None` until somebody asks.
        destination: The local store's folder, or an endpoint's URL; `None` until somebody configures.
        headers: Headers for the endpoint that `init` was given.
        gathered: Emits what tracked runs hold back to send together; `None` while there is no run.
    """

    tracer: StepTracer | None = None
    started: bool = False
    capture: bool = True
    identity: dict[str, AttributeValue] = field(default_factory=dict)
    clock: Callable[[], int] | None = None
    sink: Callable[[str, dict[str, Any], Context], None] | None = None
    generation: int = 0
    lines: dict[str, Line] = field(default_factory=dict)
    relay: Relay | None = None
    resource: Any = None
    open_outlet: Opener | None = None
    logger: Any = None
    artifacts: Path | None = None
    redactor: Any = None
    provider: Any = None
    join: Callable[[Any], None] | None = None
    baggage: bool | None = None
    destination: Path | str | None = None
    headers: Mapping[str, str] | None = None
    gathered: Callable[[], None] | None = None
    lock: Any = field(default_factory=threading.RLock)

    def now(self) -> int | None:
        """The time to put on a span; `None` for the SDK's own clock."""
        return None if self.clock is None else self.clock()

    def start(self) -> StepTracer | None:
        """The tracer, configured from the settings if nobody did; `None` while tracing is off."""
        if not self.started:
            from tracekit._configuration import init  # noqa: PLC0415 - it imports this module

            with self.lock:
                if not self.started:
                    try:
                        init()
                    except Exception:  # noqa: BLE001 - decorated code must run, whatever the settings say
                        _guard.fault("starting from the settings")
                        self.started = True
        return self.tracer

    def emit(self, event: str, attributes: Mapping[str, Any], context: Context, *, body: bytes | None = None) -> None:
        """Send a record; one that cannot be sent is counted and logged.

        Args:
            event: The record's event name.
            attributes: What it says.
            context: Holds the span that it belongs to.
            body: What it holds that is no text; nothing redacts it.
        """
        self.start()
        if self.sink is not None:
            self.sink(event, dict(attributes), context)
            return
        try:
            logger = self._logger()
            if logger is not None:
                from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415 - records are rare

                now = self.now()
                record = LogRecord(
                    timestamp=time.time_ns() if now is None else now,
                    context=context,
                    severity_number=SeverityNumber.INFO,
                    body=body,
                    attributes=dict(attributes),
                    event_name=event,
                )
                logger.emit(record)
        except Exception:  # noqa: BLE001 - a record must not break the code that it is about
            _guard.fault(f"emitting {event}")

    def shares(self) -> bool:
        """Whether session and user go along in baggage; asked of the settings once."""
        if self.baggage is None:
            from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick

            try:
                self.baggage = settings.switch("baggage")
            except Exception:  # noqa: BLE001 - a file that cannot be read: tell nobody, and let init say it
                self.baggage = False
        return self.baggage

    def _logger(self) -> Any:
        with self.lock:
            if self.logger is None and self.tracer is not None and self.open_outlet is not None:
                from tracekit import _delivery  # noqa: PLC0415 - brings the SDK

                outlet = self.open_outlet("logs")
                line = Line(_delivery.batch_for(outlet, "records"), outlet)
                self.logger = _delivery.logger_for(line.batch, self.resource)
                self.lines["logs"] = line
            return self.logger


runtime = Runtime()


def _after_fork() -> None:
    runtime.generation += 1
    runtime.lock = threading.RLock()  # a thread that is not in the child may have held the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
