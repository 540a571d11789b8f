"""Spans of this process into one store for as long as a block lasts, wherever they go otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tracekit
from tracekit import _delivery, _outlets
from tracekit._runtime import Line, runtime

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_PATIENCE = 60.0  # seconds that the last spans may take to the disk


@contextlib.contextmanager
def recording(store: Store) -> Iterator[None]:
    """Let the spans and records of this process go to a store, and back to where they went before.

    Who and what they say of themselves (project, agent, redaction) stays as the process has configured it; a process
    that has not, or whose tracing is off, is configured for the block alone.

    Args:
        store: Where they go.
    """
    if not runtime.started or runtime.tracer is None or runtime.relay is None:
        started = runtime.started
        tracekit.init(store=store.location, disabled=False)
        try:
            yield
        finally:
            tracekit.shutdown(_PATIENCE)
            runtime.started = started
        return
    relay = runtime.relay
    with runtime.lock:
        before = runtime.lines, runtime.open_outlet, runtime.logger, relay.batch

        def opener(signal: Any) -> _outlets.InboxOutlet:
            return _outlets.InboxOutlet(store.inbox, signal, runtime.redactor)

        outlet = opener("traces")
        line = Line(_delivery.batch_for(outlet, "spans"), outlet)
        runtime.lines, runtime.open_outlet, runtime.logger, relay.batch = {"traces": line}, opener, None, line.batch
    try:
        yield
    finally:
        with runtime.lock:
            ours = list(runtime.lines.values())
            runtime.lines, runtime.open_outlet, runtime.logger, relay.batch = before
        for each in ours:
            each.close(time.monotonic() + _PATIENCE)
