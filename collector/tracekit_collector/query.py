"""SQL over the lake and the catalog. The only module that imports duckdb.

DuckDB reads the Parquet files that the Delta log names; the catalog's few rows are given to it as Arrow tables.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import duckdb
import pyarrow as pa

from tracekit.errors import SettingError, StoreError, UsageError
from tracekit.settings import setting
from tracekit_collector import folding
from tracekit_collector.schema import TABLES

_SPILL = 8  # times the memory that may be spilled to the disk
_EXPLAIN = re.compile(r"\s*explain(\s+analyze\b|\s*\([^)]*\))?", re.IGNORECASE)
_Found = TypeVar("_Found")
_OLDER = re.compile("union_by_name|schema mismatch|not found in FROM clause", re.IGNORECASE)


class Result:
    """The rows that a query gave, read to the end.

    Args:
        table: The rows as Arrow columns.

    Example:
        >>> Result(pa.table({"n": [1, 2]})).fetchall()
        [(1,), (2,)]
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table

    def dicts(self) -> list[dict[str, object]]:
        """The rows as mappings of column names to values."""
        rows: list[dict[str, object]] = self._table.to_pylist()
        return rows

    def fetchall(self) -> list[tuple[object, ...]]:
        """The rows as tuples."""
        return list(zip(*(column.to_pylist() for column in self._table.columns), strict=True))

    def fetchone(self) -> tuple[object, ...] | None:
        """The first row, or `None` where there is none."""
        rows = Result(self._table.slice(0, 1)).fetchall()
        return rows[0] if rows else None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self.dicts())

    def __repr__(self) -> str:
        return f"Result({len(self)} rows of {', '.join(self.columns)})"


