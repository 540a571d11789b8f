"""Bodies of OTLP requests: every spelling that SDKs use, what is refused, and where a broken body breaks."""

from __future__ import annotations

import base64
import json
import math

import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracekit.errors import DecodeError
from tracekit_collector.otlp import (
    JSON,
    PROTOBUF,
    decode,
    decode_logs,
    decode_traces,
    kind_of_protobuf,
    media_type,
    response_body,
    status_body,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KINDS = ("traces", "logs", "metrics")


def body_of(*spans: object, **extra: object) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}], **extra}).encode()


def first_span(body: bytes):
    return decode_traces(body, JSON).request.resource_spans[0].scope_spans[0].spans[0]


def protobuf_of(**span: object) -> bytes:
    return ExportTraceServiceRequest(
        resource_spans=[{"scope_spans": [{"spans": [{"trace_id": b"t" * 16, "span_id": b"s" * 8, **span}]}]}]
    ).SerializeToString()


def decoded_or_none(kind, body: bytes, media: str):
    """The request, or None after the one exception that a body may cause."""
    try:
        return decode(kind, body, media)
    except DecodeError as error:
        if not str(error):
            raise
        return None


def with_hex_ids(value: object) -> object:
    """What protobuf's own JSON writes, with the ids as OTLP spells them."""
    if isinstance(value, dict):
        ids = {"traceId", "spanId", "parentSpanId"}
        return {k: base64.b64decode(v).hex() if k in ids else with_hex_ids(v) for k, v in value.items()}
    return [with_hex_ids(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/x-protobuf", PROTOBUF),
        ("application/x-protobuf;proto=x", PROTOBUF),
        ("application/protobuf", PROTOBUF),
        ("text/plain", None),
        ("", None),
    ],
)
def test_a_content_type_is_told_without_its_parameters(content_type, media):
    assert media_type(content_type) == media


def test_a_span_in_json_keeps_every_field_whichever_way_it_is_spelt():
    span = first_span(
        body_of(
            {
                "traceId": TRACE.upper(),
                "span_id": SPAN,
                "parentSpanId": "",
                "traceState": "a=b",
                "name": "chat",
                "kind": "SPAN_KIND_CLIENT",
                "startTimeUnixNano": "1795435348348000001",
                "end_time_unix_nano": 1795435348348161593,
                "flags": 257.0,
                "droppedAttributesCount": None,
                "neverHeardOf": {"x": [1]},
                "attributes": [
                    {"key": "text", "value": {"stringValue": ""}},
                    {"key": "yes", "value": {"boolValue": True}},
                    {"key": "int", "value": {"intValue": "-9223372036854775808"}},
                    {"key": "number", "value": {"int_value": 57}},
                    {"key": "whole double", "value": {"doubleValue": 1}},
                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                    {"key": "inf", "value": {"doubleValue": "-Infinity"}},
                    {"key": "bytes", "value": {"bytesValue": "-_8"}},
                    {"key": "array", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}},
                    {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}},
                    {"key": "unset", "value": {}},
                    {"key": "absent"},
                ],
                "events": [{"timeUnixNano": 5, "name": "e", "attributes": []}],
                "links": [{"traceId": TRACE, "spanId": SPAN, "traceState": "s"}],
                "status": {"code": 2, "message": "no"},
            }
        )
    )
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id) == (TRACE, SPAN, b"")
    assert (span.name, span.kind, span.trace_state, span.flags) == ("chat", Span.SPAN_KIND_CLIENT, "a=b", 257)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1795435348348000001, 1795435348348161593)
    values = {item.key: item.value for item in span.attributes}
    assert values["text"].WhichOneof("value") == "string_value"
    assert values["yes"].bool_value is True
    assert values["int"].int_value == -(2**63)
    assert values["number"].int_value == 57
    assert values["whole double"].WhichOneof("value") == "double_value"
    assert math.isnan(values["nan"].double_value)
    assert values["inf"].double_value == -math.inf
    assert values["bytes"].bytes_value == b"\xfb\xff"
    assert [item.WhichOneof("value") for item in values["array"].array_value.values] == ["int_value", None]
    assert values["map"].kvlist_value.values[0].value.string_value == "v"
    assert values["unset"].WhichOneof("value") is None
    assert not next(item for item in span.attributes if item.key == "absent").HasField("value")
    assert (span.events[0].name, span.events[0].time_unix_nano) == ("e", 5)
    assert (span.links[0].trace_id.hex(), span.links[0].span_id.hex()) == (TRACE, SPAN)
    assert (span.status.code, span.status.message) == (2, "no")


