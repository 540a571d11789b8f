"""Scores from outside: verdicts of people, environments or other tools, from JSONL or CSV into a run of kind `import`.

A line is an object, or a row under a header: `trace_id` (or `case_id` alone, where nothing was traced), `name` and
`value` (a number, a bool or a label); optionally
`passed`, `source`, `case_id`, `repeat`, `span_id`, `explanation`, `annotator`, `direction`, `metadata`, and of a label
`inclusion_probability`, `rubric_version` and `seconds`, the time it took; instead of a value, a `status` that says why
there is none.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._selection import makers
from tracekit_evaluators.runner import Run, finish, scores_of
from tracekit_evaluators.score import DIRECTIONS, SOURCES, STATUSES, clean, json_column
from tracekit_evaluators.score_tables import TableForm, table_lines
from tracekit_evaluators.subject import canonical

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_MOST_FAULTS = 10
_AT_ONCE = 10_000
_TRACE = re.compile(r"[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")
Line = Mapping[str, object]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Args:
        run: The run, with all of its scores.
        lines: Lines in the file.
        new: Scores that were not there before.
        replaced: Scores that took the place of another.
        unknown_traces: Traces that the file names and the store does not hold.
    """

    run: Run
    lines: int
    new: int
    replaced: int
    unknown_traces: int


