"""`tracekit gate`, `plan` and `compare` of many runs, from the command line over a real store."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tracekit.cli import main
from tracekit_collector.store import Store
from tracekit_evaluators import evaluate
from tracekit_evaluators.summary import summarise

POLICY = "version: 1\nscores:\n  contains: {margin: 0.25}\n"


_spec = importlib.util.spec_from_file_location("evaluators_material", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
material = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(material)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of a bot in three versions over sixty cases; `worse` fails twenty of them."""
    folder = tmp_path_factory.mktemp("gate")
    record = material.Recorder(folder / "store")
    with Store.open(folder / "store") as store:
        for version in ("main", "same", "worse"):
            for case in range(60):
                said = "no" if version == "worse" and case % 3 == 0 else "yes"
                record(f"{version}-{case}", output=said, input=f"question {case}", case=f"c{case}", version=version)
        cases = [
            {"case_id": f"c{case}", "expected": {"contains": "yes"}, "tags": [("even", "odd")[case % 2]]}
            for case in range(60)
        ]
        (folder / "plain.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
        told = [{**case, "metadata": {"document": f"d{place // 5}"}} for place, case in enumerate(cases)]
        (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in told))
        store.settle()
        for number, version in enumerate(("main", "same", "worse"), start=1):
            dataset = str(folder / "cases.jsonl")
            evaluate(store, judges=["contains"], agent=f"bot@{number}", dataset=dataset, name=version, progress=False)
    (folder / "gate.yaml").write_text(POLICY)
    return folder


@pytest.fixture
def store(runs: Path) -> Iterator[Store]:
    with Store.open(runs / "store") as opened:
        yield opened


def call(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> tuple[int, str]:
    code = main([*arguments, "--store", str(store.location)])
    return code, capsys.readouterr().out


def test_a_gate_passes_fails_or_leaves_open(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gate = ("--policy", str(runs / "gate.yaml"))
    code, out = call(capsys, store, "gate", "same", "--baseline", "main", *gate)
    assert (code, out.split(":")[0]) == (0, "PASS")
    code, out = call(capsys, store, "gate", "worse", "--baseline", "main", *gate)
    assert (code, out.split(":")[0]) == (1, "FAIL")
    (runs / "strict.yaml").write_text("version: 1\nscores:\n  contains: {margin: 0.001}\n")
    code, out = call(capsys, store, "gate", "same", "--baseline", "main", "--policy", str(runs / "strict.yaml"))
    assert (code, out.split(":")[0]) == (3, "INCONCLUSIVE")


def test_cases_of_one_document_count_together(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    metric = store.catalog.runs.find("worse").metrics["contains"]
    assert (metric["clusters"]["by"], metric["clusters"]["count"]) == ("document", 12)
    _, out = call(capsys, store, "compare", "main", "worse")
    assert "Note: contains: cases share 12 documents, design effect" in out
    assert "tag: even" in out


def test_a_gate_writes_what_other_tools_read(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(runs / f"gate.{suffix}") for suffix in ("json", "xml", "md")]
    outputs = [word for file in files for word in ("-o", file)]
    arguments = ("--baseline", "main", "--policy", str(runs / "gate.yaml"), *outputs, "--format", "github")
    code, out = call(capsys, store, "gate", "worse", *arguments)
    assert (code, out.splitlines()[0][:34]) == (1, "::error title=tracekit gate FAIL::")
    found = json.loads(Path(files[0]).read_text())
    assert (found["verdict"], found["candidate"]["agent_version"], found["exit_code"]) == ("FAIL", "bot@3", 1)
    assert ElementTree.parse(files[1]).getroot().attrib["failures"] == "1"
    assert Path(files[2]).read_text().startswith("## ❌ tracekit gate: FAIL\n")


def test_an_alias_is_a_baseline(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    agents = store.catalog.agents
    agents.set_alias("bot", "production", agents.resolve("bot@1"))
    for ref in ("production", "bot@production", "bot@1"):
        code, out = call(capsys, store, "gate", "same", "--baseline", ref, "--policy", str(runs / "gate.yaml"))
        assert (code, out[:35]) == (0, "PASS: same (bot@2) against main (bo")


def test_wrong_use_is_exit_code_2(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gate = ("--policy", str(runs / "gate.yaml"))
    for arguments in (
        ("gate", "same", *gate),
        ("gate", "same", "--baseline", "same", *gate),
        ("gate", "same", "--baseline", "nobody", *gate),
        ("gate", "same", "--baseline", "main", "--policy", str(runs / "none.yaml")),
        ("gate", "same", "--baseline", "main", *gate, "-o", "x.html"),
        ("gate", "--baseline", "main", *gate),
    ):
        assert call(capsys, store, *arguments)[0] == 2
    assert main(["gate", "--example"]) == 0


def test_a_sequential_gate_judges_no_more_than_it_needs(
    runs: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    sequential = ("--sequential", "--agent", "bot@3", "--dataset", str(runs / "plain.jsonl"), "--batch", "10")
    policy = runs / "loose.yaml"
    policy.write_text("version: 1\nalpha: 0.2\nscores:\n  contains: {margin: 0.01}\n")
    arguments = ("--baseline", "main", "--policy", str(policy), *sequential, "--format", "json")
    code, out = call(capsys, store, "gate", "early", *arguments)
    found = json.loads(out)
    assert (code, found["verdict"]) == (1, "FAIL")
    judged = found["sequential"]["judged"]
    assert judged < found["sequential"]["cases"] == 60
    rows = store.sql("SELECT * FROM scores WHERE run_id = ?", [found["candidate"]["id"]]).dicts()
    assert len(rows) == judged
    assert summarise(rows)["contains"]["n"] == judged
    assert main(["eval", "--resume", "early", "--store", str(store.location)]) == 0  # the others, later
    capsys.readouterr()
    again = ("--sequential", "--format", "json", "--baseline", "main", "--policy", str(policy))
    code, out = call(capsys, store, "gate", "early", *again)
    assert (code, json.loads(out)["verdict"]) == (1, "FAIL")


def test_many_runs_are_ranked(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, store, "compare", "main", "worse", "same", "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert found["score"] == "contains"
    assert [each["name"] for each in found["runs"]] == ["main", "same", "worse"]
    assert found["runs"][2]["against_first"]["contains"]["verdict"] == "worse"
    code, out = call(capsys, store, "compare", "main", "worse", "same")
    assert out.startswith("Ranked by contains; verdicts are against main")


def test_a_plan_from_numbers_and_from_a_pilot(runs: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ("plan", "--discordant", "0.2", "--difference", "0.05", "--cases", "200", "--format", "json")
    code, out = call(capsys, store, *plan)
    found = json.loads(out)
    assert (code, found["needs"][0]["cases"], round(found["detectable"], 3)) == (0, 628, 0.089)
    code, out = call(capsys, store, "plan", "--from", "main", "worse", "--margin", "0.05", "--format", "json")
    found = json.loads(out)
    assert found["pilot"] == "contains of worse and main, 60 pairs in 12 clusters by document"
    assert found["sides"] == 1
    assert call(capsys, store, "plan")[0] == 2
    assert call(capsys, store, "plan", "--from", "main", "--score", "nothing")[0] == 2
    assert call(capsys, store, "plan", "--rate", "0.8", "--repeats", "3")[0] == 2
