"""Messages in the schema from the chat messages, requests and responses of many providers and frameworks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracekit_collector._json import decoded
from tracekit_collector._parts import Part, call_part, part_of, plain, response_part, text_part

Message = dict[str, Any]

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "function": "tool",
    "tool-result": "tool",
    "tool_response": "tool",
    "HumanMessage": "user",
    "HumanMessageChunk": "user",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
    "UserMessage": "user",
    "AssistantMessage": "assistant",
    "FunctionExecutionResultMessage": "tool",
}
_TYPED = frozenset({*_ROLES, "system", "user", "assistant", "tool"})  # a message's `type` that says its role
_ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning"})  # of OpenAI's responses
_SURE = ("role", "parts", "lc", "message", "event.name")  # what marks an object as a message
_EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "assistant",
}
# Keys of a request or response under which its messages stand; the first that holds some counts.
_LISTS = (
    "messages", "choices", "candidates", "contents", "replies", "generations", "inputs", "input", "output", "prompt",
    "response", "data", "result",
)  # fmt: skip
_SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")
_DEEPEST = 4  # lists in lists, and bodies in bodies


def messages_in(found: object, role: str, *, marked: bool = False) -> list[Message]:
    """All messages that a decoded value holds, in order.

    Args:
        found: A list, a message, or a provider's request or response.
        role: The role of a message that names none.
        marked: Only what says that it is a message is one.
    """
    if not marked and type(found) is list:
        whole: list[Message] = []
        for item in found:
            if type(item) is list:
                break
            message = canonical(item, role)
            if message is not None:
                whole.append(message)
        else:
            return whole
    return list(_walk(found, role, 0, marked=marked))


def _walk(found: object, role: str, depth: int, *, marked: bool) -> Iterator[Message]:
    if isinstance(found, list):
        for item in found:
            if isinstance(item, list):
                if depth < _DEEPEST:
                    yield from _walk(item, role, depth + 1, marked=marked)
            else:
                message = canonical(item, role) if not marked or _is_marked(item) else None
                if message is not None:
                    yield message
    elif isinstance(found, dict):
        if _is_marked(found) or (not marked and "content" in found):
            message = canonical(found, role)
            if message is not None:
                yield message
        elif depth < _DEEPEST:
            yield from _in_body(found, role, depth)


def _is_marked(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    if any(key in item for key in _SURE):
        return "message" not in item or isinstance(item["message"], dict) or "role" in item
    kind = item.get("type")
    return isinstance(kind, str) and (
        kind in _ITEMS or (kind in _TYPED and ("content" in item or isinstance(item.get("data"), dict)))
    )


def _in_body(body: Mapping[str, Any], role: str, depth: int) -> Iterator[Message]:
    """The messages of a provider's request or response, the system prompt first."""
    for key in _LISTS:
        inner = decoded(body.get(key))
        if isinstance(inner, str):
            if key not in ("prompt", "input") or not inner or role != "user" or not ({"model", *_SYSTEM} & body.keys()):
                continue
            listed = [{"role": "user", "parts": [text_part(inner)]}]
        else:
            listed = list(_walk(inner, role, depth + 1, marked=True))
            if not listed and key in ("choices", "contents", "candidates"):
                listed = messages_in(inner, role)
        if listed:
            yield from _system_in(body, listed)
            yield from listed
            return


def _system_in(body: Mapping[str, Any], listed: list[Message]) -> Iterator[Message]:
    if listed[0].get("role") in ("system", "developer"):
        return
    config = body.get("config")
    for holder in (body, config if isinstance(config, dict) else {}):
        for key in _SYSTEM:
            said = decoded(holder.get(key))
            if said:
                inner = said.get("parts", said) if isinstance(said, dict) else said
                parts = [part for raw in _listed(inner) if (part := part_of(raw)) is not None]
                if parts:
                    yield {"role": "system", "parts": parts}
                    return


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def canonical(item: object, role: str) -> Message | None:
    """One message in the schema, the same object where it is in it already; None for what is no message."""
    if type(item) is not dict:
        return {"role": role, "parts": [text_part(item)]} if isinstance(item, str) and item else None
    parts = item.get("parts")
    said = item.get("role")
    if type(parts) is list and parts:
        whole = []
        same = True
        for raw in parts:
            part = part_of(raw)
            if part is not raw:
                same = False
            if part is not None:
                whole.append(part)
        known = _ROLES.get(said, said) if isinstance(said, str) and said else role
        if same and known is said:
            return item
        return {**item, "role": known, "parts": whole}
    if type(parts) is list and "content" not in item and "tool_calls" not in item:
        return item if said else {**item, "role": role}
    return _from_chat(item, role)


