"""Registered prompts: versions, aliases, the command, and how programs find them in a store or at an endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracekit
from tracekit import _prompt_lookup
from tracekit.cli import main
from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit_collector.access import Access
from tracekit_collector.catalog import Catalog
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]


@pytest.fixture(autouse=True)
def _unconfigured(fresh: object) -> None:
    """A program that looks up a prompt may configure itself."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".tracekit") as opened:
        yield opened


def acts(catalog: Catalog) -> list[tuple[str, str]]:
    return [(act.act, act.target) for act in reversed(catalog.audit.list())]


class TestRegistry:
    def test_the_same_text_is_the_same_version(self, catalog: Catalog) -> None:
        first = catalog.prompts.register("a/b", "Hi {{name}}", tags={"team": "x"}, message="first")
        second = catalog.prompts.register("a/b", CHAT)
        again = catalog.prompts.register("a/b", "Hi {{name}}", tags={"stage": "y"}, message="again")
        assert (first.ref, second.ref, again.ref) == ("a/b@1", "a/b@2", "a/b@1")
        assert (again.tags, again.message, again.variables) == ({"team": "x", "stage": "y"}, "first", ("name",))
        assert second.content == CHAT
        assert [each.ref for each in catalog.prompts.list()] == ["a/b@2"]
        assert [each.ref for each in catalog.prompts.versions("a/b")] == ["a/b@1", "a/b@2"]
        assert acts(catalog) == [("prompt.register", "a/b@1"), ("prompt.register", "a/b@2"), ("prompt.tag", "a/b@1")]

    def test_aliases_have_a_history(self, catalog: Catalog) -> None:
        one, two = (catalog.prompts.register("p", text) for text in ("one", "two"))
        catalog.prompts.set_alias("p", "production", one)
        catalog.prompts.set_alias("p", "production", two, why="shorter")
        catalog.prompts.set_alias("p", "production", two)  # it stands there already
        assert catalog.prompts.resolve("p@production") == two
        assert catalog.prompts.remove_alias("p", "production", why="gone") == two
        moves = [(each.alias, each.version.ref, each.why, each.removed) for each in catalog.prompts.history("p")]
        assert moves == [
            ("production", "p@2", "gone", True),
            ("production", "p@2", "shorter", False),
            ("production", "p@1", None, False),
        ]

    def test_what_is_not_there_is_named(self, catalog: Catalog) -> None:
        with pytest.raises(NotFoundError, match="there is no prompt 'p'"):
            catalog.prompts.resolve("p")
        version = catalog.prompts.register("p", "one")
        catalog.prompts.set_alias("p", "staging", version)
        with pytest.raises(NotFoundError, match="no version or alias '7'; it has 1 to 1, staging"):
            catalog.prompts.resolve("p@7")
        with pytest.raises(NotFoundError, match="has no alias 'production'"):
            catalog.prompts.remove_alias("p", "production")
        with pytest.raises(UsageError, match="cannot be an alias"):
            catalog.prompts.set_alias("p", "2", version)
        with pytest.raises(UsageError, match="no version of 'q'"):
            catalog.prompts.set_alias("q", "x", version)

    @pytest.mark.parametrize("name", ["p@1", "", "a b", "-x", "x" * 201])
    def test_what_cannot_be_a_name_is_refused(self, catalog: Catalog, name: str) -> None:
        with pytest.raises(UsageError):
            catalog.prompts.register(name, "text")

    def test_many_at_once_get_dense_numbers(self, catalog: Catalog) -> None:
        def register(each: int) -> None:
            for text in range(4):
                catalog.prompts.register("p", f"text {(each + text) % 6}")

        threads = [threading.Thread(target=register, args=(each,)) for each in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        versions = catalog.prompts.versions("p")
        assert [each.number for each in versions] == [1, 2, 3, 4, 5, 6]
        assert len({each.digest for each in versions}) == 6


class TestPrograms:
    def test_the_local_catalog_is_read(self, catalog: Catalog, catalog_url: str, monkeypatch) -> None:
        """In SQLite and in PostgreSQL."""
        monkeypatch.setenv("TRACEKIT_CATALOG", catalog_url)
        one = catalog.prompts.register("a/b", "Hi {{name}}", tags={"team": "x"})
        two = catalog.prompts.register("a/b", CHAT)
        catalog.prompts.set_alias("a/b", "production", one)
        found = tracekit.prompt("a/b@production")
        assert (found.ref, found.content, found.digest, found.tags) == ("a/b@1", one.content, one.digest, {"team": "x"})
        assert (tracekit.prompt("a/b").ref, tracekit.prompt("a/b@2").content) == ("a/b@2", CHAT)
        assert tracekit.prompt("a/b").digest == two.digest
        for ref in ("a/b@7", "a/b@staging", "c"):
            with pytest.raises(NotFoundError, match="there is no prompt"):
                tracekit.prompt(ref)

    def test_an_alias_is_looked_up_again_after_its_time_and_a_number_never(self, store: Store) -> None:
        one, two = (store.catalog.prompts.register("p", text) for text in ("one", "two"))
        store.catalog.prompts.set_alias("p", "production", one)
        assert tracekit.prompt("p@production").version == 1
        store.catalog.prompts.set_alias("p", "production", two)
        assert tracekit.prompt("p@production").version == 1
        assert tracekit.prompt("p@production", ttl=0).version == 2
        assert tracekit.prompt("p@1").content == "one"
        (store.location / "catalog.db").write_bytes(b"not a database")
        assert tracekit.prompt("p@1", ttl=0).content == "one"

    def test_a_catalog_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / ".tracekit").mkdir()
        (tmp_path / ".tracekit" / "catalog.db").write_bytes(b"x" * 5000)
        with pytest.raises(StoreError, match="cannot look for prompts"):
            tracekit.prompt("p")
        assert tracekit.prompt("p", fallback="x").is_fallback

    def test_an_endpoint_tells_and_what_it_told_is_used_while_it_is_down(self, store: Store, monkeypatch) -> None:
        version = store.catalog.prompts.register("a/b", "Hi {{name}}")
        store.catalog.prompts.set_alias("a/b", "blue green", version)
        with Collector(store, port=0) as collector:
            monkeypatch.setenv("TRACEKIT_ENDPOINT", collector.url)
            assert tracekit.prompt("a/b@blue green").render(name="Ada") == "Hi Ada"
            with pytest.raises(NotFoundError, match=r"has no prompt 'a/b@9'"):
                tracekit.prompt("a/b@9")
        assert tracekit.prompt("a/b@blue green", ttl=0).ref == "a/b@1"
        before = time.monotonic()
        assert [tracekit.prompt("c", fallback="x", timeout=1).is_fallback for _ in range(50)] == [True] * 50
        assert time.monotonic() - before < 10  # it is not asked again each time
        with pytest.raises(StoreError, match="cannot be asked for the prompt 'd'"):
            tracekit.prompt("d", timeout=1)

    def test_a_token_for_a_project_sees_the_prompts_that_are_tagged_so(self, store: Store, monkeypatch) -> None:
        store.catalog.prompts.register("mine", "a", tags={"project": "library"})
        store.catalog.prompts.register("others", "b", tags={"project": "shop"})
        token, _ = store.catalog.tokens.create("ci", role="evaluator", principal="ana", project="library")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {token}")
        with Collector(store, port=0, authorise=Access(store.catalog).admit) as collector:
            monkeypatch.setenv("TRACEKIT_ENDPOINT", collector.url)
            assert tracekit.prompt("mine").content == "a"
            with pytest.raises(NotFoundError, match="may not see it"):
                tracekit.prompt("others")
            monkeypatch.delenv("OTEL_EXPORTER_OTLP_HEADERS")
            _prompt_lookup.forget()
            with pytest.raises(StoreError, match="401"):
                tracekit.prompt("mine")


