"""OpenAI's chat completions, which most other servers speak too."""

from __future__ import annotations

from typing import Any

from tracekit._messages import Part
from tracekit._responses.answer import Answer, count, decoded, get, known, listed, message, package, text


def read(response: object) -> Answer | None:
    """What a chat completion says; `None` for anything else."""
    choices = listed(response, "choices")
    if not choices or any(get(choice, "message") is None for choice in choices):
        return None
    messages = [
        message(_parts(get(choice, "message")), text(choice, "finish_reason"), _role(get(choice, "message")))
        for choice in choices
    ]
    reasons = [reason for choice in choices if (reason := text(choice, "finish_reason"))]
    return Answer(messages, {**_facts(response), **known(finish_reasons=reasons)})


def fold(chunk: object) -> _Chunks | None:
    """What joins the chunks of a chat completion; `None` where this is none of them."""
    choices = listed(chunk, "choices")
    is_chunk = get(chunk, "object") == "chat.completion.chunk"
    return _Chunks() if is_chunk or (choices and get(choices[0], "delta") is not None) else None


def _facts(response: object) -> dict[str, object]:
    usage = get(response, "usage")
    return known(
        response_id=text(response, "id"),
        response_model=text(response, "model"),
        provider="openai" if package(response) == "openai" else None,
        input_tokens=count(usage, "prompt_tokens"),
        output_tokens=count(usage, "completion_tokens"),
        cached_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=count(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _role(said: object) -> str:
    return text(said, "role") or "assistant"


def _parts(said: object) -> list[Part]:
    parts: list[Part] = []
    for key in ("reasoning_content", "reasoning"):
        thought = text(said, key)
        if thought:
            parts.append({"type": "reasoning", "content": thought})
            break
    content = get(said, "content")
    if isinstance(content, str) and content:
        parts.append({"type": "text", "content": content})
    parts.extend({"type": "text", "content": text(item, "text") or ""} for item in listed(said, "content"))
    refusal = text(said, "refusal")
    if refusal:
        parts.append({"type": "refusal", "content": refusal})
    old = get(said, "function_call")
    calls = listed(said, "tool_calls") or ([] if old is None else [{"function": old}])
    return [*parts, *(_call(call) for call in calls)]


def _call(call: object) -> Part:
    named = get(call, "function") or get(call, "custom") or call
    arguments = get(named, "arguments")
    if arguments is None:
        arguments = get(named, "input")
    return {"type": "tool_call", "id": get(call, "id"), "name": get(named, "name"), "arguments": decoded(arguments)}


class _Choice:
    """One choice as far as it has come."""

    def __init__(self) -> None:
        self.role = "assistant"
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None

    def add(self, choice: object) -> None:
        delta = get(choice, "delta")
        self.role = text(delta, "role") or self.role
        self.finish_reason = text(choice, "finish_reason") or self.finish_reason
        for key, pieces in (
            ("content", self.content),
            ("reasoning_content", self.reasoning),
            ("refusal", self.refusal),
        ):
            piece = text(delta, key)
            if piece:
                pieces.append(piece)
        for position, call in enumerate(listed(delta, "tool_calls")):
            at = get(call, "index")
            known_call = self.calls.setdefault(
                at if isinstance(at, int) else position, {"id": None, "name": "", "arguments": []}
            )
            function = get(call, "function")
            known_call["id"] = text(call, "id") or known_call["id"]
            known_call["name"] += text(function, "name") or ""
            known_call["arguments"].append(text(function, "arguments") or "")

    def said(self) -> dict[str, object]:
        calls = [
            {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
            for _, call in sorted(self.calls.items())
        ]
        return {
            "content": "".join(self.content),
            "reasoning_content": "".join(self.reasoning),
            "refusal": "".join(self.refusal),
            "tool_calls": calls,
        }


class _Chunks:
    """Joins chunks by their choice."""

    complete = True

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._known: dict[str, object] = {}

    def add(self, chunk: object) -> None:
        """Take the next chunk."""
        self._known.update(_facts(chunk))
        for position, choice in enumerate(listed(chunk, "choices")):
            at = get(choice, "index")
            self._choices.setdefault(at if isinstance(at, int) else position, _Choice()).add(choice)

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""
        if not self._choices:
            return None
        choices = [choice for _, choice in sorted(self._choices.items())]
        messages = [message(_parts(choice.said()), choice.finish_reason, choice.role) for choice in choices]
        reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
        return Answer(messages, {**self._known, **known(finish_reasons=reasons)})
