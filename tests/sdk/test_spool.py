"""An endpoint that is away: what was not taken waits on the disk, within its limit, and goes out in order, once."""

from __future__ import annotations

import gzip
import http.server
import multiprocessing
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider

import tracekit
from tracekit import _guard, _outlets, _sender
from tracekit._outlets import OtlpOutlet
from tracekit._sender import Answer, Sender
from tracekit._spool import Spool, spool_folder
from tracekit.errors import SettingError


class Endpoint(http.server.ThreadingHTTPServer):
    """Answers as it is told and keeps what it has been sent."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.bodies: list[bytes] = []
        self.taken: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.answer: dict[str, str] = {}
        self.content = b""
        self.hold: threading.Event | None = None
        self.arrived = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def names(self) -> list[str]:
        return [
            span.name
            for body in self.taken
            for resource in ExportTraceServiceRequest.FromString(gzip.decompress(body)).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.bodies.append(body)
        server.headers.append({key.lower(): value for key, value in self.headers.items()})
        server.arrived.set()
        if server.hold is not None:
            server.hold.wait(20)
        if server.status == 200:
            server.taken.append(body)
        try:
            self.send_response(server.status)
            for name, value in {"Content-Length": str(len(server.content)), **server.answer}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(server.content)
        except OSError:
            pass

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def outlet(endpoint: Endpoint, tmp_path: Path) -> Iterator[OtlpOutlet]:
    made = OtlpOutlet(endpoint.url, "traces", None, spool=str(tmp_path / "spool"), spool_bytes=1 << 20)
    yield made
    made.close()


Make = Callable[..., list[object]]


@pytest.fixture
def spans() -> Make:
    """Ended spans with the given names."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")

    def make(*names: str) -> list[object]:
        made = [tracer.start_span(name) for name in names]
        for span in made:
            span.end()
        return list(made)

    return make


def waiting(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "spool").rglob("*.traces"))


def a_free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def now(outlet: OtlpOutlet) -> None:
    """Let the pause after a failure be over."""
    outlet._not_before = outlet._next_look = 0.0


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_is_not_taken_waits_and_goes_out_in_order(outlet, endpoint, spans, tmp_path: Path, status: int) -> None:
    endpoint.status = status
    assert outlet.deliver(spans("a")) is False
    assert outlet.deliver(spans("b")) is False
    assert len(endpoint.bodies) == 1  # the second one does not even try: it is not its turn
    assert len(waiting(tmp_path)) == 2
    assert outlet.settle(time.monotonic()) is False
    endpoint.status = 200
    now(outlet)
    assert outlet.deliver(spans("c")) is True
    assert endpoint.names() == ["a", "b", "c"]
    assert endpoint.taken[0] == endpoint.bodies[0]  # a repeat is the same to the byte
    assert waiting(tmp_path) == []


def test_what_was_kept_goes_out_while_nothing_new_comes(outlet, endpoint, spans, tmp_path: Path) -> None:
    endpoint.status = 503
    outlet.deliver(spans("a"))
    endpoint.status = 200
    now(outlet)
    outlet.idle()
    assert endpoint.names() == ["a"]
    assert outlet.settle(time.monotonic() + 1)


def test_another_process_sends_what_an_earlier_one_had_to_leave(script, tmp_path: Path) -> None:
    port = a_free_port()
    source = """
        import tracekit
        with tracekit.span("first"):
            pass
    """
    script(source, TRACEKIT_ENDPOINT=f"http://127.0.0.1:{port}")
    assert len(waiting(tmp_path)) == 1
    server = Endpoint(port)
    try:
        script(source.replace('"first"', '"second"'), TRACEKIT_ENDPOINT=server.url)
        assert server.names() == ["first", "second"]
    finally:
        server.shutdown()
        server.server_close()
    assert waiting(tmp_path) == []


@pytest.mark.parametrize("status", [400, 401, 404, 413, 301])
def test_what_is_refused_for_good_is_dropped_counted_and_told_once(
    outlet, endpoint, spans, tmp_path: Path, caplog, status: int
) -> None:
    endpoint.status = status
    assert outlet.deliver(spans("a", "b")) is False
    assert outlet.deliver(spans("c")) is False
    assert waiting(tmp_path) == []
    assert _guard.faults == {f"endpoint {endpoint.url}/v1/traces": 3}
    assert len(caplog.records) == 1
    assert str(status) in caplog.text


