"""Exports of Langfuse in the shapes that it gives, imported and found again; files that are something else."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_collector.imports.foreign import run_id_of, span_id_of, trace_id_of
from tracekit_collector.imports.langfuse import import_langfuse
from tracekit_collector.imports.tables import rows_of
from tracekit_collector.imports.times import time_ns
from tracekit_collector.store import Store

TRACE = "0af7651916cd43dd8448eb211c80319c"
OLD_TRACE = "7f0c6d5e-1111-4222-8333-abcdefabcdef"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def observation(**more: object) -> dict[str, object]:
    return {
        "id": "00f067aa0ba902b7",
        "traceId": TRACE,
        "type": "AGENT",
        "name": "answer",
        "startTime": "2026-05-01T10:00:00.000Z",
        "endTime": "2026-05-01T10:00:02.500Z",
        "parentObservationId": None,
        "level": "DEFAULT",
        "input": {"q": "When?"},
        "output": "at nine",
        "metadata": {"tier": "gold"},
        **more,
    }


GENERATION = observation(
    id="b7ad6b7169203331",
    type="GENERATION",
    name="chat",
    parentObservationId="00f067aa0ba902b7",
    startTime="2026-05-01T10:00:00.500Z",
    endTime="2026-05-01T10:00:02.000Z",
    model="gpt-4o-mini",
    modelParameters={"temperature": 0},
    input=[{"role": "user", "content": "When?"}],
    output={"role": "assistant", "content": "at nine"},
    usageDetails={"input": 12, "output": 3, "total": 15},
    costDetails={"input": 0.001, "output": 0.002, "total": 0.003},
    promptName="greeting",
    promptVersion=2,
)
TOLD = {
    "id": TRACE,
    "timestamp": "2026-05-01T10:00:00.000Z",
    "name": "answer",
    "userId": "u-1",
    "sessionId": "s-1",
    "tags": ["beta"],
    "release": "v1",
    "environment": "prod",
    "input": {"q": "When?"},
    "output": "at nine",
}
SCORES = [
    {
        "id": "sc-1",
        "traceId": TRACE,
        "observationId": "b7ad6b7169203331",
        "name": "faithful",
        "value": 0.5,
        "dataType": "NUMERIC",
        "source": "EVAL",
        "comment": "half",
        "timestamp": "2026-05-01T10:01:00Z",
    },
    {
        "id": "sc-2",
        "traceId": TRACE,
        "name": "ok",
        "value": 1,
        "stringValue": "True",
        "dataType": "BOOLEAN",
        "source": "ANNOTATION",
        "authorUserId": "ann",
        "timestamp": "2026-05-01T10:02:00Z",
    },
    {
        "id": "sc-3",
        "traceId": TRACE,
        "name": "tone",
        "value": 0,
        "stringValue": "polite",
        "dataType": "CATEGORICAL",
        "source": "API",
        "timestamp": "2026-05-01T10:03:00Z",
    },
]


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    written = io.StringIO()
    table = csv.DictWriter(written, list(dict.fromkeys(key for row in rows for key in row)))
    table.writeheader()
    for row in rows:
        table.writerow(
            {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in row.items()}
        )
    path.write_text(written.getvalue(), encoding="utf-8")
    return path


SPANS = """
SELECT span_id, parent_span_id, name, step, session_id, user_id, environment, model, input_tokens, output_tokens,
  cost_usd, prompt_name, prompt_version, duration_ns, project FROM spans ORDER BY start_ns
