"""The command line's edges: unknown commands, missing extras, help that needs nothing heavy."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tracekit import cli, plugins
from tracekit.command import Command
from tracekit.errors import NotFoundError, StoreError

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys

class Missing:
    heavy = {blocked!r}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.heavy:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from tracekit.cli import main
sys.exit(main({words!r}))
"""
HEAVY = ["alembic", "deltalake", "duckdb", "orjson", "pyarrow", "rich", "sqlalchemy", "starlette", "uvicorn", "h11"]
HEAVY += ["httpx", "jinja2", "jsonschema", "numpy", "scipy", "genai_prices", "bm25s"]


def light(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command where only OpenTelemetry is installed."""
    source = BLOCKED.format(blocked=HEAVY, words=list(words))
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=50)


def test_help_lists_every_command_without_anything_heavy() -> None:
    done = light("--help")
    assert done.returncode == 0, done.stderr
    for point in entry_points(group="tracekit.commands"):
        assert f"    {point.name} " in done.stdout


@pytest.mark.parametrize("command", sorted(point.name for point in entry_points(group="tracekit.commands")))
def test_every_commands_help_has_an_example_and_needs_nothing_heavy(command: str) -> None:
    done = light(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"examples:\n  tracekit {command}" in done.stdout


@pytest.mark.parametrize(("words", "extra"), [(["traces"], "collector"), (["runs", "list"], "evaluators")])
def test_a_missing_extra_is_one_line_that_says_what_to_install(words: list[str], extra: str) -> None:
    done = light(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"`{words[0]}` needs the extra '{extra}'" in done.stderr
    assert f"run: pip install {shlex.quote(f'{ROOT}[{extra}]')}" in done.stderr


def test_plugins_are_listed_without_anything_heavy() -> None:
    done = light("plugins", "--format", "json")
    rows = json.loads(done.stdout)
    mine = next(row for row in rows if row["name"] == "plugins")
    assert mine == {
        "group": "commands",
        "name": "plugins",
        "value": "tracekit.commands.plugins:command",
        "distribution": "tracekit",
        "version": "0.1.0",
    }
    assert light("plugins").stdout.splitlines()[0].split() == ["group", "name", "value", "distribution", "version"]


def test_an_unknown_command_is_bad_usage(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["trcaes"])
    assert caught.value.code == 2
    assert "invalid choice: 'trcaes'" in capsys.readouterr().err


def test_no_command_is_bad_usage(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_version_is_shown(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "tracekit 0.1.0\n"


class _Point:
    """An entry point that needs no installation."""

    dist = None
    extras = ("collector",)
    name = "try"

    def __init__(self, run) -> None:
        self._run = run

    def load(self):
        return lambda: Command(help="try it", run=self._run)


def _raise(error: BaseException):
    def run(_arguments) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NotFoundError("there is no trace 'abc'"), 2, "tracekit: there is no trace 'abc'"),
        (StoreError("cannot open the store"), 4, "tracekit: cannot open the store"),
        (KeyboardInterrupt(), 4, "tracekit: stopped"),
        (
            RuntimeError("oops"),
            4,
            "tracekit: RuntimeError: oops (this is a fault in tracekit; --debug shows where)",
        ),
        (
            ModuleNotFoundError("No module named 'duckdb'", name="duckdb"),
            2,
            (
                "tracekit: `try` needs the extra 'collector' (duckdb is not installed); "
                "run: pip install 'tracekit[collector]'"
            ),
        ),
    ],
)
def test_an_error_is_one_line_and_a_code(monkeypatch, capsys, error, code: int, line: str) -> None:
    monkeypatch.setattr(plugins, "points", lambda _group: (_Point(_raise(error)),))
    assert cli.main(["try"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_debug_shows_where(monkeypatch, capsys) -> None:
    monkeypatch.setattr(plugins, "points", lambda _group: (_Point(_raise(StoreError("x"))),))
    assert cli.main(["try", "--debug"]) == 4
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_commands_answer_is_the_exit_code(monkeypatch, code: int) -> None:
    monkeypatch.setattr(plugins, "points", lambda _group: (_Point(lambda _arguments: code),))
    assert cli.main(["try"]) == code


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    source = "import sys; from tracekit.cli import main; sys.exit(main(['plugins']))"
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=30)
    assert errors == b""