def test_ids_in_base64_are_told_from_hexadecimal_by_their_length():
    ids = {"traceId": base64.b64encode(bytes.fromhex(TRACE)).decode(), "spanId": base64.b64encode(b"12345678").decode()}
    span = first_span(body_of({**ids, "name": "x"}))
    assert (span.trace_id.hex(), span.span_id) == (TRACE, b"12345678")


def test_what_javascript_and_python_write_beyond_json_is_taken():
    body = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"\\ud83d","value":{"doubleValue":NaN}}]}}]}'
    attribute = decode_traces(body, JSON).request.resource_spans[0].resource.attributes[0]
    assert attribute.key == "\ufffd"
    assert math.isnan(attribute.value.double_value)


def test_spans_that_cannot_be_kept_are_left_out_and_named():
    decoded = decode_traces(
        body_of(
            {"traceId": TRACE, "spanId": SPAN, "name": "good"},
            5,
            {"traceId": TRACE, "spanId": SPAN, "name": "odd", "kind": "SIDEWAYS"},
            {"traceId": "xyz", "spanId": SPAN, "name": "no hex"},
            {"traceId": "00" * 16, "spanId": SPAN, "name": "zeros"},
            {"traceId": TRACE, "name": "no id"},
            {"traceId": TRACE, "spanId": SPAN, "name": "far", "startTimeUnixNano": 2**63},
        ),
        JSON,
    )
    assert decoded.spans == 1
    assert ExportTraceServiceRequest.FromString(decoded.payload) == decoded.request
    assert {str(refusal) for refusal in decoded.refusals} == {
        "spans[1] must be an object, not a number",
        "spans[2] 'odd' kind must be a whole number, not 'SIDEWAYS'",
        "spans[3] 'no hex' traceId must be 32 hexadecimal digits, not 'xyz'",
        "spans[1] 'zeros' has a trace id of zeros only, which is none",
        "spans[2] 'no id' has a span id of 0 bytes; it must have 8",
        "spans[3] 'far' starts at 9223372036854775808 ns, after the year 2262",
    }
    answer = json.loads(response_body(decoded, JSON))["partialSuccess"]
    assert answer["rejectedSpans"] == "6"
    assert answer["errorMessage"].startswith("6 of 7 spans refused: spans[1] must be an object")
    said = ExportTraceServiceResponse.FromString(response_body(decoded, PROTOBUF)).partial_success
    assert (said.rejected_spans, said.error_message) == (6, answer["errorMessage"])


