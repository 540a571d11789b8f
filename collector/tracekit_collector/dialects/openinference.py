"""OpenInference: flattened messages, documents and tools, and the wrappings of the packages that write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tracekit_collector import fields, messages
from tracekit_collector.dialects import NOTHING, Dialect, Key, Lift, Marks, RawSpan, marks, ranked
from tracekit_collector.dialects._flat import items_of, message_of, unflattened

KIND = "openinference.span.kind"
_KINDS = {
    "agent": "agent",
    "llm": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
    "reranker": "reranker",
    "guardrail": "guardrail",
    "evaluator": "evaluator",
    "chain": "chain",
    "prompt": "chain",
    "decision": "chain",
}
_FLAT = frozenset(
    {
        "llm.input_messages",
        "llm.output_messages",
        "llm.prompts",
        "llm.choices",
        "llm.tools",
        "retrieval.documents",
        "reranker.output_documents",
    }
)
_COUNT = "llm.token_count."
_STATE = ('{"init_state":', '{"ctx":')
_REPR = re.compile(r"[A-Z]\w+\(")
_RESPONSE = re.compile(r"raw=\{'id': '([^']+)'")
_ANSWERING = re.compile(r"'model': '([^']+)'")
_AGENT_IN_TEXT = re.compile(r"current_agent_name='([^']+)'")


def dialect() -> Dialect:
    """OpenInference, as of autumn 2026."""
    return Dialect(
        name="openinference",
        rank=20,
        recognises=marks(KIND, prefixes=("llm.input_messages.",), scopes=("openinference.instrumentation.",)),
        keys={
            "agent_name": ranked(11, "agent.name"),
            "provider": (*ranked(11, "llm.provider"), *ranked(13, "llm.system")),
            "model_requested": (
                *ranked(11, "llm.request.model_name"),
                Key("llm.invocation_parameters", 13, _model_in),
                *ranked(80, "embedding.model_name", "reranker.model_name"),
            ),
            "model": (
                *ranked(11, "llm.response.model_name"),
                *ranked(35, "embedding.model_name", "reranker.model_name"),
            ),
            "finish_reasons": ranked(11, "llm.finish_reason"),
            "input_tokens": ranked(11, _COUNT + "prompt"),
            "output_tokens": ranked(11, _COUNT + "completion"),
            "cached_tokens": ranked(12, _COUNT + "prompt_details.cache_read", _COUNT + "prompt_details.cache_input"),
            "cache_write_tokens": ranked(14, _COUNT + "prompt_details.cache_write"),
            "reasoning_tokens": ranked(13, _COUNT + "completion_details.reasoning"),
            "cost_usd": ranked(10, "llm.cost.total"),
            "tool_name": ranked(20, "tool.name"),
            "tool_call_id": ranked(20, "tool.id", "tool_call.id"),
            "input": ranked(61, "reranker.query"),
            "prompt_name": ranked(20, "prompt.id"),
            "prompt_version": ranked(20, "llm.prompt_template.version"),
            "session_id": (Key("metadata", 30, _session_in),),
            "user_id": (Key("metadata", 30, _user_in),),
        },
        steps={(KIND, 12): _KINDS},
        resource={"project": ranked(20, "openinference.project.name")},
        lifts=(
            Lift(5, marks(KIND), _corrected),
            Lift(20, Marks(prefixes=tuple(f"{prefix}." for prefix in _FLAT)), _flattened),
            Lift(21, marks(KIND), _unwrapped),
        ),
    )


def _model_in(value: object) -> str | None:
    found = messages.decoded(value)
    if not isinstance(found, dict) or "created_at" in found:  # OpenAI Agents puts the whole response here
        return None
    return fields.text(found.get("model") or found.get("model_name"))


def _session_in(value: object) -> str | None:
    found = messages.decoded(value)
    if not isinstance(found, dict):
        return None
    keys = ("session_id", "conversation_id", "thread_id")
    return next((text for key in keys if (text := fields.text(found.get(key)))), None)


def _user_in(value: object) -> str | None:
    found = messages.decoded(value)
    return fields.text(found.get("user_id") or found.get("userId")) if isinstance(found, dict) else None


def _corrected(span: RawSpan) -> Mapping[str, object]:
    """Kinds that say more than was done, and payloads that are a framework's own state."""
    kind = str(span.attributes.get(KIND, "")).lower()
    if span.scope_name.endswith(".llama_index"):
        if kind == "llm" and "._prepare_chat_with_tools" in span.name:
            return {"step": "chain"}  # a request is made here and sent in a span of its own
        return _without_state(span) if kind == "chain" else {}
    workflow = span.scope_name.endswith(".openai_agents") and len(span.attributes) == 1
    return {"step": "chain"} if kind == "agent" and workflow else {}


def _without_state(span: RawSpan) -> Mapping[str, object]:
    given, returned = span.attributes.get("input.value"), span.attributes.get("output.value")
    found: dict[str, object] = {}
    if isinstance(given, str) and given.startswith(_STATE):
        found["input"] = NOTHING
    if isinstance(returned, str) and _REPR.match(returned):
        found["output"] = NOTHING
    return found


