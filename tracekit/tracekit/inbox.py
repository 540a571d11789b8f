r"""The inbox: append-only segments of raw OTLP requests, one open segment a writer.

A segment is a file `<ulid>.traces`, `<ulid>.logs` or `<ulid>.metrics`. It opens with `MAGIC`, then holds records:

    marker   4 bytes   b"\\xf5TKR"
    length   u32 LE    of the payload, in bytes
    received u64 LE    when the request arrived, nanoseconds since 1970 UTC
    crc      u32 LE    CRC-32 of length, received and payload
    payload            a serialized ExportTraceServiceRequest, ExportLogsServiceRequest or ExportMetricsServiceRequest

A writer holds an exclusive lock on its segment as long as it may append, so a reader can tell a torn record (the
writer is gone) from one that is being written. The file appears under its name only once it is locked.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tracekit._locks import try_lock
from tracekit.errors import StoreError

MAGIC = b"tracekit-inbox-1\n"
MARKER = b"\xf5TKR"
Signal = Literal["traces", "logs", "metrics"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)

HEAD = struct.Struct("<4sIQI")
_SEALED = struct.Struct("<IQ")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_newest = 0
_naming = threading.Lock()


def ulid(now_ns: int | None = None) -> str:
    """A new ULID: 26 characters that sort by time (https://github.com/ulid/spec).

    Those of one process sort in the order in which they were made, within a millisecond and while the clock goes back
    too; `now_ns` is out of that.

    Args:
        now_ns: The time it carries, in nanoseconds since 1970; now when not given.
    """
    global _newest  # noqa: PLW0603 - the order is the process'
    if now_ns is not None:
        number = now_ns // 1_000_000 << 80 | secrets.randbits(80)
    else:
        with _naming:
            number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
            if number <= _newest:
                number = _newest + 1 + secrets.randbits(64)
            _newest = number
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True)
class Record:
    """One request in a segment.

    Args:
        payload: The serialized OTLP request.
        received_ns: When it arrived, in nanoseconds since 1970 UTC.
        start: Where the record begins in its segment, in bytes.
        end: Where the next record begins.
    """

    payload: bytes
    received_ns: int
    start: int
    end: int


@dataclass(frozen=True)
class Damage:
    """A stretch of a segment that holds no readable record.

    Args:
        start: Where it begins, in bytes.
        end: Where reading goes on.
        reason: What is wrong with it.
        torn: Whether it is an unfinished record at the end, as a crash or a writer at work leaves it.
    """

    start: int
    end: int
    reason: str
    torn: bool


class SegmentWriter:
    """Appends requests to segments of its own in an inbox; safe to share between threads and across `fork`.

    Args:
        folder: The store's `inbox` folder; made if it is not there.
        signal: `traces`, `logs` or `metrics`.
        segment_bytes: Size at which a new segment is begun.

    Example:
        >>> import tempfile
        >>> writer = SegmentWriter(Path(tempfile.mkdtemp()), "traces")
        >>> writer.append(b"")
        >>> writer.close()
    """

    def __init__(self, folder: Path, signal: Signal, *, segment_bytes: int = 16 << 20) -> None:
        self._folder = folder
        self._signal: Signal = signal
        self._limit = segment_bytes
        self._mutex = threading.Lock()
        self._file: int | None = None
        self._size = 0
        _writers.add(self)

    def append(self, *payloads: bytes, received_ns: int | None = None, sync: bool = True) -> None:
        """Append requests in one write; on return they are on the disk, if `sync`.

        Args:
            payloads: Serialized OTLP requests, in order.
            received_ns: When they arrived; now when not given.
            sync: Whether to wait until the disk has them.

        Raises:
            StoreError: The inbox cannot be written (disk full, no permission); none of the requests counts as kept.
        """
        received = time.time_ns() if received_ns is None else received_ns
        block = b"".join(_framed(payload, received) for payload in payloads)
        with self._mutex:
            try:
                descriptor = self._open()
                self._write(descriptor, block)
                if sync:
                    os.fsync(descriptor)
            except OSError as error:
                self._abandon()
                raise StoreError(f"cannot write to the inbox {self._folder}: {error.strerror or error}") from error
            if self._size >= self._limit:
                self._abandon()

    def close(self) -> None:
        """Close the segment, which frees it to be settled and removed; a later append begins a new one."""
        with self._mutex:
            self._abandon()

    def _write(self, descriptor: int, block: bytes) -> None:
        done = 0
        try:
            while done < len(block):
                done += os.write(descriptor, block[done:])
        except OSError:
            # A half-written record would hide what the next append puts behind it.
            os.ftruncate(descriptor, self._size)
            raise
        self._size += len(block)

    def _open(self) -> int:
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._abandon()  # somebody removed the store: what is appended to a removed file is nowhere
        if self._file is None:
            self._file = self._begin()
        return self._file

    def _begin_in_child(self) -> None:
        """Leave an inherited segment, and its lock, to the parent process; a thread there may hold the mutex."""
        self._mutex = threading.Lock()
        self._abandon()

    def _begin(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = ulid()
        hidden = self._folder / f".{name}.{self._signal}"
        descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try_lock(descriptor)
            os.write(descriptor, MAGIC)
            hidden.rename(self._folder / f"{name}.{self._signal}")
            synced(self._folder)
        except OSError:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
        self._size = len(MAGIC)
        return descriptor

    def _abandon(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


def _after_fork() -> None:
    global _naming  # noqa: PLW0603 - a thread that is not in the child may have held the parent's
    _naming = threading.Lock()
    for writer in list(_writers):
        writer._begin_in_child()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def segments(folder: Path) -> list[Path]:
    """The segments of an inbox, oldest first; none when the folder is not there."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix[1:] in SIGNALS and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def read_segment(path: Path, start: int = 0, end: int | None = None) -> Iterator[Record | Damage]:
    """The records of a segment from a byte position on, in order, and the damage between them.

    Args:
        path: The segment.
        start: Where to begin, in bytes: 0 or the `end` of a record.
        end: Where to stop, in bytes; the file's present size when not given.

    Raises:
        StoreError: The segment cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(-1 if end is None else end - start)
    except OSError as error:
        raise StoreError(f"cannot read the segment {path}: {error.strerror}") from error
    position = 0
    if start == 0:
        position = len(MAGIC)
        if not data.startswith(MAGIC):
            torn = MAGIC.startswith(data)
            position = -1 if torn else _sound_from(data, 0)
            reason = "the segment's first line is unfinished" if torn else "this is no segment of this version"
            if position < 0:
                yield Damage(0, len(data), reason, torn)
                return
            yield Damage(0, position, "the segment's first line is damaged", torn=False)
    while position < len(data):
        item = _record_at(data, position, start)
        yield item
        position = item.end - start


def _record_at(data: bytes, position: int, base: int) -> Record | Damage:
    head = data[position : position + HEAD.size]
    if len(head) < HEAD.size:
        return Damage(base + position, base + len(data), "an unfinished record", torn=True)
    marker, length, received, crc = HEAD.unpack(head)
    begin = position + HEAD.size
    if marker == MARKER and begin + length <= len(data):
        payload = data[begin : begin + length]
        if zlib.crc32(payload, zlib.crc32(_SEALED.pack(length, received))) == crc:
            return Record(payload, received, base + position, base + begin + length)
    following = _sound_from(data, position + 1)
    if following != -1:
        return Damage(base + position, base + following, "a record whose checksum does not hold", torn=False)
    torn = marker == MARKER and begin + length > len(data)
    reason = "an unfinished record" if torn else "a record whose checksum does not hold"
    return Damage(base + position, base + len(data), reason, torn)


def _sound_from(data: bytes, position: int) -> int:
    """Where the first sound record begins from a place on; -1 where there is none."""
    following = data.find(MARKER, position)
    while following != -1 and _record_at_exact(data, following) is None:
        following = data.find(MARKER, following + 1)
    return following


def _record_at_exact(data: bytes, position: int) -> Record | None:
    head = data[position : position + HEAD.size]
    if len(head) < HEAD.size:
        return None
    marker, length, received, crc = HEAD.unpack(head)
    begin = position + HEAD.size
    payload = data[begin : begin + length]
    sound = marker == MARKER and len(payload) == length
    if sound and zlib.crc32(payload, zlib.crc32(_SEALED.pack(length, received))) == crc:
        return Record(payload, received, position, begin + length)
    return None


def _framed(payload: bytes, received_ns: int) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(_SEALED.pack(len(payload), received_ns)))
    return HEAD.pack(MARKER, len(payload), received_ns, crc) + payload


def synced(path: Path) -> None:
    """Wait until the disk holds what is in a file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
