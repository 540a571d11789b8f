"""Model content that came as events, one message each, on a span or in log records.

The older OpenTelemetry GenAI conventions (up to 1.36) say `gen_ai.user.message`, `gen_ai.choice` and so on; still
older ones `gen_ai.content.prompt` and `gen_ai.content.completion`; the newest say all at once in
`gen_ai.client.inference.operation.details`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracekit_collector import messages

DETAILS = "gen_ai.client.inference.operation.details"
CHOICE = "gen_ai.choice"
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_WHOLE = {
    "gen_ai.content.prompt": ("gen_ai.prompt", "user"),
    "gen_ai.content.completion": ("gen_ai.completion", "assistant"),
}
_LISTS = frozenset({"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"})
NAMES = frozenset({DETAILS, CHOICE, *_ROLES, *_WHOLE})


def conversation(
    events: Iterable[tuple[str, object]],
) -> tuple[list[messages.Message], list[messages.Message]]:
    """The messages that a model was given and those that it answered.

    Args:
        events: Name and fields of each event (a log record's body, or a span event's attributes), in order.

    Returns:
        Input and output messages in the GenAI schema; either may be empty.
    """
    given: list[messages.Message] = []
    answered: list[messages.Message] = []
    for name, body in events:
        whole = messages.decoded(body)
        if not isinstance(whole, dict):
            whole = {"content": whole}
        if name == CHOICE:
            message = _choice(whole)
            if message is not None:
                answered.append(message)
        elif name in _ROLES:
            message = _message(whole, _ROLES[name])
            if message is not None:
                given.append(message)
        elif name in _WHOLE:
            key, role = _WHOLE[name]
            found = messages.column(whole.get(key), role)
            if found is not None:
                (given if role == "user" else answered).extend(found.messages)
    return given, answered


def merged(details: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The attributes of several `operation.details` events of one call as one.

    Some writers send each part of the messages in an event of its own, some repeat what they had sent.

    Example:
        >>> merged([{"gen_ai.input.messages": ["a"]}, {"gen_ai.input.messages": ["b"], "gen_ai.response.id": "r"}])
        {'gen_ai.input.messages': ['a', 'b'], 'gen_ai.response.id': 'r'}
    """
    found: dict[str, object] = {}
    for attributes in details:
        for key, value in attributes.items():
            held = found.get(key)
            if held is None or held in ("", [], "[]"):
                found[key] = value
            elif key in _LISTS:
                found[key] = _joined(held, value)
    return found


def _joined(held: object, value: object) -> object:
    first, second = messages.decoded(held), messages.decoded(value)
    if not isinstance(first, list) or not isinstance(second, list) or first[: len(second)] == second:
        return held
    return second if second[: len(first)] == first else [*first, *second]


def _message(body: Mapping[str, Any], role: str) -> messages.Message | None:
    item = {key: value for key, value in body.items() if value is not None}
    item["role"] = str(item.get("role") or role)
    if "content" in item:
        item["content"] = _shown(messages.decoded(item["content"]))
    if role == "tool" and "id" in item:
        item.setdefault("tool_call_id", item["id"])
    return messages.canonical(item, role)


def _choice(body: Mapping[str, Any]) -> messages.Message | None:
    said = messages.decoded(body.get("message", body.get("content")))
    if isinstance(said, dict) and isinstance(said.get("parts"), list):
        message = messages.canonical({**said, "role": "assistant"}, "assistant")
    elif isinstance(said, dict):
        message = _message(said, "assistant")
    else:
        calls = body.get("tool_calls")
        message = _message({"content": said, "tool_calls": calls} if calls else {"content": said}, "assistant")
    reason = messages.finish_reasons(body.get("finish_reason"))
    if message is not None and reason:
        message["finish_reason"] = reason[0]
    return message


def _shown(content: object) -> object:
    return None if isinstance(content, str) and messages.is_hidden(content) else content
