"""Whole traces out of their rows: calls once, usage not doubled, content joined, the error that mattered."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_collector.trace import assemble

Row = dict[str, object]

QUESTION = '[{"role":"user","parts":[{"type":"text","content":"How long?"}]}]'
ASKS = '[{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"search","arguments":"{\\"q\\":\\"x\\"}"}]}]'
KNOWS = json.dumps(
    [
        *json.loads(QUESTION),
        *json.loads(ASKS),
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "30 days"}]},
    ]
)
ANSWER = '[{"role":"assistant","parts":[{"type":"text","content":"30 days."}]}]'


def _span(span_id: str, parent: str | None = None, step: str = "span", start: int = 0, **more: object) -> Row:
    base: Row = {"trace_id": "t", "span_id": span_id, "parent_span_id": parent, "name": span_id, "step": step}
    return {**base, "start_ns": start, "duration_ns": 10, "status": "unset", **more}


def _loop() -> list[Row]:
    """An agent that asks a model, runs a tool and asks again."""
    counts = {"output_tokens": 1, "cached_tokens": 2}
    return [
        _span("root", None, "agent", 0, duration_ns=100, agent_name="bot", input="How long?", output="30 days."),
        _span("m1", "root", "llm", 10, input_messages=QUESTION, output_messages=ASKS, input_tokens=5, **counts),
        _span("s1", "root", "tool", 30, tool_name="search", tool_arguments='{"q":"x"}', tool_result="30 days"),
        _span("m2", "root", "llm", 50, input_messages=KNOWS, output_messages=ANSWER, input_tokens=9, **counts),
    ]


def test_a_trace_tells_its_calls_usage_steps_and_words() -> None:
    trace = assemble(_loop())
    assert (trace.name, trace.status, trace.error) == ("root", "ok", None)
    assert (trace.input, trace.output, trace.agent_name) == ("How long?", "30 days.", "bot")
    assert [call.span_id for call in trace.model_calls] == ["m1", "m2"]
    assert (trace.usage.input_tokens, trace.usage.output_tokens, trace.usage.reasoning_tokens) == (14, 2, None)
    assert trace.steps == {"agent": 1, "llm": 2, "tool": 1}
    [tool] = trace.tool_calls
    assert (tool.span_id, tool.id, tool.name, tool.arguments, tool.result) == (
        "s1",
        "c1",
        "search",
        {"q": "x"},
        "30 days",
    )
    assert [message["role"] for message in trace.messages] == ["user", "assistant", "tool", "assistant"]
    assert trace.messages[1]["parts"][0]["arguments"] == {"q": "x"}


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = _loop()
    shuffled = random.Random(4).sample(rows, len(rows))
    assert assemble(shuffled) == assemble(rows)


def test_the_dict_of_a_trace_is_json() -> None:
    found = assemble(_loop()).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["usage"]["input_tokens"] == 14
    assert found["spans"][0] | {"name": "root", "depth": 0} == found["spans"][0]


def test_what_a_row_lacks_is_null_and_never_zero() -> None:
    trace = assemble([_span("m", None, "llm")])
    assert (trace.cost_usd, trace.usage.input_tokens, trace.model_calls[0].input_tokens) == (None, None, None)
    assert (trace.input, trace.output, trace.session_id) == (None, None, None)


def test_no_spans_are_no_trace() -> None:
    with pytest.raises(UsageError):
        assemble([])


# One call, several spans


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param(
            [_span("a", "root", "llm", 1, response_id="r"), _span("b", "root", "llm", 2, response_id="r")],
            id="siblings with one response id",
        ),
        pytest.param(
            [_span("a", "root", "llm", 1), _span("b", "a", "llm", 2, response_id="r")], id="one inside the other"
        ),
        pytest.param(
            [_span("a", "root", "llm", 1), _span("c", "a", "chain", 2), _span("b", "c", "llm", 3)],
            id="one inside the other with a step between",
        ),
        pytest.param(
            [
                _span("a", "root", "llm", 1, duration_ns=50, input_tokens=5, model="m", scope="one", response_id="r"),
                _span("b", "root", "llm", 2, duration_ns=20, input_tokens=5, model="m", scope="two"),
            ],
            id="siblings of two instrumentations, one time and usage",
        ),
        pytest.param(
            [_span("a", "root", "llm", 1), _span("b", "root", "llm", 2, output="x", input_tokens=5)],
            id="an empty one beside one that says something",
        ),
    ],
)
def test_spans_that_describe_one_call_are_one_call(spans: list[Row]) -> None:
    spans[-1]["output_messages"] = ANSWER
    spans[-1]["output_tokens"] = 7 if "input_tokens" not in spans[-1] else None
    trace = assemble([_span("root", None, "agent"), *spans])
    assert [call.span_id for call in trace.model_calls] == [spans[-1]["span_id"]]  # the one that says most
    assert trace.steps["llm"] == 1


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param(
            [
                _span("a", "x", "llm", 1, input_tokens=5, model="m", scope="one"),
                _span("b", "y", "llm", 1, input_tokens=5, model="m", scope="two"),
            ],
            id="equal usage under different parents",
        ),
        pytest.param(
            [
                _span("a", "root", "llm", 1, input_tokens=5, model="m", scope="one"),
                _span("b", "root", "llm", 1, input_tokens=5, model="m", scope="one"),
            ],
            id="equal usage by one instrumentation at one time",
        ),
        pytest.param(
            [_span("a", "root", "llm", 1), _span("t", "a", "tool", 2), _span("b", "t", "llm", 3)],
            id="a tool of one call asks the model again",
        ),
        pytest.param([_span("a", "root", "llm", 1), _span("b", "root", "llm", 20)], id="two that say nothing"),
    ],
)
def test_different_calls_are_not_folded(spans: list[Row]) -> None:
    parents = [_span("x", "root", "chain"), _span("y", "root", "chain")]
    assert len(assemble([_span("root", None, "agent"), *parents, *spans]).model_calls) == 2


def test_a_merged_call_takes_the_largest_counts_and_the_first_value_that_is_known() -> None:
    spans = [
        _span("a", None, "llm", 1, response_id="r", output_messages=ANSWER, input_tokens=5),
        _span("b", None, "llm", 2, response_id="r", input_tokens=57, output_tokens=18, provider="openai"),
    ]
    [call] = assemble(spans).model_calls
    assert (call.input_tokens, call.output_tokens, call.provider, call.span_id) == (57, 18, "openai", "a")


def test_a_sum_on_the_agent_is_shown_only_where_no_call_was_counted() -> None:
    agent = _span("root", None, "agent", 0, input_tokens=100, cost_usd=0.5)
    counted = assemble([agent, _span("m", "root", "llm", 1, input_tokens=60, cost_usd=0.3)])
    assert (counted.usage.input_tokens, counted.cost_usd) == (60, 0.3)
    uncounted = assemble([agent, _span("m", "root", "llm", 1)])
    assert (uncounted.usage.input_tokens, uncounted.cost_usd) == (100, 0.5)


def test_embeddings_cost_money_and_are_no_model_calls() -> None:
    spans = [_span("m", None, "llm", 1, input_tokens=5, cost_usd=0.5)]
    spans.append(_span("e", None, "embedding", 2, input_tokens=8, cost_usd=0.25))
    trace = assemble(spans)
    assert (len(trace.model_calls), trace.usage.input_tokens, trace.cost_usd) == (1, 5, 0.75)


def test_steps_that_repeat_their_parent_count_once() -> None:
    spans = [
        _span("root", None, "agent", 0, agent_name="bot"),
        _span("again", "root", "agent", 1, agent_name="bot"),
        _span("other", "root", "agent", 2, agent_name="helper"),
        _span("r", "root", "retriever", 3, documents='[{"id":"d1","score":0.5}]'),
        _span("r2", "r", "retriever", 4, documents='[{"id":"d1"}]'),
    ]
    trace = assemble(spans)
    assert trace.steps == {"agent": 2, "retriever": 1}
    assert [(document.id, document.score, document.span_id) for document in trace.documents] == [("d1", 0.5, "r")]


# Tool calls


def test_tool_calls_without_spans_are_taken_from_the_messages() -> None:
    trace = assemble([row for row in _loop() if row["step"] != "tool"])
    [tool] = trace.tool_calls
    assert (tool.span_id, tool.id, tool.name) == (None, "c1", "search")
    assert (tool.arguments, tool.result, tool.status) == ({"q": "x"}, "30 days", "ok")


def test_a_call_that_was_asked_for_and_never_answered_has_no_status() -> None:
    [tool] = assemble([_span("m", None, "llm", 1, input_messages=QUESTION, output_messages=ASKS)]).tool_calls
    assert (tool.name, tool.result, tool.status) == ("search", None, None)


def test_calls_of_an_earlier_turn_are_not_calls_of_this_trace() -> None:
    assert assemble([_span("m", None, "llm", 1, input_messages=KNOWS, output_messages=ANSWER)]).tool_calls == ()


def test_one_id_used_for_two_calls_is_two_calls() -> None:
    spans = [_span("a", None, "tool", 1, tool_name="f", tool_call_id="same")]
    spans.append(_span("b", None, "tool", 20, tool_name="f", tool_call_id="same"))
    assert [call.span_id for call in assemble(spans).tool_calls] == ["a", "b"]


def test_a_tool_span_inside_a_tool_span_of_the_same_tool_is_one_call() -> None:
    spans = [
        _span("client", None, "tool", 1, tool_name="f", tool_arguments="{}"),
        _span("wire", "client", "span", 2),
        _span("server", "wire", "tool", 3, tool_name="f", tool_result="r"),
        _span("other", "server", "tool", 4, tool_name="g"),
    ]
    calls = assemble(spans).tool_calls
    assert [(call.span_id, call.name, call.result) for call in calls] == [("client", "f", "r"), ("other", "g", None)]


def test_arguments_that_a_tool_span_shows_badly_come_from_the_message() -> None:
    rows = _loop()
    rows[2]["tool_arguments"] = "x"
    assert assemble(rows).tool_calls[0].arguments == {"q": "x"}


# Errors

FAILS = {"status": "error", "error_type": "ValueError", "status_message": "no index"}


@pytest.mark.parametrize(
    ("spans", "status"),
    [
        pytest.param([_span("f1", "root", "tool", 1, tool_name="f", **FAILS)], "error", id="a tool failed"),
        pytest.param(
            [_span("f1", "root", "tool", 1, tool_name="f", **FAILS), _span("f2", "root", "tool", 20, tool_name="f")],
            "ok",
            id="the same tool went well later",
        ),
        pytest.param(
            [_span("f1", "root", "tool", 1, tool_name="f", **FAILS), _span("g", "root", "tool", 20, tool_name="g")],
            "error",
            id="another tool went well later",
        ),
        pytest.param(
            [_span("m1", "root", "llm", 1, output="x", **FAILS), _span("m2", "root", "llm", 20, output="y")],
            "ok",
            id="a later model call went well",
        ),
        pytest.param([_span("c", "root", "chain", 1, **FAILS)], "ok", id="a step failed and the root did not"),
        pytest.param(
            [_span("f1", "root", "tool", 1, tool_name="f", error_type="E")], "error", id="an error type alone"
        ),
        pytest.param(
            [_span("f1", "root", "tool", 1, tool_name="f", error_type="E", status="ok")], "ok", id="said to be well"
        ),
    ],
)
def test_a_trace_failed_when_a_call_failed_and_was_not_made_good(spans: list[Row], status: str) -> None:
    assert assemble([_span("root", None, "agent"), *spans]).status == status


def test_the_error_that_matters_is_where_it_began() -> None:
    events = json.dumps(
        [{"name": "exception", "attributes": {"exception.type": "ValueError", "exception.message": "no index"}}]
    )
    spans = [
        _span("root", None, "agent", 0, status="error", status_message="ValueError: no index"),
        _span("step", "root", "chain", 1, status="error", status_message="ValueError: no index"),
        _span("f", "step", "tool", 2, tool_name="f", status="error", error_type="ValueError", events=events),
    ]
    assert assemble(spans).error == {"type": "ValueError", "message": "no index", "span_id": "f"}


def test_a_root_that_failed_by_itself_keeps_its_own_error() -> None:
    spans = [
        _span("root", None, "agent", 0, status="error", error_type="KeyError", status_message="answer"),
        _span("f", "root", "tool", 2, tool_name="f", **FAILS),
    ]
    error = assemble(spans).error
    assert error == {"type": "KeyError", "message": "answer", "span_id": "root"}


def test_the_cause_of_a_raised_error_is_named() -> None:
    trace = (
        'Traceback (most recent call last):\n  File "a.py", line 1\nopenai.InternalServerError: code 500\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "b.py", line 2\nwrapped.Error: it failed\n'
    )
    attributes = {"exception.type": "wrapped.Error", "exception.message": "it failed", "exception.stacktrace": trace}
    events = json.dumps([{"name": "exception", "time_ns": 1, "attributes": attributes}])
    error = assemble([_span("root", None, "agent", 0, status="error", error_type="wrapped.Error", events=events)]).error
    assert error == {"type": "openai.InternalServerError", "message": "code 500", "span_id": "root"}


# Content in log records


def _log(place: int, name: str, body: object, span_id: str = "m", **attributes: object) -> Row:
    return {
        "log_id": f"d-{place}",
        "time_ns": 1,
        "trace_id": "t",
        "span_id": span_id,
        "event_name": name,
        "body": None if body is None else json.dumps(body),
        "attributes": json.dumps(attributes),
    }


def test_content_in_log_records_of_one_message_each_is_joined_in_order() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
    logs = [
        _log(10, "gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "30 days."}}),
        _log(1, "gen_ai.system.message", {"content": "Be brief."}),
        _log(2, "gen_ai.user.message", {"content": "How long?"}),
        _log(3, "gen_ai.assistant.message", {"tool_calls": [call]}),
        _log(4, "gen_ai.tool.message", {"content": "30 days", "id": "c1"}),
        _log(5, "some.other.event", {"content": "noise"}),
    ]
    trace = assemble([_span("root"), _span("m", "root", "llm", 1, input_tokens=3)], logs)
    assert (trace.input, trace.output, trace.system_instructions) == ("How long?", "30 days.", "Be brief.")
    roles = ["system", "user", "assistant", "tool", "assistant"]
    assert [message["role"] for message in trace.messages] == roles


def test_content_in_one_log_record_fills_what_the_span_does_not_say() -> None:
    attributes = {"gen_ai.input.messages": json.loads(QUESTION), "gen_ai.output.messages": json.loads(ANSWER)}
    log = _log(
        1,
        "gen_ai.client.inference.operation.details",
        None,
        **attributes,
        **{"user.id": "u", "gen_ai.usage.input_tokens": 9},
    )
    trace = assemble([_span("m", None, "llm", 1, input_tokens=3)], [log])
    assert (trace.input, trace.output, trace.user_id) == ("How long?", "30 days.", "u")
    assert trace.usage.input_tokens == 3  # the span's own word stands


def test_content_that_came_both_ways_is_shown_once() -> None:
    spans = [_span("m", None, "llm", 1, input_messages=QUESTION, output_messages=ANSWER)]
    logs = [
        _log(1, "gen_ai.user.message", {"content": "How long?"}),
        _log(2, "gen_ai.choice", {"message": {"content": "x"}}),
    ]
    assert len(assemble(spans, logs).messages) == 2


def test_hidden_content_is_no_text() -> None:
    logs = [_log(1, "gen_ai.user.message", {"content": "<elided>"})]
    assert assemble([_span("m", None, "llm", 1)], logs).input is None


# Trees that are not whole


def test_a_trace_needs_no_root() -> None:
    trace = assemble([row for row in _loop() if row["span_id"] != "root"])
    assert (trace.name, trace.input, trace.output) == ("m1", "How long?", "30 days.")
    assert [span.depth for span in trace.spans] == [0, 0, 0]


def test_of_a_span_that_came_twice_the_last_counts() -> None:
    trace = assemble([_span("a", None, "agent", name="first"), _span("a", None, "agent", name="second")])
    assert (trace.name, len(trace.spans)) == ("second", 1)


@pytest.mark.parametrize(
    "spans",
    [
        [_span("a", "a")],
        [_span("a", "b"), _span("b", "a")],
        [_span("root"), _span("a", "c"), _span("b", "a"), _span("c", "b"), _span("d", "c")],
    ],
)
def test_a_circle_of_parents_is_cut(spans: list[Row]) -> None:
    assert sorted(span.span_id for span in assemble(spans).spans) == sorted(str(row["span_id"]) for row in spans)


def test_a_chain_of_ten_thousand_spans_is_no_trouble() -> None:
    deep = [_span(str(place), str(place - 1) if place else None, "chain", place) for place in range(10_000)]
    deep[-1].update(step="tool", **FAILS)
    assert assemble(deep).spans[-1].depth == 9_999


STEPS = st.sampled_from(["agent", "llm", "tool", "retriever", "chain", "span", None])
IDS = st.sampled_from("abcdef")
TEXT = st.one_of(
    st.none(), st.sampled_from([QUESTION, ASKS, KNOWS, ANSWER, "x", "[", "[1]", '{"a":1}', '[{"role":1}]'])
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"trace_id": st.just("t"), "span_id": IDS, "parent_span_id": st.one_of(st.none(), IDS), "step": STEPS},
        optional={
            "start_ns": st.integers(0, 9),
            "duration_ns": st.one_of(st.none(), st.integers(0, 9)),
            "status": st.sampled_from(["unset", "ok", "error"]),
            "error_type": st.sampled_from([None, "E"]),
            "response_id": st.sampled_from([None, "r"]),
            "input_tokens": st.one_of(st.none(), st.integers(0, 3)),
            "tool_name": st.sampled_from([None, "f", "g"]),
            "tool_call_id": st.sampled_from([None, "c1"]),
            "input_messages": TEXT,
            "output_messages": TEXT,
            "documents": TEXT,
            "tool_arguments": TEXT,
            "system_instructions": TEXT,
            "events": st.sampled_from([None, '[{"name":"exception"}]']),
        },
    ),
    min_size=1,
    max_size=8,
)


@given(ROWS)
def test_any_rows_give_a_trace_whose_dict_is_json(rows: list[Row]) -> None:
    trace = assemble(rows)
    json.dumps(trace.to_dict())
    assert len(trace.spans) == len({row["span_id"] for row in rows})
    assert sum(trace.steps.values()) <= len(trace.spans)
