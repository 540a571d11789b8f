"""Spans and annotations of Phoenix, in the shapes that it gives, imported and found again."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracekit.errors import UsageError
from tracekit_collector.imports.phoenix import import_phoenix
from tracekit_collector.store import Store

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    written = io.StringIO()
    table = csv.DictWriter(written, list(dict.fromkeys(key for row in rows for key in row)))
    table.writeheader()
    for row in rows:
        table.writerow(
            {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in row.items()}
        )
    path.write_text(written.getvalue(), encoding="utf-8")
    return path


PHOENIX = [
    {
        "context.trace_id": TRACE,
        "context.span_id": "00f067aa0ba902b7",
        "parent_id": None,
        "name": "agent",
        "span_kind": "AGENT",
        "start_time": datetime.datetime(2026, 5, 1, 10, tzinfo=datetime.timezone.utc),
        "end_time": datetime.datetime(2026, 5, 1, 10, 0, 2, tzinfo=datetime.timezone.utc),
        "status_code": "ERROR",
        "status_message": "gave up",
        "events": [
            {
                "name": "exception",
                "timestamp": "2026-05-01T10:00:01+00:00",
                "attributes": {"exception.type": "ValueError", "exception.message": "no"},
            }
        ],
        "attributes.openinference.span.kind": "AGENT",
        "attributes.session.id": "s-1",
        "attributes.input.value": "When?",
        "attributes.metadata": {"tier": "gold"},
        "attributes.llm.model_name": None,
        "attributes.llm.token_count.prompt": float("nan"),
        "attributes.llm.input_messages": None,
    },
    {
        "context.trace_id": TRACE,
        "context.span_id": "b7ad6b7169203331",
        "parent_id": "00f067aa0ba902b7",
        "name": "chat",
        "span_kind": "LLM",
        "start_time": datetime.datetime(2026, 5, 1, 10, 0, 1, tzinfo=datetime.timezone.utc),
        "end_time": datetime.datetime(2026, 5, 1, 10, 0, 2, tzinfo=datetime.timezone.utc),
        "status_code": "OK",
        "status_message": "",
        "events": [],
        "attributes.openinference.span.kind": "LLM",
        "attributes.session.id": None,
        "attributes.input.value": None,
        "attributes.metadata": None,
        "attributes.llm.model_name": "gpt-4o-mini",
        "attributes.llm.token_count.prompt": 12.0,
        "attributes.llm.input_messages": [{"message.role": "user", "message.content": "When?"}],
    },
]
ANNOTATIONS = [
    {
        "span_id": "b7ad6b7169203331",
        "annotation_name": "helpful",
        "annotator_kind": "HUMAN",
        "result.label": "yes",
        "result.score": 1.0,
        "result.explanation": "clear",
        "metadata": {"k": "v"},
        "id": "A1",
        "created_at": "2026-05-01T11:00:00+00:00",
    },
    {
        "span_id": "b7ad6b7169203331",
        "annotation_name": "tone",
        "annotator_kind": "LLM",
        "result.label": "polite",
        "result.score": None,
        "result.explanation": None,
        "metadata": {},
        "id": "A2",
        "created_at": "2026-05-01T11:00:01+00:00",
    },
    {
        "span_id": "ffffffffffffffff",
        "annotation_name": "tone",
        "annotator_kind": "LLM",
        "result.label": "rude",
        "result.score": None,
        "result.explanation": None,
        "metadata": {},
        "id": "A3",
        "created_at": "2026-05-01T11:00:01+00:00",
    },
]


def plain(row: dict[str, object]) -> dict[str, object]:
    times = {key: value.isoformat() for key, value in row.items() if isinstance(value, datetime.datetime)}
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in {**row, **times}.items()
    }


def parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    kept = [{key: None if value in ({}, []) else value for key, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), path)
    return path


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv", "api"])
def test_phoenix_spans_and_annotations_come_whatever_the_form(form: str, store: Store, tmp_path: Path):
    if form == "parquet":
        files = [parquet(tmp_path / "spans.parquet", PHOENIX), parquet(tmp_path / "notes.parquet", ANNOTATIONS)]
    elif form == "jsonl":
        files = [
            lines(tmp_path / "spans.jsonl", [plain(row) for row in PHOENIX]),
            lines(tmp_path / "notes.jsonl", ANNOTATIONS),
        ]
    elif form == "csv":
        files = [
            as_csv(tmp_path / "spans.csv", [plain(row) for row in PHOENIX]),
            as_csv(tmp_path / "notes.csv", ANNOTATIONS),
        ]
    else:
        files = [tmp_path / "spans.json", tmp_path / "notes.json"]
        files[0].write_text(json.dumps({"data": [of_the_api(plain(row)) for row in PHOENIX], "next_cursor": None}))
        notes = [
            {
                **{key: row[key] for key in ("id", "span_id", "annotator_kind", "metadata", "created_at")},
                "name": row["annotation_name"],
                "result": {name: row[f"result.{name}"] for name in ("label", "score", "explanation")},
            }
            for row in ANNOTATIONS
        ]
        files[1].write_text(json.dumps({"data": notes}))
    told = import_phoenix(store, files, project="shop")
    assert told.kinds["spans"].new == 2
    assert told.kinds["scores"].new == 2
    assert dict(told.kinds["scores"].skipped) == {"its span is neither in these files nor in the store": 1}
    query = (
        "SELECT span_id, parent_span_id, name, step, status, error_type, session_id, model_requested, input_tokens, "
        "project, dialect FROM spans ORDER BY start_ns"
    )
    assert store.sql(query).fetchall() == [
        ("00f067aa0ba902b7", None, "agent", "agent", "error", "ValueError", "s-1", None, None, "shop", "openinference"),
        (
            "b7ad6b7169203331",
            "00f067aa0ba902b7",
            "chat",
            "llm",
            "ok",
            None,
            None,
            "gpt-4o-mini",
            12,
            "shop",
            "openinference",
        ),
    ]
    messages = store.sql("SELECT input_messages FROM spans WHERE name = 'chat'").fetchone()
    assert json.loads(str(messages and messages[0])) == [
        {"role": "user", "parts": [{"type": "text", "content": "When?"}]}
    ]
    scores = store.sql("SELECT name, value, label, source, explanation, span_id FROM scores ORDER BY name").fetchall()
    assert scores == [
        ("helpful", 1.0, "yes", "human", "clear", "b7ad6b7169203331"),
        ("tone", None, "polite", "llm", None, "b7ad6b7169203331"),
    ]
    assert all(kind.new == 0 for kind in import_phoenix(store, files, project="shop").kinds.values())
    alone = import_phoenix(store, files[1:], project="shop")
    assert alone.kinds["scores"].known == 2


def of_the_api(row: dict[str, object]) -> dict[str, object]:
    attributes = {
        key.removeprefix("attributes."): value
        for key, value in row.items()
        if key.startswith("attributes.") and value is not None
    }
    rest = {key: value for key, value in row.items() if not key.startswith(("attributes.", "context."))}
    return {
        **rest,
        "context": {"trace_id": row["context.trace_id"], "span_id": row["context.span_id"]},
        "attributes": attributes,
    }


def test_a_phoenix_file_without_spans_is_refused(store: Store, tmp_path: Path):
    with pytest.raises(UsageError, match="no span and no annotation"):
        import_phoenix(store, [lines(tmp_path / "a.jsonl", [{"hello": "world"}])])
