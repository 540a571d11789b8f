"""The Pythons of this machine: which one runs a stated version, and what installs into its environments."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tracekit.errors import TracekitError, UsageError

_ASKING_SECONDS = 20
_INSTALLING_SECONDS = 1_800
_SHOWN_LINES = 12
_SECRET = re.compile(r"(://)[^/\s@]+@")
_OURS = "{}.{}".format(*sys.version_info)


def interpreter(version: str) -> Path:
    """A Python of a stated version.

    Args:
        version: Such as `3.11`.

    Raises:
        UsageError: There is none on this machine.
    """
    if version == _OURS:
        return Path(getattr(sys, "_base_executable", None) or sys.executable)
    for candidate in _candidates(version):
        if _answers(candidate, version):
            return candidate
    raise UsageError(
        f"Python {version} is not on this machine: there is no python{version} that runs; install it "
        f"(for example with `uv python install {version}`) and try again"
    )


def ours() -> str:
    """The version of the Python that runs this, such as `3.11`."""
    return _OURS


def uv() -> str | None:
    """Where uv is; `None` where it is not installed."""
    return shutil.which("uv")


def pip_for(python: Path) -> list[str]:
    """The beginning of a command by which pip works on an interpreter's environment.

    Raises:
        UsageError: There is no pip for it.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python)]
    if run([str(python), "-m", "pip", "--version"], check=False).returncode == 0:
        return [str(python), "-m", "pip"]
    raise UsageError("neither uv nor pip is installed here, and dependencies need one of them; install uv")


def run(
    words: Sequence[str], *, check: bool = True, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool that prepares an environment, away from the Python settings of this process.

    Raises:
        TracekitError: It failed, or took too long; the message ends with what it said.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _of_python(os.environ)}
    try:
        done = subprocess.run(  # noqa: S603 - our own words, and no shell
            [*words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            cwd=cwd,
            timeout=_INSTALLING_SECONDS,
            check=False,
        )
    except OSError as error:
        raise TracekitError(f"cannot run {words[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise TracekitError(f"{Path(words[0]).name} did not end within {_INSTALLING_SECONDS} seconds") from error
    if check and done.returncode:
        raise TracekitError(said(done.stderr or done.stdout) or f"{words[0]} failed with {done.returncode}")
    return done


def said(text: str) -> str:
    """The last lines of what a tool said, without the passwords of addresses."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
    return _SECRET.sub(r"\1", "\n".join(lines[-_SHOWN_LINES:]))


def _of_python(variables: Mapping[str, str]) -> set[str]:
    return {key for key in variables if key in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}}


def _candidates(version: str) -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder or ".") / f"python{version}"
        if path.is_file():
            yield path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    tool = uv()
    if tool is not None:
        found = run([tool, "python", "find", "--no-project", version], check=False)
        if found.returncode == 0 and found.stdout.strip():
            yield Path(found.stdout.strip())


def _answers(path: Path, version: str) -> bool:
    """Whether it is that Python and runs: a shim may stand for a version that is not there."""
    asked = "import sys, venv; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run(  # noqa: S603 - an interpreter
            [path, "-I", "-c", asked], capture_output=True, text=True, timeout=_ASKING_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version
