"""Langfuse's exports into a store: traces, observations and scores, from its tables, its API and its blob storage.

Keys are read in either spelling (`startTime`, `start_time`). A trace is a span of its own where it has not exactly one
outermost observation; else that observation carries what is said of the trace.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracekit import attributes as names
from tracekit.errors import UsageError
from tracekit_collector.imports.delivery import Delivery, ForeignScore
from tracekit_collector.imports.foreign import ForeignSpan, as_json, real, span_id_of, trace_id_of, trace_request
from tracekit_collector.imports.tables import rows_of
from tracekit_collector.imports.tally import Tally
from tracekit_collector.imports.times import time_ns
from tracekit_collector.store import Store

_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_AT_ONCE = 200
_SOURCES = {"ANNOTATION": "human", "EVAL": "llm"}
_ONE = "langfuse.observation."
_TYPES = frozenset(
    ("span", "generation", "event", "agent", "tool", "chain", "retriever", "evaluator", "embedding", "guardrail")
)
# What the names of exports differ in, by the name that is read here.
_ALSO = {
    "provided_model_name": "model",
    "internal_model": "model",
    "usage": "usage_details",
    "calculated_total_cost": "total_cost",
    "observation_type": "type",
    "string_value": "label",
    "author_user_id": "author",
}

Row = dict[str, Any]


def import_langfuse(
    store: Store,
    files: Sequence[Path],
    *,
    project: str = "langfuse",
    dry_run: bool = False,
    advance: Callable[[int], object] = lambda _n: None,
) -> Tally:
    """Take exports of Langfuse into a store; the same once more adds nothing.

    Args:
        store: Where to.
        files: Exports that belong together; what a row is, is told by its keys.
        project: The project that the traces belong to.
        dry_run: Whether to count only.
        advance: Called with a number of rows as they are read.

    Returns:
        What was read, what was new, and what was left out and why.

    Raises:
        UsageError: A file cannot be read; nothing is taken then.
        StoreError: The store cannot be written; the next import goes on where this one ended.
    """
    export = _Export()
    for path in files:
        before = export.rows
        for row in rows_of(path):
            export.add(row)
            advance(1)
        if export.rows == before:
            raise UsageError(f"{path} holds no trace, observation or score of Langfuse")
    store.settle()
    tally = Tally()
    for why, count in export.unknown.items():
        tally.skip("rows", why, count)
    delivery = Delivery(store, tally, dry=dry_run)
    waiting: list[tuple[str, int, bytes]] = []
    for trace_id, spans in export.spans(tally):
        resource = {names.PROJECT: project}
        waiting.append((trace_id, len(spans), trace_request(spans, resource=resource, scope="langfuse-sdk")))
        if len(waiting) >= _AT_ONCE:
            delivery.traces(waiting)
            waiting.clear()
    if waiting:
        delivery.traces(waiting)
    for row in export.scores:
        score = _score(row)
        if score is None:
            tally.skip("scores", "it names no trace and no session")
        else:
            delivery.score(score)
    delivery.finish()
    return tally


class _Export:
    """The rows of all files, sorted by what they are."""

    def __init__(self) -> None:
        self.traces: dict[str, Row] = {}
        self.observations: dict[str, dict[str, Row]] = {}
        self.scores: list[Row] = []
        self.unknown: dict[str, int] = {}
        self.rows = 0

    def add(self, given: Mapping[str, Any]) -> None:
        row = _named(given)
        if isinstance(row.get("trace"), dict):  # a trace that was downloaded from its own page
            self._nested(row)
        elif "start_time" in row and row.get("id"):
            self._observation(row)
        elif row.get("name") and ("data_type" in row or "value" in row) and ("trace_id" in row or "session_id" in row):
            self.scores.append(row)
        elif row.get("id") and ("timestamp" in row or "observations" in row or "user_id" in row):
            self._trace(row)
        elif row.get("id") and "created_at" in row:
            self._session(row)
        else:
            self.unknown["neither trace, observation, score nor session"] = (
                self.unknown.get("neither trace, observation, score nor session", 0) + 1
            )
            return
        self.rows += 1

    def _nested(self, row: Row) -> None:
        self._trace(_named(row["trace"]))
        for each in row.get("observations") or ():
            self._observation(_named(each))
        self.scores += [_named(each) for each in row.get("scores") or () if isinstance(each, dict)]

    def _trace(self, row: Row) -> None:
        self.traces[str(row["id"])] = row
        for each in row.get("observations") or ():
            if isinstance(each, dict):  # a list of traces has ids there
                self._observation({"trace_id": row["id"], **_named(each)})
        for each in row.get("scores") or ():
            if isinstance(each, dict):
                self.scores.append({"trace_id": row["id"], **_named(each)})

    def _observation(self, row: Row) -> None:
        trace = str(row.get("trace_id") or row["id"])
        self.observations.setdefault(trace, {})[str(row["id"])] = row

    def _session(self, row: Row) -> None:
        for each in row.get("traces") or ():
            if isinstance(each, dict):
                self._trace({"session_id": row["id"], **_named(each)})

    def spans(self, tally: Tally) -> Iterator[tuple[str, list[ForeignSpan]]]:
        """Each trace with its spans."""
        for trace in dict.fromkeys([*self.traces, *self.observations]):
            told = self.traces.get(trace, {})
            spans = []
            for row in self.observations.get(trace, {}).values():
                span = _span(trace, row)
                if span is None:
                    tally.skip("spans", "its start is no time")
                else:
                    spans.append(span)
            known = {span.span_id for span in spans}
            roots = [span for span in spans if span.parent_id not in known]
            at = time_ns(told.get("timestamp"))
            if len(roots) == 1:
                roots[0].attributes = {**_trace_attributes(told), **roots[0].attributes}
            elif at is not None:
                spans.append(_trace_span(trace, told, spans, roots, at))
            if spans:
                yield trace_id_of(trace), spans
            else:
                tally.skip("traces", "it has no observation and no time")


def _span(trace: str, row: Row) -> ForeignSpan | None:
    start, end = time_ns(row.get("start_time")), time_ns(row.get("end_time"))
    if start is None:
        return None
    kind = str(row.get("type") or "span").lower()
    level = str(row.get("level") or "DEFAULT").upper()
    found: dict[str, object] = {
        _ONE + "type": kind if kind in _TYPES else "span",
        _ONE + "input": _text(row.get("input")),
        _ONE + "output": _text(row.get("output")),
        _ONE + "level": level,
        _ONE + "status_message": _text(row.get("status_message")),
        _ONE + "model.name": _text(row.get("model")),
        _ONE + "model.parameters": _text(row.get("model_parameters")),
        _ONE + "usage_details": _text(_numbers(_usage(row))),
        _ONE + "cost_details": _text(_numbers(_costs(row))),
        _ONE + "completion_start_time": _text(row.get("completion_start_time")),
        _ONE + "prompt.name": _text(row.get("prompt_name")),
        _ONE + "prompt.version": _text(row.get("prompt_version")),
        "langfuse.version": _text(row.get("version")),
        "langfuse.environment": _text(row.get("environment")),
        "langfuse.session.id": _text(row.get("session_id")),
        "langfuse.user.id": _text(row.get("user_id")),
        **_metadata(row, _ONE + "metadata."),
    }
    own = span_id_of(str(row["id"]))
    if own != row["id"]:
        found[_ONE + "id"] = str(row["id"])
    parent = row.get("parent_observation_id")
    failed = level == "ERROR"
    return ForeignSpan(
        trace_id_of(trace),
        own,
        span_id_of(str(parent)) if parent else "",
        str(row.get("name") or kind),
        start,
        end if end is not None else start if kind == "event" else 0,
        {key: value for key, value in found.items() if value is not None},
        "error" if failed else "unset",
        str(row.get("status_message") or "") if failed else "",
    )


def _trace_span(trace: str, told: Row, spans: list[ForeignSpan], roots: list[ForeignSpan], at: int) -> ForeignSpan:
    """A span for the trace itself, around its outermost observations."""
    own = span_id_of(f"trace {trace}")
    for root in roots:
        root.parent_id = own
    seconds = real(told.get("latency")) or 0.0
    end = max([at + int(seconds * 1e9), *(span.end_ns for span in spans)])
    name = str(told.get("name") or "trace")
    return ForeignSpan(trace_id_of(trace), own, "", name, at, end, {_ONE + "type": "span", **_trace_attributes(told)})


def _trace_attributes(told: Row) -> dict[str, object]:
    tags = told.get("tags")
    found: dict[str, object] = {
        "langfuse.trace.name": _text(told.get("name")),
        "langfuse.trace.input": _text(told.get("input")),
        "langfuse.trace.output": _text(told.get("output")),
        "langfuse.trace.tags": tags if isinstance(tags, list) and tags else None,
        "langfuse.session.id": _text(told.get("session_id")),
        "langfuse.user.id": _text(told.get("user_id")),
        "langfuse.release": _text(told.get("release")),
        "langfuse.version": _text(told.get("version")),
        "langfuse.environment": _text(told.get("environment")),
        **_metadata(told, "langfuse.trace.metadata."),
    }
    if told and trace_id_of(str(told["id"])) != told["id"]:
        found["langfuse.trace.id"] = str(told["id"])
    return {key: value for key, value in found.items() if value is not None}


def _score(row: Row) -> ForeignScore | None:
    trace, session, span = row.get("trace_id"), row.get("session_id"), row.get("observation_id")
    if not trace and not session:
        return None
    kind = str(row.get("data_type") or "").upper()
    number, label = real(row.get("value")), row.get("label")
    value: object = number
    if kind == "BOOLEAN" and number is not None:
        value = bool(number)
    elif kind in ("CATEGORICAL", "TEXT") or number is None:
        value = label if label is not None else row.get("value")
    source = str(row.get("source") or "").upper()
    at = time_ns(row.get("timestamp") or row.get("created_at")) or 0
    more = row.get("metadata")
    return ForeignScore(
        id=("langfuse", str(row.get("id") or as_json([trace, span, row["name"], row.get("timestamp")]))),
        trace_id=trace_id_of(str(trace)) if trace else None,
        name=str(row["name"]),
        value=value,
        time=datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at // 1_000),  # noqa: DTZ001 - a store keeps UTC without a zone
        source=_SOURCES.get(source, "user" if source == "API" else None),
        span_id=span_id_of(str(span)) if span else None,
        session_id=str(session) if session else None,
        label=str(label) if isinstance(value, float) and label else None,
        annotator=_text(row.get("author")),
        explanation=_text(row.get("comment")),
        metadata={**(more if isinstance(more, dict) else {}), "imported_from": "langfuse", "score_id": row.get("id")},
    )


def _named(row: Mapping[str, Any]) -> Row:
    """A row with its keys as they are read here."""
    plain = {_UPPER.sub("_", str(key)).lower().replace(" ", "_"): value for key, value in row.items()}
    for other, name in _ALSO.items():
        if plain.get(other) is not None and plain.get(name) in (None, {}):
            plain[name] = plain[other]
    return plain


def _usage(row: Row) -> Mapping[str, object] | None:
    found = row.get("usage_details")
    if isinstance(found, dict) and any(value is not None for value in found.values()):
        return found
    apart = {name: row.get(f"{name}_tokens") for name in ("input", "output", "total")}
    return apart if any(value is not None for value in apart.values()) else None


def _costs(row: Row) -> Mapping[str, object] | None:
    found = row.get("cost_details")
    if isinstance(found, dict) and found:
        return found
    apart = {name: row.get(f"{name}_cost") for name in ("input", "output", "total")}
    return apart if any(value is not None for value in apart.values()) else None


def _numbers(told: Mapping[str, object] | None) -> dict[str, object] | None:
    found = {key: number for key, value in (told or {}).items() if (number := real(value)) is not None}
    return {key: int(value) if value.is_integer() else value for key, value in found.items()} or None


def _metadata(row: Row, prefix: str) -> dict[str, object]:
    found = row.get("metadata")
    if isinstance(found, dict):
        return {prefix + str(key): _text(value) for key, value in found.items() if value is not None}
    return {} if found in (None, "", []) else {prefix.rstrip("."): _text(found)}


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else as_json(value)
