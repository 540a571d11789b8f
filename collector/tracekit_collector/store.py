"""The store: one folder that holds everything, and the one way in for whoever reads or writes it."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit.settings import store_path
from tracekit_collector import log_steps, log_views
from tracekit_collector._trace_rows import Batch, Rows, ahead, batches, by_trace
from tracekit_collector.catalog.location import own, url_of
from tracekit_collector.catalog.revision import is_current
from tracekit_collector.conditions import SPANS_TELL
from tracekit_collector.lake import Lake, TimedFile, to_arrow
from tracekit_collector.query import Engine, Result
from tracekit_collector.ranges import waits
from tracekit_collector.run_views import RUN_VIEWS
from tracekit_collector.schema import TABLES
from tracekit_collector.settled import Settled
from tracekit_collector.shown import Shown, lists
from tracekit_collector.trace import Trace, assemble
from tracekit_collector.trace_search import TraceSearch, Wanted
from tracekit_collector.views import VIEWS, call_views

if TYPE_CHECKING:
    from typing_extensions import Self

    from tracekit_collector.catalog import Catalog
    from tracekit_collector.settle import Settler

_TIME_COLUMN = dict.fromkeys(TABLES, "time") | {"spans": "start_time"}
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
        *((name, pa.string()) for name in ("parent_id", "project", "command", "seed", "parameters", "tags", "error")),
        *((name, pa.string()) for name in ("artifacts", "code", "environment")),
        ("deleted_at", pa.timestamp("us")),
        ("stale", pa.bool_()),
    ]
)
_METRICS = pa.schema(
    [
        ("run_id", pa.string()),
        ("name", pa.string()),
        *((name, pa.float64()) for name in ("value", "low", "high")),
        ("n", pa.int64()),
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
        self._catalog_url = url_of(location)
        self._catalog: Catalog | None = None
        self._settler: Settler | None = None
        self._engine: Engine | None = None
        self._shown: dict[str, int | None] = {}
        self._span_files: list[TimedFile] = []
        self._log_rows = 0
        self._loose: tuple[int | None, bool] | None = None  # version of the logs, whether some name no trace
        self._views: Shown | None = None
        self._logs_tell = False
        self._mutex = threading.RLock()
        if self._catalog_url != own(location) or not is_current(location / "catalog.db"):
            self._catalog = self.catalog  # made, or brought up to date, now; or it is told now why it cannot be

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

    @property
    def catalog(self) -> Catalog:
        """Agents, runs and datasets."""
        with self._mutex:
            if self._catalog is None:
                from tracekit_collector.catalog import Catalog  # noqa: PLC0415 - heavy, and most readers need none

                self._catalog = Catalog(self._catalog_url, lock=self.location / ".catalog.lock")
            return self._catalog

    @property
    def settler(self) -> Settler:
        """Moves what arrived into the lake and the catalog."""
        if self._settler is not None:  # whoever asks how far settling is must not wait until it is done
            return self._settler
        with self._mutex:
            if self._settler is None:
                from tracekit_collector.settle import Settler  # noqa: PLC0415 - as above

                self._settler = Settler(self.inbox, self.lake, self.catalog)
            return self._settler

    def settle(self, *, timeout: float = 30.0, tidy: bool = True) -> Settled:
        """Bring what arrived in the inbox into the lake, exactly once.

        Args:
            timeout: How long to wait for another process that is settling, in seconds.
            tidy: Whether to join small files of the lake at the end, where it has many; `settler.keep_house` can later.

        Returns:
            What was new.

        Raises:
            StoreError: The lake or catalog cannot be written, or another process settled too long.
        """
        if self._settler is None and not waits(self.inbox):
            return Settled()
        with self._mutex:
            try:
                return self.settler.settle(timeout=timeout, tidy=tidy)
            except OSError as error:
                raise StoreError(f"cannot settle {self.inbox}: {error.strerror or error}") from error

    def sql(
        self,
        query: str,
        parameters: Sequence[object] | None = None,
        *,
        settle: bool = True,
        seconds: float | None = None,
        rows: int | None = None,
    ) -> Result:
        """Ask the store in DuckDB's SQL.

        The views are `spans`, `logs`, `inferences`, `scores`, `traces`, `llm_calls`, `tool_calls`, `sessions`, `runs`,
        `run_metrics`, `run_params`, `points` and `agents`. Files other than the store's cannot be read, nor can
        the network.

        Args:
            query: One statement; `?` stands for a parameter.
            parameters: Values for the `?`.
            settle: Whether to settle first what arrived.
            seconds: How long the query may take, without settling.
            rows: At most so many of its rows.

        Returns:
            The rows, read to the end.

        Raises:
            UsageError: The query is wrong, does more than read, or takes too long.
            StoreError: The store cannot be read.
        """
        if settle:
            self.settle()
        engine = self._asked(query)
        try:
            return engine.run(query, parameters, seconds=seconds, rows=rows)
        except UsageError as error:
            if "does not exist" not in str(error) or not self._all_shown():
                raise
        return engine.run(query, parameters, seconds=seconds, rows=rows)

    def find(
        self,
        *,
        where: str | None = None,
        equal: Mapping[str, str] | None = None,
        errors: bool = False,
        limit: int | None = 50,
        offset: int = 0,
        before: tuple[int, str] | None = None,
        since: int | None = None,
        newest_first: bool = True,
        columns: str = "*",
        settle: bool = True,
        seconds: float | None = None,
    ) -> Result:
        """Rows of the view `traces`, newest first, without putting together more traces than that takes.

        Args:
            where: A condition in SQL over `traces`.
            equal: Columns of `traces` and the text that each must have, such as `{"session_id": "s-1"}`.
            errors: Only traces that failed.
            limit: At most so many; all when `None`.
            offset: How many of the first to leave out.
            before: Go on behind this trace of an earlier answer: its `start_ns` and `trace_id`.
            since: Only traces that begin at this time or after, in nanoseconds since 1970.
            newest_first: The order; oldest first when off.
            columns: What to tell of each, in SQL.
            settle: Whether to settle first what arrived.
            seconds: How long each query may take, without settling.

        Raises:
            UsageError: The condition is wrong, or it takes too long.
            StoreError: The store cannot be read.

        Example:
            >>> import tempfile
            >>> with Store.open(tempfile.mkdtemp()) as store:
            ...     len(store.find(equal={"session_id": "s-1"}, errors=True))
            0
        """
        if settle:
            self.settle()
        for name in equal or {}:
            if name not in SPANS_TELL:
                raise UsageError(f"traces cannot be found by {name!r}; it takes {', '.join(sorted(SPANS_TELL))}")
        wanted = Wanted(
            where=where,
            equal=tuple((equal or {}).items()),
            errors=errors,
            limit=limit,
            offset=offset,
            before=before,
            since=since,
            newest_first=newest_first,
            columns=columns,
            seconds=seconds,
        )
        with self._mutex:
            engine = self._asked(where) if where else self._ready()
            search = TraceSearch(engine, self._span_files, logs_tell=self._logs_tell)
        return search.find(wanted)

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

    def trace(self, trace_id: str, *, settle: bool = True) -> Trace:
        """One trace, put together from its spans and log records.

        Args:
            trace_id: 32 hex digits, or the beginning of an id that only one trace has.
            settle: Whether to settle first what arrived.

        Raises:
            NotFoundError: No trace has that id, or several begin like it.
        """
        wanted = trace_id.strip().lower()
        if not wanted or any(digit not in "0123456789abcdef" for digit in wanted) or len(wanted) > 32:
            raise UsageError(f"{trace_id!r} is no trace id: it takes up to 32 hex digits")
        if settle:
            self.settle()
        if len(wanted) < 32:
            known = "SELECT trace_id FROM lake_spans UNION ALL SELECT trace_id FROM log_steps"
            query = f"SELECT DISTINCT trace_id FROM ({known}) WHERE starts_with(trace_id, ?) LIMIT 2"  # noqa: S608 - our own names, and literals
            found = self._asked("log_steps").run(query, [wanted])
            if len(found) > 1:
                raise NotFoundError(f"several traces begin with {wanted!r}; give more digits")
            wanted = str((found.fetchone() or (wanted,))[0])
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
        found = self.find(where=where, limit=limit, newest_first=newest_first, columns="trace_id")
        return [str(row[0]) for row in found.fetchall()]

    def traces(self, trace_ids: Iterable[str]) -> Iterator[Trace]:
        """The traces with these ids, in this order, read some hundreds at a time; unknown ids are left out.

        Args:
            trace_ids: Full ids. What is in the inbox is not waited for: `trace_ids` and `sql` settle.
        """
        for (_, batch), (spans, logs) in ahead(self._rows, batches(trace_ids)):
            for each in batch:
                own, records = spans.get(each, []), logs.get(each, [])
                if own or any(log_steps.writer_of(row) for row in records):
                    yield assemble(own, records)

    def versions(self) -> dict[str, int]:
        """The Delta version that each lake table has now; tables that nothing was written to are left out."""
        found = {table: self.lake.version(table) for table in TABLES}
        return {table: version for table, version in found.items() if version is not None}

    def close(self) -> None:
        """Free what the store holds; it cannot be used after."""
        with self._mutex:
            if self._settler is not None:
                self._settler.close()
            if self._engine is not None:
                self._engine.close()
                self._engine = None
                self._views = None
                self._shown.clear()
            if self._catalog is not None:
                self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.location)!r})"

    def _rows(self, batch: Batch) -> tuple[Rows, Rows]:
        """The spans and the log records of these traces."""
        engine = self._ready()
        spans = by_trace(engine, "lake_spans", batch, rows=sum(file.rows or 0 for file in self._span_files))
        if self._shown.get("logs") is None:
            return spans, {}
        logs = by_trace(engine, "lake_logs", batch, rows=self._log_rows)
        if self._loose_records(engine):
            # Records of coding agents that name no trace belong to one by their session and time.
            self._asked("loose_records")
            for trace_id, rows in by_trace(engine, "loose_records", batch, rows=0).items():
                logs.setdefault(trace_id, []).extend(rows)
        return spans, logs

    def _loose_records(self, engine: Engine) -> bool:
        version = self._shown.get("logs")
        if self._loose is None or self._loose[0] != version:
            found = engine.rows(f"SELECT 1 FROM lake_logs WHERE {log_views.IS_LOOSE} LIMIT 1")  # noqa: S608 - our own names, and literals
            self._loose = (version, bool(found))
        return self._loose[1]

    def _ready(self) -> Engine:
        """The engine, seeing the newest files."""
        with self._mutex:
            engine = self._engine or Engine(self.location / "lake")
            views = self._views or Shown(engine)
            if self._views is None:
                views.offer(VIEWS | RUN_VIEWS)
            for table in TABLES:
                version = self.lake.version(table)
                if self._engine is None or version != self._shown.get(table):
                    # The files are sorted, so that the order of rows without an ORDER BY is that of their dates.
                    engine.show_files(f"lake_{table}", table, self.lake.files(table))
                    if table == "spans":
                        self._span_files = self.lake.timed_files(table)
                    elif table == "logs":
                        self._log_rows = sum(file.rows or 0 for file in self.lake.timed_files(table, "time_ns"))
                        told = log_views.views_for(None if version is None else engine.rows)
                        self._logs_tell = any(told[name] == log_views.VIEWS[name] for name in told)
                        views.offer(told | call_views(told=self._logs_tell))
                    self._shown[table] = version
            if self._logs_tell:
                views.need("steps")
            self._engine, self._views = engine, views
            return engine

    def _asked(self, query: str) -> Engine:
        """The engine with the views that a query names, and the catalog's rows where it asks for them."""
        with self._mutex:
            engine = self._ready()
            for name, (words, rows, schema) in self._catalogued().items():
                named = any(word in query.lower() for word in words)
                if named or lists(query):
                    engine.show_rows(name, pa.Table.from_pylist(rows() if named else [], schema=schema))
            if self._views is not None:
                self._views.need(query)
            return engine

    def _all_shown(self) -> bool:
        """Make all views, so that a query finds one that it names in a way of its own; whether one was missing."""
        with self._mutex:
            self._asked(" ".join(RUN_VIEWS))
            return self._views is not None and self._views.need_all()

    def _catalogued(self) -> dict[str, tuple[Sequence[str], Callable[[], Sequence[Mapping[str, object]]], pa.Schema]]:
        """The catalog's rows that queries see: the words that ask for them, where they are from, their columns."""
        # The catalog is opened when a query first names it.
        return {
            "run_rows": ((*RUN_VIEWS, "run_rows"), lambda: self.catalog.runs.rows(), _RUNS),  # noqa: PLW0108
            "metric_rows": ((*RUN_VIEWS, "metric_rows"), lambda: self.catalog.runs.metric_rows(), _METRICS),  # noqa: PLW0108
            "agents": (("agents",), lambda: self.catalog.agents.rows(), _AGENTS),  # noqa: PLW0108
        }


def _date(moment: object) -> datetime.date:
    if not isinstance(moment, datetime.datetime):
        raise StoreError(f"a row's time must be a datetime in UTC, not {moment!r}")
    return moment.date()
