"""OpenTelemetry's GenAI conventions: the newest keys, the older generations' spellings, and content in span events."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit import attributes as names
from tracekit_collector import content_events, fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, Marks, RawSpan, marks, ranked

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
    "create_memory_store": "task",
    "delete_memory_store": "task",
    "user_prompt": "chain",
    "system_prompt": "chain",
    "generate": "llm",
    "response": "llm",
    "*": "chain",
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
        recognises=marks(prefixes=("gen_ai.",)),
        keys={
            "error_type": ranked(10, names.ERROR_TYPE),
            "session_id": ranked(10, names.SESSION, names.CONVERSATION),
            "user_id": (*ranked(10, names.USER), *ranked(12, "enduser.id", "gen_ai.user")),
            "environment": ranked(40, names.ENVIRONMENT),
            "agent_name": ranked(10, names.AGENT_NAME),
            "agent_version": ranked(10, names.AGENT_VERSION),
            "provider": (*ranked(10, names.PROVIDER), *ranked(12, "gen_ai.system")),
            "model_requested": ranked(10, names.REQUEST_MODEL),
            "model": ranked(10, names.RESPONSE_MODEL),
            "response_id": ranked(10, names.RESPONSE_ID),
            "finish_reasons": (*ranked(10, names.FINISH_REASONS), *ranked(12, "gen_ai.response.finish_reason")),
            "ttft_ms": (
                Key(names.TIME_TO_FIRST_CHUNK, 10, fields.seconds),
                Key("gen_ai.client.operation.time_to_first_chunk", 11, fields.seconds),
            ),
            "input_tokens": (
                *ranked(10, names.INPUT_TOKENS),
                *ranked(12, _USAGE + "prompt_tokens"),
                *ranked(60, "gen_ai.aggregated_usage.input_tokens"),
            ),
            "output_tokens": (
                *ranked(10, names.OUTPUT_TOKENS),
                *ranked(12, _USAGE + "completion_tokens"),
                *ranked(60, "gen_ai.aggregated_usage.output_tokens"),
            ),
            "cached_tokens": (
                *ranked(10, names.CACHED_TOKENS, _USAGE + "cache_read_input_tokens"),
                *ranked(60, "gen_ai.aggregated_usage.cache_read.input_tokens"),
            ),
            "cache_write_tokens": ranked(
                10,
                names.CACHE_WRITE_TOKENS,
                _USAGE + "cache_creation.input_tokens",
                _USAGE + "cache_creation_input_tokens",
                _USAGE + "cache_write_input_tokens",
            ),
            "reasoning_tokens": ranked(10, names.REASONING_TOKENS, _USAGE + "reasoning_tokens"),
            "cost_usd": (*ranked(11, names.COST_USD), *ranked(14, _USAGE + "total_cost")),
            "input_messages": (*ranked(10, names.INPUT_MESSAGES), Key("gen_ai.prompt", 73, fields.body_input)),
            "output_messages": (
                *ranked(10, names.OUTPUT_MESSAGES),
                Key("gen_ai.completion", 73, fields.body_output),
            ),
            "system_instructions": ranked(10, names.SYSTEM_INSTRUCTIONS),
            "tool_definitions": ranked(10, names.TOOL_DEFINITIONS),
            "tool_name": ranked(10, names.TOOL_NAME),
            "tool_call_id": ranked(10, names.TOOL_CALL_ID),
            "tool_arguments": ranked(10, names.TOOL_ARGUMENTS),
            "tool_result": ranked(10, names.TOOL_RESULT),
            "documents": ranked(10, names.RETRIEVAL_DOCUMENTS),
            "prompt_name": ranked(10, names.PROMPT_NAME),
            "prompt_version": ranked(10, names.PROMPT_VERSION),
            "input": (*ranked(22, names.INPUT), *ranked(34, "gen_ai.prompt"), *ranked(60, names.RETRIEVAL_QUERY)),
            "output": (*ranked(22, names.OUTPUT), *ranked(34, "gen_ai.completion")),
        },
        steps={(names.OPERATION, 20): OPERATIONS},
        resource={
            "service_name": (Key(names.SERVICE, 10, _service),),
            "environment": ranked(10, names.ENVIRONMENT, "deployment.environment"),
        },
        lifts=(
            Lift(15, Marks(every=True), _details, events=True),
            Lift(60, Marks(every=True), _from_events, events=True),
        ),
    )


def _service(value: object) -> str | None:
    name = fields.text(value)
    return None if name is None or name.partition(":")[0] == "unknown_service" else name


def _details(span: RawSpan) -> Mapping[str, object]:
    """Content in `operation.details` span events, of which there may be several, each with a part of it."""
    details = [event.attributes for event in span.events if event.name == content_events.DETAILS]
    told = content_events.merged(details) if details else {}
    return {field: told[key] for key, field in _DETAIL_FIELDS.items() if told.get(key)}


def _from_events(span: RawSpan) -> Mapping[str, object]:
    """Content in span events of one message each."""
    events = [(event.name, event.attributes) for event in span.events if event.name in content_events.NAMES]
    if not events:
        return {}
    if str(span.attributes.get(names.OPERATION, "")).lower() == "execute_tool":
        return _tool_from_events(events)
    given, answered = content_events.conversation(events)
    return {"input_messages": given or None, "output_messages": answered or None}


def _tool_from_events(events: list[tuple[str, dict[str, object]]]) -> Mapping[str, object]:
    """On a tool's span the messages' contents are its arguments and its result (Strands)."""
    found: dict[str, object] = {}
    for name, attributes in events:
        if name == "gen_ai.tool.message":
            found["tool_arguments"] = attributes.get("content")
            found["tool_call_id"] = attributes.get("id")
        elif name == content_events.CHOICE:
            found["tool_result"] = tool_result(attributes.get("message"))
    return found


def tool_result(said: object) -> object:
    """A tool's result out of the blocks of content that it came in."""
    read = messages.decoded(said)
    parts = messages.content_parts(read) if isinstance(read, list) else []
    inner = parts[0].get("response") if len(parts) == 1 and parts[0].get("type") == "tool_call_response" else None
    if inner is not None:
        return inner
    texts = [part["content"] for part in parts if part.get("type") == "text"]
    return "\n".join(texts) if texts and len(texts) == len(parts) else said
