"""Keeping house: compaction, retention, vacuum, and what they leave."""

from __future__ import annotations

import datetime
import itertools
import os
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tracekit._locks import held
from tracekit.errors import SettingError, StoreError
from tracekit_collector import house as house_module
from tracekit_collector import joining
from tracekit_collector.compaction import compact, joinable, rewrite
from tracekit_collector.house import House
from tracekit_collector.lake import DataFile, Lake, to_arrow
from tracekit_collector.merging import Merge
from tracekit_collector.retention import Rule, retain, rules_from
from tracekit_collector.store import Store

DAY = datetime.date(2026, 11, 23)
NOW = datetime.datetime(2026, 11, 24)
EPOCH = datetime.datetime(1970, 1, 1)
NS = 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def span(trace: int, number: int = 1, *, days: float = 0, **more: object) -> dict[str, object]:
    start = datetime.datetime(2026, 11, 23, 12) - datetime.timedelta(days=days)
    row: dict[str, object] = {"trace_id": f"{trace:032x}", "span_id": f"{trace:08x}{number:08x}", "name": "a span"}
    start_ns = int((start - EPOCH).total_seconds()) * NS + trace * 1000 + number
    return {**row, "step": "span", "status": "ok", "start_time": start, "start_ns": start_ns, "duration_ns": 5, **more}


def shown(store: Store, query: str) -> list[tuple[object, ...]]:
    return store.sql(query, settle=False).fetchall()


def on_disk(store: Store, table: str = "spans") -> int:
    return len(list((store.lake.folder / table).rglob("*.parquet"))) - len(
        list((store.lake.folder / table / "_delta_log").glob("*.parquet"))
    )


def test_small_files_become_one_that_is_sorted_by_time_and_holds_each_span_once(store: Store) -> None:
    for trace in (3, 1, 2):
        store.append("spans", [span(trace, received_at=NOW), span(9, received_at=NOW, name=f"after {trace}")])
    assert compact(store.lake, "spans", every=True) == 3
    assert shown(store, "SELECT trace_id[-1], name FROM spans WHERE trace_id[-1] <> '9'") == [
        ("1", "a span"),
        ("2", "a span"),
        ("3", "a span"),
    ]
    assert shown(store, "SELECT name FROM spans WHERE trace_id[-1] = '9'") == [("after 2",)]
    assert store.lake.size("spans")[1] == 1


def test_of_a_span_that_came_twice_the_one_that_was_received_last_stays(store: Store) -> None:
    store.append("spans", [span(1, name="last", received_at=NOW)])
    store.append("spans", [span(1, name="first", received_at=NOW - datetime.timedelta(seconds=1))])
    assert compact(store.lake, "spans", every=True) == 2
    assert shown(store, "SELECT name FROM spans") == [("last",)]


def test_a_joined_file_has_bloom_filters_and_row_groups_in_order_of_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "GROUP_ROWS", 10)
    monkeypatch.setattr(joining, "WINDOW_ROWS", 5)
    for part in range(4):
        store.append("spans", [span(trace) for trace in range(part, 100, 4)])
    compact(store.lake, "spans", every=True)
    (file,) = store.lake.files("spans")
    metadata = pq.ParquetFile(file).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    place = metadata.schema.names.index("start_ns")
    edges = [(group.column(place).statistics.min, group.column(place).statistics.max) for group in groups]
    assert sum(group.num_rows for group in groups) == 100
    assert max(group.num_rows for group in groups) <= 12
    assert edges == sorted(edges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(edges))
    read = store.sql(
        f"SELECT DISTINCT bloom_filter_excludes FROM parquet_bloom_probe('{file}', 'trace_id', '{'f' * 32}')",
        settle=False,
    )
    assert read.fetchall() == [(True,)]


def test_a_process_of_its_own_joins_files_as_this_one_does(store: Store) -> None:
    for trace in (3, 1, 2):
        store.append("spans", [span(trace, received_at=NOW), span(9, received_at=NOW, name=f"after {trace}")])
    assert compact(store.lake, "spans", every=True, joined=joining.join_apart) == 3
    assert shown(store, "SELECT trace_id[-1], name FROM spans ORDER BY start_ns") == [
        ("1", "a span"),
        ("2", "a span"),
        ("3", "a span"),
        ("9", "after 2"),
    ]
    assert store.lake.size("spans")[1] == 1


