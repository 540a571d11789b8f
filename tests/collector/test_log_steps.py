"""Log records become content, usage and steps of traces: joined to spans, by session and time, or all by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tracekit.inbox import SegmentWriter
from tracekit_collector.rows import log_rows
from tracekit_collector.store import Store
from tracekit_collector.trace import Trace, assemble

TRACE = bytes(range(16))
SECOND = 10**9
CLAUDE = "com.anthropic.claude_code.events"
Record = tuple[int, Mapping[str, object]]


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        found = AnyValue()
        found.array_value.values.extend(_value(item) for item in value)
        return found
    if isinstance(value, dict):
        found = AnyValue()
        found.kvlist_value.values.extend(KeyValue(key=key, value=_value(item)) for key, item in value.items())
        return found
    return AnyValue(string_value=str(value))


def _logs(
    scope: str,
    records: Sequence[Record],
    *,
    trace_id: bytes = b"",
    span_id: bytes = b"",
    event_name: str = "",
    bodies: Sequence[object] = (),
) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = scope
    for place, (second, attributes) in enumerate(records):
        record = scope_logs.log_records.add(
            time_unix_nano=second * SECOND, trace_id=trace_id, span_id=span_id, event_name=event_name
        )
        record.attributes.extend(KeyValue(key=key, value=_value(value)) for key, value in attributes.items())
        if bodies:
            record.body.CopyFrom(_value(bodies[place]))
    return request


def _rows(request: ExportLogsServiceRequest) -> list[dict[str, object]]:
    return log_rows(request, received_ns=1, digest="d")


def _claude() -> ExportLogsServiceRequest:
    """A turn of Claude Code with tracing off: numbers partly as texts, as it sends them."""
    common: dict[str, object] = {"session.id": "s-1", "prompt.id": "p-1", "user.id": "u-1"}
    request: dict[str, object] = {"model": "claude-x", "cache_creation_tokens": 0, "query_source": "sdk"}
    failed: dict[str, object] = {"event.name": "tool_result", "tool_name": "Bash", "tool_use_id": "t-1"}
    done: dict[str, object] = {"event.name": "tool_result", "tool_name": "Bash", "tool_use_id": "t-2"}
    told: list[dict[str, object]] = [
        {"event.name": "user_prompt", "prompt": "How long?"},
        {"event.name": "api_request", **request, "input_tokens": 41, "output_tokens": 18, "cache_read_tokens": 16}
        | {"cost_usd": 0.25, "duration_ms": "87"},
        {"event.name": "assistant_response", "response": "Let me look."},
        {"event.name": "tool_decision", "tool_name": "Bash", "decision": "accept"},
        failed | {"success": "false", "duration_ms": "128", "tool_input": '{"command":"ls"}', "error": "no such file"},
        done | {"success": "true", "duration_ms": "128", "tool_input": '{"command":"cat x"}'},
        {"event.name": "api_request", **request, "input_tokens": "32", "output_tokens": "14"}
        | {"cache_read_tokens": "64", "cost_usd": "0.5", "duration_ms": "20"},
        {"event.name": "assistant_response", "response": "30 days."},
    ]
    return _logs(CLAUDE, [(100 + n, {**common, "event.sequence": n, **each}) for n, each in enumerate(told)])


def test_records_of_a_coding_agent_alone_make_a_whole_trace() -> None:
    trace = assemble([], [{**row, "trace_id": "t"} for row in _rows(_claude())])
    assert (trace.name, trace.status) == ("claude_code.interaction", "ok")
    assert (trace.session_id, trace.user_id) == ("s-1", "u-1")
    assert (trace.input, trace.output, trace.cost_usd) == ("How long?", "30 days.", 0.75)
    assert trace.steps == {"agent": 1, "llm": 2, "tool": 2}
    calls = [(call.provider, call.model, call.input_tokens, call.output_tokens, call.cached_tokens, call.cost_usd)
             for call in trace.model_calls]  # fmt: skip
    assert calls == [("anthropic", "claude-x", 57, 18, 16, 0.25), ("anthropic", "claude-x", 96, 14, 64, 0.5)]
    tools = [(call.id, call.name, call.arguments, call.status, call.duration_ns) for call in trace.tool_calls]
    assert tools == [
        ("t-1", "Bash", {"command": "ls"}, "error", 128_000_000),
        ("t-2", "Bash", {"command": "cat x"}, "ok", 128_000_000),
    ]
    assert trace.model_calls[1].output_messages == [
        {"role": "assistant", "parts": [{"type": "text", "content": "30 days."}]}
    ]


def test_a_session_without_spans_is_listed_found_and_shown(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        _arrive(store, _claude())
        [row] = store.sql("SELECT * FROM traces").dicts()
        told = ("name", "session_id", "input", "output", "model_calls", "tool_calls", "input_tokens", "cost_usd")
        assert [row[name] for name in told] == [
            "claude_code.interaction", "s-1", "How long?", "30 days.", 2, 2, 153, 0.75
        ]  # fmt: skip
        trace = store.trace(str(row["trace_id"])[:8])
        assert (trace.trace_id, trace.usage.input_tokens, trace.cost_usd) == (row["trace_id"], 153, 0.75)
        assert len(store.find(equal={"session_id": "s-1"})) == 1
        assert store.trace_ids() == [trace.trace_id]
        assert store.sql("SELECT count(*) FROM llm_calls").fetchone() == (2,)


def test_two_prompts_of_a_session_are_two_traces(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for prompt in ("p-1", "p-2"):
            said = {"event.name": "user_prompt", "session.id": "s", "prompt.id": prompt, "prompt": prompt}
            _arrive(store, _logs(CLAUDE, [(5, said)]))
        assert store.sql("SELECT input FROM traces ORDER BY input").fetchall() == [("p-1",), ("p-2",)]


# Codex: records without a trace id beside spans


def _codex_spans() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add()
    spans.scope.name = "codex_exec"
    for place, (name, attributes) in enumerate(
        [
            ("session_task.turn", {"conversation.id": "c-1", "session.id": "c-1"}),
            ("model_client.stream_responses_api", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt"}),
        ]
    ):
        span = spans.spans.add(trace_id=TRACE, span_id=bytes([place + 1]) * 8, name=name)
        span.parent_span_id = b"" if place == 0 else bytes([1]) * 8
        span.start_time_unix_nano, span.end_time_unix_nano = (100 + place) * SECOND, 110 * SECOND
        span.attributes.extend(KeyValue(key=key, value=_value(value)) for key, value in attributes.items())
    return request


def _codex_logs() -> ExportLogsServiceRequest:
    done = {"event.name": "codex.sse_event", "event.kind": "response.completed", "model": "gpt"}
    done["conversation.id"] = "c-1"
    counts = {"input_token_count": 57, "output_token_count": 18, "cached_token_count": 16, "reasoning_token_count": 5}
    return _logs(
        "codex_otel",
        [(104, done), (105, {**done, **counts, "tool_token_count": 75})],
        event_name="event otel/src/lib.rs:703",
    )


@pytest.mark.parametrize("first", ["spans", "logs"])
def test_records_without_a_trace_id_join_by_conversation_and_time(first: str, tmp_path: Path) -> None:
    requests: list[ExportLogsServiceRequest | ExportTraceServiceRequest] = [_codex_spans(), _codex_logs()]
    with Store.open(tmp_path / "store") as store:
        for request in requests if first == "spans" else reversed(requests):
            _arrive(store, request)
        trace = store.trace(TRACE.hex())
        [call] = trace.model_calls
        counts = (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens)
        assert (*counts, call.model) == (57, 18, 16, 5, "gpt")
        query = "SELECT trace_id, model_calls, input_tokens, reasoning_tokens FROM traces"
        assert store.sql(query).fetchall() == [(TRACE.hex(), 1, 57, 5)]


def _arrive(store: Store, request: ExportLogsServiceRequest | ExportTraceServiceRequest) -> None:
    writer = SegmentWriter(store.inbox, "logs" if isinstance(request, ExportLogsServiceRequest) else "traces")
    writer.append(request.SerializeToString())
    writer.close()
    store.settle()


# Content of one message or of a whole call in records that stand on a span


def _chat(**more: object) -> dict[str, object]:
    base: dict[str, object] = {"trace_id": TRACE.hex(), "span_id": "01" * 8, "name": "chat", "step": "llm"}
    return {**base, "start_ns": SECOND, "duration_ns": SECOND, "status": "unset", **more}


def _told(records: Sequence[Record], bodies: Sequence[object], scope: str = "x", **more: object) -> Trace:
    request = _logs(scope, records, trace_id=TRACE, span_id=bytes([1]) * 8, bodies=bodies)
    return assemble([_chat(**more)], _rows(request))


def test_messages_as_json_texts_come_in_the_order_that_their_index_says() -> None:
    events = ["gen_ai.choice", "gen_ai.tool.message", "gen_ai.user.message", "gen_ai.system.message"]
    bodies = [
        {"index": 0, "message": {"role": "assistant", "content": "30 days."}, "finish_reason": "stop"},
        {"role": "tool", "content": "in 30 days", "id": "c1"},
        {"role": "user", "content": "How long?"},
        {"role": "system", "content": "Be brief."},
    ]
    records: list[Record] = [
        (2, {"event.name": event, "CHAT_MESSAGE_INDEX": 3 - place}) for place, event in enumerate(events)
    ]
    trace = _told(records, [json.dumps(body) for body in bodies])
    [call] = trace.model_calls
    assert [message["role"] for message in call.input_messages] == ["system", "user", "tool"]
    assert (trace.input, trace.output, trace.system_instructions) == ("How long?", "30 days.", "Be brief.")


def test_ordinary_records_of_the_same_scope_say_nothing() -> None:
    trace = _told([(2, {"event.name": "log"}), (2, {})], ["gen_ai.user.message", '{"role":"user","content":"no"}'])
    assert (trace.input, trace.model_calls[0].input_messages) == (None, [])


def test_details_in_several_records_are_one_call() -> None:
    name = "gen_ai.client.inference.operation.details"
    said = {"role": "assistant", "parts": [{"type": "text", "content": "30 days."}]}
    asked = {"role": "user", "parts": [{"type": "text", "content": "How long?"}]}
    records: list[Record] = [
        (2, {"event.name": name, "gen_ai.input.messages": [asked], "gen_ai.usage.input_tokens": 57}),
        (2, {"event.name": name, "gen_ai.output.messages": [said], "user.id": "u-1"}),
    ]
    trace = _told(records, [])
    assert (trace.input, trace.output, trace.user_id, trace.usage.input_tokens) == ("How long?", "30 days.", "u-1", 57)


def test_what_the_span_says_itself_is_not_said_twice() -> None:
    own = '[{"role":"user","parts":[{"type":"text","content":"mine"}]}]'
    trace = _told([(2, {"event.name": "gen_ai.user.message"})], [{"content": "again"}], input_messages=own)
    assert [part["content"] for message in trace.model_calls[0].input_messages for part in message["parts"]] == ["mine"]


def test_content_that_was_moved_off_a_span_into_one_record_comes_back() -> None:
    body = {
        "input": {"messages": [{"role": "user", "content": "How long?"}]},
        "output": {"messages": [{"role": "assistant", "content": {"message": "30 days.", "finish_reason": "stop"}}]},
    }
    trace = _told([(2, {"event.name": "strands.telemetry.tracer"})], [body], scope="strands.telemetry.tracer")
    assert (trace.input, trace.output) == ("How long?", "30 days.")
    tool = _told([(2, {"event.name": "s"})], [body], scope="s", step="tool", tool_name="search").tool_calls[0]
    assert (tool.arguments, tool.result) == ("How long?", "30 days.")


def test_a_cost_that_a_record_tells_wins_over_a_price_list() -> None:
    record = {"event.name": "api_request", "cost_usd": 0.25, "model": "claude-x", "input_tokens": 1}
    trace = _told([(2, record)], [], scope=CLAUDE, cost_usd=9.0, cost_source="genai-prices 1", input_tokens=5)
    assert (trace.cost_usd, trace.usage.input_tokens, len(trace.model_calls)) == (0.25, 5, 1)


def test_a_failed_request_of_which_no_span_tells_fails_the_trace() -> None:
    failed = {"event.name": "api_error", "session.id": "s", "error": "The server had an error", "status_code": 500}
    rows = _rows(_logs(CLAUDE, [(3, {"event.name": "user_prompt", "prompt": "hi", "session.id": "s"}), (4, failed)]))
    trace = assemble([], [{**row, "trace_id": "t"} for row in rows])
    assert trace.status == "error"
    assert trace.error is not None
    assert (trace.error["type"], trace.error["message"]) == ("500", "The server had an error")