def test_a_protobuf_body_is_kept_as_it_came_fields_of_the_future_included():
    future = protobuf_of(name="a") + bytes([0xFA, 0x3E, 2]) + b"hi"
    assert decode_traces(future).payload == future
    assert response_body(decode_traces(future), PROTOBUF) == b""
    assert response_body(decode_traces(future), JSON) == b"{}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\x00", "ExportTraceServiceRequest has no sound field at byte 0"),
        (b"\xff" * 20, "the message has an endless number at byte 0"),
        (protobuf_of(name="chat")[:-2], "resource_spans[0] needs 38 bytes at byte 2, and 36 are left"),
        (protobuf_of(name="chat").replace(b"chat", b"ch\xffat"[:4]), ".spans[0].name is not UTF-8 at byte "),
        (b"hello", "(5 bytes)"),
        (b"\x12\x02hi", "it holds no resource_spans"),
    ],
)
def test_a_broken_protobuf_body_is_told_by_place(body, says):
    with pytest.raises(DecodeError) as caught:
        decode_traces(body)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "line 1 column 1"),
        (b'{"resourceSpans": [}', "line 1 column 20"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b"[]", "must be an object, not an array"),
        (b'{"resourceSpans": 7}', "resourceSpans must be an array, not a number"),
        (
            b'{"resourceSpans":[{},{"resource":{"attributes":[{"key":"a","value":{"intValue":"x"}}]}}]}',
            "resourceSpans[1].resource.attributes[0].value.intValue must be a whole number, not 'x'",
        ),
        (b'{"resourceLogs": []}', "this is a logs request, with resourceLogs; send it to /v1/logs"),
        (b"[" * 100_000, "this JSON is nested too deeply"),
    ],
)
def test_a_broken_json_body_is_told_by_place(body, says):
    with pytest.raises(DecodeError) as caught:
        decode_traces(body, JSON)
    assert says in str(caught.value)


def test_nesting_deeper_than_protobuf_reads_costs_the_span_and_not_the_process():
    def nested(levels: int) -> dict:
        value: dict = {"intValue": 1}
        for _ in range(levels):
            value = {"arrayValue": {"values": [value]}}
        return {"traceId": TRACE, "spanId": SPAN, "attributes": [{"key": "k", "value": value}]}

    decoded = decode_traces(body_of(nested(40), nested(60), nested(250)), JSON)
    assert decoded.spans == 1
    assert all(refusal.reason.endswith("is nested more than 96 messages deep") for refusal in decoded.refusals)
    assert [refusal.where for refusal in decoded.refusals] == ["spans[1]", "spans[2]"]
    assert all(len(refusal.reason) < 300 for refusal in decoded.refusals)
    assert ExportTraceServiceRequest.FromString(decoded.payload) == decoded.request


def test_a_log_record_needs_no_trace():
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"},"traceId":""}]}]}]}'
    decoded = decode_logs(body, JSON)
    assert (decoded.records, decoded.spans, decoded.refusals) == (1, 0, ())


def test_metrics_are_read_and_counted():
    point = {"asInt": "3", "timeUnixNano": "1"}
    metric = {"name": "tokens", "sum": {"dataPoints": [point], "isMonotonic": True}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()
    assert decode("metrics", body, JSON).items == 1


def test_a_status_is_what_rpc_says_it_is():
    assert json.loads(status_body(3, "bad \udcff", JSON)) == {"code": 3, "message": "bad ?"}
    assert Status.FromString(status_body(14, "later", PROTOBUF)) == Status(code=14, message="later")


def test_every_capture_is_known_by_what_is_in_it_and_reads_back_from_json(shared):
    files = sorted((shared / "captures").glob("*.pb"))
    assert len(files) > 40
    for path in files:
        body = path.read_bytes()
        want = next((kind for kind in ("logs", "metrics") if f".{kind}." in path.name), "traces")
        assert [kind_of_protobuf(body, hint) for hint in KINDS] == [want] * 3, path.name
        request = decode(want, body).request
        spelt = json_format.MessageToDict(request)
        for value in (spelt, with_hex_ids(spelt)):
            assert decode(want, json.dumps(value).encode(), JSON).request == request, path.name


numbers = st.integers(-(2**63), 2**63 - 1)
scalars = st.one_of(
    st.builds(lambda v: AnyValue(string_value=v), st.text(max_size=8)),
    st.builds(lambda v: AnyValue(int_value=v), numbers),
    st.builds(lambda v: AnyValue(double_value=v), st.floats(allow_nan=False)),
    st.builds(lambda v: AnyValue(bool_value=v), st.booleans()),
    st.builds(lambda v: AnyValue(bytes_value=v), st.binary(max_size=8)),
    st.just(AnyValue()),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda v: AnyValue(array_value={"values": v}), st.lists(inner, max_size=3)),
        st.builds(
            lambda v: AnyValue(kvlist_value={"values": [{"key": k, "value": i} for k, i in v]}),
            st.lists(st.tuples(st.text(max_size=4), inner), max_size=3),
        ),
    ),
    max_leaves=6,
)
attributes = st.lists(st.builds(lambda k, v: {"key": k, "value": v}, st.text(max_size=6), values), max_size=4)
ids8, ids16 = st.binary(min_size=8, max_size=8).filter(any), st.binary(min_size=16, max_size=16).filter(any)
times = st.integers(0, 2**64 - 1)
spans = st.fixed_dictionaries(
    {"trace_id": ids16, "span_id": ids8},
    optional={
        "name": st.text(max_size=10),
        "kind": st.integers(0, 9),
        "start_time_unix_nano": st.integers(0, 2**63 - 1),  # a later start is refused, as another test shows
        "attributes": attributes,
        "events": st.lists(st.fixed_dictionaries({"time_unix_nano": times, "attributes": attributes}), max_size=2),
        "links": st.lists(st.fixed_dictionaries({"trace_id": ids16, "span_id": ids8}), max_size=2),
        "status": st.fixed_dictionaries({"code": st.integers(0, 2), "message": st.text(max_size=5)}),
        "dropped_events_count": st.integers(0, 2**32 - 1),
    },
)