def test_a_server_error_besides_is_tried_a_few_times_and_then_makes_way(outlet, endpoint, spans, tmp_path) -> None:
    endpoint.status = 500
    outlet.deliver(spans("poison"))
    for _ in range(3):
        now(outlet)
        outlet.idle()
    assert waiting(tmp_path) == []
    assert len(endpoint.bodies) == 4
    endpoint.status = 200
    assert outlet.deliver(spans("good")) is True


@pytest.mark.parametrize("said", ["20", None])
def test_an_endpoint_that_names_a_time_is_left_alone_until_then(outlet, endpoint, spans, said: str | None) -> None:
    endpoint.status = 429
    endpoint.answer = {"Retry-After": said or formatdate(time.time() + 20, usegmt=True)}
    outlet.deliver(spans("a"))
    assert 1 < outlet._not_before - time.monotonic() <= 20
    outlet.idle()
    assert len(endpoint.bodies) == 1


def test_over_the_limit_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", limit=1_000)
    for number in range(12):
        assert spool.put(bytes([number]) * 100, "traces") is not None
    kept = [path.read_bytes()[0] for path in spool.waiting()]
    assert kept == list(range(2, 12))
    assert _guard.faults == {"spool full": 2}
    assert spool.put(b"x" * 1_001, "traces") is None


def test_the_order_holds_when_the_clock_is_set_back(tmp_path: Path, monkeypatch) -> None:
    spool = Spool(tmp_path / "spool", limit=1_000)
    times = iter([2_000, 1_000, 500])
    monkeypatch.setattr("tracekit._spool.time.time_ns", lambda: next(times))
    for body in (b"a", b"b", b"c"):
        spool.put(body, "traces")
    assert [path.read_bytes() for path in spool.waiting()] == [b"a", b"b", b"c"]


def test_one_process_at_a_time_sends_what_is_kept(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, limit=100), Spool(tmp_path, limit=100)
    with first.mine() as mine, second.mine() as theirs:
        assert (mine, theirs) == (True, False)
    with second.mine() as mine:
        assert mine


def test_a_fork_does_not_keep_the_lock(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=100)
    go, gone = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Event()
    with spool.mine():
        child = multiprocessing.get_context("fork").Process(target=lambda: (gone.set(), go.wait(10)))
        child.start()
        assert gone.wait(10)
    with Spool(tmp_path, limit=100).mine() as mine:
        assert mine
    go.set()
    child.join(10)


def test_another_key_is_another_tenant(tmp_path: Path) -> None:
    one, two = (spool_folder("s", "http://x/v1/traces", {"authorization": key}) for key in "ab")
    assert one != two
    assert one == spool_folder("s", "http://x/v1/traces", {"authorization": "a"})


def test_a_folder_that_cannot_be_written_costs_the_spans_and_one_line(endpoint, spans, tmp_path: Path, caplog) -> None:
    (tmp_path / "spool").write_text("in the way")
    endpoint.status = 503
    outlet = OtlpOutlet(endpoint.url, "traces", None, spool=str(tmp_path / "spool"), spool_bytes=1 << 20)
    assert outlet.deliver(spans("a")) is False
    assert "set TRACEKIT_SPOOL" in caplog.text
    assert _guard.faults[f"endpoint {endpoint.url}/v1/traces"] == 1


