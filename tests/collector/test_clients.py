"""Real OpenTelemetry SDKs, unmodified, export over loopback, and their spans come back attribute for attribute."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tracekit_collector.anyvalue import attributes_from_text
from tracekit_collector.folding import unfold
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
    shutil.copy(JS / "send.mjs", cache / "send.mjs")
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
