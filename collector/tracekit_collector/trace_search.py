"""Finding traces: the newest that a condition picks, reading no more spans than that takes.

The view `traces` puts every trace together before a condition or a limit can leave one out. Here, a window of the
newest spans is put together first, then one eight times as long, until enough traces that begin in the window meet the
condition. What a condition says of a trace that some span of it must say too, such as its session, picks the traces
before they are put together.

A trace begins in a window when none of its spans comes before it. One whose root is in the window is taken to have no
span more than `SLACK_NS` before; of one without a root there, the earlier spans are looked for.

Where a condition tells what some span, or the spans together, must be like (`conditions.needed_of`), the few columns
that tell are asked first which traces of a window can be meant at all, and windows grow until these are more than
enough; only they are put together. A condition of which that tells nothing has every trace of its windows put together,
all of the store's where few meet it; so has each one where log records add to traces.

Two things may be told wrong in a list, though never in a trace that is opened by its id: a trace with a child more than
`SLACK_NS` before its root may be listed without that child, and on a later page, or when it is found by its session,
one that lasts longer than `_LONGEST_NS` without what came after that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracekit.errors import UsageError
from tracekit_collector.conditions import Needed, asks_for_errors, needed_of, told_by
from tracekit_collector.lake import TimedFile
from tracekit_collector.log_views import steps_sql
from tracekit_collector.query import Engine, Result, literal
from tracekit_collector.schema import SPANS
from tracekit_collector.views import _FAILED as FAILED
from tracekit_collector.views import SLACK_NS, brief_traces_sql, traces_sql

_LONGEST_NS = 86_400 * 10**9  # of a trace that is found by its session, or on a later page
_STRAY_NS = 600 * 10**9  # a span may begin this much after all others of its trace have ended
_FIRST_ROWS = 2_500  # of the first window; the fewer, the sooner it is put together
_PAGE_ROWS = 20_000  # the same on later pages, whose windows end too
_WIDER = 8
_SPARE = 3  # times as many traces as are wanted that can be meant, before they are put together
_LISTED = 2_000
_NEVER = 2**62

_INDEXED = frozenset(("trace_id", "session_id"))
# Columns of `traces` that take more than one look at each span; `columns` may name any.
_OF_CALLS = frozenset(
    (
        "columns",
        "name",
        "repeat",
        "duration_ms",
        "status",
        "error_type",
        "error_message",
        "input",
        "output",
        "errors",
        "model_calls",
        "tool_calls",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost_usd",
    )
)
_COLUMNS = ", ".join(
    name for name in SPANS.names if re.search(rf"\b{name}\b", traces_sql("") + steps_sql(""))
)  # those that a trace is put together from


@dataclass(frozen=True)
class Wanted:
    """Which traces are looked for.

    Args:
        where: A condition in SQL over the view `traces`.
        equal: Columns of `traces` and the text that they must have.
        errors: Only traces that failed.
        limit: At most so many; all when `None`.
        offset: How many of the first to leave out.
        before: Only traces that come after this one in the list: its `start_ns` and `trace_id`.
        since: Only traces that begin at this time or after, in nanoseconds since 1970.
        newest_first: The order; oldest first when off.
        columns: What to tell of each, in SQL.
        seconds: How long it may take.
    """

    where: str | None = None
    equal: tuple[tuple[str, str], ...] = ()
    errors: bool = False
    limit: int | None = None
    offset: int = 0
    before: tuple[int, str] | None = None
    since: int | None = None
    newest_first: bool = True
    columns: str = "*"
    seconds: float | None = None

    @property
    def condition(self) -> str:
        """All that a row of `traces` must meet, in SQL."""
        parts = [f"{name} = {literal(value)}" for name, value in self.equal]
        parts += ["status = 'error'"] if self.errors else []
        parts += [f"({self.where}\n)"] if self.where else []  # the line's end ends a comment
        parts += [f"start_ns >= {int(self.since)}"] if self.since is not None else []
        if self.before is not None:
            at, trace_id = int(self.before[0]), literal(self.before[1])
            parts.append(f"(start_ns < {at} OR (start_ns = {at} AND trace_id > {trace_id}))")
        return " AND ".join(parts) or "true"

    @property
    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        """Columns of `spans`, and the texts of which some span of every such trace has one."""
        return [(name, (value,)) for name, value in self.equal] + told_by(self.where or "")


class TraceSearch:
    """Finds traces in the files of a lake.

    Args:
        engine: Has the view `lake_spans`.
        files: The files of that view, and the times in them.
        logs_tell: Whether any log record adds to a trace; where none does, planning takes half as long.
    """

    def __init__(self, engine: Engine, files: Sequence[TimedFile], *, logs_tell: bool = True) -> None:
        self._engine = engine
        self._files = files
        self._logs_tell = logs_tell

    def find(self, wanted: Wanted) -> Result:
        """The rows of `traces` that are wanted, in order.

        Raises:
            UsageError: The condition is wrong, or it took too long.
            StoreError: A file cannot be read.
        """
        by_name = self._engine.by_name
        try:
            return self._find(wanted)
        except UsageError:
            if by_name or not self._engine.by_name:
                raise
            return self._find(wanted)  # a file lacks a column: queries now say so

    def _find(self, wanted: Wanted) -> Result:
        indexed = [(name, values) for name, values in wanted.told if name in _INDEXED]
        if indexed:
            known = self._with(indexed)
            if known is not None:
                return self._whole(wanted, known)
        if wanted.limit is None or not wanted.newest_first:
            window = _Window(low=wanted.since)
            if wanted.since is not None and wanted.before is not None:
                until = wanted.before[0]
                window = _Window(low=wanted.since, until=until, high=self._end(wanted.since, until))
            return self._of_those(wanted, window, self._meant(wanted, window))
        enough = wanted.limit + wanted.offset
        high = None if wanted.before is None else wanted.before[0]
        for earliest in self._lows(enough * 40, high):
            low = wanted.since if earliest is None else max(earliest, wanted.since or earliest)
            window = _Window(low=low)
            if high is not None and low is not None:
                window = _Window(low=low, until=high, high=self._end(low, high))
            last = low is None or low == wanted.since
            meant = self._meant(wanted, window)
            if meant is not None and not last:
                spare = _SPARE if wanted.errors or needed_of(wanted.where or "").spans else 1
                if len(meant) < enough * spare:
                    continue
                window, meant = _newest(window, meant, enough * spare)
            found = self._of_those(wanted, window, meant)
            if last or len(found) == wanted.limit:
                break
        return found

    def _meant(self, wanted: Wanted, window: _Window) -> dict[str, int] | None:
        """The traces in a window that can be wanted, each with a time that it begins at or before.

        `None` where they are many or nothing tells.
        """
        said = Needed() if self._logs_tell else needed_of(wanted.where or "")
        signs = [FAILED] if wanted.errors else []
        signs += [sign for sign in said.spans if sign not in signs]
        signs += [f"{name} = {literal(value)}" for name, value in wanted.equal]
        if self._logs_tell or not (signs or said.traces):
            return None
        bounds = [f"start_ns >= {window.low - SLACK_NS}"] if window.low is not None else []
        bounds += [f"start_ns <= {window.high}"] if window.high is not None else []
        within = f"FROM ({self._source(window)}) WHERE {' AND '.join(bounds) or 'true'}"
        among = [f"trace_id IN (SELECT trace_id {within} AND {sign})" for sign in signs[1:]]
        if said.traces:
            having = f"GROUP BY trace_id HAVING {' AND '.join(said.traces)}"
            among.append(f"trace_id IN (SELECT trace_id {within} {having})" if signs else "true")
            query = f"SELECT trace_id, min(start_ns) {within} {having} LIMIT {_LISTED + 1}"
        if signs:
            also = "".join(f" AND {each}" for each in among)
            within += f" AND {signs[0]}{also} GROUP BY trace_id"
            query = f"SELECT trace_id, min(start_ns) {within} LIMIT {_LISTED + 1}"
        try:
            found = self._engine.rows(query, seconds=wanted.seconds)
        except UsageError:
            self._rows(wanted, _NOTHING, ())  # says what is wrong with the condition itself
            raise
        return None if len(found) > _LISTED else {str(trace_id): int(str(at)) for trace_id, at in found}

    def _of_those(self, wanted: Wanted, window: _Window, meant: Mapping[str, int] | None) -> Result:
        """The wanted rows of a window, of these traces alone where they are known."""
        if meant is None:
            return self._in_window(wanted, window)
        if not meant:
            return self._rows(wanted, _NOTHING, ())[0]
        ids = tuple(sorted(meant))
        if window.low is None:
            # Where they begin and end is asked first, of two columns, so that few rows have all others read.
            query = (
                f"SELECT min(start_ns), max(start_ns) FROM ({self._source(window)}) WHERE trace_id IN {_listed(ids)}"  # noqa: S608 - our own names, and literals
            )
            ((low, high),) = self._engine.rows(query, seconds=wanted.seconds)
            if isinstance(low, int) and isinstance(high, int):
                return self._rows(wanted, _Window(low=low, high=high, trace_ids=ids), ())[0]
        return self._in_window(wanted, replace(window, trace_ids=ids))

    def _in_window(self, wanted: Wanted, window: _Window) -> Result:
        begun_before: set[str] = set()
        while True:
            found, rootless = self._rows(wanted, window, sorted(begun_before))
            earlier = self._with_spans_before(window.low, rootless) if window.low is not None else set()
            if not earlier:
                return found
            begun_before |= earlier

    def _rows(self, wanted: Wanted, window: _Window, without: Sequence[str]) -> tuple[Result, list[str]]:
        """The wanted rows of a window, and which of them (or of those that `offset` leaves out) have no root in it."""
        within = [f"start_ns >= {window.low - SLACK_NS}"] if window.low is not None else []
        within += [f"start_ns <= {window.high}"] if window.high is not None else []
        if window.trace_ids is None and self._is_brief(wanted):
            return self._brief(wanted, window, within, without)
        kept = [f"trace_id NOT IN {_listed(without)}"] if without else []
        if window.trace_ids is not None:
            within.append(f"trace_id IN {_listed(window.trace_ids)}")
        else:
            signs = [f"{name} IN {_listed(values)}" for name, values in wanted.told]
            signs += [f"start_ns <= {window.until}"] if window.until is not None else []
            signs += [FAILED] if wanted.errors or asks_for_errors(wanted.where or "") else []
            kept += [f"trace_id IN (SELECT trace_id FROM steps_within WHERE {sign})" for sign in signs]  # noqa: S608 - our own names, and literals
        bounds = " AND ".join(within) or "true"
        steps = "SELECT * FROM spans_within"  # the spans are within the bounds already; what log records add may not be
        if self._logs_tell:
            steps = f"SELECT * FROM ({steps_sql('spans_within')}) WHERE {bounds}"  # noqa: S608 - our own names, and literals
        query = (
            f"WITH spans_within AS MATERIALIZED (SELECT {_COLUMNS} FROM ({self._source(window)}) WHERE {bounds}), "  # noqa: S608 - `where` is the user's own SQL, on an engine that only reads
            f"steps_within AS ({steps}), "
            f"picked AS (SELECT * FROM steps_within WHERE {' AND '.join(kept) or 'true'}), "
            f"assembled AS ({traces_sql('picked', filled=True)}) "
            f"SELECT {wanted.columns}, trace_id AS _trace_id, "
            "trace_id IN (SELECT trace_id FROM picked WHERE parent_span_id IS NULL) AS _rooted "
            f"FROM assembled {_wanted_of(wanted, window)}"
        )
        return self._told(wanted, query)

    def _is_brief(self, wanted: Wanted) -> bool:
        """Whether nothing is asked of traces but what spans tell without their calls being put together."""
        words = _words(wanted)
        return not (self._logs_tell or wanted.told or wanted.errors or "*" in words or words & _OF_CALLS)

    def _brief(
        self, wanted: Wanted, window: _Window, within: Sequence[str], without: Sequence[str]
    ) -> tuple[Result, list[str]]:
        bounds = [*within, *([f"trace_id NOT IN {_listed(without)}"] if without else [])]
        rows = f"(FROM ({self._source(window)}) WHERE {' AND '.join(bounds) or 'true'})"
        query = (
            f"SELECT {wanted.columns}, trace_id AS _trace_id, _rooted "  # noqa: S608 - as in `_rows`
            f"FROM ({brief_traces_sql(rows, _words(wanted))}) {_wanted_of(wanted, window)}"
        )
        return self._told(wanted, query)

    def _told(self, wanted: Wanted, query: str) -> tuple[Result, list[str]]:
        table = self._engine.run(query, seconds=wanted.seconds, ours=wanted.where is None).to_arrow()
        marks = zip(table.column("_trace_id").to_pylist(), table.column("_rooted").to_pylist(), strict=True)
        rootless = [trace_id for trace_id, rooted in marks if not rooted]
        return Result(table.drop_columns(["_trace_id", "_rooted"]).slice(wanted.offset)), rootless

    def _whole(self, wanted: Wanted, known: dict[str, tuple[int, int]]) -> Result:
        if not known:
            return self._rows(wanted, _NOTHING, ())[0]
        first, last = min(each[0] for each in known.values()), max(each[1] for each in known.values())
        around = self._source(_Window(low=first - _LONGEST_NS, high=last + _LONGEST_NS))
        ids = tuple(sorted(known))
        query = f"SELECT min(start_ns), max(start_ns) FROM ({around}) WHERE trace_id IN {_listed(ids)}"  # noqa: S608 - our own names, and literals
        ((low, high),) = self._engine.rows(query)
        begun = min(first, low) if isinstance(low, int) else first
        window = _Window(low=begun, high=max(last, high) if isinstance(high, int) else last, trace_ids=ids)
        return self._rows(wanted, window, ())[0]

    def _with(self, signs: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[int, int]] | None:
        """Traces of which a span has one of the values, and when such spans began; `None` where there are too many."""
        name, values = signs[0]
        among = f"{name} IN {_listed(values)}"
        more = f" UNION ALL SELECT trace_id, start_ns FROM log_steps WHERE {among}" if self._logs_tell else ""  # noqa: S608 - our own names, and literals
        query = (
            "SELECT trace_id, min(start_ns), max(start_ns) "  # noqa: S608 - our own names, and literals
            f"FROM (SELECT trace_id, start_ns FROM lake_spans WHERE {among}{more}) "
            f"GROUP BY trace_id LIMIT {_LISTED + 1}"
        )
        found = self._engine.rows(query)
        if len(found) > _LISTED:
            return None
        return {str(trace_id): (int(str(first)), int(str(last))) for trace_id, first, last in found}

    def _end(self, low: int, high: int) -> int:
        """Until when spans come of traces that begin in a stretch of time, to judge by how long its spans took."""
        source = self._source(_Window(low=low, high=high))
        query = (
            f"SELECT max(start_ns + coalesce(duration_ns, 0)) FROM ({source}) WHERE start_ns BETWEEN {low} AND {high}"  # noqa: S608 - our own names, and literals
        )
        ((end,),) = self._engine.rows(query)
        return min(max(high, end if isinstance(end, int) else high) + _STRAY_NS, high + _LONGEST_NS)

    def _with_spans_before(self, low: int, trace_ids: Sequence[str]) -> set[str]:
        if not trace_ids:
            return set()
        files = [file.path for file in self._files if file.first_ns is None or file.first_ns < low - SLACK_NS]
        source = self._engine.source("spans", files)
        query = (
            f"SELECT DISTINCT trace_id FROM ({source}) "  # noqa: S608 - our own names, and literals
            f"WHERE trace_id IN {_listed(trace_ids)} AND start_ns < {low - SLACK_NS}"
        )
        return {str(each) for (each,) in self._engine.rows(query)}

    def _source(self, window: _Window) -> str:
        low = None if window.low is None else window.low - SLACK_NS
        files = [
            file.path
            for file in self._files
            if (low is None or file.last_ns is None or file.last_ns >= low)
            and (window.high is None or file.first_ns is None or file.first_ns <= window.high)
        ]
        return self._engine.source("spans", files)

    def _lows(self, rows: int, high: int | None) -> Iterator[int | None]:
        """Where ever longer windows begin that end at `high` or now; `None` for the one that has everything."""
        if all(
            file.rows is not None and file.first_ns is not None and file.last_ns is not None for file in self._files
        ):
            known = [(file.first_ns or 0, file.last_ns or 0, file.rows or 0) for file in self._files]
            share = _rows_since(known, high) if high is not None else 0.0
            target = float(max(rows, _FIRST_ROWS if high is None else _PAGE_ROWS))
            while target + share < sum(count for _, _, count in known) * 0.8:
                yield _moment(known, target + share)
                target *= _WIDER
        yield None


@dataclass(frozen=True)
class _Window:
    """A stretch of time, nanoseconds since 1970, open where `None`; or some traces of it alone.

    A trace that is wanted has a span that begins by `until`, and none after `high`.
    """

    low: int | None = None
    high: int | None = None
    until: int | None = None
    trace_ids: tuple[str, ...] | None = None


_NOTHING = _Window(low=_NEVER, trace_ids=("",))


def _words(wanted: Wanted) -> frozenset[str]:
    """The names in what is asked, with those that its order takes; a `*` too."""
    asked = f"{wanted.columns} {wanted.condition} start_ns".lower()
    return frozenset(re.findall(r"\w+|\*", asked))


def _wanted_of(wanted: Wanted, window: _Window) -> str:
    """The condition, order and length of what is wanted of the traces of a window."""
    begun = f" AND start_ns >= {window.low}" if window.low is not None else ""
    most = "" if wanted.limit is None else f" LIMIT {int(wanted.limit) + int(wanted.offset)}"
    return (
        f"WHERE {wanted.condition}{begun} ORDER BY start_ns {'DESC' if wanted.newest_first else 'ASC'}, trace_id{most}"
    )


def _newest(window: _Window, meant: Mapping[str, int], count: int) -> tuple[_Window, dict[str, int]]:
    """The later part of a window, and so many of the traces that can be meant: all that can begin in it."""
    low = sorted(meant.values())[-count]
    return replace(window, low=low), {trace_id: at for trace_id, at in meant.items() if at >= low}


def _listed(values: Sequence[str]) -> str:
    return f"({', '.join(map(literal, values))})"


def _rows_since(files: Sequence[tuple[int, int, int]], moment: int) -> float:
    """About how many rows begin at or after a moment, taking those of a file to be spread evenly."""
    total = 0.0
    for first, last, rows in files:
        total += (
            rows * min(1.0, max(0.0, (last - moment) / (last - first))) if last > first else rows * (last >= moment)
        )
    return total


def _moment(files: Sequence[tuple[int, int, int]], rows: float) -> int:
    """The moment since which about so many rows begin."""
    low, high = min(first for first, _, _ in files), max(last for _, last, _ in files)
    while high - low > 1_000_000:
        middle = (low + high) // 2
        low, high = (middle, high) if _rows_since(files, middle) > rows else (low, middle)
    return low
