"""Killed at any moment, or with the disk full, nothing that was acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def kill() -> Iterator[ModuleType]:
    """The benchmark of the same name, of which these tests are short runs."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("kill")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in {"kill", "_faults"} - before:
            sys.modules.pop(name, None)


@pytest.fixture
def points(kill: ModuleType) -> ModuleType:
    if not kill._faults.AVAILABLE:
        pytest.skip("needs Linux and a C compiler")
    return kill


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_acknowledged_span_is_there_once_after_kills_at_random_moments_and_during_settling(kill, tmp_path):
    outcome = kill.trial(tmp_path / "S", kills=6, seed=20260730)
    assert outcome.kills == 6
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_receiving_settling_compacting_and_retaining_loses_and_doubles_nothing(points):
    found = points.points(8, seed=11)
    assert found["killed"] >= 7  # the last events may not come when the work takes fewer
    assert found["acknowledged"] > 100
    assert (found["lost"], found["doubled"], found["foreign"], found["changed"]) == (0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_that_is_full_at_any_step_is_said_and_loses_and_doubles_nothing(points):
    found = points.points(6, seed=12, full=True)
    assert found["refused"] >= 1
    assert found["crashed"] == 0  # every failure was an error of tracekit's own, which callers handle
    assert (found["lost"], found["doubled"], found["foreign"], found["changed"]) == (0, 0, 0, 0)
