"""Checking a store: every promise that can be verified from what lies on the disk, and what was found."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.errors import StoreError, TracekitError
from tracekit.inbox import Damage, read_segment, segments
from tracekit_collector.lake import Batch, DataFile
from tracekit_collector.normalise import NORMALISER_VERSION
from tracekit_collector.retention import artifacts
from tracekit_collector.schema import KEYS, SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    from tracekit_collector.store import Store

__all__ = ["Finding", "check"]

_BLOCK = 1 << 20
_ROWS = 8_192

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        part: The part of the store: a table, `inbox`, `quarantine`, `catalog`, `artifacts`.
        level: `ok`; `note`, which loses nothing; or `fault`.
        what: What was found, and what to do about it.
    """

    part: str
    level: Level
    what: str


def check(store: Store, *, quick: bool = False, done: Callable[[int], object] | None = None) -> list[Finding]:
    """Look at everything that a store holds; nothing is changed.

    Args:
        store: The store. What is in its inbox is not settled first.
        quick: Trust the insides of files: look at sizes, footers and names only.
        done: Called with a number of files as they are looked at.
    """
    found: list[Finding] = []
    looks: dict[str, Iterator[Finding]] = {
        **{table: _table(store, table, quick=quick, done=done) for table in TABLES},
        "inbox": _inbox(store),
        "quarantine": _quarantine(store),
        "catalog": _catalog(store),
        "artifacts": _artifacts(store, quick=quick),
    }
    for part, look in looks.items():
        faults: list[Finding] = []
        try:
            faults.extend(look)
        except (TracekitError, OSError, ValueError) as error:
            faults.append(Finding(part, "fault", str(error)))
        found += faults or [Finding(part, "ok", "nothing to find")]
    return found


def _table(store: Store, table: str, *, quick: bool, done: Callable[[int], object] | None) -> Iterator[Finding]:
    files = store.lake.entries(table)
    if not files:
        yield Finding(table, "ok", "empty")
        return
    broken = 0
    for file in files:
        fault = _file_fault(file, quick=quick)
        if fault is not None:
            broken += 1
            yield Finding(table, "fault", f"{file.name}: {fault}; restore it from a copy of the store")
        if done is not None:
            done(1)
    if broken:
        return
    yield from _rows(store, table, files)
    orphans = store.lake.vacuum(table, hours=0, dry_run=True)
    if orphans:
        yield Finding(table, "note", f"{orphans} files that no version names; `tracekit store vacuum` removes them")


def _file_fault(file: DataFile, *, quick: bool) -> str | None:
    path = Path(file.path)
    if not path.is_file():
        return "the Delta log names it, and it is not there"
    if path.stat().st_size != file.bytes:
        return f"it has {path.stat().st_size} bytes, and the Delta log says {file.bytes}"
    try:
        with pq.ParquetFile(path) as opened:
            rows = opened.metadata.num_rows
            if not quick:
                rows = sum(batch.num_rows for batch in opened.iter_batches(batch_size=_ROWS))
    except (OSError, pa.ArrowException) as error:
        return f"it cannot be read: {error}"
    if file.rows is not None and rows != file.rows:
        return f"it has {rows} rows, and the Delta log says {file.rows}"
    return None


def _rows(store: Store, table: str, files: list[DataFile]) -> Iterator[Finding]:
    key = ", ".join(KEYS[table])
    versions = "max(schema_version)" + (", min(coalesce(normaliser_version, 0))" if table == "spans" else "")
    query = f"SELECT count(*), count(DISTINCT hash({key})), {versions} FROM lake_{table}"  # noqa: S608 - our own names
    counted = store.sql(query, settle=False).fetchone()
    rows, distinct, schema, *normaliser = (int(str(value or 0)) for value in counted or (0, 0, 0))
    size = sum(file.bytes for file in files)
    yield Finding(table, "ok", f"{rows} rows in {len(files)} files of {size} bytes are readable")
    if distinct < rows:
        yield Finding(
            table, "note", f"{rows - distinct} rows are there twice; `tracekit store compact` leaves one of each"
        )
    if schema > SCHEMA_VERSION:
        yield Finding(table, "fault", f"rows of schema {schema}, and this tracekit knows {SCHEMA_VERSION}; upgrade it")
    if normaliser and normaliser[0] < NORMALISER_VERSION:
        yield Finding(
            table, "note", "an older tracekit derived some rows; `tracekit store renormalise` derives them again"
        )


