"""What the input and output of a step are as span attributes, by the step's kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from opentelemetry.util.types import AttributeValue

from tracekit import _messages
from tracekit import attributes as names
from tracekit._capture import JSON, TEXT, attribute, clean_text, to_json, to_text
from tracekit._previews import qualified_name

Attributes = dict[str, AttributeValue]

SPAN_LIMIT = 262_144
"""The most characters that the attributes of one span take together, but for small ones."""

_SMALL = 2_048  # OpenTelemetry allows a span 128 attributes: as many small ones stay within the limit
_LEAST = 4_096

_SYSTEM_KEYS = ("system", "system_prompt", "system_instructions", "instructions")
_PROMPT_KEYS = ("prompt", "question", "query", "input", "text", "message")
_QUERY_KEYS = ("query", "question", "text", "q", "input")
_REQUEST_KEYS = {
    "model": names.REQUEST_MODEL,
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}
_SCALARS = (str, int, float)

SET_KEYS: dict[str, str] = {
    **_REQUEST_KEYS,
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "provider": names.PROVIDER,
    "response_model": names.RESPONSE_MODEL,
    "response_id": names.RESPONSE_ID,
    "finish_reasons": names.FINISH_REASONS,
    "time_to_first_chunk": names.TIME_TO_FIRST_CHUNK,
    "input_tokens": names.INPUT_TOKENS,
    "output_tokens": names.OUTPUT_TOKENS,
    "cached_tokens": names.CACHED_TOKENS,
    "cache_write_tokens": names.CACHE_WRITE_TOKENS,
    "reasoning_tokens": names.REASONING_TOKENS,
    "cost_usd": names.COST_USD,
    "tool_name": names.TOOL_NAME,
    "tool_type": names.TOOL_TYPE,
    "tool_description": names.TOOL_DESCRIPTION,
    "tool_call_id": names.TOOL_CALL_ID,
    "prompt_name": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
    "agent_name": names.AGENT_NAME,
    "agent_version": names.AGENT_VERSION,
    "session_id": names.SESSION,
    "user_id": names.USER,
    "tags": names.TAGS,
}
"""What `Span.set` calls the attributes that have a name of their own."""


def arguments(kind: str, values: Mapping[str, object]) -> Attributes:
    """The attributes of a call's arguments.

    Args:
        kind: The step kind.
        values: The arguments by parameter name.
    """
    text = to_json(values)
    found: Attributes = {names.INPUT: text, names.INPUT_MIME: JSON}
    if kind == "tool":
        found[names.TOOL_ARGUMENTS] = text
    elif kind in {"llm", "embedding", "retriever"}:
        with suppress(Exception):  # an object that resists being looked at is in the input all the same
            _add_request(found, kind, values)
    return found


def given(kind: str, value: object) -> Attributes:
    """The attributes of an input that is given as one value.

    Args:
        kind: The step kind.
        value: The input.
    """
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return arguments(kind, value)
    text, mime = to_text(value)
    found: Attributes = {names.INPUT: text, names.INPUT_MIME: mime}
    if kind == "tool":
        found[names.TOOL_ARGUMENTS] = text
    elif kind == "llm":
        with suppress(Exception):  # as above
            _add_messages(found, names.INPUT_MESSAGES, value, role="user")
    elif kind == "retriever" and mime == TEXT:
        found[names.RETRIEVAL_QUERY] = text
    return found


def result(kind: str, value: object) -> Attributes:
    """The attributes of a step's output.

    Args:
        kind: The step kind.
        value: The output.
    """
    text, mime = to_text(value)
    found: Attributes = {names.OUTPUT: text, names.OUTPUT_MIME: mime}
    if kind == "tool":
        found[names.TOOL_RESULT] = text
    elif kind == "llm":
        with suppress(Exception):  # as above
            _add_messages(found, names.OUTPUT_MESSAGES, value, role="assistant")
    elif kind in {"retriever", "reranker"}:
        with suppress(Exception):  # as above
            documents = _messages.as_documents(value)
            if documents is not None:
                found[names.RETRIEVAL_DOCUMENTS] = to_json(documents)
    return found


def facts(values: Mapping[str, object]) -> Attributes:
    """The attributes of what `Span.set` was given; `None` is unknown, and sets nothing."""
    found: Attributes = {}
    for key, value in values.items():
        if value is None:
            continue
        structured = _STRUCTURED.get(key)
        if key == "metadata" and isinstance(value, Mapping):
            found.update(
                {names.METADATA_PREFIX + str(name): attribute(fact) for name, fact in value.items() if fact is not None}
            )
        elif structured is not None:
            name, write = structured
            found[name] = write(value)
        elif key in {"finish_reasons", "finish_reason", "tags"}:
            listed = [value] if type(value) is str else value
            found[SET_KEYS.get(key, names.FINISH_REASONS)] = attribute(listed)
        else:
            found[SET_KEYS.get(key, names.METADATA_PREFIX + key)] = attribute(value)
    return found


def messages_text(messages: object) -> str:
    """Messages that are in OpenTelemetry's form already, as JSON."""
    return to_json(messages)


