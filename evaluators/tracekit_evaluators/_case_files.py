"""Cases in files: JSON lines, CSV and Parquet, in and out.

CSV and Parquet hold one case a row. A cell that reads as JSON counts as what it says where the column is not `case_id`,
`input` or `split`; `expected.NAME` and `metadata.NAME` are columns of their own; tags and splits are separated by `;`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tracekit.errors import StoreError, UsageError
from tracekit_evaluators.score import json_column

FIELDS = ("case_id", "input", "expected", "tags", "splits", "weight", "golden", "metadata")
FORMATS = ("jsonl", "csv", "parquet")
_NESTED = ("expected", "metadata")
_LISTS = ("tags", "splits")
_LARGEST_CELL = 1 << 27  # characters; the csv module stops at 131,072 by itself


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, object]]:
    """What stands in a file, with the number of its line or row; a line that cannot be read is the error itself.

    Args:
        path: `.csv`, `.parquet`, or else JSON lines.

    Raises:
        UsageError: The file cannot be read.
    """
    file = Path(path)
    try:
        if file.suffix == ".parquet":
            yield from _parquet(file)
            return
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the dataset {file}: {error}") from error
    yield from _csv(text) if file.suffix == ".csv" else _jsonl(text)


def write_rows(rows: Sequence[Mapping[str, object]], path: str | os.PathLike[str] | None, *, kind: str) -> str:
    """Cases as a file.

    Args:
        rows: The cases.
        path: Where to; only Parquet needs it.
        kind: `jsonl`, `csv` or `parquet`.

    Returns:
        The text that was written, empty for Parquet.

    Raises:
        StoreError: The file cannot be written.
    """
    text = "" if kind == "parquet" else _csv_text(rows) if kind == "csv" else _jsonl_text(rows)
    if path is None:
        if kind == "parquet":
            raise UsageError("Parquet is no text; name a file with -o")
        return text
    try:
        if kind == "parquet":
            _write_parquet(rows, Path(path))
        else:
            Path(path).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StoreError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return text


def _jsonl(text: str) -> Iterator[tuple[int, object]]:
    if text.lstrip().startswith("["):  # one list of all of them
        try:
            yield from enumerate(json.loads(text), start=1)
        except (ValueError, RecursionError) as error:
            yield 1, ValueError(str(error))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(str(error))


def _csv(text: str) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise UsageError(f"the column {', '.join(twice)} is there twice")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                yield reader.line_num, ValueError(f"{len(cells)} cells, and the first line names {len(header)}")
            else:
                yield reader.line_num, _case({name: cell for name, cell in zip(header, cells, strict=True) if cell})
    except csv.Error as error:
        yield reader.line_num, ValueError(str(error))


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow as pa  # noqa: PLC0415 - only such files need it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"cannot read the dataset {path}: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield number, _case({name: value for name, value in row.items() if value is not None})


def _case(cells: Mapping[str, object]) -> dict[str, object]:
    case: dict[str, object] = {}
    for name, cell in cells.items():
        outer, dot, inner = name.partition(".")
        if dot and outer in _NESTED:
            nested = case.setdefault(outer, {})
            if isinstance(nested, dict):
                nested[inner] = _value(cell)
        elif name in _LISTS and isinstance(cell, str):
            found = _value(cell)
            case[name] = (
                found if isinstance(found, list) else [each.strip() for each in cell.split(";") if each.strip()]
            )
        elif name in ("case_id", "split"):
            case[name] = cell
        elif name == "input":
            found = _value(cell)
            case[name] = found if isinstance(found, (dict, list)) else cell
        else:
            case[name] = _value(cell)
    return case


def _value(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _flat(row: Mapping[str, object]) -> dict[str, str]:
    """A case as cells that `_case` reads back."""
    cells: dict[str, str] = {}
    for name, value in row.items():
        if name in _NESTED and isinstance(value, Mapping):
            cells.update({f"{name}.{key}": _cell(item) for key, item in value.items()})
        elif name in ("case_id", "input", "split") and isinstance(value, str):
            cells[name] = value if name != "input" or not isinstance(_value(value), (dict, list)) else json.dumps(value)
        else:
            cells[name] = _cell(value)
    return cells


def _cell(value: object) -> str:
    plain = isinstance(value, str) and value and isinstance(_value(value), str) and not value.startswith('"')
    return str(value) if plain else json_column(value)


def _csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    flat = [_flat(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, _columns(flat), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _write_parquet(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - only such files need it
    from pyarrow import parquet  # noqa: PLC0415

    flat = [_flat(row) for row in rows]
    columns = _columns(flat)
    parquet.write_table(
        pa.table({name: pa.array([row.get(name) for row in flat], pa.string()) for name in columns}), path
    )


def _columns(flat: Iterable[Mapping[str, str]]) -> list[str]:
    named = {name for row in flat for name in row}
    return sorted(
        named, key=lambda name: (FIELDS.index(outer) if (outer := name.partition(".")[0]) in FIELDS else 99, name)
    )


def _jsonl_text(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json_column(row) + "\n" for row in rows)
