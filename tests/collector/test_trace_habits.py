"""Calls, sessions and errors of writers that have habits of their own."""

from __future__ import annotations

import pytest

from tracekit_collector.trace import assemble

from .test_trace import ANSWER, ASKS, QUESTION, Row, _span


def test_a_streamed_answer_told_in_a_span_of_no_length_takes_its_time_from_the_request() -> None:
    spans = [
        _span("root", None, "agent"),
        _span("ask", "root", "llm", 10, duration_ns=5, model_requested="m", input_messages=QUESTION),
        _span("said", "root", "llm", 40, duration_ns=0, model_requested="m", output_messages=ANSWER, input_tokens=5),
        _span("ask2", "root", "llm", 50, duration_ns=5, model_requested="m", input_messages=QUESTION),
        _span("said2", "root", "llm", 80, duration_ns=0, model_requested="m", output_messages=ANSWER, input_tokens=7),
    ]
    trace = assemble(spans)
    assert [(call.span_id, call.start_ns, call.duration_ns) for call in trace.model_calls] == [
        ("said", 10, 30),
        ("said2", 50, 30),
    ]
    assert [message["role"] for message in trace.model_calls[1].input_messages] == ["user"]
    assert {span.span_id: span.same_as for span in trace.spans if span.same_as} == {"ask": "said", "ask2": "said2"}


def test_a_model_span_that_holds_several_calls_is_none_itself() -> None:
    spans = [
        _span("root", None, "llm", 0, duration_ns=100, input_tokens=153, output_messages=ANSWER),
        _span("a", "root", "llm", 10, input_tokens=57, output_messages=ASKS),
        _span("b", "root", "llm", 30, input_tokens=96, output_messages=ANSWER),
    ]
    trace = assemble(spans)
    assert [call.span_id for call in trace.model_calls] == ["a", "b"]
    assert (trace.usage.input_tokens, trace.steps) == (153, {"llm": 2})


def test_attempts_inside_one_model_span_are_one_call() -> None:
    spans = [
        _span("root", None, "llm", 0, duration_ns=100, input_tokens=57, output_messages=ANSWER),
        _span("a", "root", "llm", 10, status="error"),
        _span("b", "root", "llm", 30, input_tokens=57, output_messages=ANSWER),
    ]
    trace = assemble(spans)
    assert (len(trace.model_calls), trace.usage.input_tokens, trace.status) == (1, 57, "ok")


MCP = '{"mcp.method.name":"tools/call"}'


@pytest.mark.parametrize(("asked", "served"), [("search", "search"), ("mcp__docs__search", "search"), ("search", None)])
def test_client_transport_and_server_of_an_mcp_call_are_one_tool_call(asked: str, served: str | None) -> None:
    spans = [
        _span("t", None, "tool", 0, duration_ns=90, tool_name=asked, tool_call_id="c1"),
        _span("client", "t", "tool", 1, duration_ns=80, tool_name=served, attributes=MCP, kind="client"),
        _span("send", "client", "span", 2, duration_ns=70, attributes=MCP, kind="client"),
        _span("server", "send", "tool", 3, duration_ns=60, tool_name=served, attributes=MCP, tool_result="found"),
    ]
    [call] = assemble(spans).tool_calls
    assert (call.span_id, call.id, call.name, call.result) == ("t", "c1", asked, "found")


def test_a_tool_that_calls_another_is_two_calls() -> None:
    spans = [_span("a", None, "tool", 0, tool_name="plan"), _span("b", "a", "tool", 1, tool_name="search")]
    assert [call.name for call in assemble(spans).tool_calls] == ["plan", "search"]


def test_two_instrumentations_of_one_tool_call_side_by_side_are_one() -> None:
    common: Row = {"tool_name": "search", "tool_call_id": "c1", "duration_ns": 20}
    spans = [
        _span("root", None, "agent"),
        _span("a", "root", "tool", 10, scope="one", **common),
        _span("b", "root", "tool", 11, scope="two", tool_result="found", **{**common, "duration_ns": 15}),
        _span("c", "root", "tool", 50, scope="one", **common),  # the same id again, later: a second attempt
    ]
    calls = assemble(spans).tool_calls
    assert [(call.span_id, call.result) for call in calls] == [("a", "found"), ("c", None)]


def test_a_session_that_somebody_set_wins_over_one_that_a_library_made_up() -> None:
    spans = [
        _span("root", None, "agent", 0, session_id="0199-uuid", dialect="pydantic_ai"),
        _span("m", "root", "llm", 1, session_id="s-1", dialect="otel_genai"),
    ]
    assert assemble(spans).session_id == "s-1"
    assert assemble(spans[:1]).session_id == "0199-uuid"


def test_the_insides_of_codex_are_shown_and_not_counted() -> None:
    spans = [
        _span("root", None, "span", 0, dialect="codex", status="error", status_message="retry the socket"),
        _span("m", "root", "llm", 1, dialect="codex", output_messages=ANSWER),
    ]
    trace = assemble(spans)
    assert (trace.steps, trace.status, len(trace.spans)) == ({"llm": 1}, "ok", 2)


def test_an_errors_words_may_stand_in_an_attribute_alone() -> None:
    attributes = '{"langfuse.observation.status_message":"no index"}'
    trace = assemble([_span("t", None, "tool", 0, status="error", attributes=attributes)])
    assert trace.error is not None
    assert trace.error["message"] == "no index"


def test_a_step_that_works_on_an_answer_may_say_which_model_answered() -> None:
    asks: Row = {"model_requested": "m", "input_tokens": 1, "output_messages": ANSWER}
    spans = [
        _span("root", None, "chain", 0, model="m-0"),
        _span("a", "root", "llm", 10, **asks),
        _span("parse", "root", "chain", 30, model="m-1", response_id="r1"),
        _span("b", "root", "llm", 50, **asks),
        _span("other", "root", "chain", 70, model="x-1"),
    ]
    assert [call.model for call in assemble(spans).model_calls] == ["m-1", None]