def fitted(found: Attributes, known: Mapping[str, object]) -> Attributes:
    """The attributes that are to be set, with the large ones cut where the span is full.

    Args:
        found: What is to be set.
        known: What the span has already.
    """
    large = [key for key, value in found.items() if type(value) is str and len(value) > _SMALL]
    if not large:
        return found
    room = SPAN_LIMIT - sum(len(value) for key, value in known.items() if type(value) is str and key not in found)
    room -= sum(len(value) for value in found.values() if type(value) is str and len(value) <= _SMALL)
    for key in large:
        text = str(found[key])
        if len(text) > room:
            found[key] = text = _cut(text, room)
        room -= len(text)
    return found


def _cut(text: str, room: int) -> str:
    """As much of an attribute's text as there is room for; what was JSON still is."""
    mark = f"…[truncated: {len(text)} characters; the span is full]"
    try:
        value = json.loads(text)
    except ValueError:
        return clean_text(text, limit=room) if room >= _LEAST else mark
    return to_json(value, limit=room) if room >= _LEAST else json.dumps(mark, ensure_ascii=False)


def failure(error: BaseException) -> tuple[str, str]:
    """An exception's class and message as texts, whatever the exception does when it is asked."""
    try:
        kind = qualified_name(type(error))
    except Exception:  # noqa: BLE001 - a metaclass can refuse its name
        kind = "Exception"
    try:
        return kind, clean_text(str(error), limit=8_192)
    except Exception:  # noqa: BLE001 - an exception of the user's may raise when it is asked for its text
        return kind, "(its message cannot be read)"


def _add_messages(found: Attributes, name: str, value: object, *, role: str) -> None:
    messages = _messages.as_messages(value, role=role)
    if messages is not None:
        found[name] = to_json(messages)


def _add_request(found: Attributes, kind: str, values: Mapping[str, object]) -> None:
    if kind == "retriever":
        query = _only_text(values, _QUERY_KEYS)
        if query is not None:
            found[names.RETRIEVAL_QUERY] = clean_text(query)
        return
    for key, name in _REQUEST_KEYS.items():
        value = values.get(key)
        if type(value) in _SCALARS:
            found[name] = attribute(value)
    if kind == "llm":
        _add_prompt(found, values)


def _add_prompt(found: Attributes, values: Mapping[str, object]) -> None:
    messages = next((value for value in values.values() if _messages.are_messages(value)), None)
    spoken = messages if messages is not None else _only_text(values, _PROMPT_KEYS)
    if spoken is not None:
        _add_messages(found, names.INPUT_MESSAGES, spoken, role="user")
    system = next((values[key] for key in _SYSTEM_KEYS if isinstance(values.get(key), str)), None)
    if system is not None:
        found[names.SYSTEM_INSTRUCTIONS] = _instructions(system)


def _only_text(values: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    """The text under the first of the keys, else the only text there is."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, str):
            return value
    texts = [
        value
        for key, value in values.items()
        if isinstance(value, str) and key not in _SYSTEM_KEYS and key not in _REQUEST_KEYS
    ]
    return texts[0] if len(texts) == 1 else None


def _instructions(value: object) -> str:
    return to_json([{"type": "text", "content": value}] if type(value) is str else value)


def _chat(role: str) -> Callable[[Any], str]:
    def write(value: object) -> str:
        messages = None
        with suppress(Exception):  # as above
            messages = _messages.as_messages(value, role=role)
        return to_json(value if messages is None else messages)

    return write


def _documents(value: object) -> str:
    documents = None
    with suppress(Exception):  # as above
        documents = _messages.as_documents(value)
    return to_json(value if documents is None else documents)


_STRUCTURED: dict[str, tuple[str, Callable[[Any], str]]] = {
    "input_messages": (names.INPUT_MESSAGES, _chat("user")),
    "output_messages": (names.OUTPUT_MESSAGES, _chat("assistant")),
    "system_instructions": (names.SYSTEM_INSTRUCTIONS, _instructions),
    "tool_definitions": (names.TOOL_DEFINITIONS, to_json),
    "tool_arguments": (names.TOOL_ARGUMENTS, lambda value: to_text(value)[0]),
    "tool_result": (names.TOOL_RESULT, lambda value: to_text(value)[0]),
    "documents": (names.RETRIEVAL_DOCUMENTS, _documents),
    "query": (names.RETRIEVAL_QUERY, lambda value: to_text(value)[0]),
}

CONTENT_KEYS = frozenset(_STRUCTURED)
"""What `Span.set` may be given that is content, and not recorded where content is kept out."""
