"""SQL over the lake and the catalog. The only module that imports duckdb.

DuckDB reads the Parquet files that the Delta log names; the catalog's few rows are given to it as Arrow tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa

from tracekit.errors import StoreError, UsageError
from tracekit_collector.schema import TABLES


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
    """

    def __init__(self, folder: Path) -> None:
        self._connection = duckdb.connect(":memory:")
        self._seen: dict[str, tuple[str, ...]] = {}
        for setting in (
            "TimeZone = 'UTC'",
            "parquet_metadata_cache = true",
            "autoinstall_known_extensions = false",
            f"allowed_directories = [{_literal(str(folder.resolve()) + '/')}]",
            "enable_external_access = false",
        ):
            self._connection.execute(f"SET {setting}")

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()

    def show_files(self, name: str, table: str, files: Sequence[str]) -> None:
        """Make the view `name` read these Parquet files as the lake table `table`."""
        if self._seen.get(name) == tuple(files):
            return
        columns = ", ".join(_column(field) for field in TABLES[table])
        if files:
            listed = ", ".join(_literal(path) for path in files)
            source = f"read_parquet([{listed}], hive_partitioning = true)"
            query = f"SELECT {', '.join(TABLES[table].names)} FROM {source}"  # noqa: S608 - our own names and paths
        else:
            query = f"SELECT {columns} WHERE false"
        self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        self._seen[name] = tuple(files)

    def show_rows(self, name: str, rows: pa.Table) -> None:
        """Make `name` a table of these rows."""
        self._connection.register(f"{name}_given", rows)
        try:
            self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_given")  # noqa: S608
        finally:
            self._connection.unregister(f"{name}_given")

    def define(self, views: Mapping[str, str]) -> None:
        """Make each of these names a view of its query, in order."""
        for name, query in views.items():
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def run(self, query: str, parameters: Sequence[object] | None = None) -> Result:
        """Run one query and read all that it gives.

        Raises:
            UsageError: The query is wrong; the message is DuckDB's.
            StoreError: A file that the query needs cannot be read.
        """
        cursor = self._connection.cursor()
        try:
            # The stubs leave out that a statement without a result, such as an empty one, gives None.
            found = cast("duckdb.DuckDBPyRelation | None", cursor.sql(query, params=list(parameters or ())))
            return Result(pa.table({}) if found is None else _plain(found.to_arrow_table()))
        except (duckdb.IOException, duckdb.InternalException, duckdb.OutOfMemoryException) as error:
            raise StoreError(f"cannot read the store: {error}") from error
        except duckdb.Error as error:
            raise UsageError(f"the query is wrong: {error}") from error
        finally:
            cursor.close()


def _plain(table: pa.Table) -> pa.Table:
    # A query that makes a zoned time would hand Python values that need a zone database; UTC without a zone does not.
    fields = [
        pa.field(field.name, pa.timestamp(field.type.unit)) if getattr(field.type, "tz", None) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)) if fields != list(table.schema) else table


def _literal(value: str) -> str:
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
