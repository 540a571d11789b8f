"""Export: what a store holds, as files that others read, or sent to another OTLP backend.

Files are read one after the other, some thousand rows at a time, so that memory does not depend on the store.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracekit.errors import StoreError, UsageError
from tracekit_collector import folding
from tracekit_collector.otlp_export import request_of
from tracekit_collector.otlp_logs import log_request_of
from tracekit_collector.query import write_database
from tracekit_collector.schema import TABLES
from tracekit_collector.sending import Sender
from tracekit_collector.store import Store
from tracekit_collector.views import VIEWS

__all__ = ["FORMATS", "export", "requests", "send"]

FORMATS = ("parquet", "jsonl", "otlp", "duckdb")
_AT_ONCE = 4_096
_A_REQUEST = 1_000
_ONE_FILE = frozenset({"duckdb"})

Told = Callable[[int], object]


class _Selection:
    """Which rows are exported: those of some traces, or all."""

    def __init__(
        self, store: Store, *, where: str | None, since: datetime.datetime | None, project: str | None
    ) -> None:
        self._store = store
        self._ids: pa.Array | None = None
        conditions = [f"({where})"] if where else []
        parameters: list[object] = []
        if since is not None:
            conditions.append("start_time >= ?")
            parameters.append(since)
        if project is not None:
            conditions.append("project = ?")
            parameters.append(project)
        store.settle()
        if conditions:
            query = f"SELECT trace_id FROM traces WHERE {' AND '.join(conditions)}"  # noqa: S608 - `where` is the user's own SQL, on a read-only engine
            self._ids = store.sql(query, parameters, settle=False).to_arrow().column(0).combine_chunks()

    def batches(self, table: str, *, shown: bool = True) -> Iterator[pa.Table]:
        """The rows of a lake table, with every column of its schema.

        Args:
            table: One of `TABLES`.
            shown: Whether a text that a column only refers to stands in its place.
        """
        schema = TABLES[table]
        # By date, so that the same rows come out in the same order however often they were joined.
        for entry in sorted(
            self._store.lake.entries(table), key=lambda entry: (entry.date, entry.written_ms, entry.name)
        ):
            try:
                with pq.ParquetFile(entry.path) as file:
                    for batch in file.iter_batches(batch_size=_AT_ONCE):
                        rows = pa.Table.from_batches([batch])
                        if self._ids is not None and "trace_id" not in rows.column_names:
                            continue
                        if self._ids is not None:
                            rows = rows.filter(pc.is_in(rows.column("trace_id"), value_set=self._ids))
                        if rows.num_rows:
                            whole = _whole(rows, schema, entry.date)
                            yield _shown(whole) if shown and table == "spans" else whole
            except (OSError, pa.ArrowException) as error:
                raise StoreError(f"cannot read {entry.path}: {error}; `tracekit store check` tells more") from error


def export(
    store: Store,
    target: Path,
    *,
    format: str,  # noqa: A002 - the word of the command line
    where: str | None = None,
    since: datetime.datetime | None = None,
    project: str | None = None,
    done: Told | None = None,
) -> dict[str, int]:
    """Write a store's rows to files.

    Args:
        store: The store.
        target: A folder that is made (`parquet`, `jsonl`, `otlp`), or a file (`duckdb`).
        format: One of `FORMATS`. `otlp` is protobuf requests of spans and log records, equal to what came in.
        where: A condition in SQL over the view `traces`: only rows of these traces.
        since: Only traces that began at or after this, in UTC.
        project: Only traces of this project.
        done: Called with a number of rows as they are written.

    Returns:
        How many rows of each table were written.

    Raises:
        UsageError: The condition is wrong, or there is something at `target` already.
        StoreError: The store cannot be read, or the target not written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir()) and format not in _ONE_FILE):
        raise UsageError(f"{target} is there already; name another place, or remove it first")
    picked = _Selection(store, where=where, since=since, project=project)
    arriving = target.with_name(f".{target.name}.arriving")
    _clear(arriving)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if format not in _ONE_FILE:
            arriving.mkdir()
        counts = _WRITERS[format](store, picked, arriving, done or _nobody)
        if target.is_dir():
            target.rmdir()
        arriving.rename(target)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot write {target}: {error}") from error
    finally:
        _clear(arriving)
    return counts


def requests(
    store: Store,
    *,
    where: str | None = None,
    since: datetime.datetime | None = None,
    project: str | None = None,
) -> Iterator[tuple[str, bytes, int]]:
    """A store's spans and log records as OTLP requests: `traces` or `logs`, the serialized request, its rows.

    Args:
        store: The store.
        where: As for `export`.
        since: As for `export`.
        project: As for `export`.
    """
    yield from _requests(_Selection(store, where=where, since=since, project=project))


