"""From rows of `spans` back to an OTLP request, value and type equal to what came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tracekit.errors import DecodeError
from tracekit_collector import anyvalue
from tracekit_collector.folding import unfold
from tracekit_collector.rows import KINDS, STATUSES

__all__ = ["request_of"]

Row = Mapping[str, Any]


def request_of(rows: Iterable[Row]) -> ExportTraceServiceRequest:
    """One request with the spans of these rows, grouped by resource and scope in the order of their first span.

    Args:
        rows: Rows of `spans` with all that they were stored with; derived columns only where attributes refer to them.

    Raises:
        DecodeError: A row's stored text is damaged.
    """
    request = ExportTraceServiceRequest()
    resources: dict[str, ResourceSpans] = {}
    scopes: dict[tuple[str, str], ScopeSpans] = {}
    for row in rows:
        resource_text, scope_text = row.get("resource") or "{}", row.get("scope") or "{}"
        if resource_text not in resources:
            resource_spans = request.resource_spans.add()
            resource_spans.schema_url = anyvalue.resource_of(resource_text, resource_spans.resource)
            resources[resource_text] = resource_spans
        if (resource_text, scope_text) not in scopes:
            scope_spans = resources[resource_text].scope_spans.add()
            scope_spans.schema_url = anyvalue.scope_of(scope_text, scope_spans.scope)
            scopes[resource_text, scope_text] = scope_spans
        _fill(row, scopes[resource_text, scope_text].spans.add())
    return request


def _fill(row: Row, span: Span) -> None:
    try:
        span.trace_id = bytes.fromhex(row["trace_id"])
        span.span_id = bytes.fromhex(row["span_id"])
        span.parent_span_id = bytes.fromhex(row.get("parent_span_id") or "")
    except ValueError as error:
        raise DecodeError(f"span {row.get('span_id')}: an id is not hex: {error}") from error
    span.name = row.get("name") or ""
    span.kind = _number(row.get("kind"), KINDS)  # type: ignore[assignment]  # protobuf takes any number here
    span.trace_state = row.get("trace_state") or ""
    span.flags = row.get("flags") or 0
    span.start_time_unix_nano = row["start_ns"]
    beside = anyvalue.loaded(row["dropped"]) if row.get("dropped") else {}
    if row.get("duration_ns") is not None:
        span.end_time_unix_nano = row["start_ns"] + row["duration_ns"]
    else:
        span.end_time_unix_nano = beside.get("end_ns", 0)
    for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        setattr(span, name, beside.get(name, 0))
    code = _number(row.get("status"), STATUSES)
    if code or row.get("status_message"):
        span.status.code = code  # type: ignore[assignment]  # as above
        span.status.message = row.get("status_message") or ""
    anyvalue.attributes_of(unfold(row.get("attributes") or "{}", row), span.attributes)
    anyvalue.events_of(row.get("events"), span.events)
    anyvalue.links_of(row.get("links"), span.links)


def _number(word: str | None, words: tuple[str, ...]) -> int:
    if word in words:
        return words.index(word)
    return int(word) if word and word.isdecimal() else 0
