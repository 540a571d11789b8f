"""The store: settling, reading, and the promise that what was acknowledged is kept once."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import tracekit_collector.settle as settle_module
from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit.inbox import MAGIC, SegmentWriter, segments
from tracekit_collector.lake import Lake
from tracekit_collector.store import Store

START = 1_763_900_000_000_000_000


def request(*numbers: int, trace: int = 1, name: str = "step", **attributes: str) -> bytes:
    """A trace request with one span a number."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in numbers:
        span = scope.spans.add(name=name, start_time_unix_nano=START + number, end_time_unix_nano=START + number + 5)
        span.trace_id, span.span_id = trace.to_bytes(16, "big"), number.to_bytes(8, "big")
        for key, value in attributes.items():
            span.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return message.SerializeToString()


def log_request(body: str) -> bytes:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=START)
    record.body.string_value = body
    return message.SerializeToString()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "my store") as opened:
        yield opened


@pytest.fixture
def writer(store: Store) -> Iterator[SegmentWriter]:
    opened = SegmentWriter(store.inbox, "traces")
    yield opened
    opened.close()


def spans(store: Store) -> list[tuple[object, ...]]:
    return store.sql("SELECT CAST('0x' || span_id AS BIGINT), name FROM spans ORDER BY 1").fetchall()


class TestOpening:
    def test_a_store_that_is_not_there_is_said_when_none_may_be_made(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="--store"):
            Store.open(tmp_path / "nowhere", create=False)

    def test_a_file_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="file"):
            Store.open(tmp_path / "file")

    def test_the_setting_names_the_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRACEKIT_STORE", str(tmp_path / "set"))
        with Store.open() as store:
            assert store.location == tmp_path / "set"


class TestSettling:
    def test_what_a_writer_appended_is_there_for_the_next_query(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1, 2))
        assert spans(store) == [(1, "step"), (2, "step")]
        writer.append(request(3))
        assert spans(store) == [(1, "step"), (2, "step"), (3, "step")]

    def test_a_request_that_comes_again_settles_once(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1, 2), request(1, 2))
        first = store.settle()
        writer.append(request(1, 2))
        second = store.settle()
        assert (first.requests, first.repeated, second.requests, second.repeated) == (1, 1, 0, 1)
        assert len(spans(store)) == 2

    def test_a_span_that_comes_again_in_another_request_replaces_the_first(
        self, store: Store, writer: SegmentWriter
    ) -> None:
        writer.append(request(1, 2, name="old"))
        store.settle()
        writer.append(request(2, 3, name="new"))
        assert spans(store) == [(1, "old"), (2, "new"), (3, "new")]

    def test_a_span_that_comes_again_on_the_next_day_replaces_the_first(
        self, store: Store, writer: SegmentWriter
    ) -> None:
        later = ExportTraceServiceRequest.FromString(request(1, name="new"))
        later.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano += 24 * 3600 * 10**9
        writer.append(request(1, name="old"))
        store.settle()
        writer.append(later.SerializeToString())
        assert spans(store) == [(1, "new")]

    def test_of_two_versions_of_a_span_in_one_batch_the_last_wins(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1, name="old"), request(1, name="new"))
        assert spans(store) == [(1, "new")]

    def test_log_records_that_come_again_settle_once(self, store: Store) -> None:
        logs = SegmentWriter(store.inbox, "logs")
        for _ in range(2):
            logs.append(log_request("hello"))
            store.settle()
        logs.close()
        assert store.sql("SELECT count(*) FROM logs").fetchone() == (1,)

    def test_a_segment_goes_when_it_is_settled_and_its_writer_is_done(
        self, store: Store, writer: SegmentWriter
    ) -> None:
        writer.append(request(1))
        store.settle()
        assert len(segments(store.inbox)) == 1
        writer.close()
        writer.append(request(2))
        store.settle()
        assert len(segments(store.inbox)) == 1
        assert len(spans(store)) == 2

    def test_nothing_new_makes_no_new_version(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1))
        store.settle()
        before = store.versions()
        store.settle()
        assert store.versions() == before == {"spans": 0}

    def test_a_version_that_a_span_names_is_registered_as_seen(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1, gen_ai__agent__name="bot", gen_ai__agent__version="2.1"))
        store.settle()
        version = store.catalog.agents.resolve("bot@2.1")
        assert (version.ref, version.source) == ("bot@1", "seen")

    def test_an_agent_name_that_the_registry_cannot_hold_stops_nothing(
        self, store: Store, writer: SegmentWriter
    ) -> None:
        writer.append(request(1, gen_ai__agent__name="a@b", gen_ai__agent__version="1"))
        assert len(spans(store)) == 1

    def test_many_small_batches_leave_few_files(self, store: Store, writer: SegmentWriter) -> None:
        for number in range(1, 75):
            writer.append(request(number), sync=False)
            store.settle()
        assert len(store.lake.files("spans")) <= 64
        assert [number for number, _ in spans(store)] == list(range(1, 75))


