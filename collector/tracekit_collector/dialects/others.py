"""Writers with a few keys of their own: Genkit, Laminar, LiveKit, VoltAgent, Flue, Gemini CLI, plain names."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, named, ranked
from tracekit_collector.dialects._usage import tokens_of

_GENKIT = {
    "model": "llm",
    "tool": "tool",
    "tool.v2": "tool",
    "retriever": "retriever",
    "embedder": "embedding",
    "reranker": "reranker",
    "evaluator": "evaluator",
    "agent": "agent",
    **dict.fromkeys(("flow", "action", "prompt", "executable-prompt", "util", "helper", "flowstep"), "chain"),
}
_LAMINAR = {
    "llm": "llm",
    "tool": "tool",
    "evaluator": "evaluator",
    "human_evaluator": "evaluator",
    **dict.fromkeys(("default", "pipeline", "executor", "evaluation"), "chain"),
}
_VOLT = {
    "agent": "agent",
    "llm": "llm",
    "tool": "tool",
    "memory": "task",
    "retriever": "retriever",
    "workflow": "chain",
}


def genkit() -> Dialect:
    """Genkit."""
    return Dialect(
        name="genkit",
        rank=44,
        recognises=marks(prefixes=("genkit:",), scopes=("genkit",)),
        keys={
            "input": ranked(36, "genkit:input"),
            "output": ranked(36, "genkit:output"),
            "input_messages": (Key("genkit:input", 75, fields.body_input),),
            "output_messages": (Key("genkit:output", 75, fields.body_output),),
            "tool_name": (Key("genkit:metadata:tool:name", 61),),
            "session_id": ranked(36, "genkit:sessionId", "genkit:metadata:flow:sessionId"),
        },
        steps={("genkit:metadata:subtype", 25): _GENKIT, ("genkit:type", 27): _GENKIT},
        lifts=(Lift(66, marks("genkit:metadata:subtype"), _genkit),),
    )


def _genkit(span: RawSpan) -> Mapping[str, object]:
    kind = str(span.attributes["genkit:metadata:subtype"]).lower()
    name = span.attributes.get("genkit:name")
    if kind == "tool":
        return {"tool_name": name}
    if kind != "model":
        return {}
    answer = messages.decoded(span.attributes.get("genkit:output"))
    found: dict[str, object] = {"model_requested": str(name).rpartition("/")[2] if name else None}
    if isinstance(answer, dict):
        found.update(tokens_of(answer.get("usage")))
        found["finish_reasons"] = answer.get("finishReason")
    return found


def laminar() -> Dialect:
    """Laminar."""
    return Dialect(
        name="laminar",
        rank=45,
        recognises=marks(prefixes=("lmnr.",), scopes=("lmnr",)),
        keys={
            "session_id": ranked(29, "lmnr.association.properties.session_id"),
            "user_id": ranked(29, "lmnr.association.properties.user_id"),
            "input": ranked(37, "lmnr.span.input"),
            "output": ranked(37, "lmnr.span.output"),
            "input_messages": (Key("lmnr.span.input", 76, fields.body_input),),
            "output_messages": (Key("lmnr.span.output", 76, fields.body_output),),
        },
        steps={("lmnr.span.type", 24): _LAMINAR},
    )


def livekit() -> Dialect:
    """LiveKit's agents."""
    return Dialect(
        name="livekit",
        rank=46,
        recognises=marks(prefixes=("lk.",), scopes=("livekit",)),
        keys={
            "agent_name": ranked(20, "lk.agent_name", "lk.agent_label"),
            "session_id": ranked(33, "lk.room_sid"),
            "input": ranked(38, "lk.user_input", "lk.input_text"),
            "output": ranked(38, "lk.response.text", "lk.response.function_calls"),
            "input_messages": (Key("lk.chat_ctx", 77, _chat_context),),
            "tool_name": ranked(41, "lk.function_tool.name"),
            "tool_call_id": ranked(42, "lk.function_tool.id"),
            "tool_arguments": ranked(40, "lk.function_tool.arguments"),
            "tool_result": ranked(40, "lk.function_tool.output"),
        },
        lifts=(
            named(
                28,
                marks(prefixes=("lk.",), scopes=("livekit",)),
                {
                    "agent_session": "agent",
                    "agent_turn": "chain",
                    "llm_node": "llm",
                    "llm_request*": "llm",
                    "function_tool": "tool",
                },
            ),
        ),
    )


def _chat_context(value: object) -> messages.Column | None:
    read = messages.decoded(value)
    return messages.body(read.get("items", read) if isinstance(read, dict) else read, "user")


def voltagent() -> Dialect:
    """VoltAgent."""
    return Dialect(
        name="voltagent",
        rank=47,
        recognises=marks("voltagent.type", prefixes=("voltagent.",), scopes=("@voltagent", "voltagent")),
        keys={
            "agent_name": ranked(23, "voltagent.agent.name", "entity.name"),
            "session_id": ranked(34, "conversation.id", "voltagent.conversation_id"),
            "tool_arguments": ranked(41, "tool.arguments", "tool.call.arguments"),
            "tool_result": ranked(41, "tool.result", "tool.call.result"),
        },
        steps={("voltagent.type", 25): _VOLT, ("entity.type", 34): _VOLT},
    )


def flue() -> Dialect:
    """Flue."""
    return Dialect(
        name="flue",
        rank=48,
        recognises=marks(prefixes=("flue.",), scopes=("flue",)),
        keys={
            "session_id": ranked(38, "flue.session.id", "flue.session"),
            "input": ranked(43, "flue.input"),
            "output": ranked(43, "flue.output"),
        },
    )


def gemini_cli() -> Dialect:
    """Gemini CLI and spans by hand that call their payloads by plain names."""
    return Dialect(
        name="gemini_cli",
        rank=49,
        recognises=marks(scopes=("gemini-cli", "gemini_cli")),
        keys={
            "input": ranked(50, "input"),
            "output": ranked(50, "output"),
            "input_messages": (Key("input", 78, fields.body_input), Key("llm_request", 79, fields.body_input)),
            "output_messages": (Key("output", 78, fields.body_output), Key("llm_response", 79, fields.body_output)),
        },
    )
