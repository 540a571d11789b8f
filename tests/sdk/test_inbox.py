"""The inbox keeps what it acknowledged: torn tails, flipped bits, forks, full disks."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import inbox
from tracekit._locks import try_lock
from tracekit.errors import StoreError
from tracekit.inbox import MAGIC, MARKER, Damage, Record, SegmentWriter, read_segment, segments, ulid


def payloads(path: Path) -> list[bytes]:
    return [item.payload for item in read_segment(path) if isinstance(item, Record)]


def written(folder: Path, *requests: bytes) -> Path:
    writer = SegmentWriter(folder, "traces")
    writer.append(*requests, received_ns=5)
    writer.close()
    return segments(folder)[-1]


@given(st.lists(st.binary(max_size=300) | st.just(MARKER) | st.just(MAGIC), max_size=6))
def test_requests_come_back_as_they_went_in(tmp_path_factory, requests: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("inbox")
    path = written(folder, *requests)
    found = list(read_segment(path))
    assert [item.payload for item in found if isinstance(item, Record)] == requests
    assert len(found) == len(requests)
    assert all(isinstance(item, Record) and item.received_ns == 5 for item in found)
    ends = [len(MAGIC), *(item.end for item in found)]
    assert [item.start for item in found] == ends[:-1]
    assert ends[-1] == path.stat().st_size


def test_reading_can_go_on_from_where_a_record_ends(tmp_path: Path) -> None:
    path = written(tmp_path, b"one", b"two", b"three")
    first = next(read_segment(path))
    assert [item.payload for item in read_segment(path, first.end)] == [b"two", b"three"]  # type: ignore[union-attr]
    second = next(read_segment(path, first.end))
    assert [item.payload for item in read_segment(path, first.end, second.end)] == [b"two"]  # type: ignore[union-attr]


def test_a_torn_tail_costs_the_torn_record_alone_wherever_it_is_torn(tmp_path: Path) -> None:
    requests = [b"first", b"second request", b"third " * 5]
    path = written(tmp_path, *requests)
    whole = path.read_bytes()
    ends = [item.end for item in read_segment(path)]
    torn = tmp_path / "torn.traces"
    for size in range(len(whole)):
        torn.write_bytes(whole[:size])
        found = list(read_segment(torn))
        kept = [request for request, end in zip(requests, ends, strict=True) if end <= size]
        assert [item.payload for item in found if isinstance(item, Record)] == kept
        damage = [item for item in found if isinstance(item, Damage)]
        at_an_end = size in (len(MAGIC), *ends)
        assert len(damage) == (0 if at_an_end else 1)
        assert all(item.torn and item.end == size for item in damage)


def test_a_flipped_bit_costs_the_damaged_record_alone_wherever_it_is(tmp_path: Path) -> None:
    requests = [b"first", b"second request", b"third"]
    path = written(tmp_path, *requests)
    whole = path.read_bytes()
    ends = [item.end for item in read_segment(path)]
    flipped = tmp_path / "flipped.traces"
    for position in range(len(MAGIC), len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            flipped.write_bytes(data)
            hit = next(number for number, end in enumerate(ends) if position < end)
            found = list(read_segment(flipped))
            kept = [request for number, request in enumerate(requests) if number != hit]
            assert [item.payload for item in found if isinstance(item, Record)] == kept
            assert [type(item) for item in found].count(Damage) == 1


def test_a_file_that_is_no_segment_is_damage_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.traces"
    path.write_bytes(b"something else entirely")
    assert list(read_segment(path)) == [Damage(0, 23, "this is no segment of this version", torn=False)]
    path.write_bytes(b"")
    assert list(read_segment(path)) == [Damage(0, 0, "the segment's first line is unfinished", torn=True)]


def test_a_segment_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read the segment"):
        list(read_segment(tmp_path / "no.traces"))


def test_a_full_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "logs", segment_bytes=100)
    for number in range(5):
        writer.append(str(number).encode() * 60)
    writer.close()
    found = segments(tmp_path)
    assert len(found) == 3
    assert [path.suffix for path in found] == [".logs"] * 3
    assert sorted(payload[:1] for path in found for payload in payloads(path)) == [b"0", b"1", b"2", b"3", b"4"]


def test_an_open_segment_is_locked_and_a_closed_one_is_free(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "traces")
    writer.append(b"x")
    descriptor = os.open(segments(tmp_path)[0], os.O_RDWR)
    try:
        assert not try_lock(descriptor)
        writer.close()
        assert try_lock(descriptor)
    finally:
        os.close(descriptor)
    writer.append(b"y")
    writer.close()
    assert len(segments(tmp_path)) == 2


def test_many_threads_share_a_writer(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "traces", segment_bytes=2_000)
    threads = [
        threading.Thread(target=lambda n=n: [writer.append(f"{n} {m}".encode()) for m in range(20)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = [payload for path in segments(tmp_path) for payload in payloads(path)]
    assert sorted(found) == sorted(f"{n} {m}".encode() for n in range(8) for m in range(20))


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path, script) -> None:
    """Also when another thread of the parent holds the writer's mutex at the moment of the fork."""
    script(
        """
        import os
        from pathlib import Path
        from tracekit.inbox import SegmentWriter
        writer = SegmentWriter(Path("inbox"), "traces")
        writer.append(b"parent before")
        writer._mutex.acquire()  # as a thread that is writing
        child = os.fork()
        if child == 0:
            writer.append(b"child")
            os._exit(0)
        writer._mutex.release()
        assert os.waitpid(child, 0)[1] == 0
        writer.append(b"parent after")
        """
    )
    found = segments(tmp_path / "inbox")
    assert sorted(payloads(path) for path in found) == [[b"child"], [b"parent before", b"parent after"]]