def _from_chat(item: Mapping[str, Any], role: str) -> Message | None:
    wrapped = _unwrapped(item, role)
    if wrapped is not None:
        return wrapped
    kind = item.get("type")
    if kind in ("function_call", "function_call_output", "reasoning") and "role" not in item:
        part = part_of(item)
        return None if part is None else {"role": "tool" if kind == "function_call_output" else role, "parts": [part]}
    said = item.get("role") or (kind if isinstance(kind, str) and kind in _TYPED else None)
    said = _ROLES.get(str(said), str(said)) if said else _EVENT_ROLES.get(str(item.get("event.name")), role)
    parts = _content(item, said)
    if not parts and "content" not in item and "role" not in item and said == role:
        return None
    message: Message = {"role": said, "parts": parts}
    if isinstance(item.get("name"), str):
        message["name"] = item["name"]
    reason = item.get("finish_reason", item.get("stop_reason", item.get("finishReason")))
    if isinstance(reason, str):
        message["finish_reason"] = reason
    return message


def _unwrapped(item: Mapping[str, Any], role: str) -> Message | None:
    """A message inside something: a choice, a candidate, LangChain's serialised objects, an event."""
    if item.get("lc") is not None and isinstance(item.get("kwargs"), dict):
        names = item.get("id")
        name = str(names[-1]) if isinstance(names, list) and names else ""
        return canonical({**item["kwargs"], "role": _ROLES.get(name, role)}, role)
    if isinstance(item.get("data"), dict) and item.get("type") in _TYPED:
        return canonical({**item["data"], "role": str(item["type"])}, role)
    inner = next((item[key] for key in ("message", "delta") if isinstance(item.get(key), dict)), None)
    if inner is None and isinstance(item.get("content"), dict) and isinstance(item["content"].get("parts"), list):
        inner = item["content"]
    if inner is None and isinstance(item.get("text"), str) and not {"role", "content", "type"} & item.keys():
        inner = {"content": item["text"]}
    if inner is None:
        return None
    message = canonical(inner, "assistant" if item.get("event.name") == "gen_ai.choice" else role)
    reason = item.get("finish_reason", item.get("finishReason"))
    if message is not None and isinstance(reason, str) and "finish_reason" not in message:
        message = {**message, "finish_reason": reason}
    return message


def _content(item: Mapping[str, Any], said: str) -> list[Part]:
    content = item.get("content", item.get("blocks"))
    call_id = next((item[key] for key in ("tool_call_id", "toolCallId", "id") if item.get(key) is not None), None)
    if said == "tool" and content is not None and not _has_results(content):
        return [response_part(call_id, plain(content))]
    parts = [part for raw in _listed(content) if raw and (part := part_of(raw)) is not None]
    calls = [part for raw in _calls(item) if (part := call_part(raw)) is not None]
    known = {part.get("id") for part in parts if part.get("type") == "tool_call"}
    return parts + [call for call in calls if call.get("id") is None or call["id"] not in known]


def _calls(item: Mapping[str, Any]) -> list[Any]:
    extra = item.get("additional_kwargs")
    for holder in (item, extra if isinstance(extra, dict) else {}):
        for key in ("tool_calls", "toolCalls", "function_call"):
            calls = decoded(holder.get(key))
            if calls:
                return _listed(calls)
    return []


def _has_results(content: object) -> bool:
    kinds = ("tool-result", "tool_result", "tool_call_response")
    return isinstance(content, list) and any(
        isinstance(raw, dict) and (raw.get("type") in kinds or "toolResult" in raw or "tool_call_result" in raw)
        for raw in content
    )
