"""Compaction: the many small files that settling leaves become few large ones, sorted by time, each row once.

Rows are read a window of time after the other, so that memory depends on the window and not on the table. What is
written is a row group a window, in files of some 128 MB, with Bloom filters on the columns that are looked up by.
Spans that are on two dates that follow one another are left to `neighbours`, when the dates are over.
The new files take the place of the old in one commit; a crash before it leaves files that `vacuum` removes.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from tracekit.errors import StoreError
from tracekit_collector import neighbours
from tracekit_collector.joining import TARGET_BYTES, WINDOW_ROWS, Change, Outcome, join, write
from tracekit_collector.lake import DataFile, Lake, Written
from tracekit_collector.query import Engine
from tracekit_collector.schema import KEYS, TABLES, TIMES

__all__ = ["LARGE", "compact", "joinable", "rewrite"]

LARGE = TARGET_BYTES * 3 // 4
"""From this size on, in bytes, a file is not joined with others."""

_TIERS = (256 << 10, 2 << 20, 16 << 20, LARGE)
_A_TIER = 16
_WHOLE = 256 << 10  # files from this size on wait until they make a large one, and are written once
_MOST = 3  # times a tier's number, whatever their size
_HOT_DAYS = 1
_QUIET_MS = 3_600_000

Join = Callable[[Path, str, str, Sequence[str], Change | None], Outcome]


def joinable(
    files: Sequence[DataFile], *, today: datetime.date, now_ms: int, a_tier: int = _A_TIER
) -> list[list[DataFile]]:
    """Which files are worth joining now, group by group, each group of one date.

    A date that has gone quiet becomes one run of large files. On a date that is still written to, files join when
    sixteen of about the same size have come together, so that no row is written more often than the logarithm of how
    many there are. Those that a busy collector makes wait until they are as much as a large file, and so many at a
    time are joined: what that takes does not depend on how many wait.

    Args:
        files: The files of a table.
        today: The UTC date.
        now_ms: Now, in milliseconds since 1970.
        a_tier: How many of a size come together on a date that is written to.
    """
    dates: dict[datetime.date, list[DataFile]] = {}
    for file in files:
        if file.bytes < LARGE:
            dates.setdefault(file.date, []).append(file)
    groups = []
    for date, small in sorted(dates.items()):
        newest = max(file.written_ms for file in small)
        if date < today - datetime.timedelta(days=_HOT_DAYS) and now_ms - newest > _QUIET_MS:
            if len(small) > 1:
                groups.append(small)
            continue
        tiers: list[list[DataFile]] = [[] for _ in _TIERS]
        for file in small:
            tiers[next(place for place, limit in enumerate(_TIERS) if file.bytes < limit)].append(file)
        many = [tier for tier in tiers if len(tier) >= a_tier]
        groups.extend(run for tier in many for run in _runs(tier) if _is_worth_it(run, a_tier))
    return groups


def _runs(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files, oldest first, as many together as make a large one."""
    run: list[DataFile] = []
    for file in files:
        run.append(file)
        if sum(each.bytes for each in run) >= TARGET_BYTES:
            yield run
            run = []
    if run:
        yield run


def _is_worth_it(files: Sequence[DataFile], a_tier: int) -> bool:
    sizes = [file.bytes for file in files]
    return min(sizes) < _WHOLE or sum(sizes) >= TARGET_BYTES or len(sizes) >= _MOST * a_tier


