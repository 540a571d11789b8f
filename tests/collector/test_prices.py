"""What a model call costs."""

from __future__ import annotations

import datetime
import itertools
import time
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from tracekit_collector.prices import add_cost, price
from tracekit_collector.store import Store

AT = int(datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.timezone.utc).timestamp()) * 10**9
MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-audio"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),
    ("perplexity", "sonar"),
    ("perplexity", "sonar-deep-research"),
]


def call(**more: object) -> dict[str, object]:
    columns: dict[str, object] = {"step": "llm", "provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000}
    return {**columns, "output_tokens": 100, **more}


def cost(columns: dict[str, object], attributes: dict[str, object] | None = None) -> tuple[object, object]:
    add_cost(columns, attributes or {}, AT)
    return columns.get("cost_usd"), columns.get("cost_source")


def test_a_call_is_priced_and_the_list_and_its_date_are_named() -> None:
    usd, source = cost(call())
    assert usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.60e-6)
    assert str(source).startswith("genai-prices ")
    assert str(source).endswith(" 2026-11-01")


def test_cached_tokens_cost_what_cached_tokens_cost() -> None:
    assert cost(call(cached_tokens=600))[0] == pytest.approx(400 * 0.15e-6 + 600 * 0.075e-6 + 100 * 0.60e-6)


def test_tokens_written_to_the_cache_cost_more() -> None:
    columns = call(provider="anthropic", model="claude-sonnet-4-5", cache_write_tokens=500)
    assert cost(columns)[0] == pytest.approx(500 * 3e-6 + 500 * 3.75e-6 + 100 * 15e-6)


def test_audio_tokens_cost_what_audio_costs() -> None:
    """By the list: text 2.5 and 10, audio 32 and 64 dollars a million."""
    attributes = {"llm.token_count.prompt_details.audio": 400, "gen_ai.usage.audio.output_tokens": 50}
    usd = 600 * 2.5e-6 + 400 * 32e-6 + 50 * 10e-6 + 50 * 64e-6
    assert cost(call(model="gpt-audio"), attributes)[0] == pytest.approx(usd)


def test_a_price_in_the_payload_wins() -> None:
    assert cost(call(cost_usd=0.5, cost_source="reported")) == (0.5, "reported")


@pytest.mark.parametrize(
    "more",
    [
        {"model": "nobodys-model"},
        {"model": None},
        {"provider": "somebody-local"},
        {"input_tokens": None},
        {"output_tokens": None},
        {"step": "agent"},
        {"model": "whisper-1"},
    ],
)
def test_what_is_not_known_has_no_cost(more: dict[str, object]) -> None:
    assert cost(call(**more)) == (None, None)


def test_an_embedding_writes_no_tokens() -> None:
    columns = call(step="embedding", model="text-embedding-3-small", output_tokens=None)
    assert cost(columns)[0] == pytest.approx(1000 * 0.02e-6)


def test_a_provider_goes_by_our_name_of_it() -> None:
    assert cost(call(provider="google (gemini)", model="gemini-2.5-pro"))[0] is not None
    assert cost(call(provider="azure.ai.openai"))[0] == pytest.approx(0.00021)


@given(
    model=st.sampled_from(MODELS),
    read=st.integers(0, 400_000),
    wrote=st.integers(0, 50_000),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1)),
    day=st.integers(-700, 0),
    hour=st.integers(0, 23),
)
def test_the_price_is_the_librarys_own(
    model: tuple[str, str], read: int, wrote: int, shares: tuple[float, float, float], day: int, hour: int
) -> None:
    """Our numbers a token give what `genai-prices` gives: tiers, dates and hours of the day included."""
    cached, written, thought = int(read * shares[0]), int(read * shares[1]), int(wrote * shares[2])
    at = AT + (day * 24 + hour - 12) * 3600 * 10**9
    usage = Usage(
        input_tokens=read,
        output_tokens=wrote,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        **({"output_reasoning_tokens": thought} if model[1] == "sonar-deep-research" else {}),
    )
    moment = datetime.datetime.fromtimestamp(at / 1e9, datetime.timezone.utc)
    theirs = calc_price(usage, model[1], provider_id=model[0], genai_request_timestamp=moment)
    tokens = {"cache_write_tokens": written, "reasoning_tokens": thought}
    ours = price(model[1], read, wrote, cached, provider=model[0], at_ns=at, **tokens)  # type: ignore[arg-type]
    assert ours is not None
    assert ours.usd == pytest.approx(float(theirs.total_price), abs=1e-9)


def test_pricing_a_span_takes_microseconds() -> None:
    columns, attributes = call(cached_tokens=10), {"a": 1}
    add_cost(dict(columns), attributes, AT)
    least = min(_seconds(columns, attributes) for _ in range(5))
    assert least < 10e-6  # 2 µs on a quiet machine


@pytest.mark.parametrize(
    ("agent", "calls", "cost"),
    [
        (None, [("listed", 0.25), ("listed", 0.5)], 0.75),
        (2.0, [("listed", 0.25), ("listed", 0.5)], 2.0),
        (2.0, [("listed", 0.25), ("reported", 0.5)], 0.75),
        (None, [("reported", 0.25), (None, None)], 0.25),
        (None, [(None, None)], None),
    ],
)
def test_what_a_payload_says_of_the_whole_wins_over_parts_from_a_list(
    tmp_path: Path, agent: float | None, calls: list[tuple[str | None, float | None]], cost: float | None
) -> None:
    """The same in `Trace` and in the view `traces`."""
    at = {"trace_id": "1" * 32, "start_time": datetime.datetime(2026, 11, 1), "status": "ok", "duration_ns": 5}
    told = {"cost_usd": agent, "cost_source": None if agent is None else "reported"}
    rows = [{**at, **told, "span_id": "a" * 16, "name": "agent", "step": "agent", "start_ns": 1}]
    for number, (source, usd) in enumerate(calls, start=2):
        listed = "genai-prices 0.2.3 2026-11-01" if source == "listed" else source
        call = {"cost_usd": usd, "cost_source": listed, "output": f"answer {number}", "parent_span_id": "a" * 16}
        rows.append({**at, **call, "span_id": f"{number:016x}", "name": "chat", "step": "llm", "start_ns": number})
    with Store.open(tmp_path / "store") as store:
        store.append("spans", rows)
        assert store.trace("1" * 32).cost_usd == cost
        assert store.sql("SELECT cost_usd FROM traces").fetchall() == [(cost,)]


def _seconds(columns: dict[str, object], attributes: dict[str, object]) -> float:
    spans = [dict(columns) for _ in range(2000)]
    began = time.process_time()
    for span, at in zip(spans, itertools.count(AT), strict=False):
        add_cost(span, attributes, at)
    return (time.process_time() - began) / 2000
