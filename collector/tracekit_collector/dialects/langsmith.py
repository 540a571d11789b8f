"""LangSmith's OpenTelemetry mode."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import messages
from tracekit_collector.dialects import Dialect, Lift, RawSpan, marks, ranked
from tracekit_collector.dialects._usage import tokens_of

KIND = "langsmith.span.kind"
_META = "langsmith.metadata."
_KINDS = {
    "llm": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    **dict.fromkeys(("chain", "prompt", "parser"), "chain"),
}


def dialect() -> Dialect:
    """LangSmith; what it calls a session is the project."""
    return Dialect(
        name="langsmith",
        rank=23,
        recognises=marks(KIND, prefixes=("langsmith.",), scopes=("langsmith",)),
        keys={
            "project": ranked(40, "langsmith.trace.session_name"),
            "session_id": ranked(25, _META + "session_id", _META + "conversation_id", _META + "thread_id"),
            "user_id": ranked(25, _META + "user_id", _META + "userId"),
            "provider": ranked(16, _META + "ls_provider"),
            "model_requested": ranked(45, _META + "ls_model_name"),
        },
        steps={(KIND, 18): _KINDS},
        lifts=(
            Lift(18, marks("gen_ai.usage.input_token_details", "gen_ai.usage.output_token_details"), _details),
            Lift(
                60, marks(_META + "usage_metadata"), lambda span: tokens_of(span.attributes[_META + "usage_metadata"])
            ),
            Lift(70, marks(KIND), _answer),
        ),
    )


def _details(span: RawSpan) -> Mapping[str, object]:
    told = {
        name: messages.decoded(span.attributes.get(f"gen_ai.usage.{name}"))
        for name in ("input_token_details", "output_token_details")
    }
    found = tokens_of(told)
    return {name: found.get(name) for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens")}


def _answer(span: RawSpan) -> Mapping[str, object]:
    """A provider's whole response stands in `gen_ai.completion`."""
    attributes = span.attributes
    if attributes[KIND] != "llm":
        return {}
    asked, answer = (
        messages.decoded(attributes.get("gen_ai.prompt")),
        messages.decoded(attributes.get("gen_ai.completion")),
    )
    found: dict[str, object] = {}
    if isinstance(asked, dict):
        found["tool_definitions"] = asked.get("tools")
        found["model_requested"] = asked.get("model")
    if isinstance(answer, dict) and isinstance(answer.get("model"), str):
        found["model"], found["response_id"] = answer["model"], answer.get("id")
        found.update(tokens_of(answer.get("usage")))
    return found
