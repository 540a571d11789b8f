"""`init`: where spans go, whose provider is used, what happens at the end of a process, and when things are broken."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tracekit
from tracekit import _batch, _guard
from tracekit.errors import SettingError
from tracekit.inbox import Damage, read_segment, segments


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


def test_without_an_endpoint_spans_and_scores_go_to_the_local_inbox(fresh, stored, tmp_path: Path) -> None:
    tracekit.init(project="library", environment="dev", service="desk", tracer_provider=a_provider())
    with tracekit.span("visit"):
        look("bread")
        tracekit.score("helpful", True)
    assert tracekit.flush()
    store = tmp_path / ".tracekit"
    assert sorted(span.name for span in stored.spans(store)) == ["execute_tool look", "visit"]
    record = stored.records(store)[0]
    assert record.event_name == "gen_ai.evaluation.result"
    assert record.trace_id == stored.spans(store)[0].trace_id
    assert record.time_unix_nano > 0
    assert stored.attributes(record)["gen_ai.evaluation.score.value"] == 1.0


def test_our_own_provider_says_project_environment_and_service_in_its_resource(script, stored, tmp_path: Path) -> None:
    script(
        """
        import tracekit
        tracekit.init(project="library", environment="dev")
        with tracekit.span("visit"):
            pass
        """,
        OTEL_SERVICE_NAME="desk",
        OTEL_RESOURCE_ATTRIBUTES="team=blue",
    )
    said = stored.resources(tmp_path / ".tracekit")[0]
    assert {key: said[key] for key in ("tracekit.project", "deployment.environment.name", "service.name", "team")} == {
        "tracekit.project": "library",
        "deployment.environment.name": "dev",
        "service.name": "desk",
        "team": "blue",
    }
    assert "tracekit.project" not in stored.attributes(stored.spans(tmp_path / ".tracekit")[0])


def test_an_existing_provider_is_joined_not_replaced(script, stored, tmp_path: Path) -> None:
    done = script(
        """
        import tracekit
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        theirs, kept = TracerProvider(), InMemorySpanExporter()
        theirs.add_span_processor(SimpleSpanProcessor(kept))
        trace.set_tracer_provider(theirs)
        tracekit.init(project="library", agent="bot", agent_version="3")
        with trace.get_tracer("theirs").start_as_current_span("request"):
            with tracekit.span("visit"):
                pass
        assert trace.get_tracer_provider() is theirs
        print([span.name for span in kept.get_finished_spans()])
        """
    )
    assert done.stdout == "['visit', 'request']\n"
    spans = stored.spans(tmp_path / ".tracekit")
    assert sorted(span.name for span in spans) == ["request", "visit"]
    assert {span.name: span.parent_span_id != b"" for span in spans} == {"visit": True, "request": False}
    for span in spans:
        said = stored.attributes(span)
        assert (said["tracekit.project"], said["gen_ai.agent.name"], said["gen_ai.agent.version"]) == (
            "library",
            "bot",
            "3",
        )


def test_decorated_code_without_init_is_configured_from_the_settings(script, stored, tmp_path: Path) -> None:
    script(
        """
        import tracekit

        @tracekit.tool
        def look(query):
            return query

        look("x")
        """,
        TRACEKIT_STORE="elsewhere",
        TRACEKIT_PROJECT="library",
        TRACEKIT_AGENT="bot",
    )
    assert [span.name for span in stored.spans(tmp_path / "elsewhere")] == ["execute_tool look"]
    assert stored.resources(tmp_path / "elsewhere")[0]["tracekit.project"] == "library"
    assert stored.attributes(stored.spans(tmp_path / "elsewhere")[0])["gen_ai.agent.name"] == "bot"


def test_a_second_init_takes_the_place_of_the_first(fresh, stored, tmp_path: Path) -> None:
    provider = a_provider()
    tracekit.init(store=tmp_path / "one", project="first", tracer_provider=provider)
    look("a")
    tracekit.init(store=tmp_path / "two", project="second", agent="bot", tracer_provider=provider)
    look("b")
    tracekit.flush()
    found = [stored.spans(tmp_path / name) for name in ("one", "two")]
    assert [len(spans) for spans in found] == [1, 1]
    said = [stored.attributes(spans[0]) for spans in found]
    assert [(item["tracekit.project"], item.get("gen_ai.agent.name")) for item in said] == [
        ("first", None),
        ("second", "bot"),
    ]


def test_after_a_move_to_another_provider_the_first_is_left_alone(fresh, stored, tmp_path: Path) -> None:
    first, second = a_provider(), a_provider()
    tracekit.init(store=tmp_path / "store", tracer_provider=first)
    tracekit.init(store=tmp_path / "store", tracer_provider=second)
    first.get_tracer("theirs").start_span("unseen").end()
    second.get_tracer("theirs").start_span("seen").end()
    tracekit.flush()
    assert [span.name for span in stored.spans(tmp_path / "store")] == ["seen"]


def test_disabled_code_runs_as_if_it_were_not_decorated(script, tmp_path: Path) -> None:
    done = script(
        """
        import asyncio, tracekit
        tracekit.init()

        @tracekit.tool
        def add(a, b):
            return a + b

        @tracekit.tool
        def count(to):
            yield from range(to)

        @tracekit.tool
        async def later():
            return 3

        @tracekit.tool
        async def stream():
            yield 1

        async def main():
            return await later(), [item async for item in stream()]

        with tracekit.session("s"), tracekit.case("c"), tracekit.span("x") as span:
            span.output = 1
            span.set(model="m")
            tracekit.score("ok", True)
            print(add(1, 2), list(count(2)), asyncio.run(main()), span.trace_id, tracekit.trace_id())
        tracekit.register_agent("bot", code={}, dependencies={})
        assert tracekit.flush() and tracekit.shutdown()
        """,
        OTEL_SDK_DISABLED="true",
    )
    assert done.stdout == "3 [0, 1] (3, [1]) None None\n"
    assert not (tmp_path / ".tracekit").exists()


def test_after_shutdown_code_goes_on_untraced_until_the_next_init(fresh, stored, tmp_path: Path) -> None:
    provider = a_provider()
    tracekit.init(store=tmp_path / "store", tracer_provider=provider)
    look("a")
    assert tracekit.shutdown()
    assert look("b") == "b"
    tracekit.init(store=tmp_path / "store", tracer_provider=provider)
    look("c")
    tracekit.flush()
    inputs = [stored.attributes(span)["input.value"] for span in stored.spans(tmp_path / "store")]
    assert sorted(inputs) == ['{"query": "a"}', '{"query": "c"}']


def test_content_is_kept_out_by_the_setting(fresh, stored, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACEKIT_CAPTURE_CONTENT", "0")
    tracekit.init(tracer_provider=a_provider())
    look("secret")
    tracekit.flush()
    assert b"secret" not in b"".join(path.read_bytes() for path in segments(tmp_path / ".tracekit" / "inbox"))


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://x", "grpc://x:4317"])
def test_an_endpoint_that_is_no_url_is_told(fresh, endpoint: str) -> None:
    with pytest.raises(SettingError, match=r"is no http or https URL; write it like http://127\.0\.0\.1:4318"):
        tracekit.init(endpoint=endpoint, tracer_provider=a_provider())


def test_a_wrong_setting_without_init_costs_the_trace_and_not_the_program(script) -> None:
    done = script(
        """
        import logging, tracekit
        logging.basicConfig(format="%(message)s")

        @tracekit.tool
        def add(a, b):
            return a + b

        print(add(1, 2), add(3, 4))
        """,
        TRACEKIT_ENDPOINT="localhost:4318",
    )
    assert done.stdout == "3 7\n"
    assert done.stderr.count("starting from the settings failed") == 1


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


def test_a_store_that_is_asked_for_wins_over_an_endpoint_of_the_environment(fresh, monkeypatch, stored) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracekit.init(store="here", tracer_provider=a_provider())
    look("x")
    tracekit.flush()
    assert len(stored.spans(Path("here"))) == 1


def test_where_somebody_exports_already_nothing_is_sent_twice(fresh, collector: Collector, monkeypatch) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

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


def test_a_collector_that_is_down_neither_spams_nor_blocks_the_end(script) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    begun = time.monotonic()
    done = script(
        """
        import time, tracekit

        @tracekit.tool
        def look(query):
            return query

        for number in range(2_000):
            look(str(number))
        tracekit.score("x", 1, trace_id="0af7651916cd43dd8448eb211c80319c")
        print("done")
        """,
        TRACEKIT_ENDPOINT=f"http://127.0.0.1:{port}",
    )
    assert done.stdout == "done\n"
    assert time.monotonic() - begun < 10
    assert len(done.stderr.splitlines()) <= 3, done.stderr


def test_a_store_that_cannot_be_written_costs_the_trace_and_one_line(script, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    done = script(
        """
        import tracekit
        tracekit.init(store="store")
        for _ in range(3):
            with tracekit.span("x"):
                pass
            tracekit.flush()
        print("done")
        """
    )
    assert done.stdout == "done\n"
    assert "cannot write to the inbox" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_twenty_thousand_spans_back_to_back_are_all_stored(script, stored, tmp_path: Path) -> None:
    script(
        """
        import tracekit

        @tracekit.tool
        def child(question):
            return question

        @tracekit.agent
        def root(question):
            for _ in range(9):
                child(question)
            return question

        for number in range(2_000):
            root("what is up")
        """
    )
    spans = stored.spans(tmp_path / ".tracekit")
    assert len(spans) == 20_000
    assert len({span.span_id for span in spans}) == 20_000
    assert len({span.trace_id for span in spans}) == 2_000


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


def test_flush_waits_no_longer_than_it_is_told() -> None:
    held = threading.Event()
    queue: _batch.Batch[int] = _batch.Batch("things", lambda _: held.wait(10), size_of=lambda _: 1)
    queue.put(1)
    begun = time.monotonic()
    assert queue.flush(0.05) is False
    assert time.monotonic() - begun < 2
    held.set()
    assert queue.close(5)


def test_a_span_that_cannot_be_encoded_costs_itself_alone(fresh, stored, tmp_path: Path) -> None:
    """Another instrumentation may give a span a name that UTF-8 cannot hold."""
    provider = a_provider()
    tracekit.init(tracer_provider=provider)
    for number in range(10):
        provider.get_tracer("theirs").start_span(f"s{number}" if number != 3 else "\ud800").end()
    tracekit.flush()
    kept = sorted(span.name for span in stored.spans(tmp_path / ".tracekit"))
    assert kept == [f"s{number}" for number in range(10) if number != 3]


def test_unsampled_spans_are_not_kept(fresh, stored, tmp_path: Path) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

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


def test_forked_children_record_what_is_theirs_once(script, stored, tmp_path: Path) -> None:
    script(
        """
        import os, tracekit

        @tracekit.tool
        def work(who):
            return who

        work("parent before")
        with tracekit.span("around the fork"):
            child = os.fork()
            if child == 0:
                work("child")
        if child == 0:
            tracekit.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        work("parent after")
        """
    )
    spans = stored.spans(tmp_path / ".tracekit")
    names = sorted(stored.attributes(span).get("output.value", span.name) for span in spans)
    assert names == ["around the fork", "child", "parent after", "parent before"]
    by_name = {stored.attributes(span).get("output.value", span.name): span for span in spans}
    assert by_name["child"].parent_span_id == by_name["around the fork"].span_id


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_deliver_before_they_end(script, stored, tmp_path: Path, method: str) -> None:
    script(
        f"""
        import multiprocessing
        import tracekit

        @tracekit.tool
        def work(number):
            return number * 2

        if __name__ == "__main__":
            work(0)
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(work, [1, 2, 3, 4]) == [2, 4, 6, 8]
                pool.close()
                pool.join()
        """
    )
    outputs = [stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")]
    assert sorted(outputs, key=int) == ["0", "2", "4", "6", "8"]


def test_two_processes_record_into_one_store_at_once(stored, tmp_path: Path) -> None:
    source = """
