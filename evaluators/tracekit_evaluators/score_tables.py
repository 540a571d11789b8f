"""Tables of other people's making as scores: a row for each case, a column for each judge, annotator or version.

CSV, TSV, JSONL, or a JSON list of objects. A cell is what it looks like: `true`, `yes`, `pass`, `correct` and their
opposites are passes and failures, and so are 0 and 1 where the columns hold nothing else; other numbers are numbers,
other words labels; empty cells, `null`, `NA` and `nan` say nothing.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracekit.errors import UsageError

_YES = frozenset({"true", "yes", "y", "pass", "passed", "correct", "success"})
_NO = frozenset({"false", "no", "n", "fail", "failed", "incorrect", "failure"})
_NOTHING = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
_NAMES = ("case_id", "case", "id", "item", "item_id", "question_id")
_MOST_FAULTS = 10


@dataclass(frozen=True)
class TableForm:
    """Which columns of a table mean what.

    Args:
        values: The columns that hold values; each becomes an annotator where there are several.
        name: What the score is called.
        case: The column that names the case; where there is none of the usual names, the row's number does.
        judges: Those of the values that are a model's or a program's verdicts, no person's.
    """

    values: tuple[str, ...]
    name: str
    case: str | None = None
    judges: tuple[str, ...] = ()


def table_lines(path: str | os.PathLike[str], form: TableForm) -> list[Mapping[str, object]]:
    """The lines that `imports.import_scores` takes, of a table.

    Raises:
        UsageError: The table cannot be read, has no such column, or names a case twice.
    """
    rows = list(_rows(Path(path)))
    where = os.fspath(path)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    missing = [each for each in (*form.values, *([form.case] if form.case else [])) if each not in columns]
    if not rows or missing:
        said = f"has no column {', '.join(missing)}; it has {', '.join(columns)}" if rows else "holds no rows"
        raise UsageError(f"the table {where} {said}")
    strange = sorted(set(form.judges) - set(form.values))
    if strange:
        raise UsageError(f"{', '.join(strange)}: a judge's column must be one of the values, {', '.join(form.values)}")
    case = form.case or next((each for each in _NAMES if each in columns), None)
    cells = [{column: _value(row.get(column)) for column in form.values} for row in rows]
    values_said = [value for row in cells for value in row.values() if value is not None]
    if values_said and all(isinstance(value, bool) or value in (0.0, 1.0) for value in values_said):
        cells = [{column: None if value is None else bool(value) for column, value in row.items()} for row in cells]
    found: list[Mapping[str, object]] = []
    seen: dict[str, int] = {}
    faults: list[str] = []
    for number, (row, values) in enumerate(zip(rows, cells, strict=True), start=1):
        named = str(number) if case is None else str(row.get(case) if row.get(case) is not None else "").strip()
        first = seen.setdefault(named, number)
        if not named or first != number:
            faults.append(f"row {number}: " + (f"the case {named} of row {first} again" if named else "no case"))
        for column, value in values.items():
            if value is not None:
                source = "llm" if column in form.judges else "human"
                line: dict[str, object] = {"case_id": named, "name": form.name, "value": value, "source": source}
                found.append({**line, "annotator": column} if len(form.values) > 1 else line)
    if faults:
        more = f"\n  and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise UsageError(f"nothing was imported of {where}\n  " + "\n  ".join(faults[:_MOST_FAULTS]) + more)
    if not found:
        raise UsageError(f"the columns {', '.join(form.values)} of {where} are empty")
    return found


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix in {".csv", ".tsv"}:
            yield from _of_csv(text, "\t" if path.suffix == ".tsv" else ",")
            return
        whole = text.lstrip().startswith("[")
        rows = json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, csv.Error) as error:
        raise UsageError(f"cannot read the table {path}: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"the table {path} holds something that is no object")
    yield from rows


def _of_csv(text: str, separator: str) -> Iterator[Mapping[str, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in reader:
        if None in row or None in row.values():
            raise csv.Error(f"line {reader.line_num} has another number of cells than the header")
        yield row


def _value(cell: object) -> bool | float | str | None:
    """What a cell says.

    Example:
        >>> [_value(each) for each in ("Yes", "fail", "0.5", "good", "NA", 3, None)]
        [True, False, 0.5, 'good', None, 3.0, None]
    """
    if cell is None or isinstance(cell, bool):
        return cell
    text = str(cell).strip()
    word = text.lower()
    if word in _NOTHING:
        return None
    if word in _YES or word in _NO:
        return word in _YES
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) < 1e300 else text


def columns_of(words: Sequence[str]) -> tuple[str, ...]:
    """Columns as the command line takes them: repeated, or separated by commas.

    Example:
        >>> columns_of(["ann,bob", "gpt"])
        ('ann', 'bob', 'gpt')
    """
    return tuple(dict.fromkeys(each.strip() for word in words for each in word.split(",") if each.strip()))
