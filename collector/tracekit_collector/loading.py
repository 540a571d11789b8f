"""Loading: one range of a segment becomes Parquet files that a table can take in; in this process or in another.

Nothing here opens the lake's log or the catalog: the caller says which requests are known already, and commits the
files that come back. A file that is never committed is no part of any table; `vacuum` takes it away.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import StoreError
from tracekit.inbox import Damage, Record, read_segment, synced
from tracekit_collector import run_records
from tracekit_collector._metric_rows import metric_rows
from tracekit_collector._span_columns import SpanColumns
from tracekit_collector.keys import key_of, point_key
from tracekit_collector.parquet import to_arrow, writer
from tracekit_collector.rows import inference_rows, log_rows, score_rows, version_rows
from tracekit_collector.run_news import RunNews
from tracekit_collector.schema import KEYS, TABLES, TIMES

Known = Callable[[Sequence[str]], set[str]]

_GROUP_ROWS = 1_024  # of files that live a minute: whoever joins them holds a group of each
_AT_ONCE = 2_000  # spans that stand in lists


@dataclass(frozen=True)
class Task:
    """A range of a segment to load.

    Args:
        segment: The segment's path.
        start: Where the range begins, in bytes.
        end: Where it ends.
        lake: The folder of tables.
        stem: What names of files begin with; of no other task.
        done: Tables that have these rows already.
    """

    segment: str
    start: int
    end: int
    lake: str
    stem: str
    done: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """A Parquet file that no version of its table names yet.

    Args:
        table: Whose rows it has.
        name: Its path relative to the table.
        date: The date of its rows, as YYYY-MM-DD.
        bytes: Its size.
        rows: How many rows it has.
        first: Their least time, in nanoseconds since 1970.
        last: Their greatest.
        keys: A 64-bit digest of each row's key, in order.
    """

    table: str
    name: str
    date: str
    bytes: int
    rows: int
    first: int
    last: int
    keys: array[int]

    @property
    def day(self) -> datetime.date:
        """The date of its rows."""
        return datetime.date.fromisoformat(self.date)

    @property
    def stats(self) -> str:
        """The file's statistics as the Delta log has them."""
        said: dict[str, object] = {"numRecords": self.rows}
        name = TIMES[self.table]
        if name.endswith("_ns"):
            said |= {"minValues": {name: self.first}, "maxValues": {name: self.last}, "nullCount": {}}
        return json.dumps(said)


@dataclass
class Loaded:
    """What a range held.

    Args:
        parts: The files that were written.
        digests: Of the requests that were new.
        versions: Agent versions that log records register.
        runs: What log records say of tracked runs.
        named: Agents and versions that spans name.
        damage: What could not be read: its place in the segment, its bytes, and the reason.
        requests: How many requests were new.
        repeated: How many were known.
        rows: How many rows of each table they held.
        refused: How many spans could not be kept.
    """

    parts: list[Part] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    versions: list[dict[str, object]] = field(default_factory=list)
    runs: list[RunNews] = field(default_factory=list)
    named: set[tuple[str, str]] = field(default_factory=set)
    damage: list[tuple[int, bytes, str]] = field(default_factory=list)
    requests: int = 0
    repeated: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    refused: int = 0


def load(task: Task, known: Known) -> Loaded:
    """Write a range's rows to files.

    Args:
        task: What to load, and where to.
        known: Takes the digests of requests and gives those that are settled already.

    Raises:
        StoreError: The segment cannot be read or a file not written.
    """
    loaded = Loaded()
    path = Path(task.segment)
    records: list[tuple[Record, str]] = []
    for item in read_segment(path, task.start, task.end):
        if isinstance(item, Damage):
            loaded.damage.append((item.start, _bytes(path, item.start, item.end), item.reason))
        else:
            records.append((item, hashlib.blake2b(item.payload, digest_size=16).hexdigest()))
    left_out = known([digest for _, digest in records])
    making = _Making(Path(task.lake).parent / "artifacts")
    taken: set[str] = set()
    records.reverse()
    while records:
        record, digest = records.pop()  # what was read of it takes room enough
        if digest in left_out or digest in taken:
            loaded.repeated += 1
            continue
        try:
            making.add(path.suffix[1:], record, digest, loaded)
        except MemoryError:
            raise  # no fault of the payload: it is tried again
        except Exception as error:  # noqa: BLE001 - one payload that we cannot read must not hold up the rest
            # Its digest is not kept: a tracekit that can read it may be given it again.
            loaded.damage.append((record.start, record.payload, f"{type(error).__name__}: {error}"))
            continue
        taken.add(digest)
        loaded.requests += 1
    loaded.digests = sorted(taken)
    loaded.rows = making.count()
    making.finish(task, loaded)
    return loaded


