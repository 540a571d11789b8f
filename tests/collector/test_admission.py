"""What both doors share: bounds, bombs, processors, forwarders, backpressure, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracekit.errors import StoreError, TracekitError
from tracekit.inbox import Record, read_segment, segments
from tracekit_collector._otlp_bounds import MAX_ATTRIBUTES, MAX_MESSAGES, MAX_VALUES
from tracekit_collector.admission import ANSWERS, Admission, Limits
from tracekit_collector.backlog import Backlog
from tracekit_collector.committer import Committer
from tracekit_collector.door import Door
from tracekit_collector.encoding import TooLargeError
from tracekit_collector.health import Meter
from tracekit_collector.otlp import decode

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox"


@pytest.fixture
def opened(inbox):
    committer = Committer(inbox)
    admissions: list[Admission] = []

    def start(*, origins=(), **options):
        admissions.append(Admission(committer, **options))
        door = Door(admissions[-1], origins=origins)

        def ask(method: str, path: str, **request) -> httpx.Response:
            async def one() -> httpx.Response:
                transport = httpx.ASGITransport(app=door.app)
                async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
                    return await client.request(method, path, **request)

            return asyncio.run(one())

        return ask

    yield start
    for admission in admissions:
        admission.close()
    committer.close()


def kept(inbox) -> list[bytes]:
    return [item.payload for path in segments(inbox) for item in read_segment(path) if isinstance(item, Record)]


def span(**fields: object) -> dict[str, object]:
    return {"name": "s", "trace_id": os.urandom(16), "span_id": os.urandom(8), **fields}


def request(*spans: dict[str, object]) -> bytes:
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}]).SerializeToString()


def spans_of(payload: bytes) -> list:
    return list(ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans)


class TestBounds:
    def test_attributes_over_the_limit_are_dropped_and_counted_and_the_span_is_kept(self, opened, inbox):
        many = [{"key": f"k{number}", "value": {"int_value": number}} for number in range(MAX_ATTRIBUTES + 7)]
        body = request(span(attributes=many, dropped_attributes_count=3), span(events=[{"name": "e"}] * 10_001))
        answer = opened()("POST", "/v1/traces", content=body, headers=PROTOBUF)
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert (answer.status_code, partial.rejected_spans) == (200, 0)
        assert partial.error_message == (
            "spans[0] lost 7 attributes over the limit of 10000; spans[1] lost 1 events over the limit of 10000"
        )
        first, second = spans_of(kept(inbox)[0])
        assert (len(first.attributes), first.dropped_attributes_count) == (MAX_ATTRIBUTES, 10)
        assert first.attributes[-1].key == "k9999"
        assert (len(second.events), second.dropped_events_count) == (MAX_ATTRIBUTES, 1)

    @pytest.mark.parametrize(
        "unit",
        [b"\x4a\x00", b"\x4a\x02\x0a\x00", b"\x4a\x02\x10\x01", b"\x5a\x00"],
        ids=["empty", "no key", "unknown", "events"],
    )
    def test_a_body_of_millions_of_tiny_messages_is_refused_before_it_is_parsed(self, unit):
        inner = unit * (MAX_MESSAGES + 50_000)
        for tag in (b"\x12", b"\x12", b"\x0a"):
            inner = tag + _varint(len(inner)) + inner
        with pytest.raises(TooLargeError, match="the limit is 500000; send smaller batches"):
            decode("traces", inner)

    @pytest.mark.parametrize("unit", [b"{},", b"[],", b"1,"])
    def test_json_of_millions_of_values_is_refused_before_it_is_parsed(self, unit):
        body = b'{"resourceSpans":[' + unit * (MAX_VALUES + 10) + b"{}]}"
        with pytest.raises(TooLargeError, match="send smaller batches"):
            decode("traces", body, "application/json")

    def test_deep_nesting_is_refused_in_either_form(self, opened):
        value: dict[str, object] = {"stringValue": "x"}
        for _ in range(200):
            value = {"arrayValue": {"values": [value]}}
        spans = [{"traceId": "ab" * 16, "spanId": "cd" * 8, "attributes": [{"key": "k", "value": value}]}]
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
        answer = opened()("POST", "/v1/traces", content=body, headers=JSON)
        assert answer.status_code == 200
        assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
        assert "nested more than 96 messages deep" in answer.json()["partialSuccess"]["errorMessage"]
        nested = b"\x0a\x01x"
        for _ in range(150):
            nested = (
                b"\x2a" + _varint(len(nested) + 1 + len(_varint(len(nested)))) + b"\x0a" + _varint(len(nested)) + nested
            )
        for tag in (b"\x12", b"\x4a", b"\x12", b"\x12", b"\x0a"):
            nested = tag + _varint(len(nested)) + nested
        refused = opened()("POST", "/v1/traces", content=nested, headers=PROTOBUF)
        assert refused.status_code == 400
        assert b"nested more than 100 messages deep" in refused.content
        arrays = opened()("POST", "/v1/traces", content=b"[" * 100_000, headers=JSON)
        assert arrays.status_code == 400

    def test_what_unfolds_counts_against_the_bytes_in_flight_as_it_unfolds(self, opened, inbox):
        body = zlib.compress(request(span(attributes=[{"key": "k", "value": {"string_value": "y" * 500_000}}])))
        ask = opened(limits=Limits(max_body=1 << 20, in_flight=1 << 17))
        refused = ask("POST", "/v1/traces", content=body, headers={**PROTOBUF, "content-encoding": "deflate"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert ask("GET", "/ready").json()["in_flight_bytes"] == 0
        assert kept(inbox) == []

    def test_more_requests_at_once_than_the_bound_are_put_off(self, opened):
        ask = opened(limits=Limits(requests=0))
        refused = ask("POST", "/v1/traces", content=request(span()), headers=PROTOBUF)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")


class TestWhoAndWhat:
    def test_a_token_that_is_missing_or_too_little_is_401_or_403(self, opened, inbox):
        class NotAllowedError(TracekitError):
            status = 401

        def authorise(header, kind):
            if header != "Bearer good":
                error = NotAllowedError("a token is needed")
                error.status = 403 if header else 401
                raise error

        ask = opened(authorise=authorise)
        body = request(span())
        missing = ask("POST", "/v1/traces", content=body, headers=PROTOBUF)
        assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
        assert ask("POST", "/v1/traces", content=body, headers={**PROTOBUF, "authorization": "x"}).status_code == 403
        good = {**PROTOBUF, "authorization": "Bearer good"}
        assert ask("POST", "/v1/traces", content=body, headers=good).status_code == 200
        assert kept(inbox) == [body]

    def test_a_token_of_a_project_puts_all_that_it_brings_into_that_project(self, opened, inbox):
        ask = opened(authorise=lambda header, kind: "library")
        assert ask("POST", "/v1/traces", content=request(span()), headers=PROTOBUF).status_code == 200
        (resource_spans,) = ExportTraceServiceRequest.FromString(kept(inbox)[0]).resource_spans
        assert [(each.key, each.value.string_value) for each in resource_spans.resource.attributes] == [
            ("tracekit.project", "library")
        ]

    def test_processors_change_what_is_kept_and_forwarded(self, opened, inbox):
        offered = []

        class Forwarder:
            def offer(self, kind, payload):
                offered.append((kind, payload))
                raise OSError("the queue is full")

        def pipeline(kind, message):
            found = message.resource_spans[0].scope_spans[0].spans
            found[0].name = kind
            del found[1:]
            return True

        ask = opened(pipeline=pipeline, forwarders=[Forwarder()])
        assert ask("POST", "/v1/traces", content=request(span(), span()), headers=PROTOBUF).status_code == 200
        (payload,) = kept(inbox)
        assert [each.name for each in spans_of(payload)] == ["traces"]
        assert offered == [("traces", payload)]

    def test_a_request_that_processors_drop_whole_succeeds_and_writes_nothing(self, opened, inbox):
        def pipeline(kind, message):
            message.Clear()
            return True

        assert opened(pipeline=pipeline)("POST", "/v1/traces", content=request(span()), headers=PROTOBUF).content == b""
        assert kept(inbox) == []

    def test_a_processor_that_must_not_be_left_out_puts_the_request_off(self, opened, inbox):
        def pipeline(kind, message):
            raise StoreError("the redaction failed; send it again")

        refused = opened(pipeline=pipeline)("POST", "/v1/traces", content=request(span()), headers=PROTOBUF)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert kept(inbox) == []


class TestBackpressure:
    def test_no_more_may_wait_than_is_settled_soon_but_a_burst_always_may(self):
        size, rate = [0], [1000.0]
        backlog = Backlog(lambda: size[0], 8000, rate=lambda: rate[0])
        delays = []
        for size[0] in (0, 1000, 1750, 2499, 2500):
            backlog._measured = None
            delays.append(backlog.delay())
        assert delays[:3] == [0.0, 0.0, 1.0]
        assert delays[3] == pytest.approx(2.0, abs=0.01)
        assert delays[4] is None
        assert backlog.bound() == 2500
        rate[0] = 1.0
        assert backlog.bound() == 500
        rate[0] = 1e9
        assert backlog.bound() == 8000

    def test_a_growing_backlog_slows_acknowledgements_and_a_full_one_stops_them(self):
        size = [0]
        backlog = Backlog(lambda: size[0], 8000)
        delays = []
        for size[0] in (0, 1000, 4500, 7999, 8000):
            backlog._measured = None
            delays.append(backlog.delay())
        assert delays[:3] == [0.0, 0.0, 1.0]
        assert delays[3] == pytest.approx(2.0, abs=0.001)
        assert delays[4] is None

    def test_what_was_committed_since_the_last_look_counts(self):
        backlog = Backlog(lambda: 100, 1000)
        assert backlog.size() == 100
        backlog.grew(900)
        assert backlog.delay() is None

    def test_a_backlog_that_cannot_be_measured_stops_nobody(self):
        def fail():
            raise OSError("gone")

        assert Backlog(fail, 1000).delay() == 0.0

    def test_a_full_backlog_is_503_that_says_when_to_come_again(self, opened, inbox):
        refused = opened(limits=Limits(backlog=10), backlog=lambda: 10)(
            "POST", "/v1/traces", content=request(span()), headers=PROTOBUF
        )
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert kept(inbox) == []


class TestBrowsers:
    @pytest.mark.parametrize(
        ("origin", "allowed"),
        [
            ("http://localhost:3000", True),
            ("https://127.0.0.1", True),
            ("http://[::1]:8080", True),
            ("https://app.example.com", True),
            ("https://app.example.com.evil.test", False),
            ("http://localhost.evil.test", False),
            ("null", False),
        ],
    )
    def test_pages_of_this_machine_and_those_named_may_send(self, opened, origin, allowed):
        ask = opened(origins=["https://app.example.com"])
        asking = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,authorization",
        }
        preflight = ask("OPTIONS", "/v1/traces", headers=asking)
        assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert (preflight.status_code == 200) is allowed
        if allowed:
            assert "content-type" in preflight.headers["access-control-allow-headers"]
        answer = ask("POST", "/v1/traces", content=request(span()), headers={**PROTOBUF, "origin": origin})
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)


class TestWhatIsTold:
    def test_metrics_count_requests_refusals_and_times(self, opened):
        ask = opened(backlog=lambda: 0)
        ask("POST", "/v1/traces", content=request(span(), span(), {"name": "bad"}), headers=PROTOBUF)
        ask("POST", "/v1/logs", content=b"\x00", headers=PROTOBUF)
        ask("POST", "/v1/traces", content=b"x", headers={"content-type": "text/plain"})
        answer = ask("GET", "/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.text.splitlines()
        for line in (
            "# TYPE tracekit_requests_total counter",
            'tracekit_requests_total{code="200",door="http",signal="traces"} 1',
            'tracekit_requests_total{code="400",door="http",signal="logs"} 1',
            'tracekit_requests_total{code="415",door="http",signal="traces"} 1',
            'tracekit_items_total{signal="traces"} 2',
            'tracekit_refused_items_total{signal="traces"} 1',
            'tracekit_refusals_total{reason="malformed"} 1',
            'tracekit_refusals_total{reason="media_type"} 1',
            "tracekit_in_flight_bytes 0",
            "tracekit_queue_depth 0",
            "# TYPE tracekit_acknowledgement_seconds histogram",
            'tracekit_acknowledgement_seconds_bucket{le="+Inf"} 1',
            "tracekit_acknowledgement_seconds_count 1",
        ):
            assert line in lines
        assert ask("GET", "/health").json() == {"status": "ok"}

    def test_labels_are_quoted_and_a_bucket_holds_what_is_at_its_bound(self):
        meter = Meter()
        meter.count("refusals_total", reason='a"b\\c\nd')
        meter.acknowledged(0.25)
        meter.watch(lambda: {"backlog_bytes": 12_345_678.0, "settle_lag_seconds": None})
        lines = meter.text().splitlines()
        assert 'tracekit_refusals_total{reason="a\\"b\\\\c\\nd"} 1' in lines
        assert 'tracekit_acknowledgement_seconds_bucket{le="0.1"} 0' in lines
        assert 'tracekit_acknowledgement_seconds_bucket{le="0.25"} 1' in lines
        assert "tracekit_backlog_bytes 12345678" in lines
        assert not any("settle_lag_seconds" in line for line in lines)

    def test_every_reason_has_an_answer_that_the_specification_knows(self):
        again = {reason for reason, (status, _) in ANSWERS.items() if status in {429, 502, 503, 504}}
        assert again == {"busy", "behind", "unavailable"}
        assert all(400 <= status < 500 or status == 503 for status, _ in ANSWERS.values())


tiny = st.sampled_from(
    [b"\x0a\x00", b"\x12\x00", b"\x4a\x02\x10\x01", b"\x0a\x02\x12\x00", b"\xff", b"\x12\x10" + bytes(16)]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(tiny, min_size=1, max_size=6), st.integers(1, 300_000), st.sampled_from(["traces", "logs", "metrics"]))
def test_repetitive_bodies_are_decoded_or_refused_with_a_reason(units, times, kind):
    body = (b"".join(units) * times)[: 2 << 20]
    try:
        told = decode(kind, body).kind
    except TracekitError as error:
        told = str(error)
    assert told


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux tells it")
def test_a_bomb_takes_little_memory():
    """Sixteen MiB of two bytes a span would take a gigabyte and more when parsed."""
    program = """
import resource, sys
from tracekit.errors import TracekitError
from tracekit_collector.otlp import decode
sys.path.insert(0, sys.argv[1])
inner = b"\\x12\\x00" * (8 << 20)
from test_admission import _varint
for tag in (b"\\x12", b"\\x0a"):
    inner = tag + _varint(len(inner)) + inner
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode("traces", inner)
except TracekitError as error:
    print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    name, grown = done.stdout.split()
    assert name == "TooLargeError"
    assert int(grown) < 50_000


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "content-type",
                "content-encoding",
                "content-length",
                "authorization",
                "origin",
                "accept",
                "expect",
                "host",
            ]
        ),
        header_text | st.sampled_from(["application/json", "gzip", "-1", "99999999999999", "100-continue", "null"]),
    ),
    method=st.sampled_from(["POST", "OPTIONS", "GET", "PUT"]),
    path=st.sampled_from(["/v1/traces", "/v1/logs", "/v1/metrics", "/ready", "/health", "/metrics", "/v1/%00", "//"]),
    body=st.binary(max_size=60),
)
def test_no_headers_are_ever_a_fault_of_the_server(opened, headers, method, path, body):
    assert opened()(method, path, content=body, headers=headers).status_code < 500
