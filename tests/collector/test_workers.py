"""Loading in worker processes: the same rows, whatever becomes of the worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import StoreError
from tracekit.inbox import SegmentWriter, segments
from tracekit_collector import settle
from tracekit_collector.known import Known
from tracekit_collector.lake import DataFile
from tracekit_collector.loading import Loaded, Task, load
from tracekit_collector.ranges import next_ranges, pieces
from tracekit_collector.store import Store
from tracekit_collector.workers import Workers

START = 1_795_427_412_000_000_000


def request(trace: int, spans: int = 50) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(1, spans + 1):
        span = scope.spans.add(name="step", start_time_unix_nano=START + trace * 10**9 + number)
        span.trace_id, span.span_id = trace.to_bytes(16, "big"), number.to_bytes(8, "big")
        span.attributes.add(key="note").value.string_value = f"{trace}/{number} " * 40
    return message.SerializeToString()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def workers() -> Iterator[Workers]:
    opened = Workers(2)
    yield opened
    opened.close()


def tasks(store: Store, folder: Path) -> list[Task]:
    (segment,) = segments(store.inbox)
    cut = pieces(segment, 0, segment.stat().st_size, least=1000)
    return [Task(str(segment), start, end, str(folder), f"part-{n}") for n, (start, end) in enumerate(cut)]


def nothing_known(task: Task) -> Callable[[Sequence[str]], set[str]]:
    del task
    return lambda digests: set()


def names(loaded: Sequence[Loaded]) -> list[tuple[str, int, int]]:
    return [(part.name, part.rows, len(part.keys)) for each in loaded for part in each.parts]


def test_workers_write_what_this_process_would(store: Store, workers: Workers, tmp_path: Path) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(*(request(trace) for trace in range(1, 9)))
    writer.close()
    theirs = workers.load(tasks(store, tmp_path / "theirs"), nothing_known)
    ours = [load(task, lambda digests: set()) for task in tasks(store, tmp_path / "ours")]
    assert names(theirs) == names(ours)
    assert sum(part.rows for each in theirs for part in each.parts) == 400
    for name, _, _ in names(ours):
        theirs_rows, ours_rows = (pq.read_table(tmp_path / who / "spans" / name) for who in ("theirs", "ours"))
        assert theirs_rows.equals(ours_rows)


@pytest.mark.parametrize("moment", ["before", "asking"])
def test_a_worker_that_is_killed_costs_nothing(store: Store, workers: Workers, tmp_path: Path, moment: str) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(*(request(trace) for trace in range(1, 9)))
    writer.close()
    workers.load([], nothing_known)
    killed = []

    def known(task: Task) -> Callable[[Sequence[str]], set[str]]:
        del task

        def kill(digests: Sequence[str]) -> set[str]:
            if not killed:
                killed.extend(workers.pids())
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            return set()

        return kill

    wanted = tasks(store, tmp_path / "lake")
    if moment == "before":
        workers.load(wanted, nothing_known)
        for pid in workers.pids():
            os.kill(pid, signal.SIGKILL)
        found = workers.load(wanted, nothing_known)
    else:
        found = workers.load(wanted, known)
        assert killed
    assert sum(part.rows for each in found for part in each.parts) == 400


def test_a_store_settles_through_workers_that_die_each_span_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "_WORTH_A_WORKER", 1000)
    writer = SegmentWriter(store.inbox, "traces")
    store.settler.employ(2)
    for round_ in range(3):
        writer.append(*(request(round_ * 10 + trace) for trace in range(1, 9)), request(1))
        store.settle()
        assert store.settler._workers is not None
        for pid in store.settler._workers.pids():
            os.kill(pid, signal.SIGKILL)
    writer.close()
    found = store.sql("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans").fetchone()
    assert found == (1200, 1200)


def test_a_span_that_two_workers_get_stays_once_the_last_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "_WORTH_A_WORKER", 1000)
    later = ExportTraceServiceRequest.FromString(request(1))
    for span in later.resource_spans[0].scope_spans[0].spans:
        span.name = "again"
    writer = SegmentWriter(store.inbox, "traces")
    store.settler.employ(2)
    writer.append(request(1), request(2), request(3), later.SerializeToString())
    store.settle()
    writer.close()
    found = store.sql("SELECT name, count(*) FROM spans GROUP BY name ORDER BY name").fetchall()
    assert found == [("again", 50), ("step", 100)]


def test_a_folder_that_cannot_be_written_is_named(store: Store, workers: Workers, tmp_path: Path) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(request(1))
    writer.close()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        workers.load(tasks(store, tmp_path / "file"), nothing_known)


def test_workers_end_when_there_is_nothing_to_do(store: Store, tmp_path: Path) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(request(1))
    writer.close()
    resting = Workers(1, idle_seconds=0.01)
    resting.load(tasks(store, tmp_path / "lake"), nothing_known)
    assert resting._timer is not None
    resting._timer.join()
    assert resting.pids() == []


class TestRanges:
    def test_a_range_is_cut_between_records(self, store: Store) -> None:
        writer = SegmentWriter(store.inbox, "traces")
        writer.append(*(request(trace) for trace in range(1, 5)))
        ranges = next_ranges(store.inbox, {}, room=1 << 20)
        ((name, (start, end)),) = ranges.items()
        whole = (store.inbox / name).stat().st_size
        first, second = pieces(store.inbox / name, start, end, least=1000)
        writer.close()
        assert (start, end, first[1]) == (0, whole, second[0])
        assert pieces(store.inbox / name, start, end, least=whole) == [(0, whole)]

    def test_no_more_is_taken_than_there_is_room_for(self, store: Store) -> None:
        writer = SegmentWriter(store.inbox, "traces")
        writer.append(*(request(trace) for trace in range(1, 5)))
        ((_, (_, end)),) = next_ranges(store.inbox, {}, room=1).items()
        writer.close()
        assert end < (segments(store.inbox)[0]).stat().st_size / 2


def test_files_of_other_times_are_not_read(store: Store, tmp_path: Path) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(request(1))
    writer.close()
    ((part,),) = [load(task, lambda digests: set()).parts for task in tasks(store, tmp_path)]
    gone = str(tmp_path / "not there")
    old = [DataFile(gone, f"f{n}", part.day, 9, 100_000, 1, part.first - 20 + n, part.first - 10) for n in range(9)]
    assert Known("spans").repeated(part, old) == []
    with pytest.raises(StoreError, match="store check"):
        Known("spans").repeated(part, [*old, DataFile(gone, "same time", part.day, 9, 100_000, 1, 0, part.last)])


def test_metrics_become_rows(store: Store) -> None:
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "bot"
    metrics = resource.scope_metrics.add().metrics
    usage = metrics.add(name="gen_ai.client.token.usage", unit="{token}")
    usage.histogram.aggregation_temporality = 2
    point = usage.histogram.data_points.add(time_unix_nano=START, count=3, sum=60.0, explicit_bounds=[10.0, 100.0])
    point.bucket_counts.extend([1, 2, 0])
    point.attributes.add(key="gen_ai.token.type").value.string_value = "input"
    metrics.add(name="gen_ai.server.active").sum.data_points.add(time_unix_nano=START, as_int=7)
    writer = SegmentWriter(store.inbox, "metrics")
    writer.append(message.SerializeToString())
    settled = store.settle()
    writer.close()
    assert settled.metrics == 2
    columns = "name, kind, value, count, sum, buckets, attributes, service_name, temporality"
    assert store.sql(f"SELECT {columns} FROM metrics ORDER BY name").fetchall() == [
        (
            *("gen_ai.client.token.usage", "histogram", None, 3, 60.0, '{"bounds":[10.0,100.0],"counts":[1,2,0]}'),
            *('{"gen_ai.token.type":"input"}', "bot", "cumulative"),
        ),
        ("gen_ai.server.active", "sum", 7.0, None, None, None, "{}", "bot", None),
    ]
