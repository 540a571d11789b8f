"""A collector that is killed under load loses nothing that it acknowledged, and doubles nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.fixture(scope="module")
def kill():
    """The benchmark of the same name, of which this test is a short run."""
    spec = importlib.util.spec_from_file_location("benchmark_kill", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_acknowledged_span_is_there_once_after_kills_at_random_moments_and_during_settling(kill, tmp_path):
    outcome = kill.trial(tmp_path / "S", kills=6, seed=20260730)
    assert outcome.kills == 6
    assert outcome.in_settle >= 1
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (0, 0, 0)
