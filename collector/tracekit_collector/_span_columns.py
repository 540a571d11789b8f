"""Spans of many requests as columns: one list for each, appended to straight from the protobuf messages."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracekit.errors import DecodeError
from tracekit_collector import anyvalue, folding
from tracekit_collector.dialects import Event, RawSpan
from tracekit_collector.normalise import normalise, resource_columns
from tracekit_collector.prices import add_cost
from tracekit_collector.schema import SCHEMA_VERSION, SPANS

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
LAST_NS = 2**63 - 1
_DAY_NS = 86_400 * 10**9
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)
_from_bytes = int.from_bytes
_DROPPED = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")
_CLOCK = frozenset({"date", "start_time"})  # columns that follow from start_ns

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A span or record that cannot be kept.

    Args:
        what: Which it is: its name and ids.
        reason: What is wrong with it.
    """

    what: str
    reason: str


class SpanColumns:
    """The columns of `spans` in the making.

    Args:
        fold: Whether a text that stands in another column too is stored once, as a reference (see `folding`).
    """

    def __init__(self, *, fold: bool = True) -> None:
        self._fold = fold
        self._derived: list[dict[str, object]] = []
        self._own: list[tuple[object, ...]] = []
        self.keys = array("Q")

    def __len__(self) -> int:
        return len(self._own)

    def add(self, request: ExportTraceServiceRequest, *, received_ns: int) -> list[Refusal]:
        """Append the spans of a request; returns what was refused, and why.

        Args:
            request: The decoded request.
            received_ns: When it arrived, in nanoseconds since 1970 UTC.
        """
        refusals: list[Refusal] = []
        for resource_spans in request.resource_spans:
            resource = anyvalue.python_attributes(resource_spans.resource.attributes)
            known = resource_columns(resource)
            resource_text = anyvalue.resource_text(resource_spans.resource, resource_spans.schema_url)
            for scope_spans in resource_spans.scope_spans:
                scope = scope_spans.scope
                same = (resource_text, anyvalue.scope_text(scope, scope_spans.schema_url), received_ns // 1000)
                said = (resource, known, scope.name, scope.version)
                for span in scope_spans.spans:
                    try:
                        self._add_span(span, *said, same)
                    except DecodeError as error:
                        what = f"span {span.name!r} ({span.trace_id.hex()}/{span.span_id.hex()})"
                        refusals.append(Refusal(what, str(error)))
        return refusals

    def named(self) -> set[tuple[str, str]]:
        """The agents that spans name, each with its version."""
        found = {(row.get("agent_name"), row.get("agent_version")) for row in self._derived}
        return {(str(name), str(version)) for name, version in found if name is not None and version is not None}

    def table(self) -> pa.Table:
        """The rows as an Arrow table with every column of `spans`."""
        count = len(self._own)
        derived = set().union(*self._derived) if self._derived else set()
        own = dict(zip(_OWN, zip(*self._own, strict=True) if count else repeat(()), strict=False))
        start_ns = pa.array(own["start_ns"], pa.int64())
        columns = []
        for field in SPANS:
            name = field.name
            if name in _CLOCK:
                columns.append(_of_clock(name, start_ns))
            elif name == "start_ns":
                columns.append(start_ns)
            elif name == "schema_version":
                columns.append(pa.repeat(pa.scalar(SCHEMA_VERSION, field.type), count))
            elif name in own:
                columns.append(pa.array(own[name], field.type))
            elif name in derived:
                columns.append(pa.array([row.get(name) for row in self._derived], field.type))
            else:
                columns.append(pa.nulls(count, field.type))
        return pa.Table.from_arrays(columns, schema=SPANS)

    def _add_span(
        self,
        span: Span,
        resource: dict[str, object],
        known: dict[str, object],
        scope_name: str,
        scope_version: str,
        same: tuple[object, ...],
    ) -> None:
        trace_id, span_id, start = span.trace_id, span.span_id, span.start_time_unix_nano
        if len(trace_id) != 16 or trace_id == _NO_TRACE:
            raise DecodeError("the trace id is not 16 bytes with one that is not 0")
        if len(span_id) != 8 or span_id == _NO_SPAN:
            raise DecodeError("the span id is not 8 bytes with one that is not 0")
        if start > LAST_NS:
            raise DecodeError("it starts after the year 2262")
        name, kind, end, parent = span.name, span.kind, span.end_time_unix_nano, span.parent_span_id
        code, message = 0, ""
        if span.HasField("status"):
            code, message = span.status.code, span.status.message
        status = STATUSES[code] if 0 <= code < 3 else str(code)
        kind_text = KINDS[kind] if 0 <= kind < 6 else str(kind)
        given, events, links = span.attributes, span.events, span.links
        attributes, special = anyvalue.read_attributes(given)
        read = [Event(each.name, each.time_unix_nano, anyvalue.python_attributes(each.attributes)) for each in events]
        raw = RawSpan(name, kind_text, attributes, read, resource, scope_name, scope_version, status, message)
        derived = _derived(raw, known)
        add_cost(derived, attributes, start)
        references = folding.references(attributes, derived)
        text = anyvalue.attributes_text(given, attributes, references, special)
        if self._fold:
            folding.fold(derived)
        whole = start <= end <= LAST_NS
        row = (
            trace_id.hex(),
            span_id.hex(),
            parent.hex() if parent and parent != _NO_SPAN else None,
            name,
            kind_text,
            start,
            end - start if end and whole else None,
            status,
            message or None,
            text,
            anyvalue.events_text(span) if events else None,
            anyvalue.links_text(span) if links else None,
            span.trace_state or None,
            span.flags,
            _dropped(span, 0 if whole else end),
            *same,
        )
        # Nothing below raises: a span is in every column or in none.
        self._own.append(row)
        self._derived.append(derived)
        self.keys.append(_from_bytes(trace_id[8:], "big") ^ _from_bytes(span_id, "big"))


def _derived(span: RawSpan, known: Mapping[str, object]) -> dict[str, Any]:
    try:
        return normalise(span, known=known)
    except Exception:  # a fault in a dialect costs the derived columns of one span, not the span
        logger.exception("the span %r could not be normalised; it is kept as it came", span.name)
        return {**known, "step": "span"}


def _dropped(span: Span, end: int) -> str | None:
    """What no other column holds: the dropped counts, and an end that gives no duration."""
    if not (end or span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count):
        return None
    entry = {name: count for name in _DROPPED if (count := getattr(span, name))}
    if end:
        entry["end_ns"] = end
    return orjson.dumps(entry).decode()


def _of_clock(name: str, start_ns: pa.Array) -> pa.Array:
    if name == "date":
        return pc.divide(start_ns, _DAY_NS).cast(pa.int32()).cast(pa.date32())
    return pc.divide(start_ns, 1000).cast(pa.timestamp("us"))


_OWN = (
    *("trace_id", "span_id", "parent_span_id", "name", "kind", "start_ns", "duration_ns", "status", "status_message"),
    *("attributes", "events", "links", "trace_state", "flags", "dropped", "resource", "scope", "received_at"),
)