def test_a_process_that_cannot_join_files_leaves_everything_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trace in (1, 2):
        store.append("spans", [span(trace)])
    broken = Path(store.lake.files("spans")[0])
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    with pytest.raises(StoreError, match="cannot write"):
        compact(store.lake, "spans", every=True, joined=joining.join_apart)
    broken.write_bytes(whole)
    monkeypatch.setattr(joining, "sys", types.SimpleNamespace(path=[], executable="/bin/false"))
    with pytest.raises(StoreError, match="they stay as they are"):
        compact(store.lake, "spans", every=True, joined=joining.join_apart)
    assert shown(store, "SELECT count(*) FROM spans") == [(2,)]
    assert on_disk(store) == 2


def test_files_of_a_busy_collector_wait_until_they_make_a_large_one() -> None:
    now_ms = int((NOW - EPOCH).total_seconds() * 1000)

    def found(count: int, size: int, a_tier: int = 16) -> list[int]:
        files = [DataFile(f"{n}", f"{n}", DAY, size, 1, now_ms) for n in range(count)]
        return [len(group) for group in joinable(files, today=DAY, now_ms=now_ms, a_tier=a_tier)]

    assert found(15, 10_000) == []
    assert found(16, 10_000) == [16]
    assert found(40, 3 << 20) == []
    assert found(43, 3 << 20) == [43]  # 129 MB
    assert found(47, 1 << 20) == []
    assert found(48, 1 << 20) == [48]  # nor do they wait for ever
    assert found(100, 3 << 20) == [43, 43]  # so many at a time as make a large one; 14 wait for more


