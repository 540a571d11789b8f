"""Scores on their way into the lake: as rows, some thousands at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tracekit_evaluators.score import Score, clean, detail_columns, value_columns

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_evaluators.judge import Judge
    from tracekit_evaluators.subject import Subject

_AT_ONCE = 5_000
_LONGEST_WAIT = 5.0  # seconds that a score waits at most, so that a kill costs little


Key = tuple[str, str, int, str]


def key_of(subject: Subject, name: str) -> Key:
    """What a score of a run is known by: its target and that target's id, the sample, and the score's name."""
    return (subject.target, subject.target_id, subject.sample, name)


def _sampled(key: str, subject: Subject) -> str:
    return f"{key}\0{subject.sample}" if subject.sample else key


class ScoreWriter:
    """Writes scores to the lake in batches; a judge's scores of one trace are always in the same one.

    Args:
        store: Where to.
        run_id: The run that they belong to.
        earlier: Ids of scores that are to be replaced, by target, sample and name (see `key_of`).
    """

    def __init__(self, store: Store, run_id: str, earlier: Mapping[Key, str]) -> None:
        self._store = store
        self._run_id = run_id
        self._earlier = earlier
        self._rows: list[dict[str, object]] = []
        self._flushed = time.monotonic()
        self._templates: dict[tuple[str, str], dict[str, object]] = {}

    def add(self, judge: Judge, subject: Subject, scores: Mapping[str, Score], latency_ms: float) -> None:
        """Take the scores of one judge on one trace.

        Args:
            judge: Who judged.
            subject: What was judged.
            scores: By name.
            latency_ms: How long it took; kept where a score does not say itself.
        """
        template = self._template(judge)
        trace, case, sampled = subject.trace, subject.case, judge.declared.source == "llm"
        repeat = "" if case.repeat is None else case.repeat
        for name, score in scores.items():
            before = self._earlier.get(key_of(subject, name))
            key = f"{self._run_id}\0{judge.digest}\0{name}\0{subject.target_id}\0{repeat}\0{before or ''}"
            row = template.copy()
            row["score_id"] = hashlib.sha256(_sampled(key, subject).encode("utf-8", "replace")).hexdigest()[:32]
            row["supersedes"] = before
            row["target"] = subject.target
            row["trace_id"] = trace.trace_id
            row["span_id"] = None if subject.span is None else subject.span.span_id
            row["session_id"] = trace.session_id
            row["sample"] = subject.sample if sampled else None
            row["case_id"] = case.id
            row["repeat"] = case.repeat
            row["name"] = clean(name)
            row["passed"] = score.passed
            row["direction"] = score.direction or judge.declared.direction
            row["status"] = score.status
            row["input_tokens"] = score.input_tokens
            row["output_tokens"] = score.output_tokens
            row["cost_usd"] = score.cost_usd
            row["latency_ms"] = latency_ms if score.latency_ms is None else score.latency_ms
            row.update(value_columns(score))
            row.update(detail_columns(score))
            self._rows.append(row)
        if len(self._rows) >= _AT_ONCE or time.monotonic() - self._flushed > _LONGEST_WAIT:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        rows, self._rows = self._rows, []
        if rows:
            now = datetime.now(timezone.utc).replace(tzinfo=None)
            for row in rows:
                row["time"] = now
            self._store.append("scores", rows)
        self._flushed = time.monotonic()

    def _template(self, judge: Judge) -> dict[str, object]:
        key = (judge.digest, judge.name)
        if key not in self._templates:
            self._templates[key] = {
                "run_id": self._run_id,
                "judge": judge.name,
                "judge_version": judge.declared.version,
                "judge_digest": judge.digest,
                "source": judge.declared.source,
            }
        return self._templates[key]
