"""How an import reaches a store: requests by the inbox, scores and artifacts beside it, and what was new is counted."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tracekit.errors import StoreError
from tracekit.inbox import SegmentWriter, Signal
from tracekit_collector.imports.foreign import as_json, digest_of, real
from tracekit_collector.imports.tally import Tally
from tracekit_collector.schema import SCHEMA_VERSION
from tracekit_collector.store import Store

_WRITE_BYTES = 4 << 20
_SETTLE_BYTES = 32 << 20
_AT_ONCE = 2_000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ForeignScore:
    """A verdict as another tool had it.

    Args:
        id: What stays when the verdict changes: the tool and its id there.
        trace_id: 32 hex digits; `None` of a session's.
        name: What is scored.
        value: A number, a yes or no, or a label; `None` where there is none.
        time: UTC, without a zone.
        source: `code`, `llm`, `human`, `environment` or `user`; `None` where nobody knows.
        span_id: 16 hex digits, of a span's.
        session_id: Of a session's.
        run_id: The run that it belongs to.
        label: A word for the value, besides a number.
        annotator: Who it was.
        explanation: Why.
        error: What went wrong, where there is no value for that.
        metadata: More facts.
    """

    id: tuple[str, str]
    trace_id: str | None
    name: str
    value: object
    time: datetime.datetime
    source: str | None = None
    span_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    label: str | None = None
    annotator: str | None = None
    explanation: str | None = None
    error: str | None = None
    metadata: Mapping[str, object] | None = None

    def row(self) -> dict[str, object]:
        """The row of `scores`; its id tells which verdict it is, and what it says."""
        kind, number, label = _value(self.value, self.label)
        known = number is not None or label is not None
        row: dict[str, object] = {
            "time": self.time,
            "target": "span" if self.span_id else "session" if self.trace_id is None else "trace",
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "session_id": self.session_id,
            "run_id": self.run_id,
            "name": self.name,
            "judge": self.annotator if self.source in ("llm", "code") else None,
            "source": self.source,
            "annotator": self.annotator,
            "value_type": kind,
            "value": number,
            "label": label,
            "passed": bool(number) if kind == "bool" else None,
            "status": "scored" if known and self.error is None else "judge_error",
            "explanation": self.explanation if self.error is None else self.error,
            "metadata": as_json(dict(self.metadata)) if self.metadata else None,
            "schema_version": SCHEMA_VERSION,
        }
        said = {name: value for name, value in row.items() if name != "schema_version"}
        return {**row, "score_id": f"{digest_of(*self.id)}-{digest_of(said)[:16]}"}


class Delivery:
    """Takes what an import made into a store, or only counts it.

    Args:
        store: The store.
        tally: Where it is counted.
        dry: Whether the store stays as it is.
    """

    def __init__(self, store: Store, tally: Tally, *, dry: bool = False) -> None:
        self.store = store
        self.tally = tally
        self.dry = dry
        self._writers: dict[Signal, SegmentWriter] = {}
        self._waiting: dict[Signal, list[bytes]] = {}
        self._size = self._unsettled = 0
        self._scores: list[ForeignScore] = []
        self._seen: set[str] = set()

    def traces(self, requests: Sequence[tuple[str, int, bytes]]) -> None:
        """Take traces: the id of each, how many spans it has, and its request."""
        held = self._spans([trace_id for trace_id, _, _ in requests])
        for trace_id, spans, payload in requests:
            there = held.get(trace_id, 0)
            self.tally.count("traces", known=there > 0)
            self.tally.count("spans", min(there, spans), known=True)
            self.tally.count("spans", max(0, spans - there))
            self._send("traces", payload)

    def run(self, run_id: str, points: int, payload: bytes) -> bool:
        """Take a run: its id, how many points it has, and its request; says whether it was known."""
        if not self._seen:  # the empty id says that they were asked for
            self._seen = {str(row["run_id"]) for row in self.store.catalog.runs.rows()} | {""}
        known = run_id in self._seen
        self.tally.count("runs", known=known)
        held = int(self._one("SELECT count(*) FROM points WHERE run_id = ?", run_id)) if known else 0
        self.tally.count("points", min(held, points), known=True)
        self.tally.count("points", max(0, points - held))
        self._send("logs", payload)
        return known

    def score(self, score: ForeignScore) -> None:
        """Take a score; one that says something else than before stands in for it."""
        self._scores.append(score)
        if len(self._scores) >= _AT_ONCE:
            self._put_scores()

    def artifact(self, name: str, source: BinaryIO) -> dict[str, object]:
        """Keep a file's content under its digest; returns what a run says of it."""
        folder = self.store.artifacts
        digest, size = hashlib.sha256(), 0
        half = folder / f".import.{secrets.token_hex(8)}"
        try:
            with Path(os.devnull).open("wb") if self.dry else half.open("xb") as file:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    size += len(block)
                    file.write(block)
            final = folder / digest.hexdigest()
            known = final.is_file()
            if not self.dry and not known:
                half.replace(final)
        except OSError as error:
            raise StoreError(f"cannot keep the artifact {name!r} in {folder}: {error.strerror or error}") from error
        finally:
            half.unlink(missing_ok=True)
        self.tally.count("artifacts", known=known)
        return {"sha256": digest.hexdigest(), "bytes": size}

    def finish(self) -> None:
        """Bring all of it into the lake and the catalog."""
        self._write()
        for writer in self._writers.values():
            writer.close()
        if not self.dry:
            self.store.settle()
        self._put_scores()

    def _send(self, signal: Signal, payload: bytes) -> None:
        if self.dry:
            return
        self._waiting.setdefault(signal, []).append(payload)
        self._size += len(payload)
        if self._size >= _WRITE_BYTES:
            self._write()
        if self._unsettled >= _SETTLE_BYTES:
            self.store.settle()
            self._unsettled = 0

    def _write(self) -> None:
        for signal, payloads in self._waiting.items():
            if payloads:
                writer = self._writers.setdefault(signal, SegmentWriter(self.store.inbox, signal))
                writer.append(*payloads)
                payloads.clear()
        self._unsettled += self._size
        self._size = 0

    def _put_scores(self) -> None:
        rows = {str(row["score_id"]): row for row in (score.row() for score in self._scores)}
        self._scores.clear()
        if not rows:
            return
        there = self._held_scores(rows)
        new: list[dict[str, object]] = []
        for score_id, row in rows.items():
            same = there.get(score_id[:32], [])
            self.tally.count("scores", known=score_id in same)
            if score_id not in same:
                new.append({**row, "supersedes": same[-1] if same else None})
        if new and not self.dry:
            self.store.append("scores", new)

    def _held_scores(self, rows: Iterable[str]) -> dict[str, list[str]]:
        query = (
            "SELECT score_id FROM scores WHERE left(score_id, 32) IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY time, score_id"
        )
        found: dict[str, list[str]] = {}
        for (score_id,) in self.store.sql(query, [[each[:32] for each in rows]], settle=False).fetchall():
            found.setdefault(str(score_id)[:32], []).append(str(score_id))
        return found

    def _spans(self, trace_ids: Sequence[str]) -> dict[str, int]:
        query = (
            "SELECT trace_id, count(*) AS spans FROM spans "
            "WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY trace_id"
        )
        found = self.store.sql(query, [list(trace_ids)], settle=False)
        return {str(row["trace_id"]): int(str(row["spans"])) for row in found}

    def _one(self, query: str, *parameters: object) -> int:
        row = self.store.sql(query, parameters, settle=False).fetchone()
        return int(str(row[0])) if row else 0


def _value(value: object, label: str | None) -> tuple[str, float | None, str | None]:
    """What type a value is of, and it as a number and as a word."""
    if isinstance(value, bool):
        return "bool", float(value), label
    if isinstance(value, (int, float)):
        return "number", real(value), label
    if value is None:
        return "label", None, label
    text = value if isinstance(value, str) else as_json(value)
    return ("label" if isinstance(value, str) and len(text) <= 100 else "text"), None, text
