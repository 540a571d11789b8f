"""MLflow's own spans: every attribute is JSON."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, ranked
from tracekit_collector.dialects._usage import tokens_of

KIND = "mlflow.spanType"
_KINDS = {
    "agent": "agent",
    "llm": "llm",
    "chat_model": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    "reranker": "reranker",
    "guardrail": "guardrail",
    "evaluator": "evaluator",
    **dict.fromkeys(("chain", "workflow", "task", "parser"), "chain"),
    "memory": "task",
}


def _plain(value: object) -> str | None:
    return fields.text(messages.decoded(value))


def _provider(value: object) -> str | None:
    return fields.provider(messages.decoded(value))


def dialect() -> Dialect:
    """MLflow."""
    return Dialect(
        name="mlflow",
        rank=22,
        recognises=marks(KIND, "mlflow.traceRequestId", prefixes=("mlflow.",)),
        keys={
            "session_id": (Key("mlflow.trace.session", 14, _plain),),
            "user_id": (Key("mlflow.trace.user", 15, _plain),),
            "provider": (Key("mlflow.llm.provider", 15, _provider),),
            "model": (Key("mlflow.llm.model", 14, _plain),),
            "input_messages": (Key("mlflow.spanInputs", 72, fields.body_input),),
            "output_messages": (Key("mlflow.spanOutputs", 72, fields.body_output),),
            "tool_definitions": ranked(31, "mlflow.chat.tools"),
            "input": ranked(21, "mlflow.spanInputs"),
            "output": ranked(21, "mlflow.spanOutputs"),
        },
        steps={(KIND, 14): _KINDS},
        lifts=(
            Lift(
                16, marks("mlflow.chat.tokenUsage"), lambda span: tokens_of(span.attributes["mlflow.chat.tokenUsage"])
            ),
            Lift(16, marks("mlflow.llm.cost"), _cost),
            Lift(20, marks("mlflow.linkedPrompts"), _prompt),
            Lift(60, marks(KIND), _request),
        ),
    )


def _cost(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes["mlflow.llm.cost"])
    return {"cost_usd": read.get("total_cost")} if isinstance(read, dict) else {}


def _prompt(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes["mlflow.linkedPrompts"])
    first = read[0] if isinstance(read, list) and read and isinstance(read[0], dict) else {}
    return {"prompt_name": first.get("name"), "prompt_version": first.get("version")}


def _request(span: RawSpan) -> Mapping[str, object]:
    """The model, an answer's id and a tool's or agent's name, where only inputs, outputs and names tell them."""
    attributes = span.attributes
    kind = _KINDS.get(str(messages.decoded(attributes[KIND])).lower())
    if kind == "llm":
        asked = messages.decoded(attributes.get("mlflow.spanInputs"))
        answer = messages.decoded(attributes.get("mlflow.spanOutputs"))
        found: dict[str, object] = {}
        if isinstance(asked, dict):
            found["model_requested"] = asked.get("model") or _plain(attributes.get("model"))
            found["tool_definitions"] = asked.get("tools")
        if isinstance(answer, dict) and "model" in answer:
            found["response_id"], found["model"] = answer.get("id"), answer["model"]
            found.update(tokens_of(answer.get("usage")))
        return found
    if kind == "tool":
        return {"tool_name": _plain(attributes.get("mlflow.spanFunctionName"))}
    return {}
