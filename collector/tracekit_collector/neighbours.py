"""Spans that came again with a time on the date before or after: of each, the last that was received is kept.

A date's files are joined on their own, which keeps one row of each key and date. When that has been done for a date
that nobody writes to any more, its traces are compared with those of the dates beside it: first the ids of traces,
few of which are on two dates, then the spans of these. Files that hold a row whose key has a later one are written anew
without it. A span that comes again two dates or more from where it was stays twice.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence

import pyarrow as pa

from tracekit_collector.lake import DataFile, Lake
from tracekit_collector.query import Engine, literal

_MEMORY_MB = 256
_AT_ONCE = 5_000  # spans that a file is rid of
_DAY = datetime.timedelta(days=1)

Rewrite = Callable[[Sequence[DataFile], pa.Table, str], "int | None"]


def collapse(lake: Lake, dates: Collection[datetime.date], *, rewrite: Rewrite) -> int:
    """Keep one row of each span that is on one of these dates and on one beside it.

    Args:
        lake: The lake.
        dates: Dates whose files have just been joined.
        rewrite: Writes files of one date anew without some rows: the files, a table of one column `span_id` that tells
            which, and a condition in SQL for rows that are kept all the same; tells how many rows it left out.

    Returns:
        How many rows were left out.

    Raises:
        StoreError: A file cannot be read or written.
    """
    count = 0
    for earlier in sorted({each - _DAY for each in dates} | set(dates)):
        files = _by_date(lake.entries("spans"))
        if earlier in files and earlier + _DAY in files:
            lost = _lost(lake, files[earlier], files[earlier + _DAY])
            for path, keys in lost.items():
                whole = next(file for file in (*files[earlier], *files[earlier + _DAY]) if file.path == path)
                drop = pa.table({"span_id": [span_id for _, span_id in keys]})
                pairs = ", ".join(f"({literal(trace_id)}, {literal(span_id)})" for trace_id, span_id in keys)
                count += rewrite([whole], drop, f"(trace_id, span_id) NOT IN ({pairs})") or 0
    return count


def _lost(lake: Lake, earlier: Sequence[DataFile], later: Sequence[DataFile]) -> dict[str, list[tuple[str, str]]]:
    """The spans that both dates have: of each the one that was received first, by the file that it is in."""
    engine = Engine(lake.folder, memory_mb=_MEMORY_MB, threads=1)
    try:
        for name, files in (("earlier", earlier), ("later", later)):
            listed = ", ".join(literal(file.path) for file in files)
            engine.define({name: f"SELECT * FROM read_parquet([{listed}], union_by_name = true, filename = true)"})  # noqa: S608 - our own paths
        both = engine.run("SELECT trace_id FROM earlier INTERSECT SELECT trace_id FROM later", ours=True).to_arrow()
        if not len(both):
            return {}
        engine.show_rows("both_dates", both)
        rows = "SELECT trace_id, span_id, received_at, filename FROM {} WHERE trace_id IN (FROM both_dates)"
        found = engine.run(
            "SELECT trace_id, span_id, "  # noqa: S608 - our own names
            "CASE WHEN coalesce(a.received_at > b.received_at, false) THEN b.filename ELSE a.filename END "
            f"FROM ({rows.format('earlier')}) a JOIN ({rows.format('later')}) b USING (trace_id, span_id) "
            f"LIMIT {_AT_ONCE}",
            ours=True,
        ).fetchall()
    finally:
        engine.close()
    lost: dict[str, list[tuple[str, str]]] = {}
    for trace_id, span_id, path in found:
        lost.setdefault(str(path), []).append((str(trace_id), str(span_id)))
    return lost


def _by_date(files: Sequence[DataFile]) -> dict[datetime.date, list[DataFile]]:
    dates: dict[datetime.date, list[DataFile]] = {}
    for file in files:
        dates.setdefault(file.date, []).append(file)
    return dates
