"""Rows of `metrics`: one for each data point of an OTLP metrics request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tracekit_collector import anyvalue
from tracekit_collector._event_rows import utc
from tracekit_collector.normalise import resource_columns
from tracekit_collector.schema import SCHEMA_VERSION

_LAST_NS = 2**63 - 1
_TEMPORALITY = {1: "delta", 2: "cumulative"}


def metric_rows(request: ExportMetricsServiceRequest, *, received_ns: int, digest: str) -> list[dict[str, object]]:
    """The rows of `metrics` that a request holds.

    Args:
        request: The decoded request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.
        digest: The request's digest: with a point's place in the request it is the row's id.
    """
    rows: list[dict[str, object]] = []
    for resource_metrics in request.resource_metrics:
        known = resource_columns(anyvalue.python_attributes(resource_metrics.resource.attributes))
        resource = anyvalue.resource_text(resource_metrics.resource, resource_metrics.schema_url)
        for scope_metrics in resource_metrics.scope_metrics:
            common = {
                "resource": resource,
                "scope": anyvalue.scope_text(scope_metrics.scope, scope_metrics.schema_url),
                "service_name": known.get("service_name"),
                "project": known.get("project"),
                "received_at": utc(received_ns),
                "schema_version": SCHEMA_VERSION,
            }
            for metric in scope_metrics.metrics:
                for point in _points(metric, received_ns):
                    rows.append({**common, **point, "metric_id": f"{digest}-{len(rows)}"})
    return rows


def _points(metric: Metric, received_ns: int) -> Iterator[dict[str, object]]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    said = {
        "name": metric.name,
        "unit": metric.unit or None,
        "description": metric.description or None,
        "kind": kind,
        "temporality": _TEMPORALITY.get(getattr(data, "aggregation_temporality", 0)),
        "monotonic": data.is_monotonic if kind == "sum" else None,
    }
    for point in data.data_points:
        at = point.time_unix_nano if 0 < point.time_unix_nano <= _LAST_NS else received_ns
        time = utc(at)
        yield {
            **said,
            **_VALUES[kind](point),
            "date": time.date(),
            "time": time,
            "time_ns": at,
            "start_ns": point.start_time_unix_nano if 0 < point.start_time_unix_nano <= _LAST_NS else None,
            "attributes": anyvalue.attributes_text(point.attributes),
            "flags": point.flags,
        }


def _number(point: Any) -> dict[str, object]:
    held = point.WhichOneof("value")
    return {"value": None if held is None else float(getattr(point, held))}


def _histogram(point: Any) -> dict[str, object]:
    buckets = {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts)}
    return {**_spread(point), "buckets": orjson.dumps(buckets).decode()}


def _exponential(point: Any) -> dict[str, object]:
    buckets = {
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": point.zero_threshold,
        "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
        "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
    }
    return {**_spread(point), "buckets": orjson.dumps(buckets).decode()}


def _summary(point: Any) -> dict[str, object]:
    quantiles = [{"quantile": each.quantile, "value": each.value} for each in point.quantile_values]
    return {
        "count": _count(point.count),
        "sum": point.sum,
        "buckets": orjson.dumps({"quantiles": quantiles}).decode(),
    }


def _spread(point: Any) -> dict[str, object]:
    held = {name: getattr(point, name) for name in ("sum", "min", "max") if point.HasField(name)}
    return {"count": _count(point.count), **held}


def _count(number: int) -> int | None:
    return number if number <= _LAST_NS else None


_VALUES = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
