"""Messages in the form of OpenTelemetry GenAI's newest schema: {role, parts: [{type, ...}], name?, finish_reason?}.

Writers send native lists, JSON text, JSON in JSON, messages without parts, and several names for the same part. What
is already in the schema keeps its text byte for byte, so that it need not be stored twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from tracekit_collector.anyvalue import plain_text

Message = dict[str, Any]

HIDDEN = ("__REDACTED__", "<REDACTED>", "<elided>")
_HIDDEN_FIRST = ("_", "<", "[")
_DEEPEST = 254  # levels that orjson writes: text that is nested deeper stays text
_HIDDEN_PREFIX = "[Scrubbed due to "
_FINISH = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_call": "tool_call",
    "tool_calls": "tool_call",
    "tool-calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "error": "error",
}


class Column(NamedTuple):
    """Messages for a column: their JSON text and the same parsed."""

    text: str
    messages: list[Message]


def column(value: object, role: str) -> Column | None:
    """Messages in the schema, from whatever a writer sent.

    Args:
        value: A list of messages, one message, JSON text of these, or plain text.
        role: The role of a message that names none, and of plain text: user or assistant.

    Returns:
        The messages, their text as it came where it was in the schema already; None when there are none, or when
        the text is JSON that was cut off.
    """
    found = decoded(value)
    listed: object = found
    if isinstance(found, str):
        if is_hidden(found) or not found.strip() or found.lstrip()[0] in "[{":
            return None
        listed = [found]
    elif isinstance(found, dict):
        listed = found["messages"] if isinstance(found.get("messages"), list) else [found]
    if not isinstance(listed, list):
        return None
    messages = [message for item in listed if (message := canonical(item, role)) is not None]
    return Column(as_text(messages, value, found), messages) if messages else None


def as_text(items: list[Any], value: object, found: object) -> str:
    """Items as JSON text: the text `value` as it came, where it is just that.

    Args:
        items: What the column holds.
        value: The attribute's value.
        found: What `decoded(value)` gave.
    """
    if isinstance(value, str) and items == found and value.lstrip()[:1] == "[":
        return value
    return plain_text(items)


def canonical(item: object, role: str) -> Message | None:
    """One message in the schema; None for what is no message."""
    if isinstance(item, str):
        return {"role": role, "parts": [text_part(item)]} if item else None
    if not isinstance(item, dict):
        return None
    parts = item.get("parts")
    if isinstance(parts, list):
        whole = [part for raw in parts if (part := _part(raw)) is not None]
        if whole == parts and item.get("role"):
            return item
        return {**item, "role": str(item.get("role") or role), "parts": whole}
    return _from_chat(item, role)


def _from_chat(item: Mapping[str, Any], role: str) -> Message | None:
    said = str(item.get("role") or role)
    call_id = item.get("tool_call_id")
    content = item.get("content")
    if said in ("tool", "function") and content is not None:
        parts = [{"type": "tool_call_response", "id": call_id or item.get("id"), "response": content}]
    else:
        parts = content_parts(content)
    parts += [part for raw in item.get("tool_calls") or () if (part := call_part(raw)) is not None]
    if not parts and "content" not in item and "role" not in item:
        return None
    message: Message = {"role": said, "parts": parts}
    for key in ("name", "finish_reason"):
        if item.get(key) is not None:
            message[key] = item[key]
    return message


def content_parts(content: object) -> list[dict[str, Any]]:
    """The parts of a chat message's content: text, a list of parts in any vendor's spelling, or nothing."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [text_part(content)]
    if isinstance(content, list):
        return [part for raw in content if (part := _part(raw)) is not None]
    part = _part(content)
    return [] if part is None else [part]


def text_part(text: str) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "content": text}


def call_part(raw: object) -> dict[str, Any] | None:
    """A tool_call part from a chat API's tool call, nested under `function` or flat."""
    if not isinstance(raw, dict):
        return None
    function = raw["function"] if isinstance(raw.get("function"), dict) else raw
    if not function.get("name"):
        return None
    part: dict[str, Any] = {"type": "tool_call"}
    if raw.get("id") is not None:
        part["id"] = raw["id"]
    part["name"] = function["name"]
    part["arguments"] = decoded(function.get("arguments", function.get("args", function.get("input"))))
    return part


