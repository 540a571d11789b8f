"""Gemini's generated content, of its clients and its REST API. Its output tokens leave out thoughts: they are added."""

from __future__ import annotations

from tracekit._messages import Part
from tracekit._responses.answer import Answer, added, count, get, known, listed, message, package, text

_ROLES = {"model": "assistant"}


def read(response: object) -> Answer | None:
    """What a response says; `None` for anything else."""
    candidates = listed(response, "candidates")
    if not candidates or any(get(candidate, "content") is None for candidate in candidates[:1]):
        return None
    messages, reasons = [], []
    for candidate in candidates:
        reason = _reason(candidate)
        content = get(candidate, "content")
        parts = [part for item in listed(content, "parts") for part in _parts(item)]
        role = text(content, "role") or "model"
        messages.append(message(parts, reason, _ROLES.get(role, role)))
        reasons += [reason] if reason else []
    return Answer(messages, {**_facts(response), **known(finish_reasons=reasons)})


def fold(chunk: object) -> _Chunks | None:
    """What joins the chunks of a response; `None` where this is none of them."""
    return _Chunks() if listed(chunk, "candidates") else None


def _either(value: object, *keys: str) -> object:
    return next((found for key in keys if (found := get(value, key)) is not None), None)


def _facts(response: object) -> dict[str, object]:
    usage = _either(response, "usage_metadata", "usageMetadata")
    thoughts = count({"n": _either(usage, "thoughts_token_count", "thoughtsTokenCount")}, "n")
    candidates = count({"n": _either(usage, "candidates_token_count", "candidatesTokenCount")}, "n")
    return known(
        response_id=text(response, "response_id") or text(response, "responseId"),
        response_model=text(response, "model_version") or text(response, "modelVersion"),
        provider={"google": "gcp.gemini", "vertexai": "gcp.vertex_ai"}.get(package(response)),
        input_tokens=count({"n": _either(usage, "prompt_token_count", "promptTokenCount")}, "n"),
        output_tokens=added(candidates, thoughts),
        cached_tokens=count({"n": _either(usage, "cached_content_token_count", "cachedContentTokenCount")}, "n"),
        reasoning_tokens=thoughts,
    )


def _reason(candidate: object) -> str | None:
    reason = text(candidate, "finish_reason") or text(candidate, "finishReason")
    return None if reason is None else reason.rpartition(".")[2].lower()


def _parts(item: object) -> list[Part]:
    said = text(item, "text")
    call = _either(item, "function_call", "functionCall")
    inline = _either(item, "inline_data", "inlineData")
    if call is not None and get(call, "name"):
        arguments = get(call, "args")
        return [{"type": "tool_call", "id": get(call, "id"), "name": get(call, "name"), "arguments": arguments}]
    if said is not None:
        return [{"type": "reasoning" if get(item, "thought") is True else "text", "content": said}]
    if inline is not None:
        mime = text(inline, "mime_type") or text(inline, "mimeType")
        return [{"type": "blob", "mime_type": mime, "content": get(inline, "data")}]
    return []


class _Chunks:
    """Joins chunks by their candidate: texts run on, calls come whole."""

    complete = True

    def __init__(self) -> None:
        self._known: dict[str, object] = {}
        self._parts: dict[int, list[Part]] = {}
        self._reasons: dict[int, str] = {}

    def add(self, chunk: object) -> None:
        """Take the next chunk."""
        self._known.update(_facts(chunk))
        for position, candidate in enumerate(listed(chunk, "candidates")):
            at = get(candidate, "index")
            at = at if isinstance(at, int) else position
            parts = self._parts.setdefault(at, [])
            for part in (found for item in listed(get(candidate, "content"), "parts") for found in _parts(item)):
                _join(parts, part)
            reason = _reason(candidate)
            if reason:
                self._reasons[at] = reason

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""
        if not self._parts:
            return None
        messages = [message(parts, self._reasons.get(at)) for at, parts in sorted(self._parts.items())]
        return Answer(
            messages, {**self._known, **known(finish_reasons=[each for _, each in sorted(self._reasons.items())])}
        )


def _join(parts: list[Part], part: Part) -> None:
    if parts and part["type"] in {"text", "reasoning"} and parts[-1]["type"] == part["type"]:
        parts[-1] = {**part, "content": f"{parts[-1]['content']}{part['content']}"}
    else:
        parts.append(part)
