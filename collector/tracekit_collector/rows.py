"""From an OTLP request to rows of the lake: spans, log records, and what some log records say besides.

The way back from span rows to a request is `tracekit_collector.otlp_export`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from tracekit import attributes as names
from tracekit.errors import DecodeError
from tracekit_collector import anyvalue, folding
from tracekit_collector._event_rows import inference_rows, score_rows, utc, version_rows
from tracekit_collector.dialects import Event, RawSpan
from tracekit_collector.normalise import normalise, resource_columns
from tracekit_collector.schema import SCHEMA_VERSION, SPANS

__all__ = ["Refusal", "inference_rows", "log_rows", "score_rows", "span_rows", "version_rows"]

logger = logging.getLogger(__name__)

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
_LAST_NS = 2**63 - 1
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)
_EMPTY_ROW: dict[str, object] = dict.fromkeys(SPANS.names)
_DROPPED = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")


@dataclass(frozen=True)
class Refusal:
    """A span or record that cannot be kept.

    Args:
        what: Which it is: its name and ids.
        reason: What is wrong with it.
    """

    what: str
    reason: str


def span_rows(request: ExportTraceServiceRequest, *, received_ns: int) -> tuple[list[dict[str, object]], list[Refusal]]:
    """The rows of `spans` that a request holds.

    Args:
        request: The decoded request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.

    Returns:
        One row for each valid span, with every column; and what was refused, and why.
    """
    rows: list[dict[str, object]] = []
    refusals: list[Refusal] = []
    received = utc(received_ns)
    for resource_spans in request.resource_spans:
        resource = anyvalue.python_attributes(resource_spans.resource.attributes)
        known = resource_columns(resource)
        resource_text = anyvalue.resource_text(resource_spans.resource, resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            common: dict[str, object] = {
                **_EMPTY_ROW,
                "resource": resource_text,
                "scope": anyvalue.scope_text(scope_spans.scope, scope_spans.schema_url),
                "received_at": received,
                "schema_version": SCHEMA_VERSION,
            }
            for span in scope_spans.spans:
                reason = _why_not(span)
                if reason is None:
                    try:
                        rows.append({**common, **_span_row(span, scope_spans, resource, known)})
                    except DecodeError as error:
                        reason = str(error)
                if reason is not None:
                    what = f"span {span.name!r} ({span.trace_id.hex()}/{span.span_id.hex()})"
                    refusals.append(Refusal(what, reason))
    return rows, refusals


def log_rows(request: ExportLogsServiceRequest, *, received_ns: int, digest: str) -> list[dict[str, object]]:
    """The rows of `logs` that a request holds.

    Args:
        request: The decoded request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.
        digest: The request's digest: with a record's place in the request it is the record's id.

    Returns:
        One row for each record; records of served inferences are not among them (see `inference_rows`).
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
                row = _log_row(record, received_ns)
                if row["event_name"] != names.INFERENCE_EVENT:
                    rows.append({**common, **row, "log_id": f"{digest}-{place}"})
    return rows


def _why_not(span: Span) -> str | None:
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE:
        return "the trace id is not 16 bytes with one that is not 0"
    if len(span.span_id) != 8 or span.span_id == _NO_SPAN:
        return "the span id is not 8 bytes with one that is not 0"
    if span.start_time_unix_nano > _LAST_NS:
        return "it starts after the year 2262"
    return None


def _span_row(
    span: Span, scope_spans: ScopeSpans, resource: dict[str, object], known: Mapping[str, object]
) -> dict[str, object]:
    attributes = anyvalue.python_attributes(span.attributes)
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    status = STATUSES[span.status.code] if 0 <= span.status.code < len(STATUSES) else str(span.status.code)
    raw = RawSpan(
        span.name,
        KINDS[span.kind] if 0 <= span.kind < len(KINDS) else str(span.kind),
        attributes,
        [
            Event(event.name, event.time_unix_nano, anyvalue.python_attributes(event.attributes))
            for event in span.events
        ],
        resource,
        scope_spans.scope.name,
        scope_spans.scope.version,
        status,
        span.status.message,
    )
    columns = _derived(raw, known)
    references = folding.references(attributes, columns)
    start_time = utc(start)
    columns.update(
        date=start_time.date(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() if span.parent_span_id.strip(b"\0") else None,
        name=span.name,
        kind=raw.kind,
        start_time=start_time,
        start_ns=start,
        duration_ns=end - start if start <= end <= _LAST_NS and end else None,
        status=status,
        status_message=span.status.message or None,
        attributes=anyvalue.attributes_text(span.attributes, attributes, references),
        events=anyvalue.events_text(span),
        links=anyvalue.links_text(span),
        trace_state=span.trace_state or None,
        flags=span.flags,
        dropped=_dropped(span),
    )
    return columns


def _derived(span: RawSpan, known: Mapping[str, object]) -> dict[str, object]:
    try:
        return normalise(span, known=known)
    except Exception:  # a fault in a dialect costs the derived columns of one span, not the span
        logger.exception("the span %r could not be normalised; it is kept as it came", span.name)
        return {**known, "step": "span"}


def _dropped(span: Span) -> str | None:
    """What no other column holds: the dropped counts, and an end that gives no duration."""
    entry = {name: count for name in _DROPPED if (count := getattr(span, name))}
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if end and not start <= end <= _LAST_NS:
        entry["end_ns"] = end
    return orjson.dumps(entry).decode() if entry else None


def _log_row(record: LogRecord, received_ns: int) -> dict[str, object]:
    attributes = anyvalue.python_attributes(record.attributes)
    at = next(
        (time for time in (record.time_unix_nano, record.observed_time_unix_nano) if 0 < time <= _LAST_NS),
        received_ns,
    )
    time = utc(at)
    dropped = record.dropped_attributes_count
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
        "session_id": _text(attributes.get(names.SESSION)) or _text(attributes.get(names.CONVERSATION)),
        "attributes": anyvalue.attributes_text(record.attributes, attributes),
        "flags": record.flags,
        "dropped": f'{{"dropped_attributes_count":{dropped}}}' if dropped else None,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive(time_ns: int) -> int | None:
    return time_ns if 0 < time_ns <= _LAST_NS else None
