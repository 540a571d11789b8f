"""Copying a whole catalog into another database, with proof that nothing was lost, and closing the old one.

The source takes no writes while it is read, and none any more when the copy is there: triggers refuse them, so that a
process that has it open still does not write where nobody reads. The target is filled in one transaction. A table's
digest is a sum of hashes of its rows, which the order of rows, in which databases differ, does not change.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, Integer, String, Table, delete, func, insert, select, text
from sqlalchemy import MetaData as Tables

from tracekit.errors import StoreError, UsageError
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.database import Catalog
from tracekit_collector.catalog.tables import METADATA

Rows = Callable[[int], object]

_AT_ONCE = 1_000
_MODULUS = 1 << 256
_MOVED = "tracekit_moved"
_ACTS = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Copied:
    """What was copied of one table.

    Args:
        rows: How many.
        digest: The sum of the hashes of its rows, in hex.
    """

    rows: int
    digest: str


def count(catalog: Catalog) -> int:
    """How many rows a catalog has, in all tables."""
    with catalog.reading() as connection:
        return sum(_count(connection, table) for table in METADATA.sorted_tables)


@contextmanager
def transferring(
    source: Catalog, target: Catalog, *, replace: bool = False, done: Rows = lambda _rows: None
) -> Iterator[dict[str, Copied]]:
    """Copy a catalog; the block says where it is from now on, and then the source takes no more writes.

    Args:
        source: What is copied.
        target: Where to; its tables are there.
        replace: Whether rows that are there may go. Those of a catalog that was moved away from there may always.
        done: Told how many more rows were written, and then how many were read again.

    Yields:
        By table, what was copied; the target has it for good.

    Raises:
        UsageError: The target holds something, or a row does not fit it.
        StoreError: A database cannot be read or written, or the copy is not what was read.
    """
    with source.transaction() as reading:
        _hold(reading)
        with target.transaction() as writing:
            _clear(writing, target.url, replace=replace)
            copied = {table.name: _copy(reading, writing, table, done) for table in _tables().sorted_tables}
            for table in _tables().sorted_tables:
                _number_on(writing, table)
                found = _read_again(writing, table, done)
                if found != copied[table.name]:
                    told = f"{found.rows} rows of {copied[table.name].rows}"
                    raise StoreError(
                        f"{target.url} does not hold of {table.name} what was written: {told}; kept as it was"
                    )
            rows = {name: each.rows for name, each in copied.items()}
            note(writing, "catalog.migrate", target.url, {"from": source.url, "rows": rows})
        yield copied
        _close(reading, target.url)


def digests(catalog: Catalog) -> dict[str, Copied]:
    """Count and digest of every table of a catalog."""
    with catalog.reading() as connection:
        return {table.name: _read_again(connection, table, lambda _rows: None) for table in _tables().sorted_tables}


def _tables() -> Tables:
    """The catalog's tables, with the null of JSON read and written as that of SQL where a column may be null."""
    tables = Tables()
    for table in METADATA.sorted_tables:
        copy = table.to_metadata(tables)
        for column in copy.columns:
            if isinstance(column.type, JSON) and column.nullable:
                column.type = JSON(none_as_null=True)
    return tables


