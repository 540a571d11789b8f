"""Google's Agent Development Kit, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, named, ranked

_ADK = "gcp.vertex.agent."
_THOUGHT = "gen_ai.usage.experimental.reasoning_tokens"
_HERE = marks(prefixes=(_ADK,), scopes=("gcp.vertex.agent",))
_CACHED = ("cached_content_token_count", "cachedContentTokenCount")


def dialect() -> Dialect:
    """Google ADK."""
    return Dialect(
        name="google_adk",
        rank=36,
        recognises=_HERE,
        keys={
            "session_id": ranked(13, _ADK + "session_id"),
            "reasoning_tokens": ranked(18, _THOUGHT),
            "tool_arguments": ranked(12, _ADK + "tool_call_args"),
            "tool_result": (Key(_ADK + "tool_response", 12, _response),),
            "input_messages": (Key(_ADK + "llm_request", 65, fields.body_input),),
            "output_messages": (Key(_ADK + "llm_response", 65, _answer),),
        },
        lifts=(
            named(
                28,
                _HERE,
                {
                    "invocation": "chain",
                    "invoke_agent*": "agent",
                    "agent_run*": "agent",
                    "call_llm": "llm",
                    "generate_content*": "llm",
                    "execute_tool*": "tool",
                    "invoke_workflow*": "chain",
                },
            ),
            Lift(9, marks(_THOUGHT), _output),
            Lift(65, marks(_ADK + "llm_request"), _request),
            Lift(66, marks(_ADK + "llm_response"), _cached),
        ),
    )


def _response(value: object) -> str | None:
    """What a tool returned, which ADK wraps in {"result": ...}."""
    read = messages.decoded(value)
    if isinstance(read, dict) and set(read) == {"result"}:
        return fields.payload(read["result"])
    return fields.payload(value)


def _output(span: RawSpan) -> Mapping[str, object]:
    """Version 1 counts thoughts beside the output."""
    answered = fields.count(span.attributes.get("gen_ai.usage.output_tokens"))
    thought = fields.count(span.attributes[_THOUGHT])
    return {"output_tokens": answered + thought} if answered is not None and thought else {}


def _answer(value: object) -> messages.Column | None:
    read = messages.decoded(value)
    if isinstance(read, dict) and isinstance(read.get("content"), dict):
        reason = read.get("finish_reason")
        return messages.body([{**read["content"], **({"finish_reason": reason} if reason else {})}], "assistant")
    return messages.body(read, "assistant")


def _request(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes[_ADK + "llm_request"])
    if not isinstance(read, dict):
        return {}
    config = read.get("config")
    inner: Mapping[str, object] = config if isinstance(config, dict) else {}
    return {
        "model_requested": read.get("model"),
        "system_instructions": inner.get("system_instruction"),
        "tool_definitions": inner.get("tools"),
    }


def _cached(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes[_ADK + "llm_response"])
    usage = read.get("usage_metadata") if isinstance(read, dict) else None
    if not isinstance(usage, dict):
        return {}
    return {"cached_tokens": next((usage[key] for key in _CACHED if usage.get(key) is not None), None)}
