"""Chat messages and documents, as people pass them around, in OpenTelemetry GenAI's newest form.

A message is `{"role": …, "parts": [{"type": "text", "content": …}, …]}`. What comes in may be that already, or the
role-and-content dicts of the OpenAI and Anthropic APIs, or objects that dump to such dicts. What is not recognised is
kept as it is, never dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from tracekit import _attachments

Message = dict[str, object]
Part = dict[str, object]

_CONTENT_KEYS = ("content", "page_content", "text")
_ID_KEYS = ("id", "id_", "doc_id", "document_id")
_SCORE_KEYS = ("score", "relevance_score", "similarity")


def text_message(role: str, text: str) -> Message:
    """One message of one text part."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def as_messages(value: object, *, role: str) -> list[Message] | None:
    """Messages in OpenTelemetry's form, or `None` where the value is no message, text or list of messages.

    Args:
        value: Text, a message, or a list of messages.
        role: Who is speaking where the value is mere text.

    Example:
        >>> as_messages("hello", role="user")
        [{'role': 'user', 'parts': [{'type': 'text', 'content': 'hello'}]}]
    """
    if isinstance(value, str):
        return [text_message(role, value)]
    single = _mapping(value)
    if single is not None:
        return [_message(single)] if is_message(single) else None
    if not isinstance(value, (list, tuple)) or not value:
        return None
    found = [_mapping(item) for item in value]
    if not all(item is not None and is_message(item) for item in found):
        return None
    return [_message(cast("Mapping[str, Any]", item)) for item in found]