@given(st.lists(spans, max_size=3), attributes)
def test_json_and_protobuf_of_the_same_request_are_the_same_request(some_spans, resource):
    request = ExportTraceServiceRequest(
        resource_spans=[{"resource": {"attributes": resource}, "scope_spans": [{"spans": some_spans}]}]
    )
    spelt = json.dumps(with_hex_ids(json_format.MessageToDict(request))).encode()
    from_json, from_protobuf = decode_traces(spelt, JSON), decode_traces(request.SerializeToString())
    assert from_json.request == from_protobuf.request == request
    assert from_json.spans == from_protobuf.spans == len(some_spans)
    assert ExportTraceServiceRequest.FromString(from_json.payload) == request


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
OTLP_KEYS = """
    resourceSpans scopeSpans spans resource scope attributes key value stringValue intValue arrayValue values
    kvlistValue traceId spanId kind startTimeUnixNano events links status code bytesValue doubleValue boolValue flags
"""
otlp_keys = st.sampled_from(OTLP_KEYS.split())
otlp_like = st.recursive(
    json_values | st.sampled_from([TRACE, SPAN, "SPAN_KIND_CLIENT", "NaN", "1e999", "9" * 30, -1, 2**70]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(otlp_keys, inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(KINDS), st.one_of(json_values, otlp_like, st.builds(lambda v: {"resourceSpans": v}, otlp_like)))
@example(
    "traces", {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": {"doubleValue": 10**400}}]}]}]}]}
)
def test_any_json_is_a_request_or_a_decode_error(kind, value):
    decoded = decoded_or_none(kind, json.dumps(value).encode(), JSON)
    if decoded is not None:
        assert type(decoded.request).FromString(decoded.payload).ByteSize() == decoded.request.ByteSize()


@given(st.sampled_from(KINDS), st.sampled_from([JSON, PROTOBUF]), st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_decode_error(kind, media, body):
    decoded_or_none(kind, body, media)


@given(st.lists(spans, min_size=1, max_size=2), st.data())
def test_a_request_with_any_byte_changed_is_a_request_or_a_decode_error(some_spans, data):
    body = bytearray(
        ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": some_spans}]}]).SerializeToString()
    )
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    for cut in (len(body), place):
        decoded_or_none("traces", bytes(body[:cut]), PROTOBUF)
