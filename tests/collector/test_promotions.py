"""Aliases: their history, the policies that guard them, and what differs between the versions they move between."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog import AgentVersion, Catalog
from tracekit_collector.catalog.version_diff import version_diff, word_diff
from tracekit_collector.store import Store

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}


def register(catalog: Catalog, digest: str, label: str | None = None, **facts: object) -> AgentVersion:
    return catalog.agents.register("bot", digest=digest, label=label, **{**FACTS, **facts})  # type: ignore[arg-type]  # facts of each test


class TestHistory:
    def test_every_move_says_who_when_why_and_from_what_evidence(self, catalog: Catalog) -> None:
        first, second = register(catalog, "aa"), register(catalog, "bb")
        catalog.agents.set_alias("bot", "production", first, why="the first")
        catalog.agents.set_alias("bot", "production", second, evidence={"verdict": "PASS", "run": {"id": "R"}})
        catalog.agents.set_alias("bot", "staging", first)
        catalog.agents.promotions.remove("bot", "production", why="retired")
        moves = catalog.agents.history("bot", "production")
        assert [(move.version.ref, move.why, move.evidence, move.removed) for move in moves] == [
            ("bot@2", "retired", None, True),
            ("bot@2", None, {"verdict": "PASS", "run": {"id": "R"}}, False),
            ("bot@1", "the first", None, False),
        ]
        assert all(move.by == catalog.audit.list()[0].actor for move in moves)
        assert moves[0].at >= moves[1].at >= moves[2].at
        assert [move.alias for move in catalog.agents.history("bot")] == ["production", "staging", *["production"] * 2]
        assert list(catalog.agents.aliases("bot")) == ["staging"]

    def test_staying_is_no_move(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        for _ in range(3):
            catalog.agents.set_alias("bot", "production", version)
        assert len(catalog.agents.history("bot")) == 1

    def test_another_agents_version_is_refused(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        catalog.agents.see("other", "1")
        with pytest.raises(UsageError, match="bot@1 is no version of 'other'"):
            catalog.agents.set_alias("other", "production", version)


class TestPolicies:
    def test_an_alias_with_a_policy_moves_by_its_evidence_alone(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        promotions = catalog.agents.promotions
        promotions.set_policy("bot", "production", {"version": 1}, digest="p1")
        for evidence in (None, {"verdict": "FAIL", "policy": "p1"}, {"verdict": "PASS", "policy": "another"}):
            with pytest.raises(UsageError, match="bot@production has a policy"):
                catalog.agents.set_alias("bot", "production", version, evidence=evidence)
        catalog.agents.set_alias("bot", "production", version, evidence={"verdict": "PASS", "policy": "p1"})
        assert catalog.agents.resolve("bot@production") == version

    def test_force_takes_a_reason_and_is_taken_down(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        catalog.agents.promotions.set_policy("bot", "production", {}, digest="p1")
        for why in (None, " "):
            with pytest.raises(UsageError, match="takes a reason"):
                catalog.agents.set_alias("bot", "production", version, force=True, why=why)
        catalog.agents.set_alias("bot", "production", version, force=True, why="the night shift")
        [act] = catalog.audit.list(act="alias.move")
        assert act.details == {"version": 1, "label": None, "why": "the night shift", "forced": True}

    def test_removing_and_dropping_take_a_reason(self, catalog: Catalog) -> None:
        version = register(catalog, "aa")
        promotions = catalog.agents.promotions
        catalog.agents.set_alias("bot", "production", version)
        promotions.set_policy("bot", "production", {"a": 1}, digest="p1")
        promotions.set_policy("bot", "production", {"a": 2}, digest="p2")
        assert promotions.policies("bot")["production"].policy == {"a": 2}
        with pytest.raises(UsageError, match="--force and a reason"):
            promotions.remove("bot", "production", why="so")
        with pytest.raises(UsageError, match="takes a reason"):
            promotions.drop_policy("bot", "production", why="")
        promotions.drop_policy("bot", "production", why="we trust")
        with pytest.raises(NotFoundError):
            promotions.drop_policy("bot", "production", why="we trust")
        promotions.remove("bot", "production")
        assert [act.act for act in catalog.audit.list()][:3] == ["alias.remove", "policy.drop", "policy.set"]

    @pytest.mark.usefixtures("fresh")
    def test_a_process_that_registers_cannot_move_a_guarded_alias(self, caplog: pytest.LogCaptureFixture) -> None:
        import tracekit

        with Store.open() as store:
            register(store.catalog, "aa")
            store.catalog.agents.promotions.set_policy("bot", "production", {}, digest="p1")
            tracekit.register_agent("bot", version="2", code={}, dependencies={}, alias="production")
            tracekit.flush()
            store.settle()
            assert store.catalog.agents.resolve("bot@2").label == "2"
            assert store.catalog.agents.aliases("bot") == {}
        assert "has a policy" in caplog.text


class TestDiff:
    def test_every_part_is_compared(self, catalog: Catalog) -> None:
        one = register(
            catalog,
            "aa",
            code={"commit": "c1", "diff": None},
            parameters={"k": 1, "same": 0},
            prompts={"system": "Be very brief.\nAlways.\n", "gone": "x"},
            dependencies={"httpx": "0.27", "rich": "13"},
            tools=[{"name": "search", "parameters": {}}],
            models=["m-1"],
        )
        two = register(
            catalog,
            "bb",
            code={"commit": "c2", "sources": {"bot.py": "d"}},
            parameters={"k": 2, "same": 0, "new": [1]},
            prompts={"system": "Be brief.\nAlways.\n"},
            dependencies={"httpx": "0.28"},
            tools=[{"name": "search", "parameters": {"type": "object"}}],
            models=["m-2"],
            entry_point="bot:main",
            python="3.12",
        )
        told = version_diff(one, two).to_dict()
        said = {
            name: [(change["name"], change["change"]) for change in changes]
            for name, changes in told.items()
            if isinstance(changes, list)
        }
        assert said == {
            "code": [("bot.py", "added"), ("commit", "changed")],
            "entry_point": [("entry_point", "added")],
            "prompts": [("gone", "removed"), ("system", "changed")],
            "parameters": [("k", "changed"), ("new", "added")],
            "tools": [("search", "changed")],
            "models": [("m-1", "removed"), ("m-2", "added")],
            "python": [("python", "added")],
            "dependencies": [("httpx", "changed"), ("rich", "removed")],
        }
        prompt = version_diff(one, two).sections["prompts"][1]
        assert prompt.words == "Be[- very-] brief.\nAlways.\n"
        assert prompt.lines == ("--- a/system\n+++ b/system\n@@ -1,2 +1,2 @@\n-Be very brief.\n+Be brief.\n Always.\n")
        assert version_diff(one, one).to_dict()["same"] is True

    def test_packaged_code_is_compared_line_by_line(self, catalog: Catalog, tmp_path: Path) -> None:
        one = register(catalog, "aa", code={"commit": "c1"})
        two = register(catalog, "bb", code={"commit": "c1"})
        one = catalog.agents.set_package(one, packaged(tmp_path, {"bot.py": b"x = 1\n", "a.bin": b"\xff\x00"}))
        two = catalog.agents.set_package(two, packaged(tmp_path, {"bot.py": b"x = 2", "a.bin": b"\xff\x01"}))
        found = version_diff(one, two, artifacts=tmp_path)
        assert found.compared == "sources"
        binary, code = found.sections["code"]
        assert code.lines == ("--- a/bot.py\n+++ b/bot.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n\\ No newline at end of file\n")
        assert "2 bytes, no text" in str(binary.lines)

    @pytest.mark.parametrize(
        "damage", [b"", b"no archive", gzip.compress(b"torn", mtime=0)[:-4]], ids=["empty", "no archive", "torn"]
    )
    def test_a_package_that_cannot_be_read_leaves_the_digests(
        self, catalog: Catalog, tmp_path: Path, damage: bytes
    ) -> None:
        one = catalog.agents.set_package(register(catalog, "aa", code={"commit": "1"}), "e" * 64)
        two = catalog.agents.set_package(register(catalog, "bb", code={"commit": "2"}), "f" * 64)
        (tmp_path / ("e" * 64)).write_bytes(damage)
        found = version_diff(one, two, artifacts=tmp_path)
        assert (found.compared, [change.name for change in found.sections["code"]]) == ("digests", ["commit"])

    def test_very_long_prompts_are_not_compared_word_by_word(self) -> None:
        one, two = "a b " * 10_000, "a c " * 10_000
        assert word_diff(one, two) == f"[-{one}-]{{+{two}+}}"

    def test_the_command_prints_for_people_and_for_pages(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            register(store.catalog, "aa", "one", prompts={"system": "Be very brief.\n"}, parameters={"k": "`x`"})
            register(store.catalog, "bb", "two", prompts={"system": "Be brief.\n"}, parameters={"k": "\x1b[31m"})
        assert main(["agents", "diff", "bot@1", "bot@2"]) == 0
        assert capsys.readouterr().out == (
            "bot@1 (one) → bot@2 (two)\n\nprompts\n  ~ system\n    Be[- very-] brief.\n\n"
            "parameters\n  ~ k: `x` → \\x1b[31m\n"
        )
        assert main(["agents", "diff", "bot@1", "bot@2", "--format", "markdown"]) == 0
        out = capsys.readouterr().out
        assert "## bot@1 (one) → bot@2 (two)\n\n### Prompts\n\n- changed: `system`\n\n  ```diff\n  --- a/sys" in out
        assert "- changed: `` k: `x` → \\x1b[31m ``\n" in out
        assert main(["agents", "diff", "bot@1", "bot@1"]) == 0
        assert capsys.readouterr().out == "bot@1 (one) → bot@1 (one): nothing differs\n"


class TestCommands:
    def test_history_shows_why(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            register(store.catalog, "aa", "one")
        assert main(["agents", "alias", "bot", "production", "one", "--why", "because"]) == 0
        assert main(["agents", "alias", "bot", "production", "--remove"]) == 0
        capsys.readouterr()
        assert main(["agents", "history", "bot", "production", "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [(row["version"], row["why"]) for row in rows] == [(None, None), ("bot@1", "because")]
        assert main(["agents", "history", "bot"]) == 0
        assert "because" in capsys.readouterr().out

    def test_without_a_policy_there_is_nothing_to_promote_by(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            register(store.catalog, "aa")
        assert main(["agents", "promote", "bot@1", "production"]) == 2
        assert "bot@production has no policy; name one with --gate FILE" in capsys.readouterr().err
        assert main(["agents", "policy", "bot", "production"]) == 2
        assert main(["agents", "promote", "bot@1", "7"]) == 2


def packaged(folder: Path, sources: Mapping[str, bytes]) -> str:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in {"package.json": b"{}", **{f"source/{key}": data for key, data in sources.items()}}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    (folder / digest).write_bytes(out.getvalue())
    return digest
