"""What a server counts of its requests, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

from tracekit_collector.health import label_text

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_HELP = {
    "requests_total": ("counter", "Requests that were answered, by endpoint, version and status code."),
    "workers": ("gauge", "Workers that can answer, by version."),
    "running": ("gauge", "Requests that workers hold, by version."),
    "waiting": ("gauge", "Requests that wait for a worker, by version."),
    "restarts_total": ("counter", "Workers that were replaced, by version."),
    "reloads_total": ("counter", "Times that another version took over."),
    "reload_failing": ("gauge", "1 while the version that is to be served cannot be made ready."),
}


class Metrics:
    """Counts of one server; used by its loop alone.

    Example:
        >>> metrics = Metrics()
        >>> metrics.answered("/invocations", "1.2", 200, 0.02)
        >>> 'tracekit_serve_requests_total{endpoint="/invocations",status="200",version="1.2"} 1' in metrics.text({})
        True
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def answered(self, endpoint: str, version: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            endpoint: Its path, which is one of a few.
            version: The version that answered.
            status: The HTTP status.
            seconds: How long it took.
        """
        self._requests[endpoint, version, status] += 1
        buckets = self._buckets.get(version)
        if buckets is None:
            buckets = self._buckets[version] = [0] * (len(_BOUNDS) + 1)
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[version] += seconds

    def text(self, gauges: Mapping[tuple[str, str | None], float]) -> str:
        """Everything, as Prometheus reads it.

        Args:
            gauges: What else there is, by name and version.
        """
        samples: dict[str, list[str]] = {}
        for (endpoint, version, status), amount in sorted(self._requests.items()):
            labels = label_text((("endpoint", endpoint), ("status", str(status)), ("version", version)))
            samples.setdefault("requests_total", []).append(f"tracekit_serve_requests_total{labels} {amount}")
        for (name, of), value in gauges.items():
            labels = "" if of is None else label_text((("version", of),))
            samples.setdefault(name, []).append(f"tracekit_serve_{name}{labels} {value:.10g}")
        lines: list[str] = []
        for name, found in samples.items():
            kind, told = _HELP[name]
            lines += [f"# HELP tracekit_serve_{name} {told}", f"# TYPE tracekit_serve_{name} {kind}", *found]
        return "\n".join([*lines, *self._histogram()]) + "\n"

    def _histogram(self) -> list[str]:
        name = "tracekit_serve_request_seconds"
        lines = [f"# HELP {name} Time from a request's arrival to its answer, by version.", f"# TYPE {name} histogram"]
        for version, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, amount in zip((*_BOUNDS, None), buckets, strict=True):
                total += amount
                labels = label_text((("le", "+Inf" if bound is None else f"{bound:g}"), ("version", version)))
                lines.append(f"{name}_bucket{labels} {total}")
            own = label_text((("version", version),))
            lines += [f"{name}_sum{own} {self._seconds[version]:.6f}", f"{name}_count{own} {total}"]
        return lines
