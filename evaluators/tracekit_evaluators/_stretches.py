"""All traces of a store a stretch of time after the other, so that no more of them are put together at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from tracekit_evaluators._ids import among_of

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.store import Store

_ROWS = 100_000  # spans in a stretch, about
_LISTED = 1_000  # traces that are named one by one; of more, all are looked through
_PAST_ALL = "~"  # comes behind any id, which is made of digits and letters


def stretches(store: Store, where: str | None, columns: str) -> Iterator[pa.Table]:
    """Rows of the view `traces` that meet a condition, newest first, in as many tables as their spans need.

    Args:
        store: Whose; what waits in its inbox is not settled.
        where: A condition in SQL; all when `None`.
        columns: What to tell of each, in SQL.
    """
    first, *cuts = _cuts(store)
    if not cuts:
        yield store.find(where=where, limit=None, columns=columns, settle=False).to_arrow()
        return
    last = cuts[-1]
    yield store.find(where=where, limit=None, columns=columns, since=last, settle=False).to_arrow()
    for high, low in pairwise(reversed([first, *cuts])):
        before = (high, _PAST_ALL)
        yield store.find(where=where, limit=None, columns=columns, since=low, before=before, settle=False).to_arrow()


def those(store: Store, trace_ids: Collection[str], columns: str, where: str = "true") -> Iterator[pa.Table]:
    """Rows of the view `traces` of these traces that meet a condition, newest first.

    Args:
        store: Whose; what waits in its inbox is not settled.
        trace_ids: Any number.
        columns: What to tell of each, in SQL, its `trace_id` among it.
        where: A condition in SQL.
    """
    if len(trace_ids) <= _LISTED:
        named = f"{where} AND trace_id IN ({', '.join(map(quoted, trace_ids)) or 'NULL'})"
        yield store.find(where=named, limit=None, columns=columns, settle=False).to_arrow()
        return
    among = among_of(trace_ids)
    for page in stretches(store, where, columns):
        yield page.filter(among(page.column("trace_id").to_pylist()))


def quoted(text: str) -> str:
    """The text as a constant of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _cuts(store: Store) -> list[int]:
    """Moments between which about so many spans begin, ascending; the first is the first span's."""
    counted = store.sql("SELECT min(start_ns), count(*) FROM spans", settle=False).fetchone()
    first, rows = cast("tuple[int | None, int]", counted)
    parts = rows // _ROWS
    if first is None or parts < 2:
        return [first or 0]
    shares = ", ".join(str(place / parts) for place in range(1, parts))
    found = store.sql(f"SELECT approx_quantile(start_ns, [{shares}]) FROM spans", settle=False).fetchone()  # noqa: S608 - numbers
    moments = sorted(set(cast("tuple[list[int]]", found)[0]))
    return [first, *(each for each in moments if each > first)]
