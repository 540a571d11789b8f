"""OpenAI's responses: a list of output items; a stream of them ends with the whole response."""

from __future__ import annotations

from tracekit._messages import Part
from tracekit._responses.answer import Answer, count, decoded, get, known, listed, message, package, text

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def read(response: object) -> Answer | None:
    """What a response says; `None` for anything else."""
    output = get(response, "output")
    if not isinstance(output, (list, tuple)) or (
        get(response, "object") != "response" and get(response, "usage") is None
    ):
        return None
    parts = [part for item in output for part in _parts(item)]
    if output and not parts and get(response, "object") != "response":
        return None
    reason = _reason(response, parts)
    return Answer([message(parts, reason)], {**_facts(response), **known(finish_reasons=[reason] if reason else [])})


def fold(chunk: object) -> _Events | None:
    """What joins the events of a response; `None` where this is none of them."""
    kind = get(chunk, "type")
    return _Events() if isinstance(kind, str) and kind.startswith("response.") else None


def _facts(response: object) -> dict[str, object]:
    usage = get(response, "usage")
    return known(
        response_id=text(response, "id"),
        response_model=text(response, "model"),
        provider="openai" if package(response) == "openai" else None,
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cached_tokens=count(usage, "input_tokens_details", "cached_tokens"),
        reasoning_tokens=count(usage, "output_tokens_details", "reasoning_tokens"),
    )


def _reason(response: object, parts: list[Part]) -> str | None:
    status = text(response, "status")
    if status == "incomplete":
        return text(get(response, "incomplete_details"), "reason") or status
    if status != "completed":
        return status
    return "tool_calls" if any(part["type"] == "tool_call" for part in parts) else "stop"


def _parts(item: object) -> list[Part]:
    kind = text(item, "type")
    if kind == "message":
        return [_spoken(content) for content in listed(item, "content")]
    if kind == "reasoning":
        thoughts = [*listed(item, "summary"), *listed(item, "content")]
        return [{"type": "reasoning", "content": said} for thought in thoughts if (said := text(thought, "text"))]
    if kind in {"function_call", "custom_tool_call"}:
        arguments = get(item, "arguments") if kind == "function_call" else get(item, "input")
        name = get(item, "name")
        return [{"type": "tool_call", "id": get(item, "call_id"), "name": name, "arguments": decoded(arguments)}]
    return [{"type": kind, "id": get(item, "id"), "status": get(item, "status")}] if kind else []


def _spoken(content: object) -> Part:
    refusal = text(content, "refusal")
    if refusal is not None:
        return {"type": "refusal", "content": refusal}
    return {"type": "text", "content": text(content, "text") or ""}


class _Events:
    """Joins events: the last one has it all; until it comes, the pieces of text do."""

    complete = True

    def __init__(self) -> None:
        self._last: object = None
        self._begun: object = None
        self._items: dict[int, object] = {}
        self._pieces: list[str] = []

    def add(self, chunk: object) -> None:
        """Take the next event."""
        kind = text(chunk, "type")
        if kind in _ENDS:
            self._last = get(chunk, "response")
        elif kind == "response.created":
            self._begun = get(chunk, "response")
        elif kind == "response.output_text.delta":
            self._pieces.append(text(chunk, "delta") or "")
        elif kind == "response.output_item.done":
            at = get(chunk, "output_index")
            self._items[at if isinstance(at, int) else len(self._items)] = get(chunk, "item")
            self._pieces.clear()

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""
        whole = None if self._last is None else read(self._last)
        if whole is not None:
            return whole
        parts = [part for _, item in sorted(self._items.items()) for part in _parts(item)]
        if self._pieces:
            parts.append({"type": "text", "content": "".join(self._pieces)})
        return Answer([message(parts)], _facts(self._begun)) if parts else None
