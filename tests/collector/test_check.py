"""`tracekit store check`: what is wrong with a store is found and said."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracekit.inbox import SegmentWriter
from tracekit_collector.check import Finding, check
from tracekit_collector.lake import Batch, to_arrow
from tracekit_collector.store import Store

DAY = datetime.date(2026, 11, 23)


def span(number: int, **more: object) -> dict[str, object]:
    row: dict[str, object] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "a span",
        "start_ns": 5,
    }
    return {**row, "start_time": datetime.datetime(2026, 11, 23), **more}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        opened.append("spans", [span(1, normaliser_version=99), span(2, normaliser_version=99)])
        opened.append("spans", [span(3, normaliser_version=99)])
        yield opened


def wrong(store: Store, *, quick: bool = False) -> list[tuple[str, str, str]]:
    return [(each.part, each.level, each.what) for each in check(store, quick=quick) if each.level != "ok"]


def test_a_sound_store_has_nothing_wrong(store: Store) -> None:
    assert wrong(store) == []
    assert Finding("logs", "ok", "empty") in check(store)
    assert any(each.what.startswith("3 rows in 2 files") for each in check(store))


def _cut(store: Store) -> None:
    path = Path(store.lake.files("spans")[0])
    path.write_bytes(path.read_bytes()[:-1])


def _flip(store: Store) -> None:
    path = Path(store.lake.files("spans")[0])
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(byte ^ 0xFF for byte in content[4:400])
    path.write_bytes(content)


def _remove(store: Store) -> None:
    Path(store.lake.files("spans")[0]).unlink()


def _spoil_inbox(store: Store) -> None:
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(b"\x0a\x00", b"\x0a\x00")
    writer.close()
    (segment,) = store.inbox.glob("*.traces")
    content = bytearray(segment.read_bytes())
    content[30] ^= 1
    segment.write_bytes(content)


def _old_plan(store: Store) -> None:
    plan = {"version": 1, "inbox": "box", "batch": 3, "offsets": {}, "ranges": None}
    (store.inbox / "settle.json").write_text(json.dumps(plan))
    store.lake.append(
        "spans", to_arrow("spans", [{**span(9, normaliser_version=99), "date": DAY}]), batch=Batch("box", 7)
    )


def _no_plan(store: Store) -> None:
    (store.inbox / "settle.json").write_text('{"offsets": 3}')


def _quarantine(store: Store) -> None:
    folder = store.inbox / "quarantine"
    folder.mkdir()
    (folder / "x.traces.17.bin").write_bytes(b"abc")
    (folder / "x.traces.17.json").write_text('{"reason": "it is no OTLP"}')


def _spoil_artifact(store: Store) -> None:
    (store.artifacts / ("a" * 64)).write_text("something else")


def _lose_artifact(store: Store) -> None:
    store.catalog.runs.create(
        "r",
        kind="eval",
        agent_version=None,
        parameters={},
        judges=[],
        selection={"trace_ids": "b" * 64},
        code={},
        environment={},
        lake_versions={},
    )


@pytest.mark.parametrize(
    ("spoil", "part", "says"),
    [
        (_cut, "spans", "bytes, and the Delta log says"),
        (_flip, "spans", "cannot be read"),
        (_remove, "spans", "it is not there"),
        (_spoil_inbox, "inbox", "are unreadable"),
        (_old_plan, "inbox", "older than the lake"),
        (_no_plan, "inbox", "move it away to settle"),
        (_quarantine, "quarantine", "it is no OTLP"),
        (_spoil_artifact, "artifacts", "not what its name says"),
        (_lose_artifact, "catalog", "names the artifact"),
    ],
)
def test_a_fault_is_found(store: Store, spoil: Callable[[Store], None], part: str, says: str) -> None:
    spoil(store)
    ((found, level, what),) = wrong(store)
    assert (found, level) == (part, "fault")
    assert says in what


def test_a_damaged_catalog_is_found(store: Store) -> None:
    database = sqlite3.connect(store.location / "catalog.db")
    database.execute("PRAGMA foreign_keys = OFF")
    database.execute("INSERT INTO aliases VALUES (7, 'production', 9, '2026-11-23 00:00:00')")
    database.commit()
    database.close()
    assert {(part, level) for part, level, _ in wrong(store)} == {("catalog", "fault")}


def test_what_loses_nothing_is_a_note(store: Store) -> None:
    store.append("spans", [span(1)])
    (store.lake.folder / "spans" / f"date={DAY}" / "part-orphan.parquet").write_bytes(b"PAR1")
    (store.artifacts / ".begun").write_bytes(b"")
    assert [(part, level, what[:30]) for part, level, what in wrong(store, quick=True)] == [
        ("spans", "note", "1 rows are there twice; `trace"),
        ("spans", "note", "an older tracekit derived some"),
        ("spans", "note", "1 files that no version names;"),
        ("artifacts", "note", "1 files that were begun and no"),
    ]


def test_checking_changes_nothing(store: Store) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in store.location.rglob("*") if path.is_file())
    check(store)
    after = sorted((path, path.stat().st_mtime_ns) for path in store.location.rglob("*") if path.is_file())
    assert [each for each in after if "catalog" not in each[0].name] == [
        each for each in before if "catalog" not in each[0].name
    ]