def send(
    store: Store,
    sender: Sender,
    *,
    where: str | None = None,
    since: datetime.datetime | None = None,
    project: str | None = None,
    done: Told | None = None,
) -> dict[str, int]:
    """Send a store's spans and log records to an OTLP endpoint.

    Args:
        store: The store.
        sender: Where they go.
        where: As for `export`.
        since: As for `export`.
        project: As for `export`.
        done: Called with a number of rows as they are taken.

    Returns:
        How many rows of each table were taken.

    Raises:
        StoreError: The endpoint refused them, or could not be reached for long.
    """
    counts = {"spans": 0, "logs": 0}
    for signal, body, rows in requests(store, where=where, since=since, project=project):
        sender.send(signal, body)
        counts["spans" if signal == "traces" else "logs"] += rows
        (done or _nobody)(rows)
    return counts


def _requests(picked: _Selection) -> Iterator[tuple[str, bytes, int]]:
    for table, signal, made in (("spans", "traces", request_of), ("logs", "logs", log_request_of)):
        for batch in picked.batches(table, shown=False):
            for at in range(0, batch.num_rows, _A_REQUEST):
                rows: list[dict[str, Any]] = batch.slice(at, _A_REQUEST).to_pylist()
                yield signal, made(rows).SerializeToString(), len(rows)


def _write_otlp(_store: Store, picked: _Selection, folder: Path, done: Told) -> dict[str, int]:
    counts = {"spans": 0, "logs": 0}
    for number, (signal, body, rows) in enumerate(_requests(picked), start=1):
        (folder / f"{number:06d}.{signal}.pb").write_bytes(body)
        counts["spans" if signal == "traces" else "logs"] += rows
        done(rows)
    return counts


def _write_jsonl(_store: Store, picked: _Selection, folder: Path, done: Told) -> dict[str, int]:
    counts = {}
    for table in TABLES:
        counts[table] = 0
        with (folder / f"{table}.jsonl").open("wb") as file:
            for batch in picked.batches(table):
                for row in batch.to_pylist():
                    file.write(orjson.dumps({name: value for name, value in row.items() if value is not None}) + b"\n")
                counts[table] += batch.num_rows
                done(batch.num_rows)
    return counts


def _write_parquet(_store: Store, picked: _Selection, folder: Path, done: Told) -> dict[str, int]:
    counts = {}
    for table, schema in TABLES.items():
        counts[table] = 0
        with pq.ParquetWriter(folder / f"{table}.parquet", schema, compression="zstd") as writer:
            for batch in picked.batches(table):
                writer.write_table(batch)
                counts[table] += batch.num_rows
                done(batch.num_rows)
    return counts


def _write_duckdb(store: Store, picked: _Selection, path: Path, done: Told) -> dict[str, int]:
    counts = dict.fromkeys(TABLES, 0)

    def counted(table: str) -> Iterator[pa.Table]:
        for batch in picked.batches(table):
            yield batch
            counts[table] += batch.num_rows
            done(batch.num_rows)

    rows: dict[str, Iterator[pa.Table]] = {f"lake_{table}": counted(table) for table in TABLES}
    rows |= {name: iter([store.sql(f"SELECT * FROM {name}", settle=False).to_arrow()]) for name in ("runs", "agents")}  # noqa: S608 - our own names
    empty = {f"lake_{table}": schema.empty_table() for table, schema in TABLES.items()}
    write_database(path, rows, empty, VIEWS)
    return counts


_WRITERS: Mapping[str, Callable[[Store, _Selection, Path, Told], dict[str, int]]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
    "otlp": _write_otlp,
    "duckdb": _write_duckdb,
}


def _whole(rows: pa.Table, schema: pa.Schema, date: datetime.date) -> pa.Table:
    columns = []
    for field in schema:
        if field.name == "date":
            columns.append(pa.repeat(pa.scalar(date, field.type), rows.num_rows))
        elif field.name in rows.column_names:
            columns.append(rows.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _shown(rows: pa.Table) -> pa.Table:
    held = [name for name in folding.SHOWN if rows.column(name).null_count < rows.num_rows]
    if not held:
        return rows
    known = rows.select(sorted({*held, *(name for each in held for name in folding.SHOWN[each])})).to_pylist()
    for name in held:
        field = rows.schema.field(name)
        texts = pa.array([folding.shown(row, name) for row in known], field.type)
        rows = rows.set_column(rows.column_names.index(name), field, texts)
    return rows


def _clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _nobody(_rows: int) -> None:
    pass
