"""What the collector tells of itself: counts and times, in Prometheus' text format.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HELP = {
    "requests_total": ("counter", "Requests that were answered, by door, signal and status code."),
    "items_total": ("counter", "Spans, log records and metrics that were taken."),
    "refused_items_total": ("counter", "Spans, log records and metrics that were refused within requests."),
    "refusals_total": ("counter", "Requests that were refused, by reason."),
    "in_flight_bytes": ("gauge", "Bytes of requests that are held and not yet on the disk."),
    "in_flight_requests": ("gauge", "Requests that are being received or written."),
    "queue_depth": ("gauge", "Requests that wait for the disk."),
    "backlog_bytes": ("gauge", "Bytes of the inbox that queries do not see yet."),
    "settle_lag_seconds": ("gauge", "Age of the oldest request that queries do not see yet."),
    "settle_failing": ("gauge", "1 while settling fails."),
    "processed_total": ("counter", "What processors did, by processor: requests changed or failed, items dropped."),
    "forwarded_total": ("counter", "Requests that were sent on, by target, and what else became of them."),
    "forward_waiting_bytes": ("gauge", "Bytes that wait to be sent on, by target."),
    "forward_failing": ("gauge", "1 while a target does not take what is sent on."),
    "sampled_traces_total": ("counter", "Traces that tail sampling decided on, by why they stay, or that they do not."),
    "quarantined_files": ("gauge", "Stretches of segments that could not be read and were put aside."),
}

Labels = tuple[tuple[str, str], ...]


class Meter:
    """Counts what the doors do; safe to share between threads.

    Example:
        >>> meter = Meter()
        >>> meter.count("refusals_total", reason="busy")
        >>> 'tracekit_refusals_total{reason="busy"} 1' in meter.text()
        True
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._gauges: list[Callable[[], Mapping[str, float | None]]] = []
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count something.

        Args:
            name: Its name, without the prefix.
            amount: How many.
            labels: What tells it from others of its name.
        """
        with self._mutex:
            self._counts[name, tuple(sorted(labels.items()))] += amount

    def counted(self, name: str, **labels: str) -> int:
        """How many were counted with these labels, whatever others they have."""
        wanted = set(labels.items())
        with self._mutex:
            return sum(n for (each, has), n in self._counts.items() if each == name and wanted <= set(has))

    def acknowledged(self, seconds: float) -> None:
        """Take down how long a request waited for its acknowledgement."""
        with self._mutex:
            self._buckets[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def watch(self, gauges: Callable[[], Mapping[str, float | None]]) -> None:
        """Have gauges read whenever somebody asks; an unknown one is `None` and left out.

        A name may carry labels as Prometheus writes them: `waiting_bytes{target="a"}`.
        """
        self._gauges.append(gauges)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        with self._mutex:
            counts = sorted(self._counts.items())
            buckets, seconds = list(self._buckets), self._seconds
        samples: dict[str, list[str]] = {}
        for (name, labels), amount in counts:
            samples.setdefault(name, []).append(f"tracekit_{name}{label_text(labels)} {amount}")
        for gauges in self._gauges:
            for name, value in gauges().items():
                if value is not None:
                    samples.setdefault(name.partition("{")[0], []).append(f"tracekit_{name} {value:.10g}")
        lines = []
        for name, found in samples.items():
            kind, told = _HELP.get(name, ("untyped", name))
            lines += [f"# HELP tracekit_{name} {told}", f"# TYPE tracekit_{name} {kind}", *found]
        lines += _histogram(buckets, seconds)
        return "\n".join(lines) + "\n"


def _histogram(buckets: list[int], seconds: float) -> list[str]:
    name = "tracekit_acknowledgement_seconds"
    lines = [f"# HELP {name} Time from a request's arrival to its acknowledgement.", f"# TYPE {name} histogram"]
    total = 0
    for bound, amount in zip((*_BOUNDS, None), buckets, strict=True):
        total += amount
        lines.append(f'{name}_bucket{{le="{"+Inf" if bound is None else bound}"}} {total}')
    return [*lines, f"{name}_sum {seconds:.6f}", f"{name}_count {total}"]


def label_text(labels: Labels) -> str:
    """Labels as Prometheus writes them, quoted."""
    if not labels:
        return ""
    quoted = (
        f'{key}="{value}"'
        for key, raw in labels
        for value in [raw.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")]
    )
    return "{" + ",".join(quoted) + "}"
