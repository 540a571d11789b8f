"""Deriving stored rows again: with the dialects, or with the price list, that are installed now.

File by file: a file's rows are read, derived anew from the original that they hold, and take the old file's place in
one commit. Whoever is interrupted goes on with the files that are left; a file is never done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tracekit.errors import DecodeError
from tracekit_collector import prices
from tracekit_collector._span_columns import SpanColumns
from tracekit_collector.anyvalue import attributes_from_text
from tracekit_collector.compaction import rewrite
from tracekit_collector.folding import unfold
from tracekit_collector.joining import Change
from tracekit_collector.lake import DataFile
from tracekit_collector.normalise import NORMALISER_VERSION
from tracekit_collector.otlp_export import request_of
from tracekit_collector.schema import SPANS

if TYPE_CHECKING:
    from tracekit_collector.store import Store

__all__ = ["renormalise", "reprice"]

_AS_IT_CAME = ("received_at",)

Told = Callable[[int], object]


def renormalise(store: Store, *, every: bool = False, done: Told | None = None) -> int:
    """Derive the columns of stored spans again, as an upgraded tracekit would have.

    Args:
        store: The store, settled.
        every: Also those that this version has derived, for example because a dialect was installed.
        done: Called with the number of rows of each file that is done.

    Returns:
        How many spans were derived again.

    Raises:
        StoreError: The store cannot be read or written.
    """
    files = store.lake.entries("spans")
    if not every:
        old = f"coalesce(min(normaliser_version), 0) < {NORMALISER_VERSION}"
        files = _those(store, files, f"SELECT filename FROM {{source}} GROUP BY filename HAVING {old}")  # noqa: S608 - our own names
    return _each(store, files, _derived_again, done)


def reprice(store: Store, *, done: Told | None = None) -> int:
    """Reckon what calls cost again, by the price list that is installed now; what a payload said stays.

    Args:
        store: The store, settled.
        done: Called with the number of rows of each file that is done.

    Returns:
        How many spans are in the files that were written anew.

    Raises:
        StoreError: The store cannot be read or written.
    """
    known = [
        (provider, model)
        for provider, model in store.sql(
            "SELECT DISTINCT provider, coalesce(model, model_requested) FROM spans "
            "WHERE step IN ('llm', 'embedding') AND cost_usd IS NULL AND input_tokens IS NOT NULL",
            settle=False,
        ).fetchall()
        if model is not None and prices.price(str(model), 1, 0, provider=None if provider is None else str(provider))
    ]
    listed = ", ".join(f"({_text(provider)}, {_text(model)})" for provider, model in known)
    pairs = f"(coalesce(provider, ''), coalesce(model, model_requested)) IN ({listed})" if known else "false"
    query = (
        "SELECT DISTINCT filename FROM {source} WHERE step IN ('llm', 'embedding') AND "  # noqa: S608 - texts are quoted
        f"(starts_with(cost_source, 'genai-prices') AND NOT starts_with(cost_source, '{prices.source()} ') "
        f"OR cost_usd IS NULL AND {pairs})"
    )
    return _each(store, _those(store, store.lake.entries("spans"), query), _priced_again, done)


def _those(store: Store, files: Sequence[DataFile], query: str) -> list[DataFile]:
    if not files:
        return []
    listed = ", ".join(_text(file.path) for file in files)
    source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false, filename = true)"
    wanted = {str(name) for (name,) in store.sql(query.format(source=source), settle=False).fetchall()}
    return [file for file in files if file.path in wanted]


def _each(store: Store, files: Sequence[DataFile], change: Change, done: Told | None) -> int:
    count = 0
    for file in files:
        rows = file.rows or 0
        if rewrite(store.lake, "spans", [file], change=change) is not None:
            count += rows
        if done is not None:
            done(rows)
    return count


def _derived_again(window: pa.Table) -> pa.Table:
    rows: list[dict[str, Any]] = window.to_pylist()
    made = SpanColumns()
    try:
        made.add(request_of(rows), received_ns=0)
    except DecodeError:  # a row that is damaged stays as it is, and costs only itself
        made = SpanColumns()
        for row in rows:
            try:
                made.add(request_of([row]), received_ns=0)
            except DecodeError:
                continue
    new = made.table()
    ids = zip(new.column("trace_id").to_pylist(), new.column("span_id").to_pylist(), strict=True)
    places = {key: place for place, key in enumerate(ids)}
    found = [places.get((row["trace_id"], row["span_id"])) for row in rows]
    if None not in found:
        columns = [
            window.column(name) if name in _AS_IT_CAME else new.column(name).take(pa.array(found, pa.int64()))
            for name in SPANS.names
            if name != "date"
        ]
        return pa.Table.from_arrays(columns, names=[name for name in SPANS.names if name != "date"])
    again = new.to_pylist()
    kept = [
        row if place is None else {**again[place], **{name: row[name] for name in _AS_IT_CAME}}
        for row, place in zip(rows, found, strict=True)
    ]
    return pa.Table.from_pylist(kept, schema=pa.schema([field for field in SPANS if field.name != "date"]))


def _priced_again(window: pa.Table) -> pa.Table:
    wanted = ("step", "provider", "model", "model_requested", "start_ns", "cost_usd", "cost_source", "attributes")
    counts = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    rows: list[dict[str, Any]] = window.select([*wanted, *counts]).to_pylist()
    for place, row in enumerate(rows):
        if row["step"] not in prices.PRICED_STEPS or (row["cost_usd"] is not None and prices.is_told(row)):
            continue
        row["cost_usd"] = row["cost_source"] = None
        attributes: dict[str, object] = {}
        if "audio" in (row["attributes"] or ""):
            whole = window.slice(place, 1).to_pylist()[0]
            attributes = attributes_from_text(unfold(row["attributes"], whole))
        prices.add_cost(row, attributes, row["start_ns"])
    for name in ("cost_usd", "cost_source"):
        field = SPANS.field(name)
        window = window.set_column(
            window.column_names.index(name), field, pa.array([row[name] for row in rows], field.type)
        )
    return window


def _text(value: object) -> str:
    return "'" + str("" if value is None else value).replace("'", "''") + "'"
