"""Which rows of a batch the lake holds already, without reading the lake.

A row that comes again mostly has the time that it had, so only files whose times overlap those of the batch are
asked, and the newest files whatever their times. What a file holds is a list of 64-bit digests of keys: those of files
that this process wrote are remembered, those of others are read, the row groups alone whose times overlap. The cost
of a batch so depends on what arrived lately and not on how large the lake is. A row that comes again after long, and
with another time, is left to compaction, which keeps the last of each key.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracekit.errors import StoreError
from tracekit_collector.keys import key_of, point_key, span_key
from tracekit_collector.lake import DataFile
from tracekit_collector.loading import Part
from tracekit_collector.schema import KEYS, TIMES

_REMEMBERED = 2_000_000  # digests of 8 bytes
_READ = 2_000_000  # rows of a batch's overlapping files; the rest is left to compaction
_NEWEST = 16  # files that are asked whatever their times, where they have
_FEW = 50_000  # rows at most
# Keys that are made of a request's digest cannot come again: a request that comes again is known as such.
_ONCE = frozenset({"logs", "scores", "metrics"})


class Known:
    """Digests of the keys in a table's newest files.

    Args:
        table: One of `TABLES`.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._held: OrderedDict[str, pa.Array] = OrderedDict()
        self._count = 0

    def remember(self, part: Part) -> None:
        """Keep the digests of a file that was written now."""
        self._keep(part.name, _digests(part.keys))

    def repeated(self, part: Part, files: Sequence[DataFile]) -> list[DataFile]:
        """Those of the table's files that probably hold rows of a new one.

        Args:
            part: The new file.
            files: The files of the table, oldest first.
        """
        if self._table in _ONCE:
            return []
        digests = _digests(part.keys)
        newest = {file.name for file in files[-_NEWEST:] if (file.rows or 0) <= _FEW}
        room = _READ
        found = []
        for file in reversed(files):
            overlaps = file.first is None or file.last is None or (file.first <= part.last and part.first <= file.last)
            if file.name not in newest and not overlaps:
                continue
            held = self._held.get(file.name)
            if held is None:
                if room <= 0:
                    continue
                held = self._read(file, None if file.name in newest else part)
                room -= len(held)
            if len(held) and pc.any(pc.is_in(digests, value_set=held)).as_py():
                found.append(file)
        return found

    def _read(self, file: DataFile, part: Part | None) -> pa.Array:
        try:
            with pq.ParquetFile(file.path) as opened:
                groups = _overlapping(opened, self._table, part)
                rows = opened.read_row_groups(groups, columns=list(KEYS[self._table]))
                whole = len(groups) == opened.num_row_groups
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot read {file.path}: {error}; `tracekit store check` says more") from error
        keys = _digests(array("Q", keys_of(self._table, rows)))
        if whole:
            self._keep(file.name, keys, newest=False)
        return keys

    def _keep(self, name: str, keys: pa.Array, *, newest: bool = True) -> None:
        self._held[name] = keys
        if not newest:
            self._held.move_to_end(name, last=False)
        self._count += len(keys)
        while self._count > _REMEMBERED and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._count -= len(gone)


def keys_of(table: str, rows: pa.Table) -> Iterator[int]:
    """The digest of each row's key, as the lake's writers make them."""
    columns = [rows.column(name).to_pylist() for name in KEYS[table]]
    makers: dict[str, Callable[..., int]] = {"spans": span_key, "points": point_key}
    make = makers.get(table, key_of)
    return (make(*each) for each in zip(*columns, strict=True))


def _digests(keys: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.uint64(), len(keys), [None, pa.py_buffer(keys)])


def _overlapping(opened: pq.ParquetFile, table: str, part: Part | None) -> list[int]:
    time = TIMES[table]
    place = next((n for n, name in enumerate(opened.schema.names) if name == time), None)
    if part is None or place is None or not time.endswith("_ns"):
        return list(range(opened.num_row_groups))
    found = []
    for number in range(opened.num_row_groups):
        said = opened.metadata.row_group(number).column(place).statistics
        if said is None or not said.has_min_max or (said.min <= part.last and part.first <= said.max):
            found.append(number)
    return found