import sys, tracekit

@tracekit.tool
def work(who, number):
    return f"{who} {number}"

for number in range(500):
    work(sys.argv[1], number)
"""
    (tmp_path / "work.py").write_text(source)
    both = [subprocess.Popen([sys.executable, "work.py", who], cwd=tmp_path) for who in "ab"]
    assert [process.wait(40) for process in both] == [0, 0]
    outputs = {stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")}
    assert outputs == {f"{who} {number}" for who in "ab" for number in range(500)}
    assert not any(
        isinstance(item, Damage) for path in segments(tmp_path / ".tracekit" / "inbox") for item in read_segment(path)
    )


def test_spans_of_exiting_threads_and_atexit_handlers_are_kept(script, stored, tmp_path: Path) -> None:
    script(
        """
        import atexit, threading, tracekit

        @tracekit.tool
        def work(who):
            return who

        work("main")
        atexit.register(work, "at exit")  # runs before ours, which was registered earlier
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        """
    )
    outputs = [stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")]
    assert sorted(outputs) == ["at exit", "main", "thread"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise RuntimeError('x')", "1/0"])
def test_the_exit_code_is_the_programs_own(script, stored, tmp_path: Path, end: str) -> None:
    done = script(
        f"""
        import sys, tracekit

        @tracekit.agent
        def main():
            {end}

        main()
        """,
        check=False,
    )
    assert done.returncode == (3 if "exit" in end else 1)
    span = stored.spans(tmp_path / ".tracekit")[0]
    assert (
        stored.attributes(span)["error.type"]
        == {"sys": "SystemExit", "rai": "RuntimeError", "1/0": "ZeroDivisionError"}[end[:3]]
    )


def test_importing_tracekit_leaves_the_sdk_and_the_exporters_alone() -> None:
    source = "import sys, json, tracekit; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(json.loads(done.stdout))
    heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests", "grpc")
    assert not [name for name in loaded if name.startswith(heavy)]


def test_a_million_spans_would_not_pile_up(fresh, tmp_path: Path) -> None:
    """What ended spans held is let go of: after delivery nothing of ours refers to them."""
    import gc
    import weakref

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
    assert os.environ.get("TRACEKIT_STORE") is None
