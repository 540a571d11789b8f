"""Scores out of a run, as the JSONL that `tracekit_evaluators.imports` reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import StoreError
from tracekit_evaluators.runner import scores_of
from tracekit_evaluators.score import json_column

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_AS_THEY_ARE = ("trace_id", "span_id", "name", "passed", "source", "case_id", "repeat", "explanation", "annotator")


def export_scores(store: Store, run_id: str, path: str | os.PathLike[str] | None = None) -> int:
    """Write a run's scores as JSONL.

    Args:
        store: Where the run is.
        run_id: Its id.
        path: The file; stdout when not given.

    Returns:
        How many lines were written.

    Raises:
        StoreError: The file cannot be written.
    """
    lines = list(_lines(store, run_id))
    text = "".join(line + "\n" for line in lines)
    if path is None:
        sys.stdout.write(text)
        return len(lines)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return len(lines)


def _lines(store: Store, run_id: str) -> Iterator[str]:
    for row in scores_of(store, run_id):
        line = {key: row[key] for key in _AS_THEY_ARE if row[key] is not None}
        if row["status"] == "scored":
            line["value"] = _value(row)
        else:
            line["status"] = row["status"]
        if row["direction"] is not None:
            line["direction"] = row["direction"]
        if row["metadata"] is not None:
            line["metadata"] = json.loads(str(row["metadata"]))
        yield json_column(line)


def _value(row: Mapping[str, object]) -> object:
    if row["value_type"] == "bool":
        return row["value"] == 1.0
    return row["label"] if row["value"] is None else row["value"]