def test_segments_begun_within_one_millisecond_or_after_the_clock_went_back_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was appended first is read first: a thousand writers at one tick, then the clock an hour earlier."""
    now = 1_795_435_348_123_456_789
    monkeypatch.setattr(time, "time_ns", lambda: now)
    for number in range(1000):
        if number == 990:
            now -= 3_600 * 10**9
        writer = SegmentWriter(tmp_path, "traces")
        writer.append(str(number).encode(), sync=False)
        writer.close()
    assert [payloads(path) for path in segments(tmp_path)] == [[str(number).encode()] for number in range(1000)]


def test_a_full_disk_is_told_and_leaves_no_half_record(tmp_path: Path, script) -> None:
    """A file-size limit stands for the full disk: the write stops in the middle of a record."""
    done = script(
        """
        import resource
        from pathlib import Path
        from tracekit.errors import StoreError
        from tracekit.inbox import SegmentWriter
        writer = SegmentWriter(Path("inbox"), "traces")
        writer.append(b"kept")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        try:
            writer.append(b"x" * 10_000)
        except StoreError as error:
            print(error)
        writer.append(b"small")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.append(b"large again" * 100)
        """
    )
    assert done.stdout == "cannot write to the inbox inbox: File too large\n"
    found = segments(tmp_path / "inbox")
    assert [payloads(path) for path in found] == [[b"kept"], [b"small", b"large again" * 100]]
    assert all(isinstance(item, Record) for path in found for item in read_segment(path))


def test_an_inbox_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = SegmentWriter(tmp_path / "file" / "inbox", "traces")
    with pytest.raises(StoreError, match=r"cannot write to the inbox .*inbox: Not a directory"):
        writer.append(b"x")


def test_hidden_and_foreign_files_are_no_segments(tmp_path: Path) -> None:
    assert segments(tmp_path / "nowhere") == []
    for name in (".01X.traces", "settle.json", "01A.traces", "01B.logs", "01C.traces.tmp"):
        (tmp_path / name).touch()
    assert [path.name for path in segments(tmp_path)] == ["01A.traces", "01B.logs"]


def test_ulids_sort_by_time() -> None:
    early, late = ulid(1_700_000_000_000_000_000), ulid(1_700_000_000_001_000_000)
    assert len(early) == 26
    assert early < late
    assert early[:10] == "01HF7YAT00"
    assert set(early) <= set(inbox._CROCKFORD)