def import_scores(store: Store, path: str | os.PathLike[str], *, run: str, table: TableForm | None = None) -> Imported:
    """Read scores from a JSONL or CSV file into a run of kind `import`, all of them or, where a line is faulty, none.

    A file that is read again changes nothing: a line that is already there is left alone, and one that says something
    else of the same target, name and annotator takes the earlier one's place.

    Args:
        store: Where to.
        path: The file; see this module for its lines.
        run: The run's name. An earlier import of that name is added to.
        table: Where the file is a table with a row for each case: what its columns mean.

    Raises:
        UsageError: The file cannot be read, a line is faulty, or the name belongs to an evaluation. The message names
            the first faulty lines.
    """
    lines = read_scores(path) if table is None else checked_lines(table_lines(path, table))
    record = _run(store, run)
    traces = _traces(store, {str(line["trace_id"]) for line in lines})
    begun = record or store.catalog.runs.create(
        run,
        kind="import",
        parameters={"file": os.fspath(path)},
        selection={"file": os.fspath(path), "lines": len(lines)},
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    there = {_target(row): row for row in scores_of(store, begun.id)}
    rows: list[dict[str, object]] = []
    replaced = 0
    for line in lines:
        row = _row(line, begun.id, traces.get(str(line["trace_id"]), (None, None)))
        before = there.get(_target(row))
        if before is not None and _same(before, row):
            continue
        row["supersedes"] = None if before is None else before["score_id"]
        row["score_id"] = _digest(
            [begun.id, *_target(row), row["supersedes"], [row[key] for key in _SAYS], *_labelled(row)]
        )
        replaced += before is not None
        rows.append(row)
    for start in range(0, len(rows), _AT_ONCE):
        store.append("scores", rows[start : start + _AT_ONCE])
    unknown = len({str(line["trace_id"]) for line in lines if not _stands_for_itself(line)} - traces.keys())
    more: dict[str, object] = {"traces": len(traces), "unknown_traces": unknown}
    done = finish(store, begun.id, makers(store, list(traces)), more)
    return Imported(Run(store, done), len(lines), len(rows) - replaced, replaced, unknown)


def read_scores(path: str | os.PathLike[str]) -> list[Line]:
    """The lines of a score file, each checked.

    Raises:
        UsageError: The file cannot be read, or lines are faulty; the message names the first ones.
    """
    lines: list[Line] = []
    faults: list[str] = []
    seen: dict[tuple[object, ...], int] = {}
    for number, text in _texts(Path(path)):
        try:
            line = _checked(text if isinstance(text, dict) else json.loads(text, parse_constant=_no_constant))
        except (ValueError, RecursionError, UsageError) as error:
            faults.append(f"line {number}: {error}")
            continue
        first = seen.setdefault(_target(line), number)
        if first != number:
            faults.append(f"line {number}: the same trace, name and annotator as line {first}")
        lines.append(line)
    if faults:
        more = f"\n  and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        head = f"nothing was imported: {len(faults)} faulty lines in {os.fspath(path)}"
        raise UsageError(f"{head}\n  " + "\n  ".join(faults[:_MOST_FAULTS]) + more)
    if not lines:
        raise UsageError(f"{os.fspath(path)} holds no scores")
    return lines


def checked_lines(lines: Sequence[Line]) -> list[Line]:
    """Lines that were made of something else, each checked as those of a file are."""
    return [_checked(line) for line in lines]


_SAYS = ("value_type", "value", "label", "passed", "direction", "status", "explanation", "source", "metadata")
_LABELLED = ("inclusion_probability", "judge_version", "latency_ms")


def _row(line: Line, run_id: str, place: tuple[object, object]) -> dict[str, object]:
    value = line.get("value")
    label = value if isinstance(value, str) else None
    kind = "bool" if isinstance(value, bool) else "label" if label is not None else "number"
    direction, passed = line.get("direction"), line.get("passed")
    if passed is None and isinstance(value, bool) and direction != "neutral":
        passed = value is (direction != "minimize")
    case, repeat = line.get("case_id"), line.get("repeat")
    probability, seconds = line.get("inclusion_probability"), line.get("seconds")
    return {
        "time": datetime.now(timezone.utc).replace(tzinfo=None),
        "run_id": run_id,
        "target": "span" if line.get("span_id") else "trace",
        "trace_id": line["trace_id"],
        "span_id": line.get("span_id"),
        "case_id": place[0] if case is None else clean(str(case)),
        "repeat": place[1] if repeat is None else repeat,
        "source": line.get("source") or "human",
        "annotator": _clean(line.get("annotator")),
        "name": clean(str(line["name"])),
        "value_type": None if value is None else kind,
        "value": float(value) if isinstance(value, (int, float)) else None,
        "label": _clean(label),
        "passed": passed,
        "direction": direction,
        "status": line.get("status") or "scored",
        "explanation": _clean(line.get("explanation")),
        "inclusion_probability": None if probability is None else float(cast("float", probability)),
        "judge_version": _clean(line.get("rubric_version")),
        "latency_ms": None if seconds is None else 1000 * float(cast("float", seconds)),
        "metadata": json_column(line["metadata"]) if line.get("metadata") else None,
    }


def _labelled(row: Line) -> list[list[object]]:
    """What a label says besides; nothing where it says nothing, so that other lines keep their ids."""
    found = [row[key] for key in _LABELLED]
    return [found] if any(value is not None for value in found) else []


def _target(row: Line) -> tuple[object, ...]:
    """What a line speaks of; two lines with the same one cannot both hold."""
    return tuple(row.get(key) for key in ("trace_id", "span_id", "name", "annotator"))


def _same(before: Line, row: Line) -> bool:
    return all(before.get(key) == row.get(key) for key in (*_SAYS, *_LABELLED, "case_id", "repeat"))


def _run(store: Store, name: str) -> RunRecord | None:
    try:
        found = store.catalog.runs.find(name)
    except NotFoundError:
        return None
    if name not in {found.name, found.id}:
        return None  # the beginning of another run's id
    if found.kind != "import":
        raise UsageError(f"there is a run {name} already, and it is no import; give --run another name")
    return found


def _traces(store: Store, ids: set[str]) -> dict[str, tuple[object, object]]:
    """Case and repeat of those of the traces that the store holds."""
    store.settle()
    found: dict[str, tuple[object, object]] = {}
    wanted = sorted(ids)
    query = 'SELECT trace_id, case_id, "repeat" FROM traces WHERE trace_id IN (SELECT unnest(?::VARCHAR[]))'
    for start in range(0, len(wanted), _AT_ONCE):
        for trace_id, case, repeat in store.sql(query, [wanted[start : start + _AT_ONCE]], settle=False).fetchall():
            found[str(trace_id)] = (case, repeat)
    return found


def _texts(path: Path) -> Iterator[tuple[int, str | dict[str, object]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as file:
            if path.suffix == ".csv":
                yield from _cells(csv.DictReader(file, strict=True))
                return
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the scores in {path}: {error}") from error


def _cells(rows: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows as lines: an empty cell says nothing, and numbers, true and false are what they say."""
    for row in rows:
        if None in row or None in row.values():
            raise UsageError(f"line {rows.line_num} of the CSV has another number of cells than its header")
        yield rows.line_num, {name: _of_cell(name, cell) for name, cell in row.items() if cell.strip()}


def _of_cell(name: str, cell: str) -> object:
    if name not in _PARSED:
        return cell
    if cell.strip().lower() in ("true", "false"):
        return cell.strip().lower() == "true"
    try:
        return json.loads(cell, parse_constant=_no_constant)
    except ValueError:
        return cell


_PARSED = ("value", "passed", "repeat", "metadata", "inclusion_probability", "seconds")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_case(value: object) -> bool:
    return _is_text(value) or (isinstance(value, int) and not isinstance(value, bool))


def _is_repeat(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_value(value: object) -> bool:
    return _is_text(value) or (isinstance(value, (int, float)) and abs(value) < 1e300)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _one_of(words: Sequence[str]) -> Callable[[object], bool]:
    return lambda value: value in words


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "trace_id": (lambda value: isinstance(value, str) and bool(_TRACE.fullmatch(value)), "32 lower-case hex digits"),
    "span_id": (lambda value: isinstance(value, str) and bool(_SPAN.fullmatch(value)), "16 lower-case hex digits"),
    "name": (_is_text, "a text"),
    "value": (_is_value, "a finite number, true, false or a label"),
    "passed": (lambda value: isinstance(value, bool), "true or false"),
    "source": (_one_of(SOURCES), f"one of {', '.join(SOURCES)}"),
    "case_id": (_is_case, "a text or a whole number"),
    "repeat": (_is_repeat, "a whole number from 0"),
    "explanation": (lambda value: isinstance(value, str), "a text"),
    "annotator": (_is_text, "a text"),
    "direction": (_one_of(DIRECTIONS), f"one of {', '.join(DIRECTIONS)}"),
    "status": (_one_of(STATUSES), f"one of {', '.join(STATUSES)}"),
    "metadata": (lambda value: isinstance(value, dict), "an object"),
    "inclusion_probability": (lambda value: _is_number(value) and 0 < value <= 1, "a number above 0, up to 1"),
    "rubric_version": (_is_text, "a text"),
    "seconds": (lambda value: _is_number(value) and value >= 0, "a number from 0"),
}


def _checked(value: object) -> Line:
    if not isinstance(value, dict):
        raise UsageError(f"a score is an object, not {value!r:.80}")
    unknown = sorted(set(value) - set(_CHECKS))
    if unknown:
        raise UsageError(f"unknown: {', '.join(unknown)}; what does not fit elsewhere goes into metadata")
    line = {key: item for key, item in value.items() if item is not None}
    missing = [key for key in ("trace_id", "name") if key not in line and not (key == "trace_id" and "case_id" in line)]
    if missing:
        more = " (or a case_id, where nothing was traced)" if "trace_id" in missing else ""
        raise UsageError(f"{' and '.join(missing)} missing{more}")
    for key, item in line.items():
        holds, wanted = _CHECKS[key]
        if not holds(item):
            raise UsageError(f"{key} must be {wanted}, not {item!r:.80}")
    scored = line.get("status", "scored") == "scored"
    if scored is not ("value" in line):
        raise UsageError("value is missing" if scored else f"a score that is {line['status']} has no value")
    return line if "trace_id" in line else {**line, "trace_id": _own_trace(line)}


def _own_trace(line: Line) -> str:
    """The id that stands for a case of which there is no trace: the same in every run."""
    return _digest(["case", str(line["case_id"]), line.get("repeat") or 0])


def _stands_for_itself(line: Line) -> bool:
    return "case_id" in line and line["trace_id"] == _own_trace(line)


def _no_constant(name: str) -> NoReturn:
    raise UsageError(f"{name} is no number")


def _clean(value: object) -> str | None:
    return None if value is None else clean(str(value))


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(canonical(list(parts)).encode("utf-8", "replace")).hexdigest()[:32]