"""
EXPECTED = [
    (
        "00f067aa0ba902b7",
        None,
        "answer",
        "agent",
        "s-1",
        "u-1",
        "prod",
        None,
        None,
        None,
        None,
        None,
        None,
        2_500_000_000,
        "shop",
    ),
    (
        "b7ad6b7169203331",
        "00f067aa0ba902b7",
        "chat",
        "llm",
        None,
        None,
        None,
        "gpt-4o-mini",
        12,
        3,
        0.003,
        "greeting",
        "2",
        1_500_000_000,
        "shop",
    ),
]


@pytest.mark.parametrize("form", ["jsonl", "csv", "api", "download"])
def test_a_langfuse_trace_comes_with_its_tree_usage_and_scores_whatever_the_form(
    form: str, store: Store, tmp_path: Path
):
    observations = [observation(), GENERATION]
    if form == "jsonl":
        files = [
            lines(tmp_path / "t.jsonl", [TOLD]),
            lines(tmp_path / "o.jsonl", observations),
            lines(tmp_path / "s.jsonl", SCORES),
        ]
    elif form == "csv":
        files = [
            as_csv(tmp_path / "t.csv", [TOLD]),
            as_csv(tmp_path / "o.csv", observations),
            as_csv(tmp_path / "s.csv", SCORES),
        ]
    elif form == "api":
        files = [tmp_path / "page.json.gz"]
        whole = {"data": [{**TOLD, "observations": observations, "scores": SCORES}], "meta": {"page": 1}}
        files[0].write_bytes(gzip.compress(json.dumps(whole).encode()))
    else:
        files = [tmp_path / "trace.json"]
        files[0].write_text(json.dumps({"trace": TOLD, "observations": observations, "scores": SCORES}))
    told = import_langfuse(store, files, project="shop")
    assert {name: (kind.read, kind.new) for name, kind in told.kinds.items()} == {
        "traces": (1, 1),
        "spans": (2, 2),
        "scores": (3, 3),
    }
    assert store.sql(SPANS).fetchall() == EXPECTED
    scores = store.sql(
        "SELECT name, value, label, passed, source, annotator, target, span_id FROM scores ORDER BY time"
    ).fetchall()
    assert scores == [
        ("faithful", 0.5, None, None, "llm", None, "span", "b7ad6b7169203331"),
        ("ok", 1.0, None, True, "human", "ann", "trace", None),
        ("tone", None, "polite", None, "user", None, "trace", None),
    ]
    again = import_langfuse(store, files, project="shop")
    assert all(kind.new == 0 for kind in again.kinds.values())
    trace = store.trace(TRACE)
    assert [call.model for call in trace.model_calls] == ["gpt-4o-mini"]
    assert len(store.sql("SELECT * FROM scores")) == 3


def test_langfuse_blob_storage_spells_keys_and_times_its_own_way(store: Store, tmp_path: Path):
    row = {
        "id": "b7ad6b7169203331",
        "trace_id": TRACE,
        "type": "GENERATION",
        "name": "chat",
        "start_time": "2026-05-01 10:00:00.500000",
        "end_time": "2026-05-01 10:00:02.000000",
        "provided_model_name": "gpt-4o-mini",
        "usage_details": {"input": 12, "output": 3},
        "total_cost": 0.003,
        "user_id": "u-1",
        "session_id": "s-1",
        "level": "ERROR",
        "status_message": "too slow",
    }
    import_langfuse(store, [lines(tmp_path / "o.jsonl", [row])])
    query = (
        "SELECT model, input_tokens, cost_usd, user_id, session_id, status, status_message, start_ns, duration_ns "
        "FROM spans"
    )
    at = 1777629600_500_000_000
    assert store.sql(query).fetchall() == [
        ("gpt-4o-mini", 12, 0.003, "u-1", "s-1", "error", "too slow", at, 1_500_000_000)
    ]


def test_an_older_langfuse_trace_with_two_outermost_observations_gets_a_span_of_its_own(store: Store, tmp_path: Path):
    old = {**TOLD, "id": OLD_TRACE}
    rows = [observation(id=f"step-{n}", traceId=OLD_TRACE, type="SPAN", name=f"step {n}") for n in (1, 2)]
    import_langfuse(store, [lines(tmp_path / "all.jsonl", [old, *rows])])
    found = store.sql(
        "SELECT trace_id, name, parent_span_id IS NULL AS root, session_id FROM spans ORDER BY name"
    ).fetchall()
    plain = OLD_TRACE.replace("-", "")
    assert found == [(plain, "answer", True, "s-1"), (plain, "step 1", False, None), (plain, "step 2", False, None)]
    kept = store.sql("SELECT attributes FROM spans WHERE name = 'step 1'").fetchone()
    assert json.loads(str(kept and kept[0]))["langfuse.observation.id"] == "step-1"


def test_a_changed_verdict_stands_in_for_the_earlier_one(store: Store, tmp_path: Path):
    import_langfuse(store, [lines(tmp_path / "a.jsonl", [TOLD, *SCORES])])
    changed = [{**SCORES[0], "value": 0.75}]
    told = import_langfuse(store, [lines(tmp_path / "b.jsonl", changed)])
    assert told.kinds["scores"].new == 1
    rows = store.sql("SELECT value, score_id, supersedes FROM scores WHERE name = 'faithful' ORDER BY value").fetchall()
    assert [row[0] for row in rows] == [0.5, 0.75]
    assert rows[1][2] == rows[0][1]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.jsonl", b'{"id": 1', "is no JSON"),
        ("a.json", b"", "is empty"),
        ("a.json.gz", gzip.compress(b"[]" * 50, mtime=0)[:20], "is damaged"),
        ("a.csv", b'id,name\n"open', "is no CSV"),
        ("a.csv", b"id,name\n1,2,3\n", "another number of cells"),
        ("a.csv", b"id,name\n\xff\xfe,2\n", "is not UTF-8"),
        ("a.parquet", b"PAR1 and then nothing", "is damaged"),
        ("a.bin", b"\x00\x01", "is neither JSON, JSONL, CSV nor Parquet"),
        ("a.json", b"[1, 2]", "where a row should be an object"),
        ("a.json", b'{"hello": "world"}', "holds no trace, observation or score"),
    ],
)
def test_a_file_that_is_something_else_is_refused_with_what_is_wrong(
    name: str, body: bytes, said: str, tmp_path: Path, store: Store
):
    path = tmp_path / name
    path.write_bytes(body)
    sound = lines(tmp_path / "sound.jsonl", [TOLD, observation()])
    with pytest.raises(UsageError, match=said):
        import_langfuse(store, [sound, path])
    assert len(store.sql("SELECT * FROM spans")) == 0


def test_what_is_no_mlflow_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "text.db").write_text("hello")
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE things (a)")
    database.close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: [")
    for place, said in (
        (tmp_path / "text.db", "is no SQLite database"),
        (tmp_path / "other.db", "is no MLflow database"),
        (tmp_path / "empty", "holds neither"),
        (tmp_path / "nowhere", "there is no"),
        (tmp_path / "mlruns", "cannot read"),
        ("http://127.0.0.1:9", "cannot be reached"),
    ):
        assert main(["import", "mlflow", str(place), "--store", str(tmp_path / "store")]) == 2
        assert said in capsys.readouterr().err


def test_the_command_tells_what_it_took_as_json(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = lines(tmp_path / "all.jsonl", [TOLD, observation(), GENERATION, {"what": "ever"}])
    assert main(["import", "langfuse", str(path), "--store", str(store.location), "--dry-run", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert told["kinds"]["spans"] == {"read": 2, "new": 2, "known": 0, "skipped": {}}
    assert told["kinds"]["rows"]["skipped"] == {"neither trace, observation, score nor session": 1}
    assert len(store.sql("SELECT * FROM spans")) == 0


@given(st.text())
def test_any_id_becomes_one_that_a_store_takes(text: str):
    assert len(bytes.fromhex(trace_id_of(text))) == 16
    assert len(bytes.fromhex(span_id_of(text))) == 8
    assert len(run_id_of(text)) == 26
    assert run_id_of(text)[0] in "01234567"
    assert (trace_id_of(text), span_id_of(text)) == (trace_id_of(text), span_id_of(text))


@given(st.datetimes(min_value=datetime.datetime(1971, 1, 1), max_value=datetime.datetime(2200, 1, 1)))
def test_a_time_reads_the_same_however_it_is_written(moment: datetime.datetime):
    whole = (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1) * 1_000
    for written in (moment.isoformat(), moment.isoformat(" ") + "Z", moment.isoformat() + "+00:00", moment):
        assert time_ns(written) == whole


@given(st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), min_size=1))
def test_rows_of_json_lines_come_as_they_were_written(rows: list[dict[str, object]]):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = lines(Path(folder) / "rows.jsonl", rows)
        assert list(rows_of(path)) == rows