def test_without_a_spool_it_is_tried_for_as_long_as_a_request_may_take(endpoint, spans, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.2")
    endpoint.status = 503
    outlet = OtlpOutlet(endpoint.url, "traces", None)
    assert outlet.deliver(spans("a")) is False
    assert len(endpoint.bodies) == 2
    assert _guard.faults == {f"endpoint {endpoint.url}/v1/traces": 1}


def test_an_endpoint_that_hangs_loses_nothing_at_the_end(fresh, endpoint: Endpoint, tmp_path: Path) -> None:
    """What is being sent, and what has come after, is on the disk when the time is over."""
    endpoint.hold = threading.Event()
    tracekit.init(endpoint=endpoint.url, tracer_provider=TracerProvider(shutdown_on_exit=False))
    with tracekit.span("first"):
        pass
    assert endpoint.arrived.wait(5)
    with tracekit.span("second"):
        pass
    assert tracekit.shutdown(0.1) is False
    kept = [path.read_bytes() for path in waiting(tmp_path)]
    assert kept[0] == endpoint.bodies[0]
    requests = [ExportTraceServiceRequest.FromString(gzip.decompress(body)) for body in kept]
    assert [one.resource_spans[0].scope_spans[0].spans[0].name for one in requests] == ["first", "second"]
    endpoint.hold.set()  # taken after all: then it is not sent a second time
    deadline = time.monotonic() + 5
    while len(waiting(tmp_path)) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [path.read_bytes() for path in waiting(tmp_path)] == kept[1:]


def test_flush_says_whether_something_is_left_to_be_sent_later(fresh, endpoint: Endpoint) -> None:
    endpoint.status = 503
    endpoint.answer = {"Retry-After": "0"}
    tracekit.init(endpoint=endpoint.url, tracer_provider=TracerProvider(shutdown_on_exit=False))
    with tracekit.span("x"):
        pass
    assert tracekit.flush(0.3) is False
    endpoint.status = 200
    assert tracekit.flush(5) is True
    assert endpoint.names() == ["x"]


def test_a_partial_success_is_counted(endpoint: Endpoint, spans, outlet) -> None:
    endpoint.content = ExportTraceServiceResponse(partial_success={"rejected_spans": 2}).SerializeToString()
    endpoint.answer = {"Content-Type": "application/x-protobuf"}
    assert outlet.deliver(spans("a", "b", "c")) is True
    assert _guard.faults == {f"left out by {endpoint.url}/v1/traces": 2}


def test_headers_timeouts_and_users_come_from_where_opentelemetry_has_them(endpoint: Endpoint, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-a=all")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-a=traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "nonsense")
    sender = Sender(endpoint.url.replace("//", "//ada:pw@") + "/v1/traces", "traces", {"X-B": "given"})
    assert sender.send(b"x") == Answer("taken")
    assert sender.timeout == 10.0
    sent = endpoint.headers[0]
    assert (sent["x-a"], sent["x-b"], sent["authorization"]) == ("traces", "given", "Basic YWRhOnB3")
    assert Sender(endpoint.url, "logs", None).headers == {"x-a": "all"}
    assert Sender(endpoint.url, "traces", {"a": "b\nc"}).send(b"").outcome == "refused"


def test_whom_to_trust_is_found_out_for_tls(monkeypatch) -> None:
    assert _sender._tls("traces").get_ca_certs() or Path("/etc/ssl/certs").is_dir()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")
    with pytest.raises(SettingError, match="cannot use the certificates"):
        Sender("https://localhost/v1/traces", "traces", None)


@pytest.mark.parametrize("said", ["much", "nan"])
def test_a_limit_that_is_no_number_is_told(fresh, monkeypatch, said: str) -> None:
    monkeypatch.setenv("TRACEKIT_SPOOL_MB", said)
    with pytest.raises(SettingError, match="give a number of MiB"):
        tracekit.init(endpoint="http://127.0.0.1:1", tracer_provider=TracerProvider(shutdown_on_exit=False))


def test_sigterm_is_left_alone_unless_asked_for_and_ends_the_process_as_ever(stored, tmp_path: Path) -> None:
    source = """
import os, signal, sys, time, tracekit
tracekit.init(handle_sigterm=len(sys.argv) > 1)
with tracekit.span("x"):
    pass
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
"""
    (tmp_path / "work.py").write_text(source)
    for arguments in ([], ["handled"]):
        done = subprocess.run([sys.executable, "work.py", *arguments], cwd=tmp_path, timeout=30, check=False)
        assert done.returncode == -signal.SIGTERM
    assert [span.name for span in stored.spans(tmp_path / ".tracekit")] == ["x"]


def test_a_handler_of_the_programs_own_stays(script) -> None:
    done = script(
        """
        import os, signal, tracekit
        signal.signal(signal.SIGTERM, lambda *_: print("mine"))
        tracekit.init(handle_sigterm=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("alive")
        """
    )
    assert done.stdout == "mine\nalive\n"


def test_the_pauses_grow_to_a_minute(outlet) -> None:
    pauses = []
    for _ in range(9):
        outlet._pause(Answer("later"))
        pauses.append(outlet._not_before - time.monotonic())
    assert 0.4 < pauses[0] <= 1
    assert 29 < pauses[-1] <= _outlets._LONGEST_PAUSE
