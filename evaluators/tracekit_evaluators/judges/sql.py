"""Judging by SQL: one expression or query, evaluated over a whole selection of traces at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import DIRECTIONS, Direction
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from tracekit_collector.store import Store


@judge(direction="neutral", values="what the SQL gives")
def sql(*, expr: str | None = None, query: str | None = None, direction: Direction = "neutral") -> Call:
    """What an SQL expression says of each trace, worked out over the whole selection at once.

    A bool, a number or a text is the verdict; NULL is a missing input, as is a trace that the query does not give.
    Window functions see the selected traces and no others: `duration_ms > 2 * median(duration_ms) OVER ()`.

    Args:
        expr: An expression over the columns of the view `traces`.
        query: Instead of it, a query that gives `trace_id` and `value`, over any of the store's views.
        direction: Which way is better.

    Raises:
        UsageError: Neither is given, or both, or the direction is none.

    Example:
        >>> sql(expr="output_tokens > 1000", direction="minimize").declared.direction
        'minimize'
    """
    if (expr is None) is (query is None):
        raise UsageError("sql takes an expression over traces (expr=…) or a query (query=…), one of the two")
    if direction not in DIRECTIONS:
        raise UsageError(f"{direction!r} is no direction; one of {', '.join(DIRECTIONS)}")
    return _Sql(expr, query, direction)


class _Sql:
    def __init__(self, expr: str | None, query: str | None, direction: Direction) -> None:
        self.direction = direction
        self._expr = expr
        self._query = query

    def __call__(self, _subject: Subject) -> NoReturn:
        raise UsageError("sql judges a selection of stored traces, not one subject; run it with `evaluate`")

    def over(self, store: Store, trace_ids: Sequence[str]) -> Mapping[str, object]:
        """The verdicts by trace id."""
        ours = "trace_id IN (SELECT unnest(?::VARCHAR[]))"
        if self._expr is not None:
            asked = f"SELECT trace_id, ({self._expr}\n) AS value FROM traces WHERE {ours}"  # noqa: S608 - the user's own expression; the store only lets it read
        else:
            asked = f"SELECT trace_id, value FROM ({(self._query or '').strip().rstrip(';')}\n) WHERE {ours}"  # noqa: S608 - as above
        found = store.sql(asked, [list(trace_ids)], settle=False).to_arrow()
        verdicts = _plain(found.column("value")).to_pylist()
        by_id: dict[str, object] = dict(zip(found.column("trace_id").to_pylist(), verdicts, strict=True))
        if len(by_id) < len(verdicts):
            raise UsageError("the query of the judge sql gives several rows for one trace; it must give one each")
        return by_id


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as verdicts are: bools, numbers and texts."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False)
    return column.cast(pa.string(), safe=False)
