"""Flattened keys (`llm.input_messages.0.message.role`) to trees, and such a tree to a message."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tracekit_collector import messages

_LONGEST_REPR = 200_000  # characters of Python's own notation that are worth reading
_CALLS = "Calling tools:\n"
_OBSERVATION = "Observation:\n"
_LINKED = {"image": ("image", "image"), "audio": ("audio", "audio"), "video": ("video", "video")}


def unflattened(attributes: Mapping[str, object], prefixes: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Trees of the attributes under some two-word prefixes.

    Args:
        attributes: A span's attributes.
        prefixes: For example `llm.input_messages`.

    Returns:
        Prefix to its tree: nested dicts whose keys are the words between the dots.

    Example:
        >>> unflattened({"llm.tools.0.tool.name": "search"}, frozenset({"llm.tools"}))
        {'llm.tools': {'0': {'tool': {'name': 'search'}}}}
    """
    trees: dict[str, dict[str, Any]] = {}
    for key, value in attributes.items():
        prefix, branch, leaf = _words(key)
        if prefix not in prefixes:
            continue
        node = trees.setdefault(prefix, {})
        for word in branch:
            below = node.get(word)
            if not isinstance(below, dict):
                below = node[word] = {}
            node = below
        node.setdefault(leaf, value)
    return trees


@lru_cache(maxsize=8192)
def _words(key: str) -> tuple[str, tuple[str, ...], str]:
    """A key's first two words, the words between, and the last; the first are empty where there are no three."""
    words = key.split(".")
    return (f"{words[0]}.{words[1]}", tuple(words[2:-1]), words[-1]) if len(words) > 2 else ("", (), "")


def items_of(tree: object) -> list[dict[str, Any]]:
    """The numbered branches of a tree, by number; gaps and anything else are left out."""
    if not isinstance(tree, dict):
        return []
    numbered = [(int(key), item) for key, item in tree.items() if key.isdecimal() and isinstance(item, dict)]
    return [item for _, item in sorted(numbered, key=lambda pair: pair[0])]


def message_of(node: Any, role: str) -> messages.Message | None:
    """A flattened message in the GenAI schema; None when the branch holds none."""
    if not isinstance(node, dict) or not node:
        return None
    said = str(node.get("role") or role)
    contents = items_of(node.get("contents"))
    parts = [part for item in contents if (part := _content(item)) is not None]
    calls = [part for item in items_of(node.get("tool_calls")) if (part := _call(item.get("tool_call"))) is not None]
    known = {call.get("id") for call in calls}
    inner = [part for item in contents if (part := _call(item.get("tool_call"))) is not None]
    calls += [call for call in inner if call.get("id") not in known]
    if node.get("function_call_name"):
        calls.append(_called(None, node["function_call_name"], node.get("function_call_arguments_json")))
    content = node.get("content")
    if not parts and isinstance(content, str) and content and not messages.is_hidden(content):
        parts = [messages.text_part(content)]
    if said in ("tool", "function"):
        response = content if content is not None else "\n".join(str(part.get("content", "")) for part in parts)
        parts = [_response(node.get("tool_call_id"), response)]
    elif said in ("tool-call", "tool-response"):
        return _smolagents(said, parts)
    message: messages.Message = {"role": said, "parts": parts + calls}
    if node.get("name"):
        message["name"] = node["name"]
    return message


def _content(item: Mapping[str, Any]) -> dict[str, Any] | None:
    content = item.get("message_content")
    if not isinstance(content, dict):
        return None
    kind = content.get("type", "text")
    if kind == "text":
        return messages.text_part(str(content["text"])) if content.get("text") else None
    if kind == "reasoning":
        return {"type": "reasoning", "content": content.get("text") or ""}
    if kind == "tool_use":
        return None
    for outer, inner in (*_LINKED.values(), ("document", "document")):
        linked = content.get(outer)
        if isinstance(linked, dict) and isinstance(linked.get(inner), dict) and linked[inner].get("url"):
            return {"type": "uri", "modality": outer, "uri": linked[inner]["url"]}
    return {**content, "type": kind}


def _call(node: object) -> dict[str, Any] | None:
    if not isinstance(node, dict) or not isinstance(node.get("function"), dict):
        return None
    function = node["function"]
    if not function.get("name"):
        return None
    return _called(node.get("id"), function["name"], function.get("arguments"))


def _called(call_id: object, name: object, arguments: object) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "tool_call"}
    if call_id is not None:
        part["id"] = call_id
    return {**part, "name": name, "arguments": messages.decoded(arguments)}


def _response(call_id: object, response: object) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "tool_call_response"}
    if call_id is not None:
        part["id"] = call_id
    return {**part, "response": response}


def _smolagents(role: str, parts: list[dict[str, Any]]) -> messages.Message:
    """Calls and results that smolagents wrote as texts for people."""
    text = messages.text_of({"parts": parts})
    if role == "tool-response":
        return {"role": "tool", "parts": [_response(None, text.removeprefix(_OBSERVATION))]}
    calls: list[dict[str, Any]] = []
    if text.startswith(_CALLS) and len(text) < _LONGEST_REPR:
        try:
            listed: object = ast.literal_eval(text.removeprefix(_CALLS))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            listed = None
        for raw in listed if isinstance(listed, list) else ():
            call = messages.call_part(raw)
            if call is not None:
                calls.append(call)
    return {"role": "assistant", "parts": calls or parts}
