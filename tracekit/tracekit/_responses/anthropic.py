"""Anthropic's messages. Its input tokens leave out what was cached; here they are added."""

from __future__ import annotations

from typing import Any

from tracekit._messages import Part
from tracekit._responses.answer import Answer, added, count, decoded, get, known, message, package, text

_EVENTS = frozenset({"message_start", "content_block_start", "content_block_delta", "message_delta"})


def read(response: object) -> Answer | None:
    """What a message says; `None` for anything else."""
    content = get(response, "content")
    if get(response, "type") != "message" or not isinstance(content, (list, tuple)):
        return None
    reason = text(response, "stop_reason")
    parts = [_part(block) for block in content]
    facts = {**_facts(response), **_usage(get(response, "usage")), **known(finish_reasons=[reason] if reason else [])}
    return Answer([message(parts, reason, text(response, "role") or "assistant")], facts)


def fold(chunk: object) -> _Events | None:
    """What joins the events of a message; `None` where this is none of them."""
    return _Events() if get(chunk, "type") in _EVENTS else None


def _facts(response: object) -> dict[str, object]:
    return known(
        response_id=text(response, "id"),
        response_model=text(response, "model"),
        provider="anthropic" if package(response) == "anthropic" else None,
    )


def _usage(usage: object) -> dict[str, object]:
    cached, written = count(usage, "cache_read_input_tokens"), count(usage, "cache_creation_input_tokens")
    return known(
        input_tokens=added(count(usage, "input_tokens"), cached, written),
        output_tokens=count(usage, "output_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
    )


def _part(block: object) -> Part:
    kind = text(block, "type")
    if kind == "text":
        return {"type": "text", "content": get(block, "text")}
    if kind == "thinking":
        return {"type": "reasoning", "content": get(block, "thinking")}
    if kind in {"tool_use", "server_tool_use"}:
        arguments = decoded(get(block, "input"))
        return {"type": "tool_call", "id": get(block, "id"), "name": get(block, "name"), "arguments": arguments}
    return {"type": kind or "unknown", "content": get(block, "content")}


class _Events:
    """Joins events, block by block."""

    complete = True

    def __init__(self) -> None:
        self._known: dict[str, object] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None

    def add(self, chunk: object) -> None:
        """Take the next event."""
        kind = get(chunk, "type")
        if kind == "message_start":
            begun = get(chunk, "message")
            self._known.update(_facts(begun))
            self._count(get(begun, "usage"))
        elif kind == "content_block_start":
            block = get(chunk, "content_block")
            keys = ("type", "id", "name", "input", "text", "thinking", "content")
            self._blocks[self._at(chunk)] = {key: get(block, key) for key in keys} | {"json": ""}
        elif kind == "content_block_delta":
            self._extend(self._blocks.setdefault(self._at(chunk), {"type": "text", "json": ""}), get(chunk, "delta"))
        elif kind == "message_delta":
            self._reason = text(get(chunk, "delta"), "stop_reason") or self._reason
            self._count(get(chunk, "usage"))

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""
        if not self._blocks and not self._known:
            return None
        blocks = [{**block, "input": block["json"] or block.get("input")} for _, block in sorted(self._blocks.items())]
        reasons = [self._reason] if self._reason else []
        facts = {**self._known, **_usage(self._usage), **known(finish_reasons=reasons)}
        return Answer([message([_part(block) for block in blocks], self._reason)], facts)

    def _count(self, usage: object) -> None:
        keys = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        self._usage.update({key: number for key in keys if (number := count(usage, key)) is not None})

    def _at(self, chunk: object) -> int:
        at = get(chunk, "index")
        return at if isinstance(at, int) else len(self._blocks)

    def _extend(self, block: dict[str, Any], delta: object) -> None:
        block["json"] += text(delta, "partial_json") or ""
        for key in ("text", "thinking"):
            piece = text(delta, key)
            if piece:
                block[key] = (block.get(key) or "") + piece
