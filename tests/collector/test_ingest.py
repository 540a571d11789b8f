"""Files into a store: every form, what they hold told by content, faults named, nothing twice."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_collector.ingest import find_files
from tracekit_collector.store import Store


def traces(*names: str) -> bytes:
    spans = [{"name": name, "trace_id": b"t" * 16, "span_id": name.encode().ljust(8, b"-")[:8]} for name in names]
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}]).SerializeToString()


def logs(*bodies: str) -> bytes:
    records = [{"body": {"string_value": body}, "time_unix_nano": 1_700_000_000_000_000_000} for body in bodies]
    return ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": records}]}]).SerializeToString()


def metrics() -> bytes:
    return ExportMetricsServiceRequest(
        resource_metrics=[{"scope_metrics": [{"metrics": [{"name": "m", "sum": {"data_points": [{"as_int": 1}]}}]}]}]
    ).SerializeToString()


def traces_json(*names: str) -> dict:
    spans = [{"name": name, "traceId": "ab" * 16, "spanId": os.urandom(8).hex()} for name in names]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def logs_json(body: str) -> dict:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": body}}]}]}]}


@pytest.fixture
def ingest(tmp_path, capsys):
    def run(*paths: object) -> tuple[int, dict, str]:
        code = main(["ingest", *map(str, paths), "--store", str(tmp_path / "S"), "--format", "json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else {}, printed.err

    return run


def names_in(tmp_path, table: str = "spans") -> list[str]:
    column = "name" if table == "spans" else "body"
    with Store.open(tmp_path / "S") as store:
        return [str(row[0]) for row in store.sql(f"SELECT {column} FROM {table} ORDER BY 1").fetchall()]


def test_every_form_of_file_is_taken_and_again_changes_nothing(tmp_path, ingest):
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.pb").write_bytes(traces("pb"))
    (folder / "b.pb.gz").write_bytes(gzip.compress(traces("pb.gz")))
    (folder / "c.json").write_text(json.dumps(traces_json("json")))
    (folder / "d.jsonl").write_text("".join(json.dumps(traces_json(f"line {n}")) + "\n" for n in (1, 2)) + "\n")
    (folder / "e.jsonl.gz").write_bytes(gzip.compress(json.dumps(logs_json("log")).encode()))
    (folder / "f.json").write_text(json.dumps([traces_json("in a list"), logs_json("in a list")]))
    (folder / "notes.txt").write_text("not for us")
    code, told, err = ingest(tmp_path / "in")
    assert (code, err) == (0, "")
    assert told == {"files": 6, "requests": 8, "spans": 6, "logs": 2, "known": 0, "skipped": [], "faults": []}
    assert names_in(tmp_path) == ["in a list", "json", "line 1", "line 2", "pb", "pb.gz"]
    assert names_in(tmp_path, "logs") == ['"in a list"', '"log"']
    code, again, _ = ingest(tmp_path / "in")
    assert (code, again["known"]) == (0, 8)
    assert len(names_in(tmp_path)) == 6
    assert len(names_in(tmp_path, "logs")) == 2


def test_what_a_protobuf_file_holds_is_told_by_what_is_in_it(tmp_path, ingest):
    (tmp_path / "misnamed.logs.pb").write_bytes(traces("span"))
    (tmp_path / "bare.pb").write_bytes(logs("record"))
    (tmp_path / "no-suffix").write_bytes(gzip.compress(traces("other")))
    (tmp_path / "metrics.pb").write_bytes(metrics())
    code, told, err = ingest(*(tmp_path / name for name in ("misnamed.logs.pb", "bare.pb", "no-suffix", "metrics.pb")))
    assert (code, told["spans"], told["logs"], told["files"]) == (0, 2, 1, 3)
    assert (
        err == f"skipped {tmp_path}/metrics.pb: holds metrics, and none of models (`gen_ai.…`), which alone are kept\n"
    )


def test_a_json_file_with_a_request_a_line_is_read_line_by_line(tmp_path, ingest):
    path = tmp_path / "exporter.json"
    path.write_text("\n".join(json.dumps(each) for each in (traces_json("a"), logs_json("b"), traces_json("c"))))
    code, told, _ = ingest(path)
    assert (code, told["requests"], told["spans"], told["logs"]) == (0, 3, 2, 1)


def test_a_bad_line_is_named_by_number_and_the_rest_goes_on(tmp_path, ingest):
    path = tmp_path / "x.jsonl"
    lines = [
        json.dumps(traces_json("one")),
        "{broken",
        json.dumps({"resourceSpans": 7}),
        json.dumps(traces_json("four")),
    ]
    path.write_text("\n".join(lines))
    code, told, err = ingest(path)
    assert code == 1
    assert [each["line"] for each in told["faults"]] == [2, 3]
    assert told["faults"][0]["reason"].startswith("this is no JSON: ")
    assert told["faults"][1]["reason"] == "resourceSpans must be an array, not a number"
    assert f"{path}, line 2: this is no JSON" in err
    assert names_in(tmp_path) == ["four", "one"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("torn.pb", traces("a", "b")[:-4], "this is no traces request in protobuf"),
        ("torn.pb.gz", gzip.compress(traces("a") * 100, mtime=0)[:-9], "the gzip ends too early or is damaged"),
        (
            "torn.jsonl.gz",
            gzip.compress(json.dumps(traces_json("a")).encode() + b"\n")[:-9],
            "copy torn.jsonl.gz again",
        ),
        ("fake.json.gz", b"{}", "the gzip ends too early or is damaged"),
        ("empty.pb", b"", "the file is empty; export it again, or leave it out"),
        ("other.json", b'{"hello": 1}', "holds no OTLP request"),
        ("text.pb", b"hello world, this is a text", "this is no traces request"),
        ("pretty.json", b'{\n "resourceSpans": [\n', "this is no JSON"),
        ("no-id.pb", traces("a").replace(b"t" * 16, b"\0" * 16), "1 of 1 spans refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_is_named_with_the_mend_and_leaves_nothing(tmp_path, ingest, name, content, says):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.pb").write_bytes(traces("good"))
    code, told, err = ingest(tmp_path / name, tmp_path / "good.pb")
    assert code == 1
    assert says in told["faults"][0]["reason"]
    assert str(tmp_path / name) in err
    assert "Traceback" not in err
    assert names_in(tmp_path) == ["good"]


def test_a_missing_path_or_an_empty_folder_is_bad_usage_before_anything_is_read(tmp_path, ingest):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pb").write_bytes(traces("a"))
    code, _, err = ingest(tmp_path / "a.pb", tmp_path / "gone.pb")
    assert (code, err) == (2, f"tracekit: there is no file {tmp_path}/gone.pb; check the path\n")
    code, _, err = ingest(tmp_path / "empty")
    assert code == 2
    assert "holds no .pb, .json or .jsonl file" in err
    assert not (tmp_path / "S").exists()


def test_a_file_that_stands_twice_on_the_line_is_read_once(tmp_path):
    (tmp_path / "a.pb").write_bytes(traces("a"))
    assert find_files([tmp_path / "a.pb", tmp_path]) == [(tmp_path / "a.pb", False)]
    with pytest.raises(UsageError):
        find_files([tmp_path / "b"])


def test_other_files_of_a_folder_are_left_alone_with_a_word(tmp_path, ingest):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pb").write_bytes(traces("a"))
    (tmp_path / "in" / "labels.jsonl").write_text('{"id": 1, "label": "x"}\n' * 5)
    code, told, err = ingest(tmp_path / "in")
    assert (code, told["files"], told["faults"]) == (0, 1, [])
    assert err.startswith(f"skipped {tmp_path}/in/labels.jsonl: holds no OTLP request")


def test_the_summary_is_one_line(tmp_path, capsys):
    (tmp_path / "a.pb").write_bytes(traces("a", "b"))
    assert main(["ingest", str(tmp_path / "a.pb"), "--store", str(tmp_path / "S")]) == 0
    assert capsys.readouterr().out == "1 request, 2 spans, 0 log records from 1 file (0 requests already known)\n"


def test_a_hostile_file_name_is_only_text(tmp_path, ingest):
    path = tmp_path / "\x1b[2J.pb"
    path.write_bytes(b"nonsense!")
    code, _, err = ingest(path)
    assert code == 1
    assert "\x1b" not in err


def test_recorded_conversations_have_the_counts_that_they_were_published_with(tmp_path, shared, ingest):
    files = sorted((shared / "data" / "taubench_airline").glob("*.gz"))
    code, told, _ = ingest(*files)
    assert (code, told["files"], told["spans"], told["known"]) == (0, 19, 3818, 0)
    with Store.open(tmp_path / "S") as store:
        facts = "SELECT count(DISTINCT trace_id), count(*), count(*) FILTER (status = 'error') FROM spans"
        assert store.sql(facts).fetchone() == (200, 3818, 73)
    code, again, _ = ingest(*files)
    assert (code, again["known"], again["requests"]) == (0, 19, 19)
    with Store.open(tmp_path / "S") as store:
        assert store.sql(facts).fetchone() == (200, 3818, 73)


def test_all_captures_go_in_together(tmp_path, shared, ingest):
    shutil.copytree(shared / "captures", tmp_path / "captures")
    code, told, err = ingest(tmp_path / "captures")
    assert code == 0, err
    assert {each["file"].rpartition("/")[2] for each in told["skipped"]} == {
        "claude-code.metrics.pb",
        "manifest.json",
    }
    assert told["files"] == len(list((tmp_path / "captures").glob("*.pb")))  # one of metrics less, one .json more


def test_metrics_of_models_are_kept_and_others_left_out(ingest, tmp_path):
    points = [{"start_time_unix_nano": 1, "time_unix_nano": 2_000_000_000, "as_int": 57}]
    named = [{"name": name, "sum": {"data_points": points}} for name in ("gen_ai.client.token.usage", "http.requests")]
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": named}]}])
    (tmp_path / "m.metrics.pb").write_bytes(request.SerializeToString())
    code, told, err = ingest(tmp_path / "m.metrics.pb")
    assert (code, told["requests"], err) == (0, 1, "")
