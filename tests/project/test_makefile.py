"""The Makefile: two commands for a newcomer, from any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with nothing but the Makefile, under a name that trips many."""
    made = tmp_path / "it's a (folder), really"
    made.mkdir()
    shutil.copy(ROOT / "Makefile", made)
    (made / "pyproject.toml").write_text("")
    return made


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The tests themselves are run by make, whose flags are not ours.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return subprocess.run(["make", *words], cwd=folder, env=clean, capture_output=True, text=True, check=False)


def test_alone_it_says_what_there_is(folder: Path) -> None:
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^make (\w+)", done.stdout, re.MULTILINE) == ["demo", "test", "check", "bench", "clean"]


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench"])
def test_each_target_makes_its_own_environment(folder: Path, target: str) -> None:
    done = make(folder, "--dry-run", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python3 -m venv .venv" in done.stdout
    assert f"--editable '.[{'demo' if target == 'demo' else 'dev'}]'" in done.stdout


def test_no_path_in_it_is_absolute(folder: Path) -> None:
    assert str(folder) not in make(folder, "--dry-run", "demo", "test", "check", "bench").stdout


@pytest.mark.parametrize(("origin", "kept"), [("/somewhere/else", False), (None, True)], ids=["moved", "one's own"])
def test_an_environment_of_another_folder_is_made_anew(folder: Path, origin: str | None, kept: bool) -> None:
    """An editable installation names its folder, so a copied checkout would run the code of the first one."""
    (folder / ".venv").mkdir()
    if origin is not None:
        (folder / ".venv" / "made-in").write_text(f"{origin}\n")
    make(folder, "help")
    assert (folder / ".venv").exists() is kept


def test_an_environment_made_here_is_kept(folder: Path) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv" / "made-in").write_text(f"{folder}\n")
    make(folder, "help")
    assert (folder / ".venv").exists()


def test_an_old_python_is_refused_with_the_mend(folder: Path) -> None:
    old = folder / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(folder, "demo", "PYTHON=./python2")
    assert done.returncode == 2
    assert "tracekit needs Python 3.10 or newer, as in: make PYTHON=python3.12 demo" in done.stderr
    assert not (folder / ".venv").exists()
