"""What the derived columns of one span say, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Event, RawSpan
from tracekit_collector.normalise import NORMALISER_VERSION, normalise
from tracekit_collector.schema import SPANS


def _columns(**attributes: object) -> dict[str, object]:
    return normalise(RawSpan("a span", attributes={key.replace("__", "."): value for key, value in attributes.items()}))


def test_a_span_that_says_nothing_gets_no_numbers_and_no_names() -> None:
    assert normalise(RawSpan("work")) == {"step": "span", "dialect": None, "normaliser_version": NORMALISER_VERSION}


@pytest.mark.parametrize(
    ("attributes", "step"),
    [
        ({"gen_ai.operation.name": "chat"}, "llm"),
        ({"gen_ai.operation.name": "Execute_Tool"}, "tool"),
        ({"gen_ai.operation.name": "invoke_agent"}, "agent"),
        ({"gen_ai.operation.name": "retrieval"}, "retriever"),
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "invoke_workflow"}, "chain"),
        ({"openinference.span.kind": "GUARDRAIL"}, "guardrail"),
        ({"openinference.span.kind": "CHAIN", "gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"openinference.span.kind": "LLM", "gen_ai.operation.name": "invoke_agent"}, "llm"),
        ({"openinference.span.kind": "UNKNOWN", "gen_ai.operation.name": "chat"}, "llm"),
        ({"tracekit.step": "evaluator", "gen_ai.operation.name": "chat"}, "evaluator"),
        ({"gen_ai.tool.name": "search"}, "tool"),
        ({"gen_ai.tool.name": "search", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}, "llm"),
        ({"gen_ai.request.model": "m"}, "span"),
        ({"gen_ai.response.model": "m", "gen_ai.usage.output_tokens": 1}, "llm"),
        ({"gen_ai.embeddings.dimension.count": 4, "gen_ai.request.model": "m"}, "embedding"),
        ({"gen_ai.retrieval.documents": '[{"id": "d"}]'}, "retriever"),
        ({"tracekit.step": "nonsense"}, "span"),
        ({}, "span"),
    ],
)
def test_the_step_kind_follows_from_evidence(attributes: dict[str, object], step: str) -> None:
    assert normalise(RawSpan("s", attributes=attributes))["step"] == step


def test_an_empty_value_does_not_win_against_a_filled_one_of_lower_rank() -> None:
    found = _columns(
        gen_ai__provider__name="", llm__provider="openai", session__id="None", gen_ai__conversation__id="s-1"
    )
    assert (found["provider"], found["session_id"]) == ("openai", "s-1")


def test_an_empty_payload_stays_where_nothing_else_is_there() -> None:
    assert _columns(tracekit__step="chain", output__value="[]")["output"] == "[]"


@pytest.mark.parametrize(
    ("value", "count"),
    [(57, 57), ("57", 57), (57.0, 57), (0, 0), (-1, None), (1.5, None), (True, None), ("", None), ("nan", None)],
)
def test_tokens_are_counts_or_null(value: object, count: int | None) -> None:
    assert _columns(gen_ai__usage__input_tokens=value).get("input_tokens") == count


def test_input_counts_what_was_cached_even_for_a_writer_that_leaves_it_out() -> None:
    kept = {"gen_ai.usage.input_tokens": 57, "gen_ai.usage.cache_read.input_tokens": 16}
    assert normalise(RawSpan("s", attributes=kept))["input_tokens"] == 57
    left_out = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 90}
    assert normalise(RawSpan("s", attributes=left_out))["input_tokens"] == 95


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (["tool_calls"], ["tool_call"]),
        ('["end_turn"]', ["stop"]),
        ("FinishReason.MAX_TOKENS", ["length"]),
        (["something_new"], ["something_new"]),
        ([], None),
    ],
)
def test_finish_reasons_have_one_spelling(value: object, reasons: list[str] | None) -> None:
    assert _columns(gen_ai__response__finish_reasons=value).get("finish_reasons") == reasons


def test_time_to_first_chunk_is_kept_in_milliseconds() -> None:
    assert _columns(gen_ai__response__time_to_first_chunk=0.25)["ttft_ms"] == 250.0


def test_messages_in_the_schema_keep_their_text_byte_for_byte() -> None:
    text = '[ {"role": "user",  "parts": [{"type": "text", "content": "hi"}]} ]'
    found = _columns(gen_ai__operation__name="chat", gen_ai__input__messages=text)
    assert (found["input_messages"], found["input"]) == (text, "hi")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"role": "user", "content": "hi"}], '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'),
        ('[{"role": "user", "content": "hi"}]', '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'),
        ("hi", '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'),
        ('"[{\\"role\\":\\"user\\",\\"parts\\":[]}]"', '[{"role":"user","parts":[]}]'),
        (
            '[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","result":"r"}]}]',
            '[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":"r"}]}]',
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a":1}'}}]}],
            '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"f","arguments":{"a":1}}]}]',
        ),
        (
            '[{"role":"user","parts":[{"type":"text","content":"cut o',
            '[{"role":"user","parts":[{"type":"text","content":"cut o"}]}]',
        ),
        ('[{"ro', None),
        ("__REDACTED__", None),
        ("", None),
        (3, None),
    ],
)
def test_messages_in_any_form_come_into_the_schema(value: object, expected: str | None) -> None:
    assert _columns(gen_ai__input__messages=value).get("input_messages") == expected


def test_one_bad_message_does_not_cost_the_others() -> None:
    value = [None, 7, {"role": "user", "content": "kept"}]
    assert messages.question_of(messages.column(value, "user").messages) == "kept"  # type: ignore[union-attr]


def test_an_answer_that_only_calls_tools_is_shown_as_its_calls() -> None:
    text = '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"f","arguments":"{\\"a\\":1}"}]}]'
    found = _columns(gen_ai__operation__name="chat", gen_ai__output__messages=text)
    assert found["output"] == '[{"name":"f","arguments":{"a":1}}]'


def test_a_tool_shows_its_arguments_and_a_quoted_result_loses_its_quotes() -> None:
    found = _columns(
        gen_ai__operation__name="execute_tool",
        gen_ai__tool__name="search",
        gen_ai__tool__call__arguments='{"q": "x"}',
        gen_ai__tool__call__result='"30 days"',
    )
    assert (found["input"], found["tool_result"], found["output"]) == ('{"q": "x"}', "30 days", "30 days")


@pytest.mark.parametrize(
    ("sent", "provider"),
    [("OpenAI", "openai"), ("openai.chat", "openai"), ("az.ai.openai", "azure.ai.openai"), ("langchain", None)],
)
def test_a_provider_has_one_name_and_a_framework_is_none(sent: str, provider: str | None) -> None:
    assert _columns(gen_ai__provider__name=sent).get("provider") == provider


def test_the_error_type_of_a_failed_span_comes_from_its_exception() -> None:
    event = Event("exception", 1, {"exception.type": "ValueError", "exception.message": "no"})
    assert normalise(RawSpan("s", events=[event], status="error"))["error_type"] == "ValueError"
    assert "error_type" not in normalise(RawSpan("s", events=[event]))  # it was caught and the span went well


def test_content_in_several_span_events_is_put_together() -> None:
    name = "gen_ai.client.inference.operation.details"
    events = [
        Event(name, 1, {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"q"}]}]'}),
        Event(name, 2, {"gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"a"}]}]'}),
    ]
    found = normalise(RawSpan("s", attributes={"gen_ai.operation.name": "chat"}, events=events))
    assert (found["input"], found["output"]) == ("q", "a")


def test_content_in_span_events_of_one_message_each_is_read() -> None:
    events = [
        Event("gen_ai.user.message", 1, {"content": "q"}),
        Event("gen_ai.choice", 2, {"index": 0, "finish_reason": "stop", "message": '{"content": "a"}'}),
    ]
    found = normalise(RawSpan("s", attributes={"gen_ai.operation.name": "chat"}, events=events))
    assert (found["input"], found["output"]) == ("q", "a")


def test_the_oldest_prompt_and_completion_events_are_read() -> None:
    events = [
        Event("gen_ai.content.prompt", 1, {"gen_ai.prompt": '[{"role": "user", "content": "q"}]'}),
        Event("gen_ai.content.completion", 2, {"gen_ai.completion": '[{"role": "assistant", "content": "a"}]'}),
    ]
    found = normalise(RawSpan("s", attributes={"gen_ai.system": "openai"}, events=events))
    assert (found["provider"], found["input"], found["output"]) == ("openai", "q", "a")


def test_resource_facts_stand_on_every_span() -> None:
    resource = {"service.name": "web", "tracekit.project": "p", "deployment.environment": "prod"}
    found = normalise(RawSpan("s", resource=resource))
    assert (found["service_name"], found["project"], found["environment"]) == ("web", "p", "prod")
    assert "service_name" not in normalise(RawSpan("s", resource={"service.name": "unknown_service:python"}))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=5), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "role": JSON,
        "parts": JSON,
        "content": JSON,
        "tool_calls": JSON,
        "type": st.sampled_from(["text", "tool_call", "tool_use", "tool_result", "tool_call_response"]),
        "text": JSON,
        "function": JSON,
        "messages": JSON,
        "documents": JSON,
        "metadata": JSON,
        "score": JSON,
    },
)


@given(st.sampled_from(sorted(fields.READERS)), st.one_of(JSON, SHAPES, st.lists(SHAPES, max_size=3)))
def test_no_value_breaks_a_reader(field: str, value: object) -> None:
    read = fields.READERS[field]
    read(value)
    read(str(value))
    read(messages.plain_text(value))


def test_derived_columns_are_columns_of_the_lake() -> None:
    assert set(fields.READERS) <= set(SPANS.names)
