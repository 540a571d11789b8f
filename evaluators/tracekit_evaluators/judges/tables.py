"""How much of an expected table the output holds: rows by their keys, then cells."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges.structure import unfenced
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject

Row = dict[str, object]
_SHOWN = 5


@judge(needs=("output", "expected.output"), values="[0,1] each")
def table_diff(
    *,
    keys: list[str] | str | None = None,
    columns: list[str] | None = None,
    expected: object = None,
    tolerance: float = 1e-9,
) -> Call:
    """How much of the expected table the output holds: the share of cells that are right, over the rows of either side.

    `table_diff.precision` and `.recall` count whole rows: of those in the output, of those expected. A table is CSV, a
    Markdown table, or a JSON list of objects. Rows are the same by their keys, else in any order when all cells are
    equal. Numbers are compared as numbers, whatever they are written like.

    Args:
        keys: The columns that tell a row from the others; without them rows are compared whole.
        columns: Which columns count; those of the expected table when not given.
        expected: The table that is expected of every case; the case's `table` (or `output`) when not given.
        tolerance: How far numbers may be apart, as a share of the greater one.

    Raises:
        UsageError: The tolerance is negative.

    Example:
        >>> table_diff(keys="id").parameters["keys"]
        'id'
    """
    if tolerance < 0:
        raise UsageError(f"table_diff needs a tolerance of 0 or more, not {tolerance!r}")
    by = [keys] if isinstance(keys, str) else list(keys or ())

    def call(subject: Subject) -> dict[str, Score]:
        try:
            right = rows_of(subject.expect("table", "output") if expected is None else expected)
        except ValueError as error:
            raise MissingInput(f"the case expects no table: {error}") from None
        names = list(columns or dict.fromkeys(name for row in right for name in row))
        if any(name not in row for row in right for name in by):
            raise MissingInput(f"the expected table has rows without the keys {', '.join(by)}")
        try:
            said = rows_of(subject.output_text)
        except ValueError as error:
            return _scores([0.0, 0.0, 0.0], f"the output holds no table: {error}")
        pairs = _by_keys(said, right, by) if by else _whole(said, right, names, tolerance)
        cells, same, faults = 0.0, 0, []
        rest = [name for name in names if name not in by] or names
        for ours, theirs in pairs:
            wrong = [name for name in rest if not _same(ours.get(name), theirs.get(name), tolerance)]
            cells += 1 - len(wrong) / len(rest)
            same += not wrong
            where = ", ".join(f"{name}={theirs[name]}" for name in by)
            faults += [f"{where}: {name} is {ours.get(name)!r}, not {theirs.get(name)!r}" for name in wrong]
        either = len(said) + len(right) - len(pairs)
        faults += [f"{len(right) - len(pairs)} rows are missing"] * (len(right) > len(pairs))
        faults += [f"{len(said) - len(pairs)} rows are not expected"] * (len(said) > len(pairs))
        shares = [cells / either if either else 1.0, _share(same, len(said)), _share(same, len(right))]
        return _scores(shares, "; ".join(faults[:_SHOWN]) or None)

    return call


def rows_of(value: object) -> list[Row]:
    r"""The rows of a table: a list of objects, JSON, CSV with a header, or Markdown.

    Raises:
        ValueError: It is no table.

    Example:
        >>> rows_of("id,n\n1,2")
        [{'id': '1', 'n': '2'}]
    """
    if isinstance(value, str):
        text = unfenced(value).strip()
        try:
            value = json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        except ValueError:
            return _markdown(text) if text.startswith("|") else _csv(text)
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise ValueError("it is no list of objects")
    return [{str(name): cell for name, cell in row.items()} for row in value]


def _csv(text: str) -> list[Row]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from None
    return _under(lines)


def _markdown(text: str) -> list[Row]:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return _under([line for line in cells if not all(set(cell) <= set("-: ") and cell for cell in line)])


def _under(lines: Sequence[Sequence[str]]) -> list[Row]:
    if not lines or len(lines[0]) < 2:
        raise ValueError("it has no header of two columns or more")
    head = [cell.strip() for cell in lines[0]]
    if any(len(line) != len(head) for line in lines):
        raise ValueError("its rows have different numbers of columns")
    return [dict(zip(head, (cell.strip() for cell in line), strict=True)) for line in lines[1:]]


def _by_keys(said: Sequence[Row], right: Sequence[Row], by: Sequence[str]) -> list[tuple[Row, Row]]:
    free: dict[tuple[object, ...], list[Row]] = {}
    for row in said:
        free.setdefault(_key(row, by), []).append(row)
    found: list[tuple[Row, Row]] = []
    for row in right:
        same = free.get(_key(row, by))
        if same:
            found.append((same.pop(0), row))
    return found


def _whole(said: Sequence[Row], right: Sequence[Row], names: Sequence[str], tolerance: float) -> list[tuple[Row, Row]]:
    """Rows that are equal, each used once; the exact ones by lookup, so that long tables stay quick."""
    counts = Counter(_key(row, names) for row in said)
    pairs: list[tuple[Row, Row]] = []
    left: list[Row] = []
    for row in right:
        key = _key(row, names)
        if counts[key]:
            counts[key] -= 1
            pairs.append((row, row))
        else:
            left.append(row)
    free = [row for row in said if counts[_key(row, names)] and not counts.subtract([_key(row, names)])]
    for row in left[:500]:
        near = next((each for each in free if all(_same(each.get(n), row.get(n), tolerance) for n in names)), None)
        if near is not None:
            free = [each for each in free if each is not near]
            pairs.append((near, row))
    return pairs


def _key(row: Row, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(_plain(row.get(name)) for name in names)


def _plain(cell: object) -> object:
    """A cell as it is compared: a number where it is one, else its text."""
    if cell is None or isinstance(cell, bool):
        return "" if cell is None else str(cell).lower()
    text = str(cell).strip()
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text
    return number if math.isfinite(number) else text


def _same(a: object, b: object, tolerance: float) -> bool:
    first, second = _plain(a), _plain(b)
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)
    return first == second


def _share(count: int, of: int) -> float:
    return count / of if of else 1.0


def _scores(shares: Sequence[float], told: str | None) -> dict[str, Score]:
    names = ("table_diff", "table_diff.precision", "table_diff.recall")
    return {name: Score(share, explanation=told) for name, share in zip(names, shares, strict=True)}
