"""`tracekit eval`, `judges` and `scores` as a person or a script meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tracekit.cli import main


@pytest.fixture
def words(store, record) -> list[str]:
    for place in range(3):
        record(f"t{place}", case=f"c{place}", output="yes" if place else "no")
    return ["--store", str(store.location)]


def test_the_metrics_are_printed_with_intervals_and_the_way_to_the_report(words, capsys) -> None:
    assert main(["eval", "--judge", "contains?any=yes", "--judge", "error", "--name", "my run", *words]) == 0
    said = capsys.readouterr()
    assert "my run: 3 traces" in said.out
    assert "66.7 %" in said.out
    assert "100.0%" in said.out
    assert said.err == f"report: tracekit report 'my run' --store {words[1]} -o my-run.html\n"


def test_json_is_the_whole_record(words, capsys) -> None:
    assert (
        main(["eval", "--judge", "error", "--name", "n", "--where", "case_id = 'c1'", "--format", "json", *words]) == 0
    )
    run = json.loads(capsys.readouterr().out)
    assert (run["name"], run["status"], run["kind"], run["metrics"]["error"]["n"]) == ("n", "finished", "eval", 1)
    assert run["agent_version"]["ref"] == "bot@1"
    assert run["selection"]["where"] == "case_id = 'c1'"
    assert run["judges"][0]["spec"] == "error"


def test_a_failing_judge_is_told_and_is_no_failure_of_the_command(words, capsys) -> None:
    assert main(["eval", "--judge", "exact_match", *words]) == 0
    out = capsys.readouterr().out
    assert "missing_input 3" in out
    assert "0.0%" in out


def test_a_judge_in_the_present_folder_is_found(words, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    Path("mine_here.py").write_text("def shout(subject):\n    return subject.output.isupper()\n")
    assert main(["eval", "--judge", "mine_here:shout", *words]) == 0
    assert "shout" in capsys.readouterr().out


def test_a_stopped_run_says_how_to_go_on(words, store, capsys) -> None:
    Path("stops_once.py").write_text(
        "from pathlib import Path\n"
        "def stops(subject):\n"
        "    if not Path('stopped').exists():\n"
        "        Path('stopped').touch()\n"
        "        raise KeyboardInterrupt\n"
        "    return True\n"
    )
    assert main(["eval", "--judge", "stops_once:stops", *words]) == 4
    said = capsys.readouterr().err.split()
    assert said[:2] == ["tracekit:", "stopped;"]
    assert main([*said[said.index("tracekit", 1) + 1 :], *words]) == 0
    assert store.catalog.runs.list()[0].metrics["stops"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval"], "no judge is given; `tracekit judges list` shows"),
        (["eval", "--judge", "nope"], "there is no judge called 'nope'"),
        (["eval", "--judge", "error", "--where", "x("], "the query is wrong"),
        (["eval", "--judge", "error", "--agent", "nope"], "there is no agent 'nope'"),
        (["eval", "--judge", "error", "--dataset", "nope.jsonl"], "cannot read the dataset nope.jsonl"),
        (["eval", "--resume", "nope"], "there is no run 'nope'"),
        (["scores", "import", "nope.jsonl", "--run", "r"], "cannot read the scores in nope.jsonl"),
        (["scores", "export", "nope"], "there is no run 'nope'"),
        (["runs", "show", "nope"], "there is no run 'nope'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], told: str, words, capsys) -> None:
    assert main([*arguments, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tracekit: ")
    assert told in err
    assert "Traceback" not in err


def test_no_store_is_no_new_store(capsys) -> None:
    assert main(["eval", "--judge", "error", "--store", "nowhere"]) == 2
    assert "there is no store at nowhere" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_judges_are_listed(capsys) -> None:
    assert main(["judges", "list", "--format", "json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names == sorted(names)
    assert "tool_names" in names


def test_scores_go_in_and_out(words, store, capsys) -> None:
    trace_id = store.trace_ids()[0]
    Path("s.jsonl").write_text(json.dumps({"trace_id": trace_id, "name": "ok", "value": True}) + "\n")
    assert main(["scores", "import", "s.jsonl", "--run", "r", *words]) == 0
    assert "r: 1 lines, 1 new, 0 replaced" in capsys.readouterr().out
    assert main(["scores", "export", "r", *words]) == 0
    assert json.loads(capsys.readouterr().out)["value"] is True
    assert main(["scores", "export", "r", "-o", "out.jsonl", *words]) == 0
    assert json.loads(Path("out.jsonl").read_text())["trace_id"] == trace_id
    assert main(["scores", "export", "r", "-o", "no/such/folder.jsonl", *words]) == 4


def test_unknown_traces_are_imported_and_told(words, capsys) -> None:
    Path("s.jsonl").write_text(json.dumps({"trace_id": "ef" * 16, "name": "ok", "value": 1}) + "\n")
    assert main(["scores", "import", "s.jsonl", "--run", "r", "--format", "json", *words]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["summary"]["unknown_traces"] == 1
    assert "1 trace that the file names is not in the store" in said.err


def test_a_model_judge_runs_from_the_command_line(words, model_server, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    answer = {"evidence": [{"span_id": "", "quote": "yes"}], "reasoning": "it says yes", "verdict": "pass"}
    model_server.script = [
        lambda handler, payload: handler.answer(429, {"error": {"message": "slow down"}}, retry_after="0.01"),
        json.dumps(answer),
    ]
    spec = "rubric?criteria=It says yes.&model=judge-1&name=affirms"
    assert main(["eval", "--judge", spec, "--format", "json", *words]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["metrics"]["affirms"]["value"] == 1.0
    assert run["summary"]["judge_cost_usd"] is None
    assert run["judges"][0]["model"]["model"] == "judge-1"
    assert "sk-secret-of-mine" not in json.dumps(run)
    asked = len(model_server.asked)
    assert main(["eval", "--judge", spec, *words]) == 0
    assert len(model_server.asked) == asked
    assert main(["eval", "--judge", spec, "--no-cache", *words]) == 0
    assert len(model_server.asked) == asked + 3
