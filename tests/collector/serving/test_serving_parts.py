"""Frames, questions and answers: the parts of serving that need no server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit._serving_frames import Frames, frame
from tracekit._serving_worker import encoded
from tracekit_collector.serving.messages import Asked, said
from tracekit_collector.serving.refusals import Refusal

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, (1 << 64) - 1), st.binary(max_size=200)), max_size=8)


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_the_same_however_the_bytes_are_cut(frames: list[tuple[int, int, bytes]], sizes: list[int]) -> None:
    data = b"".join(frame(*each) for each in frames)
    reader, found, at, turn = Frames(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == frames


@pytest.mark.parametrize(
    ("schema", "asked"),
    [
        ({}, "two"),
        ({"type": "string"}, "two"),
        ({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"question": {"type": "string"}}}]}, "two"),
        ({"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}, {"q": "two"}),
        (
            {
                "type": "object",
                "required": ["city"],
                "properties": {"city": {"$ref": "#/$defs/City"}, "tone": {"type": "string"}},
                "$defs": {"City": {"type": "string"}},
            },
            {"city": "two"},
        ),
        (
            {"type": "object", "properties": {"messages": {"type": "array"}, "temperature": {"type": "number"}}},
            {
                "messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
                "temperature": 0.5,
            },
        ),
    ],
)
def test_what_an_agent_is_asked_follows_from_its_signature(schema: dict[str, Any], asked: object) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert Asked(schema).input(messages, {"temperature": 0.5, "top_p": 1}) == asked


def test_a_chat_without_a_user_message_asks_nothing() -> None:
    with pytest.raises(Refusal, match="there is none"):
        Asked({}).input([{"role": "system", "content": "be short"}], {})


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("yes", "yes"),
        (None, ""),
        ({"answer": "yes", "sources": [1]}, "yes"),
        ({"messages": [{"type": "human", "content": "?"}, {"type": "ai", "content": "yes"}]}, "yes"),
        ({"choices": [{"message": {"role": "assistant", "content": "yes"}}]}, "yes"),
        ({"role": "assistant", "content": [{"type": "text", "text": "yes"}]}, "yes"),
        ({"verdict": 1}, '{"verdict":1}'),
        ([1, 2], "[1,2]"),
    ],
)
def test_what_a_chat_shows_of_an_output(output: object, text: str) -> None:
    assert said(output) == text


def test_outputs_that_json_lacks_words_for_go_out_all_the_same() -> None:
    assert encoded({"share": float("nan"), "parts": {1}, "text": "\ud800"}) == (
        b'{"share":"NaN","parts":[1],"text":"\\\\ud800"}'
    )
