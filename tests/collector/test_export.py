"""`tracekit export` and `tracekit store`: files, an endpoint, a DuckDB file; what is asked for and no more."""

from __future__ import annotations

import datetime
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.cli import main
from tracekit.errors import StoreError, UsageError
from tracekit_collector.export import export, send
from tracekit_collector.sending import Sender
from tracekit_collector.service import Collector
from tracekit_collector.store import Store


def span(trace: int, **more: object) -> dict[str, object]:
    start = datetime.datetime(2026, 11, 20 + trace)
    row: dict[str, object] = {"trace_id": f"{trace:032x}", "span_id": f"{trace:016x}", "name": f"span {trace}"}
    start_ns = int((start - datetime.datetime(1970, 1, 1)).total_seconds()) * 10**9
    told: dict[str, object] = {"status": "ok", "kind": "internal", "step": "span", "duration_ns": 5, "flags": 0}
    return {**row, **told, "start_time": start, "start_ns": start_ns, "attributes": '{"a":1}', **more}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        text = "x" * 300
        messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        folded = f'{{"$ref":"input_messages","$from":{messages.index(text)},"$length":300}}'
        opened.append("spans", [span(1), span(2, status="error", project="shop")])
        opened.append("spans", [span(3, project="shop", input=folded, input_messages=messages)])
        opened.append("logs", [{"log_id": "l", "trace_id": f"{2:032x}", "time_ns": 7, "attributes": "{}"}])
        yield opened


def test_parquet_has_a_file_a_table_with_every_row(store: Store, tmp_path: Path) -> None:
    counts = export(store, tmp_path / "out", format="parquet")
    assert counts == {"spans": 3, "logs": 1, "inferences": 0, "scores": 0, "metrics": 0, "points": 0}
    rows = pq.read_table(tmp_path / "out" / "spans.parquet").to_pylist()
    assert [(row["name"], row["date"]) for row in rows] == [
        (f"span {trace}", datetime.date(2026, 11, 20 + trace)) for trace in (1, 2, 3)
    ]
    assert rows[2]["input"] == "x" * 300


def test_jsonl_has_a_row_a_line_without_what_is_null(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out", format="jsonl", where="status = 'error'")
    (line,) = (tmp_path / "out" / "spans.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["name"], row["start_time"], "input" in row) == ("span 2", "2026-11-22T00:00:00", False)
    assert len((tmp_path / "out" / "logs.jsonl").read_text().splitlines()) == 1


def test_a_duckdb_file_has_the_views_and_needs_no_tracekit(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out.duckdb", format="duckdb", project="shop")
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        query = "SELECT name, status FROM traces ORDER BY start_ns"
        assert connection.execute(query).fetchall() == [("span 2", "error"), ("span 3", "ok")]
        assert connection.execute("SELECT input FROM spans WHERE name = 'span 3'").fetchall() == [("x" * 300,)]


@pytest.mark.parametrize(
    ("chosen", "spans"),
    [
        ({"since": datetime.datetime(2026, 11, 22)}, 2),
        ({"since": datetime.datetime(2026, 11, 22), "where": "status = 'ok'"}, 1),
        ({"project": "nobody"}, 0),
        ({}, 3),
    ],
)
def test_only_what_is_asked_for_is_exported(
    store: Store, tmp_path: Path, chosen: dict[str, object], spans: int
) -> None:
    counts = export(store, tmp_path / "out", format="otlp", **chosen)  # type: ignore[arg-type]
    assert counts["spans"] == spans


def test_what_is_there_already_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError, match="is there already"):
        export(store, tmp_path / "out", format="otlp")


def test_a_wrong_condition_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        export(store, tmp_path / "out", format="parquet", where="nonsense = 1")
    assert not (tmp_path / "out").exists()


def test_one_store_sends_to_another(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        with Collector(other, port=0) as collector:
            assert send(store, Sender(collector.url)) == {"spans": 3, "logs": 1}
        assert other.sql("SELECT name FROM spans ORDER BY 1").fetchall() == [("span 1",), ("span 2",), ("span 3",)]


class _Door(http.server.BaseHTTPRequestHandler):
    answers: list[int]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answers.pop(0))
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def door() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Door) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_request_that_is_put_off_is_sent_again(door: http.server.HTTPServer) -> None:
    _Door.answers = [503, 429, 200]
    waited: list[float] = []
    Sender(f"http://127.0.0.1:{door.server_port}", wait=waited.append).send("traces", b"")
    assert waited == [7.0, 7.0]


def test_a_request_that_is_refused_is_not_sent_again(door: http.server.HTTPServer) -> None:
    _Door.answers = [400]
    with pytest.raises(StoreError, match="refused the logs: 400"):
        Sender(f"http://127.0.0.1:{door.server_port}").send("logs", b"")


def test_an_endpoint_that_is_not_there_is_tried_for_a_while() -> None:
    waited: list[float] = []
    with pytest.raises(StoreError, match="did not take the traces in 3 attempts"):
        Sender("http://127.0.0.1:1", attempts=3, wait=waited.append).send("traces", b"")
    assert waited == [0.5, 1.0]


def run(store: Store, *words: str) -> int:
    return main([*words, "--store", str(store.location)])


def test_the_command_writes_requests_that_ingest_takes(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, "export", str(tmp_path / "out"), "--format", "otlp", "--since", "2026-11-22T00:00:00Z") == 0
    assert capsys.readouterr().out == "spans: 2 rows\nlogs: 1 rows\n"
    bodies = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.traces.pb"))]
    spans = [ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans for body in bodies]
    assert [span.name for each in spans for span in each] == ["span 2", "span 3"]
    assert main(["ingest", str(tmp_path / "out"), "--store", str(tmp_path / "new")]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("export",),
        ("export", "x", "--endpoint", "http://127.0.0.1:1"),
        ("export", "--endpoint", "gopher://x"),
        ("export", "x", "--since", "tomorrow"),
        ("export", "--endpoint", "http://127.0.0.1:1", "--header", "nothing"),
        ("store", "retain"),
        ("store", "retain", "--project", "x"),
        ("store", "retain", "--size", "12 parsecs"),
        ("store", "vacuum", "--keep-hours", "-1"),
    ],
)
def test_wrong_words_are_exit_2(store: Store, words: tuple[str, ...]) -> None:
    assert run(store, *words) == 2


def test_store_commands_say_what_they_did(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "store", "retain", "--project", "shop", "--traces", "1", "--dry-run") == 0
    assert "spans: 1 rows would be removed" in capsys.readouterr().out
    assert run(store, "store", "retain", "--project", "shop", "--traces", "1") == 0
    assert "traces: 1 removed" in capsys.readouterr().out
    assert run(store, "store", "compact", "--keep-hours", "0") == 0
    assert run(store, "store", "vacuum", "--dry-run") == 0
    assert "spans: 0 old files would be removed" in capsys.readouterr().out
    assert run(store, "store", "renormalise", "--all") == 0
    assert capsys.readouterr().out == "2 spans derived again\n"
    assert run(store, "store", "reprice") == 0


def test_store_check_is_exit_1_where_there_is_a_fault(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.artifacts / ("a" * 64)).write_text("something else")
    assert run(store, "store", "check", "--quick") == 0
    capsys.readouterr()
    assert run(store, "store", "check", "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["part"] for each in found if each["level"] == "fault"] == ["artifacts"]
