"""Packaging: a version becomes one file, the same bytes everywhere, which answers its example without its source."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit_collector.check import check
from tracekit_collector.packaging import environment as environments
from tracekit_collector.packaging.archive import File
from tracekit_collector.packaging.build import Wanted, build, register
from tracekit_collector.packaging.environment import environment, listed
from tracekit_collector.packaging.package import Package
from tracekit_collector.packaging.source import Source, from_paths
from tracekit_collector.packaging.verify import differences, verify
from tracekit_collector.store import Store

VERSION = "{}.{}".format(*sys.version_info)
BOT = """
import os, sys
from pathlib import Path

def answer(question: str) -> dict:
    hints = (Path(__file__).parent / "hints.txt").read_text()
    return {"answer": f"{question} {hints}", "folder": os.listdir(), "user_site": sys.flags.no_user_site}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments that the tests of this module share."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(autouse=True)
def _cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_ENVIRONMENTS", str(cache))


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """The folder of an agent's source."""
    (tmp_path / "bot.py").write_text(BOT)
    (tmp_path / "hints.txt").write_text("Ask the desk.")
    return tmp_path


def packaged(folder: Path, **more: object) -> Package:
    source = from_paths([folder / "bot.py", folder / "hints.txt"], folder=folder)
    given = {"example": {"input": "When?"}, "prompts": {"system": "Be brief."}, "parameters": {"t": 0.2}, **more}
    return build(Wanted("bot", "bot:answer", source, **given))  # type: ignore[arg-type]  # what a test changes


def of_text(text: str, **more: object) -> Package:
    source = Source({"one.py": File(text.encode())}, {"source": "0" * 64})
    return build(Wanted("one", "one:answer", source, **more))  # type: ignore[arg-type]  # as above


def test_a_package_holds_what_runs_it_and_its_example(bot: Path) -> None:
    package = packaged(bot)
    told = package.manifest
    assert (told["entry_point"], told["python"], told["dependencies"], package.requirements) == (
        "bot:answer",
        VERSION,
        {},
        "",
    )
    assert told["signature"] == {"input": {"type": "string"}, "output": {"type": "object"}}
    assert told["example"] == {
        "input": "When?",
        "output": {"answer": "When? Ask the desk.", "folder": [], "user_site": 1},
    }
    assert sorted(package.files) == ["bot.py", "hints.txt"]


def test_the_same_inputs_give_the_same_bytes_at_another_time_place_and_umask(bot: Path, tmp_path: Path) -> None:
    first = packaged(bot)
    code = (
        "import os, sys; os.umask(0o077); sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_packaging import packaged\n"
        "print(packaged(Path(sys.argv[2])).digest)"
    )
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    for name in ("bot.py", "hints.txt"):
        shutil.copyfile(bot / name, other / name)
        os.utime(other / name, (1, 1))
        (other / name).chmod(0o600)
    variables = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(other)]
    done = subprocess.run(words, cwd=other, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == first.digest, done.stderr


def test_a_registered_package_answers_without_its_source(bot: Path, tmp_path: Path) -> None:
    """Built in a process that stands elsewhere, knows no PYTHONPATH, and when the source is gone."""
    with Store.open(tmp_path / "store") as store:
        version = register(store, packaged(bot))
        assert register(store, packaged(bot)).id == version.id
    (bot / "bot.py").unlink()
    (bot / "hints.txt").unlink()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, "-m", "tracekit", "agents", "verify", "bot@1", "--store", str(tmp_path / "store")]
    done = subprocess.run([*words, "--format", "json"], cwd="/", env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["passed"], told["fresh"], told["output"]["answer"]) == (True, True, "When? Ask the desk.")
    with Store.open(tmp_path / "store") as store:
        (found,) = store.catalog.verifications.list(version)
        assert (found.passed, found.details["package"]) == (True, version.package)
        assert "version.verify" in [act.act for act in store.catalog.audit.list()]


