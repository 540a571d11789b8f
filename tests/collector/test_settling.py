"""The settle loop of a running collector: what it tells while it is at work, and when it counts as busy."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.inbox import SegmentWriter
from tracekit_collector import settling as settling_module
from tracekit_collector.settle import Settler
from tracekit_collector.settled import Settled
from tracekit_collector.settling import Settling
from tracekit_collector.store import Store

SECONDS = 20.0


class Held:
    """Stands in for settling: says that it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def settle(self, **how: object) -> Settled:
        del how
        self.begun.set()
        assert self.may_end.wait(SECONDS)
        return Settled()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        writer = SegmentWriter(opened.inbox, "traces")
        writer.append(b"x" * 1000)
        writer.close()
        yield opened


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    standing_in = Held()
    monkeypatch.setattr(Settler, "settle", standing_in.settle)
    yield standing_in
    standing_in.may_end.set()


def test_how_far_settling_is_can_be_asked_while_it_is_at_work(store: Store, held: Held) -> None:
    settling = Settling(store)
    assert settling.backlog() > 1000
    working = threading.Thread(target=store.settle)
    working.start()
    assert held.begun.wait(SECONDS)
    told: list[object] = []
    asking = threading.Thread(target=lambda: told.extend([settling.backlog() > 1000, settling.rate()]))
    asking.start()
    asking.join(SECONDS)
    held.may_end.set()
    working.join()
    asking.join()
    assert told == [True, None]


def test_settling_is_busy_when_it_was_at_work_for_most_of_the_last_seconds(
    store: Store, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(settling_module.time, "monotonic", lambda: clock[0])
    settling = Settling(store, every=0.001)
    assert not settling.busy()
    settling.start()
    assert held.begun.wait(SECONDS)
    clock[0] += 5.9
    assert not settling.busy()
    clock[0] += 0.2
    assert settling.busy()
    clock[0] += 100.0
    assert settling.busy()  # it still is at work
    held.may_end.set()
    settling.stop()
    assert settling.busy()
    clock[0] += 4.1
    assert not settling.busy()


def test_a_process_that_keeps_small_has_one_heap_for_the_lake() -> None:
    code = (
        "import json, os; from tracekit_collector._heap import keep_small; "
        "keep_small(); print(json.dumps(dict(os.environ)))"
    )
    found = json.loads(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)
    assert found["_RJEM_MALLOC_CONF"] == "narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0"
    assert found["ARROW_DEFAULT_MEMORY_POOL"] == "system"
