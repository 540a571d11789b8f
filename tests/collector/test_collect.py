"""`tracekit collect` as a process: ready soon, fresh, in company, with a full disk, and gone in good order."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import SettingError
from tracekit_collector.access import Access
from tracekit_collector.service import Collector, Settling
from tracekit_collector.store import Store

COMMAND = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
PROTOBUF = {"content-type": "application/x-protobuf"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collecting:
    """A collector in a process of its own."""

    def __init__(self, store: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "collect", "--port", "0", "--store", str(store), *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        self._told = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.url = self.says("collecting on ").removeprefix("collecting on ").strip()

    def _listen(self) -> None:
        with self.process.stderr as stream:
            for line in stream:
                with self._told:
                    self.said.append(line)
                    self._told.notify_all()
        with self._told:
            self.said.append("")
            self._told.notify_all()

    def says(self, what: str) -> str:
        """The line that holds `what`, waited for."""
        with self._told:
            self._told.wait_for(lambda: self.said[-1:] == [""] or any(what in line for line in self.said), 20)
            found = [line for line in self.said if what in line]
        assert found, f"never said {what!r}: {self.said}"
        return found[0]

    def send(self, *names: str) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/traces", content=body(*names), headers=PROTOBUF)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self._listener.join(30)
        return self.process.wait(30)


def body(*names: str) -> bytes:
    now = time.time_ns()
    spans = [
        {
            "name": name,
            "trace_id": os.urandom(16),
            "span_id": os.urandom(8),
            "start_time_unix_nano": now,
            "end_time_unix_nano": now + 1,
        }
        for name in names
    ]
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}]).SerializeToString()


@pytest.fixture
def collect(tmp_path):
    started: list[Collecting] = []

    def start(*options: str, store: Path = tmp_path / "S") -> Collecting:
        started.append(Collecting(store, *options))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL)


def names_in(folder: Path, *, settle: bool = True) -> list[str]:
    with Store.open(folder) as store:
        return [str(row[0]) for row in store.sql("SELECT name FROM spans ORDER BY name", settle=settle).fetchall()]


def eventually(holds: Callable[[], bool], *, within: float) -> float:
    """How long it took until it held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"did not hold within {within} s"
        time.sleep(0.02)
    return time.monotonic() - began


def test_it_says_where_it_listens_and_where_it_keeps(collect, tmp_path):
    collector = collect()
    assert collector.url.startswith("http://127.0.0.1:")
    assert not collector.url.endswith((":0", ":4318"))
    assert collector.says("store: ") == f"store: {tmp_path / 'S'}\n"
    assert httpx.get(f"{collector.url}/healthz").json() == {"status": "ok"}
    assert collector.stop() == 0


