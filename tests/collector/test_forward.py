"""Forwarding: what is taken goes on, in order, at least once, whoever is away or killed meanwhile."""

from __future__ import annotations

import gzip
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracekit.errors import SettingError
from tracekit.inbox import segments
from tracekit_collector import forward as module
from tracekit_collector.forward import Forwarder, Target


class Backend:
    """A real HTTP server that answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.changed = threading.Condition()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                with backend.changed:
                    status, headers = backend.answers.pop(0) if backend.answers else (200, {})
                    backend.headers.append({key.lower(): value for key, value in self.headers.items()})
                    backend.got.append((f"{status} {self.path}", body))
                    backend.changed.notify_all()
                self.send_response(status)
                for key, value in {**headers, "content-length": "0"}.items():
                    self.send_header(key, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait(self, met: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(met, 15), self.got

    def taken(self) -> list[bytes]:
        return [body for said, body in self.got if said.startswith("200")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


@pytest.fixture
def forwarding(tmp_path: Path, monkeypatch) -> Iterator[Callable[..., Forwarder]]:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    made: list[Forwarder] = []

    def make(*urls: str, start: bool = True, **options: object) -> Forwarder:
        forwarder = Forwarder(tmp_path / "forward", [Target.parse(url) for url in urls], **options)
        if start:
            forwarder.start()
        made.append(forwarder)
        return forwarder

    yield make
    for forwarder in made:
        forwarder.stop()


def nothing_left(forwarder: Forwarder) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if all(told["waiting_bytes"] == 0 for told in forwarder.stats().values()):
            return True
        time.sleep(0.01)
    return False


def test_requests_arrive_in_order_at_their_paths_with_the_headers(forwarding, backend: Backend) -> None:
    forwarder = forwarding(f"{backend.url}#x-api-key=k%20ey")
    for number in range(20):
        assert forwarder.offer("traces", b"t%d" % number) is True
    assert forwarder.offer("logs", b"l") is True
    assert forwarder.offer("metrics", b"m") is True
    assert forwarder.offer("profiles", b"p") is False
    backend.wait(lambda: len(backend.got) == 22)
    assert [body for path, body in backend.got if path.endswith("/v1/traces")] == [b"t%d" % n for n in range(20)]
    assert {("200 /v1/logs", b"l"), ("200 /v1/metrics", b"m")} <= set(backend.got)
    assert {told["x-api-key"] for told in backend.headers} == {"k ey"}
    assert nothing_left(forwarder)
    (told,) = forwarder.stats().values()
    assert told == {
        "sent": 22,
        "refused": 0,
        "damaged": 0,
        "retries": 0,
        "dropped": 0,
        "waiting_bytes": 0,
        "failing": None,
    }


def test_headers_for_the_sdks_own_endpoint_go_nowhere_else(forwarding, backend: Backend, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer tk_mine")
    forwarding(backend.url).offer("traces", b"a")
    backend.wait(lambda: len(backend.got) == 1)
    assert "authorization" not in backend.headers[0]


def test_what_is_not_taken_is_sent_again_before_what_follows(forwarding, backend: Backend) -> None:
    backend.answers = [(503, {}), (429, {"retry-after": "0.01"}), (401, {}), (500, {})]
    forwarder = forwarding(backend.url)
    forwarder.offer("traces", b"a")
    forwarder.offer("traces", b"b")
    backend.wait(lambda: len(backend.taken()) == 2)
    assert [body for _, body in backend.got] == [b"a"] * 5 + [b"b"]
    assert nothing_left(forwarder)
    assert forwarder.stats()[backend.url]["retries"] == 4


def test_what_is_refused_for_good_is_counted_and_holds_up_nobody(forwarding, backend: Backend) -> None:
    backend.answers = [(400, {})]
    forwarder = forwarding(backend.url)
    forwarder.offer("traces", b"bad")
    forwarder.offer("traces", b"good")
    backend.wait(lambda: backend.taken() == [b"good"])
    assert nothing_left(forwarder)
    told = forwarder.stats()[backend.url]
    assert (told["sent"], told["refused"]) == (1, 1)


def test_a_target_that_is_away_makes_no_other_wait(forwarding, backend: Backend) -> None:
    forwarder = forwarding("http://127.0.0.1:9", backend.url)
    forwarder.offer("traces", b"a")
    backend.wait(lambda: backend.taken() == [b"a"])
    told = forwarder.stats()
    assert told["http://127.0.0.1:9"]["waiting_bytes"] > 0


def test_the_next_process_goes_on_where_the_last_one_stopped(forwarding, backend: Backend, tmp_path: Path) -> None:
    first = forwarding(backend.url)
    first.offer("traces", b"a")
    backend.wait(lambda: backend.taken() == [b"a"])
    assert nothing_left(first)
    first.stop()
    away = forwarding(backend.url, start=False)
    away.offer("traces", b"b")
    away.stop()
    second = forwarding(backend.url)
    backend.wait(lambda: len(backend.taken()) == 2)
    assert backend.taken() == [b"a", b"b"]
    assert nothing_left(second)
    second.stop()
    assert segments(tmp_path / "forward") == []


def test_beyond_the_limit_the_oldest_goes_and_is_counted(forwarding, backend: Backend, tmp_path: Path) -> None:
    forwarder = forwarding(backend.url, start=False, limit_bytes=1 << 16)
    for number in range(300):
        forwarder.offer("traces", b"%03d" % number + os.urandom(1000))
    dropped = forwarder.stats()[backend.url]["dropped"]
    size = sum(path.stat().st_size for path in segments(tmp_path / "forward"))
    assert size < (1 << 16) + (1 << 13)
    forwarder.start()
    assert isinstance(dropped, int)
    backend.wait(lambda: len(backend.taken()) == 300 - dropped)
    assert [int(body[:3]) for body in backend.taken()] == list(range(dropped, 300))
    assert 200 < dropped < 260


def test_a_folder_that_cannot_be_written_costs_the_copy_alone(forwarding, tmp_path: Path, caplog) -> None:
    (tmp_path / "forward").write_text("in the way")
    forwarder = Forwarder(tmp_path / "forward", [Target("http://127.0.0.1:9")])
    assert forwarder.offer("traces", b"a") is False
    assert forwarder.stats()["http://127.0.0.1:9"]["dropped"] == 1
    assert "a request is not forwarded" in caplog.text


@pytest.mark.parametrize("text", ["", "host:4318", "ftp://host", "https://", "https://host#a=%0Ab"])
def test_a_target_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(SettingError):
        Target.parse(text)


def test_a_targets_name_holds_no_secret() -> None:
    target = Target.parse("https://user:secret@example.com:4318/otlp?key=secret#authorization=secret")
    assert target.name == "https://example.com:4318/otlp"
    assert target.headers == {"authorization": "secret"}
    assert target.key != Target.parse("https://user:secret@example.com:4318/otlp").key


SENDER = """
import sys, threading
from pathlib import Path
from tracekit_collector.forward import Forwarder, Target
forwarder = Forwarder(Path(sys.argv[1]), [Target(sys.argv[2])])
forwarder.start()
for number in range(1_000_000):
    assert forwarder.offer("traces", b"%06d" % number)
    print(number, flush=True)
"""


def test_nothing_that_was_offered_is_lost_when_the_sender_is_killed(
    forwarding, backend: Backend, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SENDER, str(tmp_path / "forward"), backend.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = -1
    with process.stdout as lines:
        for line in lines:
            last = int(line)
            if last == 200:
                process.send_signal(signal.SIGKILL)
    process.wait()
    forwarder = forwarding(backend.url)
    assert nothing_left(forwarder)
    numbers = [int(body) for body in backend.taken()]
    assert set(range(last + 1)) <= set(numbers)
    assert sorted(set(numbers)) == list(dict.fromkeys(numbers)), "each first arrives in order"
