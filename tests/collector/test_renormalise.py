"""Deriving stored rows again, after an upgrade or with a newer price list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tracekit.inbox import SegmentWriter
from tracekit_collector import _span_columns, prices
from tracekit_collector.house import House
from tracekit_collector.normalise import NORMALISER_VERSION
from tracekit_collector.store import Store

LONG = "What is the weather in Bern? " * 20
CALL: dict[str, object] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "' + LONG + '"}]}]',
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def settle(store: Store, *calls: dict[str, object], first: int = 1) -> None:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for number, attributes in enumerate(calls, start=first):
        scoped = group.scope_spans.add()
        scoped.scope.name = f"scope {number % 2}"
        span = scoped.spans.add(trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8, name="chat")
        span.start_time_unix_nano = 1_795_452_121_436_000_000 + 1000 - number
        span.end_time_unix_nano = 1_795_452_121_437_000_000
        for key, value in attributes.items():
            typed = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=str(value))
            span.attributes.add(key=key, value=typed)
    writer = SegmentWriter(store.inbox, "traces")
    writer.append(request.SerializeToString())
    writer.close()
    store.settle()


def rows(store: Store) -> list[dict[str, object]]:
    return store.sql("SELECT * FROM spans ORDER BY span_id", settle=False).dicts()


def unread(span: Any, known: Any) -> dict[str, object]:
    """An older version, which read nothing."""
    return {"step": "span", "normaliser_version": NORMALISER_VERSION - 1}


def test_what_an_older_version_did_not_read_is_read_now(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(_span_columns, "_derived", unread)
        settle(store, CALL, {**CALL, "session.id": "s"}, {})
    assert [row["step"] for row in rows(store)] == ["span", "span", "span"]
    with Store.open(tmp_path / "fresh") as fresh:
        settle(fresh, CALL, {**CALL, "session.id": "s"}, {})
        expected = rows(fresh)
    told: list[int] = []
    before = {row["span_id"]: row["received_at"] for row in rows(store)}
    assert House(store).renormalise(done=told.append) == 3
    assert told == [3]
    for row, other in zip(rows(store), expected, strict=True):
        assert row.pop("received_at") == before[row["span_id"]]
        del other["received_at"]
        assert row == other
    assert rows(store)[1]["session_id"] == "s"


def test_it_is_done_once_and_goes_on_where_it_was_interrupted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(_span_columns, "_derived", unread)
        settle(store, CALL)
        settle(store, CALL, first=2)

    def interrupt(_rows: int) -> None:
        raise KeyboardInterrupt

    house = House(store)
    with pytest.raises(KeyboardInterrupt):
        house.renormalise(done=interrupt)
    assert [row["step"] for row in rows(store)].count("llm") == 1
    assert house.renormalise() == 1
    assert house.renormalise() == 0
    assert [row["input_tokens"] for row in rows(store)] == [1000, 1000]


def test_a_row_that_is_damaged_costs_only_itself(store: Store) -> None:
    settle(store, CALL, {**CALL, "gen_ai.usage.input_tokens": 5})
    broken = {**rows(store)[0], "attributes": "{ no JSON", "span_id": "ff" * 8, "step": "as it was"}
    store.append("spans", [broken])
    House(store).compact()
    assert House(store).renormalise(every=True) == 3
    assert [(row["step"], row["input_tokens"]) for row in rows(store)] == [
        ("llm", 1000),
        ("llm", 5),
        ("as it was", 1000),
    ]


def test_a_new_price_list_prices_what_the_old_one_did_and_leaves_what_was_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(store, CALL, {**CALL, "gen_ai.usage.cost": "0.5"}, {**CALL, "gen_ai.request.model": "nobodys"})
    first = rows(store)
    told = [row["cost_usd"] for row in first]
    assert House(store).reprice() == 0
    with monkeypatch.context() as older:
        older.setattr(prices, "source", lambda: "genai-prices 0.0.1")
        prices._known.clear()
        assert House(store).reprice() == 3
    assert str(rows(store)[0]["cost_source"]).startswith("genai-prices 0.0.1 ")
    prices._known.clear()
    assert House(store).reprice() == 3
    assert rows(store) == first
    assert (told[0], told[2]) == (pytest.approx(0.00021), None)
