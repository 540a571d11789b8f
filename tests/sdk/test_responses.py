"""What models' responses say is read from the clients' objects, from the same JSON, and from the chunks of a stream."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

import tracekit
from tracekit import _guard, _responses
from tracekit.testing import Recorder


def objects(value: Any) -> Any:
    """JSON as the objects that a client makes of it: facts by attribute."""
    if isinstance(value, dict):
        return SimpleNamespace(
            **{key: objects(item) if key not in {"args", "input"} else item for key, item in value.items()}
        )
    return [objects(item) for item in value] if isinstance(value, list) else value


CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-mini-2025",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
                ],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5-2025",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
    ],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    },
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-5-2026",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
    ],
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 64,
        "cache_creation_input_tokens": 26,
        "output_tokens": 30,
    },
}
GEMINI = {
    "responseId": "r1",
    "modelVersion": "gemini-3-pro",
    "candidates": [
        {
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "Let me look."},
                    {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}}},
                ],
            },
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 100,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 20,
        "cachedContentTokenCount": 64,
    },
}
LANGCHAIN = {
    "type": "ai",
    "id": "run-1",
    "content": "Let me look.",
    "tool_calls": [{"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}],
    "usage_metadata": {
        "input_tokens": 100,
        "output_tokens": 30,
        "total_tokens": 130,
        "input_token_details": {"cache_read": 64},
        "output_token_details": {"reasoning": 20},
    },
    "response_metadata": {"finish_reason": "tool_calls", "model_name": "gpt-5-mini-2025", "model_provider": "openai"},
}

TEXT = {"type": "text", "content": "Let me look."}
CALL = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}
THOUGHT = {"type": "reasoning", "content": "hm"}
USAGE = {
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 30,
    "gen_ai.usage.cache_read.input_tokens": 64,
    "gen_ai.usage.reasoning.output_tokens": 20,
}
EXPECTED: dict[str, tuple[Any, list[Any], dict[str, Any]]] = {
    "openai chat": (
        CHAT,
        [TEXT, CALL],
        {
            **USAGE,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "gpt-5-mini-2025",
            "gen_ai.response.finish_reasons": ("tool_calls",),
        },
    ),
    "openai responses": (
        RESPONSE,
        [THOUGHT, CALL, TEXT],
        {
            **USAGE,
            "gen_ai.response.id": "resp_1",
            "gen_ai.response.model": "gpt-5-2025",
            "gen_ai.response.finish_reasons": ("tool_calls",),
        },
    ),
    "anthropic": (
        ANTHROPIC,
        [THOUGHT, TEXT, CALL],
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 30,
            "gen_ai.usage.cache_read.input_tokens": 64,
            "gen_ai.usage.cache_write.input_tokens": 26,
            "gen_ai.response.id": "msg_1",
            "gen_ai.response.model": "claude-5-2026",
            "gen_ai.response.finish_reasons": ("tool_use",),
        },
    ),
    "gemini": (
        GEMINI,
        [THOUGHT, TEXT, CALL],
        {
            **USAGE,
            "gen_ai.response.id": "r1",
            "gen_ai.response.model": "gemini-3-pro",
            "gen_ai.response.finish_reasons": ("stop",),
        },
    ),
    "langchain": (
        LANGCHAIN,
        [TEXT, CALL],
        {
            **USAGE,
            "gen_ai.provider.name": "openai",
            "gen_ai.response.id": "run-1",
            "gen_ai.response.model": "gpt-5-mini-2025",
            "gen_ai.response.finish_reasons": ("tool_calls",),
        },
    ),
}


def told(attributes: dict[str, Any]) -> dict[str, Any]:
    names = ("gen_ai.usage", "gen_ai.response", "gen_ai.provider")
    return {
        key: value
        for key, value in attributes.items()
        if key.startswith(names) and key != "gen_ai.response.time_to_first_chunk"
    }


def parts(attributes: dict[str, Any]) -> list[Any]:
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert message["role"] == "assistant"
    return message["parts"]


@pytest.mark.parametrize("shape", [dict, objects], ids=["json", "objects"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_returned_response_is_read(recorder: Recorder, name: str, shape: Any) -> None:
    raw, expected_parts, expected = EXPECTED[name]
    response = shape(raw)

    @tracekit.llm
    def ask(prompt: str) -> object:
        return response

    assert ask("What is the weather?") is response
    attributes = recorder.find(step="llm").attributes
    assert parts(attributes) == expected_parts
    assert told(attributes) == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_a_response_can_be_recorded_by_hand(recorder: Recorder, name: str) -> None:
    raw, expected_parts, expected = EXPECTED[name]
    with tracekit.span("ask", step="llm") as span:
        span.record(objects(raw))
    with tracekit.span("ask", step="llm") as span:
        span.record(raw)
        span.output = "my own"
    first, second = (span.attributes for span in recorder.spans)
    assert parts(first) == expected_parts
    assert told(first) == expected
    assert json.loads(first["output.value"])[0]["parts"] == expected_parts
    assert second["output.value"] == "my own"


def test_langchains_results_hold_messages(recorder: Recorder) -> None:
    for result in (
        {"generations": [{"message": LANGCHAIN, "text": ""}]},
        {"generations": [[{"message": LANGCHAIN, "text": ""}]]},
    ):
        with tracekit.span("ask", step="llm") as span:
            span.record(objects(result))
    for found in recorder.spans:
        assert parts(found.attributes) == [TEXT, CALL]
        assert told(found.attributes) == EXPECTED["langchain"][2]


def test_newer_spellings_of_gemini_are_read(recorder: Recorder) -> None:
    response = SimpleNamespace(
        response_id="r1",
        model_version="gemini-3",
        candidates=[
            SimpleNamespace(
                finish_reason=SimpleNamespace(name="MAX_TOKENS"),
                content=SimpleNamespace(role="model", parts=[SimpleNamespace(text="cut", function_call=None)]),
            )
        ],
        usage_metadata=SimpleNamespace(prompt_token_count=7, candidates_token_count=2, thoughts_token_count=None),
    )
    with tracekit.span("ask", step="llm") as span:
        span.record(response)
    attributes = recorder.spans[0].attributes
    assert parts(attributes) == [{"type": "text", "content": "cut"}]
    assert told(attributes) == {
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "gemini-3",
        "gen_ai.response.finish_reasons": ("max_tokens",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
    }


def test_what_the_code_says_wins_over_what_the_response_says(recorder: Recorder) -> None:
    @tracekit.llm(provider="example")
    def ask() -> object:
        tracekit.current_span().set(input_tokens=1, response_model="mine")
        return CHAT

    ask()
    attributes = recorder.spans[0].attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1
    assert attributes["gen_ai.usage.output_tokens"] == 30
    assert attributes["gen_ai.response.model"] == "mine"
    assert attributes["gen_ai.provider.name"] == "example"


@pytest.mark.parametrize("capture", [False, ["prompt"], {"output": False}])
def test_without_the_content_the_tokens_are_recorded_all_the_same(recorder: Recorder, capture: Any) -> None:
    @tracekit.llm(capture=capture)
    def ask(prompt: str) -> object:
        return CHAT

    ask("x")
    attributes = recorder.spans[0].attributes
    assert told(attributes) == EXPECTED["openai chat"][2]
    assert "Let me look." not in json.dumps(attributes)


@pytest.mark.parametrize(
    "value",
    [
        MagicMock(),
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": "text"},
        {"type": "message"},
        {"candidates": [1]},
        {"output": [], "usage": None},
        {"generations": [[]]},
        SimpleNamespace(choices=[SimpleNamespace()]),
        object(),
        [],
        [{"role": "user", "content": "x"}],
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_is_no_response_is_none(value: Any) -> None:
    assert _responses.read(value) is None
    assert _responses.folded(value) is None


def test_what_cannot_be_recorded_is_said_once(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with tracekit.span("ask", step="llm") as span:
        span.record(3)
        span.record(3)
    assert [record.message for record in caplog.records] == [
        "int is no model's response that is known; say what it has with `set`"
    ]
    assert _guard.faults == {"recording a response": 2}


@pytest.mark.parametrize("name", EXPECTED)
def test_broken_responses_change_nothing(recorder: Recorder, name: str) -> None:
    """Whatever is missing or of the wrong type, the call goes on and its span is recorded."""
    raw = EXPECTED[name][0]
    broken: list[dict[str, Any]] = [{**raw, key: value} for key in raw for value in (None, 3, "x", [None], {"a": 1})]

    @tracekit.llm
    def ask(response: object) -> object:
        return response

    for response in broken:
        assert ask(response) is response
        with tracekit.span("ask", step="llm") as span:
            span.record([response, response])
    assert len(recorder.spans) == 2 * len(broken)
    assert all(span.status == "unset" for span in recorder.spans)
    assert all(span.output is not None for span in recorder.spans[::2])
