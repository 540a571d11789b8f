"""What came in goes out again: OTLP → store → `tracekit export --format otlp` → the same OTLP."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    EntityRef,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracekit.inbox import SegmentWriter
from tracekit_collector.export import export
from tracekit_collector.store import Store

LATEST = 2**63 - 1
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "$ref", "$bytes", "\u2028", "\0", "💥", "None", "{}", '{"a": [1]}', "x" * 300, "gpt-4o"]),
)
KEYS = st.one_of(
    TEXTS,
    st.sampled_from(
        [
            "gen_ai.operation.name",
            "gen_ai.request.model",
            "gen_ai.usage.input_tokens",
            "gen_ai.input.messages",
            "input.value",
            "output.value",
            "openinference.span.kind",
            "llm.input_messages.0.message.content",
            "session.id",
            "service.name",
            "event.name",
            "exception.type",
        ]
    ),
)
COUNTS = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
TIMES = st.one_of(st.sampled_from([0, 1, 1_795_452_121_436_000_123, LATEST]), st.integers(0, 2**64 - 1))
SCALARS = st.one_of(
    st.just(AnyValue()),
    TEXTS.map(lambda value: AnyValue(string_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.floats().map(lambda value: AnyValue(double_value=math.nan if math.isnan(value) else value)),
    st.binary(max_size=8).map(lambda value: AnyValue(bytes_value=value)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value=ArrayValue(values=values))),
        st.lists(st.builds(KeyValue, key=KEYS, value=inner), max_size=3).map(
            lambda pairs: AnyValue(kvlist_value=KeyValueList(values=pairs))
        ),
    ),
    max_leaves=5,
)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=KEYS, value=VALUES), max_size=4)
SPAN_IDS = st.binary(min_size=8, max_size=8).filter(lambda value: value.strip(b"\0"))
TRACE_IDS = st.binary(min_size=16, max_size=16).filter(lambda value: value.strip(b"\0"))
RESOURCES = st.builds(
    Resource,
    attributes=ATTRIBUTES,
    dropped_attributes_count=COUNTS,
    entity_refs=st.lists(st.builds(EntityRef, type=TEXTS, id_keys=st.lists(TEXTS, max_size=2)), max_size=1),
)
SCOPES = st.builds(
    InstrumentationScope, name=TEXTS, version=TEXTS, attributes=ATTRIBUTES, dropped_attributes_count=COUNTS
)
SPANS = st.builds(
    Span,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    parent_span_id=st.one_of(st.just(b""), SPAN_IDS),
    trace_state=TEXTS,
    flags=COUNTS,
    name=TEXTS,
    kind=st.integers(0, 9),
    start_time_unix_nano=TIMES.filter(lambda at: at <= LATEST),
    end_time_unix_nano=TIMES,
    attributes=ATTRIBUTES,
    dropped_attributes_count=COUNTS,
    dropped_events_count=COUNTS,
    dropped_links_count=COUNTS,
    events=st.lists(
        st.builds(Span.Event, name=TEXTS, time_unix_nano=TIMES, attributes=ATTRIBUTES, dropped_attributes_count=COUNTS),
        max_size=2,
    ),
    links=st.lists(
        st.builds(
            Span.Link,
            trace_id=TRACE_IDS,
            span_id=SPAN_IDS,
            trace_state=TEXTS,
            attributes=ATTRIBUTES,
            flags=COUNTS,
            dropped_attributes_count=COUNTS,
        ),
        max_size=2,
    ),
    status=st.builds(Status, code=st.integers(0, 4), message=TEXTS),
)
RECORDS = st.builds(
    LogRecord,
    time_unix_nano=TIMES,
    observed_time_unix_nano=TIMES,
    severity_number=st.integers(0, 24),
    severity_text=TEXTS,
    event_name=TEXTS,
    body=st.one_of(st.none(), VALUES),
    attributes=ATTRIBUTES,
    dropped_attributes_count=COUNTS,
    flags=COUNTS,
    trace_id=st.one_of(st.just(b""), st.just(bytes(16)), TRACE_IDS),
    span_id=st.one_of(st.just(b""), SPAN_IDS),
)
TRACES = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=RESOURCES,
            schema_url=TEXTS,
            scope_spans=st.lists(
                st.builds(ScopeSpans, scope=SCOPES, schema_url=TEXTS, spans=st.lists(SPANS, max_size=2)), max_size=2
            ),
        ),
        max_size=2,
    ),
)
LOGS = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=RESOURCES,
            schema_url=TEXTS,
            scope_logs=st.lists(
                st.builds(ScopeLogs, scope=SCOPES, schema_url=TEXTS, log_records=st.lists(RECORDS, max_size=2)),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def spans_of(requests: list[ExportTraceServiceRequest]) -> Counter[bytes]:
    """Each span with its resource and scope, as the bytes of a request that holds it alone."""
    found: dict[tuple[bytes, bytes], bytes] = {}
    spans = (
        (group, scoped, span)
        for request in requests
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    )
    for outer_group, outer_scope, span in spans:
        alone = ExportTraceServiceRequest()
        outer = alone.resource_spans.add(schema_url=outer_group.schema_url, resource=outer_group.resource)
        outer.scope_spans.add(schema_url=outer_scope.schema_url, scope=outer_scope.scope).spans.add().CopyFrom(span)
        if not span.status.code and not span.status.message:
            outer.scope_spans[0].spans[0].ClearField("status")  # a status that says nothing is none
        found[span.trace_id, span.span_id] = alone.SerializeToString(deterministic=True)
    return Counter(found.values())


def records_of(requests: list[ExportLogsServiceRequest]) -> Counter[bytes]:
    """Each record with its resource and scope, as the bytes of a request that holds it alone."""
    return Counter(_alone(requests))


def _alone(requests: list[ExportLogsServiceRequest]) -> Iterator[bytes]:
    for request in requests:
        for group in request.resource_logs:
            for scoped in group.scope_logs:
                for record in scoped.log_records:
                    alone = ExportLogsServiceRequest()
                    outer = alone.resource_logs.add(schema_url=group.schema_url, resource=group.resource)
                    inner = outer.scope_logs.add(schema_url=scoped.schema_url, scope=scoped.scope)
                    inner.log_records.add().CopyFrom(record)
                    yield alone.SerializeToString(deterministic=True)


def through_the_store(signal: str, request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        with Store.open(Path(folder) / "store") as store:
            writer = SegmentWriter(store.inbox, signal)  # type: ignore[arg-type]
            writer.append(request.SerializeToString(), sync=False)
            writer.close()
            store.settle()
            assert store.settler.quarantined() == []
            export(store, Path(folder) / "out", format="otlp")
        return [path.read_bytes() for path in sorted((Path(folder) / "out").glob(f"*.{signal}.pb"))]


@given(request=TRACES)
@FEW
def test_any_trace_request_comes_out_as_it_came_in(request: ExportTraceServiceRequest) -> None:
    out = [ExportTraceServiceRequest.FromString(body) for body in through_the_store("traces", request)]
    assert spans_of(out) == spans_of([request])


@given(request=LOGS)
@FEW
def test_any_log_request_comes_out_as_it_came_in(request: ExportLogsServiceRequest) -> None:
    out = [ExportLogsServiceRequest.FromString(body) for body in through_the_store("logs", request)]
    assert records_of(out) == records_of([request])