def _hold(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's transaction is the only one that writes already
        names = ", ".join(table.name for table in METADATA.sorted_tables)
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _clear(connection: Connection, url: str, *, replace: bool) -> None:
    if _is_closed(connection):
        _open_again(connection)
    elif not replace:
        found = {table.name: rows for table in METADATA.sorted_tables if (rows := _count(connection, table))}
        if found:
            told = ", ".join(f"{rows} {name}" for name, rows in found.items())
            raise UsageError(f"{url} holds a catalog already ({told}); --replace would put this one in its place")
    for table in reversed(METADATA.sorted_tables):
        connection.execute(delete(table))


def _copy(reading: Connection, writing: Connection, table: Table, done: Rows) -> Copied:
    strict = writing.dialect.name == "postgresql"
    rows, total = 0, 0
    with _streamed(reading, table) as parts:
        for part in parts:
            for row in part:
                if strict:
                    _check(table, row)
                total += _hash(row)
            writing.execute(insert(table), part)
            rows += len(part)
            done(len(part))
    return Copied(rows, f"{total % _MODULUS:064x}")


def _read_again(connection: Connection, table: Table, done: Rows) -> Copied:
    rows, total = 0, 0
    with _streamed(connection, table) as parts:
        for part in parts:
            total += sum(map(_hash, part))
            rows += len(part)
            done(len(part))
    return Copied(rows, f"{total % _MODULUS:064x}")


def _streamed(connection: Connection, table: Table) -> AbstractContextManager[Iterator[list[dict[str, Any]]]]:
    @contextmanager
    def parts() -> Iterator[Iterator[list[dict[str, Any]]]]:
        with connection.execute(select(table), execution_options={"yield_per": _AT_ONCE}) as result:
            yield ([dict(row) for row in part] for part in result.mappings().partitions())

    return parts()


def _hash(row: Mapping[str, object]) -> int:
    said = json.dumps(row, sort_keys=True, default=_moment)
    return int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")


def _moment(value: object) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds")
    raise TypeError(f"a catalog has no column of {type(value).__name__}")


def _check(table: Table, row: Mapping[str, object]) -> None:
    """Refuse what SQLite keeps and PostgreSQL does not, and say which row it is."""
    for column in table.columns:
        value = row[column.name]
        if not isinstance(column.type, String) or not isinstance(value, str):
            continue
        most = column.type.length
        fault = (
            "holds a NUL character"
            if "\0" in value
            else f"is longer than {most}"
            if len(value) > (most or len(value))
            else None
        )
        if fault is not None:
            key = ", ".join(f"{each.name} {row[each.name]!r}" for each in table.primary_key)[:300]
            raise UsageError(f"PostgreSQL cannot take the row of {table.name} with {key}: its {column.name} {fault}")


def _number_on(connection: Connection, table: Table) -> None:
    """Have new rows be numbered after those that were copied."""
    column = table.autoincrement_column
    if connection.dialect.name == "postgresql" and column is not None and isinstance(column.type, Integer):
        last = connection.scalar(select(func.max(column)))
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        connection.execute(select(func.setval(sequence, last or 1, last is not None)))


def _count(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def _is_closed(connection: Connection) -> bool:
    if connection.dialect.name == "postgresql":
        return bool(connection.scalar(text(f"SELECT to_regproc('{_MOVED}') IS NOT NULL")))
    return bool(_triggers(connection))


def _triggers(connection: Connection) -> list[str]:
    query = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, :length) = :moved")
    return [str(name) for name in connection.scalars(query, {"length": len(_MOVED), "moved": _MOVED})]


def _close(connection: Connection, url: str) -> None:
    said = f"it moved to {url}; start again what uses it".replace("'", "''")
    if connection.dialect.name == "postgresql":
        body = f"BEGIN RAISE EXCEPTION USING MESSAGE = '{said}'; END"
        connection.exec_driver_sql(
            f"CREATE FUNCTION {_MOVED}() RETURNS trigger LANGUAGE plpgsql AS $moved${body}$moved$".replace("%", "%%")
        )
    for table in METADATA.sorted_tables:
        if connection.dialect.name == "postgresql":
            when = f"BEFORE {' OR '.join(_ACTS)} ON {table.name}"
            connection.execute(text(f"CREATE TRIGGER {_MOVED} {when} FOR EACH STATEMENT EXECUTE FUNCTION {_MOVED}()"))
            continue
        for act in _ACTS:
            name = f"{_MOVED}_{table.name}_{act.lower()}"
            connection.exec_driver_sql(
                f"CREATE TRIGGER {name} BEFORE {act} ON {table.name} BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )


def _open_again(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP FUNCTION {_MOVED}() CASCADE"))
        return
    for name in _triggers(connection):
        connection.execute(text(f"DROP TRIGGER {name}"))