class TestDamage:
    def test_a_torn_tail_costs_the_torn_request_alone(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1), request(2))
        writer.close()
        (segment,) = segments(store.inbox)
        segment.write_bytes(segment.read_bytes()[:-3])
        assert spans(store) == [(1, "step")]
        assert segments(store.inbox) == []
        assert len(store.settler.quarantined()) == 1

    def test_a_record_in_the_making_is_waited_for(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1))
        (segment,) = segments(store.inbox)
        writer.append(request(2))
        whole = segment.read_bytes()
        os.truncate(segment, len(whole) - 3)
        assert spans(store) == [(1, "step")]
        with segment.open("ab") as file:
            file.write(whole[-3:])
        assert spans(store) == [(1, "step"), (2, "step")]
        assert store.settler.quarantined() == []

    @pytest.mark.parametrize("offset", range(0, 24, 3))
    def test_a_flipped_bit_costs_its_request_and_is_quarantined_with_the_reason(
        self, store: Store, writer: SegmentWriter, offset: int
    ) -> None:
        writer.append(request(1), request(2), request(3))
        writer.close()
        (segment,) = segments(store.inbox)
        data = bytearray(segment.read_bytes())
        second = data.index(b"\xf5TKR", len(MAGIC) + 1)
        data[second + offset] ^= 0x10
        segment.write_bytes(data)
        assert spans(store) == [(1, "step"), (3, "step")]
        (bad,) = store.settler.quarantined()
        assert "checksum" in json.loads(bad.with_suffix(".json").read_text())["reason"]

    def test_a_payload_that_is_no_request_is_quarantined_and_the_rest_goes_on(
        self, store: Store, writer: SegmentWriter
    ) -> None:
        writer.append(request(1), b"\xff\xff\xff", request(2))
        assert store.settle().quarantined == 1
        assert len(spans(store)) == 2

    def test_a_foreign_file_in_the_inbox_is_quarantined(self, store: Store) -> None:
        (store.inbox / "01ARZ3NDEKTSV4RRFFQ69G5FAV.traces").write_bytes(b"this is no segment")
        assert store.settle().quarantined == 1
        assert segments(store.inbox) == []


