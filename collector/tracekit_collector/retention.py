"""Retention: which traces a store keeps, by age, count and size, for each project; the rest is really removed.

A trace goes as a whole, with its log records, inferences and the scores that no run gave. The scores of runs stay:
they are the record of what was measured, and a run keeps its own list of traces and its dataset.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tracekit.errors import SettingError
from tracekit_collector import run_records
from tracekit_collector.compaction import rewrite
from tracekit_collector.lake import DataFile
from tracekit_collector.schema import KEYS

if TYPE_CHECKING:
    from tracekit_collector.store import Store

__all__ = ["Removed", "Rule", "retain", "rules_from"]

_REQUEST_DAYS = 30  # how long a request that is sent again is known by its digest
_YOUNG_SECONDS = 86_400  # an artifact may be here before the span that names it
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|traces|mb|gb)")
_OF_TRACES = ("spans", "logs", "inferences", "scores")
_TRACELESS = {
    "logs": "trace_id IS NULL AND time < ?",
    "inferences": "trace_id IS NULL AND time < ?",
    "metrics": "time < ?",
}
_HOLDING = ("attributes", "input", "output", "input_messages", "output_messages", "tool_arguments", "tool_result")


@dataclass(frozen=True)
class Rule:
    """What is kept of a project's traces.

    Args:
        project: The project; `None` means each one that no other rule names, by itself.
        age: How old a trace's newest span may be.
        traces: How many traces there may be; the newest stay.
        bytes: How much of the lake they may take, as far as that can be told; the newest stay.
    """

    project: str | None = None
    age: datetime.timedelta | None = None
    traces: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Removed:
    """What retention removed, or would remove.

    Args:
        traces: Whole traces.
        rows: Rows of each table.
        artifacts: Files that nothing names any more.
        requests: Digests of requests that are too old to come again.
        files: Files that were taken off the disk.
    """

    traces: int
    rows: dict[str, int]
    artifacts: int = 0
    requests: int = 0
    files: int = 0


def rules_from(text: str) -> list[Rule]:
    """The rules that the setting `retain` says.

    Args:
        text: Such as `90d`, or `90d, 100000traces; noisy = 7d, 2gb`: limits for every project, then for single ones.

    Raises:
        SettingError: It says something else.

    Example:
        >>> rules_from("30d; noisy = 500traces")[1].traces
        500
    """
    rules = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, limits = part.rpartition("=")
        rule = Rule(name.strip() or None)
        if equals and rule.project is None:
            raise SettingError(f"retain: {part!r} names no project before the =")
        for limit in limits.split(","):
            found = _PART.fullmatch(limit.strip().lower())
            if found is None:
                raise SettingError(f"retain: {limit.strip()!r} is no limit; write 90d, 12h, 5000traces, 500mb or 20gb")
            rule = _with_limit(rule, float(found[1]), found[2])
        rules.append(rule)
    return rules


def retain(
    store: Store, rules: Sequence[Rule], *, dry_run: bool = False, now: datetime.datetime | None = None
) -> Removed:
    """Remove what the rules do not keep.

    Args:
        store: The store, settled.
        rules: What is kept. Rows of before are replaced; `Lake.vacuum` takes them off the disk.
        dry_run: Only say what would go.
        now: The time that ages are counted from, in UTC without a zone.

    Raises:
        StoreError: The store cannot be read or written.
    """
    at = now or datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    expired = _expired(store, rules, at)
    rows = {table: _remove(store, table, expired, dry_run=dry_run) for table in _OF_TRACES}
    ages = [rule.age for rule in rules if rule.project is None and rule.age is not None]
    if ages:
        for table in _TRACELESS:
            rows[table] = rows.get(table, 0) + _remove_traceless(store, table, at - max(ages), dry_run=dry_run)
    artifacts = _remove_artifacts(store, dry_run=dry_run)
    requests = store.catalog.forget_requests(before=at - datetime.timedelta(days=_REQUEST_DAYS), dry_run=dry_run)
    if len(expired) and not dry_run:
        store.catalog.audit.record("retention", f"{len(expired)} traces", {"rows": rows})
    return Removed(len(expired), rows, artifacts, requests)


def _with_limit(rule: Rule, number: float, unit: str) -> Rule:
    if unit == "traces":
        return replace(rule, traces=int(number))
    if unit in ("mb", "gb"):
        return replace(rule, bytes=int(number * (1 << (20 if unit == "mb" else 30))))
    return replace(rule, age=datetime.timedelta(days=number) if unit == "d" else datetime.timedelta(hours=number))


def _expired(store: Store, rules: Sequence[Rule], now: datetime.datetime) -> pa.Array:
    """The ids of the traces that go: each project's, oldest first, as far as its rule says."""
    sizes = _bytes_a_row(store)
    named = {rule.project for rule in rules}
    found: list[str] = []
    by_project = """
      SELECT coalesce(arg_min(project, start_ns), '') AS project, trace_id, max(start_ns) AS last, sum(bytes) AS bytes
      FROM spans JOIN (SELECT unnest(?::DATE[]) AS date, unnest(?::DOUBLE[]) AS bytes) USING (date) GROUP BY trace_id"""
    for rule in rules:
        which = "project = ?" if rule.project is not None else "project NOT IN (SELECT unnest(?::VARCHAR[]))"
        whose: object = rule.project if rule.project is not None else sorted(filter(None, named)) or ["\0"]
        limits, values = [], []
        if rule.age is not None:
            limits.append("last < ?")
            values.append(int((now - rule.age - datetime.datetime(1970, 1, 1)).total_seconds() * 10**9))  # noqa: DTZ001 - the lake keeps UTC without a zone
        if rule.traces is not None:
            limits.append("number > ?")
            values.append(rule.traces)
        if rule.bytes is not None:
            limits.append("taken > ?")
            values.append(rule.bytes)
        if not limits:
            continue
        ranked = f"""
          SELECT trace_id, last, row_number() OVER newest_first AS number, sum(bytes) OVER newest_first AS taken
          FROM ({by_project}) WHERE {which}
          WINDOW newest_first AS (PARTITION BY project ORDER BY last DESC, trace_id ROWS UNBOUNDED PRECEDING)"""  # noqa: S608 - as above
        query = f"SELECT trace_id FROM ({ranked}) WHERE {' OR '.join(limits)}"  # noqa: S608 - as above
        known = [list(sizes), list(sizes.values()), whose, *values]
        found.extend(str(trace_id) for (trace_id,) in store.sql(query, known, settle=False).fetchall())
    return pa.array(found, pa.string())


