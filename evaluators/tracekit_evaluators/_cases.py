"""Which case a trace tried, and what was expected of it: from a dataset, or from another run's metadata."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators._case_files import read_lines
from tracekit_evaluators.score import json_column
from tracekit_evaluators.subject import Case, input_digest

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

DatasetSource = str | os.PathLike[str] | Iterable[Mapping[str, object]]
_MOST_FAULTS = 10


@dataclass
class Told:
    """What another run's scores tell of a trace or a case.

    Args:
        expected: Their metadata, together.
        case_id: The case that they name.
        repeat: The try that they name.
    """

    expected: dict[str, object] = field(default_factory=dict)
    case_id: str | None = None
    repeat: int | None = None


@dataclass
class Cases:
    """Gives each trace its case.

    Args:
        dataset: The dataset's rows; `None` where there is no dataset, and every trace counts.
        by_trace: What another run tells of each trace.
        by_case: What it tells of each case, for traces that it does not name.
    """

    dataset: list[dict[str, object]] | None = None
    by_trace: Mapping[str, Told] = field(default_factory=dict)
    by_case: Mapping[str, Told] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        rows = self.dataset or []
        self._by_id = {str(row["case_id"]): row for row in rows if row.get("case_id") is not None}
        self._by_input = {input_digest(row["input"]): row for row in rows if row.get("input") is not None}

    def of(self, trace: Trace) -> Case | None:
        """The case of a trace; `None` where there is a dataset and the trace tried none of its cases."""
        told = self.by_trace.get(trace.trace_id) or self.by_case.get(trace.case_id or "") or Told()
        expected = dict(told.expected)
        row: Mapping[str, object] = {}
        if self.dataset is not None:
            found = self._row(trace)
            if found is None:
                return None
            row = found
            expected.update(_expectations(row.get("expected")))
            self.tried.add(str(id(row)))
        tags, weight = row.get("tags"), row.get("weight")
        named = (row.get("case_id"), trace.case_id, told.case_id)
        return Case(
            id=next((str(case) for case in named if case is not None), None),
            repeat=told.repeat if trace.repeat is None else trace.repeat,
            expected=expected or None,
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, (list, tuple)) else (),
            weight=float(weight) if isinstance(weight, (int, float)) else 1.0,
            golden=row.get("golden") is True,
        )

    def untried(self) -> int:
        """How many of the dataset's cases no trace has tried so far."""
        return sum(1 for row in self.dataset or () if str(id(row)) not in self.tried)

    def _row(self, trace: Trace) -> Mapping[str, object] | None:
        if trace.case_id is not None and trace.case_id in self._by_id:
            return self._by_id[trace.case_id]
        return None if trace.input is None or not self._by_input else self._by_input.get(input_digest(trace.input))


def read_dataset(source: DatasetSource) -> list[dict[str, object]]:
    """The cases of a dataset.

    Args:
        source: A JSONL, CSV or Parquet file, or mappings: `case_id`, `input`, `expected` (a mapping of expectations by
            name; anything else is the expected `output`), `tags`, `splits`, `weight` (how much the case counts, above
            0), `golden` (whether it must always pass), `metadata`.

    Raises:
        UsageError: The file cannot be read, or a line is no case; the message names the lines.

    Example:
        >>> read_dataset([{"case_id": "a", "expected": "yes"}])
        [{'case_id': 'a', 'expected': 'yes'}]
    """
    if isinstance(source, (str, os.PathLike)):
        numbered: Iterator[tuple[int, object]] = read_lines(source)
        where = os.fspath(source)
    else:
        numbered = enumerate(source, start=1)
        where = "the dataset"
    rows: list[dict[str, object]] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, value in numbered:
        fault = value if isinstance(value, ValueError) else _fault(value, number, seen)
        if fault is None and isinstance(value, Mapping):
            rows.append({str(key): item for key, item in value.items()})
        else:
            faults.append(f"line {number}: {fault}")
    if faults:
        more = f"\n  and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise UsageError(f"{where} is no dataset:\n  " + "\n  ".join(faults[:_MOST_FAULTS]) + more)
    if not rows:
        raise UsageError(f"{where} holds no cases")
    return rows


def dataset_bytes(rows: Iterable[Mapping[str, object]]) -> bytes:
    """A dataset as it is kept: JSONL."""
    return "".join(json_column(row) + "\n" for row in rows).encode()


def expectations_of(store: Store, run_id: str) -> tuple[dict[str, Told], dict[str, Told]]:
    """What the scores of a run tell: their metadata as expectations, by trace id and by case id."""
    query = (
        'SELECT trace_id, case_id, "repeat", metadata FROM scores '
        "WHERE run_id = ? AND metadata IS NOT NULL ORDER BY time, score_id"
    )
    by_trace: dict[str, Told] = {}
    by_case: dict[str, Told] = {}
    for trace_id, case_id, repeat, text in store.sql(query, [run_id]).fetchall():
        metadata = _object(str(text))
        if trace_id is not None:
            told = by_trace.setdefault(str(trace_id), Told())
            told.expected.update(metadata)
            told.case_id = told.case_id if case_id is None else str(case_id)
            told.repeat = repeat if isinstance(repeat, int) else told.repeat
        if case_id is not None:
            by_case.setdefault(str(case_id), Told()).expected.update(metadata)
    return by_trace, by_case


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _expectations(expected: object) -> Mapping[str, object]:
    if expected is None:
        return {}
    return expected if isinstance(expected, Mapping) else {"output": expected}


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _are_words(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.strip() for each in value)


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "case_id": (
        lambda value: isinstance(value, (str, int)) and not isinstance(value, bool),
        "a text or a whole number",
    ),
    "tags": (_are_words, "a list of words"),
    "splits": (_are_words, "a list of words"),
    "weight": (_is_weight, "a number above 0"),
    "golden": (lambda value: isinstance(value, bool), "true or false"),
    "metadata": (lambda value: isinstance(value, Mapping), "an object"),
}


def _fault(value: object, number: int, seen: dict[str, int]) -> str | None:
    if not isinstance(value, Mapping):
        return f"a case is an object with case_id or input, not {value!r:.80}"
    case = value.get("case_id")
    if case is None and value.get("input") is None:
        return "a case needs case_id or input, so that traces can be matched to it"
    for name, (holds, wanted) in _CHECKS.items():
        if value.get(name) is not None and not holds(value[name]):
            return f"{name} must be {wanted}, not {value[name]!r:.80}"
    key = f"input:{input_digest(value['input'])}" if case is None else f"case:{case}"
    if key in seen:
        return f"the same case as line {seen[key]}"
    seen[key] = number
    return None
