"""The views say of many traces what `Trace` says of one; the commands print both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from tracekit.cli import main
from tracekit_collector import log_steps
from tracekit_collector.lake import to_arrow
from tracekit_collector.query import Engine
from tracekit_collector.rows import span_rows
from tracekit_collector.schema import TABLES
from tracekit_collector.store import Store
from tracekit_collector.trace import Trace, assemble
from tracekit_collector.views import VIEWS, newest_traces_sql

from .test_captures import _manifest, log_rows_of, rows_of

SAYS = '[{"role":"assistant","parts":[{"type":"text","content":"30 days."}]}]'
ASKED = '[{"role":"user","parts":[{"type":"text","content":"How long?"}]}]'

# What both say; the text of an error only a trace in hand can tell.
EQUAL = ("name", "status", "agent_name", "agent_version", "session_id", "user_id", "service_name", "environment")
USAGE = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.fixture
def tracer() -> Iterator[tuple[Tracer, InMemorySpanExporter]]:
    """A real tracer, and what it exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "support", "tracekit.project": "demo"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test"), exporter
    provider.shutdown()


def _genai_agent(tracer: Tracer, *, fails: bool = False) -> None:
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.usage.cost": 0.01}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "bot", "gen_ai.agent.version": "4"}
    with tracer.start_as_current_span("invoke_agent bot", attributes={**agent, "session.id": "s-1"}):
        with tracer.start_as_current_span(
            "chat m", attributes={**chat, "gen_ai.usage.input_tokens": 57, "gen_ai.input.messages": ASKED}
        ):
            pass
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        for attempt in ("first", "second"):
            with tracer.start_as_current_span(f"execute_tool search {attempt}", attributes=tool) as span:
                if attempt == "first" or fails:
                    span.record_exception(ValueError("no index"))
                    span.set_status(StatusCode.ERROR)
        with tracer.start_as_current_span(
            "chat m", attributes={**chat, "gen_ai.usage.input_tokens": 96, "gen_ai.output.messages": SAYS}
        ):
            pass


def _openinference_agent(tracer: Tracer) -> None:
    said = "llm.output_messages.0.message."
    with (
        tracer.start_as_current_span(
            "agent", attributes={"openinference.span.kind": "AGENT", "agent.name": "oi", "input.value": "How long?"}
        ),
        tracer.start_as_current_span(
            "ChatCompletion",
            attributes={
                "openinference.span.kind": "LLM",
                "llm.model_name": "m",
                "llm.token_count.prompt": 11,
                "llm.token_count.completion": 3,
                "llm.cost.total": 0.5,
                said + "role": "assistant",
                said + "content": "30 days.",
            },
        ),
    ):
        pass


def _rows(exporter: InMemorySpanExporter) -> list[dict[str, object]]:
    payload = encode_spans(exporter.get_finished_spans()).SerializeToString()
    rows, refusals = span_rows(ExportTraceServiceRequest.FromString(payload), received_ns=1)
    assert refusals == []
    return rows


def test_views_and_traces_agree_on_spans_of_a_real_tracer(
    tracer: tuple[Tracer, InMemorySpanExporter], tmp_path: Path
) -> None:
    _genai_agent(tracer[0])
    _genai_agent(tracer[0], fails=True)
    _openinference_agent(tracer[0])
    _agree(_rows(tracer[1]), tmp_path)


@pytest.mark.parametrize("logs", [False, True], ids=["spans alone", "spans and log records"])
def test_views_and_traces_agree_on_every_capture(logs: bool, shared: Path, tmp_path: Path) -> None:
    folder = shared / "captures"
    captures = _manifest(folder)
    records = [
        {**row, "log_id": f"{place}-{row['log_id']}"}
        for place, capture in enumerate(captures)
        for row in (log_rows_of(capture, folder) if logs else [])
    ]
    _agree([row for capture in captures for row in rows_of(capture, folder)], tmp_path, records)


def test_views_and_traces_agree_on_records_without_spans(shared: Path, tmp_path: Path) -> None:
    folder = shared / "captures"
    records = []
    for capture in _manifest(folder):
        if capture["name"].startswith("claude-code"):
            records += [{**row, "log_id": f"{capture['name']}-{row['log_id']}"} for row in log_rows_of(capture, folder)]
    _agree([], tmp_path, records)


