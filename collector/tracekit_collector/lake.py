"""The lake: Delta tables of Parquet, appended to exactly once. The only module that imports deltalake.

Each table lies in a folder of its own and is partitioned by UTC date. A commit names the batch of the inbox that it
holds (a Delta `txn` action: application id and version), so that a batch that is settled again after a crash finds
itself in the table and is left out.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tracekit.errors import StoreError
from tracekit.inbox import sync_folder
from tracekit_collector.schema import KEYS, SCHEMA_VERSION, TABLES

_ATTEMPTS = 8
_RECENT = 4
_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 days",
}
_LOOKED_UP = ("trace_id", "session_id")


@dataclass(frozen=True)
class Batch:
    """What makes a commit known again.

    Args:
        inbox: The id of the inbox that the rows came from.
        number: The batch's number in that inbox.
    """

    inbox: str
    number: int


class Lake:
    """The tables of a store.

    Args:
        folder: Where the tables lie; made by the first append.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, DeltaTable] = {}
        self._synced: dict[str, int] = {}

    def files(self, table: str, *, dates: Iterable[datetime.date] | None = None) -> list[str]:
        """The Parquet files that the table's newest version names, of some dates only where dates are given."""
        delta = self._newest(table)
        if delta is None:
            return []
        # deltalake gives paths the way a URL has them: a space as %20.
        paths = sorted(unquote(uri) for uri in delta.file_uris())
        if dates is None:
            return paths
        wanted = tuple(f"/date={date.isoformat()}/" for date in dates)
        return [path for path in paths if any(part in path for part in wanted)]

    def version(self, table: str) -> int | None:
        """The table's newest Delta version; `None` where nothing was ever written."""
        delta = self._newest(table)
        return None if delta is None else delta.version()

    def size(self, table: str) -> tuple[int, int]:
        """How many bytes the table's newest version takes on the disk, in how many files."""
        delta = self._newest(table)
        if delta is None:
            return 0, 0
        sizes = delta.get_add_actions(flatten=True).column("size_bytes").to_pylist()
        return sum(sizes), len(sizes)

    def holds(self, table: str, batch: Batch) -> bool:
        """Whether the table already has the batch's rows."""
        delta = self._newest(table)
        last = None if delta is None else delta.transaction_version(batch.inbox)
        return last is not None and last >= batch.number

    def append(self, table: str, rows: pa.Table, *, batch: Batch | None = None) -> None:
        """Add rows in one commit.

        Args:
            table: One of `TABLES`.
            rows: Columns as in the table's schema.
            batch: Where the rows came from; the commit then names it.

        Raises:
            StoreError: The table cannot be written.
        """

        def write() -> None:
            write_deltalake(
                str(self.folder / table),
                rows,
                partition_by=["date"],
                mode="append",
                schema_mode="merge",
                writer_properties=_WRITER,
                commit_properties=_commit(batch),
                configuration=_CONFIGURATION,
            )

        self._commit(table, write)

    def replace(
        self, table: str, rows: pa.Table, *, dates: Iterable[datetime.date], batch: Batch | None = None
    ) -> None:
        """Add rows in one commit, each taking the place of the row with the same key where there is one.

        Args:
            table: One of `TABLES`.
            rows: Columns as in the table's schema, no key twice.
            dates: The dates of the rows that are to be replaced; others are not looked at.
            batch: Where the rows came from; the commit then names it.

        Raises:
            StoreError: The table cannot be written.
        """
        listed = ", ".join(f"DATE '{date.isoformat()}'" for date in sorted(dates))
        same = " and ".join([f"old.date in ({listed})", *(f"old.{key} = new.{key}" for key in KEYS[table])])

        def write() -> None:
            delta = self._newest(table)
            if delta is None:
                raise StoreError(f"the table {table} is gone from {self.folder}")
            merger = delta.merge(
                rows,
                same,
                source_alias="new",
                target_alias="old",
                writer_properties=_WRITER,
                commit_properties=_commit(batch),
                streamed_exec=False,
            )
            merger.when_matched_update_all().when_not_matched_insert_all().execute()

        self._commit(table, write)

    def sync(self, table: str) -> None:
        """Wait until the disk has what was committed to a table since the last call, so that a power cut keeps it."""
        version = self.version(table)
        if version is None or not self.folder.is_dir():
            return
        log = self.folder / table / "_delta_log"
        folders = {log}
        for number in range(self._synced.get(table, version - _RECENT) + 1, version + 1):
            entry = log / f"{number:020d}.json"
            if not entry.is_file():
                continue
            # Bytes, because a text would also be split at U+2028 and the like, which the log does not escape.
            added = [json.loads(line).get("add") for line in entry.read_bytes().splitlines()]
            for path in (entry, *(self.folder / table / unquote(each["path"]) for each in added if each)):
                if path.is_file():
                    _sync_file(path)
                    folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)
        self._synced[table] = version

    def compact(self, table: str, *, more_than: int = 1) -> int:
        """Join the small files of every date that has many into large ones.

        Args:
            table: One of `TABLES`.
            more_than: Leave a date alone that has no more files than this.

        Returns:
            How many files were joined. The old ones stay on the disk until `vacuum`, for whoever is reading them.
        """
        delta = self._newest(table)
        if delta is None:
            return 0
        count: dict[str, int] = {}
        for path in self.files(table):
            date = path.rpartition("/date=")[2].partition("/")[0]
            count[date] = count.get(date, 0) + 1
        removed = 0
        for date, files in sorted(count.items()):
            if files > more_than:
                removed += self._compact_date(delta, date)
        return removed

    def _compact_date(self, delta: DeltaTable, date: str) -> int:
        try:
            joined = delta.optimize.compact(partition_filters=[("date", "=", date)], writer_properties=_WRITER)
        except CommitFailedError:
            return 0  # another process has just done it
        except (DeltaError, OSError) as error:
            raise StoreError(f"cannot compact {delta.table_uri}: {error}") from error
        return int(joined["numFilesRemoved"])

    def vacuum(self, table: str, *, hours: int) -> int:
        """Remove files that no version younger than `hours` names; returns how many."""
        delta = self._newest(table)
        if delta is None:
            return 0
        try:
            return len(delta.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False))
        except (DeltaError, OSError) as error:
            raise StoreError(f"cannot remove old files of {delta.table_uri}: {error}") from error

    def _newest(self, table: str) -> DeltaTable | None:
        try:
            if table in self._open:
                self._open[table].update_incremental()
            else:
                self._open[table] = DeltaTable(str(self.folder / table))
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            self._open.pop(table, None)
            raise StoreError(f"cannot open the table {self.folder / table}: {error}") from error
        return self._open[table]

    def _commit(self, table: str, write: Callable[[], None]) -> None:
        # Two writers of one store may meet at the same Delta version; the loser tries again on top of the winner.
        for attempt in range(_ATTEMPTS):
            try:
                write()
            except CommitFailedError as error:
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(f"cannot commit to the table {table}: {error}") from error
                time.sleep(0.01 * 2**attempt)
            except (DeltaError, OSError) as error:
                raise StoreError(f"cannot write to the table {self.folder / table}: {error}") from error
            else:
                return


def to_arrow(table: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows as the columns of a lake table; a column that a row does not have is null.

    Args:
        table: One of `TABLES`.
        rows: Each a mapping of column names to values.

    Raises:
        StoreError: A row has a column that the table does not, or a value of the wrong type.
    """
    schema = TABLES[table]
    known = set(schema.names)
    for row in rows:
        if not row.keys() <= known:
            raise StoreError(f"the table {table} has no column {', '.join(sorted(row.keys() - known))}")
    columns = []
    for field in schema:
        if field.name == "schema_version":
            values: list[object] = [SCHEMA_VERSION] * len(rows)
        else:
            values = [row.get(field.name) for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"a value does not fit the column {table}.{field.name} ({field.type}): {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _commit(batch: Batch | None) -> CommitProperties | None:
    if batch is None:
        return None
    return CommitProperties(app_transactions=[Transaction(batch.inbox, batch.number)])


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=3,
    max_row_group_size=65_536,
    column_properties={
        name: ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=20_000))  # noqa: FBT003
        for name in _LOOKED_UP
    },
)