class TestCommand:
    def test_from_a_file_to_its_traces(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "a.txt").write_text("Answer {{question}}.\r\n", newline="")
        (tmp_path / "b.yaml").write_text("- role: user\n  content: '{{question}} {{tone}}'\n")
        (tmp_path / "c.json").write_text('[{"role": "user", "content": "x"}]')

        def told(*words: str) -> str:
            assert main(["prompts", *words]) == 0
            return capsys.readouterr().out

        told("register", "p", "a.txt", "--tag", "team=x", "--message", "first", "--alias", "production")
        assert json.loads(told("register", "p", "b.yaml", "--format", "json"))["variables"] == ["question", "tone"]
        assert json.loads(told("register", "p", "c.json", "--format", "json"))["ref"] == "p@3"
        assert json.loads(told("show", "p@production", "--format", "json"))["content"] == "Answer {{question}}.\n"
        assert told("render", "p@1", "--var", "question=a=b") == "Answer a=b.\n\n"
        assert json.loads(told("render", "p@3", "--format", "json")) == [{"role": "user", "content": "x"}]
        difference = json.loads(told("diff", "p@1", "p@2", "--format", "json"))
        assert (difference["same"], difference["variables_added"]) == (False, ["tone"])
        assert "-Answer {{question}}." in difference["lines"]
        assert told("alias", "p", "production", "2", "--why", "tone") == "p@production is p@2 now\n"
        assert told("alias", "p", "production", "--remove") == "p@production is gone; it was p@2\n"
        moves = json.loads(told("history", "p", "--format", "json"))
        assert [(each["version"], each["was"], each["why"]) for each in moves] == [
            (None, "p@2", None),
            ("p@2", None, "tone"),
            ("p@1", None, "first"),
        ]
        assert [each["number"] for each in json.loads(told("list", "p", "--format", "json"))] == [1, 2, 3]
        assert "p" in told("list")

    def test_usage_finds_the_traces_of_a_version(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        store.catalog.prompts.register("p", "one")
        store.catalog.prompts.register("p", "two")
        spans = [
            {"trace_id": f"{each:032x}", "span_id": f"{each:016x}", "name": "x", "step": "llm", "start_ns": each}
            | {"prompt_name": "p", "prompt_version": str(1 + each % 2), "agent_name": "bot", "agent_version": "v"}
            for each in range(1, 6)
        ]
        store.append("spans", spans)
        assert main(["prompts", "usage", "p@2", "--format", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        used = [(each["version"], each["agent"], each["traces"]) for each in found["used"]]
        assert (found["prompt"], used) == ("p@2", [("2", "bot@v", 3)])
        assert sorted(int(each["trace_id"], 16) for each in found["traces"]) == [1, 3, 5]
        assert main(["prompts", "usage", "p"]) == 0
        assert "bot@v" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["register", "p", "none.txt"], "cannot read the prompt none.txt"),
            (["register", "p", "bad.json"], "bad.json is no JSON"),
            (["register", "p", "bad.yaml"], "bad.yaml is no YAML"),
            (["register", "p", "number.json"], "a prompt is a text, or a list of messages"),
            (["show", "p"], "there is no prompt 'p'"),
            (["alias", "p", "x"], "say which version the alias stands for"),
            (["render", "p", "--var", "x"], "--var 'x' is not NAME=VALUE"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, store: Store, capsys: pytest.CaptureFixture[str], words: list[str], said: str
    ) -> None:
        Path("bad.json").write_text("[")
        Path("bad.yaml").write_text("a: [")
        Path("number.json").write_text("7")
        assert main(["prompts", *words]) == 2
        assert said in capsys.readouterr().err

    def test_a_version_of_an_agent_names_the_registered_prompt(self, store: Store) -> None:
        store.catalog.prompts.register("p", "one")
        assert main(["agents", "register", "bot", "--code", __file__, "--prompt", "system=prompt:p@1"]) == 0
        held = store.catalog.agents.resolve("bot").prompts["system"]
        assert isinstance(held, dict)
        assert (held["ref"], held["content"]) == ("p@1", "one")
