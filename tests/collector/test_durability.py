"""What comes damaged, twice, late, out of order or while the disk is full: the rest is kept, and each span once."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import StoreError
from tracekit.inbox import MAGIC, SegmentWriter, segments
from tracekit_collector.house import House
from tracekit_collector.lake import Lake
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}
DAY = 86_400 * 10**9
MIDNIGHT = 1_763_942_400 * 10**9  # between two dates


def request(trace: int, *numbers: int, at: int = MIDNIGHT, name: str = "step", parent: int | None = None) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in numbers:
        span = scope.spans.add(name=name, start_time_unix_nano=at + number, end_time_unix_nano=at + number + 5)
        span.trace_id, span.span_id = trace.to_bytes(16, "big"), number.to_bytes(8, "big")
        span.parent_span_id = b"" if parent is None else parent.to_bytes(8, "big")
    return message.SerializeToString()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "S") as opened:
        yield opened


def append(store: Store, *requests: bytes, received_ns: int | None = None) -> Path:
    """Put requests in a segment of their own."""
    before = set(segments(store.inbox))
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(*requests, received_ns=received_ns)
    writer.close()
    (made,) = set(segments(store.inbox)) - before
    return made


def found(store: Store) -> list[tuple[int, int, str]]:
    rows = store.sql("SELECT trace_id, span_id, name FROM spans ORDER BY ALL").fetchall()
    return [(int(str(trace), 16), int(str(span), 16), str(name)) for trace, span, name in rows]


class TestDamage:
    @pytest.mark.parametrize("seed", range(4))
    def test_a_flipped_bit_anywhere_costs_one_request_at_most_and_the_rest_goes_on(
        self, store: Store, seed: int
    ) -> None:
        rng = random.Random(seed)
        flips = 0
        for number in range(12):
            path = append(store, *(request(number * 10 + each + 1, 1, 2) for each in range(6)))
            data = bytearray(path.read_bytes())
            # The first of each is in the line that every segment opens with.
            place = rng.randrange(len(MAGIC)) if number == 0 else rng.randrange(len(data))
            data[place] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            flips += 1
        settled = store.settle()
        append(store, request(1000, 1))
        rows = found(store)
        assert len(set(rows)) == len(rows)
        per_segment = [len({trace for trace, _, _ in rows if trace // 10 == number}) for number in range(12)]
        assert per_segment[0] == 6  # the first line holds no request
        assert min(per_segment) >= 5
        assert (1000, 1, "step") in rows
        reasons = [json.loads(path.with_suffix(".json").read_text())["reason"] for path in store.settler.quarantined()]
        assert (settled.quarantined, len(reasons)) == (flips, flips)
        known = {"a record whose checksum does not hold", "the segment's first line is damaged", "an unfinished record"}
        assert set(reasons) <= known
        assert segments(store.inbox) == []

    def test_a_segment_that_is_cut_anywhere_keeps_every_request_that_is_whole(self, store: Store) -> None:
        rng = random.Random(7)
        whole = 0
        for number in range(15):
            bodies = [request(number * 10 + each + 1, 1) for each in range(4)]
            path = append(store, *bodies)
            size = path.stat().st_size
            record = (size - len(MAGIC)) // 4
            cut = rng.randrange(size)
            os.truncate(path, cut)
            whole += max(0, cut - len(MAGIC)) // record
        store.settle()
        assert len(found(store)) == whole
        assert segments(store.inbox) == []


class TestClocks:
    def test_a_clock_that_jumps_back_loses_and_doubles_nothing_and_the_last_to_come_stays(self, store: Store) -> None:
        now = time.time_ns()
        append(store, request(1, 1, name="first"), request(2, 1), received_ns=now + 7 * DAY)
        store.settle()
        append(store, request(1, 1, name="second"), request(3, 1), received_ns=now)
        store.settle()
        append(store, request(4, 1), received_ns=0)
        assert found(store) == [(1, 1, "second"), (2, 1, "step"), (3, 1, "step"), (4, 1, "step")]
        House(store).compact()
        assert found(store) == [(1, 1, "second"), (2, 1, "step"), (3, 1, "step"), (4, 1, "step")]

    @pytest.mark.parametrize("moment", [0, 4_000_000_000])
    def test_times_of_files_that_are_wrong_change_nothing(self, store: Store, moment: int) -> None:
        for number in range(1, 4):
            os.utime(append(store, request(number, 1, 2)), (moment, moment))
        live = SegmentWriter(store.inbox, "traces")
        live.append(request(4, 1))
        for path in [*segments(store.inbox), *store.inbox.glob(".*.traces")]:
            os.utime(path, (moment, moment))
        assert len(found(store)) == 7
        live.append(request(5, 1))
        live.close()
        for path in (store.location / "lake").rglob("*.parquet"):
            os.utime(path, (moment, moment))
        House(store).compact()
        assert len(found(store)) == 8


class TestAttempts:
    def test_two_attempts_at_a_batch_share_no_file(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker whose collector was killed may still be writing when the next collector begins the batch again."""

        def refuse(*_: object, **__: object) -> bool:
            raise StoreError("the lake is out of reach")

        append(store, request(1, 1))
        store.settle()
        append(store, request(2, 1, 2))
        with monkeypatch.context() as patched:
            patched.setattr(Lake, "add", refuse)
            with pytest.raises(StoreError, match="out of reach"):
                store.settle()
        (stray,) = set((store.location / "lake/spans").rglob("*.parquet")) - set(map(Path, store.lake.files("spans")))
        stray.write_bytes(b"torn")
        assert found(store) == [(1, 1, "step"), (2, 1, "step"), (2, 2, "step")]
        assert str(stray) not in store.lake.files("spans")