def test_a_version_that_answers_differently_is_told_and_taken_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = of_text(
        "import time\ndef answer(q: str) -> dict: return {'at': time.time_ns(), 'q': q}", example={"input": "1"}
    )
    with Store.open(tmp_path / "store") as store:
        version = register(store, package)
    assert main(["agents", "verify", "one@1", "--store", str(tmp_path / "store"), "--reuse"]) == 1
    said = capsys.readouterr().out
    assert "one@1 did not answer its example with the same output:" in said
    assert "output.at: " in said
    assert "output.q" not in said
    with Store.open(tmp_path / "store") as store:
        assert [each.passed for each in store.catalog.verifications.list(version)] == [False]
        # What it answered first stays its example: the version is the same, and has one package for good.
        again = register(store, of_text("import time\ndef answer(q: str) -> dict: return {'at': 1, 'q': q}"))
        assert again.id == version.id
        assert again.package == package.digest


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no key')", "raised RuntimeError: no key\n"),
        ("import sys; sys.exit(3)", "raised SystemExit: 3"),
        ("import os; print('bye', flush=True); os._exit(7)", "ended its process, saying: bye"),
        ("import time; time.sleep(60)", "did not answer within 2 seconds"),
        ("return (_ for _ in ()).throw(ValueError('deep'))", "raised ValueError: deep"),
    ],
)
def test_an_example_that_fails_is_told_in_the_agents_own_words(body: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_text(f"def answer(q):\n    {body}\n", example={"input": ""}, timeout=2.0 if "sleep" in body else 50.0)
    assert message in str(caught.value)
    assert "_entry_runner" not in str(caught.value)


def test_an_example_that_its_own_signature_would_refuse_is_refused() -> None:
    with pytest.raises(UsageError, match=r"example's input does not fit the annotations .*: 3 is not of type 'string'"):
        of_text("def answer(q: str) -> str:\n    return f'{q}'\n", example={"input": 3})


def test_an_agent_that_says_a_lot_takes_no_memory_here() -> None:
    body = "import os\n    for _ in range(640): os.write(1, b'x' * 65_536)\n    os.write(2, b'the end'); os._exit(7)"
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="xthe end"):
            of_text(f"def answer(q):\n    {body}\n", example={"input": ""})
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_entry_point_that_cannot_be_imported_is_told_without_our_traceback() -> None:
    with pytest.raises(UsageError) as caught:
        of_text("import not_installed_anywhere\n")
    assert "one:answer cannot be imported: ModuleNotFoundError: No module named 'not_installed_anywhere'" in str(
        caught.value
    )
    assert "one.py" in str(caught.value)
    assert "tracekit/" not in str(caught.value)
    with pytest.raises(UsageError, match="the source has no module 'other'"):
        build(Wanted("one", "other:answer", Source({"one.py": File(b"")}, {})))
    with pytest.raises(UsageError, match=r"Python 3\.5 is not on this machine"):
        of_text("", python="3.5")


def test_a_module_below_src_is_found_and_its_types_tell_the_signature() -> None:
    text = b"def answer(question: str, limit: int = 3) -> list[str]: return [question] * limit\n"
    source = Source({"src/desk/__init__.py": File(b""), "src/desk/bot.py": File(text)}, {})
    package = build(Wanted("bot", "desk.bot:answer", source, example={"input": {"question": "a", "limit": 2}}))
    assert package.manifest["root"] == "src"
    assert package.manifest["example"]["output"] == ["a", "a"]
    assert package.manifest["signature"]["output"] == {"type": "array", "items": {"type": "string"}}


def test_what_no_type_tells_is_inferred_from_the_example() -> None:
    package = of_text("def answer(given): return {'n': 1, 'of': [given]}", example={"input": {"q": "Why?", "n": None}})
    assert package.manifest["signature"] == {
        "input": {"type": "object", "properties": {"q": {"type": "string"}, "n": {}}, "required": ["n", "q"]},
        "output": {
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "of": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"q": {"type": "string"}, "n": {}},
                        "required": ["n", "q"],
                    },
                },
            },
            "required": ["n", "of"],
        },
    }


def test_an_example_with_its_output_is_not_run() -> None:
    package = of_text("def answer(q): raise RuntimeError", example={"input": 1, "output": 2})
    assert package.manifest["example"] == {"input": 1, "output": 2}


