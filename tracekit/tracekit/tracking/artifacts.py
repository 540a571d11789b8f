"""A run's files: told by digest, and kept in the store's artifacts, or sent to it in parts through an endpoint.

Texts are redacted, line by line, before they are kept or sent.
"""

from __future__ import annotations

import hashlib
import io
import json
import mimetypes
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from opentelemetry.context import Context

from tracekit import _attachments, _guard, settings
from tracekit import attributes as names
from tracekit._capture import clean_text, plain
from tracekit._runtime import runtime

PART_BYTES = 1 << 19
"""How many bytes of an artifact a record holds at most."""

TABLE = "application/vnd.tracekit.table+json"

_MOST_SENT = 64 << 20
_MOST_FILES = 10_000
_BLOCK = 1 << 20
_NAME = 400

Found = dict[str, dict[str, object]]


def of_path(path: str | os.PathLike[str], name: str | None = None) -> Found:
    """Keep a file, or every file in a folder.

    Args:
        path: The file or folder.
        name: What it is called; its own name when not given.

    Raises:
        ValueError: It is not there, or it cannot be read.
    """
    place = Path(path)
    called = name or place.name or place.absolute().name
    try:
        if not place.is_dir():
            return _of_file(place, called)
        files = sorted(file for file in place.rglob("*") if file.is_file())
        if len(files) > _MOST_FILES:
            raise ValueError(f"the folder {place} holds {len(files)} files; at most {_MOST_FILES} are kept")
        found: Found = {}
        for file in files:
            found.update(_of_file(file, f"{called}/{file.relative_to(place).as_posix()}"))
    except OSError as error:
        raise ValueError(f"cannot read {place}: {error.strerror or error}") from error
    return found


def of_text(name: str, text: str, *, mime_type: str | None = None) -> Found:
    """Keep a text.

    Args:
        name: What it is called.
        text: The text.
        mime_type: Its media type; told from the name when not given.
    """
    body = str(text).encode("utf-8", "backslashreplace")
    return _kept(io.BytesIO(body), name, mime_type or mimetypes.guess_type(name)[0] or "text/plain")


def of_json(name: str, value: object, *, mime_type: str = "application/json") -> Found:
    """Keep a value as JSON."""
    text = json.dumps(plain(value, limit=None), ensure_ascii=False, allow_nan=False)
    return of_text(_ended(name, ".json"), text, mime_type=mime_type)


def of_table(name: str, table: Any) -> Found:
    """Keep a table as JSON: its columns' names, and its rows as lists.

    Args:
        name: What it is called.
        table: Mappings, one a row; or a mapping of columns; or a data frame of pandas, polars or pyarrow.

    Raises:
        ValueError: It is no table, or its columns are of different lengths.
    """
    columns = _columns(table)
    sizes = {len(values) for values in columns.values()}
    if len(sizes) > 1:
        raise ValueError(f"the columns of the table {name!r} have different lengths: {sorted(sizes)}")
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return of_json(name, {"columns": list(columns), "rows": rows}, mime_type=TABLE)


def of_figure(name: str, figure: Any) -> Found:
    """Keep a figure: one of matplotlib as PNG, one of plotly as HTML, an image as PNG, bytes and HTML as they are.

    Raises:
        ValueError: It is none of them.
    """
    if isinstance(figure, str):
        return of_text(_ended(name, ".html"), figure, mime_type="text/html")
    if isinstance(figure, (bytes, bytearray, memoryview)):
        body = bytes(figure)
        described = _attachments.described(body, keep=False)
        return _kept(io.BytesIO(body), name, str(described["mime_type"]))
    if callable(getattr(figure, "to_html", None)):
        return of_text(_ended(name, ".html"), figure.to_html(include_plotlyjs="cdn"), mime_type="text/html")
    figure = getattr(figure, "figure", None) or figure  # an axes object of matplotlib, or a grid of seaborn
    written = io.BytesIO()
    if callable(getattr(figure, "savefig", None)):
        figure.savefig(written, format="png")
    elif callable(getattr(figure, "save", None)):
        figure.save(written, "PNG")
    else:
        what = f"{type(figure).__name__} is no figure"
        raise ValueError(f"{what}: give one of matplotlib, plotly or Pillow, bytes, or HTML")  # noqa: TRY004 - a message
    written.seek(0)
    return _kept(written, _ended(name, ".png"), "image/png")


