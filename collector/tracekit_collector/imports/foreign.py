"""Another tool's spans and runs as OTLP requests, equal bytes for equal content, so that a second import is known.

Ids are kept where they are what OTLP takes (32 and 16 hex digits, a UUID counts without its dashes); others become a
digest of themselves.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tracekit import attributes as names
from tracekit.tracking.points import AT_ONCE, Point, packed
from tracekit_collector.anyvalue import MAX_DEPTH
from tracekit_collector.rows import STATUSES

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HEX = re.compile(r"[0-9a-f]+")
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


@dataclass
class ForeignEvent:
    """An event of a span: its name, nanoseconds since 1970, and attributes."""

    name: str
    time_ns: int
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass
class ForeignSpan:
    """A span as another tool had it.

    Args:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; empty on a root.
        name: What it is called.
        start_ns: Nanoseconds since 1970.
        end_ns: Nanoseconds since 1970; 0 where it did not end.
        attributes: As the tool has them.
        status: `unset`, `ok` or `error`.
        message: What went wrong.
        events: Its events.
        links: Trace id and span id of each span that it refers to.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, object] = field(default_factory=dict)
    status: str = "unset"
    message: str = ""
    events: Sequence[ForeignEvent] = ()
    links: Sequence[tuple[str, str]] = ()


def trace_id_of(text: str) -> str:
    """A trace's id in 32 hex digits.

    Example:
        >>> trace_id_of("tr-0af7651916cd43dd8448eb211c80319c")
        '0af7651916cd43dd8448eb211c80319c'
    """
    return _hex_id(text.removeprefix("tr-"), 32, text)


def span_id_of(text: str) -> str:
    """A span's id in 16 hex digits.

    Example:
        >>> span_id_of("00f067aa0ba902b7"), span_id_of("first")
        ('00f067aa0ba902b7', 'a7937b64b8caa58f')
    """
    return _hex_id(text, 16, text)


def run_id_of(text: str) -> str:
    """The ULID that another tool's run has here: its own 128 bits where it has so many, else a digest of its id.

    Example:
        >>> run_id_of("00000000000000000000000000000021")
        '00000000000000000000000011'
    """
    number = int(_hex_id(text, 32, text), 16)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def trace_request(
    spans: Iterable[ForeignSpan], *, resource: Mapping[str, object], scope: str, version: str = ""
) -> bytes:
    """An OTLP request with spans, ordered so that the same spans have the same bytes.

    Args:
        spans: The spans.
        resource: Attributes of what they come from.
        scope: The name of their scope.
        version: Its version.
    """
    request = ExportTraceServiceRequest()
    inner = request.resource_spans.add()
    attributes_into(resource, inner.resource.attributes)
    scoped = inner.scope_spans.add()
    scoped.scope.name, scoped.scope.version = scope, version
    for span in sorted(spans, key=lambda each: (each.trace_id, each.start_ns, each.span_id)):
        made = scoped.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_id),
            name=clean(span.name),
            kind=1,
            start_time_unix_nano=max(0, span.start_ns),
            end_time_unix_nano=max(0, span.end_ns),
        )
        attributes_into(span.attributes, made.attributes)
        if span.status != "unset" or span.message:
            made.status.code = STATUSES.index(span.status)  # type: ignore[assignment]  # protobuf takes the number
            made.status.message = clean(span.message)
        for event in span.events:
            told = made.events.add(name=clean(event.name), time_unix_nano=max(0, event.time_ns))
            attributes_into(event.attributes, told.attributes)
        for trace_id, span_id in span.links:
            made.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id))
    return request.SerializeToString(deterministic=True)


def run_request(
    run_id: str,
    records: Iterable[tuple[int, Mapping[str, object]]],
    points: Sequence[Point],
    *,
    project: str | None,
) -> bytes:
    """An OTLP request that says what a tracked run was, as the program that tracked it would have said it.

    Args:
        run_id: Its ULID.
        records: Nanoseconds since 1970, and what is new of the run; mappings and lists become JSON.
        points: Its series, in an order that stays as it is.
        project: Whose it is.
    """
    request = ExportLogsServiceRequest()
    inner = request.resource_logs.add()
    attributes_into({} if project is None else {names.PROJECT: project}, inner.resource.attributes)
    scoped = inner.scope_logs.add()
    scoped.scope.name = "tracekit.imports"
    for time_ns, facts in records:
        record = scoped.log_records.add(event_name=names.RUN_EVENT, time_unix_nano=time_ns)
        told = {key: as_json(value) if isinstance(value, Mapping) else value for key, value in facts.items()}
        attributes_into({names.RUN: run_id, **told}, record.attributes)
    writer = hashlib.sha256(f"points of {run_id}".encode()).hexdigest()[:16]
    for first in range(0, len(points), AT_ONCE):
        series, body = packed(points[first : first + AT_ONCE], writer=writer, first=first)
        record = scoped.log_records.add(event_name=names.RUN_POINTS_EVENT, time_unix_nano=points[first][3])
        attributes_into({names.RUN: run_id, names.RUN_POINTS_NAMES: series}, record.attributes)
        record.body.bytes_value = body
    return request.SerializeToString(deterministic=True)


def attributes_into(attributes: Mapping[str, object], into: Any) -> None:
    """Append attributes to a repeated `KeyValue` field; what is unknown is left out."""
    for key, value in attributes.items():
        if value is not None:
            _fill(into.add(key=clean(str(key))).value, value, 0)


def as_json(value: object) -> str:
    """A value as JSON text; what JSON cannot say becomes text."""
    return clean(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode())


def clean(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def digest_of(*parts: object) -> str:
    """32 hex digits that stand for some values."""
    return hashlib.sha256(orjson.dumps(parts, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _hex_id(text: str, digits: int, whole: str) -> str:
    plain = text.replace("-", "").lower()
    if len(plain) == digits and _HEX.fullmatch(plain) and plain.strip("0"):
        return plain
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:digits]


def _fill(into: AnyValue, value: object, depth: int) -> None:
    if isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int) and _LEAST <= value <= _MOST:
        into.int_value = value
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, bytes):
        into.bytes_value = value
    elif isinstance(value, (Mapping, list, tuple)) and depth >= MAX_DEPTH - 1:
        into.string_value = as_json(value)
    elif isinstance(value, Mapping):
        into.kvlist_value.SetInParent()
        for key, item in value.items():
            _fill(into.kvlist_value.values.add(key=clean(str(key))).value, item, depth + 1)
    elif isinstance(value, (list, tuple)):
        into.array_value.SetInParent()
        for item in value:
            _fill(into.array_value.values.add(), item, depth + 1)
    elif value is not None:
        into.string_value = clean(str(value))


def real(value: object) -> float | None:
    """A finite number; `None` for anything else.

    Example:
        >>> real("0.5"), real(float("nan")), real("x")
        (0.5, None, None)
    """
    try:
        found = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
