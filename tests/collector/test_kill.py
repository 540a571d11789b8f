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
        for name in {"kill", "_faults", "_senders"} - before:
            sys.modules.pop(name, None)


@pytest.fixture
def points(kill: ModuleType) -> ModuleType:
    if not kill._faults.AVAILABLE:
        pytest.skip("needs Linux and a C compiler")
    return kill


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_acknowledged_span_is_there_once_after_kills_at_random_moments_and_during_settling(kill, tmp_path):
    outcome = kill.trial(tmp_path / "S", kills=4, seed=20260730)
    assert outcome.kills == 4
    assert outcome.acknowledged > outcome.by_grpc > 0
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
def test_a_worker_or_its_collector_that_is_killed_costs_no_span(kill, tmp_path):
    outcome = kill.trial(tmp_path / "S", kills=4, seed=20260731, workers=True)
    assert outcome.kills >= 4
    assert outcome.workers >= 1
    assert outcome.acknowledged > outcome.by_grpc > 0
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_collectors_on_one_store_under_load_of_which_one_is_killed_keep_every_span_once(kill, tmp_path):
    outcome = kill.trial(tmp_path / "S", kills=3, seed=20260801, beside=True)
    assert outcome.kills == 3
    assert outcome.acknowledged > outcome.by_grpc > 0
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_receiving_settling_compacting_and_retaining_loses_and_doubles_nothing(points):
    found = points.points(6, seed=11)
    assert found["killed"] >= 5  # the last events may not come when the work takes fewer
    assert found["acknowledged"] > 50
    assert (found["lost"], found["doubled"], found["foreign"], found["changed"]) == (0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_that_is_full_at_any_step_is_said_and_loses_and_doubles_nothing(points):
    found = points.points(4, seed=12, full=True)
    assert found["refused"] >= 1
    assert found["crashed"] == 0  # every failure was an error of tracekit's own, which callers handle
    assert (found["lost"], found["doubled"], found["foreign"], found["changed"]) == (0, 0, 0, 0)
