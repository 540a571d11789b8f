"""Settling: from the inbox to the lake and the catalog, exactly once.

A batch is planned before it is worked on: `inbox/settle.json` names the byte range of every segment that the batch
takes, under the batch's number, and is on the disk before the first row is written. Each lake table commits the batch
under that number. Whoever finds a plan that is not done does it again over the same bytes; a table that has the batch
already is left alone. Offsets move, and segments go, only when every table and the catalog have the batch.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tracekit._locks import held
from tracekit.errors import StoreBusyError, StoreError, StoreVersionError, UsageError
from tracekit.inbox import SIGNALS, segments, synced, ulid
from tracekit_collector import compaction, replacing, run_records
from tracekit_collector.catalog import Catalog
from tracekit_collector.catalog.audit import acting
from tracekit_collector.known import Known
from tracekit_collector.lake import Batch, Lake, Written
from tracekit_collector.loading import Loaded, Part, Task, load
from tracekit_collector.ranges import Ranges, is_abandoned, next_ranges, pieces, size
from tracekit_collector.schema import KEYS, TABLES
from tracekit_collector.settled import Settled
from tracekit_collector.workers import Workers

_PLAN_VERSION = 1
_BATCH_BYTES = 16 << 20
_WORTH_A_WORKER = 1 << 20  # bytes; less is loaded here
_TELLING = 4 << 20  # bytes; a smaller batch does not tell how fast we are
_NEWS = 0.3  # what the last batch counts in that
_FORGOTTEN_SECONDS = 60
_A_TIER = 64  # files of a size that come together here; a running collector joins them long before (see `house`)
_KEPT_HOURS = 1
_ATTEMPTS = 5
_BATCHES_A_TIDYING = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """`settle.json`: how far each segment is settled, and the batch that is being worked on."""

    inbox: str
    batch: int = 0
    offsets: Mapping[str, int] = field(default_factory=dict)
    ranges: Ranges | None = None


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
        self._workers: Workers | None = None
        self._known = {table: Known(table) for table in TABLES}
        self._seen_versions: set[tuple[str, str]] = set()
        self.rate: float | None = None  # bytes of the inbox a second, as large batches have lately been settled

    def pending(self) -> bool:
        """Whether the inbox holds anything that is not in the lake yet."""
        found = segments(self._inbox)
        if not found:
            return False
        plan = self._read_plan()
        return plan.ranges is not None or any(size(path) > plan.offsets.get(path.name, 0) for path in found)

    def backlog_bytes(self) -> int:
        """How many bytes of the inbox are not in the lake yet."""
        plan = self._read_plan()
        return sum(max(0, size(path) - plan.offsets.get(path.name, 0)) for path in segments(self._inbox))

    def quarantined(self) -> list[Path]:
        """The files that hold what could not be read; each has its reason beside it, in a `.json` of the same name."""
        return sorted((self._inbox / "quarantine").glob("*.bin"))

    def settle(self, *, timeout: float, tidy: bool = True) -> Settled:
        """Settle all that is there now.

        One process settles at a time; the others wait for it and then look again.

        Args:
            timeout: How long to wait for another process that is settling, in seconds.
            tidy: Whether to join small files of the lake at the end.

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
                    ranges = next_ranges(self._inbox, plan.offsets, room=_BATCH_BYTES)
                    if not ranges:
                        break
                    plan = replace(plan, ranges=ranges, batch=plan.batch + 1)
                    self._write_plan(plan)
                began = time.monotonic()
                total += self._do(plan, ranges)
                self._pace(sum(end - start for start, end in ranges.values()), time.monotonic() - began)
                offsets = {**plan.offsets, **{name: end for name, (_, end) in ranges.items()}}
                plan = replace(plan, offsets=offsets, ranges=None)
                self._write_plan(plan)
                if plan.batch % _BATCHES_A_TIDYING == 0:
                    plan = self._tidy(plan)
                    if tidy:
                        self._keep_house()
            self._tidy(plan)
            if tidy:
                self._keep_house()
        return total

    def employ(self, workers: int) -> None:
        """Have large batches loaded by worker processes from now on; 0 has everything done in this one."""
        if self._workers is not None:
            self._workers.close()
        self._workers = Workers(workers) if workers else None

    def close(self) -> None:
        """End the workers."""
        self.employ(0)

    def _pace(self, moved: int, seconds: float) -> None:
        if moved >= _TELLING and seconds > 0:
            rate = moved / seconds
            self.rate = rate if self.rate is None else self.rate + (rate - self.rate) * _NEWS

    def _do(self, plan: _Plan, ranges: Ranges) -> Settled:
        batch = Batch(plan.inbox, plan.batch)
        done = frozenset(table for table in TABLES if self._lake.holds(table, batch))
        found = self._load(self._tasks(batch, ranges, done))
        count = Settled()
        for task, loaded in found:
            for start, payload, reason in loaded.damage:
                self._quarantine(Path(task.segment), start, payload, reason)
            count += Settled(
                requests=loaded.requests,
                repeated=loaded.repeated,
                refused=loaded.refused,
                quarantined=len(loaded.damage),
                **loaded.rows,
            )
        for table in TABLES:
            parts = [part for _, loaded in found for part in loaded.parts if part.table == table]
            if parts and table not in done:
                self._commit(table, parts, batch)
                self._lake.sync(table)
        self._take_down_versions(
            [row for _, loaded in found for row in loaded.versions],
            set().union(*(loaded.named for _, loaded in found)),
        )
        run_records.take_down(self._catalog, [said for _, loaded in found for said in loaded.runs])
        digests = {digest for _, loaded in found for digest in loaded.digests}
        self._catalog.add_requests(digests, settled_at=_utc(time.time_ns()))
        return count

    def _tasks(self, batch: Batch, ranges: Ranges, done: frozenset[str]) -> list[Task]:
        least = _WORTH_A_WORKER if self._workers is not None else _BATCH_BYTES
        cut = [
            (path, piece)
            for name, (start, end) in sorted(ranges.items())
            for path in [self._inbox / name]
            for piece in pieces(path, start, end, least=least)
        ]
        # A worker whose collector was killed may be writing still, so no two attempts at a batch share a file.
        stem = f"part-{batch.inbox}-{batch.number}-{secrets.token_hex(4)}"
        return [
            Task(str(path), start, end, str(self._lake.folder), f"{stem}-{number}", done)
            for number, (path, (start, end)) in enumerate(cut)
        ]

    def _load(self, tasks: Sequence[Task]) -> list[tuple[Task, Loaded]]:
        claimed: dict[str, Task] = {}

        def known(task: Task) -> Callable[[Sequence[str]], set[str]]:
            def of_task(digests: Sequence[str]) -> set[str]:
                found = self._catalog.known_requests(digests)
                return found | {digest for digest in digests if claimed.setdefault(digest, task) is not task}

            return of_task

        worth = sum(task.end - task.start for task in tasks) >= _WORTH_A_WORKER
        if self._workers is not None and worth:
            return list(zip(tasks, self._workers.load(tasks, known), strict=True))
        return [(task, load(task, known(task))) for task in tasks]

    def _commit(self, table: str, parts: Sequence[Part], batch: Batch) -> None:
        folder = self._lake.folder / table
        parts = replacing.last_of(folder, parts)
        self._lake.widen(table)
        known = self._known[table]
        for _ in range(_ATTEMPTS):
            files = self._lake.entries(table)
            hits = {file: part for part in parts for file in known.repeated(part, files)}
            old, kept = replacing.thinned(folder, hits, parts) if hits else ([], [])
            new = [Written(part.name, part.day, part.bytes, part.stats) for part in (*parts, *kept)]
            if self._lake.add(table, new, old=old, batch=batch):
                for part in (*kept, *parts):
                    known.remember(part)
                return
        raise StoreError(f"cannot commit to the table {table}: others change it all the time; try again")

    def _take_down_versions(self, rows: Iterable[Mapping[str, object]], named: set[tuple[str, str]]) -> None:
        agents = self._catalog.agents
        for row in rows:
            facts = dict(row)
            alias, name = facts.pop("alias", None), str(facts.pop("agent"))
            actor = facts.pop("actor", None)
            try:
                with acting(None if actor is None else str(actor)):
                    version = agents.register(name, **facts)  # type: ignore[arg-type]  # the row's keys are the arguments
                    if alias:
                        agents.set_alias(name, str(alias), version)
            except UsageError as error:
                logger.warning("an agent version could not be registered: %s", error)
        for name, label in sorted(named - self._seen_versions):
            try:
                agents.see(name, label)
            except UsageError as error:
                logger.warning("an agent version that a span names was not taken down: %s", error)
            self._seen_versions.add((name, label))

    def _quarantine(self, path: Path, start: int, payload: bytes, reason: str) -> None:
        folder = self._inbox / "quarantine"
        folder.mkdir(exist_ok=True)
        name = f"{path.name}.{start}"
        facts = {"segment": path.name, "start": start, "bytes": len(payload), "reason": reason}
        told = (json.dumps(facts, indent=1) + "\n").encode("utf-8")
        for ending, data in (("bin", payload), ("json", told)):
            with (folder / f"{name}.{ending}").open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # the segment goes soon, and then this is all that there is of it
        synced(folder)
        logger.warning("quarantined %d bytes of %s: %s", len(payload), path.name, reason)

    def _tidy(self, plan: _Plan) -> _Plan:
        for path in segments(self._inbox):
            if plan.offsets.get(path.name, 0) >= size(path) and is_abandoned(path):
                path.unlink(missing_ok=True)
        for signal in SIGNALS:
            for path in self._inbox.glob(f".*.{signal}"):
                _forget(path)
        left = {path.name for path in segments(self._inbox)}
        if set(plan.offsets) - left:
            plan = replace(plan, offsets={name: at for name, at in plan.offsets.items() if name in left})
            self._write_plan(plan)
        return plan

    def keep_house(self) -> None:
        """Join small files of the lake as settling does at its end, on any thread; nothing while a process settles."""
        with held(self._inbox / ".settle.lock", timeout=0) as ours:
            if ours:
                self._keep_house(Lake(self._lake.folder))  # a table that is open is not for two threads

    def _keep_house(self, lake: Lake | None = None) -> None:
        # Every batch adds a file; left alone, a day of one span a second would be a hundred thousand of them. A
        # collector, which has workers, has a thread for it too, so that settling does not wait.
        if self._workers is not None:
            return
        for table in KEYS:
            try:
                if compaction.compact(lake or self._lake, table):
                    (lake or self._lake).vacuum(table, hours=_KEPT_HOURS)
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
            synced(self._inbox)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _forget(path: Path) -> None:
    """Remove a segment that was never begun: its writer died between making it and naming it."""
    if is_abandoned(path) and time.time() - path.stat().st_mtime > _FORGOTTEN_SECONDS:
        path.unlink(missing_ok=True)


def _utc(ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.timezone.utc).replace(tzinfo=None)
