"""Phoenix's spans and annotations into a store: its data frames as Parquet, CSV or JSONL, and its API's JSON.

A spans' frame has a column for each attribute (`attributes.llm.model_name`); lists and objects in cells are put back
into the flat keys that OpenInference gives spans (`llm.input_messages.0.message.role`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracekit import attributes as names
from tracekit.errors import UsageError
from tracekit_collector.imports.delivery import Delivery, ForeignScore
from tracekit_collector.imports.foreign import (
    ForeignEvent,
    ForeignSpan,
    as_json,
    digest_of,
    real,
    span_id_of,
    trace_id_of,
    trace_request,
)
from tracekit_collector.imports.tables import cell, rows_of
from tracekit_collector.imports.tally import Tally
from tracekit_collector.imports.times import time_ns
from tracekit_collector.store import Store

_AT_ONCE = 200
_PREFIX = "attributes."
_SOURCES = {"HUMAN": "human", "LLM": "llm", "CODE": "code"}
_JSON = frozenset(
    {"metadata", "llm.invocation_parameters", "llm.prompt_template.variables", "input.value", "output.value"}
)
_LISTS = ("llm.input_messages", "llm.output_messages", "retrieval.documents", "llm.tools", "embedding.embeddings")

Row = Mapping[str, Any]


def import_phoenix(
    store: Store,
    files: Sequence[Path],
    *,
    project: str = "phoenix",
    dry_run: bool = False,
    advance: Callable[[int], object] = lambda _n: None,
) -> Tally:
    """Take spans and annotations of Phoenix into a store; the same once more adds nothing.

    Args:
        store: Where to.
        files: Exports that belong together; an annotation may also name a span that the store has already.
        project: The project that the spans belong to.
        dry_run: Whether to count only.
        advance: Called with a number of rows as they are read.

    Returns:
        What was read, what was new, and what was left out and why.

    Raises:
        UsageError: A file cannot be read; nothing is taken then.
        StoreError: The store cannot be written; the next import goes on where this one ended.
    """
    tally = Tally()
    traces: dict[str, dict[str, ForeignSpan]] = {}
    annotations: list[Row] = []
    for path in files:
        before = tally.kinds.get("rows"), len(traces), len(annotations)
        for row in rows_of(path):
            advance(1)
            _take(row, traces, annotations, tally)
        if before == (tally.kinds.get("rows"), len(traces), len(annotations)):
            raise UsageError(f"{path} holds no span and no annotation of Phoenix")
    if not traces and not annotations:
        raise UsageError(f"{files[0]} holds no span and no annotation of Phoenix: a span has `context.span_id`")
    store.settle()
    delivery = Delivery(store, tally, dry=dry_run)
    listed = list(traces.items())
    for start in range(0, len(listed), _AT_ONCE):
        delivery.traces(
            [
                (trace, len(spans), trace_request(spans.values(), resource={names.PROJECT: project}, scope="phoenix"))
                for trace, spans in listed[start : start + _AT_ONCE]
            ]
        )
    where = {span: trace for trace, spans in traces.items() for span in spans}
    lacking = {span_id_of(str(_span_id(row))) for row in annotations} - where.keys()
    query = "SELECT span_id, trace_id FROM spans WHERE span_id IN (SELECT unnest(?::VARCHAR[]))"
    for span, trace in store.sql(query, [sorted(lacking)], settle=False).fetchall():
        where[str(span)] = str(trace)
    for row in annotations:
        found = where.get(span_id_of(str(_span_id(row))))
        if found is None:
            tally.skip("scores", "its span is neither in these files nor in the store")
        else:
            delivery.score(_score(row, found))
    delivery.finish()
    return tally


def _take(row: Row, traces: dict[str, dict[str, ForeignSpan]], annotations: list[Row], tally: Tally) -> None:
    context = row.get("context")
    ids = (
        context if isinstance(context, dict) else {name: row.get(f"context.{name}") for name in ("trace_id", "span_id")}
    )
    if ids.get("trace_id"):
        span = _span(row, str(ids["trace_id"]), str(ids.get("span_id") or row.get("__index_level_0__") or ""))
        if span is None:
            tally.skip("spans", "it has no id, or its start is no time")
        else:
            traces.setdefault(span.trace_id, {})[span.span_id] = span
    elif _span_id(row) and (row.get("annotation_name") or row.get("name")):
        annotations.append(row)
    else:
        tally.skip("rows", "neither span nor annotation of a span")


def _span(row: Row, trace: str, span: str) -> ForeignSpan | None:
    start, end = time_ns(row.get("start_time")), time_ns(row.get("end_time"))
    if start is None or not span:
        return None
    attributes: dict[str, object] = {}
    nested = row.get("attributes")
    if isinstance(nested, dict):
        attributes.update(_flat(nested))
    for key, value in row.items():
        if key.startswith(_PREFIX) and not _is_nothing(value):
            attributes.update(_flat({key.removeprefix(_PREFIX): value}))
    kind = row.get("span_kind")
    if kind and "openinference.span.kind" not in attributes:
        attributes["openinference.span.kind"] = str(kind)
    parent = row.get("parent_id")
    status = str(row.get("status_code") or "UNSET").lower()
    events = row.get("events")
    return ForeignSpan(
        trace_id_of(trace),
        span_id_of(span),
        "" if _is_nothing(parent) or not parent else span_id_of(str(parent)),
        str(row.get("name") or ""),
        start,
        end or 0,
        attributes,
        status if status in ("ok", "error") else "unset",
        "" if _is_nothing(row.get("status_message")) else str(row.get("status_message") or ""),
        [event for each in (events if isinstance(events, list) else ()) if (event := _event(each, start)) is not None],
    )


def _event(told: object, otherwise: int) -> ForeignEvent | None:
    if not isinstance(told, dict):
        return None
    given = told.get("attributes")
    at = time_ns(told.get("timestamp"))
    known = {key: value for key, value in (given if isinstance(given, dict) else {}).items() if not _is_nothing(value)}
    return ForeignEvent(str(told.get("name") or ""), otherwise if at is None else at, known)


def _flat(told: Mapping[str, Any]) -> dict[str, object]:
    """Attributes with the flat keys of OpenInference."""
    return dict(_pairs("", told))


def _pairs(prefix: str, told: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in told.items():
        key = prefix + str(name)
        if _is_nothing(value):
            continue
        if isinstance(value, str) and key in _LISTS:  # a list in a cell of a CSV
            value = cell(value)  # noqa: PLW2901 - the cell's value
        if isinstance(value, dict) and key in _JSON:
            yield key, as_json({inner: each for inner, each in value.items() if not _is_nothing(each)})
        elif isinstance(value, dict):
            yield from _pairs(key + ".", value)
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for place, each in enumerate(value):
                yield from _pairs(f"{key}.{place}.", each)
        else:
            yield key, _number(key, value)


def _number(key: str, value: object) -> object:
    """A count that a frame made a float of, or a CSV a text, as a whole number."""
    number = real(value) if key.startswith("llm.token_count.") else None
    return int(number) if number is not None and number.is_integer() else value


def _score(row: Row, trace: str) -> ForeignScore:
    result = row.get("result")
    said: dict[str, Any] = dict(result) if isinstance(result, dict) else {}
    for name in ("label", "score", "explanation"):
        said.setdefault(name, row.get(f"result.{name}", row.get(name)))
    number = real(said["score"])
    label = None if _is_nothing(said["label"]) else str(said["label"])
    name = str(row.get("annotation_name") or row["name"])
    span = span_id_of(str(_span_id(row)))
    given = row.get("metadata")
    at = time_ns(row.get("updated_at") or row.get("created_at")) or 0
    return ForeignScore(
        id=("phoenix", str(row.get("id") or digest_of(span, name, row.get("identifier"), row.get("annotator_kind")))),
        trace_id=trace,
        name=name,
        value=label if number is None else number,
        time=datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at // 1_000),  # noqa: DTZ001 - a store keeps UTC without a zone
        source=_SOURCES.get(str(row.get("annotator_kind")).upper()),
        span_id=span,
        label=label if number is not None else None,
        annotator=str(row["user_id"]) if row.get("user_id") and not _is_nothing(row["user_id"]) else None,
        explanation=None if _is_nothing(said["explanation"]) else str(said["explanation"]),
        metadata={**(given if isinstance(given, dict) else {}), "imported_from": "phoenix"},
    )


def _span_id(row: Row) -> object:
    return row.get("span_id") or row.get("context.span_id") or row.get("__index_level_0__")


def _is_nothing(value: object) -> bool:
    """Whether a cell is empty: a frame has NaN there."""
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN alone differs from itself
