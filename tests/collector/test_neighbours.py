"""Spans that came again with a time on the next date are kept once, when both dates are over."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit_collector.compaction import compact
from tracekit_collector.store import Store

MIDNIGHT = datetime.datetime(2026, 3, 2)
EARLY = datetime.datetime(2026, 3, 3, 12)


def span(trace: int, seconds: int, **columns: object) -> dict[str, object]:
    start = MIDNIGHT + datetime.timedelta(seconds=seconds)
    fixed = {"trace_id": f"{trace:032x}", "span_id": f"{trace:016x}", "start_time": start, "received_at": EARLY}
    at = int(start.replace(tzinfo=datetime.timezone.utc).timestamp()) * 10**9
    return {**fixed, "start_ns": at, "name": "a span", "kind": "internal", "status": "unset", "step": "span", **columns}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "S") as opened:
        yield opened


def names(store: Store, trace: int) -> list[object]:
    found = store.sql(f"SELECT name FROM spans WHERE trace_id = '{trace:032x}'")
    return [name for (name,) in found.fetchall()]


@pytest.mark.parametrize("later_first", [False, True])
def test_of_a_span_on_two_dates_the_one_that_was_received_last_stays(store: Store, later_first: bool) -> None:
    moments = [EARLY, EARLY + datetime.timedelta(minutes=1)]
    before, after = moments[::-1] if later_first else moments
    store.append("spans", [span(1, -5, name="before", received_at=before), span(2, -9)])
    store.append("spans", [span(1, 5, name="after", received_at=after), span(3, 9)])
    for number in range(20):
        store.append("spans", [span(10 + number, 60 + number)])
    assert sorted(map(str, names(store, 1))) == ["after", "before"]
    compact(store.lake, "spans", every=True)
    assert names(store, 1) == ["before" if later_first else "after"]
    assert store.sql("SELECT count(*), count(DISTINCT span_id) FROM spans").fetchone() == (23, 23)


def test_a_span_of_the_same_id_in_another_trace_stays(store: Store) -> None:
    store.append("spans", [span(1, -5), span(2, -5, span_id=f"{1:016x}")])
    store.append("spans", [span(1, 5)])
    compact(store.lake, "spans", every=True)
    assert (len(names(store, 1)), len(names(store, 2))) == (1, 1)


def test_a_file_whose_only_span_came_again_goes(store: Store) -> None:
    store.append("spans", [span(1, -5)])
    store.append("spans", [span(1, 5, name="after", received_at=EARLY + datetime.timedelta(minutes=1))])
    compact(store.lake, "spans", every=True)
    assert names(store, 1) == ["after"]
    assert store.lake.size("spans")[1] == 1


def test_a_date_that_went_quiet_is_compared_and_one_that_is_written_to_is_not(store: Store) -> None:
    store.append("spans", [span(1, -5), span(2, -5)])
    store.append("spans", [span(3, -4)])
    store.append("spans", [span(1, 5)])
    day = 86_400
    written = MIDNIGHT.replace(tzinfo=datetime.timezone.utc).timestamp()
    compact(store.lake, "spans", now=written)
    assert len(names(store, 1)) == 2
    compact(store.lake, "spans", now=datetime.datetime.now(datetime.timezone.utc).timestamp() + 3 * day)
    assert len(names(store, 1)) == 1
