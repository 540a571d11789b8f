"""The Langfuse SDK, versions 3 to 5."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, ranked
from tracekit_collector.dialects._usage import tokens_of

KIND = "langfuse.observation.type"
_ONE = "langfuse.observation."
_KINDS = {
    "agent": "agent",
    "generation": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    "guardrail": "guardrail",
    "evaluator": "evaluator",
    "chain": "chain",
    "span": "span",
    "event": "span",
}


def dialect() -> Dialect:
    """Langfuse."""
    return Dialect(
        name="langfuse",
        rank=21,
        recognises=marks(KIND, prefixes=("langfuse.",), scopes=("langfuse",)),
        keys={
            "session_id": ranked(12, "langfuse.session.id"),
            "user_id": ranked(11, "langfuse.user.id"),
            "environment": ranked(10, "langfuse.environment"),
            "agent_version": ranked(40, "langfuse.version"),
            "model": ranked(13, _ONE + "model.name"),
            "input_messages": (Key(_ONE + "input", 71, fields.body_input),),
            "output_messages": (Key(_ONE + "output", 71, fields.body_output),),
            "input": (*ranked(20, _ONE + "input"), *ranked(80, "langfuse.trace.input")),
            "output": (*ranked(20, _ONE + "output"), *ranked(80, "langfuse.trace.output")),
            "prompt_name": ranked(11, _ONE + "prompt.name"),
            "prompt_version": ranked(11, _ONE + "prompt.version"),
        },
        steps={(KIND, 10): _KINDS},
        resource={"environment": ranked(5, "langfuse.environment")},
        lifts=(
            Lift(17, marks(_ONE + "usage_details"), lambda span: tokens_of(span.attributes[_ONE + "usage_details"])),
            Lift(15, marks(_ONE + "cost_details"), _cost),
            Lift(50, marks(_ONE + "level"), _fault),
            Lift(60, marks(_ONE + "input"), _tools),
        ),
    )


def _cost(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes[_ONE + "cost_details"])
    if not isinstance(read, dict):
        return {}
    if read.get("total") is not None:
        return {"cost_usd": read["total"]}
    parts = [cost for value in read.values() if (cost := fields.money(value)) is not None]
    return {"cost_usd": sum(parts) if parts else None}


def _fault(span: RawSpan) -> Mapping[str, object]:
    return {"error_type": "error"} if str(span.attributes[_ONE + "level"]).upper() == "ERROR" else {}


def _tools(span: RawSpan) -> Mapping[str, object]:
    """A generation's input may be the whole request."""
    read = messages.decoded(span.attributes[_ONE + "input"]) if span.attributes.get(KIND) == "generation" else None
    return {"tool_definitions": read.get("tools")} if isinstance(read, dict) else {}