def _bytes_a_row(store: Store) -> dict[datetime.date, float]:
    totals: dict[datetime.date, list[int]] = {}
    for file in store.lake.entries("spans"):
        total = totals.setdefault(file.date, [0, 0])
        total[0] += file.bytes
        total[1] += file.rows or 0
    return {date: size / max(rows, 1) for date, (size, rows) in totals.items()}


def _remove(store: Store, table: str, expired: pa.Array, *, dry_run: bool) -> int:
    if not len(expired):
        return 0
    drop = pa.table({"trace_id": expired})
    listed = "SELECT unnest(?::VARCHAR[])"
    kept = " AND run_id IS NULL" if table == "scores" else ""
    condition = f"trace_id IN ({listed}){kept}"
    counted = f"SELECT date, count(*) FROM lake_{table} WHERE {condition} GROUP BY date"  # noqa: S608 - our own names
    dates = store.sql(
        counted,
        [expired.to_pylist()],
        settle=False,
    ).fetchall()
    if dry_run:
        return sum(int(str(count)) for _, count in dates)
    spared = "run_id IS NOT NULL" if table == "scores" else None
    return sum(
        _rewrite(store, table, files, drop, spared) for files in _files(store, table, {date for date, _ in dates})
    )


def _rewrite(store: Store, table: str, files: list[DataFile], drop: pa.Table, spared: str | None = None) -> int:
    for _ in range(3):  # another writer may be faster: then with the files that are there now
        gone = rewrite(store.lake, table, files, drop=drop, spared=spared)
        if gone is not None:
            return gone
        files = [file for file in store.lake.entries(table) if file.date == files[0].date]
    return 0  # the next time will do it


def _files(store: Store, table: str, dates: set[object]) -> Iterator[list[DataFile]]:
    groups: dict[datetime.date, list[DataFile]] = {}
    for file in store.lake.entries(table):
        if file.date in dates:
            groups.setdefault(file.date, []).append(file)
    yield from groups.values()


def _remove_traceless(store: Store, table: str, before: datetime.datetime, *, dry_run: bool) -> int:
    """Rows that belong to no trace go by their own age."""
    key = KEYS[table][0]
    query = f"SELECT date, {key} FROM lake_{table} WHERE {_TRACELESS[table]}"  # noqa: S608 - our own names
    found = store.sql(query, [before], settle=False).to_arrow()
    if dry_run or not found.num_rows:
        return int(found.num_rows)
    dates = set(found.column("date").to_pylist())
    return sum(_rewrite(store, table, files, found.select([key])) for files in _files(store, table, dates))


def _remove_artifacts(store: Store, *, dry_run: bool) -> int:
    """Files that neither a run nor a row names, unless they are so young that their row may be on its way."""
    born = time.time() - _YOUNG_SECONDS
    if not dry_run:
        run_records.forget_parts(store.artifacts, before=born)
    old = [path for path in artifacts(store.artifacts) if path.stat().st_mtime < born]
    if not old:
        return 0
    named = named_artifacts(store)
    gone = [path for path in old if path.name not in named]
    if not dry_run:
        for path in gone:
            path.unlink(missing_ok=True)
    return len(gone)


def artifacts(folder: Path) -> list[Path]:
    """The artifacts in a folder; each has its SHA-256 for a name."""
    return sorted(path for path in folder.glob("*") if _DIGEST.fullmatch(path.name)) if folder.is_dir() else []


def named_artifacts(store: Store) -> set[str]:
    """The digests that runs, agent versions, log records and spans name."""
    named = set(_DIGEST.findall(store.catalog.all_text()))
    for table, columns in (
        ("spans", _HOLDING),
        ("logs", ("body", "attributes")),
        ("inferences", ("request", "response")),
    ):
        for column in columns:
            query = (
                f"SELECT DISTINCT unnest(regexp_extract_all({column}, '[0-9a-f]{{64}}')) FROM lake_{table} "  # noqa: S608 - our own names
                f"WHERE contains({column}, 'sha256')"
            )
            named.update(str(each) for (each,) in store.sql(query, settle=False).fetchall())
    return named
