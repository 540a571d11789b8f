"""The chunks of a streamed response are joined into what the whole one says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tracekit
from tracekit.testing import Recorder, recorded

from .test_responses import ANTHROPIC, CHAT, EXPECTED, GEMINI, LANGCHAIN, RESPONSE, objects, parts, told


def chat_chunks() -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5-mini-2025", "choices": [choice]}

    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Let me "}),
        chunk({"content": "look."}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
        chunk({}, "tool_calls"),
        {**chunk({}), "choices": [], "usage": CHAT["usage"]},
    ]


def response_events() -> list[dict[str, Any]]:
    return [
        {"type": "response.created", "response": {**RESPONSE, "output": [], "usage": None, "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "Let me "},
        {"type": "response.completed", "response": RESPONSE},
    ]


def anthropic_events() -> list[dict[str, Any]]:
    begun = {**ANTHROPIC, "content": [], "stop_reason": None}
    begun["usage"] = {**ANTHROPIC["usage"], "output_tokens": 1}  # type: ignore[dict-item]
    call = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Let me "}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "look."}},
        {"type": "content_block_start", "index": 2, "content_block": call},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city"'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ': "Oslo"}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 30}},
        {"type": "message_stop"},
    ]


def gemini_chunks() -> list[dict[str, Any]]:
    def chunk(part: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"role": "model", "parts": [part]}, **more}], "responseId": "r1"}

    last = chunk({"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}}}, finishReason="STOP")
    usage = {"usageMetadata": GEMINI["usageMetadata"], "modelVersion": "gemini-3-pro"}
    return [
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "Let me "}),
        chunk({"text": "look."}),
        {**last, **usage},
    ]


def langchain_chunks() -> list[dict[str, Any]]:
    def chunk(**more: Any) -> dict[str, Any]:
        return {"type": "AIMessageChunk", "id": "run-1", "content": "", "tool_call_chunks": [], **more}

    return [
        chunk(content="Let me "),
        chunk(content="look."),
        chunk(tool_call_chunks=[{"index": 0, "id": "c1", "name": "weather", "args": '{"city"'}]),
        chunk(tool_call_chunks=[{"index": 0, "id": None, "name": None, "args": ': "Oslo"}'}]),
        chunk(response_metadata=LANGCHAIN["response_metadata"], usage_metadata=LANGCHAIN["usage_metadata"]),
    ]


CHUNKS: dict[str, list[dict[str, Any]]] = {
    "openai chat": chat_chunks(),
    "openai responses": response_events(),
    "anthropic": anthropic_events(),
    "gemini": gemini_chunks(),
    "langchain": langchain_chunks(),
}


@pytest.mark.parametrize("shape", [dict, objects], ids=["json", "objects"])
@pytest.mark.parametrize("name", CHUNKS)
def test_a_streamed_response_says_the_same_as_a_whole_one(recorder: Recorder, name: str, shape: Any) -> None:
    chunks = [shape(chunk) for chunk in CHUNKS[name]]

    @tracekit.llm
    def generate() -> Iterator[object]:
        yield from chunks

    @tracekit.llm
    def returned() -> Iterator[object]:
        return iter(chunks)

    @tracekit.llm
    async def async_stream() -> AsyncIterator[object]:
        for chunk in chunks:
            yield chunk

    async def consume() -> list[object]:
        return [chunk async for chunk in async_stream()]

    assert list(generate()) == list(returned()) == asyncio.run(consume()) == chunks
    with tracekit.span("ask", step="llm") as span:
        span.record(chunks)
    _, expected_parts, expected = EXPECTED[name]
    assert len(recorder.spans) == 4
    for found in recorder.spans:
        assert parts(found.attributes) == expected_parts
        assert told(found.attributes) == expected


@pytest.mark.parametrize("name", CHUNKS)
def test_a_stream_that_is_left_early_records_what_had_come(recorder: Recorder, name: str) -> None:
    @tracekit.llm
    def generate() -> Iterator[object]:
        yield from CHUNKS[name]

    stream = generate()
    for _ in range(len(CHUNKS[name]) - 1):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    attributes = recorder.spans[0].attributes
    assert attributes["tracekit.output.partial"] is True
    assert "Let me" in attributes["gen_ai.output.messages"]


def test_a_streams_output_is_its_text_where_it_says_nothing_else(recorder: Recorder) -> None:
    @tracekit.llm
    def generate() -> Iterator[object]:
        yield from CHUNKS["openai chat"][:3]

    list(generate())
    assert recorder.spans[0].output == "Let me look."
    assert recorder.spans[0].attributes["output.mime_type"] == "text/plain"


def test_content_that_is_switched_off_stays_off() -> None:
    @tracekit.llm
    def generate() -> Iterator[object]:
        yield from CHUNKS["anthropic"]

    with recorded(capture_content=False) as recorder:
        list(generate())
        with tracekit.span("ask", step="llm") as span:
            span.record(CHAT)
    assert "Let me" not in json.dumps([span.attributes for span in recorder.spans])
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in recorder.spans] == [30, 30]
