"""The commands `sql`, `agents` and `store`, as a person runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.inbox import SegmentWriter
from tracekit_collector import Store


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """A folder with an agent's code, not in git."""
    folder = tmp_path / "bot"
    folder.mkdir()
    (folder / "bot.py").write_text("x = 1\n")
    (folder / "system.txt").write_text("Be brief.\n")
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


class TestSql:
    def test_prints_what_the_query_gives(self, capsys: pytest.CaptureFixture[str]) -> None:
        Store.open().close()
        assert main(["sql", "SELECT 1 AS one, 'a' AS letter", "--format", "json"]) == 0
        assert said(capsys) == [{"one": 1, "letter": "a"}]

    def test_a_wrong_query_is_one_line_and_exit_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        Store.open().close()
        assert main(["sql", "SELECT nothing"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tracekit: the query is wrong")
        assert "Traceback" not in error

    def test_a_store_that_is_not_there_is_not_made(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["sql", "SELECT 1", "--store", str(tmp_path / "nowhere")]) == 2
        assert "--store" in capsys.readouterr().err
        assert not (tmp_path / "nowhere").exists()

    def test_every_view_can_be_read_in_an_empty_store(self, capsys: pytest.CaptureFixture[str]) -> None:
        Store.open().close()
        views = ("spans", "logs", "inferences", "scores", "traces", "llm_calls", "tool_calls", "sessions", "runs")
        for view in (*views, "agents"):
            assert main(["sql", f"SELECT * FROM {view}", "--format", "json"]) == 0
            assert said(capsys) == []


class TestAgents:
    def test_registers_from_a_folder_and_finds_the_version_again(
        self, bot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(bot)
        words = ["agents", "register", "bot", "--version", "1.0", "--param", "temperature=0.2", "--format", "json"]
        words += ["--prompt", "system=system.txt", "--alias", "production"]
        assert main(words) == 0
        first = said(capsys)
        assert main(words) == 0
        assert said(capsys) == first
        assert main(["agents", "show", "bot@production", "--format", "json"]) == 0
        shown = said(capsys)
        assert isinstance(shown, dict)
        assert (shown["ref"], shown["parameters"], shown["prompts"]) == (
            "bot@1",
            {"temperature": 0.2},
            {"system": "Be brief.\n"},
        )
        assert list(shown["code"]["sources"]) == ["bot.py"]

    def test_changed_code_is_another_version(
        self, bot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(bot)
        for source in ("x = 1\n", "x = 2\n"):
            (bot / "bot.py").write_text(source)
            assert main(["agents", "register", "bot"]) == 0
        capsys.readouterr()
        assert main(["agents", "list", "--format", "json"]) == 0
        listed = said(capsys)
        assert isinstance(listed, list)
        assert [row["number"] for row in listed] == [1, 2]

    def test_in_git_the_commit_and_what_differs_count(
        self, bot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(bot)
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        for words in (["init", "-q"], ["add", "bot.py"], [*author, "commit", "-qm", "one"]):
            subprocess.run(["git", *words], check=True, cwd=bot)
        assert main(["agents", "register", "bot", "--format", "json", "--store", str(bot.parent / "s")]) == 0
        clean = said(capsys)
        (bot / "bot.py").write_text("x = 2\n")
        assert main(["agents", "register", "bot", "--format", "json", "--store", str(bot.parent / "s")]) == 0
        dirty = said(capsys)
        assert isinstance(clean, dict)
        assert isinstance(dirty, dict)
        assert len(clean["code"]["commit"]) == 40
        assert clean["code"]["commit"] == dirty["code"]["commit"]
        assert clean["digest"] != dirty["digest"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["register", "bot", "--param", "temperature"], "KEY=VALUE"),
            (["register", "bot", "--prompt", "system=missing.txt"], "missing.txt"),
            (["register", "a@b"], "'@'"),
            (["show", "nobody"], "tracekit agents list"),
            (["alias", "nobody", "production", "1"], "tracekit agents list"),
        ],
    )
    def test_what_cannot_be_is_one_line(
        self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Store.open().close()
        assert main(["agents", *words]) == 2
        assert message in capsys.readouterr().err


class TestStore:
    def test_tells_what_is_in_the_lake_and_what_could_not_be_read(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            writer = SegmentWriter(store.inbox, "traces")
            writer.append(b"\xff\xff no request")
            writer.close()
        assert main(["store", "info", "--format", "json"]) == 0
        rows = said(capsys)
        assert isinstance(rows, list)
        assert {row["table"]: row["files"] for row in rows} == {
            "spans": 0,
            "logs": 0,
            "inferences": 0,
            "scores": 0,
            "metrics": 0,
            "points": 0,
            "inbox": None,
            "quarantine": 1,
        }

    def test_compacting_keeps_every_row(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            for number in range(3):
                store.append("scores", [{"score_id": str(number), "name": "ok", "value": 1.0}])
        assert main(["store", "compact", "--keep-hours", "0"]) == 0
        assert "scores: 3 files joined, 3 old files removed" in capsys.readouterr().out
        with Store.open() as store:
            assert store.sql("SELECT count(*) FROM scores").fetchone() == (3,)
