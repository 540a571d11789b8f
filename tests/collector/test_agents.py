"""The registry: what versions hold, what may change about them, deletion, and many processes at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tracekit
from tracekit.cli import main
from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog import AgentVersion, Catalog
from tracekit_collector.store import Store

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
TOOL = {"type": "function", "name": "search", "parameters": {"type": "object", "properties": {}}}


def register(catalog: Catalog, digest: str, label: str | None = None) -> AgentVersion:
    return catalog.agents.register("bot", digest=digest, label=label, **FACTS)


def acts(catalog: Catalog) -> list[tuple[str, str]]:
    return [(act.act, act.target) for act in reversed(catalog.audit.list())]


class TestVersions:
    def test_a_version_holds_what_it_consists_of(self, catalog: Catalog) -> None:
        held = catalog.agents.register(
            "bot",
            digest="aa",
            **FACTS,
            entry_point="bot.main:answer",
            tools=[TOOL],
            models=["m-1"],
            python="3.11",
            signature={"input": {"type": "string"}},
        )
        assert (held.entry_point, held.tools, held.models, held.python) == ("bot.main:answer", [TOOL], ["m-1"], "3.11")
        assert held.signature == {"input": {"type": "string"}}
        assert held.facts()["tools"] == [TOOL]

    def test_what_nobody_said_is_null(self, catalog: Catalog) -> None:
        held = register(catalog, "aa")
        assert (held.entry_point, held.tools, held.models, held.python, held.signature) == (None,) * 5
        assert sorted(held.facts()) == ["code", "dependencies", "parameters", "prompts"]

    def test_a_registered_version_does_not_change_when_it_is_registered_again(self, catalog: Catalog) -> None:
        first = register(catalog, "aa", "one")
        again = catalog.agents.register("bot", digest="aa", **{**FACTS, "prompts": {"system": "other"}})
        assert again == first
        assert acts(catalog) == [("version.register", "bot@1")]

    @pytest.mark.parametrize(
        "long", [{"label": "x" * 201}, {"entry_point": "a:" + "b" * 400}, {"python": "3" * 21}, {"label": "a\0b"}]
    )
    def test_what_a_column_cannot_hold_is_refused_before_it_is_written(self, catalog: Catalog, long) -> None:
        with pytest.raises(UsageError, match="longer than"):
            catalog.agents.register("bot", digest="aa", **FACTS, **long)
        assert catalog.agents.list() == []

    def test_a_package_is_said_once(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        assert catalog.agents.set_package(version, "c" * 64).package == "c" * 64
        assert catalog.agents.set_package(version, "c" * 64).package == "c" * 64
        with pytest.raises(UsageError, match="bot@1 is packaged as cccccccccccc already"):
            catalog.agents.set_package(version, "d" * 64)


class TestWhatMayChange:
    def test_descriptions_and_tags_of_agents_and_versions(self, catalog: Catalog) -> None:
        register(catalog, "aa")
        catalog.agents.describe("bot", "# The bot")
        catalog.agents.describe("bot@1", "First *try*.")
        assert catalog.agents.tag("bot", add={"team": "search"}) == {"team": "search"}
        assert catalog.agents.tag("bot@1", add={"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
        assert catalog.agents.tag("bot@1", add={"b": "3"}, remove=["a", "never"]) == {"b": "3"}
        assert catalog.agents.description("bot") == ("# The bot", {"team": "search"})
        version = catalog.agents.resolve("bot")
        assert (version.description, version.tags, version.digest) == ("First *try*.", {"b": "3"}, "aa")
        assert acts(catalog)[1:] == [
            ("agent.describe", "bot"),
            ("version.describe", "bot@1"),
            ("agent.tag", "bot"),
            ("version.tag", "bot@1"),
            ("version.tag", "bot@1"),
        ]

    def test_what_is_not_there_cannot_be_described(self, catalog: Catalog) -> None:
        for ref in ("nobody", "nobody@1"):
            with pytest.raises(NotFoundError, match="nobody"):
                catalog.agents.describe(ref, "x")


class TestDeletion:
    def test_a_deleted_version_cannot_be_meant_and_is_still_named(self, catalog: Catalog) -> None:
        first, second = register(catalog, "a" * 64, "one"), register(catalog, "b" * 64, "two")
        catalog.agents.delete(second, why="leaks names")
        assert catalog.agents.resolve("bot") == first
        for ref in ("bot@2", "bot@two", "bot@" + "b" * 12):
            with pytest.raises(NotFoundError, match=r"bot@2 was deleted.*restore bot@2"):
                catalog.agents.resolve(ref)
        assert catalog.agents.resolve("bot@2", deleted=True).deleted_at is not None
        assert [each.ref for each in catalog.agents.list()] == ["bot@1"]
        assert [each.ref for each in catalog.agents.list(deleted=True)] == ["bot@1", "bot@2"]
        found = catalog.agents.see("bot", "two")  # an old trace comes in late
        assert (found.ref, found.deleted_at is not None) == ("bot@2", True)
        assert register(catalog, "c" * 64).number == 3

    def test_a_run_of_a_deleted_version_still_names_it(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        run = catalog.runs.create("r", kind="eval", agent_version=version)
        catalog.agents.delete(version)
        held = catalog.runs.find(run.id).agent_version
        assert held is not None
        assert held.ref == "bot@1"

    def test_an_alias_holds_its_version(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        catalog.agents.set_alias("bot", "production", version)
        with pytest.raises(UsageError, match="bot@1 is bot@production; move or remove the alias first"):
            catalog.agents.delete(version)
        catalog.agents.promotions.remove("bot", "production")
        catalog.agents.delete(version)
        with pytest.raises(UsageError, match="was deleted"):
            catalog.agents.set_alias("bot", "production", version)

    def test_the_same_digest_stays_deleted_until_it_is_restored(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        catalog.agents.delete(version)
        assert register(catalog, "aa").deleted_at is not None
        catalog.agents.restore(version)
        assert register(catalog, "aa") == version
        assert [act for act, _ in acts(catalog)] == ["version.register", "version.delete", "version.restore"]


class TestCommands:
    def test_registers_entry_point_tools_models_and_python(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "desk.py").write_text("def search(query: str) -> str:\n    '''Search.'''\n    return query\n")
        (tmp_path / "more.json").write_text(json.dumps([{"name": "fetch", "parameters": {}}]))
        words = ["agents", "register", "bot", "--entry-point", "desk:answer", "--tool", "desk:search"]
        words += ["--tool", "more.json", "--model", "m-2", "--model", "m-1", "--python", "3.11", "--code", "desk.py"]
        assert main([*words, "--format", "json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert [tool["name"] for tool in shown["tools"]] == ["fetch", "search"]
        assert (shown["entry_point"], shown["models"], shown["python"]) == ("desk:answer", ["m-1", "m-2"], "3.11")
        assert main(["agents", "show", "bot"]) == 0
        assert "tools        fetch, search" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["register", "bot", "--code", "d.py", "--tool", "d.json"], "d.json is no JSON"),
            (["register", "bot", "--code", "d.py", "--tool", "d"], "neither module:function nor"),
            (["register", "bot", "--code", "d.py", "--tool", "nowhere_x:y"], "cannot load nowhere_x:y"),
            (["register", "bot", "--code", "d.py", "--entry-point", "d"], "write it as module:callable"),
            (["delete", "bot"], "name one version, such as bot@3"),
            (["delete", "bot@7"], "has no version, alias or label '7'"),
            (["alias", "bot", "production"], "name the VERSION"),
            (["alias", "bot", "nightly", "--remove"], "has no alias 'nightly'"),
            (["describe", "bot"], "as TEXT or with --file"),
            (["tag", "bot", "x"], "'x' is not KEY=VALUE"),
            (["history", "nobody"], "there is no agent 'nobody'"),
        ],
    )
    def test_what_cannot_be_is_one_line(
        self, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "d.py").write_text("x = 1\n")
        (tmp_path / "d.json").write_text("{")
        with Store.open() as store:
            register(store.catalog, "aa")
        assert main(["agents", *words]) == 2
        assert message in capsys.readouterr().err

    def test_deletes_lists_what_is_deleted_and_restores(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            register(store.catalog, "aa", "one")
        assert main(["agents", "delete", "bot@1", "--why", "wrong"]) == 0
        assert main(["agents", "show", "bot@1"]) == 2
        capsys.readouterr()
        assert main(["agents", "list", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == []
        assert main(["agents", "list", "--deleted", "--format", "json"]) == 0
        [row] = json.loads(capsys.readouterr().out)
        assert (row["number"], row["deleted_at"] is not None) == (1, True)
        assert main(["agents", "show", "bot@1", "--deleted"]) == 0
        assert main(["agents", "restore", "bot@1"]) == 0
        assert main(["agents", "show", "bot@1"]) == 0

    def test_shows_descriptions_with_nothing_that_a_terminal_would_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "notes.md").write_text("Red: \x1b[31m\nand *more*")
        with Store.open() as store:
            register(store.catalog, "aa")
        assert main(["agents", "describe", "bot@1", "--file", "notes.md"]) == 0
        assert main(["agents", "tag", "bot@1", "team=search"]) == 0
        assert main(["agents", "show", "bot@1"]) == 0
        out = capsys.readouterr().out
        assert "Red: \\x1b[31m\nand *more*\n" in out
        assert 'tags         {"team": "search"}' in out


@pytest.mark.usefixtures("fresh")
def test_a_version_that_a_process_registers_arrives_whole() -> None:
    def search(query: str) -> str:
        """Search."""
        return query

    tracekit.init(agent="bot")
    tracekit.register_agent(
        "bot",
        version="1",
        code={},
        dependencies={},
        entry_point="bot:main",
        tools=[search],
        models=["m"],
        python="3.12",
        signature={"output": {"type": "string"}},
        alias="staging",
    )
    tracekit.flush()
    with Store.open() as store:
        store.settle()
        version = store.catalog.agents.resolve("bot@staging")
        assert (version.entry_point, version.models, version.python) == ("bot:main", ["m"], "3.12")
        assert version.tools is not None
        assert [tool["name"] for tool in version.tools] == ["search"]
        assert version.signature == {"output": {"type": "string"}}
