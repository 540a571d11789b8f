"""Schemathesis makes requests from the API's description, right and wrong ones; none may end in a 5xx."""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tracekit_collector.service import Collector
from tracekit_collector.store import Store

REQUIREMENT = "schemathesis==4.32.5"  # in an environment of its own: it brings a plugin for pytest
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests" / "venvs"


@pytest.fixture(scope="module")
def schemathesis() -> Path:
    folder = CACHE / f"{REQUIREMENT.replace('==', '-')}-{sys.version_info[0]}.{sys.version_info[1]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock-schemathesis").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            venv.create(folder, with_pip=True, clear=True)
            words = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "1", REQUIREMENT]
            if subprocess.run(words, capture_output=True, check=False).returncode:
                shutil.rmtree(folder)
                pytest.skip(f"needs {REQUIREMENT}, which cannot be installed here")
            (folder / "complete").touch()
    return folder / "bin" / "schemathesis"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_request_ends_in_a_server_error(schemathesis: Path, tmp_path: Path) -> None:
    moment = datetime.datetime(2025, 11, 24)
    with Store.open(tmp_path / "S") as store:
        row = {"trace_id": "a" * 32, "span_id": "b" * 16, "name": "step", "start_time": moment, "start_ns": 10**18}
        store.append("spans", [row])
        with Collector(store, port=0) as collector:
            words = ["run", f"{collector.url}/api/v1/openapi.json", "--seed", "1", "--max-examples", "10", "--no-color"]
            checks = ["--checks", "not_a_server_error", "--phases", "coverage,fuzzing"]
            done = subprocess.run(
                [schemathesis, *words, *checks], capture_output=True, text=True, check=False, cwd=tmp_path
            )
    assert done.returncode == 0, done.stdout[-3_000:]
    assert "Tested: 12" in done.stdout
