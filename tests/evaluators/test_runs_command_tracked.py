"""`tracekit runs` over runs that programs track, evaluations and imports side by side."""

from __future__ import annotations

import datetime
import hashlib
import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tracekit.cli import main
from tracekit_collector.run_news import RunNews
from tracekit_evaluators import evaluate
from tracekit_evaluators.run_folder import safe_name
from tracekit_evaluators.run_series import sparkline

NOON = datetime.datetime(2026, 1, 1, 12)
A, B, CHILD = (f"01M850CF81S5593VPA5JWYQZ{end}" for end in ("0A", "0B", "0C"))


@pytest.fixture
def words(store, record) -> list[str]:
    """Two tracked runs, a child that never ended, and an evaluation."""
    record("t", output="yes")
    evaluate(store, judges=["contains?any=yes"], name="nightly")
    content = b"Answer in one word."
    digest = hashlib.sha256(content).hexdigest()
    (store.artifacts / digest).write_bytes(content)
    done = {"id": "w", "state": "finished", "host": "elsewhere", "pid": 1}
    artifacts = {name: {"sha256": digest, "bytes": 19, "mime_type": "text/plain"} for name in ("p.txt", "../p.txt")}
    for key, name, rate in ((A, "tune-a", 0.1), (B, "tune-b", 0.2)):
        told = {"rate": rate, "model": "m"}
        store.catalog.runs.take(
            [RunNews(key, NOON, name=name, parameters=told, tags={"team": "x"}, artifacts=artifacts, writer=done)]
        )
        rows = [
            {"run_id": key, "name": "loss", "step": step, "value": step * rate, "time_ns": step, "writer": key[-2:] * 8,
             "place": step}
            for step in range(5)
        ]  # fmt: skip
        store.append("points", [{**row, "writer": key[-2:].lower() * 8} for row in rows])
    lost = {**done, "state": "open"}
    store.catalog.runs.take([RunNews(CHILD, NOON, name="part", parent_id=A, writer=lost)])
    return ["--store", str(store.location)]