class _Making:
    """Rows of all tables, in the making."""

    def __init__(self, artifacts: Path) -> None:
        self._artifacts = artifacts
        self._spans = SpanColumns()
        self._made: list[pa.Table] = []
        self._keys = array("Q")
        self._named: set[tuple[str, str]] = set()
        self._points: list[pa.Table] = []
        apart = ("spans", "points")
        self._rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES if name not in apart}

    def add(self, signal: str, record: Record, digest: str, loaded: Loaded) -> None:
        received = record.received_ns
        rows = self._rows
        try:
            if signal == "traces":
                request = ExportTraceServiceRequest.FromString(record.payload)
                scores = score_rows(request, digest=digest, received_ns=received)
                loaded.refused += len(self._spans.add(request, received_ns=received))
                rows["scores"] += scores
                if len(self._spans) >= _AT_ONCE:
                    self._make()
            elif signal == "metrics":
                metrics = ExportMetricsServiceRequest.FromString(record.payload)
                rows["metrics"] += metric_rows(metrics, received_ns=received, digest=digest)
            else:
                logs = ExportLogsServiceRequest.FromString(record.payload)
                found = log_rows(logs, received_ns=received, digest=digest)
                scores = score_rows(logs, digest=digest, received_ns=received)
                inferences = inference_rows(logs, received_ns=received, digest=digest)
                loaded.versions += version_rows(logs, received_ns=received)
                news, points = run_records.read(logs, received_ns=received, artifacts=self._artifacts)
                loaded.runs += news
                self._points += points
                rows["logs"] += found
                rows["scores"] += scores
                rows["inferences"] += inferences
        except ProtobufError as error:
            raise StoreError(f"this is no OTLP {signal} request: {error}") from error

    def count(self) -> dict[str, int]:
        spans = len(self._keys) + len(self._spans)
        points = sum(map(len, self._points))
        return {"spans": spans, "points": points, **{table: len(rows) for table, rows in self._rows.items()}}

    def finish(self, task: Task, loaded: Loaded) -> None:
        self._make()
        loaded.named = self._named
        if "spans" not in task.done and self._made:
            made, self._made = pa.concat_tables(self._made), []
            made, digests = in_order("spans", made, self._keys)  # and the rows as they came are let go
            loaded.parts += write_parts("spans", made, digests, task)
        if "points" not in task.done and self._points:
            points, self._points = pa.concat_tables(self._points), []
            loaded.parts += write_parts("points", *in_order("points", points, _point_keys(points)), task)
        for name, rows in self._rows.items():
            if rows and name not in task.done:
                keys = array("Q", (key_of(*(row[each] for each in KEYS[name])) for row in rows))
                loaded.parts += write_parts(name, *in_order(name, to_arrow(name, rows), keys), task)

    def _make(self) -> None:
        """Turn spans into columns: the lists take several times the memory."""
        if len(self._spans):
            self._made.append(self._spans.table())
            self._keys += self._spans.keys
            self._named |= self._spans.named()
            self._spans = SpanColumns()


def _point_keys(points: pa.Table) -> array[int]:
    columns = (points.column(name).to_pylist() for name in KEYS["points"])
    return array("Q", map(point_key, *columns))


def in_order(table: str, rows: pa.Table, keys: array[int]) -> tuple[pa.Table, pa.Array]:
    """Rows in order of time, of those with the same key the last, and the digests of their keys."""
    digests = pa.Array.from_buffers(pa.uint64(), len(keys), [None, pa.py_buffer(keys)])
    if len(set(keys)) != len(keys):
        last = {
            key: place
            for place, key in enumerate(zip(*(rows.column(name).to_pylist() for name in KEYS[table]), strict=True))
        }
        kept = pa.array(sorted(last.values()), pa.int64())
        rows, digests = rows.take(kept), digests.take(kept)
    # Joining files in order of time is cheap where each of them is in order.
    order = pc.sort_indices(rows.column(TIMES[table]))
    return rows.take(order), digests.take(order)


def write_parts(table: str, rows: pa.Table, digests: pa.Array, task: Task) -> list[Part]:
    """Write rows to a file for each date; `in_order` gives rows and digests."""
    dates = pc.unique(rows.column("date")).to_pylist()
    if len(dates) == 1:
        return [_write(table, rows, digests, str(dates[0]), task)]
    parts = []
    for date in sorted(dates):
        places = pc.indices_nonzero(pc.equal(rows.column("date"), pa.scalar(date)))
        parts.append(_write(table, rows.take(places), digests.take(places), str(date), task))
    return parts


def _write(table: str, rows: pa.Table, digests: pa.Array, date: str, task: Task) -> Part:
    folder = Path(task.lake) / table
    name = f"date={date}/{task.stem}.zstd.parquet"
    bare = rows.drop_columns(["date"])
    groups = (bare.slice(start, _GROUP_ROWS) for start in range(0, len(bare), _GROUP_ROWS))
    size = write_file(folder / name, table, groups)
    first, last = span_of(table, rows)
    keys = array("Q")
    keys.frombytes(memoryview(digests.buffers()[1])[8 * digests.offset : 8 * (digests.offset + len(digests))])
    return Part(table, name, date, size, len(rows), first, last, keys)


def write_file(path: Path, table: str, rows: Iterable[pa.Table]) -> int:
    """Write a file of the lake, and wait until the disk has it.

    Args:
        path: The file; its folder is made.
        table: One of `TABLES`.
        rows: Its rows, a row group each, without the column `date`.

    Returns:
        The file's size in bytes.

    Raises:
        StoreError: The disk does not take it.
    """
    try:
        new = not path.parent.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            with writer(file, table) as opened:
                for each in rows:
                    opened.write_table(each, row_group_size=max(1, len(each)))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if new:
            synced(path.parent.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return size


def span_of(table: str, rows: pa.Table) -> tuple[int, int]:
    """The least and the greatest time of some rows, in nanoseconds since 1970."""
    found = pc.min_max(rows.column(TIMES[table]).cast(pa.int64()))
    scale = 1 if TIMES[table].endswith("_ns") else 1000
    least, most = found["min"].as_py(), found["max"].as_py()
    return (least or 0) * scale, (most or 0) * scale


def _bytes(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
