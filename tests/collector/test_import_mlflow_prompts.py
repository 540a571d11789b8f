"""MLflow's prompts come into the registry of prompts, with MLflow's numbers where a text comes twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit_collector.imports.mlflow_kinds import ModelVersion, RegisteredModel
from tracekit_collector.imports.mlflow_prompts import take_prompt
from tracekit_collector.imports.tally import Tally
from tracekit_collector.store import Store

Taken = tuple[int, int, int, dict[str, int]]  # read, new, known, and skipped by the reason

CHAT = [{"role": "user", "content": "{{question}}"}]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def version(number: int, text: str | None, *, kind: str = "text", deleted: bool = False) -> ModelVersion:
    said = {} if text is None else {"mlflow.prompt.text": text}
    tags = {"mlflow.prompt.is_prompt": "true", "_mlflow_prompt_type": kind, "team": "support", **said}
    return ModelVersion(number, 1_770_000_000_000, "prompt", None, f"change {number}", tags, deleted)


def taken(store: Store, *versions: ModelVersion, dry: bool = False, **aliases: int) -> dict[str, Taken]:
    tally = Tally()
    take_prompt(store, RegisteredModel("greeting", "", {}, aliases, versions), tally, dry=dry)
    return {kind: (each.read, each.new, each.known, dict(each.skipped)) for kind, each in tally.kinds.items()}


def test_versions_come_with_tags_message_and_number_and_again_adds_nothing(store: Store) -> None:
    given = version(1, "Hello {{name}}."), version(3, json.dumps(CHAT), kind="chat")
    assert taken(store, *given, dry=True, production=1) == {"prompts": (2, 2, 0, {})}
    assert taken(store, *given, production=1) == {"prompts": (2, 2, 0, {}), "prompt aliases": (1, 1, 0, {})}
    assert taken(store, *given, production=1) == {"prompts": (2, 0, 2, {}), "prompt aliases": (1, 0, 1, {})}
    first, second = store.catalog.prompts.versions("greeting")
    assert (first.content, first.message, first.tags) == (
        "Hello {{name}}.",
        "change 1",
        {"team": "support", "mlflow.version": "1"},
    )
    assert (second.content, second.number, second.tags["mlflow.version"]) == (CHAT, 2, "3")
    assert store.catalog.prompts.aliases("greeting") == {"production": first}


def test_an_alias_stands_for_the_version_that_says_the_same(store: Store) -> None:
    taken(store, version(1, "Hi"), version(2, "Hello"), version(3, "Hi"), production=3)
    assert store.catalog.prompts.aliases("greeting")["production"].number == 1


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (version(1, "Hi {{user.name}}"), "not possible here: "),
        (version(1, "[", kind="chat"), "not possible here: "),
        (version(1, None), "not possible here: a version without a text"),
        (version(1, "Hi", deleted=True), "deleted"),
    ],
)
def test_what_cannot_be_one_here_is_left_out_and_told(store: Store, lacking: ModelVersion, why: str) -> None:
    found = taken(store, lacking, version(2, "Hello"), production=1)
    read, new, known, [reason] = found["prompts"]
    assert (read, new, known) == (2, 1, 0)
    assert reason.startswith(why)
    assert found["prompt aliases"] == (1, 0, 0, {"its version was left out": 1})
    assert [each.content for each in store.catalog.prompts.versions("greeting")] == ["Hello"]