def _of_file(path: Path, name: str) -> Found:
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        kind = mimetypes.guess_type(path.name)[0] or str(_attachments.described(head, keep=False)["mime_type"])
        return _kept(file, name, kind)


def _kept(source: BinaryIO, name: str, mime_type: str) -> Found:
    if not str(name).strip():
        raise ValueError("an artifact needs a name")
    with _redacted(source) as (body, redacted):
        digest, size = _digest(body)
        kept = settings.switch("attachments") and runtime.tracer is not None and _store(body, digest, size)
    told: dict[str, object] = {"sha256": digest, "bytes": size, "mime_type": mime_type}
    if redacted:
        told["redacted"] = True
    if not kept:
        told["kept"] = False
    return {clean_text(str(name))[:_NAME]: told}


class _redacted:  # noqa: N801 - used as a function is
    """What a file holds, its text redacted, and whether anything was."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._made: Any = None

    def __enter__(self) -> tuple[BinaryIO, bool]:
        rules = runtime.redactor
        if rules is None or not _attachments.is_text(self._source):
            return self._source, False
        changed = False
        self._made = tempfile.SpooledTemporaryFile(max_size=8 << 20)
        for block in _lines(self._source):
            before = block.decode("utf-8")
            seen = str(rules.text(before))
            changed = changed or seen != before
            self._made.write(seen.encode("utf-8", "backslashreplace"))
        self._made.seek(0)
        return cast("BinaryIO", self._made), changed

    def __exit__(self, *_error: object) -> None:
        if self._made is not None:
            self._made.close()


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """A text's lines, some thousands of them together."""
    while lines := source.readlines(1 << 16):
        yield b"".join(lines)


def _digest(source: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for block in iter(lambda: source.read(_BLOCK), b""):
        digest.update(block)
        size += len(block)
    source.seek(0)
    return digest.hexdigest(), size


def _store(source: BinaryIO, digest: str, size: int) -> bool:
    """Put content where the run goes; says whether it is there, or on its way."""
    folder = runtime.artifacts
    if folder is not None:
        if not (folder / digest).exists():
            try:
                _attachments._store(source, folder, digest)  # noqa: SLF001 - within the package
            except OSError as error:
                _guard.note(f"artifacts {folder}", f"cannot keep an artifact in {folder}: {error}")
                return False
        return True
    if runtime.sink is not None:
        return False
    if size > _MOST_SENT:
        _guard.note("artifacts", f"an artifact of {size} bytes is not sent to the endpoint; at most {_MOST_SENT} are")
        return False
    parts = max(1, -(-size // PART_BYTES))
    for part in range(parts):
        told = {names.RUN_CONTENT_DIGEST: digest, names.RUN_CONTENT_PART: part, names.RUN_CONTENT_PARTS: parts}
        runtime.emit(names.RUN_CONTENT_EVENT, told, Context(), body=source.read(PART_BYTES))
    return True


def _columns(table: Any) -> dict[str, Sequence[object]]:
    if callable(getattr(table, "to_pydict", None)):  # pyarrow
        table = table.to_pydict()
    elif hasattr(table, "columns") and callable(getattr(table, "to_dict", None)):
        try:
            table = table.to_dict(as_series=False)  # polars
        except TypeError:
            table = table.to_dict(orient="list")  # pandas
    if isinstance(table, Mapping):
        return {str(name): list(values) for name, values in table.items()}
    if isinstance(table, (str, bytes)) or not hasattr(table, "__iter__"):
        raise ValueError(f"{type(table).__name__} is no table: give rows, columns or a data frame")
    rows = list(table)
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("a table's rows are mappings of column names to values")
    named = dict.fromkeys(str(key) for row in rows for key in row)
    texts = [{str(key): value for key, value in row.items()} for row in rows]
    return {name: [row.get(name) for row in texts] for name in named}


def _ended(name: str, ending: str) -> str:
    return name if Path(name).suffix else name + ending
