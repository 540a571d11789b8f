"""From an OTLP request to rows of the lake: spans, log records, and what some log records say besides.

The way back from span rows to a request is `tracekit_collector.otlp_export`.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tracekit import attributes as names
from tracekit_collector import anyvalue, run_records
from tracekit_collector._event_rows import inference_rows, score_rows, utc, version_rows
from tracekit_collector._span_columns import KINDS, STATUSES, Refusal, SpanColumns
from tracekit_collector.normalise import resource_columns
from tracekit_collector.schema import SCHEMA_VERSION

__all__ = [
    "KINDS",
    "STATUSES",
    "Refusal",
    "inference_rows",
    "log_rows",
    "score_rows",
    "span_rows",
    "version_rows",
]

_LAST_NS = 2**63 - 1


def span_rows(request: ExportTraceServiceRequest, *, received_ns: int) -> tuple[list[dict[str, object]], list[Refusal]]:
    """The rows of `spans` that a request holds.

    Args:
        request: The decoded request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.

    Returns:
        One row for each valid span, with every column; and what was refused, and why.
    """
    columns = SpanColumns(fold=False)
    refusals = columns.add(request, received_ns=received_ns)
    rows: list[dict[str, object]] = columns.table().to_pylist()
    return rows, refusals


def log_rows(request: ExportLogsServiceRequest, *, received_ns: int, digest: str) -> list[dict[str, object]]:
    """The rows of `logs` that a request holds.

    Args:
        request: The decoded request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.
        digest: The request's digest: with a record's place in the request it is the record's id.

    Returns:
        One row for each record; records of served inferences (see `inference_rows`) and of runs (see
        `run_records`) are not among them.
    """
    rows: list[dict[str, object]] = []
    place = -1
    received = utc(received_ns)
    for resource_logs in request.resource_logs:
        resource = anyvalue.python_attributes(resource_logs.resource.attributes)
        known = resource_columns(resource)
        resource_text = anyvalue.resource_text(resource_logs.resource, resource_logs.schema_url)
        for scope_logs in resource_logs.scope_logs:
            common: dict[str, object] = {
                "resource": resource_text,
                "scope": anyvalue.scope_text(scope_logs.scope, scope_logs.schema_url),
                "service_name": known.get("service_name"),
                "project": known.get("project"),
                "received_at": received,
                "schema_version": SCHEMA_VERSION,
            }
            for record in scope_logs.log_records:
                place += 1
                if run_records.is_ours(record):
                    continue
                row = _log_row(record, received_ns)
                if row["event_name"] != names.INFERENCE_EVENT:
                    rows.append({**common, **row, "log_id": f"{digest}-{place}"})
    return rows


def _log_row(record: LogRecord, received_ns: int) -> dict[str, object]:
    attributes = anyvalue.python_attributes(record.attributes)
    at = next(
        (time for time in (record.time_unix_nano, record.observed_time_unix_nano) if 0 < time <= _LAST_NS),
        received_ns,
    )
    time = utc(at)
    return {
        "date": time.date(),
        "time": time,
        "time_ns": at,
        "observed_ns": _positive(record.observed_time_unix_nano),
        "trace_id": record.trace_id.hex() if record.trace_id.strip(b"\0") else None,
        "span_id": record.span_id.hex() if record.span_id.strip(b"\0") else None,
        "event_name": record.event_name or _text(attributes.get("event.name")),
        "severity_number": record.severity_number or None,
        "severity_text": record.severity_text or None,
        "body": anyvalue.value_text(record.body) if record.HasField("body") else None,
        "session_id": _session(attributes),
        "attributes": anyvalue.attributes_text(record.attributes, attributes),
        "flags": record.flags,
        "dropped": _log_beside(record, at),
    }


def _session(attributes: Mapping[str, object]) -> str | None:
    keys = (names.SESSION, names.CONVERSATION, "conversation.id")  # the last is Codex's
    return next((value for key in keys if (value := _text(attributes.get(key))) is not None), None)


def _log_beside(record: LogRecord, at: int) -> str | None:
    """What no other column holds: the dropped count, times that are 0 or too late, a name that is an attribute."""
    entry: dict[str, object] = {}
    if record.dropped_attributes_count:
        entry["dropped_attributes_count"] = record.dropped_attributes_count
    if record.time_unix_nano != at:
        entry["time_ns"] = record.time_unix_nano
    if record.observed_time_unix_nano > _LAST_NS:
        entry["observed_ns"] = record.observed_time_unix_nano
    if not record.event_name:
        entry["event_name"] = ""
    for name in ("trace_id", "span_id"):
        value = getattr(record, name)
        if value and not value.strip(b"\0"):
            entry[name] = value.hex()
    return orjson.dumps(entry).decode() if entry else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive(time_ns: int) -> int | None:
    return time_ns if 0 < time_ns <= _LAST_NS else None