class TestRepetition:
    def test_a_span_in_many_requests_segments_and_starts_is_one_span(self, tmp_path: Path) -> None:
        """A client whose answer was lost sends the batch again, next to other spans, and later to a new process."""
        for start in range(3):
            with Store.open(tmp_path / "S") as store:
                writer = SegmentWriter(store.inbox, "traces", segment_bytes=200)
                writer.append(request(1, 1, 2), request(1, 2, 3), request(1, 1, 2))
                writer.append(request(1, 3, 1, start + 10))
                if start != 1:
                    store.settle()
                writer.append(request(1, 2, 1))
                writer.close()
                assert len(segments(store.inbox)) >= 1
        with Store.open(tmp_path / "S") as store:
            assert [span for _, span, _ in found(store)] == [1, 2, 3, 10, 11, 12]
            assert store.trace("1".zfill(32)).trace_id == "1".zfill(32)

    def test_a_span_that_comes_again_on_a_neighbouring_date_is_one_span(self, store: Store) -> None:
        for at, name in ((MIDNIGHT - 10, "a"), (MIDNIGHT + 10, "b"), (MIDNIGHT - 20, "c"), (MIDNIGHT + DAY, "d")):
            append(store, request(1, 1, at=at, name=name), request(2, 1, at=at))
            store.settle()
            assert found(store) == [(1, 1, name), (2, 1, "step")]
        append(store, request(1, 1, at=MIDNIGHT - 5, name="e"), request(1, 1, at=MIDNIGHT + 5, name="f"))
        assert found(store) == [(1, 1, "f"), (2, 1, "step")]

    def test_a_storm_of_the_same_request_at_both_doors_is_stored_once(self, store: Store) -> None:
        bodies = [request(trace, *range(1, 21)) for trace in range(1, 4)]
        with Collector(store, port=0, grpc_port=0, settle_every=0.02) as collector:
            assert collector.grpc_target is not None
            with (
                httpx.Client(timeout=30) as client,
                grpc.insecure_channel(collector.grpc_target) as channel,
                ThreadPoolExecutor(16) as pool,
            ):
                export = channel.unary_unary(EXPORT)

                def send(number: int) -> int:
                    body = bodies[number % 3]
                    if number % 2:
                        return 200 if export(body, timeout=30) == b"" else 0
                    return client.post(f"{collector.url}/v1/traces", content=body, headers=PROTOBUF).status_code

                assert set(pool.map(send, range(180))) == {200}
        assert len(found(store)) == len(set(found(store))) == 60


class TestLateSpans:
    def test_children_before_their_root_on_another_day_and_after_a_start_join_one_trace(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "S") as store:
            append(store, request(7, 3, at=MIDNIGHT + 50, name="grandchild", parent=2))
            assert store.trace("7".zfill(32)).spans[0].name == "grandchild"  # its parent is nowhere yet
            append(store, request(7, 2, at=MIDNIGHT + 20, name="child", parent=1))
            store.settle()
        with Store.open(tmp_path / "S") as store:
            append(store, request(8, 1), request(7, 1, at=MIDNIGHT - 10**9, name="root"))
            trace = store.trace("7".zfill(32))
            assert (trace.name, [span.name for span in trace.spans]) == ("root", ["root", "child", "grandchild"])
            listed = store.find(columns="trace_id, name, spans").fetchall()
            assert listed == [("8".zfill(32), "step", 1), ("7".zfill(32), "root", 3)]

    def test_a_span_whose_parent_never_comes_stays_in_its_trace(self, store: Store) -> None:
        append(store, request(9, 1, name="root"))
        store.settle()
        append(store, request(9, 5, at=MIDNIGHT + 100, name="orphan", parent=404))
        assert [span.name for span in store.trace("9".zfill(32)).spans] == ["root", "orphan"]


