"""Parts of messages, from the spellings of many writers to the GenAI schema's {type, ...}.

Known are OpenAI (chat and responses), Anthropic, Bedrock Converse, Gemini, LangChain, LlamaIndex, the Vercel AI SDK and
Haystack. A part that nobody knows is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracekit_collector import _json

Part = dict[str, Any]

# Parts of these types stand in the schema already, when they have the key that is named.
_WHOLE = {
    "text": "content",
    "reasoning": "content",
    "tool_call": "name",
    "tool_call_response": "response",
    "blob": "content",
    "uri": "uri",
    "file": "file_id",
}


def part_of(raw: object) -> Part | None:
    """One part in the schema: the same object, where it is that already; None for what is no part."""
    if isinstance(raw, str):
        return text_part(raw)
    if not isinstance(raw, dict):
        return None
    kind = raw.get("type") or raw.get("block_type")
    if not isinstance(kind, str):
        return _by_key(raw)
    needed = _WHOLE.get(kind)
    if needed is not None and needed in raw:
        return raw
    read = _BY_TYPE.get(kind)
    found = read(raw) if read is not None else None
    if found is not None:
        return found
    return raw if "type" in raw else {"type": kind, **raw}


def text_part(text: str) -> Part:
    """A text part."""
    return {"type": "text", "content": text}


def call_part(raw: object) -> Part | None:
    """A tool_call part from a tool call, nested under `function` or flat, whatever its keys are called."""
    raw = _json.decoded(raw)
    if not isinstance(raw, dict):
        return None
    function = raw["function"] if isinstance(raw.get("function"), dict) else raw
    name = _first(function, "name", "toolName", "tool_name")
    if not name:
        return None
    arguments = _first(function, "arguments", "args", "input", "tool_kwargs", "parameters")
    return _called(_first(raw, "id", "call_id", "toolCallId", "toolUseId", "tool_call_id", "tool_id"), name, arguments)


def response_part(call_id: object, response: object) -> Part:
    """A tool_call_response part."""
    part: Part = {"type": "tool_call_response"}
    if call_id is not None:
        part["id"] = call_id
    return {**part, "response": response}


def _called(call_id: object, name: object, arguments: object) -> Part:
    part: Part = {"type": "tool_call"}
    if call_id is not None:
        part["id"] = call_id
    return {**part, "name": name, "arguments": _json.decoded(arguments)}


def _first(raw: Mapping[str, Any], *keys: str) -> Any:
    return next((raw[key] for key in keys if raw.get(key) is not None), None)


def _said(raw: Mapping[str, Any]) -> Part | None:
    text = _first(raw, "text", "content", "refusal")
    if isinstance(text, dict):  # the OpenAI assistants' {value, annotations}
        text = text.get("value")
    return text_part(text) if isinstance(text, str) else None


def _thought(raw: Mapping[str, Any]) -> Part:
    text = _first(raw, "content", "thinking", "text", "reasoning", "summary")
    if isinstance(text, list):
        text = "\n".join(str(item.get("text") or "") for item in text if isinstance(item, dict))
    return {"type": "reasoning", "content": text if isinstance(text, str) else ""}


def _answered(raw: Mapping[str, Any]) -> Part:
    response = _first(raw, "response", "result", "output", "content", "tool_call_result")
    if isinstance(response, dict) and set(response) <= {"type", "value"} and "value" in response:
        response = response["value"]
    return response_part(_first(raw, "id", "tool_use_id", "toolCallId", "call_id", "toolUseId"), plain(response))


def plain(response: Any) -> Any:
    """A tool's result without the wrapping of parts: their texts where all are texts, else as it is."""
    if not isinstance(response, list) or not response:
        return response
    texts = [_only_text(item) for item in response]
    return "\n".join(text for text in texts if text) if None not in texts else response


def _only_text(item: object) -> str | None:
    if not isinstance(item, dict):
        return None
    text = item.get("text", item.get("content") if item.get("type") == "text" else None)
    return text if isinstance(text, str) and set(item) <= {"type", "text", "content", "annotations"} else None


def _linked(raw: Mapping[str, Any]) -> Part | None:
    for modality in ("image", "audio", "video", "file", "document"):
        inner = raw.get(f"{modality}_url", raw.get(modality))
        url = inner.get("url") if isinstance(inner, dict) else inner
        if isinstance(url, str) and "://" in url[:12]:
            return {"type": "uri", "modality": modality, "uri": url}
    return None


_BY_TYPE: dict[str, Callable[[Mapping[str, Any]], Part | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "refusal"), _said),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking", "thought"), _thought),
    **dict.fromkeys(("tool_call", "tool_use", "tool-call", "function_call", "toolCall"), call_part),
    **dict.fromkeys(
        ("tool_call_response", "tool_result", "tool-result", "function_call_output", "toolResult"), _answered
    ),
    **dict.fromkeys(("image_url", "image", "input_image", "input_file", "file"), _linked),
}


def _bedrock_result(raw: Mapping[str, Any]) -> Part:
    content = raw.get("content")
    items = content if isinstance(content, list) else []
    values = [item.get("json", item.get("text")) for item in items if isinstance(item, dict)]
    return response_part(raw.get("toolUseId"), values[0] if len(values) == 1 else plain(content))


def _gemini_result(raw: Mapping[str, Any]) -> Part:
    return {**response_part(raw.get("id"), raw.get("response")), "name": raw.get("name")}


def _haystack_result(raw: Mapping[str, Any]) -> Part:
    origin = raw.get("origin")
    return response_part(origin.get("id") if isinstance(origin, dict) else None, plain(raw.get("result")))


def _reasoned(raw: object) -> Part:
    inner = raw.get("reasoningText", raw) if isinstance(raw, dict) else {"text": raw}
    return _thought(inner if isinstance(inner, dict) else {"text": inner})


_BY_KEY: dict[str, Callable[[Any], Part | None]] = {
    "toolUse": call_part,
    "toolResult": _bedrock_result,
    "function_call": call_part,
    "functionCall": call_part,
    "function_response": _gemini_result,
    "functionResponse": _gemini_result,
    "tool_call": call_part,
    "tool_call_result": _haystack_result,
}


def _by_key(raw: Part) -> Part:
    """A part whose one key says what it is."""
    for key, read in _BY_KEY.items():
        if isinstance(raw.get(key), dict):
            found = read(raw[key])
            if found is not None:
                return found
    for key in ("reasoningContent", "reasoning"):
        if raw.get(key):
            return _reasoned(raw[key])
    text = raw.get("text")
    if isinstance(text, str):
        return {"type": "reasoning", "content": text} if raw.get("thought") is True else text_part(text)
    return {"type": "other", **raw}