def test_what_is_acknowledged_can_be_queried_within_two_seconds_by_another_process(collect, tmp_path):
    collector = collect()
    assert collector.send("warm").status_code == 200
    eventually(lambda: names_in(tmp_path / "S", settle=False) == ["warm"], within=10)
    assert collector.send("fresh").status_code == 200
    eventually(lambda: "fresh" in names_in(tmp_path / "S", settle=False), within=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_everything_settled_and_nothing_lost(collect, tmp_path, number):
    collector = collect("--settle-every", "60")
    stopped, acknowledged = threading.Event(), []

    def load(who: int) -> None:
        with httpx.Client() as client:
            for count in range(100_000):
                name = f"{who}-{count:06d}"
                try:
                    answer = client.post(f"{collector.url}/v1/traces", content=body(name), headers=PROTOBUF)
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(name)
                if stopped.is_set():
                    return

    threads = [threading.Thread(target=load, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 50, within=20)
    assert collector.stop(number) == 0
    stopped.set()
    for thread in threads:
        thread.join(20)
    kept = names_in(tmp_path / "S", settle=False)
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    assert not list((tmp_path / "S" / "inbox").glob("*.traces"))
    assert not any("Traceback" in line for line in collector.said)


def test_a_port_in_use_is_one_clear_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "collect", "--port", str(port), "--store", str(tmp_path / "S")],
            capture_output=True,
            text=True,
            check=False,
        )
    mend = "stop what has it, or give another --port (0 picks a free one)"
    assert done.returncode == 2
    assert done.stderr == f"tracekit: cannot listen on 127.0.0.1:{port}: Address already in use; {mend}\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--port", "x"), "the port must be a number from 0 to 65535, not 'x'"),
        (("--port", "70000"), "the port must be a number from 0 to 65535, not '70000'"),
        (("--host", "203.0.113.1", "--port", "0", "--insecure"), "cannot listen on 203.0.113.1"),
        (("--host", "no.such.host.invalid", "--port", "0", "--insecure"), "cannot listen on no.such.host.invalid"),
        (
            ("--host", "0.0.0.0", "--port", "0"),
            "0.0.0.0 can be reached from other machines, and whoever reaches it could",
        ),
        (("--processor", "nonsense"), "there is no processor called 'nonsense'"),
        (("--forward", "nowhere"), "a target of forwarding is a URL"),
        (("--settle-every", "0"), "--settle-every must be more than 0"),
        (("--max-body", "-1"), "--max-body must be more than 0"),
    ],
)
def test_settings_that_cannot_be_used_are_bad_usage(tmp_path, options, says):
    done = subprocess.run(
        [*COMMAND, "collect", "--store", str(tmp_path / "S"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_others_can_reach_is_warned_of(collect):
    collector = collect("--host", "0.0.0.0", "--insecure")
    assert collector.says("warning: 0.0.0.0 can be reached from other machines")
    quiet = collect("--host", "localhost")
    assert (collector.stop(), quiet.stop()) == (0, 0)
    assert not any("warning" in line for line in quiet.said)


def test_two_collectors_share_a_store(collect, tmp_path):
    first, second = collect("--settle-every", "0.05"), collect("--settle-every", "0.05")
    names = [f"{number:03d}" for number in range(60)]
    for number, name in enumerate(names):
        assert (first, second)[number % 2].send(name).status_code == 200
    assert (first.stop(), second.stop()) == (0, 0)
    assert names_in(tmp_path / "S", settle=False) == names
    assert not any("failed" in line for line in first.said + second.said)


@pytest.mark.slow
def test_processes_that_trace_a_reader_and_a_collector_work_on_one_store_at_once(collect, tmp_path):
    store = tmp_path / "S"
    program = """
import sys, tracekit
tracekit.init(project="p", store=sys.argv[1])
@tracekit.tool
def look(n): return n
for number in range(150):
    with tracekit.span(f"{sys.argv[2]}-{number}", step="agent"):
        look(number)
tracekit.shutdown()
"""
    collector = collect("--settle-every", "0.1")
    tracing = [subprocess.Popen([sys.executable, "-c", program, str(store), name]) for name in ("a", "b")]
    reads = 0
    while reads < 2 or any(process.poll() is None for process in tracing):
        assert collector.send(f"c-{reads}").status_code == 200
        done = subprocess.run(
            [*COMMAND, "traces", "--store", str(store), "--format", "json"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
        reads += 1
    assert [process.wait() for process in tracing] == [0, 0]
    assert collector.stop() == 0
    names = [name.rpartition(" ")[2] for name in names_in(store)]
    want = [f"{who}-{number}" for who in "ab" for number in range(150)] + [f"c-{read}" for read in range(reads)]
    assert sorted(name for name in names if name != "look") == sorted(want)
    assert names.count("look") == 300
    assert not any("failed" in line for line in collector.said)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, which Linux has")
def test_a_full_disk_is_a_503_until_there_is_room_again_and_nothing_acknowledged_is_lost(collect, tmp_path):
    """A limit on file sizes stands for the full disk: every write of the process fails from then on."""
    collector = collect()
    assert collector.send("before").status_code == 200
    eventually(lambda: names_in(tmp_path / "S", settle=False) == ["before"], within=10)
    hard = resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    refused = [collector.send("during") for _ in range(3)]
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(503, "2")] * 3
    assert "cannot write to the inbox" in refused[0].text
    assert httpx.get(f"{collector.url}/readyz").status_code == 503
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert collector.send("after").status_code == 200
    assert httpx.get(f"{collector.url}/readyz").json()["status"] == "ready"
    assert collector.stop() == 0
    assert names_in(tmp_path / "S", settle=False) == ["after", "before"]
    assert len([line for line in collector.said if "File too large" in line]) <= 2


def test_settling_that_fails_is_logged_once_told_by_readyz_and_tried_again(tmp_path, caplog):
    with Store.open(tmp_path / "S") as store:
        failing = threading.Event()
        failing.set()
        settle = store.settle

        def settle_or_fail(**options):
            if failing.is_set():
                raise OSError("the lake is out of reach")
            return settle(**options)

        store.settle = settle_or_fail
        with Collector(store, port=0, settle_every=0.01) as collector:
            assert httpx.post(f"{collector.url}/v1/traces", content=body("a"), headers=PROTOBUF).status_code == 200

            def ready() -> dict:
                return httpx.get(f"{collector.url}/readyz").json()

            eventually(lambda: ready()["status"] == "degraded", within=20)
            assert ready()["settle"]["error"] == "OSError: the lake is out of reach"
            assert ready()["settle"]["backlog_bytes"] > 0
            assert httpx.post(f"{collector.url}/v1/traces", content=body("b"), headers=PROTOBUF).status_code == 200
            failing.clear()
            eventually(lambda: ready()["status"] == "ready" and ready()["settle"]["backlog_bytes"] == 0, within=20)
    assert names_in(tmp_path / "S", settle=False) == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        "settling failed and will be tried again: OSError: the lake is out of reach"
    ]


def test_a_client_that_stops_in_the_middle_of_a_body_keeps_nobody_waiting(collect):
    collector = collect()
    host, port = collector.url.removeprefix("http://").split(":")
    fields = ["POST /v1/traces HTTP/1.1", "Host: x", "Content-Type: application/x-protobuf", "Content-Length: 1000"]
    head = "\r\n".join([*fields, "", "half"]).encode()
    stuck = socket.create_connection((host, int(port)))
    stuck.sendall(head)
    gone = socket.create_connection((host, int(port)))
    gone.sendall(head)
    gone.close()
    assert collector.send("other").status_code == 200
    assert collector.stop() == 0
    stuck.close()


def test_both_doors_speak_tls_and_nothing_else(tmp_path, certificate):
    chain, key = certificate
    with (
        Store.open(tmp_path / "S") as store,
        Collector(store, port=0, grpc_port=0, certificate=(chain, key)) as collector,
    ):
        assert collector.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(chain))
        sent = httpx.post(f"{collector.url}/v1/traces", content=body("http"), headers=PROTOBUF, verify=trusting)
        assert sent.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{collector.url.replace('https', 'http')}/v1/traces", content=b"", headers=PROTOBUF)
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(collector.grpc_target, credentials) as channel:
            assert channel.unary_unary(EXPORT)(body("grpc"), timeout=20) == b""
        with grpc.insecure_channel(collector.grpc_target) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(EXPORT)(b"", timeout=20)
    assert names_in(tmp_path / "S") == ["grpc", "http"]


def test_a_certificate_that_cannot_be_used_is_one_clear_error(tmp_path):
    (tmp_path / "cert.pem").write_text("none")
    with (
        Store.open(tmp_path / "S") as store,
        pytest.raises(SettingError, match=r"cannot use .*cert\.pem with .* for TLS"),
    ):
        Collector(store, port=0, certificate=(tmp_path / "cert.pem", tmp_path / "cert.pem")).start()


def test_a_grpc_port_in_use_is_one_clear_error_and_leaves_no_door_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, Store.open(tmp_path / "S") as store:
        collector = Collector(store, port=0, grpc_port=taken.getsockname()[1])
        with pytest.raises(SettingError, match="for gRPC; stop what has it, or give another --grpc-port"):
            collector.start()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{collector.url}/health")


def test_the_command_opens_both_doors_and_tells_its_figures(collect, tmp_path):
    collector = collect()
    target = collector.says("gRPC on ").removeprefix("gRPC on ").strip()
    with grpc.insecure_channel(target) as channel:
        assert channel.unary_unary(EXPORT)(body("by grpc"), timeout=20) == b""
    eventually(lambda: names_in(tmp_path / "S", settle=False) == ["by grpc"], within=10)

    def figures() -> dict[str, str]:
        lines = httpx.get(f"{collector.url}/metrics").text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    eventually(lambda: figures()["tracekit_settle_lag_seconds"] == "0", within=20)
    assert figures()['tracekit_requests_total{code="200",door="grpc",signal="traces"}'] == "1"
    assert {
        name: figures()[f"tracekit_{name}"] for name in ("backlog_bytes", "quarantined_files", "in_flight_bytes")
    } == {
        "backlog_bytes": "0",
        "quarantined_files": "0",
        "in_flight_bytes": "0",
    }
    assert httpx.get(f"{collector.url}/ready").json()["settle"]["lag_seconds"] == 0
    assert collector.stop() == 0


def test_no_grpc_door_where_it_is_off(collect):
    collector = collect("--grpc-port", "off")
    collector.says("store: ")
    assert not any("gRPC" in line for line in collector.said)


def test_a_connection_is_kept_for_the_next_request(collect):
    collector = collect()
    host, port = collector.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.connect()
    first = connection.sock
    for path, status in (("/v1/traces", 200), ("/v1/nothing", 404), ("/v1/traces", 200)):
        connection.request("POST", path, body("again"), PROTOBUF)
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
        assert connection.sock is first
    connection.close()


def test_a_token_once_made_is_asked_for_at_both_doors(tmp_path):
    with Store.open(tmp_path / "S") as store:
        token, _ = store.catalog.tokens.create("ci", project="library")
        access = Access(store.catalog)
        with Collector(store, port=0, grpc_port=0, authorise=access.authorise) as collector:
            url = f"{collector.url}/v1/traces"
            assert httpx.post(url, content=body("nobody"), headers=PROTOBUF).status_code == 401
            good = {**PROTOBUF, "authorization": f"Bearer {token}"}
            assert httpx.post(url, content=body("http"), headers=good).status_code == 200
            with grpc.insecure_channel(collector.grpc_target) as channel:
                call = channel.unary_unary(EXPORT)
                with pytest.raises(grpc.RpcError) as refused:
                    call(body("nobody"), timeout=20)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert call(body("grpc"), timeout=20, metadata=(("authorization", f"Bearer {token}"),)) == b""
        rows = store.sql("SELECT name, project FROM spans ORDER BY name").fetchall()
    assert rows == [("grpc", "library"), ("http", "library")]


def test_the_lag_is_the_age_of_the_oldest_request_that_waits(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("tracekit_collector.settling.time.monotonic", lambda: clock[0])
    with Store.open(tmp_path / "S") as store:
        settling = Settling(store)
        assert settling.lag(0) == 0
        settling.arrived(1000)
        clock[0] = 103.0
        settling.arrived(500)
        clock[0] = 105.0
        assert (settling.lag(1500), settling.lag(1200), settling.lag(500), settling.lag(0)) == (5.0, 5.0, 2.0, 0.0)
