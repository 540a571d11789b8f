"""Tail sampling: which traces stay, decided when they are whole: those that failed, were slow or scored, and a share.

What was acknowledged is kept until it is decided on. A trace is decided on when nothing has come of it for a window of
time; one that is decided against is taken out of the lake, its spans and log records in one commit a table and date,
and spans that come later go the same way. The draw of the share depends on the trace id alone, as the SDK's does.

A trace that stays says on its root how probable that was, `tracekit.sample.probability`, and why,
`tracekit.sample.tail`; the view `weights` has it for SQL. Traces that were there before sampling was turned on are left
alone.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import delete, insert, select

from tracekit import attributes as names
from tracekit._locks import held
from tracekit.errors import PluginError, SettingError
from tracekit.sampling import checked_rate, drawn
from tracekit_collector.catalog.tables import MARKS, UNSAMPLED
from tracekit_collector.compaction import rewrite
from tracekit_collector.lake import DataFile
from tracekit_collector.query import Engine, literal

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_MARK = "tail_sampling"
_LOCK = ".sampling.lock"
_OVERLAP = datetime.timedelta(seconds=60)  # of two collectors' clocks, and of what was on its way into the inbox
_AT_ONCE = 500
_TABLES = ("spans", "logs")


@dataclass(frozen=True)
class Sampled:
    """What one round of decisions did.

    Args:
        kept: Traces that stay, by why: `error`, `slow`, `scored`, `keep`, `share`.
        dropped: Traces that were decided against now.
        late: Traces that were decided against before, and of which more had come.
        spans: Spans that were taken out of the lake.
    """

    kept: Mapping[str, int]
    dropped: int = 0
    late: int = 0
    spans: int = 0


class TailSampling:
    """A rule for which traces stay; as a processor at the door it lets everything through.

    Args:
        share: How many of the traces stay that no rule keeps, from 0 to 1.
        slow_ms: Traces that took so long stay, in milliseconds; `None` where time does not count.
        errors: Whether traces with a span that failed stay.
        scored: Whether traces that have a score stay.
        window: Seconds without news of a trace after which it is decided on.
        remember: Days for which late spans of a trace that was decided against are known.
    """

    def __init__(
        self, share: float, *, slow_ms: float | None, errors: bool, scored: bool, window: float, remember: float
    ) -> None:
        self.share = share
        self.slow_ms = slow_ms
        self.errors = errors
        self.scored = scored
        self.window = datetime.timedelta(seconds=window)
        self.remember = datetime.timedelta(days=remember)

    def __call__(self, batch: Any) -> Any:
        """The batch as it is: nothing is decided before a trace is whole."""
        return batch

    def apply(self, store: Store) -> Sampled | None:
        """Decide on the traces that have gone quiet; `None` where another process is at it."""
        return apply(store, self)

    def verdict(self, trace: Mapping[str, object]) -> str | None:
        """Why a trace stays: `keep`, `error`, `scored`, `slow` or `share`; `None` where it does not."""
        if trace["keep"]:
            return "keep"
        if self.errors and trace["failed"]:
            return "error"
        if self.scored and trace["scored"]:
            return "scored"
        took = trace["took_ms"]
        if self.slow_ms is not None and isinstance(took, (int, float)) and took >= self.slow_ms:
            return "slow"
        return "share" if drawn(int(str(trace["trace_id"]), 16), self.share) else None


def tail_sampling(
    *,
    share: float,
    slow_ms: float | None = None,
    errors: bool = True,
    scored: bool = True,
    window: float = 300.0,
    remember: float = 7.0,
) -> TailSampling:
    """Keep traces that failed, were slow or scored, and a share of the rest.

    Args:
        share: How many of the rest, from 0 to 1.
        slow_ms: How long a trace takes that counts as slow, in milliseconds; without it, none does.
        errors: Whether traces with an error stay.
        scored: Whether traces with a score stay.
        window: Seconds without news of a trace after which it is decided on.
        remember: Days for which late spans of a dropped trace are known.

    Raises:
        PluginError: A number is out of its range.

    Example:
        >>> tail_sampling(share=0.1, slow_ms=5000).share
        0.1
    """
    try:
        rate = checked_rate(share)
    except SettingError:
        raise PluginError(f"tail_sampling: share must be a number from 0 to 1, not {share!r}") from None
    for name, value in (("slow_ms", slow_ms), ("window", window), ("remember", remember)):
        if value is not None and not _is_positive(value):
            raise PluginError(f"tail_sampling: {name} must be a number above 0, not {value!r}")
    return TailSampling(rate, slow_ms=slow_ms, errors=errors, scored=scored, window=window, remember=remember)


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def apply(store: Store, sampling: TailSampling) -> Sampled | None:
    """Decide on the traces of a store that have gone quiet, and take those out that do not stay.

    It can be killed at any moment: decisions are on the disk before the first row goes, and are the same again.

    Args:
        store: The store; what is in its inbox is settled first.
        sampling: What stays.

    Returns:
        What was done; `None` where another process is at it.

    Raises:
        StoreError: The lake or the catalog cannot be read or written.
    """
    with held(store.location / _LOCK, timeout=0) as ours:
        if not ours:
            return None
        now = _now()
        since = _mark(store)
        if since is None:
            _move_mark(store, now)
            return Sampled({})
        until = now - sampling.window
        if until <= since:
            return Sampled({})
        store.settle()
        found = _quiet(store, since - _OVERLAP, until, begun=_begun(store))
        known = _unsampled(store, (str(trace["trace_id"]) for trace in found))
        stamps: dict[str, str] = {}
        kept: Counter[str] = Counter()
        fresh: list[str] = []
        for trace in found:
            key = str(trace["trace_id"])
            if key in known or trace["decided"]:
                continue
            why = sampling.verdict(trace)
            if why is None:
                fresh.append(key)
            else:
                kept[why] += 1
                stamps[str(trace["stamped"])] = _stamped(str(trace["attributes"]), why, sampling.share)
        _remember(store, fresh, now, forget=now - sampling.remember)
        out = [*fresh, *known]
        spans, whole = _rewrite(store, out, stamps)
        if whole:  # otherwise the next round looks at the same traces again
            _move_mark(store, until)
    return Sampled(dict(kept), dropped=len(fresh), late=len(known), spans=spans)


_QUIET = """
WITH late AS (
  SELECT trace_id FROM lake_spans WHERE received_at > ?
  GROUP BY trace_id HAVING max(received_at) <= ?
), whole AS (SELECT * FROM lake_spans SEMI JOIN late USING (trace_id)), first AS (
  SELECT trace_id, min(received_at) AS first_received,
    bool_or(status = 'error' OR (status <> 'ok' AND error_type IS NOT NULL)) AS failed,
    (max(start_ns + coalesce(duration_ns, 0)) - min(start_ns)) / 1e6 AS took_ms,
    bool_or(contains(attributes, '"tracekit.sample.tail"')) AS decided,
    bool_or(contains(attributes, '"tracekit.sample.reason":"keep"')) AS keep,
    arg_min(struct_pack(span := span_id, attributes := attributes),
      CASE WHEN parent_span_id IS NULL THEN start_ns // 2 ELSE start_ns // 2 + 4611686018427387904 END) AS root
  FROM whole GROUP BY trace_id
)
SELECT trace_id, failed, took_ms, decided, keep, trace_id || root.span AS stamped, root.attributes AS attributes,
  trace_id IN (SELECT trace_id FROM lake_scores WHERE trace_id IS NOT NULL) AS scored
FROM first WHERE first_received > ? ORDER BY trace_id"""


def _quiet(
    store: Store, since: datetime.datetime, until: datetime.datetime, *, begun: datetime.datetime
) -> list[dict[str, object]]:
    """The traces of which something came after `since`, nothing after `until`, and nothing before `begun`."""
    return store.sql(_QUIET, [since, until, begun], settle=False).dicts()


def _rewrite(store: Store, out: list[str], stamps: Mapping[str, str]) -> tuple[int, bool]:
    """Take traces out of the lake and stamp others, in one commit for each table and date.

    Returns how many spans went, and whether all was done.
    """
    removed, whole = 0, True
    drop = pa.table({"trace_id": pa.array(out, pa.string())})
    for table in _TABLES:
        touched = [*out, *({key[:32] for key in stamps} if table == "spans" else ())]
        for files in _files(store, table, touched):
            left_out = rewrite(
                store.lake, table, files, drop=drop, change=_Stamping(stamps) if table == "spans" else None
            )
            if left_out is None:
                whole = False  # another writer was faster
            elif table == "spans":
                removed += left_out
    return removed, whole


class _Stamping:
    """Puts new attributes on some spans of a window."""

    def __init__(self, stamps: Mapping[str, str]) -> None:
        self._stamps = stamps

    def __call__(self, rows: pa.Table) -> pa.Table:
        keys = pc.binary_join_element_wise(rows.column("trace_id"), rows.column("span_id"), "").to_pylist()
        if self._stamps.keys().isdisjoint(keys):
            return rows
        texts = rows.column("attributes").to_pylist()
        new = [self._stamps.get(key, text) for key, text in zip(keys, texts, strict=True)]
        place = rows.column_names.index("attributes")
        return rows.set_column(place, "attributes", pa.array(new, pa.string()))


def _files(store: Store, table: str, trace_ids: list[str]) -> Iterable[list[DataFile]]:
    """The files that hold rows of these traces, date by date."""
    if not trace_ids:
        return []
    entries = store.lake.entries(table)
    if not entries:
        return []
    engine = Engine(store.lake.folder)
    try:
        engine.show_rows("wanted", pa.table({"trace_id": pa.array(trace_ids, pa.string())}))
        listed = ", ".join(literal(file.path) for file in entries)
        source = f"read_parquet([{listed}], filename = true, hive_partitioning = false)"
        query = f"SELECT DISTINCT filename FROM {source} SEMI JOIN wanted USING (trace_id)"  # noqa: S608 - our own paths
        holding = {str(name) for (name,) in engine.run(query).fetchall()}
    finally:
        engine.close()
    dates: dict[datetime.date, list[DataFile]] = {}
    for file in entries:
        if file.path in holding:
            dates.setdefault(file.date, []).append(file)
    return [files for _, files in sorted(dates.items())]


def _stamped(text: str, why: str, share: float) -> str:
    """A span's attributes as they stand in the lake, with how probable it was that its trace stays, and why.

    The SDK draws by the same bits of the trace id, so a trace that both drew was as probable as the lower of the two.
    """
    said = orjson.loads(text)
    pairs = list(said["$kv"]) if "$kv" in said else [[key, value] for key, value in said.items()]
    before = next((value for key, value in pairs if key == names.SAMPLE_PROBABILITY), None)
    head = float(before) if isinstance(before, (int, float)) and not isinstance(before, bool) else 1.0
    mine = {names.SAMPLE_PROBABILITY: min(head, share) if why == "share" else head, names.SAMPLE_TAIL: why}
    if "$kv" in said:
        kept = [pair for pair in pairs if pair[0] not in mine]
        return orjson.dumps({"$kv": [*kept, *([key, value] for key, value in mine.items())]}).decode()
    return orjson.dumps({**said, **mine}).decode()


def _mark(store: Store) -> datetime.datetime | None:
    return _moment(store, _MARK)


def _begun(store: Store) -> datetime.datetime:
    return _moment(store, f"{_MARK}.begun") or datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, as everywhere in the store


def _moment(store: Store, name: str) -> datetime.datetime | None:
    with store.catalog.reading() as connection:
        found = connection.scalar(select(MARKS.c.value).where(MARKS.c.name == name))
    return None if found is None else datetime.datetime.fromisoformat(found)


def _move_mark(store: Store, to: datetime.datetime) -> None:
    with store.catalog.transaction() as connection:
        first = connection.scalar(select(MARKS.c.value).where(MARKS.c.name == _MARK)) is None
        for name in (_MARK, f"{_MARK}.begun") if first else (_MARK,):
            connection.execute(delete(MARKS).where(MARKS.c.name == name))
            connection.execute(insert(MARKS).values(name=name, value=to.isoformat(), moved_at=_now()))


def _unsampled(store: Store, trace_ids: Iterable[str]) -> set[str]:
    """Those of the traces that were decided against before."""
    wanted = sorted(set(trace_ids))
    found: set[str] = set()
    with store.catalog.reading() as connection:
        for at in range(0, len(wanted), _AT_ONCE):
            some = wanted[at : at + _AT_ONCE]
            found.update(connection.scalars(select(UNSAMPLED.c.trace_id).where(UNSAMPLED.c.trace_id.in_(some))))
    return found


def _remember(store: Store, trace_ids: list[str], now: datetime.datetime, *, forget: datetime.datetime) -> None:
    with store.catalog.transaction() as connection:
        connection.execute(delete(UNSAMPLED).where(UNSAMPLED.c.decided_at < forget))
        if trace_ids:
            connection.execute(insert(UNSAMPLED), [{"trace_id": each, "decided_at": now} for each in trace_ids])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
