"""What a command prints: rows as a table, JSON, CSV or Markdown on stdout, progress on stderr.

Cells hold what models and users wrote, so nothing of them reaches the terminal as a control code, the table
as markup or the Markdown as HTML. JSON and CSV carry every value whole; a table shortens what is long.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Protocol

LONGEST_CELL = 200

# C0 and C1 controls, line and paragraph separators, and what turns the reading direction around.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_NOT_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*\[\]|])")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, n: int = 1) -> None:
        """Say that `n` more are done."""


def print_rows(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    format: str,  # noqa: A002 - the word of the command line
    title: str | None = None,
) -> None:
    """Print rows to stdout.

    Args:
        rows: What to print; a column that a row lacks counts as null.
        columns: Which keys, in order. JSON has these keys alone.
        format: `table`, `json` (a list of objects), `csv` or `markdown`.
        title: A heading for the table; the other formats leave it out.

    Example:
        >>> print_rows([{"name": "a", "n": 1}], ["name", "n"], format="csv")
        name,n
        a,1
    """
    if format == "json":
        print_json([{column: row.get(column) for column in columns} for row in rows])
    elif format == "csv":
        _write(_csv(rows, columns))
    elif format == "markdown":
        _write(_markdown(rows, columns))
    else:
        _print_table(rows, columns, title)


def print_json(value: object) -> None:
    """Print one value to stdout as indented JSON, in ASCII where stdout cannot take all of it.

    Example:
        >>> print_json({"n": 1})
        {
          "n": 1
        }
    """
    text = json_text(value, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_jsonable(value), indent=2)
    sys.stdout.write(text + "\n")


def json_text(value: object, *, indent: int | None = None) -> str:
    """A value as JSON text: times in ISO 8601 with Z, NaN and infinities as null, bytes as base64.

    Control characters are escaped, C1 ones too, so that the text is safe on a terminal.

    Example:
        >>> json_text({"at": datetime(2026, 1, 2, 3, 4, 5), "x": math.nan})
        '{"at": "2026-01-02T03:04:05Z", "x": null}'
    """
    text = json.dumps(_jsonable(value), ensure_ascii=False, indent=indent)
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def visible(text: str) -> str:
    r"""Text with control characters and direction marks written out, so that a terminal only shows it.

    Example:
        >>> visible("a\x1b[31mb\nc")
        'a\\x1b[31mb\\nc'
    """
    return _HOSTILE.sub(_escaped, text)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on stderr for the length of the block; nothing when stderr is not a terminal.

    Args:
        description: What is being done.
        total: How many steps there are; `None` when nobody knows.

    Example:
        >>> with progress("reading files", 2) as advance:
        ...     advance()
        ...     advance()
    """
    if not sys.stderr.isatty():
        yield _stand_still
        return
    from rich import progress as bars  # noqa: PLC0415 - a pipe needs no bar
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(escape(visible(description)), total=total)

        def advance(n: int = 1) -> None:
            bar.advance(task, n)

        yield advance


def _stand_still(n: int = 1) -> None:
    del n


def _jsonable(value: object) -> object:  # noqa: PLR0911 - one line a type
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return _iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return str(value)


def _iso(value: datetime | date | time) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    naive = value if value.tzinfo is None else value.astimezone(timezone.utc).replace(tzinfo=None)
    return naive.isoformat() + "Z"


def _cell(value: object) -> str:
    """A value as one text, whole."""
    plain = _jsonable(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return plain if isinstance(plain, str) else json_text(plain)


def _csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    # A program that reads the file gets every character; a person's terminal does not run them.
    show = _shown_line if sys.stdout.isatty() else str
    writer.writerows([show(_cell(row.get(column))) for column in columns] for row in rows)
    return out.getvalue()


def _markdown(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    lines = [[_markdown_cell(column) for column in columns], ["---"] * len(columns)]
    lines += [[_markdown_cell(_cell(row.get(column))) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    shown = "<br>".join(
        _MARKDOWN.sub(r"\\\1", visible(line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        for line in text.splitlines()
    )
    return shown or " "


def _print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str], title: str | None) -> None:
    from rich import box  # noqa: PLC0415 - the other formats need none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    table = Table(title=Text(visible(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        numeric = any(_is_number(row.get(column)) for row in rows)
        table.add_column(
            Text(visible(column)), justify="right" if numeric else "left", overflow="ellipsis", no_wrap=True
        )
    for row in rows:
        table.add_row(*(Text(_short(row.get(column))) for column in columns))
    out = io.StringIO()
    # In a pipe nothing is squeezed to the width of a screen that is not there.
    width = None if terminal else (LONGEST_CELL + 4) * max(1, len(columns)) + len(title or "")
    console = Console(
        file=sys.stdout if terminal else out,
        width=width,
        force_terminal=terminal,
        highlight=False,
        emoji=False,
    )
    console.print(table)
    if not rows:
        console.print("nothing to show")
    if not terminal:
        _write("".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines()))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _short(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    text = _cell(value)
    cut = text[:LONGEST_CELL]
    return visible(cut) + ("…" if len(text) > len(cut) else "") if value is not None else "–"


def _shown_line(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
