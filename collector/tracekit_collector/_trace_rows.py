"""The rows of many traces, some hundreds of traces at a time: the next ones are read while the last are in use.

Looking for traces by id alone reads the ids of all rows. Where there are many rows, it is asked once for thousands of
traces when each begins and ends; the rows of some hundreds are then looked for in that stretch of time only, of which
Parquet's statistics say where it is. Traces that are given in the order of their times lie close together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from tracekit_collector.query import Engine, literal

AT_ONCE = 200
_FEW = 20
_PAGE = 20_000  # traces whose times are asked for at once
_MANY = 50_000  # rows from which on looking for a stretch of time pays
_TIME = {"lake_spans": "start_ns", "lake_logs": "time_ns"}
_ORDER = {"lake_spans": "start_ns, span_id"}
_UNREAD = {"lake_spans": "EXCLUDE (date, start_time, received_at) "}  # which say nothing that is not in others
Rows = dict[str, list[dict[str, object]]]
Times = dict[str, tuple[int, int]]
T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Page:
    """Ids of traces, and when the rows of each begin and end, by table, once that was asked for."""

    trace_ids: Sequence[str]
    times: dict[str, Times] = field(default_factory=dict)


Batch = tuple[Page, Sequence[str]]


def batches(trace_ids: Iterable[str]) -> Iterator[Batch]:
    """The ids, some hundreds at a time, with the page that they are on."""
    given = iter(trace_ids)
    while listed := list(islice(given, _PAGE)):
        page = Page(listed)
        for start in range(0, len(listed), AT_ONCE):
            yield page, listed[start : start + AT_ONCE]


def ahead(read: Callable[[T], U], wanted: Iterable[T]) -> Iterator[tuple[T, U]]:
    """Each of these with what `read` gives for it, which is called for the next one meanwhile, on another thread."""
    taken = iter(wanted)
    now = next(taken, None)
    if now is None:
        return
    found = read(now)
    with ThreadPoolExecutor(1, thread_name_prefix="tracekit-read") as pool:
        while (after := next(taken, None)) is not None:
            coming = pool.submit(read, after)
            yield now, found
            now, found = after, coming.result()
    yield now, found


def by_trace(engine: Engine, table: str, batch: Batch, *, rows: int) -> Rows:
    """The rows of a table by their trace, in order of time.

    Args:
        engine: Has the table.
        table: `lake_spans`, `lake_logs` or `loose_records`.
        batch: Whose.
        rows: About how many the table has.
    """
    page, trace_ids = batch
    # A file's Bloom filters are asked for constants only.
    few = len(trace_ids) <= _FEW
    ids = ", ".join(map(literal, trace_ids)) if few else "SELECT unnest(?::VARCHAR[])"
    within = ""
    if table in _TIME and rows > _MANY and len(page.trace_ids) > AT_ONCE:
        if table not in page.times:
            page.times[table] = _times(engine, table, page.trace_ids)
        known = [times for each in trace_ids if (times := page.times[table].get(each)) is not None]
        if not known:
            return {}
        low, high = min(first for first, _ in known), max(last for _, last in known)
        within = f" AND {_TIME[table]} BETWEEN {low} AND {high}"
    query = (
        f"SELECT * {_UNREAD.get(table, '')}FROM {table} WHERE trace_id IN ({ids}){within} "
        f"ORDER BY {_ORDER.get(table, 'time_ns, log_id')}"
    )
    found: Rows = {}
    for row in engine.run(query, None if few else [list(trace_ids)], ours=True):
        found.setdefault(str(row["trace_id"]), []).append(row)
    return found


def _times(engine: Engine, table: str, trace_ids: Sequence[str]) -> Times:
    query = (
        f"SELECT trace_id, min({_TIME[table]}), max({_TIME[table]}) FROM {table} "  # noqa: S608 - our own names
        "WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY trace_id"
    )
    found = engine.run(query, [list(trace_ids)], ours=True).fetchall()
    return {str(each): (int(str(first)), int(str(last))) for each, first, last in found}
