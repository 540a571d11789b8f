"""The Vercel AI SDK, versions 4 to 6 (`ai.*`); version 7 writes OpenTelemetry's own keys."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, ranked

OPERATION = "ai.operationId"
_STEPS = {
    **{f"ai.{name}": "agent" for name in ("generatetext", "streamtext")},
    **{f"ai.{name}": "chain" for name in ("generateobject", "streamobject")},
    **{
        f"ai.{name}.do{what}": "llm"
        for name, what in (
            ("generatetext", "generate"),
            ("streamtext", "stream"),
            ("generateobject", "generate"),
            ("streamobject", "stream"),
        )
    },
    "ai.toolcall": "tool",
    **dict.fromkeys(("ai.embed", "ai.embedmany", "ai.embed.doembed", "ai.embedmany.doembed"), "embedding"),
    **dict.fromkeys(("ai.rerank", "ai.rerank.dorerank"), "reranker"),
}
_META = "ai.telemetry.metadata."
_IN = "ai.usage.inputTokenDetails."
_OUT = "ai.usage.outputTokenDetails."
_RESULT = ("ai.response.", "ai.result.")


def dialect() -> Dialect:
    """The Vercel AI SDK."""
    return Dialect(
        name="vercel",
        rank=30,
        recognises=marks(OPERATION, prefixes=("ai.prompt", "ai.response.", "ai.usage."), scopes=("@ai-sdk",)),
        keys={
            "session_id": ranked(
                20, _META + "sessionId", _META + "session_id", _META + "conversationId", _META + "threadId"
            ),
            "user_id": ranked(20, _META + "userId", _META + "user_id"),
            "provider": ranked(14, "ai.model.provider"),
            "model_requested": ranked(12, "ai.model.id"),
            "model": ranked(12, "ai.response.model"),
            "response_id": ranked(12, "ai.response.id"),
            "finish_reasons": ranked(13, "ai.response.finishReason", "ai.finishReason", "ai.result.finishReason"),
            "ttft_ms": ranked(13, "ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
            "input_tokens": ranked(13, "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
            "output_tokens": ranked(13, "ai.usage.outputTokens", "ai.usage.completionTokens"),
            "cached_tokens": ranked(14, _IN + "cacheReadTokens", "ai.usage.cachedInputTokens"),
            "cache_write_tokens": ranked(15, _IN + "cacheWriteTokens"),
            "reasoning_tokens": ranked(14, _OUT + "reasoningTokens", "ai.usage.reasoningTokens"),
            "input_messages": (
                Key("ai.prompt.messages", 30, fields.body_input),
                Key("ai.prompt", 31, _prompt),
            ),
            "tool_definitions": ranked(30, "ai.prompt.tools"),
            "tool_name": ranked(12, "ai.toolCall.name"),
            "tool_call_id": ranked(12, "ai.toolCall.id"),
            "tool_arguments": ranked(11, "ai.toolCall.args"),
            "tool_result": ranked(11, "ai.toolCall.result"),
            "input": ranked(24, "ai.prompt", "ai.value", "ai.values"),
            "output": ranked(24, "ai.response.text", "ai.response.object", "ai.response.toolCalls"),
        },
        steps={(OPERATION, 22): _STEPS},
        lifts=(
            Lift(23, marks("operation.name"), _by_operation),
            Lift(30, marks(prefixes=_RESULT), _answer),
            Lift(14, marks(OPERATION), _named),
        ),
    )


def _prompt(value: object) -> messages.Column | None:
    """{system, prompt | messages}, of the call of which the steps are parts."""
    read = messages.decoded(value)
    if isinstance(read, dict) and isinstance(read.get("prompt"), str):
        asked = [{"role": "user", "content": read["prompt"]}]
        system = read.get("system")
        first = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
        return messages.body([*first, *asked], "user")
    return messages.body(read, "user")


def _by_operation(span: RawSpan) -> Mapping[str, object]:
    """`operation.name` is the operation's id and the function's, with a space between."""
    said = str(span.attributes["operation.name"]).partition(" ")[0].lower()
    return {"step": _STEPS.get(said)}


def _named(span: RawSpan) -> Mapping[str, object]:
    name = span.attributes.get("ai.telemetry.functionId")
    said = str(span.attributes[OPERATION]).lower()
    return {"agent_name": name if _STEPS.get(said) == "agent" else None}


def _answer(span: RawSpan) -> Mapping[str, object]:
    """Text, thoughts and calls of an answer stand in attributes of their own."""
    for start in _RESULT:
        told = {name: span.attributes.get(start + name) for name in ("reasoning", "text", "object", "toolCalls")}
        parts: list[dict[str, object]] = []
        reasoning, text = told["reasoning"], told["text"] or told["object"]
        if isinstance(reasoning, str) and reasoning and reasoning[:1] != "[":
            parts.append({"type": "reasoning", "content": reasoning})
        if isinstance(text, str) and text:
            parts.append(messages.text_part(text))
        calls = messages.decoded(told["toolCalls"])
        parts += [part for raw in calls if (part := messages.call_part(raw))] if isinstance(calls, list) else []
        if parts:
            return {"output_messages": [{"role": "assistant", "parts": parts}]}
    return {}
