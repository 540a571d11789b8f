"""Spans by hand, sessions, cases, scores: what they record."""

from __future__ import annotations

import asyncio
import contextvars
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import tracekit
from tracekit import _guard
from tracekit.errors import UsageError
from tracekit.testing import Recorder, recorded


def test_a_block_is_a_span_with_input_and_output(recorder: Recorder) -> None:
    with tracekit.span("look", step="tool", input={"query": "x"}, metadata={"shelf": 3}) as span:
        span.output = [1, 2]
        assert span.trace_id == f"{1:032x}"
        assert span.span_id == f"{1:016x}"
        assert tracekit.trace_id() == span.trace_id
    assert span.output == [1, 2]
    recorded_span = recorder.find(name="look")
    assert recorded_span.name == "execute_tool look"
    assert recorded_span.attributes == {
        "tracekit.step": "tool",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.type": "function",
        "input.value": '{"query": "x"}',
        "input.mime_type": "application/json",
        "gen_ai.tool.call.arguments": '{"query": "x"}',
        "tracekit.metadata.shelf": 3,
        "output.value": "[1, 2]",
        "output.mime_type": "application/json",
        "gen_ai.tool.call.result": "[1, 2]",
    }
    assert recorded_span.start_ns == 1_700_000_000_000_000_000
    assert recorded_span.end_ns - recorded_span.start_ns == 1_000_000_000


def test_set_puts_each_fact_where_it_belongs_and_unknown_ones_into_metadata(recorder: Recorder) -> None:
    with tracekit.span("ask", step="llm", input="Why?") as span:
        span.set(
            model="small-1",
            response_model="small-1-2026",
            provider="example",
            temperature=0.25,
            max_tokens=100,
            input_tokens=None,
            output_tokens=7,
            cache_write_tokens=2,
            response_id="r1",
            finish_reasons=["stop"],
            prompt_name="greeting",
            prompt_version="4",
            tags=["a", "b"],
            tool_definitions=[{"name": "t"}],
            system_instructions="Be brief.",
            shelf={"row": 1},
            huge=1 << 80,
        )
        span.output = "Because."
    attributes = recorder.find(step="llm").attributes
    assert {key: value for key, value in attributes.items() if key not in ("tracekit.step", "input.mime_type")} == {
        "gen_ai.operation.name": "chat",
        "input.value": "Why?",
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}]',
        "gen_ai.request.model": "small-1",
        "gen_ai.response.model": "small-1-2026",
        "gen_ai.provider.name": "example",
        "gen_ai.request.temperature": 0.25,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_write.input_tokens": 2,
        "gen_ai.response.id": "r1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.prompt.name": "greeting",
        "gen_ai.prompt.version": "4",
        "tracekit.tags": ("a", "b"),
        "gen_ai.tool.definitions": '[{"name": "t"}]',
        "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
        "tracekit.metadata.shelf": '{"row": 1}',
        "tracekit.metadata.huge": "1208925819614629174706176",
        "output.value": "Because.",
        "output.mime_type": "text/plain",
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Because."}]}]',
    }


def test_an_error_in_a_block_fails_it_and_goes_on(recorder: Recorder) -> None:
    problem = ValueError("bad")
    with pytest.raises(ValueError, match="bad") as caught, tracekit.span("x"):
        raise problem
    assert caught.value is problem
    span = recorder.spans[0]
    assert (span.status, span.error, len(span.events)) == ("error", "ValueError", 1)


def test_a_handled_error_can_be_marked(recorder: Recorder) -> None:
    with tracekit.span("x", step="tool") as span:
        try:
            raise KeyError("k")
        except KeyError as error:
            span.fail(error)
    assert recorder.spans[0].error == "KeyError"


def test_async_blocks_and_nesting(recorder: Recorder) -> None:
    async def main() -> None:
        async with tracekit.span("outer", step="chain"), tracekit.session("s1"), tracekit.span("inner"):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert recorder.tree() == "outer\n  inner"
    assert recorder.spans[1].attributes["session.id"] == "s1"


def test_an_unknown_step_kind_is_told() -> None:
    with pytest.raises(UsageError, match="there is no step kind 'toll'"):
        tracekit.span("x", step="toll")  # type: ignore[arg-type]


def test_a_session_and_its_user_are_on_every_span_inside_and_none_outside(recorder: Recorder) -> None:
    @tracekit.tool
    def look() -> None: ...

    with tracekit.session("chat-1", user="ada") as session:
        assert session == "chat-1"
        look()
        with recorder.tracer_provider.get_tracer("another.library").start_as_current_span("theirs"):
            pass
        with tracekit.session("chat-2"):
            look()
    look()
    keys = ("session.id", "gen_ai.conversation.id", "user.id")
    assert [tuple(span.attributes.get(key) for key in keys) for span in recorder.spans] == [
        ("chat-1", "chat-1", "ada"),
        ("chat-1", "chat-1", "ada"),
        ("chat-2", "chat-2", "ada"),
        (None, None, None),
    ]


def test_a_session_without_an_id_gets_one(recorder: Recorder) -> None:
    with tracekit.session() as first, tracekit.session() as second:
        assert len(first) == 26
        assert first != second


def test_a_case_and_its_repeat_are_on_every_span_inside(recorder: Recorder) -> None:
    with tracekit.case("q-17", repeat=0), tracekit.span("x"):
        pass
    with tracekit.case("q-18"), tracekit.span("y"):
        pass
    found = [(s.attributes.get("tracekit.case.id"), s.attributes.get("tracekit.case.repeat")) for s in recorder.spans]
    assert found == [("q-17", 0), ("q-18", None)]


