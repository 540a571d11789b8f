"""Agent versions: the same inputs have the same digest, and every difference shows."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import threading
import types
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import _decorated
from tracekit._automatic import _digest, _last_line
from tracekit.agent_version import _head, code_state, describe, digest_of, installed_distributions
from tracekit.errors import SettingError, UsageError

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


PROGRAM = """
    import json
    import sys
    import tracekit
    from opentelemetry import trace

    tracekit.init(store="store", agent="bot", agent_version="auto", parameters={"model": sys.argv[1:]},
                  prompts={"system": "Be brief."})
    @tracekit.tool
    def search(query: str) -> str:
        return query

    class Bot:
        @tracekit.agent
        def answer(self, question: str) -> str:
            return search(question)

    with trace.get_tracer("other").start_as_current_span("theirs"):
        pass
    Bot().answer("x")
    Bot().answer("y")
"""


def registered(stored, store: Path) -> dict[str, object]:
    """What the one record says that registers a version; the versions that spans carry are its own."""
    (record,) = stored.records(store)
    assert record.event_name == "tracekit.agent.version"
    found = stored.attributes(record)
    spans = {span.name: stored.attributes(span) for span in stored.spans(store)}
    assert len(stored.spans(store)) == 5
    for said in spans.values():
        assert (said["gen_ai.agent.name"], said["gen_ai.agent.version"]) == ("bot", found["gen_ai.agent.version"])
    return {key.removeprefix("tracekit.agent."): value for key, value in found.items()}


def test_auto_is_the_repository_the_decorated_functions_and_what_init_is_given(script, stored, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("store/\nscript.py\n__pycache__/\n")
    (tmp_path / "other.py").write_text("one = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    script(PROGRAM)
    first = registered(stored, tmp_path / "store")
    code = json.loads(str(first["code"]))
    assert sorted(code) == ["commit", "diff", "functions"]
    assert list(code["functions"]) == ["__main__.Bot.answer", "__main__.search"]
    assert (len(code["commit"]), code["diff"]) == (40, None)
    assert json.loads(str(first["parameters"])) == {"model": []}
    assert json.loads(str(first["prompts"])) == {"system": "Be brief."}
    assert first["gen_ai.agent.version"] == str(first["digest"])[:12]

    (tmp_path / "other.py").write_text("one = 2\n")
    shutil.rmtree(tmp_path / "store")
    script(PROGRAM)
    second = registered(stored, tmp_path / "store")
    assert second["digest"] != first["digest"]
    (tmp_path / "other.py").write_text("one = 1\n")
    shutil.rmtree(tmp_path / "store")
    script(PROGRAM)
    assert registered(stored, tmp_path / "store") == first


def test_without_a_repository_the_files_count(script, stored, tmp_path: Path) -> None:
    digests = set()
    for program in (PROGRAM, PROGRAM, PROGRAM.replace("Bot()", "Bot( )")):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        script(program, PATH=str(tmp_path))
        found = registered(stored, tmp_path / "store")
        code = json.loads(str(found["code"]))
        assert (sorted(code), list(code["sources"])) == (["functions", "sources"], ["script.py"])
        digests.add(found["digest"])
    assert len(digests) == 2


@pytest.mark.usefixtures("fresh")
def test_a_version_with_a_label_is_registered_with_its_prompts(stored, tmp_path: Path) -> None:
    import tracekit

    tracekit.init(store=tmp_path / "store", agent="bot", agent_version="1.2", prompts={"system": "Be brief."})
    with tracekit.span("one"):
        pass
    assert tracekit.shutdown()
    (record,) = stored.records(tmp_path / "store")
    said = stored.attributes(record)
    assert (said["gen_ai.agent.version"], said["tracekit.agent.prompts"]) == ("1.2", '{"system": "Be brief."}')
    assert [stored.attributes(span)["gen_ai.agent.version"] for span in stored.spans(tmp_path / "store")] == ["1.2"]


@pytest.mark.usefixtures("fresh")
def test_threads_that_begin_their_first_spans_at_once_all_carry_the_version(stored, tmp_path: Path) -> None:
    import tracekit

    tracekit.init(store=tmp_path / "store", agent="bot", agent_version="auto")
    together = threading.Barrier(6)

    def work() -> None:
        together.wait(10)
        with tracekit.span("one"):
            pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert tracekit.shutdown()
    (record,) = stored.records(tmp_path / "store")
    label = stored.attributes(record)["gen_ai.agent.version"]
    versions = [stored.attributes(span)["gen_ai.agent.version"] for span in stored.spans(tmp_path / "store")]
    assert versions == [label] * 6


@pytest.mark.usefixtures("fresh")
def test_a_version_of_no_agent_is_an_error() -> None:
    import tracekit

    with pytest.raises(SettingError, match=r"needs the agent's name: init\(agent=…\)"):
        tracekit.init(agent_version="auto")


def compiled(source: str) -> types.CodeType:
    """A function's code without its source."""
    scope: dict[str, object] = {}
    exec(source, scope)
    return scope["f"].__code__  # type: ignore[attr-defined]  # the function that was made


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("def f(q):\n    return [x + 1 for x in q]", True),
        ("def f(q):\n    return [x + 2 for x in q]", False),
        ("def f(q):\n    'A prompt.'\n    return [x + 1 for x in q]", False),
        ("def f(q):\n    return [x.y for x in q]", False),
    ],
)
def test_a_function_without_a_source_counts_by_its_code(source: str, same: bool) -> None:
    one = compiled("def f(q):\n    return [x + 1 for x in q]")
    assert (_digest(one) == _digest(compiled(source))) is same


