"""The lake: Delta tables of Parquet, appended to exactly once. The only module that imports deltalake.

Each table lies in a folder of its own and is partitioned by UTC date. A commit names the batch of the inbox that it
holds (a Delta `txn` action: application id and version), so that a batch that is settled again after a crash finds
itself in the table and is left out.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from tracekit.errors import StoreError
from tracekit.inbox import synced
from tracekit_collector.parquet import to_arrow
from tracekit_collector.schema import KEYS, TABLES, TIMES

__all__ = ["Batch", "DataFile", "Lake", "Written", "to_arrow"]

_ATTEMPTS = 8
_SWAP_ATTEMPTS = 40
_RECENT = 4
_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 hours",  # a reader that stays open reads the table anew at need
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


@dataclass(frozen=True)
class DataFile:
    """A Parquet file that a table's newest version names.

    Args:
        path: Where it lies.
        name: The same in the Delta log: relative to the table.
        date: The date of its rows.
        bytes: Its size.
        rows: How many rows the log says that it has; `None` where the log does not.
        written_ms: When it was written, in milliseconds since 1970.
        first: The least time of its rows, in nanoseconds since 1970; `None` where the log does not say.
        last: The greatest.
    """

    path: str
    name: str
    date: datetime.date
    bytes: int
    rows: int | None
    written_ms: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class TimedFile:
    """A Parquet file and the times in it, as far as the Delta log tells them.

    Args:
        path: Where it lies.
        rows: How many rows it has.
        first_ns: The least `start_ns`, in nanoseconds since 1970.
        last_ns: The greatest.
    """

    path: str
    rows: int | None
    first_ns: int | None
    last_ns: int | None


@dataclass(frozen=True)
class Written:
    """A Parquet file that lies in a table's folder, and that no version names yet.

    Args:
        name: Its path relative to the table.
        date: The date of its rows.
        bytes: Its size.
        stats: The Delta log's statistics of it, as JSON.
    """

    name: str
    date: datetime.date
    bytes: int
    stats: str


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

    def widen(self, table: str) -> None:
        """Give a table the columns that it does not have yet, because an older version made it."""
        delta = self._newest(table)
        if delta is None:
            return
        found = {field.name for field in delta.schema().fields}
        missing = [field for field in TABLES[table] if field.name not in found]
        if missing:
            delta.alter.add_columns(list(Schema.from_arrow(pa.schema(missing)).fields))
            self._open.pop(table, None)

    def add(
        self, table: str, new: Sequence[Written], *, old: Sequence[DataFile] = (), batch: Batch | None = None
    ) -> bool:
        """Take in files that lie in the table's folder already, in one commit, which makes the table if need be.

        Args:
            table: One of `TABLES`, and one that `takes` files.
            new: The files, each under its date.
            old: Files that leave the table in the same commit.
            batch: Where the rows came from; the commit then names it.

        Returns:
            Whether it was done; not where another writer has removed or replaced one of the old files.

        Raises:
            StoreError: The table cannot be written.
        """
        if not old and self._newest(table) is None and self._begun(table, new, batch):
            return True
        return self._exchange(table, new, old, batch=batch, changes=True)

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
                    synced(path)
                    folders.add(path.parent)
        for folder in folders:
            synced(folder)
        self._synced[table] = version

    def entries(self, table: str) -> list[DataFile]:
        """The files that the table's newest version names, oldest commit first."""
        delta = self._newest(table)
        if delta is None:
            return []
        told = _told(delta).to_pylist()
        folder = self.folder / table
        found = [
            DataFile(
                path=str(folder / unquote(each["path"])),
                name=each["path"],
                date=_date(each["path"], each.get("partition.date")),
                bytes=each["size_bytes"],
                rows=each["num_records"],
                written_ms=each["modification_time"],
                first=_ns(each.get(f"min.{TIMES[table]}")),
                last=_ns(each.get(f"max.{TIMES[table]}")),
            )
            for each in told
        ]
        return sorted(found, key=lambda file: (file.written_ms, file.name))

    def timed_files(self, table: str, column: str = "start_ns") -> list[TimedFile]:
        """The files that the table's newest version names, sorted by path, with the least and greatest of a column."""
        delta = self._newest(table)
        if delta is None:
            return []
        told = _told(delta)
        columns = [
            told.column(name).to_pylist() if name in told.column_names else [None] * told.num_rows
            for name in ("path", "num_records", f"min.{column}", f"max.{column}")
        ]
        folder = self.folder / table
        found = [TimedFile(str(folder / unquote(path)), *rest) for path, *rest in zip(*columns, strict=True)]
        return sorted(found, key=lambda file: file.path)

    def swap(self, table: str, *, new: Sequence[Written], old: Sequence[DataFile]) -> bool:
        """Put files in the place of others, in one commit: readers see all of the old ones or all of the new.

        Args:
            table: One of `TABLES`.
            new: Files that lie in the table's folder already, each under its date.
            old: What they take the place of; `vacuum` takes them off the disk later.

        Returns:
            Whether it was done; not where another writer has removed or replaced one of the old files.

        Raises:
            StoreError: The table cannot be written.
        """
        return self._exchange(table, new, old, batch=None, changes=False)

    def vacuum(self, table: str, *, hours: int, dry_run: bool = False) -> int:
        """Remove files that no version younger than `hours` names, those of writers that died among them.

        Args:
            table: One of `TABLES`.
            hours: How long a replaced file stays; with 0 no other process may be writing.
            dry_run: Only count them.

        Returns:
            How many.

        Raises:
            StoreError: The table cannot be read, or a file not removed.
        """
        delta = self._newest(table)
        if delta is None:
            return 0
        try:
            return len(
                delta.vacuum(retention_hours=hours, dry_run=dry_run, enforce_retention_duration=False, full=True)
            )
        except (DeltaError, OSError) as error:
            raise StoreError(f"cannot remove old files of {delta.table_uri}: {error}") from error

    def log_entries(self, table: str) -> int:
        """How many commits the table's log has an entry of its own for."""
        log = self.folder / table / "_delta_log"
        return sum(1 for path in log.glob("*.json") if path.stem.isdecimal()) if log.is_dir() else 0

    def shorten_log(self, table: str) -> None:
        """Write the table's state down in one checkpoint, and forget log entries that have had their time.

        Raises:
            StoreError: The log cannot be written.
        """
        delta = self._newest(table)
        if delta is None:
            return
        try:
            kept = delta.metadata().configuration
            if any(kept.get(name) != value for name, value in _CONFIGURATION.items()):
                delta.alter.set_table_properties({name: str(value) for name, value in _CONFIGURATION.items()})
                delta = DeltaTable(str(self.folder / table))
            delta.create_checkpoint()
            delta.cleanup_metadata()
        except (DeltaError, OSError) as error:
            raise StoreError(f"cannot shorten the log of {delta.table_uri}: {error}") from error
        self._open.pop(table, None)

    def _begun(self, table: str, new: Sequence[Written], batch: Batch | None) -> bool:
        """Make the table, with its first files; whether it was not there yet."""
        try:
            create_table_with_add_actions(
                str(self.folder / table),
                Schema.from_arrow(TABLES[table]),
                _added(new, int(time.time() * 1000), changes=True),
                mode="error",
                partition_by=["date"],
                configuration=_CONFIGURATION,
                commit_properties=_commit(batch),
            )
        except (DeltaError, OSError) as error:
            if self._newest(table) is None:
                raise StoreError(f"cannot write to the table {self.folder / table}: {error}") from error
            return False
        return True

    def _exchange(
        self, table: str, new: Sequence[Written], old: Sequence[DataFile], *, batch: Batch | None, changes: bool
    ) -> bool:
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [*_added(new, now, changes=changes)]
        actions += [RemoveAction(path=file.name, data_change=changes, deletion_timestamp=now) for file in old]
        transactions = None if batch is None else [Transaction(batch.inbox, batch.number)]
        for attempt in range(_SWAP_ATTEMPTS):
            delta = self._newest(table)
            if delta is None or (
                old and not {file.name for file in old} <= {each.name for each in self.entries(table)}
            ):
                return False
            try:
                # deltalake does not mind a file that is gone already, so no other commit may come between.
                properties = CommitProperties(app_transactions=transactions, max_commit_retries=0 if old else None)
                delta.create_write_transaction(
                    actions, "append", delta.schema(), partition_by=["date"], commit_properties=properties
                )
            except CommitFailedError:
                self._open.pop(table, None)
                time.sleep(0.002 * attempt)
            except (DeltaError, OSError) as error:
                self._open.pop(table, None)
                raise StoreError(f"cannot write to the table {self.folder / table}: {error}") from error
            else:
                return True
        return False

    def _newest(self, table: str) -> DeltaTable | None:
        try:
            if table in self._open:
                self._open[table].update_incremental()
            elif not (self.folder / table / "_delta_log").is_dir():
                return None  # quicker than to have it looked for
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


def _commit(batch: Batch | None) -> CommitProperties | None:
    if batch is None:
        return None
    return CommitProperties(app_transactions=[Transaction(batch.inbox, batch.number)])


def _told(delta: DeltaTable) -> pa.Table:
    # `pa.table` would load pandas, to see that this is none of its frames.
    return pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()


def _added(files: Sequence[Written], now_ms: int, *, changes: bool) -> list[AddAction]:
    return [
        AddAction(file.name, file.bytes, {"date": file.date.isoformat()}, now_ms, changes, file.stats) for file in files
    ]


def _date(path: str, partition: object) -> datetime.date:
    if isinstance(partition, datetime.date):
        return partition
    return datetime.date.fromisoformat(path.partition("date=")[2].partition("/")[0])


def _ns(value: object) -> int | None:
    return value if isinstance(value, int) else None


_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=3,
    max_row_group_size=65_536,
    column_properties={
        name: ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=20_000))  # noqa: FBT003
        for name in _LOOKED_UP
    },
)
