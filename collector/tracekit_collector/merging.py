"""Merging: the rows of some Parquet files in order of time, of each key the last, a window of rows after the other.

First only times and keys are read: they tell where the windows end, and which rows come again. Then each row group is
read once, when the first window wants rows of it, and let go with its last row. So what is in memory is a window and
the row groups that overlap it, however large the files are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracekit_collector.keys import key_of, span_key
from tracekit_collector.schema import KEYS, TABLES, TIMES

_BEFORE_ALL = -(2**63)  # where a row without a time stands

_Order = tuple[int, int, int, int]  # when a row was received, and where it stands: its file, row group and row


@dataclass
class _Group:
    """A row group: where it stands, its least and greatest time, and what is left of it once it was read."""

    place: int
    number: int
    first: int
    last: int
    dropped: set[int] = field(default_factory=set)
    rows: pa.Table | None = None
    times: pa.Array | None = None
    at: int = 0


class Merge:
    """The rows of some files, merged.

    Args:
        table: One of `TABLES`.
        paths: Its files, oldest first.
        window: How many rows are in a window, more or less: rows of one time stay together.
    """

    def __init__(self, table: str, paths: Sequence[str], *, window: int) -> None:
        self._table = table
        self._window = window
        self._paths = paths
        self._groups: list[_Group] = []
        self.rows = 0
        self.kept = 0
        times, digests = [], []
        for place, path in enumerate(paths):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for number in range(file.num_row_groups):
                    read = _read(file, number, (TIMES[table], *KEYS[table]))
                    moments = _moments(read, table)
                    times.append(moments)
                    digests.append(_digests(read, table))
                    bounds = pc.min_max(moments)
                    if len(read):
                        self._groups.append(_Group(place, number, bounds["min"].as_py(), bounds["max"].as_py()))
                    self.rows += len(read)
        self._ends = _ends(pa.chunked_array(times, pa.int64()), window)
        self._find_repeated([each for each in digests if len(each)])

    def windows(self) -> Iterator[pa.Table]:
        """The rows in order of time and key, a window after the other, with every column but `date`."""
        waiting = sorted(self._groups, key=lambda group: group.first)
        for end in (*self._ends, None):
            begun = [group for group in waiting if end is None or group.first < end]
            pieces = [piece for group in begun if len(piece := self._piece(group, end))]
            waiting = [group for group in waiting if group.rows is not None or group not in begun]
            if not pieces:
                continue
            rows = pa.concat_tables(pieces)
            rows = rows if len(pieces) == 1 and _in_order(_moments(rows, self._table)) else _sorted(rows, self._table)
            del pieces  # and with them the row groups that they are the last of
            self.kept += len(rows)
            yield rows
            del rows

    def _piece(self, group: _Group, end: int | None) -> pa.Table:
        """The next rows of a group, up to a time."""
        if group.rows is None:
            rows = self._read(group, TABLES[self._table].names)
            rows = fitted(rows, self._table)
            if group.dropped:
                rows = rows.filter(pa.array([row not in group.dropped for row in range(len(rows))], pa.bool_()))
            if end is None or group.last < end:
                return rows
            if not _in_order(_moments(rows, self._table)):
                rows = _sorted(rows, self._table)
            group.rows, group.times = rows, _moments(rows, self._table)
        rows, times, start = group.rows, group.times, group.at
        stop = len(rows) if end is None or times is None else _place(times, end)
        piece = rows.slice(start, stop - start)
        if stop == len(rows) or times is None:
            group.rows = group.times = None
        elif 2 * stop > len(rows):  # a slice would hold all of it
            group.rows, group.times, group.at = rows.take(pa.array(range(stop, len(rows)))), times[stop:], 0
        else:
            group.at = stop
        return piece

    def _read(self, group: _Group, names: Sequence[str]) -> pa.Table:
        with pq.ParquetFile(self._paths[group.place], pre_buffer=False) as file:  # hundreds that stay open take 50 MB
            return _read(file, group.number, names)

    def _find_repeated(self, digests: list[pa.Array]) -> None:
        """Note in each group which of its rows a later one takes the place of."""
        counted = pc.value_counts(pa.chunked_array(digests, pa.uint64()))
        twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
        if not len(twice):
            return
        last: dict[tuple[object, ...], _Order] = {}
        for index, (group, each) in enumerate(zip(self._groups, digests, strict=True)):
            hits = pc.indices_nonzero(pc.is_in(each, value_set=twice)).to_pylist()
            for key, order in self._orders(group, hits, index):
                held = last.get(key)
                last[key] = order if held is None else max(held, order)
                if held is not None:
                    lost = min(held, order)
                    self._groups[lost[2]].dropped.add(lost[3])

    def _orders(self, group: _Group, hits: list[int], index: int) -> Iterator[tuple[tuple[object, ...], _Order]]:
        if not hits:
            return
        newest = "received_at" if "received_at" in TABLES[self._table].names else TIMES[self._table]
        read = self._read(group, (*KEYS[self._table], newest)).take(hits)
        if newest in read.column_names:
            received = read.column(newest).cast(pa.int64()).fill_null(_BEFORE_ALL).to_pylist()
        else:
            received = [_BEFORE_ALL] * len(hits)
        keys = zip(*(read.column(name).to_pylist() for name in KEYS[self._table]), strict=True)
        for key, moment, row in zip(keys, received, hits, strict=True):
            yield key, (moment, group.place, index, row)


def _read(file: pq.ParquetFile, number: int, names: Sequence[str]) -> pa.Table:
    present = set(file.schema_arrow.names)
    return file.read_row_group(number, columns=[name for name in names if name in present], use_threads=False)


def fitted(rows: pa.Table, table: str) -> pa.Table:
    """The rows with exactly the columns of a table, but `date`; those that an older version did not have are null."""
    schema = pa.schema([each for each in TABLES[table] if each.name != "date"])
    held: Mapping[str, pa.ChunkedArray] = dict(zip(rows.column_names, rows.columns, strict=True))
    columns = [
        pa.nulls(len(rows), each.type)
        if (found := held.get(each.name)) is None
        else found
        if found.type == each.type
        else found.cast(each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _ends(times: pa.ChunkedArray, window: int) -> list[int]:
    """The times before which windows end, least first."""
    ordered = times.combine_chunks().sort()
    found = {ordered[at].as_py() for at in range(window, len(ordered), window)} - {_BEFORE_ALL}
    return sorted(found)


def _moments(rows: pa.Table, table: str) -> pa.Array:
    return rows.column(TIMES[table]).cast(pa.int64()).fill_null(_BEFORE_ALL).combine_chunks()


def _in_order(moments: pa.Array) -> bool:
    return len(moments) < 2 or bool(pc.all(pc.less(moments[:-1], moments[1:])).as_py())


def _sorted(rows: pa.Table, table: str) -> pa.Table:
    names = [TIMES[table], *KEYS[table]]
    keys = pa.table([_moments(rows, table), *(rows.column(name) for name in KEYS[table])], names=names)
    return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in names]))


def _place(moments: pa.Array, end: int) -> int:
    return bisect_left(range(len(moments)), end, key=lambda at: moments[at].as_py())


def _digests(rows: pa.Table, table: str) -> pa.Array:
    columns = [rows.column(name).to_pylist() for name in KEYS[table]]
    make = _span_key if table == "spans" else key_of
    keys = array("Q", [make(*each) for each in zip(*columns, strict=True)])
    return pa.Array.from_buffers(pa.uint64(), len(keys), [None, pa.py_buffer(keys)])


def _span_key(trace_id: str, span_id: str) -> int:
    try:
        return span_key(trace_id, span_id)
    except (TypeError, ValueError):  # a row that was appended with ids of its own kind
        return key_of(trace_id, span_id)
