"""Stores that MLflow itself made, imported and compared with what its own client says of them."""

from __future__ import annotations

import datetime
import importlib.util
import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit_collector.imports.foreign import run_id_of
from tracekit_collector.imports.mlflow import import_mlflow, source_of
from tracekit_collector.mlflow_export import export_to_mlflow
from tracekit_collector.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent / "mlflow"
STATUSES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed", "RUNNING": "running"}
EPOCH = datetime.datetime(1970, 1, 1)


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with MLflow, made once and kept."""
    path = Path(__file__).parents[1] / "instrumentations" / "conftest.py"
    spec = importlib.util.spec_from_file_location("environments", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(module._interpreter("mlflow", HERE / "requirements.txt"))


def run_script(python: Path, *words: object) -> dict[str, dict[str, dict]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACEKIT_"))}
    done = subprocess.run(
        [python, HERE / "make.py", *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def made(python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A folder with an `mlflow.db`, and what MLflow says is in it."""
    folder = tmp_path_factory.mktemp("made")
    return folder, run_script(python, f"sqlite:///{folder}/mlflow.db", folder / "artifacts")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def assert_equal(store: Store, told: dict) -> None:
    """The store holds exactly what MLflow says of its own."""
    runs = {record.id: record for record in store.catalog.runs.list()}
    assert set(runs) == {run_id_of(run) for run in told["runs"]}
    for run, said in told["runs"].items():
        record = runs[run_id_of(run)]
        assert (record.name, record.project) == (said["name"], said["experiment"])
        assert record.status == STATUSES[said["status"]]
        assert record.parameters == said["params"]
        assert record.tags == said["tags"]
        assert round((record.created_at - EPOCH).total_seconds() * 1000) == said["start"]
        ended = None if record.finished_at is None else round((record.finished_at - EPOCH).total_seconds() * 1000)
        assert ended == said["end"]
        parent = said["tags"].get("mlflow.parentRunId")
        assert record.parent_id == (run_id_of(parent) if parent else None)
        assert sorted(record.artifacts) == said["artifacts"]
        assert all((store.artifacts / str(one["sha256"])).is_file() for one in record.artifacts.values())
        assert series_of(store, record.id) == said["metrics"]
    spans: dict[str, list] = {}
    for row in store.sql(
        "SELECT trace_id, span_id, parent_span_id, name, status, start_ns, duration_ns, run_id FROM spans"
    ):
        facts = [row["span_id"], row["parent_span_id"], row["name"], row["status"].upper(), row["start_ns"]]
        spans.setdefault(f"tr-{row['trace_id']}", []).append([*facts, row["start_ns"] + row["duration_ns"]])
    assert {trace: sorted(found) for trace, found in spans.items()} == {
        trace: said["spans"] for trace, said in told["traces"].items()
    }
    for trace, said in told["traces"].items():
        rows = store.sql("SELECT name FROM scores WHERE trace_id = ? ORDER BY 1", [trace.removeprefix("tr-")])
        assert [row["name"] for row in rows] == said["assessments"]
        found = store.sql("SELECT DISTINCT run_id FROM spans WHERE trace_id = ?", [trace.removeprefix("tr-")])
        assert found.fetchall() == [(run_id_of(said["run"]),)]


def series_of(store: Store, run_id: str) -> dict[str, list]:
    found: dict[str, list] = {}
    query = "SELECT name, value, step, time_ns // 1000000 AS at FROM points WHERE run_id = ? ORDER BY step, time_ns"
    for row in store.sql(query, [run_id]):
        value = row["value"]
        known = str(value) if math.isnan(value) or math.isinf(value) else value
        found.setdefault(row["name"], []).append([known, row["step"], row["at"]])
    return found


def assert_models_equal(store: Store, told: dict) -> None:
    said = told["models"]["support-bot"]
    versions = [version for version in store.catalog.agents.list() if version.agent == "support-bot"]
    assert [int(version.label or 0) for version in versions] == sorted(map(int, said["versions"])) == [1, 3]
    assert {version.label: [version.description, version.tags] for version in versions} == said["versions"]
    assert {version.source for version in versions} == {"registered"}
    assert [version.parameters for version in versions] == [{"k": "3"}, {"k": "3"}]
    aliases = store.catalog.agents.aliases("support-bot")
    assert {alias: int(version.label or 0) for alias, version in aliases.items()} == said["aliases"] == {"champion": 3}
    assert store.catalog.agents.description("support-bot") == (said["description"], {"owner": "ann"})
    assert [one.parameters for one in store.catalog.agents.versions("loose")] == [{"p": "1"}]


