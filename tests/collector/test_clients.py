"""Real OpenTelemetry SDKs, unmodified, export over loopback, and their spans come back attribute for attribute."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf import json_format
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tracekit_collector.anyvalue import attributes_from_text
from tracekit_collector.folding import unfold
from tracekit_collector.otlp import decode_json
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

JS = Path(__file__).parent / "js"
START = 1_795_435_348_123_456_789


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "S") as store:
        yield store


@pytest.fixture
def collector(store):
    with Collector(store, port=0) as collector:
        yield collector


def spans_in(store: Store) -> dict[str, dict]:
    """The rows of `spans` by name, their typed JSON read."""
    found = {}
    for row in store.sql("SELECT * FROM spans").dicts():
        row["attributes"] = attributes_from_text(unfold(str(row["attributes"]), row))
        for column in ("events", "links", "resource", "scope"):
            row[column] = json.loads(str(row[column])) if row[column] else row[column]
        found[str(row["name"])] = row
    return found


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.Deflate, Compression.NoCompression])
def test_spans_of_the_python_sdk_come_back_as_they_were(collector, store, compression):
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces", compression=compression)
    provider = TracerProvider(resource=Resource({"service.name": "py-agent", "replicas": 3, "zones": ["a", "b"]}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("acme", "1.0", schema_url="https://example.test/schema", attributes={"lib": "x"})
    linked = SpanContext(1 << 120, 7 << 56, is_remote=True, trace_flags=TraceFlags(1))
    root = tracer.start_span("root", kind=SpanKind.SERVER, start_time=START)
    attributes = {
        "text": "Grüße 日本 🎉",
        "empty": "",
        "int": 2**62 + 1,
        "double": 0.1,
        "whole double": 2.0,
        "yes": True,
        "texts": ["a", "b"],
        "doubles": [1.0, 2.5],
        "large": "y" * 5000,
    }
    child = tracer.start_span(
        "child",
        context=set_span_in_context(root),
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=[Link(linked, {"why": "retry"})],
        start_time=START + 1,
    )
    child.add_event("first token", {"index": 0}, timestamp=START + 2)
    child.set_status(Status(StatusCode.ERROR, "model said no"))
    child.end(START + 1001)
    root.end(START + 2000)
    provider.shutdown()

    rows = spans_in(store)
    assert set(rows) == {"root", "child"}
    row, context = rows["child"], child.get_span_context()
    assert row["trace_id"] == f"{context.trace_id:032x}"
    assert row["span_id"] == f"{context.span_id:016x}"
    assert row["parent_span_id"] == f"{root.get_span_context().span_id:016x}" == rows["root"]["span_id"]
    assert rows["root"]["parent_span_id"] is None
    assert (row["start_ns"], row["duration_ns"]) == (START + 1, 1000)
    assert (row["kind"], rows["root"]["kind"]) == ("client", "server")
    assert (row["status"], row["status_message"], rows["root"]["status"]) == ("error", "model said no", "unset")
    assert row["attributes"] == attributes
    assert {key: type(value) for key, value in row["attributes"].items()} == {
        key: type(value) for key, value in attributes.items()
    }
    assert row["service_name"] == "py-agent"
    assert row["resource"]["attributes"] == {"service.name": "py-agent", "replicas": 3, "zones": ["a", "b"]}
    assert row["scope"] == {
        "name": "acme",
        "version": "1.0",
        "attributes": {"lib": "x"},
        "schema_url": "https://example.test/schema",
    }
    (event,) = row["events"]
    assert (event["name"], event["time_ns"], event["attributes"]) == ("first token", START + 2, {"index": 0})
    (link,) = row["links"]
    assert (link["trace_id"], link["span_id"]) == (f"{1 << 120:032x}", f"{7 << 56:016x}")
    assert (link["flags"], link["attributes"]) == (0x300, {"why": "retry"})


def test_logs_and_metrics_of_the_python_sdk_are_taken_without_an_error(collector, store, caplog):
    logger = LoggerProvider(resource=Resource({"service.name": "py-agent"}))
    logger.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{collector.url}/v1/logs")))
    logger.get_logger("acme").emit(
        LogRecord(
            timestamp=START,
            body={"role": "user", "n": 1},
            event_name="gen_ai.user.message",
            severity_number=SeverityNumber.INFO,
            attributes={"k": 1.5},
        )
    )
    logger.shutdown()
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics"))
    meter = MeterProvider(metric_readers=[reader])
    meter.get_meter("acme").create_counter("tokens").add(3)
    meter.shutdown()
    (row,) = store.sql("SELECT * FROM logs").dicts()
    assert (row["time_ns"], row["event_name"], row["service_name"]) == (START, "gen_ai.user.message", "py-agent")
    assert json.loads(str(row["body"])) == {"role": "user", "n": 1}
    assert attributes_from_text(str(row["attributes"])) == {"k": 1.5}
    assert not caplog.records


@pytest.fixture(scope="session")
def js_client() -> Path:
    """The JS SDK as npm has it, kept between test runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracekit-tests" / "js"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = (JS / "package.json").read_text()
    have = cache / "installed.json"
    if not have.is_file() or have.read_text() != wanted:
        (cache / "package.json").write_text(wanted)
        try:
            done = subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
                cwd=cache,
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip("npm cannot fetch the JS SDK in time")
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the JS SDK: {done.stderr.strip()[-200:]}")
        have.write_text(wanted)
    for script in JS.glob("*.mjs"):
        shutil.copy(script, cache / script.name)
    return cache / "send.mjs"


