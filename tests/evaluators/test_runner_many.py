"""Runs over very many traces: what is kept of each is small, and the figures are those of the rows."""

from __future__ import annotations

import math
import tracemalloc
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_collector.store import Store
from tracekit_evaluators import _lone, _stretches, _writer, clustering, evaluate
from tracekit_evaluators._ids import TraceIds, among_of, lines_of, once
from tracekit_evaluators._selection import makers, selected
from tracekit_evaluators._stretches import stretches
from tracekit_evaluators.clustering import facts_of
from tracekit_evaluators.summary import summarise


@given(st.lists(st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"), max_size=50))
def test_packed_ids_are_the_ids(ids: list[str]) -> None:
    packed = TraceIds.of(ids)
    assert isinstance(packed, TraceIds)
    assert list(packed) == ids
    assert [packed[place] for place in range(len(ids))] == ids
    assert packed[1:7] == ids[1:7]
    assert packed == ids
    assert lines_of(packed) == "\n".join(ids).encode() == lines_of(ids)
    if ids:
        assert list(TraceIds.from_lines(lines_of(packed))) == ids
        assert packed[-1] == ids[-1]


def test_ids_of_another_form_stay_texts() -> None:
    ids = ["0" * 32, "A" * 32, "short"]
    assert TraceIds.of(ids) == ids
    assert TraceIds.from_lines(b"one\ntwo") == ["one", "two"]


@given(st.lists(st.integers(0, 600).map(lambda number: f"{number * 2**119 % 2**128 + number:032x}"), max_size=50))
def test_packed_ids_know_which_are_among_them_and_come_once(ids: list[str]) -> None:
    asked = [f"{number * 2**119 % 2**128 + number:032x}" for number in range(0, 600, 7)] + ["short", "A" * 32]
    assert among_of(TraceIds.of(ids))(asked) == [each in ids for each in asked] == among_of(ids)(asked)
    assert list(once(TraceIds.of(ids))) == list(dict.fromkeys(ids)) == list(once(ids))


def test_stretches_are_all_traces_newest_first(tmp_path, monkeypatch) -> None:
    with Store.open(tmp_path) as store:
        assert [len(part) for part in stretches(store, None, "trace_id")] == [0]
        record_small(store, 1_000)
        whole = store.find(limit=None, columns="trace_id").to_arrow().column("trace_id").to_pylist()
        monkeypatch.setattr(_stretches, "_ROWS", 130)
        parts = [part.column("trace_id").to_pylist() for part in stretches(store, None, "trace_id")]
        assert [each for part in parts for each in part] == whole
        assert len(parts) == 7
        assert max(map(len, parts)) < 300
        ids, made = selected(store, "trace_id <> ''", limit=None)
        assert (list(ids), made.counts) == (whole, {"unknown": 1_000})
        assert makers(store, ids[:3]).counts == {"unknown": 3}
        monkeypatch.setattr(_stretches, "_LISTED", 2)
        assert makers(store, ids[:700]).counts == makers(store, TraceIds.of(ids[:700])).counts == {"unknown": 700}


@pytest.mark.parametrize("listed", [1_000, 2])
def test_what_traces_share_is_found_by_their_ids_or_by_their_scores(listed, store, record, monkeypatch) -> None:
    monkeypatch.setattr(_stretches, "_LISTED", listed)
    ids = [record(f"trace {place}", session=f"s{place % 2}") for place in range(4)]
    run = evaluate(store, judges=["error"], progress=False)
    told = clustering.shared_by(store, ids[:3])
    assert {trace_id: row["session_id"] for trace_id, row in told.items()} == dict(
        zip(ids, ["s0", "s1", "s0"], strict=False)
    )
    assert facts_of(store, run.record).traces == clustering.shared_by(store, ids)


def test_small_files_are_joined_while_judges_work(store, record) -> None:
    for place in range(15):
        record(f"trace {place}")
        store.settle()
    assert len(store.lake.files("spans")) == 15
    record("one more")
    store.settle(tidy=False)
    assert len(store.lake.files("spans")) == 16
    record("the last")
    run = evaluate(store, judges=["error"], progress=False)
    assert run.metrics["error"]["n"] == 17
    assert len(store.lake.files("spans")) == 1


def rows_of(run: str) -> list[dict[str, object]]:
    """Scores of sixty traces in sessions of three: a pass that is sometimes missing, a number, a label."""
    rows: list[dict[str, object]] = []
    for place in range(60):
        whose = {"trace_id": f"{place:032x}", "session_id": f"s{place // 3}", "run_id": run, "target": "trace"}
        whose |= {"judge": "j", "judge_digest": "d", "source": "llm", "cost_usd": 0.001}
        scored: dict[str, object] = {"status": "scored", "value_type": "bool", "value": float(place % 4 > 0)}
        scored |= {"passed": place % 4 > 0, "direction": "maximize"}
        missing = {"status": "judge_error" if place % 2 else "not_applicable", "direction": "maximize"}
        rows.append({**whose, "name": "ok", **(missing if place in (7, 8) else scored)})
        number = {"status": "scored", "value_type": "number", "value": math.sin(place), "direction": "neutral"}
        number |= {"passed": place > 20}
        rows.append({**whose, "name": "size", **number})
        label = {"status": "scored", "value_type": "label", "label": f"l{place % 3}", "direction": "neutral"}
        rows.append({**whose, "name": "tone", **label})
    return [{"score_id": f"{place:032x}", **row} for place, row in enumerate(rows)]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other) if not isinstance(one, float) else one == pytest.approx(other, rel=1e-12)


def test_columns_tell_what_rows_tell(store, record) -> None:
    trace = record("a")
    run = evaluate(store, judges=["error"], progress=False)
    rows = rows_of(run.id)
    superseded = {**rows[0], "score_id": "old", "value": 1.0}
    store.append("scores", [superseded, {**rows[0], "supersedes": "old"}, *rows[1:]])
    told = summarise(run.scores(), facts_of(store, run.record))
    traces = _lone.Traces.of(store, run.id)
    for name in ("ok", "size", "tone"):
        found = _lone.metric_of_many(store, run.id, name, traces)
        assert alike(found, told[name]), (name, found, told[name])
    assert told["ok"]["clusters"]["by"] == "session"  # type: ignore[index]
    assert told["ok"]["missing"] == {"judge_error": 1, "not_applicable": 1}
    assert len(trace) == 32


def test_a_case_that_several_rows_speak_of_is_left_to_the_rows(store, record) -> None:
    record("a")
    run = evaluate(store, judges=["error"], progress=False)
    rows = [row for row in rows_of(run.id) if row["name"] == "size"]
    store.append("scores", [*rows, {**rows[0], "score_id": "again"}])
    traces = _lone.Traces.of(store, run.id)
    assert _lone.metric_of_many(store, run.id, "size", traces) is None
    store.append(
        "scores", [{**row, "name": "named", "case_id": "c", "score_id": f"n{at}"} for at, row in enumerate(rows)]
    )
    assert _lone.metric_of_many(store, run.id, "named", traces) is None


def test_a_run_of_many_is_summed_up_by_columns_with_the_same_result(store, record, monkeypatch) -> None:
    for place in range(8):
        record(f"trace {place}", output="fine" if place % 3 else "")
    judges = ["error", "latency?max=2", "contains?any=fine&name=says"]
    plain = evaluate(store, judges=judges, progress=False)
    monkeypatch.setattr(_lone, "MANY", 3)
    columns = evaluate(store, judges=judges, progress=False)
    assert alike(columns.metrics, plain.metrics), (columns.metrics, plain.metrics)
    drop = ("seconds",)
    assert {k: v for k, v in columns.summary.items() if k not in drop} == {
        k: v for k, v in plain.summary.items() if k not in drop
    }


def record_small(store: Any, count: int) -> None:
    """Traces of one small span each."""
    row = {"name": "bot", "kind": "internal", "step": "agent", "status": "ok", "duration_ns": 1_000_000, "output": "x"}
    rows = [
        {**row, "trace_id": f"{place * 7_919 + 1:032x}", "span_id": f"{place + 1:016x}"}
        | {"start_time": datetime(2026, 7, 1), "start_ns": 1_782_864_000_000_000_000 + place * 1_000}
        for place in range(count)
    ]
    store.append("spans", rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trace_more_takes_some_bytes_of_memory(tmp_path, monkeypatch) -> None:
    """What Python and numpy hold at most; what the store's engine takes besides is not counted here."""
    monkeypatch.setattr(_lone, "MANY", 1_000)
    monkeypatch.setattr(_writer, "_LONGEST_WAIT", 1e9)
    peaks: list[int] = []
    for count in (6_000, 16_000):
        with Store.open(tmp_path / str(count)) as store:
            record_small(store, count)
            evaluate(store, judges=["error"], limit=10, progress=False)
            tracemalloc.start()
            try:
                run = evaluate(store, judges=["error"], progress=False)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            assert run.metrics["error"]["n"] == count
    assert (peaks[1] - peaks[0]) / 10_000 < 64, peaks
