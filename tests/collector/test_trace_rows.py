"""Traces read some hundreds at a time: within the stretch of their time, the next ones while the last are in use."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import pytest

from tracekit_collector import _trace_rows
from tracekit_collector.store import Store
from tracekit_collector.trace import assemble

START = 1_790_000_000 * 10**9


def test_what_is_read_comes_in_order_and_one_ahead() -> None:
    on: list[str] = []

    def read(number: int) -> int:
        on.append(threading.current_thread().name.split("_")[0])
        return number * 10

    found = _trace_rows.ahead(read, iter([1, 2, 3]))
    assert next(found) == (1, 10)
    assert list(found) == [(2, 20), (3, 30)]
    assert on == [threading.current_thread().name, "tracekit-read", "tracekit-read"]
    assert list(_trace_rows.ahead(read, [])) == []


def test_a_fault_of_reading_ahead_is_raised_where_its_traces_are_due() -> None:
    found = _trace_rows.ahead(lambda number: 6 // number, [1, 0, 2])
    assert next(found) == (1, 6)
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_traces_of_a_large_table_are_looked_for_in_their_time_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{number:032x}" for number in range(30)]
    rows = [
        {"trace_id": each, "span_id": f"{place:016x}", "start_ns": START + number * 10**9 + place * 10**12, "name": "n"}
        for number, each in enumerate(ids)
        for place in range(2)
    ]
    with Store.open(tmp_path) as store:
        store.append("spans", rows)
        plain = list(store.traces(ids))
        monkeypatch.setattr(_trace_rows, "AT_ONCE", 7)
        monkeypatch.setattr(_trace_rows, "_PAGE", 16)
        monkeypatch.setattr(_trace_rows, "_MANY", 10)
        asked: list[str] = []
        engine = store._ready()
        run = engine.run
        monkeypatch.setattr(
            engine, "run", lambda query, *rest, **more: asked.append(query) or run(query, *rest, **more)
        )
        found = list(store.traces([*ids, "f" * 32]))
    assert [trace.trace_id for trace in found] == ids
    assert found == plain
    assert {len(trace.spans) for trace in found} == {2}
    assert sum("GROUP BY trace_id" in query for query in asked) == 2
    assert f"BETWEEN {START} AND {START + 6 * 10**9 + 10**12}" in asked[1]


def test_a_trace_can_be_copied_and_sent_before_anything_was_asked_of_it() -> None:
    rows = [{"trace_id": "a" * 32, "span_id": "b" * 16, "start_ns": START, "input": "hi", "output": "yes"}]
    told = assemble(rows).to_dict()
    assert (told["input"], told["output"], told["status"]) == ("hi", "yes", "ok")
    assert copy.copy(assemble(rows)).to_dict() == told
    assert pickle.loads(pickle.dumps(assemble(rows))) == assemble(rows)
    with pytest.raises(AttributeError, match="'Trace' object has no attribute 'inputs'"):
        _ = assemble(rows).inputs  # type: ignore[attr-defined]  # what is tested