def _inbox(store: Store) -> Iterator[Finding]:
    plan = _plan(store.inbox / "settle.json")
    offsets = plan.get("offsets", {})
    waiting = 0
    for path in segments(store.inbox):
        settled = offsets.get(path.name, 0)
        size = path.stat().st_size
        if settled > size:
            yield Finding("inbox", "fault", f"{path.name} is {size} bytes long, and {settled} of them were settled")
            continue
        waiting += size - settled
        for item in read_segment(path, settled):
            if isinstance(item, Damage):
                what = f"{path.name}: {item.end - item.start} bytes at {item.start} are unreadable: {item.reason}"
                yield Finding("inbox", "note" if item.torn else "fault", what)
    if plan:
        batch = Batch(str(plan["inbox"]), int(plan["batch"]) + 1)
        for table in TABLES:
            if store.lake.holds(table, batch):
                what = f"the table {table} has batches that settle.json does not know of: it is older than the lake"
                yield Finding("inbox", "fault", f"{what}; move it away before anything is settled")
    yield Finding("inbox", "ok", f"{waiting} bytes wait to be settled")


def _plan(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        offsets = found["offsets"]
        if not isinstance(offsets, dict) or not all(isinstance(at, int) for at in offsets.values()):
            raise StoreError(f"{path} has offsets that are no numbers; move it away to settle the inbox anew")
        int(found["batch"]), str(found["inbox"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {error}; move it away to settle the inbox anew") from error
    return dict(found)


def _quarantine(store: Store) -> Iterator[Finding]:
    for path in store.settler.quarantined():
        reason = "no reason is beside it"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            reason = str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["reason"])
        what = f"{path.name}: {path.stat().st_size} bytes could not be read: {reason}"
        yield Finding("quarantine", "fault", f"{what}; remove it and its .json when you have looked at it")


def _catalog(store: Store) -> Iterator[Finding]:
    for fault in store.catalog.faults():
        yield Finding("catalog", "fault", fault)
    runs = store.catalog.runs.list()
    for run in runs:
        for name in ("trace_ids", "dataset"):
            digest = run.selection.get(name)
            if isinstance(digest, str) and len(digest) == 64 and not (store.artifacts / digest).is_file():
                what = f"the run {run.name} ({run.id}) names the artifact {digest} as its {name}, and it is not there"
                yield Finding("catalog", "fault", what)
        for name, told in run.artifacts.items():
            digest = str(told.get("sha256"))
            if told.get("kept", True) and not (store.artifacts / digest).is_file():
                what = f"the run {run.name} ({run.id}) has the artifact {name!r} ({digest}), and it is not there"
                yield Finding("catalog", "note", what)  # it may be on its way, in parts
    for newest in store.catalog.datasets.list():
        for version in store.catalog.datasets.versions(newest.dataset):
            if not (store.artifacts / version.digest).is_file():
                what = f"the dataset {version.ref} names the artifact {version.digest}, and it is not there"
                yield Finding("catalog", "fault", what)
    for packaged in store.catalog.agents.list(deleted=True):
        if packaged.package is not None and not (store.artifacts / packaged.package).is_file():
            what = f"the version {packaged.ref} is packaged as the artifact {packaged.package}, and it is not there"
            yield Finding("catalog", "fault", what)
    yield Finding("catalog", "ok", f"{len(runs)} runs, {store.catalog.count_requests()} known requests")


def _artifacts(store: Store, *, quick: bool) -> Iterator[Finding]:
    found = artifacts(store.artifacts)
    for path in found if not quick else ():
        if _digest(path) != path.name:
            yield Finding("artifacts", "fault", f"{path.name}: its content is not what its name says; it is damaged")
    begun = [path for path in store.artifacts.glob(".*") if path.is_file()]
    if begun:
        yield Finding("artifacts", "note", f"{len(begun)} files that were begun and not finished: {begun[0].name} …")
    yield Finding("artifacts", "ok", f"{len(found)} files")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
