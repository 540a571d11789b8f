"""A row that comes again takes the place of the first: the files that hold it are written anew without it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.errors import StoreError
from tracekit_collector.known import keys_of
from tracekit_collector.lake import DataFile
from tracekit_collector.loading import Part, span_of, write_file
from tracekit_collector.schema import KEYS

Keys = set[tuple[object, ...]]


def last_of(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Files of one batch so that no key is in two of them: of rows with the same key, the last stays.

    Args:
        folder: The table's folder.
        parts: The files, in the order in which their rows came.
    """
    found: list[Part] = []
    for part in parts:
        mine = set(part.keys) if found else set()
        for place, earlier in enumerate(found):
            if not mine.isdisjoint(earlier.keys):
                path = folder / earlier.name
                thinner = _written(earlier.table, path, earlier.name, earlier.date, _keys(folder, part), path)
                found[place] = thinner or earlier
        found.append(part)
    return [part for part in found if part.rows]


def thinned(folder: Path, hits: Mapping[DataFile, Part], parts: Sequence[Part]) -> tuple[list[DataFile], list[Part]]:
    """Files of a table without the rows that come again.

    Args:
        folder: The table's folder.
        hits: The files that probably hold such rows.
        parts: The new files.

    Returns:
        The files that must leave the table, and what takes their place.
    """
    again = set().union(*(_keys(folder, part) for part in parts))
    old, kept = [], []
    for number, file in enumerate(hits):
        name = f"date={file.date.isoformat()}/{Path(parts[0].name).name.partition('.')[0]}-kept-{number}.zstd.parquet"
        part = _written(parts[0].table, Path(file.path), name, file.date.isoformat(), again, folder / name)
        if part is not None:
            old.append(file)
            if part.rows:
                kept.append(part)
    return old, kept


def _written(table: str, source: Path, name: str, date: str, drop: Keys, target: Path) -> Part | None:
    """The file without some keys; `None` where it holds none of them."""
    held = [(len(keys), keys.isdisjoint(drop)) for keys in _keys_of_groups(source, table)]
    if all(apart for _, apart in held):
        return None
    digests, first, last, rows = array("Q"), 0, 0, 0

    def left() -> Iterator[pa.Table]:
        nonlocal first, last, rows
        opened = _opened(source)
        for number in range(opened.num_row_groups):
            group = opened.read_row_group(number)
            columns = [group.column(each).to_pylist() for each in KEYS[table]]
            group = group.filter(pa.array([key not in drop for key in zip(*columns, strict=True)], pa.bool_()))
            if not len(group):
                continue
            least, most = span_of(table, group)
            first, last, rows = min(first, least) if rows else least, max(last, most), rows + len(group)
            digests.extend(keys_of(table, group))
            yield group

    new = target.with_name(target.name + ".new")
    size = write_file(new, table, left())
    new.replace(target)
    return Part(table, name, date, size, rows, first, last, digests)


def _keys(folder: Path, part: Part) -> Keys:
    return set().union(*_keys_of_groups(folder / part.name, part.table))


def _keys_of_groups(path: Path, table: str) -> Iterator[Keys]:
    opened = _opened(path)
    for number in range(opened.num_row_groups):
        group = opened.read_row_group(number, columns=list(KEYS[table]))
        yield set(zip(*(group.column(name).to_pylist() for name in KEYS[table]), strict=True))


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error}; `tracekit store check` says more") from error