class TestCrashes:
    """A process that dies at any step of settling loses nothing and doubles nothing."""

    @pytest.mark.parametrize(
        "step", ["plan", "lake-before", "lake-after", "sync", "versions", "requests", "done", "tidy"]
    )
    def test_killed_at(self, tmp_path: Path, step: str) -> None:
        folder = tmp_path / "store"
        Store.open(folder).close()
        with_writer = SegmentWriter(folder / "inbox", "traces")
        with_writer.append(request(1, 2), request(3))
        with_writer.close()
        worker = multiprocessing.get_context("spawn").Process(target=_settle_and_die, args=(str(folder), step))
        worker.start()
        worker.join(50)
        assert worker.exitcode == -signal.SIGKILL
        with Store.open(folder) as store:
            assert [number for number, _ in spans(store)] == [1, 2, 3]
            assert store.sql("SELECT count(*) FROM spans").fetchone() == (3,)
            with_writer.append(request(4))
            with_writer.close()
            store.settle()
            assert segments(store.inbox) == []

    def test_a_catalog_that_refuses_leaves_the_batch_to_be_done_again(
        self, store: Store, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer.append(request(1))
        with monkeypatch.context() as broken:
            broken.setattr(store.catalog, "add_requests", _refuse)
            with pytest.raises(StoreError, match="disk full"):
                store.settle()
        assert spans(store) == [(1, "step")]


def _refuse(*_: object, **__: object) -> None:
    raise StoreError("disk full")


def _settle_and_die(folder: str, step: str) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def after(method: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **named: object) -> None:
            method(*arguments, **named)
            die()

        return run

    settler = settle_module.Settler
    wanted: dict[str, tuple[object, str, Callable[..., object]]] = {
        "plan": (settler, "_do", die),
        "lake-before": (Lake, "add", die),
        "lake-after": (Lake, "add", after(Lake.add)),
        "sync": (Lake, "sync", after(Lake.sync)),
        "versions": (settler, "_take_down_versions", die),
        "requests": (settle_module.Catalog, "add_requests", after(settle_module.Catalog.add_requests)),
        "done": (settler, "_tidy", die),
        "tidy": (settler, "_tidy", after(settler._tidy)),
    }
    owner, name, replacement = wanted[step]
    setattr(owner, name, replacement)
    Store.open(folder).settle()


class TestManyProcesses:
    def test_writers_and_a_reader_share_a_store(self, tmp_path: Path) -> None:
        folder = tmp_path / "store"
        Store.open(folder).close()
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_write_fifty, args=(str(folder), part)) for part in range(3)]
        for worker in workers:
            worker.start()
        with Store.open(folder) as store:
            while any(worker.is_alive() for worker in workers):
                assert len(spans(store)) <= 150
            for worker in workers:
                worker.join(50)
            assert store.sql("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans").fetchone() == (150, 150)

    def test_two_settlers_never_double(self, tmp_path: Path) -> None:
        folder = tmp_path / "store"
        Store.open(folder).close()
        with_writer = SegmentWriter(folder / "inbox", "traces")
        for number in range(1, 41):
            with_writer.append(request(number), sync=False)
        with_writer.close()
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_settle, args=(str(folder),)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(50)
        with Store.open(folder) as store:
            assert len(spans(store)) == 40


def _write_fifty(folder: str, part: int) -> None:
    writer = SegmentWriter(Path(folder) / "inbox", "traces", segment_bytes=600)
    for number in range(50):
        writer.append(request(number + 1, trace=part + 1))
    writer.close()


def _settle(folder: str) -> None:
    with Store.open(folder) as store:
        store.settle()


class TestReading:
    def test_a_trace_is_found_by_the_beginning_of_its_id(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(request(1, trace=0xAB << 120), request(2, trace=0xAC << 120))
        assert store.trace("ab").trace_id == "ab" + "0" * 30
        with pytest.raises(NotFoundError, match="more digits"):
            store.trace("a")
        with pytest.raises(NotFoundError, match="tracekit traces"):
            store.trace("f" * 32)

    @pytest.mark.parametrize("bad", ["", "xyz", "a" * 33, "'; DROP TABLE spans; --"])
    def test_what_is_no_trace_id_is_said(self, store: Store, bad: str) -> None:
        with pytest.raises(UsageError, match="no trace id"):
            store.trace(bad)

    def test_trace_ids_are_picked_by_a_condition_newest_first(self, store: Store, writer: SegmentWriter) -> None:
        writer.append(*(request(number, trace=number, name=f"n{number}") for number in range(1, 6)))
        found = store.trace_ids(where="name <> 'n3'", limit=3)
        assert [int(each, 16) for each in found] == [5, 4, 2]

    def test_rows_go_straight_to_the_lake(self, store: Store) -> None:
        moment = datetime.datetime(2026, 11, 23, 10)
        assert store.append("scores", [{"score_id": "a", "name": "ok", "value": 1.0, "time": moment}]) == 1
        found = store.sql("SELECT score_id, name, value, time FROM scores").fetchall()
        assert found == [("a", "ok", 1.0, moment)]
        assert store.versions() == {"scores": 0}

    def test_a_row_of_an_unknown_table_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="no table"):
            store.append("colours", [{"a": 1}])