def are_messages(value: object) -> bool:
    """Whether a value is a list whose first item is a chat message."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    first = _mapping(value[0])
    return first is not None and is_message(first)


def is_message(value: Mapping[str, Any]) -> bool:
    """Whether a mapping has a role and something that was said."""
    return isinstance(value.get("role"), str) and any(key in value for key in ("content", "parts", "tool_calls"))


def as_documents(value: object) -> list[dict[str, object]] | None:
    """Documents with what is known of `id`, `content`, `score` and `metadata`, or `None` where these are none.

    Args:
        value: A list of texts, dicts or objects with a text, or pairs of one and its score.

    Example:
        >>> as_documents([{"id": "d1", "text": "…", "score": 0.5}])
        [{'id': 'd1', 'content': '…', 'score': 0.5}]
    """
    if not isinstance(value, (list, tuple)):
        return None
    documents = [_document(item) for item in value]
    if not all(document is not None for document in documents):
        return None
    return cast("list[dict[str, object]]", documents)


def _document(item: object) -> dict[str, object] | None:
    if isinstance(item, str):
        return {"content": item}
    if isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[1], (int, float)):
        document = None if isinstance(item[0], (list, tuple)) else _document(item[0])
        return None if document is None else {**document, "score": item[1]}
    read = item.get if isinstance(item, Mapping) else lambda key, default=None: getattr(item, key, default)
    content = _first(read, _CONTENT_KEYS)
    if not isinstance(content, str):
        return None
    metadata = read("metadata", None)
    facts = {"id": _first(read, _ID_KEYS), "content": content, "score": _first(read, _SCORE_KEYS)}
    if isinstance(metadata, Mapping) and metadata:
        facts["metadata"] = dict(metadata)
        for name, keys in (("id", _ID_KEYS), ("score", _SCORE_KEYS)):
            if facts[name] is None:
                facts[name] = _first(metadata.get, keys)
    return {key: fact for key, fact in facts.items() if fact is not None}


def _first(read: Any, keys: Sequence[str]) -> object:
    for key in keys:
        found: object = read(key, None)
        if found is not None and not callable(found):
            return found
    return None


def _mapping(value: object) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    dump = getattr(type(value), "model_dump", None)
    if callable(dump) and hasattr(value, "role"):
        dumped = dump(value)
        return dumped if isinstance(dumped, Mapping) else None
    return None


def _message(value: Mapping[str, Any]) -> Message:
    role = str(value["role"])
    message: Message = {"role": role}
    if isinstance(value.get("name"), str):
        message["name"] = value["name"]
    parts = value.get("parts")
    message["parts"] = list(parts) if isinstance(parts, (list, tuple)) else _parts(role, value)
    if isinstance(value.get("finish_reason"), str):
        message["finish_reason"] = value["finish_reason"]
    return message


def _parts(role: str, value: Mapping[str, Any]) -> list[Part]:
    content = value.get("content")
    if role == "tool" and value.get("tool_call_id") is not None:
        return [{"type": "tool_call_response", "id": value["tool_call_id"], "response": content}]
    parts: list[Part] = []
    if isinstance(content, str):
        if content:
            parts.append({"type": "text", "content": content})
    elif isinstance(content, (list, tuple)):
        parts.extend(_part(item) for item in content)
    elif content is not None:
        parts.append({"type": "text", "content": content})
    calls = value.get("tool_calls")
    if isinstance(calls, (list, tuple)):
        parts.extend(_tool_call(call) for call in calls)
    return parts


def _part(item: object) -> Part:
    if isinstance(item, str):
        return {"type": "text", "content": item}
    if not isinstance(item, Mapping):
        return {"type": "unknown", "content": item}
    kind = item.get("type")
    if kind in {"text", "input_text", "output_text"} and "text" in item:
        return {"type": "text", "content": item["text"]}
    if kind == "thinking":
        return {"type": "reasoning", "content": item.get("thinking")}
    if kind == "tool_use":
        return {"type": "tool_call", "id": item.get("id"), "name": item.get("name"), "arguments": item.get("input")}
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": item.get("tool_use_id"), "response": item.get("content")}
    return _pictured(kind, item) or {str(key): fact for key, fact in item.items()}


def _pictured(kind: object, item: Mapping[str, Any]) -> Part | None:
    """A picture, sound or document, as OpenAI's and Anthropic's APIs write them; `None` for anything else."""
    if kind == "image_url" and isinstance(item.get("image_url"), Mapping):
        return _media("image", item["image_url"].get("url"))
    if kind == "input_image" and isinstance(item.get("image_url"), str):
        return _media("image", item["image_url"])
    if kind == "input_audio" and isinstance(item.get("input_audio"), Mapping):
        audio = item["input_audio"]
        return _blob("audio", f"audio/{audio.get('format')}", audio.get("data"))
    source = item.get("source")
    if kind not in {"image", "document"} or not isinstance(source, Mapping):
        return None
    if source.get("type") == "base64":
        return _blob(kind, source.get("media_type"), source.get("data"))
    return _media(kind, source["url"]) if isinstance(source.get("url"), str) else None


def _media(modality: object, url: object) -> Part:
    """A picture or other file by its address; a `data:` URL is the thing itself."""
    if isinstance(url, str) and url.startswith("data:"):
        head, _, content = url[5:].partition(",")
        if head.endswith(";base64"):
            return _blob(modality, head.partition(";")[0], content)
    return {"type": "uri", "modality": modality, "uri": url}


def _blob(modality: object, mime_type: object, content: object) -> Part:
    """A picture or other file as Base64; a large one is told by its digest."""
    mime = mime_type if isinstance(mime_type, str) and mime_type else "application/octet-stream"
    if isinstance(content, str) and len(content) >= _attachments.LARGE:
        described = _attachments.of_text(content, mime_type=mime)
        if described is not None:
            return {"modality": modality, **described}
    return {"type": "blob", "modality": modality, "mime_type": mime, "content": content}


def _tool_call(call: object) -> Part:
    mapping = call if isinstance(call, Mapping) else _mapping(call) or {}
    function = mapping.get("function")
    named = function if isinstance(function, Mapping) else mapping
    arguments = named.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):  # a model may write broken JSON: its text is what it said
            arguments = json.loads(arguments)
    return {"type": "tool_call", "id": mapping.get("id"), "name": named.get("name"), "arguments": arguments}