def _part(raw: object) -> dict[str, Any] | None:
    if isinstance(raw, str):
        return text_part(raw)
    if not isinstance(raw, dict):
        return None
    kind = raw.get("type")
    if kind == "tool_call_response" and "response" not in raw and "result" in raw:
        return {**{key: value for key, value in raw.items() if key != "result"}, "response": raw["result"]}
    if kind in ("text", "input_text", "output_text") and "content" not in raw and "text" in raw:
        return text_part(str(raw["text"]))
    if kind == "tool_use":
        return call_part(raw)
    if kind == "tool_result":
        content = raw.get("content")
        return {"type": "tool_call_response", "id": raw.get("tool_use_id"), "response": content}
    if kind is None:
        return text_part(raw["text"]) if isinstance(raw.get("text"), str) else {"type": "other", **raw}
    return raw


def text_of(message: Mapping[str, Any]) -> str:
    """The text parts of a message, each on its own line."""
    texts = (part.get("content") for part in parts_of(message, "text"))
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def question_of(messages: Sequence[Mapping[str, Any]], *, last: bool = True) -> str | None:
    """The text of the last (or first) message by a user that has text."""
    for message in reversed(messages) if last else messages:
        if message.get("role") in ("user", "human") and (text := text_of(message)):
            return text
    return None


def answer_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of the answers; where they only call tools, the calls as JSON."""
    texts = [text for message in messages if (text := text_of(message))]
    if texts:
        return "\n".join(texts)
    calls = [
        {"name": part.get("name"), "arguments": decoded(part.get("arguments"))}
        for message in messages
        for part in parts_of(message, "tool_call")
    ]
    return plain_text(calls) if calls else None


def system_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of the system and developer messages."""
    texts = [text_of(message) for message in messages if message.get("role") in ("system", "developer")]
    return "\n".join(text for text in texts if text) or None


def parts_of(message: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The parts of one type in a message."""
    return [part for part in message.get("parts") or () if isinstance(part, dict) and part.get("type") == kind]


def instructions_column(value: object) -> str | None:
    """System instructions as a JSON list of parts, from parts, JSON text or plain text."""
    found = decoded(value)
    if isinstance(found, str):
        return None if is_hidden(found) or not found.strip() else plain_text([text_part(found)])
    parts = content_parts(found)
    return as_text(parts, value, found) if parts else None


def instructions_text(text: str | None) -> str | None:
    """The plain text of a column of system instructions."""
    if not text:
        return None
    return text_of({"parts": content_parts(decoded(text))}) or None


def tools_column(value: object) -> str | None:
    """Tool definitions as a JSON list of {type, name, description?, parameters?}."""
    found = decoded(value)
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list):
        return None
    tools = [tool for raw in listed if (tool := _tool(decoded(raw))) is not None]
    return as_text(tools, value, found) if tools else None


def _tool(raw: object) -> dict[str, Any] | None:
    if not isinstance(raw, dict):
        return None
    inner = raw.get("function")
    if isinstance(inner, dict):
        return {"type": raw.get("type") or "function", **inner}
    for spelling in ("input_schema", "inputSchema"):
        if spelling in raw:
            rest = {key: value for key, value in raw.items() if key != spelling}
            return {**rest, "type": raw.get("type") or "function", "parameters": raw[spelling]}
    return raw if raw.get("type") else {"type": "function", **raw}


def finish_reasons(value: object) -> list[str] | None:
    """Finish reasons in one spelling: stop, length, tool_call, content_filter, error, else as they came."""
    found = decoded(value)
    items: Iterable[object] = found if isinstance(found, list) else [found]
    reasons = [_finish(item) for item in items if isinstance(item, str) and item]
    return reasons or None


def _finish(reason: str) -> str:
    plain = reason.rpartition(".")[2].lower()
    return _FINISH.get(plain, plain)


def decoded(value: object) -> Any:
    """What a JSON text holds, through at most three layers of quoting; anything else as it is.

    Only objects, arrays and quoted texts are taken for JSON: `30` and `true` stay texts.

    Example:
        >>> decoded('{"a": 1}'), decoded('"plain"'), decoded("30")
        ({'a': 1}, 'plain', '30')
    """
    for _ in range(3):
        if not isinstance(value, str):
            return value
        start = value.lstrip()[:1]
        if start not in ("{", "[", '"'):
            return value
        try:
            found = orjson.loads(value)
            if value.count("[") + value.count("{") > _DEEPEST:
                orjson.dumps(found)  # refuses what is nested deeper
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return value
        value = found
    return value


def is_hidden(text: str) -> bool:
    """Whether a text only says that somebody took the content out."""
    return text[:1] in _HIDDEN_FIRST and (text in HIDDEN or text.startswith(_HIDDEN_PREFIX))
