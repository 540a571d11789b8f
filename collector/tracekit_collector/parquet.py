"""Parquet as the lake has it: rows to Arrow columns, and the writer of its files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.errors import StoreError
from tracekit_collector.schema import SCHEMA_VERSION, TABLES

_PAGE_BYTES = 1 << 20

# Columns whose values hardly ever come twice: a dictionary of them would only be thrown away.
_NO_DICTIONARY = frozenset(
    {
        *("span_id", "start_ns", "start_time", "duration_ns", "attributes", "events", "links"),
        *("input", "output", "input_messages", "output_messages", "tool_arguments", "tool_result", "documents"),
        *(
            "response_id",
            "tool_call_id",
            "log_id",
            "metric_id",
            "score_id",
            "request_id",
            "body",
            "request",
            "response",
        ),
        *("time", "time_ns", "observed_ns", "latency_ms", "ttft_ms", "explanation", "evidence"),
    }
)
_COUNTED = ("start_ns", "start_time", "duration_ns", "time", "time_ns", "observed_ns")
_BLOOMS = "bloom_filter_options" in inspect.signature(pq.ParquetWriter.__init__).parameters


def to_arrow(table: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows as Arrow columns, in the schema of a lake table; a missing column is null.

    Args:
        table: One of `TABLES`.
        rows: Each a mapping of column names to values.

    Raises:
        StoreError: A row has a column that the table does not, or a value of the wrong type.
    """
    schema = TABLES[table]
    known = set(schema.names)
    for row in rows:
        if not row.keys() <= known:
            raise StoreError(f"the table {table} has no column {', '.join(sorted(row.keys() - known))}")
    columns = []
    for field in schema:
        if field.name == "schema_version":
            values: list[object] = [SCHEMA_VERSION] * len(rows)
        else:
            values = [row.get(field.name) for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"a value does not fit the column {table}.{field.name} ({field.type}): {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def writer(
    where: Any, table: str, *, level: int = 1, looked_up: Sequence[str] = (), rows: int = 0, page: int = _PAGE_BYTES
) -> pq.ParquetWriter:
    """A writer of a file of a lake table; all columns but `date`, which stands in the file's path.

    Args:
        where: A path, or a file that is open for writing bytes.
        table: One of `TABLES`.
        level: Of zstd: 1 for files that live a minute, more for those that stay.
        looked_up: Columns that get a Bloom filter.
        rows: How many rows a group has at most, for the size of the Bloom filters.
        page: How large a page grows, in bytes: the larger, the more zstd finds that it has seen before.
    """
    schema = pa.schema([field for field in TABLES[table] if field.name != "date"])
    blooms = {name: {"ndv": rows, "fpp": 0.01} for name in looked_up if name in schema.names}
    more: dict[str, Any] = {"bloom_filter_options": blooms} if _BLOOMS and blooms else {}
    return pq.ParquetWriter(
        where,
        schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=[field.name for field in schema if field.name not in _NO_DICTIONARY],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in _COUNTED if name in schema.names},
        data_page_size=page,
        **more,
    )
