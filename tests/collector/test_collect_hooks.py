"""Real collectors with processors, forwarding and tokens: what goes in at the door is what the store has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.cli import main
from tracekit_collector.store import Store

COMMAND = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
PROTOBUF = {"content-type": "application/x-protobuf"}


class Collecting:
    """A collector in a process of its own."""

    def __init__(self, store: Path, *options: str, port: int = 0) -> None:
        words = ["collect", "--port", str(port), "--grpc-port", "off", "--settle-every", "0.1", "--store", str(store)]
        self.process = subprocess.Popen([*COMMAND, *words, *options], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.url = ""
        for line in self.process.stderr:
            if line.startswith("collecting on "):
                self.url = line.removeprefix("collecting on ").strip()
                break
        assert self.url, "the collector ended before it began"
        self._drain = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._drain.start()

    def send(self, *names: str, headers: dict[str, str] | None = None, project: str | None = None) -> httpx.Response:
        resource = [{"key": "tracekit.project", "value": {"string_value": project}}] if project else []
        spans = [
            {"name": name, "trace_id": os.urandom(16), "span_id": os.urandom(8), "start_time_unix_nano": time.time_ns()}
            for name in names
        ]
        body = ExportTraceServiceRequest(
            resource_spans=[{"resource": {"attributes": resource}, "scope_spans": [{"spans": spans}]}]
        )
        return httpx.post(
            f"{self.url}/v1/traces", content=body.SerializeToString(), headers={**PROTOBUF, **(headers or {})}
        )

    def metric(self, name: str) -> float | None:
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"tracekit_{name}"):
                return float(line.rpartition(" ")[2])
        return None

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        self._drain.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def collect() -> Iterator[Callable[..., Collecting]]:
    made: list[Collecting] = []

    def make(*words: object, **options: int) -> Collecting:
        made.append(Collecting(*words, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop(signal.SIGKILL)


def names(store: Path) -> list[str]:
    with Store.open(store) as opened:
        return [str(name) for (name,) in opened.sql("SELECT name FROM spans ORDER BY name").fetchall()]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_all_arrive_at_a_second_collector_that_was_killed_and_started_again(collect, tmp_path: Path) -> None:
    port = free_port()
    target = collect(tmp_path / "second", port=port)
    first = collect(tmp_path / "first", "--forward", f"http://127.0.0.1:{port}", "--processor", "drop?name=noise")
    assert first.send("a1", "noise").status_code == 200
    until(lambda: names(tmp_path / "second") == ["a1"])
    target.stop(signal.SIGKILL)
    assert first.send("b1").status_code == 200
    assert first.send("b2").status_code == 200
    until(lambda: first.metric("forward_failing") == 1.0)
    first.stop(signal.SIGKILL)
    first = collect(tmp_path / "first", "--forward", f"http://127.0.0.1:{port}")
    assert first.send("c1").status_code == 200
    target = collect(tmp_path / "second", port=port)
    until(lambda: first.metric("forward_waiting_bytes") == 0.0)
    first.stop()
    target.stop()
    assert names(tmp_path / "first") == names(tmp_path / "second") == ["a1", "b1", "b2", "c1"]


def test_tokens_are_asked_for_and_put_what_comes_into_their_project(collect, tmp_path: Path, capsys) -> None:
    store = tmp_path / "S"
    tokens = []
    for words in (["ci", "--project", "library"], ["reader", "--scope", "read"]):
        assert main(["tokens", "create", *words, "--store", str(store)]) == 0
        tokens.append(capsys.readouterr().out.strip())
    collector = collect(store, "--host", "0.0.0.0")  # other machines may come, as there are tokens
    collector.url = collector.url.replace("0.0.0.0", "127.0.0.1")
    assert collector.send("a").status_code == 401
    assert collector.send("a", headers={"authorization": f"Bearer {tokens[1]}"}).status_code == 403
    kept = collector.send("a", headers={"authorization": f"Bearer {tokens[0]}"}, project="somebody else's")
    assert kept.status_code == 200
    collector.stop()
    with Store.open(store) as opened:
        assert opened.sql("SELECT name, project FROM spans").fetchall() == [("a", "library")]


def test_processors_of_the_setting_hold_at_the_door_and_sampling_in_the_store(
    collect, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("TRACEKIT_PROCESSORS", "drop?name=GET%20* redaction tail_sampling?share=0&window=0.2")
    store = tmp_path / "S"
    Store.open(store).close()
    collector = collect(store)
    until(lambda: _begun(store))
    assert collector.send("GET /health", "password=hunter2").status_code == 200
    assert collector.metric('processed_total{processor="drop",what="dropped"}') == 1.0
    until(lambda: names(store) == ["password=[redacted: key password]"])
    collector.stop()


def _begun(store: Path) -> bool:
    from sqlalchemy import select

    from tracekit_collector.catalog.tables import MARKS

    with Store.open(store) as opened, opened.catalog.reading() as connection:
        return connection.scalar(select(MARKS.c.value)) is not None
