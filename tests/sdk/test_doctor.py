"""`tracekit doctor` says what keeps traces from arriving, and where each setting comes from."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import tracekit
from tracekit import cli, settings
from tracekit.inbox import SegmentWriter


def examined(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code = cli.main(["doctor", "--format", "json", *words])
    return code, json.loads(capsys.readouterr().out)


def checks(found: dict[str, object]) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["status"], row["detail"]) for row in found["checks"]}


@pytest.fixture
def answering():
    """A collector that gives one answer; yields a function that begins it."""
    servers = []

    def begin(status: int) -> tuple[str, list[tuple[str, str | None, bytes]]]:
        seen: list[tuple[str, str | None, bytes]] = []

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, self.headers.get("authorization"), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}", seen

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_is_not_there_yet_is_well_and_is_not_made(capsys, tmp_path: Path) -> None:
    code, found = examined(capsys)
    assert (code, found["ok"]) == (0, True)
    assert checks(found)["store"] == ("ok", f"{tmp_path / '.tracekit'} will be made with the first span")
    assert checks(found)["inbox"] == ("ok", "nothing waits to be settled")
    assert list(tmp_path.iterdir()) == []
    assert found["versions"]["tracekit"] == tracekit.__version__


def test_what_waits_in_the_inbox_is_told(capsys, tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "store" / "inbox", "traces")
    writer.append(b"x" * 1_000_000)
    writer.close()
    (segment,) = (tmp_path / "store" / "inbox").glob("*.traces")
    status, detail = checks(examined(capsys, "--store", "store")[1])["inbox"]
    assert (status, detail) == ("ok", "1 segments, 1.0 MB, the oldest 0 min old")
    os.utime(segment, (segment.stat().st_mtime - 7_200,) * 2)
    status, detail = checks(examined(capsys, "--store", "store")[1])["inbox"]
    assert (status, detail.partition(";")[0]) == ("note", "1 segments, 1.0 MB, the oldest 120 min old")


def test_a_store_that_cannot_be_written_is_a_fault(capsys, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    code, found = examined(capsys, "--store", "store")
    assert (code, found["ok"]) == (1, False)
    status, detail = checks(found)["store"]
    assert status == "fault"
    assert detail.startswith(f"cannot write to {tmp_path / 'store'}: ")
    assert "TRACEKIT_STORE" in detail


def test_a_collector_that_answers_is_well(capsys, answering, monkeypatch) -> None:
    url, seen = answering(200)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    code, found = examined(capsys, "--endpoint", url)
    assert (code, checks(found)["endpoint"]) == (0, ("ok", f"{url}/v1/traces answers 200"))
    assert seen == [("/v1/traces", "Bearer x", b"")]


@pytest.mark.parametrize(("status", "mend"), [(401, "; set OTEL_EXPORTER_OTLP_HEADERS"), (404, ""), (503, "")])
def test_a_collector_that_refuses_is_a_fault(capsys, answering, status: int, mend: str) -> None:
    url, _ = answering(status)
    code, found = examined(capsys, "--endpoint", url)
    assert code == 1
    kind, detail = checks(found)["endpoint"]
    assert (kind, detail.startswith(f"{url}/v1/traces answers {status} "), detail.endswith(mend)) == (
        "fault",
        True,
        True,
    )


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nowhere", "http://[", "http://127.0.0.1:99999"])
def test_a_collector_that_is_not_there_is_a_fault(capsys, monkeypatch, endpoint: str) -> None:
    monkeypatch.setenv("TRACEKIT_ENDPOINT", endpoint)
    code, found = examined(capsys)
    assert (code, checks(found)["endpoint"][0]) == (1, "fault")


def test_each_setting_says_where_it_comes_from_and_keys_are_not_shown(capsys, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "tracekit.toml").write_text('project = "library"\n')
    monkeypatch.setenv("OTEL_SERVICE_NAME", "desk")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    settings._from_file.cache_clear()
    _, found = examined(capsys)
    said = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert list(said) == list(settings.SETTINGS)
    assert said["project"] == ("library", "file")
    assert said["service"] == ("desk", "$OTEL_SERVICE_NAME")
    assert said["openai_api_key"] == ("(set)", "$OPENAI_API_KEY")
    assert said["port"] == ("4318", "default")


def test_a_settings_file_that_cannot_be_read_is_a_fault(capsys, tmp_path: Path) -> None:
    (tmp_path / "tracekit.toml").write_text("project = \n")
    settings._from_file.cache_clear()
    code, found = examined(capsys)
    assert (code, checks(found)["settings"][0]) == (1, "fault")


def test_what_keeps_traces_away_on_purpose_is_noted(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TRACEKIT_DISABLED", "1")
    monkeypatch.setenv("TRACEKIT_CAPTURE_CONTENT", "0")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    code, found = examined(capsys)
    assert code == 0
    assert {what for what, (status, _) in checks(found).items() if status == "note"} >= {
        "tracing",
        "content",
        "sampling",
    }


def test_the_table_ends_with_the_verdict(capsys, tmp_path: Path) -> None:
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all is well"
    (tmp_path / "store").write_text("in the way")
    assert cli.main(["doctor", "--store", "store"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 fault found"