def test_an_sqlite_store_imports_with_everything_equal_and_again_adds_nothing(made: tuple[Path, dict], store: Store):
    folder, told = made
    first = import_mlflow(store, source_of(str(folder)))
    assert_equal(store, told)
    assert_models_equal(store, told)
    counts = {name: (kind.read, kind.new) for name, kind in first.kinds.items()}
    assert counts["runs"] == (6, 5)
    assert first.kinds["runs"].skipped == {"deleted": 1}
    assert first.kinds["model versions"].skipped == {"deleted": 1}
    assert counts["traces"] == (3, 3)
    assert counts["spans"] == (9, 9)
    assert counts["points"] == (25, 25)
    assert counts["scores"] == (5, 5)
    before = {
        table: len(store.sql(f"SELECT * FROM {table}")) for table in ("spans", "points", "scores", "runs", "agents")
    }
    second = import_mlflow(store, source_of(str(folder / "mlflow.db")))
    assert {name: kind.new for name, kind in second.kinds.items() if kind.new} == {}
    assert {table: len(store.sql(f"SELECT * FROM {table}")) for table in before} == before
    rows = store.sql(
        "SELECT name, step, session_id, user_id, input_tokens, error_type FROM spans ORDER BY start_ns"
    ).fetchall()
    assert rows[:3] == [
        ("agent", "agent", "s-1", "u-1", None, None),
        ("chat", "llm", None, None, 5, None),
        ("tool", "tool", None, None, None, None),
    ]
    assert rows[8][5] == "ValueError"
    scores = store.sql(
        "SELECT name, value, label, status, source, target, explanation FROM scores ORDER BY name"
    ).fetchall()
    assert scores == [
        ("broken", None, None, "judge_error", "llm", "trace", "judge broke"),
        ("expected", None, '{"a":[1]}', "scored", "human", "trace", None),
        ("grade", 0.75, None, "scored", "llm", "span", None),
        ("helpful", 1.0, None, "scored", "human", "trace", "because"),
        ("tone", None, "polite", "scored", "code", "trace", None),
    ]


def test_a_store_of_files_imports_equal(python: Path, tmp_path: Path, store: Store):
    told = run_script(python, (tmp_path / "mlruns").as_uri(), "-")
    import_mlflow(store, source_of(str(tmp_path)))
    assert_equal(store, told)
    assert_models_equal(store, told)
    assert all(kind.new == 0 for kind in import_mlflow(store, source_of(str(tmp_path / "mlruns"))).kinds.values())


