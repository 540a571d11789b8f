"""No span breaks the normaliser: any value under any key that a dialect reads."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tracekit.attributes import STEP_KINDS
from tracekit_collector import normalise
from tracekit_collector.dialects import Event, RawSpan
from tracekit_collector.schema import SPANS

KEYS = sorted(
    {
        *normalise._index().places,
        *normalise._index().steps,
        "gen_ai.prompt.0.role",
        "gen_ai.prompt.0.content",
        "gen_ai.prompt.1.tool_calls.0.name",
        "gen_ai.completion.0.function_call.name",
        "gen_ai.completion.0.tool_calls",
        "llm.input_messages.0.message.role",
        "llm.input_messages.0.message.contents.0.message_content.text",
        "llm.request.functions.0.parameters",
        "retrieval.documents.0.document.content",
        "mlflow.chat.tokenUsage",
        "mlflow.llm.cost",
        "mlflow.linkedPrompts",
        "langfuse.observation.usage_details",
        "langfuse.observation.cost_details",
        "langfuse.observation.level",
        "gen_ai.usage.input_token_details",
        "gen_ai.usage.raw",
        "gen_ai.tool.status",
        "db.system",
        "events",
        "all_messages_events",
        "pydantic_ai.all_messages",
        "response_data",
        "logfire.tags",
        "logfire.span_type",
        "hidden_params",
        "haystack.component.type",
        "success",
        "input_tokens",
        "call_id",
        "new_context",
    }
)
SCOPES = (
    "",
    "ai",
    "semantic_kernel.x",
    "codex_exec",
    "logfire",
    "openinference.instrumentation.llama_index",
    "openlit",
)
NAMES = ("s", "running tool x", "haystack.agent.step.llm", "call_llm", "execute_tool a-b", "MCP send tools/call f")
EVENTS = ("gen_ai.choice", "gen_ai.tool.message", "gen_ai.user.message", "exception", "tool.output", "db.query.result")
WORDS = (
    "role", "content", "parts", "type", "text", "messages", "choices", "message", "tool_calls", "function", "name",
    "arguments", "args", "kwargs", "id", "usage", "input", "output", "candidates", "documents", "lc", "data", "tools",
    "functionCall", "toolUse", "toolResult", "tool_call", "event.name", "replies", "meta", "config", "raw", "result",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        ["user", "assistant", "tool", "text", "function_call", "gen_ai.choice", "LLM", "AGENT", "tool_use"]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)
VALUES = st.one_of(
    JSON,
    JSON.map(json.dumps),
    JSON.map(lambda value: json.dumps(json.dumps(value))),
    JSON.map(repr),
    JSON.map(lambda value: json.dumps(value)[:-3]),
    st.binary(max_size=4),
)
TOLD = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@given(
    TOLD,
    st.sampled_from(SCOPES),
    st.sampled_from(NAMES),
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=3)), max_size=2
    ),
    st.sampled_from(["unset", "ok", "error"]),
)
def test_any_span_becomes_columns_of_the_lake(
    attributes: dict[str, object], scope: str, name: str, events: list[tuple[str, dict[str, object]]], status: str
) -> None:
    listed = [Event(event, place, told) for place, (event, told) in enumerate(events)]
    span = RawSpan(name, attributes=attributes, events=listed, scope_name=scope, status=status)
    found = normalise.normalise(span)
    pa.Table.from_pylist([found], schema=pa.schema([SPANS.field(column) for column in found]))
    assert found["step"] in STEP_KINDS