def said(capsys, *command: str):
    assert main(["runs", *command]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_kinds_are_listed_and_each_can_be_asked_for(words, capsys) -> None:
    rows = said(capsys, "list", *words, "--format", "json")
    assert {(row["name"], row["kind"], row["status"]) for row in rows} == {
        ("tune-a", "run", "finished"),
        ("tune-b", "run", "finished"),
        ("part", "run", "running (stale)"),
        ("nightly", "eval", "finished"),
    }
    assert {row["name"]: row["metrics"] for row in rows}["tune-b"] == "loss 0.8"
    assert [row["name"] for row in said(capsys, "list", *words, "--kind", "eval", "--format", "json")] == ["nightly"]


def test_a_condition_finds_runs_by_parameters_metrics_and_tags(words, capsys) -> None:
    condition = "tags->>'team' = 'x' AND (metrics->>'loss')::DOUBLE > 0.5 AND parameters->>'model' = 'm' -- and that"
    rows = said(capsys, "list", *words, "--where", condition, "--format", "json")
    assert [row["name"] for row in rows] == ["tune-b"]
    assert main(["runs", "list", *words, "--where", "nothing = 1"]) == 2
    assert "the query is wrong" in capsys.readouterr().err
    assert main(["runs", "list", *words, "--where", "true); DROP TABLE run_rows; --"]) == 2


def test_one_run_shows_all_that_is_kept(words, capsys) -> None:
    run = said(capsys, "show", "tune-a", *words, "--format", "json")
    assert run["parameters"] == {"model": "m", "rate": 0.1}
    assert run["series"] == [
        {"metric": "loss", "last": 0.4, "min": 0.0, "max": 0.4, "n": 5, "step": 4, "course": "▁▃▅▇█"}
    ]
    assert [child["name"] for child in run["children"]] == ["part"]
    assert main(["runs", "show", "tune-a", *words]) == 0
    out = capsys.readouterr().out
    for part in ("param     rate = 0.1", "tags      team=x", "▁▃▅▇█", "p.txt", "running (stale)"):
        assert part in out


def test_runs_are_compared_in_what_differs(words, capsys) -> None:
    rows = said(capsys, "compare", "tune-a", "tune-b", *words, "--format", "json")
    assert rows == [
        {"what": "parameter", "name": "rate", "tune-a": 0.1, "tune-b": 0.2},
        {"what": "metric", "name": "loss", "tune-a": 0.4, "tune-b": 0.8},
    ]
    everything = said(capsys, "compare", "tune-a", "tune-b", "nightly", *words, "--all", "--format", "json")
    assert {row["name"] for row in everything} >= {"rate", "model", "loss", "team", "contains"}
    assert main(["runs", "compare", "tune-a", "tune-b", *words, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "what,name,tune-a,tune-b",
        "parameter,rate,0.1,0.2",
        "metric,loss,0.4,0.8",
    ]
    assert main(["runs", "compare", "tune-a", *words]) == 2


def test_tags_come_and_go(words, store, capsys) -> None:
    assert main(["runs", "tag", "tune-a", "verdict=keep=yes", "--remove", "team", *words]) == 0
    assert "verdict=keep=yes" in capsys.readouterr().out
    assert store.catalog.runs.find("tune-a").tags == {"verdict": "keep=yes"}
    assert main(["runs", "tag", "tune-a", "verdict", *words]) == 2
    assert main(["runs", "tag", "tune-a", "=x", *words]) == 2


def test_a_deleted_run_is_left_out_and_its_child_still_names_it(words, store, capsys) -> None:
    assert main(["runs", "delete", "tune-a", *words]) == 0
    assert f"tracekit runs restore {A}" in capsys.readouterr().out
    assert "tune-a" not in {row["name"] for row in said(capsys, "list", *words, "--format", "json")}
    assert [row["name"] for row in said(capsys, "list", *words, "--deleted", "--format", "json")] == ["tune-a"]
    assert store.catalog.runs.find("part").parent_id == A
    assert store.sql("SELECT count(*) FROM points WHERE run_id = ?", [A]).fetchone() == (5,)
    assert main(["runs", "show", "tune-a", *words]) == 2
    assert main(["runs", "restore", A, *words]) == 0
    assert main(["runs", "show", "tune-a", *words]) == 0


class TestExport:
    def test_to_a_folder(self, words, tmp_path: Path) -> None:
        target = tmp_path / "out"
        assert main(["runs", "export", "tune-a", "-o", str(target), *words]) == 0
        assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
            "artifacts/p.txt", "artifacts/p.txt_", "metrics.csv", "params.json", "run.json",
        ]  # fmt: skip
        assert json.loads((target / "params.json").read_text()) == {"model": "m", "rate": 0.1}
        assert (target / "metrics.csv").read_text().splitlines()[2].startswith('"loss",1,0.1,')
        assert (target / "artifacts" / "p.txt").read_text() == "Answer in one word."
        assert main(["runs", "export", "tune-a", "-o", str(target), *words]) == 2

    def test_to_a_zip_that_is_the_same_each_time(self, words, tmp_path: Path) -> None:
        for name in ("a.zip", "b.zip"):
            assert main(["runs", "export", "tune-a", "-o", str(tmp_path / name), "--metrics", "parquet", *words]) == 0
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "a.zip") as opened, opened.open("metrics.parquet") as file:
            assert pq.read_table(file).column("value").to_pylist() == [0.0, 0.1, 0.2, pytest.approx(0.3), 0.4]

    def test_an_evaluation_can_be_exported_too(self, words, tmp_path: Path) -> None:
        assert main(["runs", "export", "nightly", "-o", str(tmp_path / "out"), *words]) == 0
        assert json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]["contains"]["value"] == 1.0

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("../../etc/passwd", "etc/passwd"),
            ("/abs", "abs"),
            ("a\\..\\b", "a/b"),
            ("...", "_"),
            ("", "_"),
            ("C:x\0", "C_x_"),
            ("a/./b. ", "a/b"),
        ],
    )
    def test_names_stay_in_the_folder(self, name: str, place: str) -> None:
        assert safe_name(name) == place


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0, 1.0], "▁▁"), ([None, 2.0], "·▁"), ([-1e308, 1e308], "▁█"), ([float("nan"), float("inf")], "··")],
)
def test_a_course_is_drawn_of_any_numbers(values: list[float | None], bars: str) -> None:
    assert sparkline(values) == bars