@pytest.mark.slow
def test_spans_of_the_javascript_sdk_come_back_as_they_were(collector, store, js_client):
    done = subprocess.run(
        ["node", str(js_client), collector.url], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    root, child = json.loads(done.stdout)
    rows = spans_in(store)
    assert set(rows) == {"invoke_agent", "chat"}
    row = rows["chat"]
    assert (row["trace_id"], row["span_id"]) == (child["traceId"], child["spanId"])
    assert (row["parent_span_id"], rows["invoke_agent"]["span_id"]) == (root["spanId"], root["spanId"])
    assert (row["start_ns"], row["duration_ns"]) == (1_795_435_348_223_456_789, 776_543_212)
    assert (row["kind"], row["status"], row["status_message"]) == ("client", "error", "model said no")
    assert row["attributes"] == {
        "text": "Grüße 日本 🎉",
        "lone": "cut \ufffd",  # half of a character is no character in OTLP
        "empty": "",
        "int": 57,
        "negative": -3,
        "double": 0.25,
        "yes": True,
        "list": ["a", "b"],
        "numbers": [1, 2],
        "large": "x" * 2000,
    }
    assert row["resource"]["attributes"] == {"service.name": "js-agent", "service.version": "1.2.3", "host.cpus": 2}
    assert (row["scope"]["name"], row["scope"]["version"]) == ("acme.js", "0.9.0")
    (event,) = row["events"]
    assert (event["name"], event["time_ns"], event["attributes"]) == (
        "first token",
        1_795_435_348_323_456_789,
        {"index": 0},
    )
    (link,) = row["links"]
    assert (link["trace_id"], link["span_id"], link["attributes"]) == (
        root["traceId"],
        root["spanId"],
        {"why": "parent"},
    )


def otlp_json(request: ExportTraceServiceRequest) -> dict:
    """A request as OTLP/JSON has it: protobuf's JSON, but for ids in hexadecimal and enumerations as numbers."""
    tree = json_format.MessageToDict(request, use_integers_for_enums=True)

    def mended(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: mended(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [mended(each) for each in value]
        if key in {"traceId", "spanId", "parentSpanId"}:
            return base64.b64decode(str(value)).hex()
        return value

    return mended(tree)


def many_sided_spans() -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "py-agent", "zones": ["a", "b"]}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("acme", "1.0", attributes={"lib": "x"})
    with tracer.start_as_current_span("invoke_agent bot", kind=SpanKind.SERVER) as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Grüße 🎉"}]}]),
            "int": 2**62 + 1,
            "negative": -(2**63),
            "double": 0.1,
            "whole": 2.0,
            "none": (),
            "flags": [True, False],
        }
        linked = SpanContext(1 << 120, 7 << 56, is_remote=True, trace_state=TraceState([("k", "v")]))
        links = [Link(linked, {"why": "retry"})]
        span = tracer.start_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=attributes, links=links)
        span.add_event("first token", {"index": 0})
        span.record_exception(ValueError("no"))
        span.set_status(Status(StatusCode.ERROR, "no"))
        span.end()
    return list(memory.get_finished_spans())


