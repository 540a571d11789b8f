"""LangChain's messages and chat results, whole and in chunks."""

from __future__ import annotations

from typing import Any

from tracekit._messages import Part
from tracekit._responses.answer import Answer, count, decoded, get, known, listed, message, text

_KINDS = frozenset({"ai", "AIMessageChunk"})


def read(response: object) -> Answer | None:
    """What an AI message, `ChatResult` or `LLMResult` says; `None` for anything else."""
    generations = listed(response, "generations")
    if generations:
        flat = [one for each in generations for one in (each if isinstance(each, list) else [each])]
        answers = [found for one in flat if (found := _of_message(get(one, "message"))) is not None]
        if not answers:
            return None
        return Answer([said for found in answers for said in found.messages], answers[0].facts)
    return _of_message(response)


def fold(chunk: object) -> _Chunks | None:
    """What joins the chunks of a message; `None` where this is none of them."""
    is_wrapped = get(chunk, "type") not in _KINDS and get(get(chunk, "message"), "type") in _KINDS
    return (
        _Chunks()
        if is_wrapped or (get(chunk, "type") == "AIMessageChunk" and get(chunk, "content") is not None)
        else None
    )


def _of_message(said: object) -> Answer | None:
    content = get(said, "content")
    if get(said, "type") not in _KINDS or not isinstance(content, (str, list)):
        return None
    reason = _reason(said)
    calls = [_call(call) for call in listed(said, "tool_calls")]
    return Answer(
        [message([*_parts(content), *calls], reason)],
        {**_facts(said), **known(finish_reasons=[reason] if reason else [])},
    )


def _facts(said: object) -> dict[str, object]:
    usage, about = get(said, "usage_metadata"), get(said, "response_metadata")
    return known(
        response_id=text(about, "id") or _id(said),
        response_model=text(about, "model_name") or text(about, "model"),
        provider=text(about, "model_provider"),
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cached_tokens=count(usage, "input_token_details", "cache_read"),
        cache_write_tokens=count(usage, "input_token_details", "cache_creation"),
        reasoning_tokens=count(usage, "output_token_details", "reasoning"),
    )


def _id(said: object) -> str | None:
    """The provider's id; one that LangChain has made for a run of its own is none."""
    found = text(said, "id")
    return None if found is None or found.startswith("lc_run-") else found


def _reason(said: object) -> str | None:
    about = get(said, "response_metadata")
    return text(about, "finish_reason") or text(about, "stop_reason") or text(about, "done_reason")


def _parts(content: str | list[Any]) -> list[Part]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    parts: list[Part] = []
    for item in content:
        kind = None if isinstance(item, str) else text(item, "type")
        if isinstance(item, str) or kind == "text":
            parts.append({"type": "text", "content": item if isinstance(item, str) else get(item, "text")})
        elif kind in {"thinking", "reasoning"}:
            parts.append({"type": "reasoning", "content": get(item, "thinking") or get(item, "reasoning")})
        elif kind not in {"tool_use", "tool_call", "function_call", "input_json_delta"}:  # those are in `tool_calls`
            parts.append({"type": kind or "unknown", "content": item})
    return parts


def _call(call: object) -> Part:
    return {"type": "tool_call", "id": get(call, "id"), "name": get(call, "name"), "arguments": get(call, "args")}


class _Chunks:
    """Joins chunks: texts run on, calls by their index, tokens are summed."""

    complete = True

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._calls: dict[object, dict[str, Any]] = {}
        self._known: dict[str, Any] = {}
        self._reason: str | None = None

    def add(self, chunk: object) -> None:
        """Take the next chunk."""
        said = chunk if get(chunk, "type") in _KINDS else get(chunk, "message")
        for key, fact in _facts(said).items():
            is_count = key.endswith("_tokens") and isinstance(fact, int)
            self._known[key] = self._known.get(key, 0) + fact if is_count else fact
        self._reason = _reason(said) or self._reason
        content = get(said, "content")
        for part in _parts(content) if isinstance(content, (str, list)) else []:
            last = self._parts[-1] if self._parts else None
            if last is not None and last["type"] == part["type"] and part["type"] in {"text", "reasoning"}:
                last["content"] = f"{last['content'] or ''}{part['content'] or ''}"
            else:
                self._parts.append(part)
        for position, piece in enumerate(listed(said, "tool_call_chunks")):
            at = get(piece, "index")
            call = self._calls.setdefault(position if at is None else at, {"id": None, "name": "", "args": ""})
            call["id"] = text(piece, "id") or call["id"]
            call["name"] += text(piece, "name") or ""
            call["args"] += text(piece, "args") or ""

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""
        calls = [_call({**call, "args": decoded(call["args"])}) for call in self._calls.values()]
        if not self._parts and not calls and not self._known:
            return None
        facts = {**self._known, **known(finish_reasons=[self._reason] if self._reason else [])}
        return Answer([message([*self._parts, *calls], self._reason)], facts)