def test_rows_of_one_time_stay_together_and_in_order_of_their_keys(tmp_path: Path) -> None:
    rows = [{**span(1, number), "start_ns": 5 + number // 4, "date": DAY} for number in range(12)]
    for place, some in enumerate((rows[::2], rows[1::2])):
        pq.write_table(to_arrow("spans", some).drop_columns(["date"]), tmp_path / f"{place}.parquet", row_group_size=4)
    merge = Merge("spans", [str(tmp_path / "0.parquet"), str(tmp_path / "1.parquet")], window=3)
    windows = [
        [(row["start_ns"], int(row["span_id"][-2:], 16)) for row in each.to_pylist()] for each in merge.windows()
    ]
    assert windows == [
        [(5, 0), (5, 1), (5, 2), (5, 3)],
        [(6, 4), (6, 5), (6, 6), (6, 7)],
        [(7, 8), (7, 9), (7, 10), (7, 11)],
    ]
    assert (merge.rows, merge.kept) == (12, 12)


def test_a_row_that_another_writer_changed_meanwhile_is_not_undone(store: Store) -> None:
    store.append("spans", [span(1), span(2)])
    before = store.lake.entries("spans")
    other = Lake(store.lake.folder)
    row = {**span(1, name="new"), "date": DAY}
    other.replace("spans", to_arrow("spans", [row]), dates={DAY})
    assert rewrite(store.lake, "spans", before) is None
    assert shown(store, "SELECT name FROM spans ORDER BY span_id") == [("new",), ("a span",)]
    assert on_disk(store) == 1 + len(other.files("spans"))  # and nothing is left lying about


def test_rows_that_arrive_while_files_are_joined_stay(store: Store) -> None:
    for trace in range(40):
        store.append("spans", [span(trace)])
    other = Lake(store.lake.folder)
    late = to_arrow("spans", [{**span(trace), "date": DAY} for trace in range(100, 120)])
    writing = threading.Thread(target=lambda: [other.append("spans", late.slice(at, 1)) for at in range(20)])
    writing.start()
    compact(store.lake, "spans", every=True)
    writing.join()
    compact(store.lake, "spans", every=True)
    assert shown(store, "SELECT count(*), count(DISTINCT span_id) FROM spans") == [(60, 60)]
    assert store.lake.size("spans")[1] == 1


def test_a_crash_before_the_commit_leaves_the_table_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append("spans", [span(1)])
    store.append("spans", [span(2)])

    def die(*_args: object, **_more: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.lake, "swap", die)
        with pytest.raises(KeyboardInterrupt):
            compact(store.lake, "spans", every=True)
    assert shown(store, "SELECT count(*) FROM spans") == [(2,)]
    assert on_disk(store) == 3
    assert House(store).vacuum(hours=0)["spans"] == 1
    assert (on_disk(store), shown(store, "SELECT count(*) FROM spans")) == (2, [(2,)])


def test_what_settling_is_writing_is_never_swept_away_however_old_a_jumping_clock_makes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_module, "_BRIEF", 0.0)
    store.append("spans", [span(1)])
    written = next(store.lake.folder.glob("spans/date=*/*.parquet"))
    uncommitted = written.with_name("part-late.zstd.parquet")
    uncommitted.write_bytes(written.read_bytes())
    os.utime(uncommitted, (time.time() - 90_000, time.time() - 90_000))
    times = iter([0.0, 0.0, 1_000.0, *[1_000.0] * 20, 2_000.0, *[2_000.0] * 20])
    house = House(store, clock=lambda: next(times))
    house.tend()
    with held(store.inbox / ".settle.lock", timeout=0) as ours:
        assert ours
        house.tend()
        assert uncommitted.exists()
    House(store).vacuum()
    assert not uncommitted.exists()


def file(number: int, *, bytes_: int, date: datetime.date = DAY, written_ms: int = 0) -> DataFile:
    return DataFile(f"/{number}", str(number), date, bytes_, 1, written_ms, None, None)


def test_files_join_when_sixteen_of_a_size_have_come_together() -> None:
    small = [file(number, bytes_=1_000) for number in range(15)]
    large = [file(number, bytes_=100 << 20) for number in range(30, 60)]
    middle = [file(99, bytes_=1 << 20)]
    assert joinable([*small, *large, *middle], today=DAY, now_ms=0) == []
    assert joinable([*small, file(15, bytes_=9), *middle], today=DAY, now_ms=0) == [[*small, file(15, bytes_=9)]]


def test_a_date_that_has_gone_quiet_becomes_one_file() -> None:
    old = [file(number, bytes_=1_000, date=DAY - datetime.timedelta(days=3)) for number in range(2)]
    assert joinable(old, today=DAY, now_ms=3_600_001) == [old]
    assert joinable(old, today=DAY, now_ms=3_600_000) == []
    assert joinable(old[:1], today=DAY, now_ms=3_600_001) == []


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Rule(age=datetime.timedelta(days=3)), [1, 2, 11]),
        (Rule(traces=1), [1, 11]),
        (Rule("shop", traces=1), [1, 11, 12, 13]),
        (Rule("shop", bytes=0), [11, 12, 13]),
        (Rule("nobody", traces=0), [1, 2, 3, 11, 12, 13]),
    ],
)
def test_a_project_keeps_what_its_rule_says(store: Store, rule: Rule, left: list[int]) -> None:
    store.append("spans", [span(trace, days=trace * 2 - 2, project="shop") for trace in (1, 2, 3)])
    store.append("spans", [span(trace, days=(trace - 11) * 10) for trace in (11, 12, 13)])
    dry = retain(store, [rule], dry_run=True, now=NOW)
    assert shown(store, "SELECT count(*) FROM spans") == [(6,)]
    assert retain(store, [rule], now=NOW) == dry
    assert dry.rows["spans"] == dry.traces == 6 - len(left)
    assert shown(store, "SELECT trace_id FROM spans ORDER BY 1") == [(f"{trace:032x}",) for trace in left]


def test_a_trace_goes_as_a_whole_and_the_scores_of_runs_stay(store: Store) -> None:
    old = {"trace_id": f"{1:032x}", "time": NOW - datetime.timedelta(days=40)}
    store.append("spans", [span(1, 1, days=40), span(1, 2, days=40), span(2)])
    store.append("logs", [{**old, "log_id": "a", "time_ns": 1}, {"log_id": "b", "time": old["time"], "time_ns": 1}])
    store.append("scores", [{**old, "score_id": "online"}, {**old, "score_id": "of a run", "run_id": "r"}])
    removed = retain(store, [Rule(age=datetime.timedelta(days=30))], now=NOW)
    assert (removed.traces, removed.rows["spans"], removed.rows["logs"], removed.rows["scores"]) == (1, 2, 2, 1)
    assert shown(store, "SELECT score_id FROM scores") == [("of a run",)]