class Engine:
    """One DuckDB in memory that sees a store's files through views.

    Args:
        folder: The one folder that a query may read files from.
        memory_mb: How many MiB queries may take together; what does not fit is spilled to the disk, or the query ends.
            The setting `query_memory_mb` when not given. One function call that makes one enormous value is not held
            to it, by DuckDB.
        threads: How many a query may use; one for each core when not given.

    Raises:
        SettingError: The setting is no number.
    """

    def __init__(self, folder: Path, *, memory_mb: int | None = None, threads: int | None = None) -> None:
        memory = _memory_mb() if memory_mb is None else memory_mb
        self._connection = duckdb.connect(":memory:")
        self._seen: dict[str, tuple[str, ...]] = {}
        self._by_name = False
        for each in (
            "TimeZone = 'UTC'",
            "parquet_metadata_cache = true",
            "autoinstall_known_extensions = false",
            f"memory_limit = '{memory}MiB'",
            f"max_temp_directory_size = '{_SPILL * memory}MiB'",
            f"temp_directory = {literal(tempfile.gettempdir() + '/tracekit-spill')}",
            f"allowed_directories = [{literal(str(folder.resolve()) + '/')}]",
            "enable_external_access = false",
            *([] if threads is None else [f"threads = {threads}"]),
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {each}")

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()

    def show_files(self, name: str, table: str, files: Sequence[str]) -> None:
        """Make the view `name` read these Parquet files as the lake table `table`."""
        if self._seen.get(name) == (table, *files):
            return
        self._do(f"CREATE OR REPLACE VIEW {name} AS {self.source(table, files)}")
        self._seen[name] = (table, *files)

    def source(self, table: str, files: Sequence[str]) -> str:
        """A query for the rows of the lake table `table` in these Parquet files."""
        if not files:
            return f"SELECT {', '.join(_column(field) for field in TABLES[table])} WHERE false"
        read = f"read_parquet([{', '.join(map(literal, files))}], hive_partitioning = true"
        known = set(TABLES[table].names)
        if not self._by_name:
            try:
                columns = self._do(f"DESCRIBE SELECT * FROM {read})")  # noqa: S608 - our own names, and literals
            except duckdb.IOException as error:
                raise StoreError(f"cannot read the store: {error}") from error
            self._by_name = {str(each[0]) for each in columns} != known
        if not self._by_name:
            return f"SELECT {', '.join(_read(table, name) for name in TABLES[table].names)} FROM {read})"  # noqa: S608 - our own names, and literals
        # Files of before a column was there: every file is asked for its columns, until compaction has written it anew.
        read += ", union_by_name = true)"
        described = self._do(f"DESCRIBE SELECT * FROM {read}")  # noqa: S608 - our own names, and literals
        found = {str(each[0]) for each in described}
        columns_ = ", ".join(
            _read(table, field.name) if field.name in found else _column(field) for field in TABLES[table]
        )
        return f"SELECT {columns_} FROM {read}"  # noqa: S608 - our own names, and literals

    @property
    def by_name(self) -> bool:
        """Whether files of before a column was there were met; `source` says another thing since."""
        return self._by_name

    def show_rows(self, name: str, rows: pa.Table) -> None:
        """Make `name` a table of these rows."""
        cursor = self._connection.cursor()
        try:
            cursor.register(f"{name}_given", rows)
            cursor.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_given")  # noqa: S608 - our own names
            cursor.unregister(f"{name}_given")
        finally:
            cursor.close()

    def define(self, views: Mapping[str, str]) -> None:
        """Make each of these names a view of its query, in order."""
        for name, query in views.items():
            self._do(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def _do(self, query: str) -> list[tuple[object, ...]]:
        # A cursor of its own: the connection refuses a second call while a first one runs, on another thread.
        cursor = self._connection.cursor()
        try:
            found: list[tuple[object, ...]] = cursor.execute(query).fetchall()
            return found
        finally:
            cursor.close()

    def run(
        self,
        query: str,
        parameters: Sequence[object] | None = None,
        *,
        seconds: float | None = None,
        rows: int | None = None,
        ours: bool = False,
    ) -> Result:
        """Run one query, which can only read, and read all that it gives.

        Args:
            query: One statement; `?` stands for a parameter.
            parameters: Values for the `?`.
            seconds: How long it may take.
            rows: At most so many of its rows.
            ours: Whether nobody else wrote any of it, so that what it does need not be looked at.

        Raises:
            UsageError: The query is wrong, does more than read, or takes too long; the message is DuckDB's.
            StoreError: A file that the query needs cannot be read.
        """
        return self._asked(lambda: self._run(query, parameters, seconds, rows, ours=ours))

    def rows(self, query: str, *, seconds: float | None = None) -> list[tuple[object, ...]]:
        """The rows of a query of our own, without their names: it is planned once, where `run` plans twice.

        Args:
            query: One statement that only reads, with nobody else's words in it but as constants.
            seconds: How long it may take.

        Raises:
            UsageError: The query takes too long, or is wrong.
            StoreError: A file that the query needs cannot be read.
        """

        def ask() -> list[tuple[object, ...]]:
            with self._cursor(seconds) as cursor:
                found: list[tuple[object, ...]] = cursor.execute(query).fetchall()
                return found

        return self._asked(ask)

    def _asked(self, ask: Callable[[], _Found]) -> _Found:
        """What it gives; where it meets files of before a column was there, once more over all files' columns."""
        try:
            return ask()
        except UsageError as error:
            if self._by_name or not _OLDER.search(str(error)) or not self._seen:
                raise
            self._by_name = True
            for name, (table, *files) in list(self._seen.items()):
                del self._seen[name]
                self.show_files(name, table, files)
            return ask()

    def _run(
        self, query: str, parameters: Sequence[object] | None, seconds: float | None, rows: int | None, *, ours: bool
    ) -> Result:
        with self._cursor(seconds) as cursor:
            if not ours and not _reads(query):
                return Result(pa.table({}))
            # The stubs leave out that a statement without a result, such as an empty one, gives None.
            found = cast("duckdb.DuckDBPyRelation | None", cursor.sql(query, params=list(parameters or ())))
            if found is None:
                return Result(pa.table({}))
            return Result(_plain((found if rows is None else found.limit(rows)).to_arrow_table()))

    @contextlib.contextmanager
    def _cursor(self, seconds: float | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that only reads, for so long, and whose errors are ours."""
        cursor = self._connection.cursor()
        timer = threading.Timer(seconds or 0, cursor.interrupt)
        try:
            if seconds is not None:
                timer.start()
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        except duckdb.InterruptException:
            raise UsageError(f"the query took longer than {seconds:g} s; narrow it, or ask for less") from None
        except (duckdb.IOException, duckdb.InternalException, duckdb.OutOfMemoryException) as error:
            raise StoreError(f"cannot read the store: {error}") from error
        except duckdb.Error as error:
            raise UsageError(f"the query is wrong: {error}") from error
        finally:
            timer.cancel()
            cursor.close()


def _memory_mb() -> int:
    text = setting("query_memory_mb") or "4096"
    if not text.isdecimal() or not 64 <= int(text) <= 1 << 24:
        raise SettingError(f"query_memory_mb must be a number of MiB, 64 or more, not {text!r}")
    return int(text)


def _reads(query: str) -> bool:
    """Whether the query is one statement that reads; `False` where there is no statement at all."""
    found = duckdb.extract_statements(query)
    if not found:
        return False
    kinds = {each.type for each in found}
    if kinds == {duckdb.StatementType.EXPLAIN} and len(found) == 1:
        return _reads(_EXPLAIN.sub("", found[0].query, count=1))
    if len(found) > 1 or kinds - {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:
        raise UsageError("the query is wrong: it must be one statement that only reads, such as SELECT or DESCRIBE")
    return True


def _read(table: str, column: str) -> str:
    return folding.column_sql(column) if table == "spans" else column


def _plain(table: pa.Table) -> pa.Table:
    # A query that makes a zoned time would hand Python values that need a zone database; UTC without a zone does not.
    fields = [
        pa.field(field.name, pa.timestamp(field.type.unit)) if getattr(field.type, "tz", None) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)) if fields != list(table.schema) else table


def literal(value: str) -> str:
    """The text as a constant of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _column(field: pa.Field) -> str:
    return f"NULL::{_sql_type(field.type)} AS {field.name}"


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return _sql_type(kind.value_type) + "[]"
    names = {
        pa.string(): "VARCHAR",
        pa.int64(): "BIGINT",
        pa.int32(): "INTEGER",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        pa.date32(): "DATE",
        pa.timestamp("us"): "TIMESTAMP",
    }
    return names[kind]


def write_database(
    path: Path, tables: Mapping[str, Iterator[pa.Table]], empty: Mapping[str, pa.Table], views: Mapping[str, str]
) -> None:
    """Write a DuckDB file of its own.

    Args:
        path: The file, which is made.
        tables: The rows of each table, some at a time.
        empty: What tables look like that have no rows.
        views: Names and queries of views over them.

    Raises:
        StoreError: The file cannot be written.
    """
    try:
        connection = duckdb.connect(str(path))
        try:
            for name, batches in tables.items():
                if name in empty:
                    connection.register("given", empty[name])
                    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")  # noqa: S608 - our own names, and literals
                for batch in batches:
                    connection.register("given", batch)
                    made = f"INSERT INTO {name}" if name in empty else f"CREATE TABLE {name} AS"
                    connection.execute(f"{made} SELECT * FROM given")  # noqa: S608 - our own names, and literals
                connection.unregister("given")
            for name, query in views.items():
                connection.execute(f"CREATE VIEW {name} AS {query}")
        finally:
            connection.close()
    except duckdb.Error as error:
        raise StoreError(f"cannot write {path}: {error}") from error