class TestTogether:
    def test_reads_by_the_api_while_settling_see_every_span_that_was_settled(self, store: Store) -> None:
        stopping = threading.Event()
        counts: list[int] = []
        statuses: set[int] = set()
        with Collector(store, port=0, settle_every=0.01) as collector, httpx.Client(timeout=30) as client:

            def read() -> None:
                with httpx.Client(timeout=30) as reader:
                    while not stopping.is_set():
                        query = {"query": "SELECT count(*) AS n, count(DISTINCT (trace_id, span_id)) AS d FROM spans"}
                        answer = reader.post(f"{collector.url}/api/v1/sql", json=query)
                        listed = reader.get(f"{collector.url}/api/v1/traces?limit=5")
                        statuses.update((answer.status_code, listed.status_code))
                        assert answer.status_code == 200, answer.text
                        ((count, distinct),) = answer.json()["rows"]
                        assert count == distinct
                        counts.append(count)

            with ThreadPoolExecutor(2) as pool:
                readers = [pool.submit(read) for _ in range(2)]
                for trace in range(1, 41):
                    sent = client.post(f"{collector.url}/v1/traces", content=request(trace, 1, 2, 3), headers=PROTOBUF)
                    assert sent.status_code == 200
                stopping.set()
                for each in readers:
                    each.result()
        assert statuses == {200}
        assert counts
        assert max(counts) <= 120
        assert len(found(store)) == 120


@pytest.fixture(scope="module")
def faults() -> Iterator[object]:
    """The library that makes the disk full, of `benchmarks/kill.py`."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("_faults")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in {"_faults"} - before:
            sys.modules.pop(name, None)


def eventually(holds: Callable[[], bool], *, within: float) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"did not hold within {within} s"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["inbox", "lake", "catalog.db", ""])
def test_a_collector_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    faults: object, tmp_path: Path, part: str
) -> None:
    """The disk is full for one part of the store, and then for all of it: no part is written while the others are."""
    if not faults.AVAILABLE:  # type: ignore[attr-defined]  # a module that is loaded by its path
        pytest.skip("needs Linux and a C compiler")
    location = tmp_path / "S"
    Store.open(location).close()
    disk = faults.Disk(tmp_path)  # type: ignore[attr-defined]  # as above
    command = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
    words = [*command, "collect", "--port", "0", "--grpc-port", "off", "--settle-every", "0.05"]
    process = subprocess.Popen(
        [*words, "--store", str(location)], stderr=subprocess.PIPE, text=True, env={**os.environ, **disk.environment}
    )
    assert process.stderr is not None
    url = next(line for line in process.stderr if line.startswith("collecting on ")).split()[-1]
    try:
        reading = threading.Thread(target=process.stderr.read)
        reading.start()

        def send(trace: int) -> int:
            body = request(trace, 1, 2)
            return httpx.post(f"{url}/v1/traces", content=body, headers=PROTOBUF, timeout=30).status_code

        def is_ready() -> bool:
            return bool(httpx.get(f"{url}/readyz", timeout=30).json()["status"] == "ready")

        kept = [trace for trace in range(1, 6) if send(trace) == 200]
        assert kept == [1, 2, 3, 4, 5]
        disk.fill(location / part)
        during = {trace: send(trace) for trace in range(10, 16)}
        assert set(during.values()) == {503 if part in ("inbox", "") else 200}
        eventually(lambda: not is_ready(), within=20)
        disk.free()
        eventually(lambda: send(20) == 200, within=20)
        eventually(is_ready, within=20)
        kept += [20, *(trace for trace, status in during.items() if status == 200)]
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        reading.join()
        process.stderr.close()
        disk.close()
    with Store.open(location) as store:
        rows = found(store)
        assert len(rows) == len(set(rows))
        assert {trace for trace, _, _ in rows} >= set(kept)
        assert {trace for trace, _, _ in rows} <= {*kept, *during}