def test_a_context_that_is_copied_to_a_thread_takes_the_session_along(recorder: Recorder) -> None:
    @tracekit.tool
    def look() -> None: ...

    with tracekit.span("main"), tracekit.session("s1"), ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, look).result()
    assert recorder.tree() == "main\n  execute_tool look"
    assert recorder.spans[1].attributes["session.id"] == "s1"


def test_another_instrumentations_agent_keeps_its_own_version() -> None:
    with recorded(agent="bot", agent_version="3") as recorder:
        tracer = recorder.tracer_provider.get_tracer("another.library")
        tracer.start_span("a").end()
        tracer.start_span("b", attributes={"gen_ai.agent.name": "theirs"}).end()
    found = [(s.attributes.get("gen_ai.agent.name"), s.attributes.get("gen_ai.agent.version")) for s in recorder.spans]
    assert found == [("bot", "3"), ("theirs", None)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, {"gen_ai.evaluation.score.value": 1.0, "tracekit.score.type": "bool"}),
        (False, {"gen_ai.evaluation.score.value": 0.0, "tracekit.score.type": "bool"}),
        (3, {"gen_ai.evaluation.score.value": 3.0, "tracekit.score.type": "number"}),
        (0.25, {"gen_ai.evaluation.score.value": 0.25, "tracekit.score.type": "number"}),
        ("good", {"gen_ai.evaluation.score.label": "good", "tracekit.score.type": "label"}),
    ],
)
def test_a_score_is_a_record_on_the_current_trace(recorder: Recorder, value, expected) -> None:
    with tracekit.span("answer"), tracekit.span("inner"):
        tracekit.score("helpful", value, explanation="said thanks", metadata={"n": 1})
    record = recorder.records[0]
    assert record.event == "gen_ai.evaluation.result"
    assert (record.trace_id, record.span_id) == (f"{1:032x}", None)
    assert record.attributes == {
        "gen_ai.evaluation.name": "helpful",
        **expected,
        "gen_ai.evaluation.explanation": "said thanks",
        "tracekit.score.target": "trace",
        "tracekit.score.source": "user",
        "tracekit.score.metadata": '{"n": 1}',
    }


def test_a_score_can_name_its_trace_and_span(recorder: Recorder) -> None:
    tracekit.score(
        "ok", 1.0, label="fine", trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331",
        source="human", annotator="ada", direction="maximize",
    )  # fmt: skip
    record = recorder.records[0]
    assert (record.trace_id, record.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert record.attributes == {
        "gen_ai.evaluation.name": "ok",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "fine",
        "tracekit.score.type": "number",
        "tracekit.score.target": "span",
        "tracekit.score.source": "human",
        "tracekit.score.annotator": "ada",
        "tracekit.score.direction": "maximize",
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, object(), [1]])
def test_a_score_without_a_value_is_not_invented(recorder: Recorder, value, caplog) -> None:
    with tracekit.span("answer"):
        tracekit.score("ok", value)
    assert recorder.records == []
    assert sum(_guard.faults.values()) == 1
    assert len(caplog.records) == 1


def test_a_score_outside_of_any_trace_says_what_to_do(recorder: Recorder, caplog) -> None:
    tracekit.score("ok", True)
    tracekit.score("ok", True, trace_id="not hex")
    assert recorder.records == []
    assert "call it inside a span, or give trace_id" in caplog.text


def test_registering_an_agent_version_marks_the_spans_that_follow(recorder: Recorder) -> None:
    version = tracekit.register_agent(
        "bot",
        parameters={"temperature": 0.5},
        prompts={"system": "Be brief."},
        code={"commit": "4f2a"},
        dependencies={"httpx": "0.28.1"},
        alias="production",
    )
    with tracekit.span("x"):
        pass
    assert version.label == version.digest[:12]
    span = recorder.spans[0]
    assert span.attributes["gen_ai.agent.name"] == "bot"
    assert span.attributes["gen_ai.agent.version"] == version.label
    record = recorder.records[0]
    assert (record.event, record.trace_id) == ("tracekit.agent.version", None)
    assert record.attributes == {
        "gen_ai.agent.name": "bot",
        "gen_ai.agent.version": version.label,
        "tracekit.agent.digest": version.digest,
        "tracekit.agent.code": '{"commit": "4f2a"}',
        "tracekit.agent.parameters": '{"temperature": 0.5}',
        "tracekit.agent.prompts": '{"system": "Be brief."}',
        "tracekit.agent.dependencies": '{"httpx": "0.28.1"}',
        "tracekit.agent.alias": "production",
    }


def test_text_that_utf8_cannot_hold_is_escaped_everywhere(recorder: Recorder) -> None:
    bad = "a\ud800b"

    @tracekit.llm
    def ask(prompt: str, model: str) -> str:
        raise ValueError(bad)

    with tracekit.session(bad, user=bad), tracekit.case(bad), pytest.raises(ValueError, match="a"):
        ask(bad, bad)
    with tracekit.span(bad, step="tool", input=bad, metadata={"x": bad, "y": [bad]}) as span:
        span.output = {bad: bad}
    tracekit.score(bad, bad, explanation=bad)
    for said in (*recorder.spans, *recorder.records):
        json.dumps(said.attributes, ensure_ascii=False).encode()
    for span in recorder.spans:
        json.dumps([span.name, span.events], ensure_ascii=False).encode()


def test_a_tree_names_what_was_recorded_when_nothing_is_found(recorder: Recorder) -> None:
    with tracekit.span("a"):
        pass
    with pytest.raises(LookupError, match=r"0 spans have name='b'; recorded:\n  a"):
        recorder.find(name="b")


def test_recordings_do_not_see_each_other() -> None:
    with recorded() as outer, tracekit.span("one"):
        with recorded() as inner, tracekit.span("two"):
            pass
        with tracekit.span("three"):
            pass
    assert inner.tree() == "two"
    assert outer.tree() == "one\n  three"
