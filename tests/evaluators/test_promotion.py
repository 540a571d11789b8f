"""`tracekit agents promote`: an alias moves to what passes a gate, and to nothing else."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit_collector.store import Store
from tracekit_evaluators import evaluate

_spec = importlib.util.spec_from_file_location("evaluators_material", Path(__file__).with_name("conftest.py"))
assert _spec is not None
assert _spec.loader is not None
material = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(material)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bot in four versions over sixty cases: `main`, `same`, `worse` (fails thirty), `untried` (no run)."""
    folder = tmp_path_factory.mktemp("promotion")
    record = material.Recorder(folder / "store")
    with Store.open(folder / "store") as opened:
        for version in ("main", "same", "worse", "untried"):
            for case in range(60):
                said = "no" if version == "worse" and case % 2 == 0 else "yes"
                record(f"{version}-{case}", output=said, input=f"question {case}", case=f"c{case}", version=version)
        cases = [{"case_id": f"c{case}", "expected": {"contains": "yes"}} for case in range(60)]
        dataset = folder / "cases.jsonl"
        dataset.write_text("".join(json.dumps(case) + "\n" for case in cases))
        opened.settle()
        for version in ("main", "same", "worse"):
            agent = f"bot@{version}"
            evaluate(opened, judges=["contains"], agent=agent, dataset=str(dataset), name=version, progress=False)
        opened.catalog.agents.set_alias("bot", "production", opened.catalog.agents.resolve("bot@main"))
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of that store, and two policies in the working folder."""
    shutil.copytree(made, tmp_path / "store")
    (tmp_path / "gate.yaml").write_text("version: 1\nscores:\n  contains: {margin: 0.1}\n")
    (tmp_path / "strict.yaml").write_text("version: 1\nscores:\n  contains: {margin: 0.001}\n")
    with Store.open(tmp_path / "store") as opened:
        yield opened


def call(store: Store, *words: str) -> int:
    return main(["agents", *words, "--store", str(store.location)])


def test_a_policy_lets_pass_what_passes_and_takes_down_why(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    agents = store.catalog.agents
    assert call(store, "policy", "bot", "production", "--gate", "gate.yaml") == 0
    digest = agents.promotions.policies("bot")["production"].digest
    capsys.readouterr()
    assert call(store, "promote", "bot@worse", "production") == 1
    out = capsys.readouterr().out
    stays = agents.resolve("bot@main")
    assert out.startswith("FAIL: worse (")
    assert f"bot@production stays at {stays.ref}\n" in out
    assert agents.resolve("bot@production") == stays
    assert call(store, "alias", "bot", "production", "same") == 2
    assert "has a policy" in capsys.readouterr().err
    assert call(store, "promote", "bot@same", "production", "--why", "Friday's release") == 0
    moved = agents.history("bot", "production")[0]
    assert (moved.version.label, moved.why) == ("same", "Friday's release")
    assert moved.evidence is not None
    assert moved.evidence["verdict"] == "PASS"
    assert moved.evidence["policy"] == digest
    assert moved.evidence["run"] == {
        "id": store.catalog.runs.find("same").id,
        "name": "same",
        "agent_version": moved.version.ref,
    }
    assert moved.evidence["baseline"]["id"] == store.catalog.runs.find("main").id  # type: ignore[index]  # a mapping
    acts = [act for act in store.catalog.audit.list() if act.target == "bot@production"]
    assert [act.act for act in acts][:3] == ["alias.move", "promotion.refuse", "policy.set"]
    assert acts[1].details["verdict"] == "FAIL"


def test_what_is_not_certain_moves_nothing(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("promote", "bot@same", "production", "--gate", "strict.yaml", "--format", "json")
    assert call(store, *words) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["moved"], told["checks"][0]["verdict"]) == ("INCONCLUSIVE", False, "INCONCLUSIVE")
    assert store.catalog.agents.resolve("bot@production").label == "main"


def test_a_file_cannot_stand_in_for_the_policy(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store, "policy", "bot", "production", "--gate", "strict.yaml") == 0
    assert call(store, "promote", "bot@same", "production", "--gate", "gate.yaml") == 2
    assert "is another one" in capsys.readouterr().err
    assert call(store, "promote", "bot@same", "production", "--gate", "strict.yaml") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bot@same", "--run", "main"), "so it says nothing of bot@"),
        (("bot@untried",), "has no finished evaluation; `tracekit eval --agent bot@"),
        (("bot@same", "--gate", "none.yaml"), "cannot read the policy none.yaml"),
        (("bot@same", "--baseline", "nobody"), "nobody"),
    ],
)
def test_what_cannot_speak_for_a_version_is_refused(
    store: Store, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = () if "--gate" in words else ("--gate", "gate.yaml")
    assert call(store, "promote", words[0], "production", *words[1:], *gate) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_is_not_finished_cannot_speak(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    version = store.catalog.agents.resolve("bot@untried")
    store.catalog.runs.create("begun", kind="eval", agent_version=version)
    assert call(store, "promote", "bot@untried", "production", "--run", "begun", "--gate", "gate.yaml") == 2
    assert "the run begun is running, not finished" in capsys.readouterr().err