def test_a_trace_with_one_young_span_stays(store: Store) -> None:
    store.append("spans", [span(1, 1, days=40), span(1, 2)])
    assert retain(store, [Rule(age=datetime.timedelta(days=30))], now=NOW).traces == 0


def test_the_disk_is_really_freed(store: Store) -> None:
    store.append("spans", [span(trace, days=40, input="x" * 10_000) for trace in range(50)])
    store.append("spans", [span(100)])
    house = House(store)
    removed = house.retain([Rule(age=datetime.timedelta(days=30))])
    assert removed is not None
    assert removed.traces == 50
    house.vacuum(hours=0)
    assert on_disk(store) == 1


def test_an_artifact_goes_when_nothing_names_it_any_more(store: Store) -> None:
    for name, digest in (("named", "a" * 64), ("not named", "b" * 64), ("young", "c" * 64)):
        path = store.artifacts / digest
        path.write_text(name)
        if name != "young":
            os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    store.append("spans", [span(1, input='{"sha256": "' + "a" * 64 + '"}')])
    assert retain(store, [Rule(traces=5)], now=NOW).artifacts == 1
    assert sorted(path.name[0] for path in store.artifacts.iterdir()) == ["a", "c"]


def test_rules_are_read_from_one_line() -> None:
    day = datetime.timedelta(days=1)
    assert rules_from("90d, 2gb; noisy = 7d, 100traces;x=500mb") == [
        Rule(age=90 * day, bytes=2 << 30),
        Rule("noisy", age=7 * day, traces=100),
        Rule("x", bytes=500 << 20),
    ]


@pytest.mark.parametrize("text", ["90", "a year", "=7d", "noisy=", "7d,"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="retain"):
        rules_from(text)


def test_a_house_does_what_is_due_and_one_process_at_a_time_does_it(store: Store) -> None:
    now = [0.0]
    house = House(store, clock=lambda: now[0])
    for trace in range(20):
        store.append("spans", [span(trace)])
    assert house.tend()
    assert store.lake.size("spans")[1] == 1
    assert not house.tend()
    now[0] = 400.0
    assert house.tend()
    assert on_disk(store) == 21  # replaced files stay for an hour, for whoever reads them


def test_files_of_a_busy_collector_wait_but_not_more_than_so_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_module, "_BUSY_FILES", 20)
    now, busy = [0.0], [True]
    house = House(store, clock=lambda: now[0], busy=lambda: busy[0])
    for trace in range(20):
        store.append("spans", [span(trace)])
    assert house.tend()
    assert store.lake.size("spans")[1] == 20
    store.append("spans", [span(20)])
    now[0] = 10.0
    assert house.tend()
    assert store.lake.size("spans")[1] == 1
    for trace in range(16):
        store.append("spans", [span(30 + trace)])
    now[0], busy[0] = 20.0, False
    assert house.tend()
    assert store.lake.size("spans")[1] == 1


def test_a_log_of_many_commits_becomes_short(store: Store) -> None:
    for trace in range(60):
        store.append("spans", [span(trace)])
    log = store.lake.folder / "spans" / "_delta_log"
    for path in log.glob("*.json"):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    store.lake.shorten_log("spans")
    assert store.lake.log_entries("spans") < 15
    assert Lake(store.lake.folder).size("spans")[1] == 60
    assert store.lake.size("spans")[1] == 60


def test_a_reader_that_was_open_while_the_log_was_shortened_reads_on(store: Store) -> None:
    store.append("spans", [span(1)])
    reader = Lake(store.lake.folder)
    assert reader.version("spans") == 0
    for trace in range(2, 70):
        store.append("spans", [span(trace)])
    for path in (store.lake.folder / "spans" / "_delta_log").glob("*.json"):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    store.lake.shorten_log("spans")
    assert reader.size("spans")[1] == 69