def compact(
    lake: Lake,
    table: str,
    *,
    every: bool = False,
    a_tier: int = _A_TIER,
    now: float | None = None,
    done: Callable[[int], object] | None = None,
    joined: Join = join,
) -> int:
    """Join small files of a table.

    Args:
        lake: The lake.
        table: One of `TABLES`.
        every: Join all small files of every date, however few or new.
        a_tier: As for `joinable`.
        now: Seconds since 1970; the clock's when not given.
        done: Called with the number of files after each group.
        joined: As for `rewrite`.

    Returns:
        How many files were joined. They stay on the disk until `vacuum`, for whoever is reading them.

    Raises:
        StoreError: A file cannot be read or written.
    """
    files = lake.entries(table)
    at = time.time() if now is None else now
    today = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).date()
    if every:
        groups = _by_date([file for file in files if file.bytes < LARGE])
    else:
        groups = joinable(files, today=today, now_ms=int(at * 1000), a_tier=a_tier)
    count = 0
    for group in groups:
        if len(group) > 1 and rewrite(lake, table, group, joined=joined) is not None:
            count += len(group)
        if done is not None:
            done(len(group))
    over = {group[0].date for group in groups if every or group[0].date < today - datetime.timedelta(days=_HOT_DAYS)}
    if table == "spans" and over:

        def without(old: Sequence[DataFile], drop: pa.Table, spared: str) -> int | None:
            return rewrite(lake, table, old, drop=drop, spared=spared)

        neighbours.collapse(lake, over, rewrite=without)
    return count


def rewrite(
    lake: Lake,
    table: str,
    old: Sequence[DataFile],
    *,
    drop: pa.Table | None = None,
    spared: str | None = None,
    change: Change | None = None,
    joined: Join = join,
) -> int | None:
    """Write the rows of some files of one date anew, sorted by time, of each key only the last.

    Args:
        lake: The lake.
        table: One of `TABLES`.
        old: The files, oldest first.
        drop: Rows to leave out: a table of one column, whose name is that of the column that it is compared with.
        spared: A condition in SQL for rows that are not left out all the same.
        change: Makes new rows of those of a window; keys and times stay.
        joined: Writes the new files, where no rows are dropped: `joining.join` or `joining.join_apart`.

    Returns:
        How many rows were left out; `None` where another writer was faster, and everything is as it was.

    Raises:
        StoreError: A file cannot be read or written.
    """
    folder, date = lake.folder / table, old[0].date
    try:
        if drop is None:
            outcome = joined(folder, table, date.isoformat(), [file.path for file in old], change)
        else:
            outcome = _dropped(lake, table, old, drop, spared, change)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot write {folder} anew: {error}") from error
    written = [Written(file.name, date, file.bytes, file.stats) for file in outcome.files]
    try:
        swapped = lake.swap(table, new=written, old=old)
    except StoreError:
        _remove(folder, written)
        raise
    if not swapped:
        _remove(folder, written)
        return None
    lake.sync(table)
    return outcome.read - outcome.kept


def _dropped(
    lake: Lake, table: str, old: Sequence[DataFile], drop: pa.Table, spared: str | None, change: Change | None
) -> Outcome:
    engine = Engine(lake.folder, threads=1)  # the door needs the others, and each takes 80 MB
    try:
        engine.show_rows("dropped", drop)
        source = _Source(engine, table, old, _dropping(drop.column_names[0], spared))
        files = write(lake.folder / table, table, old[0].date.isoformat(), source.windows(), change)
        return Outcome(files, source.rows, source.kept)
    finally:
        engine.close()