def test_outputs_are_compared_as_json() -> None:
    assert list(differences({"a": [1, 2.0]}, {"a": [1.0, 2]})) == []
    assert list(differences(1.0, 1.001)) == ["output: 1.0 became 1.001"]
    assert list(differences(1.0, 1.001, tolerance=0.01)) == []
    assert list(differences(True, 1)) == ["output: True became 1"]
    assert list(differences({"a": 1, "b": [1]}, {"b": [2, 3], "c": None})) == [
        "output.a: 1 is missing",
        "output.b: 1 items became 2",
        "output.b[0]: 1 became 2",
        "output.c: None is new",
    ]


def test_a_version_that_is_not_packaged_or_whose_package_is_damaged_is_told(bot: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        seen = store.catalog.agents.see("bot", "1.0")
        with pytest.raises(UsageError, match="bot@1 is not packaged"):
            Package.load(store, seen)
        version = register(store, packaged(bot))
        file = store.artifacts / str(version.package)
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(StoreError, match="damaged: its content does not have this digest"):
            Package.load(store, version)
        file.unlink()
        with pytest.raises(StoreError, match="cannot read the artifact"):
            Package.load(store, version)
        missing = f"the version {version.ref} is packaged as the artifact {version.package}, and it is not there"
        assert missing in [finding.what for finding in check(store)]
        assert register(store, packaged(bot)).package == version.package
        assert Package.load(store, version).digest == version.package  # packaging it again mends it
        with pytest.raises(NotFoundError):
            store.catalog.agents.resolve("bot@9")


def test_a_package_is_unpacked_into_a_folder_of_its_own(bot: Path, tmp_path: Path) -> None:
    package = packaged(bot)
    package.unpack(tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == [
        "package.json",
        "requirements.txt",
        "source/bot.py",
        "source/hints.txt",
    ]
    with pytest.raises(UsageError, match="is there already and not empty"):
        package.unpack(tmp_path / "out")


def test_an_environment_is_kept_and_made_anew_where_it_was_not_finished(bot: Path, cache: Path) -> None:
    package = packaged(bot)
    said: list[str] = []
    first = environment(package, progress=said.append)
    assert said == []
    made = first.python.parents[1]
    (made / "ready").unlink()  # as a kill while it was made leaves it
    (made / "bin" / "python").unlink()
    assert [each.made_at is None for each in listed() if each.key == made.name] == [True]
    again = environment(package, progress=said.append)
    assert said == [f"making an environment with {Path(sys._base_executable).name}"]  # type: ignore[attr-defined]  # CPython's
    assert again.python == first.python
    assert verify(package, fresh=False).passed


def _make(words: tuple[bytes, str]) -> str:
    return str(environment(Package.of(words[0]), cache=Path(words[1])).python)


def test_processes_make_an_environment_once_between_them(bot: Path, tmp_path: Path) -> None:
    package = packaged(bot)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_make, [(package.content, str(tmp_path / "shared"))] * 2)
    assert len(set(found)) == 1
    assert [each.made_at is not None for each in listed(tmp_path / "shared")] == [True]
    assert environments.clear(tmp_path / "shared") == 1
    assert listed(tmp_path / "shared") == []


@pytest.fixture
def repository(bot: Path) -> Path:
    """The agent's source, committed."""
    for words in (["init", "-q"], ["add", "bot.py", "hints.txt"], ["commit", "-q", "-m", "one"]):
        named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *named, *words], cwd=bot, check=True)
    return bot


def test_the_commands_package_verify_and_unpack(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["agents", "package", "bot", "--entry-point", "bot:answer", "--example", '"When?"']
    assert main([*words, "--alias", "candidate", "--label", "1.0"]) == 0
    assert "ref          bot@1" in capsys.readouterr().out
    assert main(["agents", "verify", "bot@candidate", "--reuse"]) == 0
    assert "bot@1 answered its example with the same output" in capsys.readouterr().out
    assert main(["agents", "unpack", "bot@1", "out"]) == 0
    assert capsys.readouterr().out == "bot@1: 2 files in out\n"
    assert main(["agents", "environments", "list", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["python"] == VERSION
    (repository / "hints.txt").write_text("Ask nobody.")
    assert main(words) == 2
    assert "differs from its commit" in capsys.readouterr().err
    assert main([*words, "--dirty", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ref"], told["code"]["dirty"]) == ("bot@2", True)
    assert main([*words[:-1], "When?", "--dirty"]) == 2
    assert "--example is no JSON" in capsys.readouterr().err