def _flattened(span: RawSpan) -> Mapping[str, object]:
    trees = unflattened(span.attributes, _FLAT)
    found: dict[str, object] = {}
    for field, tree, old, text in (
        ("input_messages", "llm.input_messages", "llm.prompts", "prompt"),
        ("output_messages", "llm.output_messages", "llm.choices", "completion"),
    ):
        role = "user" if field == "input_messages" else "assistant"
        whole = [message_of(item.get("message", {}), role) for item in items_of(trees.get(tree))]
        whole += [
            {"role": role, "parts": [messages.text_part(str(item[text]["text"]))]}
            for item in items_of(trees.get(old))
            if isinstance(item.get(text), dict) and item[text].get("text")
        ]
        kept = [message for message in whole if message is not None]
        if kept:
            found[field] = kept
    tools = [_tool(item.get("tool", {})) for item in items_of(trees.get("llm.tools"))]
    if tools:
        found["tool_definitions"] = tools
    documents = trees.get("retrieval.documents") or trees.get("reranker.output_documents")
    if documents:
        found["documents"] = _documents(items_of(documents), span)
    return found


def _models(span: RawSpan, answer: object) -> Mapping[str, object]:
    """Whether `llm.model_name` is the model that was asked for or the one that answered."""
    model = span.attributes.get("llm.model_name")
    if not model:
        return {}
    asked = _model_in(span.attributes.get("llm.invocation_parameters"))
    if isinstance(answer, dict) and answer.get("model") == model:
        return {"model": model}
    return {"model": NOTHING, "model_requested": model} if asked in (None, model) else {"model": model}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = messages.decoded(tool.get("json_schema"))
    return schema if isinstance(schema, dict) else {key: tool[key] for key in ("name", "description") if key in tool}


def _documents(items: list[dict[str, Any]], span: RawSpan) -> list[dict[str, Any]]:
    documents = [item.get("document", {}) for item in items]
    if any(document.get("id") is None for document in documents):
        # LangChain's ids stand only in the raw output, in the same order.
        raw = messages.decoded(span.attributes.get("output.value"))
        listed = raw.get("documents") if isinstance(raw, dict) else None
        if isinstance(listed, list) and len(listed) == len(documents):
            pairs = zip(listed, documents, strict=True)
            documents = [{"id": named.get("id"), **document} for named, document in pairs if isinstance(named, dict)]
    return documents


def _unwrapped(span: RawSpan) -> Mapping[str, object]:
    """What stands inside the raw input and output."""
    kind = str(span.attributes.get(KIND, "")).lower()
    given, returned = span.attributes.get("input.value"), span.attributes.get("output.value")
    if kind == "tool":
        return _tool_call(span, given, returned)
    if kind == "llm":
        answer = messages.decoded(returned)
        asked = messages.decoded(given)
        found_models = dict(_models(span, answer))
        if isinstance(asked, dict) and asked.get("model"):
            found_models["model_requested"] = asked["model"]
        return {**found_models, "response_id": _response_id(answer)}
    found = _answering(given) if isinstance(given, str) else {}
    if span.scope_name.endswith(".crewai"):
        crew = messages.decoded(returned)
        if isinstance(crew, dict) and isinstance(crew.get("raw"), str):
            found["output"] = crew["raw"]
    if kind == "agent" and span.attributes.get("graph.node.id"):
        found["agent_name"] = span.attributes["graph.node.id"]
    if isinstance(given, str) and span.scope_name.endswith(".llama_index"):
        named = _AGENT_IN_TEXT.search(given)
        if named:
            found["agent_name"] = named[1]
    return found


def _answering(given: str) -> dict[str, object]:
    """LlamaIndex's step that takes an answer holds the response of which the call's own span says nothing."""
    if "AgentOutput(" not in given:
        return {}
    raw = _RESPONSE.search(given)
    model = _ANSWERING.search(given, raw.end()) if raw is not None else None
    return {"response_id": raw[1], "model": model[1]} if raw is not None and model is not None else {}


def _response_id(answer: object) -> object:
    if not isinstance(answer, dict):
        return None
    if isinstance(answer.get("id"), str) and "model" in answer:
        return answer["id"]
    return None


def _tool_call(span: RawSpan, given: object, returned: object) -> Mapping[str, object]:
    found: dict[str, object] = {}
    parameters = messages.decoded(span.attributes.get("tool.parameters"))
    arguments = messages.decoded(given)
    if isinstance(arguments, dict) and "kwargs" in arguments and set(arguments) <= _WRAPPING:
        arguments = arguments["kwargs"] if not arguments.get("args") else arguments
        found["tool_arguments"] = arguments
    elif given is None and isinstance(parameters, dict) and not _is_schema(parameters):
        found["tool_arguments"] = parameters
    result = messages.decoded(returned)
    if isinstance(result, dict):
        data = result.get("data")
        if result.get("type") == "tool" and isinstance(data, dict):  # LangChain's ToolMessage
            found["tool_result"] = data.get("content")
            found["tool_call_id"] = data.get("tool_call_id")
        elif "raw_output" in result and "tool_name" in result:  # LlamaIndex's ToolOutput
            found["tool_result"] = result["raw_output"]
            if result.get("is_error"):
                found["error_type"] = "tool_error"
    return found


_WRAPPING = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})


def _is_schema(parameters: Mapping[str, object]) -> bool:
    return "properties" in parameters or parameters.get("type") == "object"
