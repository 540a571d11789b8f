"""The benchmark of ingesting, short: everything that was acknowledged is there, once, and small."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_short_run_finds_every_acknowledged_span_once_and_within_the_bound_of_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_ingest", BENCHMARKS / "ingest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    found = {figure["figure"]: figure for figure in module.figures(seconds=3, rate=2_000, requests=4, folder=tmp_path)}
    end = found["in_the_end"]
    assert end["acknowledged"] > 0
    assert (end["spans"], end["distinct"]) == (end["acknowledged"], end["acknowledged"])
    assert found["disk"]["ratio"] <= 1.3
