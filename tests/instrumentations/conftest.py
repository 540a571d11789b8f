"""An environment of its own for the instrumentations of other people, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

import tracekit

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests" / "venvs"


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with everything in requirements.txt."""
    return _interpreter("instrumentations", HERE / "requirements.txt")


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter of an environment with everything in requirements-clients.txt."""
    return _interpreter("clients", HERE / "requirements-clients.txt")


def _interpreter(name: str, requirements: Path) -> Path:
    """The interpreter of an environment, which is made where it is not there yet."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    version = "{}.{}".format(*sys.version_info)
    folder = CACHE / f"{name}-{version}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".lock-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for old in CACHE.glob(f"{name}-{version}-*"):
                shutil.rmtree(old)
            _make(folder, requirements)
    return folder / "bin" / "python"


def _make(folder: Path, requirements: Path) -> None:
    venv.create(folder, with_pip=True)
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    done = subprocess.run(
        [folder / "bin" / "python", *words, "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(folder)
        said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("WARNING"))
        if os.environ.get("CI"):
            pytest.fail(f"the environment for other instrumentations cannot be made:\n{said}")
        pytest.skip(f"needs packages that cannot be installed here: {said[-300:]}")
    (folder / "complete").touch()


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with tracekit and its entry points, as an installation would have them."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "tracekit").symlink_to(Path(tracekit.__file__).parent)
    known = distribution("tracekit")
    about = folder / "tracekit-0.dist-info"
    about.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (about / name).write_text(known.read_text(name) or "")
    return folder


@pytest.fixture
def models() -> Iterator[object]:
    """A model server that answers from a script."""
    path = HERE / "model_server.py"
    spec = importlib.util.spec_from_file_location("model_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.serving() as server:
        yield server
