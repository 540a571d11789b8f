"""Agent versions: the same inputs have the same digest, and every difference shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.agent_version import code_state, describe, digest_of, installed_distributions
from tracekit.errors import UsageError

SAME = {"code": {"commit": "4f2a"}, "dependencies": {"httpx": "0.28.1"}}


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "a repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "agent.py").write_text("one = 1\n")
    (folder / ".gitignore").write_text("ignored.py\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_digest_is_sha256_over_canonical_json() -> None:
    info = describe("bot", parameters={"b": 2, "a": [1, None]}, prompts={"system": "Sei kurz – ja?"}, **SAME)
    assert info.digest == "b66b63dd52c678a28c97ab04f74a1795e39b7ff18404ec83b171fc9e5776554f"
    assert info.label == info.digest[:12]
    facts = {
        "code": {"commit": "4f2a"},
        "parameters": {"a": [1, None], "b": 2},
        "prompts": {"system": "Sei kurz – ja?"},
        "dependencies": {"httpx": "0.28.1"},
    }
    assert info.digest == digest_of(facts)


def test_the_name_and_label_are_not_part_of_the_digest() -> None:
    one, two = describe("bot", version="1", **SAME), describe("other", version="2", **SAME)
    assert (one.label, two.label) == ("1", "2")
    assert one.digest == two.digest


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())),
    st.dictionaries(st.text(), st.text()),
)
def test_the_same_inputs_have_the_same_digest_in_any_order(parameters, prompts) -> None:
    one = describe("bot", parameters=parameters, prompts=prompts, **SAME)
    two = describe(
        "bot",
        parameters=dict(reversed(parameters.items())),
        prompts=dict(reversed(prompts.items())),
        **SAME,
    )
    assert one.digest == two.digest


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"temperature": 0.5}},
        {"prompts": {"system": "x" * 100_000 + "y"}},
        {"code": {"commit": "5000"}},
        {"dependencies": {"httpx": "0.28.2"}},
    ],
)
def test_every_difference_shows(change) -> None:
    base = {"parameters": {"temperature": 0.0}, "prompts": {"system": "x" * 100_000}, **SAME}
    assert describe("bot", **base).digest != describe("bot", **{**base, **change}).digest


def test_the_git_state_is_the_commit_and_what_differs_from_it(repository: Path) -> None:
    clean = code_state(folder=repository)
    assert clean["diff"] is None
    assert len(str(clean["commit"])) == 40
    (repository / "ignored.py").write_text("x")
    (repository / "data.json").write_text("{}")
    assert code_state(folder=repository) == clean
    (repository / "agent.py").write_text("one = 2\n")
    dirty = code_state(folder=repository)
    assert dirty["commit"] == clean["commit"]
    assert dirty["diff"] is not None
    assert code_state(folder=repository) == dirty
    (repository / "agent.py").write_text("one = 1\n")
    assert code_state(folder=repository) == clean
    (repository / "new.py").write_text("two = 2\n")
    untracked = code_state(folder=repository)
    assert untracked["diff"] not in (None, dirty["diff"])
    below = repository / "below"
    below.mkdir()
    assert code_state(folder=below) == untracked


def test_a_repository_without_a_commit_and_a_missing_git_are_no_repository(tmp_path: Path, monkeypatch) -> None:
    git(tmp_path, "init", "-q")
    assert "commit" not in code_state(folder=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in code_state(folder=tmp_path)


def answer(question: str) -> str:
    return question


class Agent:
    def run(self) -> None: ...


def test_sources_of_functions_classes_modules_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.py").write_bytes(b"a = 1\n")
    (folder / "sub" / "b.py").write_bytes(b"b = 1\n")
    (folder / "notes.txt").write_text("not code")
    state = code_state([answer, Agent, folder, folder / "notes.txt"])
    assert list(state) == ["sources"]
    assert sorted(state["sources"]) == ["Agent", "a.py", "answer", "notes.txt", "sub/b.py"]  # type: ignore[call-overload]
    before = code_state(folder)
    (folder / "a.py").write_bytes(b"a = 1\r\n")
    assert code_state(folder) == before
    (folder / "a.py").write_bytes(b"a = 2\n")
    assert code_state(folder) != before
    assert code_state(answer) == code_state([answer])


def test_a_decorated_function_has_the_source_of_its_own() -> None:
    import tracekit

    assert code_state(tracekit.tool(answer)) == code_state(answer)


def test_code_without_a_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the code len has no source to be found .*; give its file instead"):
        code_state(len)
    with pytest.raises(UsageError, match=r"cannot read the code .*nothing\.py: No such file or directory"):
        code_state(tmp_path / "nothing.py")


def test_dependencies_by_name_are_looked_up_and_by_version_taken() -> None:
    installed = installed_distributions()
    assert installed["opentelemetry-sdk"]
    info = describe("bot", code={}, dependencies=["OpenTelemetry_SDK", "some.thing==1.2"])
    assert info.dependencies == {"opentelemetry-sdk": installed["opentelemetry-sdk"], "some-thing": "1.2"}
    with pytest.raises(UsageError, match="the dependency 'not-there' is not installed; write it as NAME==VERSION"):
        describe("bot", code={}, dependencies=["not-there"])
    assert describe("bot", code={}).dependencies == installed
