"""OpenTelemetry's GenAI conventions: the newest keys, the older generations' spellings, and content in span events."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit import attributes as names
from tracekit_collector import content_events, fields
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, ranked

OPERATIONS = {
    "invoke_agent": "agent",
    "create_agent": "agent",
    "agent_call": "agent",
    "chat": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "completion": "llm",
    "fetch_response": "llm",
    "llm_call": "llm",
    "execute_tool": "tool",
    "tool_call": "tool",
    "retrieval": "retriever",
    "retriever": "retriever",
    "embeddings": "embedding",
    "embedding": "embedding",
    "rerank": "reranker",
    "evaluate": "evaluator",
    "invoke_workflow": "chain",
    "plan": "chain",
    "agent_step": "chain",
    "execute_event_loop_cycle": "chain",
    "chain": "chain",
    "search_memory": "task",
    "create_memory": "task",
    "update_memory": "task",
    "upsert_memory": "task",
    "delete_memory": "task",
}
_USAGE = "gen_ai.usage."
_DETAIL_FIELDS = {
    names.INPUT_MESSAGES: "input_messages",
    names.OUTPUT_MESSAGES: "output_messages",
    names.SYSTEM_INSTRUCTIONS: "system_instructions",
    names.TOOL_DEFINITIONS: "tool_definitions",
}


def dialect() -> Dialect:
    """OpenTelemetry GenAI, all generations."""
    return Dialect(
        name="otel_genai",
        rank=50,
        recognises=_recognises,
        keys={
            "error_type": ranked(10, names.ERROR_TYPE),
            "session_id": ranked(10, names.SESSION, names.CONVERSATION),
            "user_id": (*ranked(10, names.USER, "enduser.id"), *ranked(30, "gen_ai.user")),
            "agent_name": ranked(10, names.AGENT_NAME),
            "agent_version": ranked(10, names.AGENT_VERSION),
            "provider": (*ranked(10, names.PROVIDER), *ranked(30, "gen_ai.system")),
            "model_requested": ranked(10, names.REQUEST_MODEL),
            "model": ranked(10, names.RESPONSE_MODEL),
            "response_id": ranked(10, names.RESPONSE_ID),
            "finish_reasons": (*ranked(10, names.FINISH_REASONS), *ranked(30, "gen_ai.response.finish_reason")),
            "ttft_ms": (Key(names.TIME_TO_FIRST_CHUNK, 10, fields.seconds),),
            "input_tokens": (*ranked(10, names.INPUT_TOKENS), *ranked(30, _USAGE + "prompt_tokens")),
            "output_tokens": (*ranked(10, names.OUTPUT_TOKENS), *ranked(30, _USAGE + "completion_tokens")),
            "cached_tokens": (*ranked(10, names.CACHED_TOKENS), *ranked(30, _USAGE + "cache_read_input_tokens")),
            "cache_write_tokens": (
                *ranked(10, names.CACHE_WRITE_TOKENS, _USAGE + "cache_creation.input_tokens"),
                *ranked(30, _USAGE + "cache_creation_input_tokens", _USAGE + "cache_write_input_tokens"),
            ),
            "reasoning_tokens": (*ranked(10, names.REASONING_TOKENS), *ranked(30, _USAGE + "reasoning_tokens")),
            "cost_usd": (*ranked(10, names.COST_USD), *ranked(30, _USAGE + "total_cost", "gen_ai.cost.total_cost")),
            "input_messages": (*ranked(10, names.INPUT_MESSAGES), *ranked(70, "gen_ai.prompt")),
            "output_messages": (*ranked(10, names.OUTPUT_MESSAGES), *ranked(70, "gen_ai.completion")),
            "system_instructions": ranked(10, names.SYSTEM_INSTRUCTIONS),
            "tool_definitions": ranked(10, names.TOOL_DEFINITIONS),
            "tool_name": ranked(10, names.TOOL_NAME),
            "tool_call_id": ranked(10, names.TOOL_CALL_ID),
            "tool_arguments": ranked(10, names.TOOL_ARGUMENTS),
            "tool_result": ranked(10, names.TOOL_RESULT),
            "documents": ranked(10, names.RETRIEVAL_DOCUMENTS),
            "prompt_name": ranked(10, names.PROMPT_NAME),
            "prompt_version": ranked(10, names.PROMPT_VERSION),
            "input": (*ranked(20, names.INPUT), *ranked(60, names.RETRIEVAL_QUERY)),
            "output": ranked(20, names.OUTPUT),
        },
        steps={(names.OPERATION, 40): OPERATIONS},
        resource={
            "service_name": (Key(names.SERVICE, 10, _service),),
            "environment": ranked(10, names.ENVIRONMENT, "deployment.environment"),
        },
        lifts=(
            Lift(rank=15, words=frozenset({"gen_ai"}), read=_details),
            Lift(rank=60, words=frozenset({"gen_ai"}), read=_from_events),
        ),
    )


def _recognises(span: RawSpan) -> bool:
    return any(key.startswith("gen_ai.") for key in span.attributes)


def _service(value: object) -> str | None:
    name = fields.text(value)
    return None if name is None or name.partition(":")[0] == "unknown_service" else name


def _details(span: RawSpan) -> Mapping[str, object]:
    """Content in `operation.details` span events, of which there may be several, each with a part of it."""
    found: dict[str, object] = {}
    for event in span.events:
        if event.name == content_events.DETAILS:
            for key, field in _DETAIL_FIELDS.items():
                if event.attributes.get(key):
                    found.setdefault(field, event.attributes[key])
    return found


def _from_events(span: RawSpan) -> Mapping[str, object]:
    """Content in span events of one message each."""
    events = [(event.name, event.attributes) for event in span.events if event.name in content_events.NAMES]
    if not events:
        return {}
    given, answered = content_events.conversation(events)
    return {"input_messages": given or None, "output_messages": answered or None}
