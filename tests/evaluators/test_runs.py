"""`tracekit runs`: the list, one run, and the whole record."""

from __future__ import annotations

import json

import pytest

from tracekit.cli import main
from tracekit_evaluators import evaluate


@pytest.fixture
def words(store, record) -> list[str]:
    for place in range(4):
        record(f"t{place}", output="yes" if place else "no")
    evaluate(store, judges=["contains?any=yes", "latency"], name="first")
    evaluate(store, judges=["error"], name="second", where="status = 'ok'")
    return ["--store", str(store.location)]


def test_the_newest_run_comes_first(words, capsys) -> None:
    assert main(["runs", "list", *words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["second", "first"]
    assert rows[1]["metrics"] == "contains 75.0 %, latency 1.000"
    assert (rows[1]["agent"], rows[1]["traces"], rows[1]["scores"]) == ("bot@1 (v1)", 4, 8)
    assert main(["runs", "list", *words, "--limit", "1"]) == 0
    assert "first" not in capsys.readouterr().out


def test_a_run_shows_its_metrics_and_what_they_rest_on(words, capsys) -> None:
    assert main(["runs", "show", "second", *words]) == 0
    out = capsys.readouterr().out
    for part in (
        "agent     bot@1 (v1)",
        "judges    error",
        "selected  where status = 'ok'",
        "statuses  scored 4",
        "Clopper",
    ):
        assert part in out


def test_a_run_is_found_by_the_beginning_of_its_id(words, store, capsys) -> None:
    run = store.catalog.runs.find("first")
    assert main(["runs", "show", run.id[:22], *words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "first"


def test_json_is_the_whole_record(words, capsys) -> None:
    assert main(["runs", "show", "first", *words, "--format", "json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert set(run) >= {
        "id", "name", "kind", "status", "created_at", "finished_at", "agent_version", "parameters", "judges",
        "selection", "code", "environment", "lake_versions", "metrics", "summary", "parent_id", "project", "tags",
        "command", "seed", "error", "artifacts", "deleted_at", "stale", "series", "children",
    }  # fmt: skip
    assert run["metrics"]["contains"]["value"] == 0.75
    assert run["created_at"].endswith("Z")


def test_metrics_are_given_as_csv_and_markdown_too(words, capsys) -> None:
    assert main(["runs", "show", "first", *words, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("contains,0.75,0.3")
    assert main(["runs", "show", "first", *words, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| metric | value |")


def test_a_hostile_name_is_only_text(store, record, capsys) -> None:
    record("a")
    evaluate(store, judges=["error"], name="\x1b[31mred")
    assert main(["runs", "show", "\x1b[31mred", "--store", str(store.location)]) == 0
    assert "\x1b" not in capsys.readouterr().out
