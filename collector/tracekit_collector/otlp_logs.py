"""From rows of `logs` back to an OTLP request, value and type equal to what came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from tracekit.errors import DecodeError
from tracekit_collector import anyvalue

__all__ = ["log_request_of"]


def log_request_of(rows: Iterable[Mapping[str, Any]]) -> ExportLogsServiceRequest:
    """One request with the records of these rows, grouped by resource and scope in the order of their first record.

    Args:
        rows: Rows of `logs`.

    Raises:
        DecodeError: A row's stored text is damaged.
    """
    request = ExportLogsServiceRequest()
    resources: dict[str, ResourceLogs] = {}
    scopes: dict[tuple[str, str], ScopeLogs] = {}
    for row in rows:
        resource, scope = row.get("resource") or "{}", row.get("scope") or "{}"
        if resource not in resources:
            resource_logs = resources[resource] = request.resource_logs.add()
            resource_logs.schema_url = anyvalue.resource_of(resource, resource_logs.resource)
        if (resource, scope) not in scopes:
            scope_logs = scopes[resource, scope] = resources[resource].scope_logs.add()
            scope_logs.schema_url = anyvalue.scope_of(scope, scope_logs.scope)
        _fill(row, scopes[resource, scope].log_records.add())
    return request


def _fill(row: Mapping[str, Any], record: LogRecord) -> None:
    beside = anyvalue.loaded(row["dropped"]) if row.get("dropped") else {}
    try:
        record.trace_id = bytes.fromhex(row.get("trace_id") or beside.get("trace_id", ""))
        record.span_id = bytes.fromhex(row.get("span_id") or beside.get("span_id", ""))
    except ValueError as error:
        raise DecodeError(f"log record {row.get('log_id')}: an id is not hex: {error}") from error
    record.time_unix_nano = beside.get("time_ns", row.get("time_ns") or 0)
    record.observed_time_unix_nano = beside.get("observed_ns", row.get("observed_ns") or 0)
    record.event_name = beside.get("event_name", row.get("event_name") or "")
    record.severity_number = row.get("severity_number") or 0  # type: ignore[assignment]  # protobuf takes any number here
    record.severity_text = row.get("severity_text") or ""
    record.flags = row.get("flags") or 0
    record.dropped_attributes_count = beside.get("dropped_attributes_count", 0)
    if row.get("body") is not None:
        anyvalue.value_of(row["body"], record.body)
    anyvalue.attributes_of(row.get("attributes") or "{}", record.attributes)
