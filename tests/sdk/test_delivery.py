"""Ways out: queues that neither lose nor grow, the endpoint, and other people's exporters."""

from __future__ import annotations

import gc
import gzip
import http.server
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import tracekit
from tracekit import _batch, _guard


@tracekit.tool
def look(query: str) -> str:
    return query


def a_provider() -> TracerProvider:
    return TracerProvider(resource=Resource({"service.name": "theirs"}), shutdown_on_exit=False)


class Collector(http.server.ThreadingHTTPServer):
    """Answers OTLP over HTTP and keeps what it got."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = status
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def spans(self) -> list[str]:
        return [
            span.name
            for path, _, body in self.requests
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


def test_with_an_endpoint_spans_go_out_compressed_with_the_headers(fresh, collector: Collector, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-from-env=1")
    tracekit.init(endpoint=collector.url, headers={"Authorization": "key"}, tracer_provider=a_provider())
    with tracekit.span("visit"):
        look("bread")
        tracekit.score("helpful", True)
    assert tracekit.flush()
    assert sorted(collector.spans()) == ["execute_tool look", "visit"]
    assert sorted({path for path, _, _ in collector.requests}) == ["/v1/logs", "/v1/traces"]
    for _, headers, _ in collector.requests:
        assert headers["content-encoding"] == "gzip"
        assert headers["content-type"] == "application/x-protobuf"
        assert (headers["authorization"], headers["x-from-env"]) == ("key", "1")
    assert not Path(".tracekit").exists()


def test_opentelemetrys_endpoint_variable_is_used(fresh, collector: Collector, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url + "/")
    tracekit.init(tracer_provider=a_provider())
    look("x")
    tracekit.flush()
    assert collector.spans() == ["execute_tool look"]


def test_where_somebody_exports_already_nothing_is_sent_twice(fresh, collector: Collector, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    provider = a_provider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    tracekit.init(agent="bot", tracer_provider=provider)
    look("x")
    provider.get_tracer("theirs").start_span("request").end()
    tracekit.score("ok", True, trace_id="0af7651916cd43dd8448eb211c80319c")
    tracekit.flush()
    assert collector.spans() == ["execute_tool look", "request"]
    assert sorted({path for path, _, _ in collector.requests}) == ["/v1/logs", "/v1/traces"]


def test_a_full_queue_before_the_inbox_waits_rather_than_loses(fresh, stored, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_batch, "QUEUE", 50)
    tracekit.init(tracer_provider=a_provider())
    for number in range(2_000):
        look(str(number))
    tracekit.flush()
    assert len(stored.spans(tmp_path / ".tracekit")) == 2_000
    assert _guard.faults == {}


def test_a_full_queue_before_an_endpoint_drops_counts_and_says_so_once(monkeypatch, caplog) -> None:
    monkeypatch.setattr(_batch, "QUEUE", 10)
    stuck, go_on = threading.Event(), threading.Event()

    def export(_batch_of: list[int]) -> bool:
        stuck.set()
        return go_on.wait(10)

    queue: _batch.Batch[int] = _batch.Batch("things", export, size_of=lambda _: 1)
    queue.put(0)
    queue._wake.set()
    assert stuck.wait(5)
    for number in range(15):
        queue.put(number)
    assert _guard.faults == {"dropped things": 5}
    assert len(caplog.records) == 1
    go_on.set()
    assert queue.close(5)


def test_an_exporter_that_raises_costs_its_batch_alone() -> None:
    delivered: list[list[int]] = []

    def export(batch: list[int]) -> bool:
        if 1 in batch:
            raise RuntimeError("no")
        delivered.append(batch)
        return True

    queue: _batch.Batch[int] = _batch.Batch("things", export, size_of=lambda _: 1)
    queue.put(1)
    assert queue.flush(5)
    queue.put(2)
    assert queue.flush(5)
    assert delivered == [[2]]
    assert _guard.faults == {"delivering things": 1}
    queue.close(5)


def test_large_spans_go_in_batches_of_bounded_size() -> None:
    sizes: list[int] = []
    queue: _batch.Batch[int] = _batch.Batch(
        "things", lambda batch: sizes.append(len(batch)) is None, size_of=lambda _: 1 << 20
    )
    for number in range(20):
        queue.put(number)
    assert queue.close(5)
    assert sum(sizes) == 20
    assert max(sizes) == 4


def test_the_thread_rests_between_batches_unless_somebody_waits(monkeypatch) -> None:
    monkeypatch.setattr(_batch, "_MODESTY", 1e12)
    monkeypatch.setattr(_batch, "DELAY", 0.5)
    first = threading.Event()
    batches: list[int] = []

    def export(batch: list[int]) -> bool:
        batches.append(sum(batch))  # takes some of the processor's time, however little
        first.set()
        return True

    queue: _batch.Batch[int] = _batch.Batch("things", export, size_of=lambda _: 1)
    for number in range(4 * _batch.BATCH):
        queue.put(number)
    assert batches == []  # a burst is made first and delivered after
    assert first.wait(5)
    assert len(batches) < 4
    assert queue.flush(5)
    assert sum(batches) == sum(range(4 * _batch.BATCH))
    assert queue.close(5)


def test_a_queue_that_fills_up_does_not_wait_for_the_delay(monkeypatch) -> None:
    monkeypatch.setattr(_batch, "DELAY", 30.0)
    monkeypatch.setattr(_batch, "PRESSING", 10)
    delivered = threading.Event()
    queue: _batch.Batch[int] = _batch.Batch("things", lambda _: not delivered.set(), size_of=lambda _: 1)
    for number in range(9):
        queue.put(number)
    assert not delivered.is_set()
    queue.put(9)
    assert delivered.wait(5)
    assert queue.close(5)


def test_flush_waits_no_longer_than_it_is_told() -> None:
    held = threading.Event()
    queue: _batch.Batch[int] = _batch.Batch("things", lambda _: held.wait(10), size_of=lambda _: 1)
    queue.put(1)
    begun = time.monotonic()
    assert queue.flush(0.05) is False
    assert time.monotonic() - begun < 8
    held.set()
    assert queue.close(5)


def test_a_span_that_cannot_be_encoded_costs_itself_alone(fresh, stored, tmp_path: Path) -> None:
    """Another instrumentation may give a span a time that OTLP has no room for."""
    provider = a_provider()
    tracekit.init(tracer_provider=provider)
    for number in range(10):
        provider.get_tracer("theirs").start_span(f"s{number}", start_time=1 if number != 3 else 1 << 70).end()
    tracekit.flush()
    kept = sorted(span.name for span in stored.spans(tmp_path / ".tracekit"))
    assert kept == [f"s{number}" for number in range(10) if number != 3]


def test_unsampled_spans_are_not_kept(fresh, stored, tmp_path: Path) -> None:
    tracekit.init(tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    assert look("x") == "x"
    tracekit.flush()
    assert stored.spans(tmp_path / ".tracekit") == []


def test_an_exporter_of_theirs_that_raises_changes_nothing(fresh, stored, tmp_path: Path, caplog) -> None:
    class Broken(SpanExporter):
        def export(self, spans) -> SpanExportResult:
            raise RuntimeError("theirs")

    provider = a_provider()
    provider.add_span_processor(SimpleSpanProcessor(Broken()))
    tracekit.init(tracer_provider=provider)
    assert look("x") == "x"
    tracekit.flush()
    assert len(stored.spans(tmp_path / ".tracekit")) == 1


def test_a_million_spans_would_not_pile_up(fresh, tmp_path: Path) -> None:
    """What ended spans held is let go of: after delivery nothing of ours refers to them."""

    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)

    @tracekit.tool
    def use(item: object) -> object:
        return item

    tracekit.init(tracer_provider=a_provider())
    use(thing)
    del thing
    gc.collect()
    assert seen() is None


def test_in_memory_exporters_see_our_spans_too(fresh) -> None:
    kept = InMemorySpanExporter()
    provider = a_provider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracekit.init(tracer_provider=provider)
    look("x")
    assert [span.name for span in kept.get_finished_spans()] == ["execute_tool look"]
