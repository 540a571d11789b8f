"""Processors at the door: what happens to a request between its decoding and its acknowledgement.

A processor is a plugin of the group `tracekit.processors`: a factory that returns a callable, which is given a decoded
`ExportTraceServiceRequest` or `ExportLogsServiceRequest` and returns the request to keep, or `None` for nothing. It may
change the request that it is given.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracekit import plugins
from tracekit.errors import PluginError, StoreError
from tracekit_collector.processors import _match

__all__ = ["GROUP", "Pipeline", "Processor"]

GROUP = "tracekit.processors"

Processor = Callable[[Any], Any]
"""A request to export spans or log records in; the request to keep out, or `None` for nothing of it."""

logger = logging.getLogger(__name__)


class Pipeline:
    """Processors in a row, applied to each request in place.

    A processor that raises costs nothing: the request is kept as that processor was given it, the fault is counted, and
    said once. One whose attribute `fail_closed` is true, as redaction's is, must not be skipped: the request is then
    refused in a way that its sender tries again, so that nothing is acknowledged that is not kept, and nothing is kept
    that should have been hidden.

    Args:
        processors: By name, in order.

    Example:
        >>> from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        >>> pipeline = Pipeline.load(["drop?name=ping"])
        >>> request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [{"name": "ping"}]}]}])
        >>> pipeline("traces", request), len(request.resource_spans)
        (True, 0)
    """

    def __init__(self, processors: Iterable[tuple[str, Processor]]) -> None:
        self._processors = list(processors)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._mutex = threading.Lock()
        self._said: set[str] = set()

    @classmethod
    def load(cls, specs: Iterable[str | Mapping[str, object]]) -> Pipeline:
        """The processors that specs name, in their order.

        Args:
            specs: `name?key=value`, `package.module:factory?key=value`, or mappings with `use`.

        Raises:
            PluginError: There is no such processor, or it does not take these parameters.
        """
        found: list[tuple[str, Processor]] = []
        for each in specs:
            spec = plugins.parse(each)
            made = plugins.load(GROUP, spec)
            if not callable(made):
                raise PluginError(f"the processor {spec.use} gave a {type(made).__name__}, which cannot be called")
            found.append((spec.use, made))
        return cls(found)

    @property
    def processors(self) -> list[Processor]:
        """The processors, in order."""
        return [processor for _, processor in self._processors]

    def __call__(self, kind: str, request: Any) -> bool:
        """Process a request in place.

        Args:
            kind: `traces` or `logs`; anything else is left alone.
            request: The decoded request; may hold fewer items afterwards, or none.

        Returns:
            Whether anything changed.

        Raises:
            StoreError: A processor that must not be skipped failed; the request has to be refused.
        """
        if kind not in ("traces", "logs"):
            return False
        changed = False
        for name, processor in self._processors:
            before = type(request)()
            before.CopyFrom(request)
            try:
                after = processor(request)
            except Exception as error:  # noqa: BLE001 - a plugin's own fault, whatever it is
                request.CopyFrom(before)
                self._fault(name, error)
                if getattr(processor, "fail_closed", False):
                    refused = f"the processor {name} failed, so the request is not kept; send it again"
                    raise StoreError(refused) from None
                continue
            if after is None:
                request.Clear()
            elif after is not request:
                request.CopyFrom(after)
            if request != before:
                changed = True
                self._count(name, _match.count(before) - _match.count(request))
        return changed

    def stats(self) -> dict[str, dict[str, int]]:
        """By processor: `changed` requests, `dropped` spans and records, `failed` requests."""
        found: dict[str, dict[str, int]] = {
            name: {"changed": 0, "dropped": 0, "failed": 0} for name, _ in self._processors
        }
        with self._mutex:
            for (name, what), count in self._counts.items():
                found[name][what] += count
        return found

    def gauges(self) -> dict[str, float | None]:
        """The same for `/metrics`."""
        return {
            f'processed_total{{processor="{name}",what="{what}"}}': count
            for name, counts in self.stats().items()
            for what, count in counts.items()
        }

    def __len__(self) -> int:
        return len(self._processors)

    def _count(self, name: str, dropped: int) -> None:
        with self._mutex:
            self._counts[name, "changed"] += 1
            self._counts[name, "dropped"] += max(0, dropped)

    def _fault(self, name: str, error: Exception) -> None:
        with self._mutex:
            self._counts[name, "failed"] += 1
            told = f"{name}: {type(error).__name__}"
            first = told not in self._said
            self._said.add(told)
        if first:
            said = "the processor %s failed (%s: %s); this is said once, and counted"
            logger.warning(said, name, type(error).__name__, error)