def _agree(rows: list[dict[str, object]], folder: Path, logs: Sequence[dict[str, object]] = ()) -> None:
    by_trace: dict[str, list[dict[str, object]]] = {}
    records: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_trace.setdefault(str(row["trace_id"]), []).append(row)
    for row in logs:
        records.setdefault(str(row["trace_id"]), []).append(row)
    told = by_trace.keys() | ({each for each in records if log_steps.told(records[each])})
    traces = {each: assemble(by_trace.get(each, []), records.get(each, [])) for each in told}
    engine = _engine(rows, folder, logs)
    found = {row["trace_id"]: row for row in engine.run("SELECT * FROM traces").dicts()}
    assert found.keys() == traces.keys()
    for trace_id, trace in traces.items():
        assert _view_facts(found[trace_id]) == _trace_facts(trace)
    calls = engine.run(
        "SELECT trace_id, span_id, status, input_tokens, output_tokens, provider FROM llm_calls"
        " ORDER BY trace_id, span_id"
    )
    assert calls.fetchall() == sorted(
        (each, call.span_id, call.status, call.input_tokens, call.output_tokens, call.provider)
        for each, trace in traces.items()
        for call in trace.model_calls
    )
    tools = engine.run("SELECT trace_id, span_id, status, tool_name FROM tool_calls ORDER BY trace_id, span_id")
    assert tools.fetchall() == sorted(
        (each, call.span_id, call.status, call.name)
        for each, trace in traces.items()
        for call in trace.tool_calls
        if call.span_id is not None
    )
    engine.close()


def _view_facts(row: dict[str, Any]) -> dict[str, object]:
    named = (*EQUAL, *USAGE, "input", "output", "spans", "errors", "model_calls", "tool_calls")
    facts = {name: row[name] for name in named}
    return facts | {"cost_usd": _rounded(row["cost_usd"]), "duration_ms": _rounded(row["duration_ms"])}


def _trace_facts(trace: Trace) -> dict[str, object]:
    return {
        **{name: getattr(trace, name) for name in (*EQUAL, "input", "output")},
        **{name: getattr(trace.usage, name) for name in USAGE},
        "spans": len(trace.spans),
        "errors": sum(span.failed for span in trace.spans),
        "model_calls": len(trace.model_calls),
        "tool_calls": sum(call.span_id is not None for call in trace.tool_calls),
        "cost_usd": _rounded(trace.cost_usd),
        "duration_ms": _rounded(None if trace.duration_ns is None else trace.duration_ns / 1e6),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.12g}")


def _engine(rows: Sequence[dict[str, object]], folder: Path, logs: Sequence[dict[str, object]] = ()) -> Engine:
    engine = Engine(folder)
    for table in TABLES:
        engine.show_rows(f"lake_{table}", to_arrow(table, {"spans": rows, "logs": logs}.get(table, [])))
    engine.define(VIEWS)
    return engine


def test_a_retried_tool_makes_a_failed_call_good_and_an_unmended_one_fails_the_trace(
    tracer: tuple[Tracer, InMemorySpanExporter], tmp_path: Path
) -> None:
    _genai_agent(tracer[0])
    _genai_agent(tracer[0], fails=True)
    engine = _engine(_rows(tracer[1]), tmp_path)
    found = engine.run(
        "SELECT status, errors, tool_calls, input_tokens, cost_usd, error_type FROM traces ORDER BY start_ns"
    )
    assert found.fetchall() == [("ok", 1, 2, 153, 0.02, None), ("error", 2, 2, 153, 0.02, "ValueError")]
    [session] = engine.run("SELECT session_id, traces, errors, input_tokens FROM sessions").fetchall()
    assert session == ("s-1", 2, 1, 306)
    kinds = engine.run("SELECT target, count(*) FROM inferences GROUP BY ALL").fetchall()
    assert kinds == [("model", 4)]
    engine.close()


def _many(count: int, *, rootless: Sequence[int] = ()) -> list[dict[str, object]]:
    rows = []
    for place in range(count):
        base = {"trace_id": f"{place:032x}", "name": "n", "step": "span", "status": "ok", "duration_ns": 5}
        start = 1_000_000_000_000 * (place + 1)
        if place not in rootless:
            rows.append({**base, "span_id": "a", "start_ns": start})
        rows.append({**base, "span_id": "b", "parent_span_id": "a", "start_ns": start + 1, "step": "tool"})
    return rows


