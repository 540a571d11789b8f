"""Settling: from the inbox to the lake and the catalog, exactly once.

A batch is planned before it is worked on: `inbox/settle.json` names the byte range of every segment that the batch
takes, under the batch's number, and is on the disk before the first row is written. Each lake table commits the batch
under that number. Whoever finds a plan that is not done does it again over the same bytes; a table that has the batch
already is left alone. Offsets move, and segments go, only when every table and the catalog have the batch.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit._locks import held, try_lock
from tracekit.errors import StoreBusyError, StoreError, StoreVersionError, UsageError
from tracekit.inbox import Damage, Record, read_segment, segments, sync_folder, ulid
from tracekit_collector.catalog import Catalog
from tracekit_collector.lake import Batch, Lake, to_arrow
from tracekit_collector.query import Engine
from tracekit_collector.rows import inference_rows, log_rows, score_rows, span_rows, version_rows
from tracekit_collector.schema import KEYS

_PLAN_VERSION = 1
_BATCH_BYTES = 32 << 20
_FORGOTTEN_SECONDS = 60
_FILES_A_DATE = 64
_KEPT_HOURS = 1
_NEIGHBOURS = (datetime.timedelta(days=-1), datetime.timedelta(0), datetime.timedelta(days=1))

logger = logging.getLogger(__name__)

Rows = dict[str, list[dict[str, object]]]
Ranges = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Settled:
    """What settling brought into the lake.

    Args:
        requests: How many requests were new.
        repeated: How many requests were known already and left out.
        spans: How many spans they held.
        logs: How many log records.
        scores: How many scores.
        inferences: How many inference logs.
        refused: How many spans could not be kept, because they had no valid id.
        quarantined: How many stretches of segments could not be read.
    """

    requests: int = 0
    repeated: int = 0
    spans: int = 0
    logs: int = 0
    scores: int = 0
    inferences: int = 0
    refused: int = 0
    quarantined: int = 0

    def __add__(self, other: Settled) -> Settled:
        names = self.__dataclass_fields__
        return Settled(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class _Plan:
    """`settle.json`: how far each segment is settled, and the batch that is being worked on."""

    inbox: str
    batch: int = 0
    offsets: Mapping[str, int] = field(default_factory=dict)
    ranges: Ranges | None = None


@dataclass
class _Work:
    """A batch in the making."""

    rows: Rows = field(default_factory=lambda: {"spans": [], "logs": [], "inferences": [], "scores": []})
    versions: list[dict[str, object]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    count: Settled = field(default_factory=Settled)


class Settler:
    """Moves what arrived in an inbox into the lake and the catalog.

    Args:
        inbox: The folder of segments.
        lake: Where rows go.
        catalog: Where agent versions and known requests go.
    """

    def __init__(self, inbox: Path, lake: Lake, catalog: Catalog) -> None:
        self._inbox = inbox
        self._lake = lake
        self._catalog = catalog
        self._engine: Engine | None = None
        self._seen_versions: set[tuple[object, object]] = set()

    def pending(self) -> bool:
        """Whether the inbox holds anything that is not in the lake yet."""
        found = segments(self._inbox)
        if not found:
            return False
        plan = self._read_plan()
        return plan.ranges is not None or any(_size(path) > plan.offsets.get(path.name, 0) for path in found)

    def backlog_bytes(self) -> int:
        """How many bytes of the inbox are not in the lake yet."""
        plan = self._read_plan()
        return sum(max(0, _size(path) - plan.offsets.get(path.name, 0)) for path in segments(self._inbox))

    def quarantined(self) -> list[Path]:
        """The files that hold what could not be read; each has its reason beside it, in a `.json` of the same name."""
        return sorted((self._inbox / "quarantine").glob("*.bin"))

    def settle(self, *, timeout: float) -> Settled:
        """Settle all that is there now.

        One process settles at a time; the others wait for it and then look again.

        Args:
            timeout: How long to wait for another process that is settling, in seconds.

        Raises:
            StoreBusyError: Another process was settling for longer than `timeout`.
            StoreError: The lake or catalog cannot be written.
        """
        total = Settled()
        if not self.pending():
            return total
        with held(self._inbox / ".settle.lock", timeout=timeout) as ours:
            if not ours:
                waited = f"another process has been settling {self._inbox} for {timeout:.0f} s"
                raise StoreBusyError(f"{waited}; try again, or look for one that is stuck")
            plan = self._read_plan()
            while True:
                ranges = plan.ranges
                if ranges is None:
                    ranges = self._next_ranges(plan.offsets)
                    if not ranges:
                        break
                    plan = replace(plan, ranges=ranges, batch=plan.batch + 1)
                    self._write_plan(plan)
                total += self._do(plan, ranges)
                offsets = {**plan.offsets, **{name: end for name, (_, end) in ranges.items()}}
                plan = replace(plan, offsets=offsets, ranges=None)
                self._write_plan(plan)
            self._tidy(plan)
            self._keep_house()
        return total

    def close(self) -> None:
        """Free the memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _next_ranges(self, offsets: Mapping[str, int]) -> Ranges:
        ranges: Ranges = {}
        room = _BATCH_BYTES
        for path in segments(self._inbox):
            start = offsets.get(path.name, 0)
            if room <= 0 or _size(path) <= start:
                continue
            end = start
            for item in read_segment(path, start):
                if isinstance(item, Damage) and item.torn and not _is_abandoned(path):
                    break
                end = item.end
                if end - start >= room:
                    break
            if end > start:
                ranges[path.name] = (start, end)
                room -= end - start
        return ranges

    def _do(self, plan: _Plan, ranges: Ranges) -> Settled:
        batch = Batch(plan.inbox, plan.batch)
        work = _Work()
        for name, (start, end) in sorted(ranges.items()):
            self._read(self._inbox / name, start, end, work)
        for table, rows in work.rows.items():
            if rows and not self._lake.holds(table, batch):
                self._commit(table, rows, batch)
                self._lake.sync(table)
        self._take_down_versions(work)
        self._catalog.add_requests(work.digests, settled_at=_utc(time.time_ns()))
        return work.count

    def _read(self, path: Path, start: int, end: int, work: _Work) -> None:
        records: list[tuple[Record, str]] = []
        for item in read_segment(path, start, end):
            if isinstance(item, Damage):
                self._quarantine(path, item.start, _bytes(path, item.start, item.end), item.reason)
                work.count += Settled(quarantined=1)
            else:
                records.append((item, hashlib.blake2b(item.payload, digest_size=16).hexdigest()))
        known = self._catalog.known_requests(digest for _, digest in records)
        for record, digest in records:
            if digest in known or digest in work.digests:
                work.count += Settled(repeated=1)
                continue
            work.digests.add(digest)
            try:
                _add_rows(path.suffix[1:], record, digest, work)
            except Exception as error:  # noqa: BLE001 - one payload that we cannot read must not hold up the rest
                work.digests.discard(digest)  # a tracekit that can read it may be given it again
                self._quarantine(path, record.start, record.payload, f"{type(error).__name__}: {error}")
                work.count += Settled(quarantined=1)

    def _commit(self, table: str, rows: list[dict[str, object]], batch: Batch) -> None:
        key = KEYS[table]
        last = {tuple(row[name] for name in key): row for row in rows}
        dates = self._dates_of_known(table, last)
        arrow = to_arrow(table, list(last.values()))
        if dates:
            self._lake.replace(table, arrow, dates=dates, batch=batch)
        else:
            self._lake.append(table, arrow, batch=batch)

    def _dates_of_known(
        self, table: str, rows: Mapping[tuple[object, ...], Mapping[str, object]]
    ) -> set[datetime.date]:
        """On which dates the table has rows with these keys; a row that comes again may have moved by a day."""
        dates = {date for row in rows.values() if isinstance(date := row["date"], datetime.date)}
        near = {_shifted(date, step) for date in dates for step in _NEIGHBOURS}
        files = self._lake.files(table, dates=near)
        if not files:
            return set()
        if self._engine is None:
            self._engine = Engine(self._lake.folder)
        self._engine.show_files("known", table, files)
        key = KEYS[table]
        columns = ", ".join(f"unnest(?::VARCHAR[]) AS {name}" for name in key)
        same = " AND ".join(f"known.{name} = given.{name}" for name in key)
        values = [[str(each[place]) for each in rows] for place in range(len(key))]
        query = f"SELECT DISTINCT date FROM known SEMI JOIN (SELECT {columns}) given ON {same}"  # noqa: S608 - our own names
        return {date for (date,) in self._engine.run(query, values).fetchall() if isinstance(date, datetime.date)}

    def _take_down_versions(self, work: _Work) -> None:
        agents = self._catalog.agents
        for row in work.versions:
            facts = dict(row)
            alias, name = facts.pop("alias", None), str(facts.pop("agent"))
            try:
                version = agents.register(name, **facts)  # type: ignore[arg-type]  # the row's keys are the arguments
                if alias:
                    agents.set_alias(name, str(alias), version)
            except UsageError as error:
                logger.warning("an agent version could not be registered: %s", error)
        for row in work.rows["spans"]:
            named = (row["agent_name"], row["agent_version"])
            if None in named or named in self._seen_versions:
                continue
            try:
                agents.see(str(named[0]), str(named[1]))
            except UsageError as error:
                logger.warning("an agent version that a span names was not taken down: %s", error)
            self._seen_versions.add(named)

    def _quarantine(self, path: Path, start: int, payload: bytes, reason: str) -> None:
        folder = self._inbox / "quarantine"
        folder.mkdir(exist_ok=True)
        name = f"{path.name}.{start}"
        (folder / f"{name}.bin").write_bytes(payload)
        facts = {"segment": path.name, "start": start, "bytes": len(payload), "reason": reason}
        (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        logger.warning("quarantined %d bytes of %s: %s", len(payload), path.name, reason)

    def _tidy(self, plan: _Plan) -> None:
        for path in segments(self._inbox):
            if plan.offsets.get(path.name, 0) >= _size(path) and _is_abandoned(path):
                path.unlink(missing_ok=True)
        for path in self._inbox.glob(".*.traces"):
            _forget(path)
        for path in self._inbox.glob(".*.logs"):
            _forget(path)
        left = {path.name for path in segments(self._inbox)}
        if set(plan.offsets) - left:
            self._write_plan(replace(plan, offsets={name: at for name, at in plan.offsets.items() if name in left}))

    def _keep_house(self) -> None:
        # Every batch adds a file; left alone, a day of one span a second would be a hundred thousand of them.
        for table in KEYS:
            try:
                if self._lake.compact(table, more_than=_FILES_A_DATE):
                    self._lake.sync(table)
                    self._lake.vacuum(table, hours=_KEPT_HOURS)
            except StoreError as error:
                logger.warning("the table %s could not be compacted, and is as it was: %s", table, error)

    def _read_plan(self) -> _Plan:
        path = self._inbox / "settle.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _Plan(inbox=ulid())
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path}: {error}; move it away to settle the inbox anew") from error
        if found["version"] > _PLAN_VERSION:
            raise StoreVersionError(f"{path} was written by a newer tracekit; upgrade this one")
        ranges = found["ranges"] and {name: (start, end) for name, (start, end) in found["ranges"].items()}
        return _Plan(found["inbox"], found["batch"], found["offsets"], ranges or None)

    def _write_plan(self, plan: _Plan) -> None:
        path = self._inbox / "settle.json"
        facts = {
            "version": _PLAN_VERSION,
            "inbox": plan.inbox,
            "batch": plan.batch,
            "offsets": dict(plan.offsets),
            "ranges": plan.ranges,
        }
        new = path.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump(facts, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            sync_folder(self._inbox)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _add_rows(signal: str, record: Record, digest: str, work: _Work) -> None:
    received = record.received_ns
    try:
        if signal == "traces":
            request = ExportTraceServiceRequest.FromString(record.payload)
            found, refusals = span_rows(request, received_ns=received)
            new: Rows = {"spans": found, "scores": score_rows(request, digest=digest, received_ns=received)}
            work.count += Settled(refused=len(refusals))
        else:
            logs = ExportLogsServiceRequest.FromString(record.payload)
            new = {
                "logs": log_rows(logs, received_ns=received, digest=digest),
                "scores": score_rows(logs, digest=digest, received_ns=received),
                "inferences": inference_rows(logs, received_ns=received, digest=digest),
            }
            work.versions.extend(version_rows(logs, received_ns=received))
    except ProtobufError as error:
        raise StoreError(f"this is no OTLP {signal} request: {error}") from error
    for table, rows in new.items():
        work.rows[table].extend(rows)
    work.count += Settled(requests=1, **{table: len(rows) for table, rows in new.items()})


def _is_abandoned(path: Path) -> bool:
    """Whether no writer has the segment open, so that nothing will be appended to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _forget(path: Path) -> None:
    """Remove a segment that was never begun: its writer died between making it and naming it."""
    if _is_abandoned(path) and time.time() - path.stat().st_mtime > _FORGOTTEN_SECONDS:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _shifted(date: datetime.date, step: datetime.timedelta) -> datetime.date:
    try:
        return date + step
    except OverflowError:
        return date


def _utc(ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.timezone.utc).replace(tzinfo=None)