def prompted() -> str:
    return """Be
        brief."""


def test_the_source_of_a_function_counts_to_its_last_line(tmp_path: Path) -> None:
    begun = prompted.__code__.co_firstlineno
    lines = Path(__file__).read_text("utf-8").splitlines()
    assert lines[_last_line(prompted.__code__) - 1].strip() == (
        'brief."""' if sys.version_info >= (3, 11) else lines[begun].strip()
    )


def test_decorated_functions_are_known_by_name_and_keep_nothing_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracekit

    monkeypatch.setattr(_decorated, "codes", {})

    class Held: ...

    def made() -> weakref.ref[Held]:
        held = Held()

        @tracekit.tool
        def inner() -> object:
            return held

        return weakref.ref(held)

    found = made()
    gc.collect()
    assert found() is None
    tracekit.tool(len)
    assert [name.rpartition(".")[2] for name in _decorated.codes] == ["inner"]


def test_the_files_of_a_repository_name_its_commit(repository: Path, tmp_path: Path) -> None:
    """As git itself does: on a branch, with packed references, detached, and in a linked working tree."""

    def asked(folder: Path) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    commit = asked(repository)
    assert _head(repository) == (repository, commit)
    git(repository, "pack-refs", "--all")
    assert _head(repository) == (repository, commit)
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    assert _head(tmp_path / "linked") == (tmp_path / "linked", commit)
    git(tmp_path / "linked", "commit", "-q", "--allow-empty", "-m", "second")
    assert _head(tmp_path / "linked") == (tmp_path / "linked", asked(tmp_path / "linked"))
    git(repository, "checkout", "-q", "--detach")
    assert _head(repository / ".") == (repository, commit)
    assert _head(tmp_path) is None
    (repository / ".git" / "HEAD").write_text("nonsense")
    assert _head(repository) is None


def test_git_that_takes_too_long_is_not_waited_for(repository: Path) -> None:
    state = code_state(folder=repository, seconds=0.0)
    assert list(state) == ["commit"]


def search(query: str) -> str:
    """Search."""
    return query


def test_what_is_not_given_leaves_digests_as_they_were() -> None:
    """A literal digest from before entry point, tools, models, Python and signature could be given."""
    info = describe("bot", code={"commit": "4f2a"}, prompts={"system": "Be brief."}, dependencies={})
    assert info.digest[:12] == "0025c6222b1d"
    assert info.given() == {}


def test_what_is_given_is_part_of_the_digest() -> None:
    given = {
        "entry_point": "bot.main:answer",
        "tools": [{"name": "b"}, search],
        "models": ["m-2", "m-1", "m-2"],
        "python": "3.11",
        "signature": {"input": {"type": "string"}},
    }
    whole = describe("bot", **SAME, **given)
    assert whole.models == ("m-1", "m-2")
    assert whole.tools is not None
    assert [tool["name"] for tool in whole.tools] == ["b", "search"]
    assert describe("bot", **SAME, **{**given, "tools": [search, {"name": "b"}]}).digest == whole.digest
    others = [describe("bot", **SAME, **{key: value for key, value in given.items() if key != left}) for left in given]
    assert len({whole.digest, *(each.digest for each in others)}) == 6


def test_a_callable_is_an_entry_point_where_it_can_be_imported() -> None:
    assert describe("bot", **SAME, entry_point=json.dumps).entry_point == "json:dumps"
    for wrong in ("bot", "a b:c", "bot:", "__main__:run", lambda: None):
        with pytest.raises(UsageError, match="module:callable"):
            describe("bot", **SAME, entry_point=wrong)


@pytest.mark.parametrize("tools", [[{"name": "a"}, {"name": "a"}], [{"description": "no name"}]])
def test_tools_have_names_of_their_own(tools) -> None:
    with pytest.raises(UsageError, match=r"two tools are called|has no name"):
        describe("bot", **SAME, tools=tools)