@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (3, 0), (3, 2), (10, 0), (50, 0), (5, 8)])
def test_the_newest_traces_are_the_same_whichever_way_they_are_found(limit: int, offset: int, tmp_path: Path) -> None:
    engine = _engine(_many(12, rootless=(4, 9, 11)), tmp_path)

    def run(query: str) -> Sequence[Sequence[object]]:
        return engine.run(query).fetchall()

    quick = run(newest_traces_sql(limit, run, offset=offset))
    slow = run(f"SELECT * FROM traces ORDER BY start_ns DESC, trace_id LIMIT {limit} OFFSET {offset}")
    assert quick == slow
    assert len(quick) == min(limit, 12 - offset)
    engine.close()


@pytest.mark.parametrize("start", [0, 1, 2**62, 2**63 - 1])
def test_hostile_times_do_not_break_a_query(start: int, tmp_path: Path) -> None:
    rows = [
        {"trace_id": "t", "span_id": "a", "step": "llm", "status": "ok", "start_ns": start, "duration_ns": 0},
        {"trace_id": "t", "span_id": "b", "parent_span_id": "x", "step": "tool", "status": "ok", "start_ns": start},
    ]
    engine = _engine(rows, tmp_path)
    for view in VIEWS:
        engine.run(f"SELECT * FROM {view}")
    engine.close()


# The commands


@pytest.fixture
def store(tracer: tuple[Tracer, InMemorySpanExporter], tmp_path: Path) -> Path:
    _genai_agent(tracer[0])
    _genai_agent(tracer[0], fails=True)
    folder = tmp_path / "a store"
    with Store.open(folder) as opened:
        opened.append("spans", _rows(tracer[1]))
    return folder


def test_traces_lists_the_newest_first(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traces", "--store", str(store), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["status"]) for row in found] == [
        ("invoke_agent bot", "error"),
        ("invoke_agent bot", "ok"),
    ]
    assert found[0]["start_ns"] > found[1]["start_ns"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--limit", "1"], 1),
        (["--errors"], 1),
        (["--session", "s-1"], 2),
        (["--session", "'; DROP"], 0),
        (["--where", "tool_calls = 2", "--errors"], 1),
    ],
)
def test_traces_can_be_narrowed(store: Path, capsys: pytest.CaptureFixture[str], words: list[str], count: int) -> None:
    assert main(["traces", "--store", str(store), "--format", "json", *words]) == 0
    assert len(json.loads(capsys.readouterr().out)) == count


def test_a_wrong_condition_is_bad_usage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traces", "--store", str(store), "--where", "no_such_column = 1"]) == 2
    assert "no_such_column" in capsys.readouterr().err


def test_a_trace_is_shown_as_a_tree_with_its_error(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["traces", "--store", str(store), "--format", "json", "--errors"])
    trace_id = json.loads(capsys.readouterr().out)[0]["trace_id"]
    assert main(["trace", trace_id[:12], "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    lines = [line.strip("│├└─ ") for line in shown.splitlines()]
    assert any(line.startswith("✗ invoke_agent bot") and trace_id in line for line in lines)
    assert "error    ValueError: no index" in shown
    assert any(line.startswith(("✓ chat m llm", "· chat m llm")) for line in lines)
    assert "tokens   153 in" in shown
    assert "\x1b" not in shown


def test_a_trace_as_json_is_its_dict(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(store) as opened:
        trace = opened.trace(opened.trace_ids(limit=1)[0])
    assert main(["trace", trace.trace_id, "--store", str(store), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(trace.to_dict()))


def test_a_trace_that_is_not_there_is_bad_usage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "0" * 31 + "1", "--store", str(store)]) == 2
    assert "there is no trace" in capsys.readouterr().err


def test_hostile_content_reaches_the_terminal_as_text_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07[bold red]not markup[/]\u202e"
    row = {"trace_id": "f" * 32, "span_id": "a" * 16, "name": hostile, "step": "agent", "status": "error"}
    row |= {"start_ns": 1, "duration_ns": 2, "input": hostile, "output": hostile, "status_message": hostile}
    with Store.open(tmp_path / "s") as opened:
        opened.append("spans", [row])
    assert main(["trace", "f" * 32, "--store", str(tmp_path / "s")]) == 0
    shown = capsys.readouterr().out
    assert "[bold red]not markup[/]" in shown
    assert not any(character in shown for character in "\x1b\x07\u202e")
