"""Messages in the form of OpenTelemetry GenAI's newest schema: {role, parts: [{type, ...}], name?, finish_reason?}.

Writers send native lists, JSON text, JSON in JSON, messages without parts, whole requests and responses of providers,
and several names for the same part. What is already in the schema keeps its text byte for byte, so that it need not be
stored twice. One bad message never costs the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracekit_collector._chat import Message, canonical, messages_in
from tracekit_collector._json import decoded, salvaged
from tracekit_collector._parts import call_part, part_of, response_part, text_part
from tracekit_collector.anyvalue import plain_text

__all__ = [
    "Column",
    "Message",
    "answer_of",
    "as_text",
    "body",
    "call_part",
    "canonical",
    "column",
    "content_parts",
    "decoded",
    "finish_reasons",
    "instructions_column",
    "instructions_text",
    "is_hidden",
    "parts_of",
    "plain_text",
    "question_of",
    "response_part",
    "system_of",
    "text_of",
    "text_part",
    "tools_column",
]

HIDDEN = ("__REDACTED__", "<REDACTED>", "<elided>", "[REDACTED]")
_HIDDEN_FIRST = ("_", "<", "[")
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
    "tool": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
    "complete": "stop",
    "completed": "stop",
    "eos": "stop",
    "failed": "error",
    "error": "error",
}


class Column(NamedTuple):
    """Messages for a column: their JSON text and the same parsed."""

    text: str
    messages: list[Message]


def column(value: object, role: str) -> Column | None:
    """Messages in the schema, from whatever a writer sent.

    Args:
        value: A list of messages, one message, a provider's request or response, JSON text of these, or plain text.
        role: The role of a message that names none, and of plain text: user or assistant.

    Returns:
        The messages, their text as it came where it was in the schema already; None when there are none.
    """
    return _column(value, role, marked=False)


def body(value: object, role: str) -> Column | None:
    """As `column`, of an attribute that may hold anything: only what is marked as a message is taken for one."""
    return _column(value, role, marked=True)


def _column(value: object, role: str, *, marked: bool) -> Column | None:
    found = decoded(value)
    if type(found) is str:
        if found[:1] not in ("[", "{", " ", "\n", "\t", "\r", ""):
            if marked or is_hidden(found):
                return None
            said = [{"role": role, "parts": [text_part(found)]}]
            return Column(plain_text(said), said)
        if is_hidden(found) or (found := salvaged(found)) is None:
            return None
        value = None
    messages = messages_in(found, role, marked=marked)
    if not messages:
        return None
    if type(value) is str and value[:1] == "[" and len(messages) == len(found):
        for message, raw in zip(messages, found, strict=True):
            if message is not raw:
                break
        else:
            return Column(value, messages)
    return Column(plain_text(messages), messages)


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


def content_parts(content: object) -> list[dict[str, Any]]:
    """The parts of a chat message's content: text, a list of parts in any vendor's spelling, or nothing."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [text_part(content)]
    if isinstance(content, list):
        return [part for raw in content if (part := part_of(raw)) is not None]
    part = part_of(content)
    return [] if part is None else [part]


def text_of(message: Mapping[str, Any]) -> str:
    """The text parts of a message, each on its own line, without those that were hidden."""
    found = ""
    for part in message.get("parts") or ():
        if isinstance(part, dict) and part.get("type") == "text":
            text = part.get("content")
            if isinstance(text, str) and text and not is_hidden(text):
                found = f"{found}\n{text}" if found else text
    return found


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
    if isinstance(found, dict):
        found = found.get("function_declarations", [found])
    if not isinstance(found, list):
        return None
    tools: list[dict[str, Any]] = []
    for raw in found:
        tool = decoded(raw)
        if isinstance(tool, dict):
            declared = tool.get("function_declarations", tool.get("functionDeclarations", [tool]))  # Gemini's groups
            listed = declared if isinstance(declared, list) else [tool]
            tools += [_tool(item) for item in listed if isinstance(item, dict)]
    return as_text(tools, value, found) if tools else None


_SCHEMAS = ("input_schema", "inputSchema", "parameters_json_schema", "json_schema", "args_schema")


def _tool(raw: dict[str, Any]) -> dict[str, Any]:
    inner = raw.get("function", raw.get("toolSpec"))
    if isinstance(inner, dict):
        return _tool({"type": raw.get("type") or "function", **inner})
    for spelling in _SCHEMAS:
        if spelling in raw:
            rest = {key: value for key, value in raw.items() if key != spelling}
            schema = raw[spelling]
            if isinstance(schema, dict) and set(schema) == {"json"}:  # Bedrock
                schema = schema["json"]
            return {**rest, "type": raw.get("type") or "function", "parameters": schema}
    return raw if raw.get("type") else {"type": "function", **raw}


def finish_reasons(value: object) -> list[str] | None:
    """Finish reasons in one spelling: stop, length, tool_call, content_filter, error, else as they came."""
    if type(value) is list and len(value) == 1 and type(value[0]) is str:
        return [_FINISH.get(value[0]) or _finish(value[0])] if value[0] else None
    found = decoded(value) if type(value) is str else value
    items: Iterable[object] = found if isinstance(found, list) else [found]
    reasons = [_finish(item) for item in items if isinstance(item, str) and item]
    return reasons or None


def _finish(reason: str) -> str:
    plain = reason.rpartition(".")[2].lower()
    return _FINISH.get(plain, plain)


def is_hidden(text: str) -> bool:
    """Whether a text only says that somebody took the content out."""
    return text[:1] in _HIDDEN_FIRST and (text in HIDDEN or text.startswith(_HIDDEN_PREFIX))