def test_spans_of_the_python_sdk_become_the_same_rows_by_every_way(three):
    spans = many_sided_spans()
    by_json, by_protobuf, by_grpc = three.collectors
    body = json.dumps(otlp_json(encode_spans(spans))).encode()
    answer = httpx.post(f"{by_json.url}/v1/traces", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {})
    exporter = OTLPSpanExporter(endpoint=f"{by_protobuf.url}/v1/traces")
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    grpc_exporter = GrpcSpanExporter(endpoint=f"http://{by_grpc.grpc_target}", insecure=True)
    assert grpc_exporter.export(spans) is SpanExportResult.SUCCESS
    grpc_exporter.shutdown()
    json_rows, protobuf_rows, grpc_rows = three.rows()
    assert len(json_rows) == 2
    assert json_rows == protobuf_rows == grpc_rows
    assert {row["status"] for row in json_rows} == {"unset", "error"}


def test_a_raw_request_as_a_command_line_tool_writes_it_becomes_the_same_rows(three):
    span = {
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "span_id": "eee19b7ec3c1b174",
        "name": "raw",
        "kind": "SPAN_KIND_CLIENT",
        "start_time_unix_nano": 1_544_712_660_000_000_000,
        "end_time_unix_nano": "1544712661000000000",
        "attributes": [{"key": "n", "value": {"int_value": 7}}, {"key": "t", "value": {"stringValue": "x"}}],
        "status": {"code": "STATUS_CODE_OK"},
        "an unknown field": {"deep": [1, None]},
    }
    loose = json.dumps({"resource_spans": [{"resource": None, "scope_spans": [{"spans": [span]}]}]}).encode()
    tight = {
        "name": "raw",
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "kind": 3,
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000",
        "attributes": [{"key": "n", "value": {"intValue": "7"}}, {"key": "t", "value": {"stringValue": "x"}}],
        "status": {"code": 1},
    }
    request = decode_json("traces", {"resourceSpans": [{"scopeSpans": [{"spans": [tight]}]}]}).payload
    by_json, by_protobuf, by_grpc = three.collectors
    for url, body, media in (
        (by_json.url, loose, "application/json; charset=utf-8"),
        (by_protobuf.url, request, "application/x-protobuf"),
    ):
        headers = {"content-type": media, "content-encoding": "gzip"}
        answer = httpx.post(f"{url}/v1/traces", content=gzip.compress(body), headers=headers)
        assert (answer.status_code, answer.content) in {(200, b""), (200, b"{}")}
    with grpc.insecure_channel(by_grpc.grpc_target) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert export(request, timeout=20, compression=grpc.Compression.Gzip) == b""
    json_rows, protobuf_rows, grpc_rows = three.rows()
    assert (json_rows[0]["name"], json_rows[0]["kind"], json_rows[0]["status"]) == ("raw", "client", "ok")
    assert json_rows == protobuf_rows == grpc_rows


def test_logs_and_metrics_of_the_python_sdk_are_taken_by_grpc(store, caplog):
    with Collector(store, port=0, grpc_port=0) as collector:
        target = f"http://{collector.grpc_target}"
        logger = LoggerProvider()
        logger.add_log_record_processor(BatchLogRecordProcessor(GrpcLogExporter(endpoint=target, insecure=True)))
        logger.get_logger("acme").emit(LogRecord(timestamp=START, body="hello", event_name="gen_ai.user.message"))
        logger.shutdown()
        reader = PeriodicExportingMetricReader(GrpcMetricExporter(endpoint=target, insecure=True))
        meter = MeterProvider(metric_readers=[reader])
        meter.get_meter("acme").create_histogram("gen_ai.client.token.usage").record(3)
        meter.shutdown()
        assert collector.meter.counted("items_total", signal="metrics") == 1
    (row,) = store.sql("SELECT * FROM logs").dicts()
    assert (row["time_ns"], row["event_name"]) == (START, "gen_ai.user.message")
    assert not caplog.records


@pytest.mark.slow
def test_spans_of_the_javascript_sdk_become_the_same_rows_by_every_way(three, js_client):
    by_json, by_protobuf, by_grpc = three.collectors
    targets = [by_json.url, by_protobuf.url, f"http://{by_grpc.grpc_target}"]
    script = str(js_client.with_name("send_three_ways.mjs"))
    done = subprocess.run(["node", script, *targets], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    json_rows, protobuf_rows, grpc_rows = three.rows()
    assert [row["name"] for row in json_rows] == ["chat gpt-4o"]
    assert json_rows == protobuf_rows == grpc_rows