@pytest.fixture
def server(python: Path, tmp_path: Path) -> Iterator[str]:
    """A tracking server with a store of its own, empty unless `mlflow.db` was put there before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir(exist_ok=True)
    words = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    command = [python, "-m", "mlflow", "server", *words, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(240):
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                        answer.read()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
                    time.sleep(0.25)  # there is no event: a server of another's
            yield url
        finally:
            process.terminate()
            process.wait(30)


def test_what_goes_out_to_a_server_comes_back_equal(
    made: tuple[Path, dict], python: Path, server: str, store: Store, tmp_path: Path
):
    folder, _told = made
    import_mlflow(store, source_of(str(folder)))
    sent = export_to_mlflow(store, server)
    assert {
        name: (kind.new, dict(kind.skipped))
        for name, kind in sent.kinds.items()
        if name in ("runs", "traces", "scores", "points")
    } == {
        "runs": (5, {}),
        "points": (25, {}),
        "traces": (3, {}),
        "scores": (5, {}),
    }
    again = export_to_mlflow(store, server)
    assert {name: kind.new for name, kind in again.kinds.items() if name in ("traces", "scores", "points")} == {
        "traces": 0,
        "scores": 0,
        "points": 0,
    }
    told = run_script(python, server, "-", "--look")
    assert len(told["runs"]) == 5
    with Store.open(tmp_path / "back") as back:
        import_mlflow(back, source_of(server))
        assert facts(back) == facts(store)
        assert all(kind.new == 0 for kind in import_mlflow(back, source_of(server)).kinds.values())


def facts(store: Store) -> dict[str, object]:
    """What is to be equal on both sides: a server gives runs ids of its own, and tags of its own."""
    runs = {record.id: record for record in store.catalog.runs.list()}
    ours = ("tracekit.", "mlflow.parentRunId", "mlflow.user", "mlflow.runName")
    spans = store.sql(
        "SELECT trace_id, span_id, parent_span_id, name, step, status, start_ns, duration_ns, input, output, "
        "input_tokens FROM spans ORDER BY 1, 2"
    )
    scores = store.sql("SELECT trace_id, span_id, name, value, label, status, source FROM scores ORDER BY 1, 3")
    return {
        "runs": {
            record.name: {
                "status": record.status,
                "times": (record.created_at, record.finished_at),
                "parameters": record.parameters,
                "tags": {name: value for name, value in record.tags.items() if not name.startswith(ours)},
                "parent": runs[record.parent_id].name if record.parent_id else None,
                "artifacts": {name: one["sha256"] for name, one in record.artifacts.items()},
                "series": series_of(store, record.id),
            }
            for record in runs.values()
        },
        "spans": spans.fetchall(),
        "scores": scores.fetchall(),
    }


def test_a_server_gives_what_its_database_gives(
    made: tuple[Path, dict], python: Path, store: Store, tmp_path: Path, request: pytest.FixtureRequest
):
    folder, told = made
    (tmp_path / "server").mkdir()
    shutil.copy(folder / "mlflow.db", tmp_path / "server" / "mlflow.db")
    url = request.getfixturevalue("server")
    import_mlflow(store, source_of(url))
    assert_equal(store, told)
    assert_models_equal(store, told)
    from_file = import_mlflow(store, source_of(str(folder)))
    assert {name: kind.new for name, kind in from_file.kinds.items() if kind.new} == {}


def test_one_experiment_alone_and_a_trial_that_changes_nothing(made: tuple[Path, dict], store: Store):
    folder, _told = made
    tried = import_mlflow(store, source_of(str(folder)), dry_run=True)
    assert tried.kinds["runs"].new == 5
    assert tried.kinds["artifacts"].new == 2
    assert tried.kinds["model versions"].new == 3
    assert len(store.sql("SELECT * FROM spans")) == 0
    assert list(store.catalog.runs.list()) == []
    assert list(store.catalog.agents.list()) == []
    assert list(store.artifacts.iterdir()) == []
    assert "runs" not in import_mlflow(store, source_of(str(folder)), experiments=["empty"]).kinds


def test_a_torn_database_is_refused_and_nothing_of_it_is_taken(
    made: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, _told = made
    torn = tmp_path / "mlflow.db"
    body = (folder / "mlflow.db").read_bytes()
    torn.write_bytes(body[: len(body) // 2])
    assert main(["import", "mlflow", str(torn), "--store", str(tmp_path / "store")]) == 2
    assert "is damaged" in capsys.readouterr().err
    with Store.open(tmp_path / "store") as store:
        assert list(store.catalog.runs.list()) == []


def test_a_schema_that_lacks_a_column_is_refused_by_name(
    made: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, _told = made
    shutil.copy(folder / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("ALTER TABLE params RENAME COLUMN value TO content")
    database.close()
    assert main(["import", "mlflow", str(tmp_path / "mlflow.db"), "--store", str(tmp_path / "store")]) == 2
    assert "lacks params.value" in capsys.readouterr().err


def test_prompts_that_mlflow_registered_import_equal(python: Path, tmp_path: Path, store: Store):
    source = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
for template in ("Hello {{name}}.", "Hi {{ name }}!"):
    mlflow.genai.register_prompt(name="greeting", template=template, commit_message="said " + template[:2])
chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{question}}"}]
mlflow.genai.register_prompt(name="chat", template=chat, tags={"team": "support"})
mlflow.genai.set_prompt_alias("greeting", alias="production", version=1)
"""
    words = [python, "-c", source, f"sqlite:///{tmp_path}/prompts.db"]
    subprocess.run(words, check=True, capture_output=True, cwd=tmp_path)
    import_mlflow(store, source_of(str(tmp_path / "prompts.db")))
    prompts = store.catalog.prompts
    assert [(each.content, each.message) for each in prompts.versions("greeting")] == [
        ("Hello {{name}}.", "said He"),
        ("Hi {{ name }}!", "said Hi"),
    ]
    assert prompts.resolve("greeting@production").number == 1
    chat = prompts.resolve("chat")
    assert [part["content"] for part in chat.content] == ["Be kind.", "{{question}}"]
    assert chat.tags == {"team": "support", "mlflow.version": "1"}
    assert store.catalog.agents.list() == []
