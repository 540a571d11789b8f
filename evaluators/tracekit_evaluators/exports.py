"""Scores out of a run, as the JSONL or CSV that `tracekit_evaluators.imports` reads."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import StoreError
from tracekit_evaluators.runner import scores_of
from tracekit_evaluators.score import json_column

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_AS_THEY_ARE = ("trace_id", "span_id", "name", "passed", "source", "case_id", "repeat", "explanation", "annotator")
COLUMNS = (*_AS_THEY_ARE[:3], "value", "status", "direction", *_AS_THEY_ARE[3:])
COLUMNS_OF_LABELS = ("inclusion_probability", "rubric_version", "seconds", "metadata")


def export_scores(
    store: Store, run_id: str, path: str | os.PathLike[str] | None = None, *, kind: str | None = None
) -> int:
    """Write a run's scores as JSONL or CSV.

    Args:
        store: Where the run is.
        run_id: Its id.
        path: The file; stdout when not given.
        kind: `jsonl` or `csv`; what the file's name says, else `jsonl`, when not given.

    Returns:
        How many lines were written.

    Raises:
        StoreError: The file cannot be written.
    """
    lines = list(_lines(store, run_id))
    as_csv = kind == "csv" or (kind is None and path is not None and os.fspath(path).endswith(".csv"))
    text = _csv(lines) if as_csv else "".join(json_column(line) + "\n" for line in lines)
    if path is None:
        sys.stdout.write(text)
        return len(lines)
    try:
        Path(path).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StoreError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return len(lines)


def _lines(store: Store, run_id: str) -> Iterator[dict[str, object]]:
    for row in scores_of(store, run_id):
        line = {key: row[key] for key in (*_AS_THEY_ARE, "inclusion_probability") if row[key] is not None}
        if row["status"] == "scored":
            line["value"] = _value(row)
        else:
            line["status"] = row["status"]
        if row["direction"] is not None:
            line["direction"] = row["direction"]
        if row["metadata"] is not None:
            line["metadata"] = json.loads(str(row["metadata"]))
        if row["source"] in ("human", "user"):
            # Of a person, the judge's version is the rubric's, and its latency the time that the answer took.
            latency = row["latency_ms"]
            line.update({"rubric_version": row["judge_version"]} if row["judge_version"] is not None else {})
            line.update({"seconds": latency / 1000} if isinstance(latency, (int, float)) else {})
        yield line


def _csv(lines: Sequence[Mapping[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, (*COLUMNS, *COLUMNS_OF_LABELS), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _cell(value) for name, value in line.items()})
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_column(value) if isinstance(value, (dict, list)) else value


def _value(row: Mapping[str, object]) -> object:
    if row["value_type"] == "bool":
        return row["value"] == 1.0
    return row["label"] if row["value"] is None else row["value"]
