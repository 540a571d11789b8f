"""What type checkers see: decorated functions keep their signatures."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_mypy_sees_the_original_signatures(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy comes with the extra 'dev'")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "tests/typing/api.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(180)
def test_pyright_sees_the_original_signatures(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright comes with the extra 'dev'")
    (tmp_path / "api.py").write_text((ROOT / "tests" / "typing" / "api.py").read_text(encoding="utf-8"))
    settings = {"include": ["api.py"], "extraPaths": [str(ROOT / "tracekit")]}
    strict = {"reportUnnecessaryTypeIgnoreComment": "error"}  # the wrong calls in it have to be errors
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({**settings, **strict}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
