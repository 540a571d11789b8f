"""The store: one folder that holds everything, and the one way in for whoever reads or writes it."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit.settings import setting, store_path
from tracekit_collector.catalog import Catalog
from tracekit_collector.lake import Lake, to_arrow
from tracekit_collector.query import Engine, Result
from tracekit_collector.schema import TABLES
from tracekit_collector.settle import Settled, Settler
from tracekit_collector.trace import Trace, assemble
from tracekit_collector.views import VIEWS

if TYPE_CHECKING:
    from typing_extensions import Self

_TIME_COLUMN = {"spans": "start_time", "logs": "time", "inferences": "time", "scores": "time"}
_READ_AT_ONCE = 200
_AGENTS = pa.schema(
    [
        ("agent_name", pa.string()),
        ("version_number", pa.int64()),
        ("agent_version", pa.string()),
        ("digest", pa.string()),
        ("source", pa.string()),
        ("created_at", pa.timestamp("us")),
    ]
)
_RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("created_at", pa.timestamp("us")),
        ("finished_at", pa.timestamp("us")),
        ("agent_name", pa.string()),
        ("agent_version", pa.string()),
        ("version_number", pa.int64()),
    ]
)


class Store:
    """A store, open for reading and writing; many processes may have the same one open.

    Use `Store.open`.

    Args:
        location: The store's folder.
    """

    def __init__(self, location: Path) -> None:
        self.location = location
        self.inbox = location / "inbox"
        self.artifacts = location / "artifacts"
        self.lake = Lake(location / "lake")
        url = setting("catalog")
        self.catalog = Catalog.in_folder(location) if url is None else Catalog(url, lock=location / ".catalog.lock")
        self.settler = Settler(self.inbox, self.lake, self.catalog)
        self._engine: Engine | None = None
        self._mutex = threading.RLock()

    @classmethod
    def open(cls, location: str | os.PathLike[str] | None = None, *, create: bool = True) -> Store:
        """Open the store in a folder.

        Args:
            location: The folder; the setting `store` (`./.tracekit`) when not given.
            create: Whether to make a store where there is none.

        Returns:
            The store, its catalog brought up to date.

        Raises:
            NotFoundError: There is no store, and `create` is off.
            StoreError: The folder cannot be used.
            StoreVersionError: A newer tracekit wrote it.

        Example:
            >>> import tempfile
            >>> with Store.open(tempfile.mkdtemp()) as store:
            ...     store.sql("SELECT count(*) FROM spans").fetchone()
            (0,)
        """
        folder = store_path(location)
        if not create and not folder.is_dir():
            raise NotFoundError(f"there is no store at {folder}; name one with --store, or record a trace first")
        try:
            for each in ("inbox", "lake", "artifacts"):
                (folder / each).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {folder} as a store: {error.strerror or error}") from error
        return cls(folder)

    def settle(self, *, timeout: float = 30.0) -> Settled:
        """Bring what arrived in the inbox into the lake, exactly once.

        Args:
            timeout: How long to wait for another process that is settling, in seconds.

        Returns:
            What was new.

        Raises:
            StoreError: The lake or catalog cannot be written, or another process settled too long.
        """
        with self._mutex:
            return self.settler.settle(timeout=timeout)

    def sql(self, query: str, parameters: Sequence[object] | None = None, *, settle: bool = True) -> Result:
        """Ask the store in DuckDB's SQL.

        The views are `spans`, `logs`, `inferences`, `scores`, `traces`, `llm_calls`, `tool_calls`, `sessions`, `runs`
        and `agents`. Files other than the store's cannot be read, nor can the network.

        Args:
            query: One statement; `?` stands for a parameter.
            parameters: Values for the `?`.
            settle: Whether to settle first what arrived.

        Returns:
            The rows, read to the end.

        Raises:
            UsageError: The query is wrong.
            StoreError: The store cannot be read.
        """
        if settle:
            self.settle()
        return self._ready().run(query, parameters)

    def append(self, table: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Write rows straight to a lake table, in one commit.

        Args:
            table: `scores`, `inferences`, `logs` or `spans`.
            rows: Mappings of column names; a missing column is null, `date` follows from the row's time.

        Returns:
            How many rows were written.

        Raises:
            StoreError: A row does not fit the table, or the table cannot be written.
        """
        if table not in TABLES:
            raise StoreError(f"the lake has no table {table!r}; it has {', '.join(TABLES)}")
        if not rows:
            return 0
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        column = _TIME_COLUMN[table]
        timed = [{**row, column: row.get(column) or now} for row in rows]
        dated = [{**row, "date": _date(row[column])} for row in timed]
        with self._mutex:
            self.lake.append(table, to_arrow(table, dated))
            self.lake.sync(table)
        return len(rows)

    def trace(self, trace_id: str) -> Trace:
        """One trace, put together from its spans and log records.

        Args:
            trace_id: 32 hex digits, or the beginning of an id that only one trace has.

        Raises:
            NotFoundError: No trace has that id, or several begin like it.
        """
        wanted = trace_id.strip().lower()
        if not wanted or any(digit not in "0123456789abcdef" for digit in wanted) or len(wanted) > 32:
            raise UsageError(f"{trace_id!r} is no trace id: it takes up to 32 hex digits")
        if len(wanted) < 32:
            found = self.sql("SELECT DISTINCT trace_id FROM spans WHERE starts_with(trace_id, ?) LIMIT 2", [wanted])
            if len(found) > 1:
                raise NotFoundError(f"several traces begin with {wanted!r}; give more digits")
            wanted = str((found.fetchone() or (wanted,))[0])
        else:
            self.settle()
        for trace in self.traces([wanted]):
            return trace
        raise NotFoundError(f"there is no trace {wanted!r} in {self.location}; `tracekit traces` lists the newest")

    def trace_ids(self, *, where: str | None = None, limit: int | None = None, newest_first: bool = True) -> list[str]:
        """The ids of the traces that a condition picks.

        Args:
            where: A condition in SQL over the view `traces`; all traces when not given.
            limit: At most so many.
            newest_first: The order; oldest first when off.
        """
        order = "DESC" if newest_first else "ASC"
        condition = f" WHERE {where}" if where else ""
        limited = "" if limit is None else f" LIMIT {int(limit)}"
        query = f"SELECT trace_id FROM traces{condition} ORDER BY start_ns {order}, trace_id{limited}"  # noqa: S608 - `where` is the user's own SQL, on a read-only engine
        return [str(row[0]) for row in self.sql(query).fetchall()]

    def traces(self, trace_ids: Iterable[str]) -> Iterator[Trace]:
        """The traces with these ids, in this order, read some hundreds at a time; unknown ids are left out.

        Args:
            trace_ids: Full ids. What is in the inbox is not waited for: `trace_ids` and `sql` settle.
        """
        batch: list[str] = []
        for each in trace_ids:
            batch.append(each)
            if len(batch) == _READ_AT_ONCE:
                yield from self._assembled(batch)
                batch = []
        if batch:
            yield from self._assembled(batch)

    def versions(self) -> dict[str, int]:
        """The Delta version that each lake table has now; tables that nothing was written to are left out."""
        found = {table: self.lake.version(table) for table in TABLES}
        return {table: version for table, version in found.items() if version is not None}

    def close(self) -> None:
        """Free what the store holds; it cannot be used after."""
        with self._mutex:
            self.settler.close()
            if self._engine is not None:
                self._engine.close()
                self._engine = None
            self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.location)!r})"

    def _assembled(self, trace_ids: Sequence[str]) -> Iterator[Trace]:
        engine = self._ready()
        spans = _by_trace(engine, "lake_spans", trace_ids, "start_ns, span_id")
        logs = _by_trace(engine, "lake_logs", trace_ids, "time_ns, log_id")
        for each in trace_ids:
            if each in spans:
                yield assemble(spans[each], logs.get(each, []))

    def _ready(self) -> Engine:
        with self._mutex:
            first = self._engine is None
            engine = self._engine or Engine(self.location / "lake")
            for table in TABLES:
                engine.show_files(f"lake_{table}", table, self.lake.files(table))
            engine.show_rows("runs", pa.Table.from_pylist(list(self.catalog.runs.rows()), schema=_RUNS))
            engine.show_rows("agents", pa.Table.from_pylist(list(self.catalog.agents.rows()), schema=_AGENTS))
            if first:
                engine.define(VIEWS)
                self._engine = engine
            return engine


def _by_trace(engine: Engine, table: str, trace_ids: Sequence[str], order: str) -> dict[str, list[dict[str, object]]]:
    query = f"SELECT * FROM {table} WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY {order}"  # noqa: S608 - our own names
    found: dict[str, list[dict[str, object]]] = {}
    for row in engine.run(query, [list(trace_ids)]):
        found.setdefault(str(row["trace_id"]), []).append(row)
    return found


def _date(moment: object) -> datetime.date:
    if not isinstance(moment, datetime.datetime):
        raise StoreError(f"a row's time must be a datetime in UTC, not {moment!r}")
    return moment.date()
