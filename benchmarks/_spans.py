"""Made spans for benchmarks, as Arrow columns: agents that call models and tools, ten spans a trace, over some days."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracekit_collector.schema import SCHEMA_VERSION, SPANS

SPANS_A_TRACE = 10
TRACES_A_SESSION = 3
DAY_NS = 86_400 * 10**9
FIRST_NS = 1_763_942_400 * 10**9  # 2025-11-24, midnight

# One trace: an agent, a retrieval, and models and tools in turns, each so many ms after the trace's start.
_STEPS = ("agent", "retriever", "llm", "tool", "llm", "tool", "llm", "tool", "llm", "tool")
_BEGIN_MS = (0, 5, 60, 900, 1_000, 2_100, 2_200, 3_300, 3_400, 4_600)
_NAMES = {"agent": "invoke_agent support", "retriever": "search handbook", "llm": "chat", "tool": "execute_tool"}
_TOOLS = ("look_up_order", "refund", "send_mail", "search_web", "read_file")
_MODELS = ("gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-flash")
_WORDS = 4_000


def tables(spans: int, *, days: int = 7, seed: int = 1, rows: int = 500_000) -> Iterator[pa.Table]:
    """The spans in order of time, `rows` at a time and no two dates in one table.

    About 300 bytes of a span's text differ from span to span; 1 % of the spans, and so some 4 % of the traces' last
    calls, failed.

    Args:
        spans: How many, rounded down to whole traces.
        days: Over how many days they are spread evenly.
        seed: Of everything that is drawn.
        rows: The most that one table holds.
    """
    rng = np.random.default_rng(seed)
    text = _Text(rng)
    traces = spans // SPANS_A_TRACE
    for day in range(days):
        first, last = traces * day // days, traces * (day + 1) // days
        for start in range(first, last, rows // SPANS_A_TRACE):
            count = min(rows // SPANS_A_TRACE, last - start)
            began = (FIRST_NS + day * DAY_NS) + (np.arange(start, start + count) - first) * (
                (DAY_NS - 60 * 10**9) // max(1, last - first)
            )
            yield _table(rng, text, first=start, began=began)


class _Text:
    """Sentences of words that no two spans share in the same order."""

    def __init__(self, rng: np.random.Generator) -> None:
        letters = rng.integers(97, 123, (_WORDS, 9), dtype=np.uint8)
        self._words = pa.array([bytes(each).decode()[: 3 + number % 7] for number, each in enumerate(letters)])
        self._rng = rng

    def of(self, count: int, words: int) -> pa.Array:
        columns = [self._words.take(pa.array(self._rng.integers(0, _WORDS, count))) for _ in range(words)]
        return pc.binary_join_element_wise(*columns, " ")


def _table(rng: np.random.Generator, text: _Text, *, first: int, began: np.ndarray) -> pa.Table:
    traces, count = len(began), len(began) * SPANS_A_TRACE
    place = np.tile(np.arange(SPANS_A_TRACE), traces)
    start_ns = np.repeat(began, SPANS_A_TRACE) + np.array(_BEGIN_MS)[place] * 1_000_000 + rng.integers(0, 10**6, count)
    duration = (rng.lognormal(0, 0.7, count) * np.where(place == 0, 5_000, 500) * 1e6).astype(np.int64)
    steps = pa.array(_STEPS).take(pa.array(place))
    failed = rng.random(count) < 0.01
    is_llm, is_tool = np.isin(place, (2, 4, 6, 8)), np.isin(place, (3, 5, 7, 9))
    number = np.repeat(np.arange(first, first + traces), SPANS_A_TRACE)
    trace_ids, span_ids = _hex(rng, traces, 16), _hex(rng, count, 8)
    roots = span_ids.take(pa.array(np.repeat(np.arange(traces) * SPANS_A_TRACE, SPANS_A_TRACE)))
    tool = pa.array(_TOOLS).take(pa.array(rng.integers(0, len(_TOOLS), count)))
    said, asked = text.of(count, 16), text.of(count, 12)
    tokens = rng.integers(100, 4_000, count)
    tenant = pc.binary_join_element_wise("t-", pa.array(number % 5_000).cast(pa.string()), "")
    columns: dict[str, object] = {
        "date": pa.array(start_ns // DAY_NS).cast(pa.int32()).cast(pa.date32()),
        "trace_id": trace_ids.take(pa.array(np.repeat(np.arange(traces), SPANS_A_TRACE))),
        "span_id": span_ids,
        "parent_span_id": _where(place > 0, roots),
        "name": pa.array([_NAMES[step] for step in _STEPS]).take(pa.array(place)),
        "kind": pa.array(["internal"]).take(pa.array(np.zeros(count, int))),
        "step": steps,
        "start_time": pa.array(start_ns // 1000).cast(pa.timestamp("us")),
        "start_ns": start_ns,
        "duration_ns": duration,
        "status": pa.array(["unset", "error"]).take(pa.array(failed.astype(int))),
        "status_message": _where(failed, text.of(count, 4)),
        "error_type": _where(failed, _same("TimeoutError", count)),
        "service_name": _same("support", count),
        "project": pa.array(["shop", "help"]).take(pa.array(number % 2)),
        "environment": _same("production", count),
        "agent_name": _where(place == 0, _same("support", count)),
        "agent_version": _where(place == 0, pa.array(["1", "2", "3"]).take(pa.array(number * 3 // (number.max() + 1)))),
        "session_id": pc.binary_join_element_wise("s-", pa.array(number // TRACES_A_SESSION).cast(pa.string()), ""),
        "user_id": pc.binary_join_element_wise("u-", pa.array(number % 9_973).cast(pa.string()), ""),
        "input": _where(place < 2, asked),
        "output": _where(place < 2, said),
        "input_messages": _where(is_llm, _message("user", asked)),
        "output_messages": _where(is_llm, _message("assistant", said)),
        "provider": _where(is_llm, _same("openai", count)),
        "model": _where(is_llm, pa.array(_MODELS).take(pa.array(number % len(_MODELS)))),
        "input_tokens": _where(is_llm, pa.array(tokens)),
        "output_tokens": _where(is_llm, pa.array(tokens // 7)),
        "cost_usd": _where(is_llm, pa.array(tokens * 1e-6)),
        "tool_name": _where(is_tool, tool),
        "tool_arguments": _where(is_tool, _json("query", asked)),
        "tool_result": _where(is_tool, said),
        "attributes": pc.binary_join_element_wise(
            '{"app.tenant":"', tenant, '","app.note":"', text.of(count, 3), '"}', ""
        ),
        "resource": _same('{"attributes":{"service.name":"support"}}', count),
        "scope": _same('{"name":"tracekit"}', count),
        "dialect": _same("otel_genai", count),
        "normaliser_version": np.ones(count, np.int32),
        "received_at": pa.array((start_ns + duration) // 1000).cast(pa.timestamp("us")),
        "schema_version": np.full(count, SCHEMA_VERSION, np.int32),
    }
    filled = [
        pa.nulls(count, field.type) if field.name not in columns else _as(columns[field.name], field.type)
        for field in SPANS
    ]
    return pa.Table.from_arrays(filled, schema=SPANS)


def _hex(rng: np.random.Generator, count: int, size: int) -> pa.Array:
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, count * size * 2, dtype=np.uint8)]
    return (
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(size * 2), count, [None, pa.py_buffer(digits.tobytes())])
        .cast(pa.binary())
        .cast(pa.string())
    )


def _where(mask: np.ndarray, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(mask), values, pa.scalar(None, values.type))


def _same(value: str, count: int) -> pa.Array:
    return pa.array([value]).take(pa.array(np.zeros(count, int)))


def _message(role: str, content: pa.Array) -> pa.Array:
    before = f'[{{"role":"{role}","parts":[{{"type":"text","content":"'
    return pc.binary_join_element_wise(before, content, '"}]}]', "")


def _json(key: str, value: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(f'{{"{key}":"', value, '"}', "")


def _as(values: object, kind: pa.DataType) -> pa.Array:
    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    return array.cast(kind)