class _Source:
    """The rows of some files that are not dropped, a window of time after the other."""

    def __init__(self, engine: Engine, table: str, files: Sequence[DataFile], dropped: str) -> None:
        listed = ", ".join(_literal(file.path) for file in files)
        options = "union_by_name = true, hive_partitioning = false, filename = true, file_row_number = true"
        self._from = f"read_parquet([{listed}], {options})"
        self._engine = engine
        self._table = table
        self._order = TIMES[table]
        self._key = ", ".join(KEYS[table])
        self._dropped = dropped
        self.kept = 0
        present = {str(row["column_name"]) for row in engine.run(f"DESCRIBE SELECT * FROM {self._from}")}  # noqa: S608 - our own names and paths
        self._columns = [name for name in TABLES[table].names if name in present]
        paths = [file.path for file in files]
        engine.show_rows("places", pa.table({"filename": paths, "place": list(range(len(paths)))}))
        self.rows = self._number(f"SELECT count(*) FROM {self._from}")  # noqa: S608 - as above
        self._find_repeated("received_at" if "received_at" in present else self._order)

    def windows(self) -> Iterator[pa.Table]:
        """The rows, `WINDOW_ROWS` or so at a time, in order of time."""
        conditions = ["(filename, file_row_number) NOT IN (SELECT filename, file_row_number FROM repeated)"]
        if not self._number("SELECT count(*) FROM repeated"):
            conditions = []
        conditions.append(f"NOT coalesce({self._dropped}, false)")
        names = ", ".join(self._columns)
        for first, last in self._bounds():
            parts = list(conditions)
            if first is not None:
                parts.append(f"{self._order} >= {first}")
            if last is not None:
                parts.append(
                    f"{self._order} < {last}"
                    if first is not None
                    else f"({self._order} < {last} OR {self._order} IS NULL)"
                )
            where = f"WHERE {' AND '.join(parts)}" if parts else ""
            query = f"SELECT {names} FROM {self._from} {where} ORDER BY {self._order} NULLS FIRST, {self._key}"  # noqa: S608 - as above
            found = self._engine.run(query).to_arrow()
            self.kept += found.num_rows
            if found.num_rows:
                yield found

    def _find_repeated(self, newest: str) -> None:
        """Where rows lie whose key a later one has: by digest first, for keys are seldom there twice."""
        twice = f"SELECT hash({self._key}) AS digest FROM {self._from} GROUP BY ALL HAVING count(*) > 1"  # noqa: S608 - as above
        self._engine.show_rows("twice", self._engine.run(twice).to_arrow())
        order = f"{newest} DESC NULLS LAST, place DESC, file_row_number DESC"
        last = f"row_number() OVER (PARTITION BY {self._key} ORDER BY {order})"
        found = self._engine.run(
            f"SELECT filename, file_row_number FROM {self._from} JOIN places USING (filename) "  # noqa: S608 - as above
            f"WHERE hash({self._key}) IN (SELECT digest FROM twice) QUALIFY {last} > 1"
        )
        self._engine.show_rows("repeated", found.to_arrow())

    def _bounds(self) -> list[tuple[str | None, str | None]]:
        if self.rows <= WINDOW_ROWS:
            return [(None, None)]
        number = f"row_number() OVER (ORDER BY {self._order} NULLS FIRST) AS number"
        ranked = f"SELECT {self._order} AS moment, {number} FROM {self._from}"  # noqa: S608 - as above
        every = f"number % {WINDOW_ROWS} = 0 AND moment IS NOT NULL"
        query = f"SELECT DISTINCT moment FROM ({ranked}) WHERE {every} ORDER BY moment"  # noqa: S608 - as above
        cuts = [_moment(at) for (at,) in self._engine.run(query).fetchall()]
        return list(zip([None, *cuts], [*cuts, None], strict=True))

    def _number(self, query: str) -> int:
        found = self._engine.run(query).fetchone()
        return int(str(found[0])) if found else 0


def _dropping(column: str, spared: str | None) -> str:
    condition = f"{column} IN (SELECT {column} FROM dropped)"  # noqa: S608 - our own names
    return condition if spared is None else f"{condition} AND NOT ({spared})"


def _by_date(files: Sequence[DataFile]) -> list[list[DataFile]]:
    dates: dict[datetime.date, list[DataFile]] = {}
    for file in files:
        dates.setdefault(file.date, []).append(file)
    return [group for _, group in sorted(dates.items())]


def _remove(folder: Path, written: Sequence[Written]) -> None:
    for file in written:
        (folder / file.name).unlink(missing_ok=True)


def _moment(at: object) -> str:
    return f"TIMESTAMP '{at.isoformat(sep=' ')}'" if isinstance(at, datetime.datetime) else str(at)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
