"""Rows from the files that tools export to: JSON, JSONL, CSV, each also `.gz`, and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tracekit.errors import UsageError

Row = Mapping[str, Any]


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file, whose form is told by its name, and by its beginning where that says nothing.

    Args:
        path: The file. JSON is an object, a list of objects, or pages of an API: `{"data": [...]}`.

    Raises:
        UsageError: The file cannot be read, or is not what its name says.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> _ = place.write_text('{"id": 1}')
        >>> list(rows_of(place))
        [{'id': 1}]
    """
    try:
        body = path.read_bytes()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is damaged ({error}); export it again") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if not body.strip():
        raise UsageError(f"{path} is empty; export it again, or leave it out")
    name = path.name.lower().removesuffix(".gz")
    if body[:4] == b"PAR1":
        yield from _of_parquet(path, body)
    elif body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        yield from _of_json(path, body)
    elif name.endswith(".csv"):
        yield from _of_csv(path, body)
    else:
        raise UsageError(f"{path} is neither JSON, JSONL, CSV nor Parquet")


def _of_json(path: Path, body: bytes) -> Iterator[Row]:
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        yield from _of_lines(path, body)
        return
    yield from _unwrapped(path, whole)


def _of_lines(path: Path, body: bytes) -> Iterator[Row]:
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield from _unwrapped(path, json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}, is no JSON: {error}; export it again") from None


def _unwrapped(path: Path, value: object) -> Iterator[Row]:
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise UsageError(f"{path} holds {str(each)[:60]!r} where a row should be an object")
        yield each


def _of_csv(path: Path, body: bytes) -> Iterator[Row]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from None
    csv.field_size_limit(min(sys.maxsize, (1 << 31) - 1))
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values():
                raise UsageError(f"{path}, row {number}, has another number of cells than the header")
            yield {name: cell(value) for name, value in row.items()}
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}, is no CSV: {error}") from None


def _of_parquet(path: Path, body: bytes) -> Iterator[Row]:
    import pyarrow as pa  # noqa: PLC0415 - for Parquet alone
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        table = pq.read_table(pa.BufferReader(body))
        for batch in table.to_batches(max_chunksize=1_000):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UsageError(f"{path} is damaged ({error}); export it again") from error


def cell(text: str) -> object:
    """A cell of a CSV: JSON where it is an object or list, unknown where it is empty, else its text."""
    if not text:
        return None
    if text[0] in "{[":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
