"""From a request to rows and back, and what log records say besides."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracekit import attributes as names
from tracekit_collector import _span_columns, rows
from tracekit_collector.lake import to_arrow
from tracekit_collector.otlp_export import request_of
from tracekit_collector.schema import LOGS, SCORES, SPANS

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
LONG = st.sampled_from(["x" * 300, '{"query": "' + "y" * 300 + '"}', "[{" * 200])
VALUES = st.one_of(
    st.builds(AnyValue),
    st.builds(lambda value: AnyValue(string_value=value), st.one_of(TEXTS, LONG)),
    st.builds(lambda value: AnyValue(int_value=value), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda value: AnyValue(double_value=value), st.floats(allow_nan=False)),
    st.builds(lambda value: AnyValue(bytes_value=value), st.binary(max_size=4)),
)
GENAI = [
    "gen_ai.operation.name",
    "gen_ai.input.messages",
    "gen_ai.usage.input_tokens",
    "gen_ai.tool.call.arguments",
    "openinference.span.kind",
    "input.value",
    "output.value",
    "llm.input_messages.0.message.content",
    "llm.input_messages.0.message",
    "retrieval.documents.0.document.content",
    "llm.token_count.prompt",
    "metadata",
]
ATTRIBUTES = st.lists(
    st.builds(lambda key, value: KeyValue(key=key, value=value), st.one_of(TEXTS, st.sampled_from(GENAI)), VALUES),
    max_size=5,
)
TIMES = st.integers(0, 2**63 - 1)
SPAN = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    parent_span_id=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8).filter(any)),
    name=TEXTS,
    kind=st.integers(0, 5),
    trace_state=TEXTS,
    flags=st.integers(0, 2**32 - 1),
    start_time_unix_nano=TIMES,
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    attributes=ATTRIBUTES,
    dropped_attributes_count=st.integers(0, 3),
    dropped_events_count=st.integers(0, 3),
    dropped_links_count=st.integers(0, 3),
    events=st.lists(st.builds(Span.Event, name=TEXTS, time_unix_nano=TIMES, attributes=ATTRIBUTES), max_size=2),
    links=st.lists(st.builds(Span.Link, trace_id=st.binary(max_size=16), span_id=st.binary(max_size=8)), max_size=2),
    status=st.builds(Status, code=st.integers(0, 2), message=TEXTS),
)
SCOPE_SPANS = st.builds(
    ScopeSpans,
    scope=st.builds(InstrumentationScope, name=TEXTS, version=TEXTS, attributes=ATTRIBUTES),
    spans=st.lists(SPAN, min_size=1, max_size=2),
    schema_url=TEXTS,
)
REQUEST = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.builds(Resource, attributes=ATTRIBUTES, dropped_attributes_count=st.integers(0, 2)),
            scope_spans=st.lists(SCOPE_SPANS, min_size=1, max_size=2),
            schema_url=TEXTS,
        ),
        max_size=2,
    ),
)


@given(REQUEST)
@settings(max_examples=60, deadline=None)
def test_every_field_of_every_span_comes_back_from_its_row(request: ExportTraceServiceRequest) -> None:
    found, refusals = rows.span_rows(request, received_ns=1)
    assert refusals == []
    assert _flat(request_of(found)) == _flat(request)


@given(REQUEST)
@settings(max_examples=20, deadline=None)
def test_whatever_attributes_hold_the_rows_fit_the_lake(request: ExportTraceServiceRequest) -> None:
    found, _ = rows.span_rows(request, received_ns=1)
    assert to_arrow("spans", found).schema.names == SPANS.names


def test_a_span_without_a_valid_id_or_time_is_refused_and_the_others_are_kept() -> None:
    good = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="good")
    bad = [
        Span(trace_id=b"t", span_id=b"s" * 8, name="short"),
        Span(trace_id=bytes(16), span_id=b"s" * 8, name="zero"),
        Span(trace_id=b"t" * 16, span_id=bytes(8), name="no span"),
        Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="late", start_time_unix_nano=2**63),
    ]
    found, refusals = rows.span_rows(_request([*bad, good]), received_ns=1)
    assert [row["name"] for row in found] == ["good"]
    assert [refusal.reason for refusal in refusals] == [
        "the trace id is not 16 bytes with one that is not 0",
        "the trace id is not 16 bytes with one that is not 0",
        "the span id is not 8 bytes with one that is not 0",
        "it starts after the year 2262",
    ]
    assert "'short'" in refusals[0].what


@pytest.mark.parametrize(("start", "end", "duration"), [(5, 9, 4), (5, 5, 0), (5, 0, None), (5, 4, None), (0, 0, None)])
def test_a_duration_is_null_where_the_end_is_unknown_or_before_the_start(
    start: int, end: int, duration: int | None
) -> None:
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=start, end_time_unix_nano=end)
    assert rows.span_rows(_request([span]), received_ns=1)[0][0]["duration_ns"] == duration


def test_a_fault_in_a_dialect_costs_the_derived_columns_and_not_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> dict[str, object]:
        raise RecursionError

    monkeypatch.setattr(_span_columns, "normalise", broken)
    found, refusals = rows.span_rows(_request([Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="kept")]), received_ns=1)
    assert (found[0]["name"], found[0]["step"], refusals) == ("kept", "span", [])


def test_log_records_become_rows_with_typed_bodies_and_ids_of_the_request() -> None:
    record = LogRecord(
        time_unix_nano=1_795_435_348_000_000_000,
        trace_id=b"t" * 16,
        event_name="gen_ai.user.message",
        body=AnyValue(int_value=3),
        attributes=_attributes({"session.id": "s-1"}),
    )
    found = rows.log_rows(_logs([record, LogRecord()]), received_ns=7_000, digest="d")
    assert found[0]["log_id"] == "d-0"
    assert found[0]["time"] == datetime.datetime(2026, 11, 23, 12, 2, 28)
    assert (found[0]["event_name"], found[0]["body"], found[0]["session_id"]) == ("gen_ai.user.message", "3", "s-1")
    assert found[1]["log_id"] == "d-1"
    assert (found[1]["time_ns"], found[1]["body"], found[1]["trace_id"]) == (7_000, None, None)
    assert to_arrow("logs", found).schema.names == LOGS.names


def test_an_evaluation_event_becomes_a_score_and_stays_a_log_record() -> None:
    record = LogRecord(
        time_unix_nano=5_000,
        trace_id=b"\x01" * 16,
        span_id=b"\x02" * 8,
        event_name=names.SCORE_EVENT,
        attributes=_attributes(
            {names.SCORE_NAME: "helpful", names.SCORE_VALUE: 1.0, names.SCORE_TYPE: "bool", names.SCORE_TARGET: "trace"}
        ),
    )
    [row] = rows.score_rows(_logs([record]), digest="d", received_ns=1)
    assert (row["name"], row["value"], row["value_type"], row["passed"]) == ("helpful", 1.0, "bool", True)
    assert (row["status"], row["target"], row["trace_id"]) == ("scored", "trace", "01" * 16)
    assert row["source"] is None  # nobody said who judged
    assert row["span_id"] is None  # the whole trace is scored, wherever the judge stood
    assert len(rows.log_rows(_logs([record]), received_ns=1, digest="d")) == 1
    assert to_arrow("scores", [row]).schema.names == SCORES.names


def test_an_evaluation_that_failed_has_no_value() -> None:
    given_ = {names.SCORE_NAME: "relevance", names.SCORE_VALUE: 0.0, names.ERROR_TYPE: "TimeoutError"}
    record = LogRecord(trace_id=b"\x01" * 16, event_name=names.SCORE_EVENT, attributes=_attributes(given_))
    [row] = rows.score_rows(_logs([record]), digest="d", received_ns=1)
    assert (row["value"], row["status"]) == (None, "judge_error")


def test_an_evaluation_that_is_a_span_event_scores_its_span() -> None:
    event = Span.Event(
        name=names.SCORE_EVENT,
        time_unix_nano=9,
        attributes=_attributes({names.SCORE_NAME: "Relevance", names.SCORE_VALUE: 0.9, names.SCORE_LABEL: "relevant"}),
    )
    span = Span(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, events=[event])
    [row] = rows.score_rows(_request([span]), digest="d", received_ns=1)
    assert (row["target"], row["span_id"], row["value"], row["label"]) == ("span", "02" * 8, 0.9, "relevant")


def test_a_registered_version_is_read_from_its_record() -> None:
    record = LogRecord(
        time_unix_nano=2_000,
        event_name=names.VERSION_EVENT,
        attributes=_attributes(
            {
                names.AGENT_NAME: "bot",
                names.AGENT_VERSION: "v2",
                names.VERSION_DIGEST: "abc",
                names.VERSION_ALIAS: "production",
                names.VERSION_PARAMETERS: '{"k": 3}',
                names.VERSION_PROMPTS: "not json",
            }
        ),
    )
    assert rows.version_rows(_logs([record]), received_ns=1) == [
        {
            "agent": "bot",
            "label": "v2",
            "digest": "abc",
            "code": {},
            "parameters": {"k": 3},
            "prompts": {},
            "dependencies": {},
            "alias": "production",
            "actor": None,
            "seen_at": datetime.datetime(1970, 1, 1, 0, 0, 0, 2),
        }
    ]


def test_a_served_inference_goes_to_inferences_alone() -> None:
    record = LogRecord(
        time_unix_nano=2_000,
        event_name=names.INFERENCE_EVENT,
        attributes=_attributes(
            {
                f"{names.INFERENCE_EVENT}.status_code": 200,
                f"{names.INFERENCE_EVENT}.request": '{"q": 1}',
                names.AGENT_NAME: "bot",
                names.INPUT_TOKENS: 7,
            }
        ),
    )
    [row] = rows.inference_rows(_logs([record]), received_ns=1, digest="d")
    assert (row["request_id"], row["status_code"], row["request"], row["input_tokens"]) == ("d-0", 200, '{"q": 1}', 7)
    assert row["output_tokens"] is None
    assert rows.log_rows(_logs([record]), received_ns=1, digest="d") == []


def _attributes(values: dict[str, str | float | int]) -> list[KeyValue]:
    found = []
    for key, value in values.items():
        kind = {str: "string_value", float: "double_value", int: "int_value"}[type(value)]
        found.append(KeyValue(key=key, value=AnyValue(**{kind: value})))
    return found


def _request(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


def _logs(records: Iterable[LogRecord]) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def _flat(request: ExportTraceServiceRequest) -> list[bytes]:
    """Every span with its resource and scope, in an order that grouping does not change."""
    found = []
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if not span.status.code and not span.status.message:
                    span.ClearField("status")  # an empty status says what none says
                parts = (resource_spans.resource, scope_spans.scope, span)
                texts = (resource_spans.schema_url, scope_spans.schema_url)
                whole = [part.SerializeToString(deterministic=True) for part in parts]
                found.append(b"|".join([*whole, *(text.encode() for text in texts)]))
    return sorted(found)
