"""`tracekit eval FILE`: what the file says is done, and what it says wrongly is told with its line."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_evaluators.configuration import read_configuration, schema_text

ROOT = Path(__file__).parents[2]

WHOLE = """\
name: nightly
description: every night
select:
  where: case_id <> 'c0'
  limit: 10
dataset: cases.jsonl
judges:
  - contains
  - use: latency
    max: 2
    name: quick
samples: 2
budget: {usd: 1.5, tokens: 1000}
concurrency: 2
cache: false
"""


def written(text: str, name: str = "eval.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_everything_becomes_an_argument() -> None:
    written("", "conf/cases.jsonl")
    config = read_configuration(written(WHOLE, "conf/eval.yaml"))
    assert config.arguments() == {
        "name": "nightly",
        "where": "case_id <> 'c0'",
        "limit": 10,
        "dataset": "conf/cases.jsonl",
        "judges": ["contains", {"use": "latency", "max": 2, "name": "quick"}],
        "samples": 2,
        "concurrency": 2,
        "cache": False,
    }
    assert config.budget() == (1.5, 1000)
    assert config.store is None


def test_json_is_yaml() -> None:
    config = read_configuration(written('{"judges": ["error"], "store": "s"}', "conf/e.json"))
    assert (config.arguments(), config.store) == ({"judges": ["error"]}, "conf/s")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("judges: [error]\nnmae: x\n", "eval.yaml:2: nmae: there is no such key; did you mean name?"),
        ("name: x\n", "eval.yaml:1: the file: judges is missing"),
        ("judges: []\n", "eval.yaml:1: judges: must not be empty"),
        ("judges:\n  - error\n  - 7\n", r"eval.yaml:3: judges\[1\]: must be a spec"),
        ("judges:\n  - use: latency\n    name: 3\n", r"eval.yaml:3: judges\[0\].name: must be a text, not 3"),
        ("judges: [error]\nsamples: 0\n", "eval.yaml:2: samples: must be at least 1, not 0"),
        ("judges: [error]\nsamples: many\n", "eval.yaml:2: samples: must be a whole number, not 'many'"),
        ("judges: [error]\nbudget:\n  usd: -1\n", "eval.yaml:3: budget.usd: must be at least 0, not -1"),
        (
            "judges: [error]\nbudget:\n  eur: 1\n",
            "eval.yaml:3: budget.eur: there is no such key; there are tokens, usd",
        ),
        ("judges: [error]\nrepeats: 2\n", "eval.yaml:1: the file: repeats needs task"),
        ("judges: [error]\ntask: f\ndataset: d\n", "eval.yaml:2: task: must be package.module:function, not 'f'"),
        ("judges: [error]\ntask: m:f\n", "the file: task needs dataset"),
        ("judges: [error]\nselect: {agent: a}\nagent: b\n", "eval.yaml:3: agent: is said under select already"),
        ("task: m:f\ndataset: d\njudges: [error]\nselect: {}\n", "eval.yaml:4: select: chooses stored traces"),
        ("judges: [error]\njudges: [loop]\n", "eval.yaml:2: judges is there twice"),
        ("judges: [error\n", "eval.yaml:2: this is no YAML"),
        ("", "eval.yaml is empty"),
        ("- error\n", "the file: must be a mapping"),
        (
            "dataset:\n  - {expected: 1}\njudges: [error]\n",
            r"eval.yaml:2: dataset\[0\]: must be a case with case_id or input",
        ),
        ("judges: !!python/object/apply:os.system [ls]\n", "no YAML"),
    ],
)
def test_a_fault_is_told_with_line_and_key(text, told) -> None:
    with pytest.raises(UsageError, match=told):
        read_configuration(written(text))


def test_aliases_that_say_more_than_memory_holds_are_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]" for name in "bcdefg"]
    with pytest.raises(UsageError, match="aliases may repeat too much"):
        read_configuration(written("\n".join(lines)))


def test_an_alias_of_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="no YAML"):
        read_configuration(written("judges: &a [*a]\n"))


def test_a_time_stays_a_text() -> None:
    assert read_configuration(written("judges: [error]\nname: 2026-01-02\n")).arguments()["name"] == "2026-01-02"


def test_the_schema_is_one_and_stands_in_the_docs_and_the_package() -> None:
    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)
    assert (ROOT / "docs" / "eval.schema.json").read_text("utf-8") == schema_text()
    assert resources.files("tracekit_evaluators").joinpath("eval.schema.json").is_file()
    assert all("description" in each for each in schema["properties"].values())


def test_the_command_prints_the_schema(capsys) -> None:
    assert main(["eval", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "tracekit eval"


def test_the_command_does_what_the_file_says_and_the_command_line_wins(store, record, capsys) -> None:
    for n in range(3):
        record(f"t{n}", case=f"c{n}", output="42")
    written(
        '{"case_id": "c1", "expected": {"contains": "42"}}\n{"case_id": "c2", "expected": {"contains": "x"}}\n',
        "cases.jsonl",
    )
    words = ["eval", str(written(WHOLE)), "--store", str(store.location), "--format", "json"]
    assert main(words) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["name"], run["metrics"]["contains"]["value"], run["metrics"]["quick"]["n"]) == ("nightly", 0.5, 2)
    assert main([*words, "--name", "other", "--judge", "error", "--limit", "1"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["name"], list(run["metrics"]), run["summary"]["traces"]) == ("other", ["error"], 1)
    assert main([*words, "--resume", "nightly"]) == 0


@pytest.mark.usefixtures("fresh")
def test_a_task_of_the_files_folder_is_tried_in_the_files_store(capsys) -> None:
    written("def double(n):\n    return 2 * n\n", "conf/beside_it.py")
    text = "task: beside_it:double\ndataset:\n  - {case_id: a, input: 4, expected: '8'}\n"
    text += "store: s\nrepeats: 2\njudges: [exact_match]\n"
    assert main(["eval", str(written(text, "conf/e.yaml")), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["pass^2"]["value"] == 1.0
    assert Path("conf/s/lake").is_dir()
