"""What each writer's spans say, one small span a fact: keys, shapes and token arithmetic of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tracekit_collector.dialects import Event, RawSpan
from tracekit_collector.normalise import normalise


def _read(
    attributes: dict[str, object],
    name: str = "s",
    *,
    scope: str = "",
    events: tuple[tuple[str, dict[str, object]], ...] = (),
    status: str = "unset",
    resource: dict[str, object] | None = None,
) -> dict[str, Any]:
    listed = [Event(event, place, told) for place, (event, told) in enumerate(events)]
    return normalise(
        RawSpan(name, attributes=attributes, events=listed, scope_name=scope, status=status, resource=resource or {})
    )


def _parts(text: object) -> list[tuple[str, list[dict[str, Any]]]]:
    assert isinstance(text, str)
    return [(message["role"], message["parts"]) for message in json.loads(text)]


CALL = {"type": "tool_call", "id": "c-1", "name": "search", "arguments": {"q": "x"}}
ANSWER = [("assistant", [{"type": "text", "content": "30 days"}])]
ASKED = [
    ("system", [{"type": "text", "content": "Be brief."}]),
    ("user", [{"type": "text", "content": "How long?"}]),
]
OPENAI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How long?"}]
OPENAI_CALL = {"id": "c-1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def _counts(found: dict[str, Any]) -> tuple[object, ...]:
    return tuple(found.get(name) for name in COUNTS)


@pytest.mark.parametrize(
    ("attributes", "name", "scope", "step", "dialect"),
    [
        ({"langfuse.observation.type": "generation"}, "s", "langfuse-sdk", "llm", "langfuse"),
        ({"langfuse.observation.type": "span"}, "s", "langfuse-sdk", "span", "langfuse"),
        ({"langfuse.observation.type": "span", "gen_ai.operation.name": "chat"}, "s", "", "llm", "langfuse"),
        ({"mlflow.spanType": '"CHAT_MODEL"'}, "s", "", "llm", "mlflow"),
        ({"mlflow.spanType": '"RETRIEVER"'}, "s", "", "retriever", "mlflow"),
        ({"mlflow.spanType": '"UNKNOWN"', "gen_ai.operation.name": "chat"}, "s", "", "llm", "mlflow"),
        ({"traceloop.span.kind": "agent"}, "a.agent", "traceloop.tracer", "agent", "traceloop"),
        ({"traceloop.span.kind": "workflow"}, "w.workflow", "traceloop.tracer", "chain", "traceloop"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "chat"}, "t.task", "", "llm", "traceloop"),
        ({"llm.request.type": "embedding"}, "openai.embeddings", "", "embedding", "traceloop"),
        ({"llm.request.type": "rerank"}, "cohere.rerank", "", "reranker", "traceloop"),
        (
            {"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"},
            "r",
            "",
            "retriever",
            "langsmith",
        ),
        ({"langsmith.span.kind": "parser"}, "p", "langsmith", "chain", "langsmith"),
        ({"gen_ai.operation.name": "RETRIEVER"}, "r", "", "retriever", "otel_genai"),
        ({"gen_ai.operation.name": "of_tomorrow"}, "r", "", "chain", "otel_genai"),
        ({"ai.operationId": "ai.streamText.doStream"}, "ai.streamText.doStream", "ai", "llm", "vercel"),
        ({"ai.operationId": "ai.generateText"}, "ai.generateText", "ai", "agent", "vercel"),
        ({"ai.operationId": "ai.toolCall"}, "ai.toolCall", "ai", "tool", "vercel"),
        ({"ai.operationId": "ai.embedMany.doEmbed"}, "x", "ai", "embedding", "vercel"),
        ({"operation.name": "ai.generateObject.doGenerate fn", "ai.usage.tokens": 3}, "x", "ai", "llm", "vercel"),
        ({"span.type": "llm_request"}, "x", "com.anthropic.claude_code.tracing", "llm", "claude_code"),
        ({"span.type": "claude_code.interaction"}, "x", "com.anthropic.claude_code.tracing", "agent", "claude_code"),
        ({"span.type": "hook"}, "x", "com.anthropic.claude_code.tracing", "span", "claude_code"),
        ({"haystack.component.type": "OpenAIChatGenerator"}, "haystack.component.run", "", "llm", "haystack"),
        ({"haystack.component.type": "InMemoryBM25Retriever"}, "haystack.component.run", "", "retriever", "haystack"),
        ({"haystack.component.type": "SentenceTransformersTextEmbedder"}, "c", "", "embedding", "haystack"),
        ({"haystack.component.type": "CohereRanker"}, "c", "", "reranker", "haystack"),
        ({"haystack.component.type": "PromptBuilder"}, "c", "", "chain", "haystack"),
        ({"haystack.agent.max_steps": 9}, "haystack.agent.run", "", "agent", "haystack"),
        ({"haystack.tool.name": "t"}, "haystack.agent.step.tool", "", "tool", "haystack"),
        ({"mcp.method.name": "tools/call"}, "tools/call search", "fastmcp", "tool", "mcp"),
        ({"mcp.method.name": "tools/list"}, "tools/list", "fastmcp", "span", "mcp"),
        ({"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "p"}, "prompts/get p", "fastmcp", "span", "mcp"),
        ({}, "call_llm", "gcp.vertex.agent", "llm", "google_adk"),
        ({}, "invocation", "gcp.vertex.agent", "chain", "google_adk"),
        (
            {"event_loop.cycle_id": "1", "gen_ai.operation.name": "execute_event_loop_cycle"},
            "c",
            "",
            "chain",
            "strands",
        ),
        ({}, "AutoFunctionInvocationLoop", "semantic_kernel.connectors.ai", "chain", "microsoft"),
        ({}, "executor.process answer", "agent_framework", "chain", "microsoft"),
        ({"messaging.operation": "process"}, "autogen process a", "autogen-core", "span", "microsoft"),
        ({}, "session_task.turn", "codex_exec", "agent", "codex"),
        ({"tool_name": "shell", "call_id": "1", "turn.id": "t"}, "shell", "codex_exec", "tool", "codex"),
        ({"gen_ai.operation.name": "llm_call"}, "llm_call", "gemini-cli", "llm", "gemini_cli"),
        ({"genkit:metadata:subtype": "model"}, "x", "genkit-tracer", "llm", "genkit"),
        ({"lmnr.span.type": "TOOL"}, "x", "", "tool", "laminar"),
        ({"lk.response.text": "hi"}, "llm_node", "livekit-agents", "llm", "livekit"),
        ({"voltagent.type": "agent"}, "x", "", "agent", "voltagent"),
        ({"flue.input": "q"}, "x", "", "span", "flue"),
        ({"gen_ai.operation.name": "chat"}, "m", "openlit.otel.tracing", "llm", "openlit"),
        ({"gen_ai.operation.name": "chat", "hidden_params": "{}"}, "m", "litellm", "llm", "litellm"),
        ({"gen_ai.operation.name": "chat"}, "m", "com.anthropic.sdk.python", "llm", "anthropic_sdk"),
    ],
)
def test_each_writer_s_steps_and_label(
    attributes: dict[str, object], name: str, scope: str, step: str, dialect: str
) -> None:
    found = _read(attributes, name, scope=scope)
    assert (found["step"], found["dialect"]) == (step, dialect)


def test_traceloop_up_to_05_flattens_messages_and_functions() -> None:
    found = _read(
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Be brief.",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": '[{"type": "text", "text": "How long?"}]',
            "gen_ai.prompt.10.role": "tool",
            "gen_ai.prompt.10.content": "r",
            "gen_ai.prompt.10.tool_call_id": "c-0",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.finish_reason": "tool_calls",
            "gen_ai.completion.0.tool_calls.0.id": "c-1",
            "gen_ai.completion.0.tool_calls.0.name": "search",
            "gen_ai.completion.0.tool_calls.0.arguments": '{"q": "x"}',
            "llm.request.functions.0.name": "search",
            "llm.request.functions.0.parameters": '{"type": "object"}',
            "llm.headers": "None",
            "gen_ai.usage.prompt_tokens": 57,
            "gen_ai.usage.completion_tokens": 18,
            "gen_ai.usage.cache_read_input_tokens": 16,
            "llm.usage.reasoning_tokens": 5,
        }
    )
    tool = ("tool", [{"type": "tool_call_response", "id": "c-0", "response": "r"}])
    assert _parts(found["input_messages"]) == [*ASKED, tool]
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert json.loads(found["tool_definitions"]) == [
        {"type": "function", "name": "search", "parameters": {"type": "object"}}
    ]
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["provider"], found["finish_reasons"], found["input"]) == ("openai", ["tool_call"], "How long?")


def test_traceloop_decorators_are_unwrapped_and_name_the_agent_and_tool() -> None:
    link = "traceloop.association.properties."
    tool = _read(
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "search",
            "traceloop.entity.input": '{"args": [], "kwargs": {"q": "x"}}',
            "traceloop.entity.output": '"\\"30 days\\""',
            link + "chat_id": "s-1",
            link + "customer_id": "u-1",
        },
        "search.tool",
    )
    assert (tool["tool_name"], tool["tool_arguments"], tool["tool_result"]) == ("search", '{"q":"x"}', "30 days")
    assert (tool["session_id"], tool["user_id"]) == ("s-1", "u-1")
    agent = _read({"traceloop.span.kind": "agent", "traceloop.entity.input": '{"args": ["How long?"]}'}, "bot.agent")
    assert (agent["input"], agent["agent_name"]) == ("How long?", "bot")


def test_a_vector_database_s_results_are_documents() -> None:
    told = {"db.query.result.id": "d-1", "db.query.result.score": 0.5, "db.query.result.document": "30 days"}
    found = _read({"db.system": "chroma", "db.operation": "query"}, events=(("db.query.result", told),))
    assert found["step"] == "retriever"
    assert json.loads(found["documents"]) == [{"id": "d-1", "content": "30 days", "score": 0.5}]


def test_pydantic_ai_1_keeps_messages_as_events_and_costs_per_operation() -> None:
    events = [
        {"role": "system", "content": "Be brief.", "event.name": "gen_ai.system.message", "gen_ai.message.index": 0},
        {"role": "user", "content": "How long?", "event.name": "gen_ai.user.message", "gen_ai.message.index": 0},
        {
            "event.name": "gen_ai.choice",
            "index": 0,
            "message": {"role": "assistant", "tool_calls": [OPENAI_CALL]},
        },
    ]
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "events": json.dumps(events),
            "operation.cost": 1.8e-05,
            "gen_ai.usage.details.reasoning_tokens": 5,
            "gen_ai.usage.details.cache_read_tokens": 16,
        },
        scope="pydantic-ai",
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert (found["cost_usd"], found["reasoning_tokens"], found["cached_tokens"]) == (1.8e-05, 5, 16)


def test_pydantic_ai_agents_show_the_question_and_the_last_answer_of_their_history() -> None:
    history = [
        {"role": "user", "parts": [{"type": "text", "content": "How long?"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "30 days"}]},
    ]
    found = _read(
        {
            "gen_ai.operation.name": "invoke_agent",
            "pydantic_ai.all_messages": json.dumps(history),
            "final_result": "30 days",
            "gen_ai.aggregated_usage.input_tokens": 153,
        },
        "invoke_agent bot",
        scope="pydantic-ai",
    )
    assert (found["agent_name"], found["input"], found["output"]) == ("bot", "How long?", "30 days")
    assert found["input_tokens"] == 153


def test_logfire_counts_from_the_raw_usage_and_drops_what_was_scrubbed() -> None:
    raw = {
        "prompt_tokens": 57,
        "completion_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.raw": json.dumps(raw),
            "gen_ai.response.finish_reasons": '["tool_calls"]',
            "session.id": "[Scrubbed due to 'session']",
            "logfire.msg_template": "Chat",
        },
        scope="logfire.openai",
    )
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["finish_reasons"], found.get("session_id")) == (["tool_call"], None)


@pytest.mark.parametrize(
    ("more", "step"),
    [
        ({"logfire.span_type": "pending_span"}, "span"),
        ({"logfire.span_type": "log"}, "span"),
        ({"logfire.span_type": "log", "gen_ai.output.messages": '[{"role":"assistant","content":"a"}]'}, "llm"),
        ({"logfire.span_type": "span"}, "llm"),
    ],
)
def test_a_log_of_logfire_is_a_call_only_with_an_answer(more: dict[str, object], step: str) -> None:
    assert _read({"gen_ai.operation.name": "chat", **more}, scope="logfire.openai")["step"] == step


def test_a_tool_run_by_hand_under_logfire_shows_its_plain_names() -> None:
    found = _read(
        {
            "tool": "search",
            "arguments": '{"q":"x"}',
            "result": "30 days",
            "logfire.msg_template": "running tool {tool}",
        },
        "running tool {tool}",
        scope="logfire",
    )
    assert (found["step"], found["tool_name"]) == ("tool", "search")
    assert (found["tool_arguments"], found["tool_result"]) == ('{"q":"x"}', "30 days")


def test_vercel_messages_calls_and_details_of_usage() -> None:
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How long?"}]},
        {"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c-0", "toolName": "f", "input": {}}]},
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "c-0",
                    "toolName": "f",
                    "output": {"type": "text", "value": "r"},
                }
            ],
        },
    ]
    found = _read(
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.id": "gpt-4o",
            "ai.model.provider": "openai.chat",
            "ai.response.model": "gpt-4o-2024",
            "ai.prompt.messages": json.dumps(prompt),
            "ai.prompt.tools": ['{"type":"function","name":"f","inputSchema":{"type":"object"}}'],
            "ai.response.text": "",
            "ai.response.toolCalls": '[{"toolCallId":"c-1","toolName":"search","input":"{\\"q\\":\\"x\\"}"}]',
            "ai.response.finishReason": "tool-calls",
            "ai.response.msToFirstChunk": 12.5,
            "ai.usage.inputTokens": 57,
            "ai.usage.outputTokens": 18,
            "ai.usage.inputTokenDetails.cacheReadTokens": 16,
            "ai.usage.outputTokenDetails.reasoningTokens": 5,
            "ai.telemetry.metadata.sessionId": "s-1",
            "ai.telemetry.metadata.userId": "u-1",
        },
        scope="ai",
    )
    assert _parts(found["input_messages"]) == [
        *ASKED,
        ("assistant", [{"type": "tool_call", "id": "c-0", "name": "f", "arguments": {}}]),
        ("tool", [{"type": "tool_call_response", "id": "c-0", "response": "r"}]),
    ]
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert json.loads(found["tool_definitions"]) == [
        {"type": "function", "name": "f", "parameters": {"type": "object"}}
    ]
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["provider"], found["model_requested"], found["model"]) == ("openai", "gpt-4o", "gpt-4o-2024")
    assert (found["finish_reasons"], found["ttft_ms"]) == (["tool_call"], 12.5)
    assert (found["session_id"], found["user_id"]) == ("s-1", "u-1")


def test_a_vercel_root_shows_its_prompt_and_answer_and_its_function_as_the_agent() -> None:
    found = _read(
        {
            "ai.operationId": "ai.generateText",
            "ai.prompt": '{"system":"Be brief.","prompt":"How long?"}',
            "ai.response.text": "30 days",
            "ai.telemetry.functionId": "bot",
        },
        scope="ai",
    )
    assert (found["agent_name"], found["input"], found["output"]) == ("bot", "How long?", "30 days")
    assert _parts(found["input_messages"]) == ASKED


def test_a_vercel_tool_call() -> None:
    found = _read(
        {
            "ai.operationId": "ai.toolCall",
            "ai.toolCall.name": "search",
            "ai.toolCall.id": "c-1",
            "ai.toolCall.args": '{"q":"x"}',
            "ai.toolCall.result": '"30 days"',
        },
        scope="ai",
    )
    told = (found["tool_name"], found["tool_call_id"], found["tool_arguments"], found["tool_result"])
    assert told == ("search", "c-1", '{"q":"x"}', "30 days")


def test_mlflow_values_are_json() -> None:
    found = _read(
        {
            "mlflow.spanType": '"LLM"',
            "mlflow.spanInputs": json.dumps({"model": "gpt-4o", "messages": OPENAI}),
            "mlflow.spanOutputs": json.dumps(
                {
                    "id": "r-1",
                    "model": "gpt-4o-2024",
                    "choices": [{"message": {"role": "assistant", "content": "30 days"}}],
                }
            ),
            "mlflow.llm.model": '"gpt-4o-2024"',
            "mlflow.llm.provider": '"openai"',
            "mlflow.llm.cost": '{"input_cost": 1e-05, "output_cost": 2e-05, "total_cost": 3e-05}',
            "mlflow.chat.tokenUsage": '{"input_tokens": 57, "output_tokens": 18, "total_tokens": 75, '
            '"cache_read_input_tokens": 16}',
            "mlflow.linkedPrompts": '[{"name": "p", "version": "3"}]',
            "mlflow.trace.session": '"s-1"',
        }
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == ANSWER
    assert _counts(found) == (57, 18, 16, None, None)
    assert (found["model_requested"], found["model"], found["response_id"]) == ("gpt-4o", "gpt-4o-2024", "r-1")
    assert (found["provider"], found["cost_usd"], found["session_id"]) == ("openai", 3e-05, "s-1")
    assert (found["prompt_name"], found["prompt_version"]) == ("p", "3")


def test_mlflow_tools_agents_and_documents() -> None:
    tool = _read(
        {
            "mlflow.spanType": '"TOOL"',
            "mlflow.spanFunctionName": '"search"',
            "mlflow.spanInputs": '{"q": "x"}',
            "mlflow.spanOutputs": '"30 days"',
        }
    )
    assert (tool["tool_name"], tool["tool_arguments"], tool["tool_result"]) == ("search", '{"q": "x"}', "30 days")
    outputs = [{"page_content": "30 days", "metadata": {"score": 0.5}, "id": "d-1"}]
    found = _read({"mlflow.spanType": '"RETRIEVER"', "mlflow.spanOutputs": json.dumps(outputs)})
    assert json.loads(found["documents"]) == [
        {"id": "d-1", "content": "30 days", "score": 0.5, "metadata": {"score": 0.5}}
    ]


def test_langfuse_observations() -> None:
    one = "langfuse.observation."
    found = _read(
        {
            one + "type": "generation",
            one + "input": json.dumps({"tools": [{"type": "function", "function": {"name": "f"}}], "messages": OPENAI}),
            one + "output": '{"role": "assistant", "content": "30 days"}',
            one + "model.name": "gpt-4o-2024",
            one
            + "usage_details": '{"input": 41, "output": 13, "input_cached_tokens": 16, "output_reasoning_tokens": 5}',
            one + "cost_details": '{"total": 3e-05}',
            one + "prompt.name": "p",
            one + "prompt.version": 3,
            "langfuse.session.id": "s-1",
            "user.id": "u-1",
        },
        scope="langfuse-sdk",
        resource={"langfuse.environment": "prod", "deployment.environment.name": "other"},
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == ANSWER
    assert json.loads(found["tool_definitions"]) == [{"type": "function", "name": "f"}]
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["model"], found["cost_usd"], found["environment"]) == ("gpt-4o-2024", 3e-05, "prod")
    assert (found["prompt_name"], found["prompt_version"]) == ("p", "3")
    assert (found["session_id"], found["user_id"]) == ("s-1", "u-1")


def test_langfuse_usage_in_openai_s_own_form_includes_what_was_cached() -> None:
    usage = '{"prompt_tokens": 57, "completion_tokens": 18, "prompt_tokens_details": {"cached_tokens": 16}}'
    found = _read({"langfuse.observation.type": "generation", "langfuse.observation.usage_details": usage})
    assert _counts(found) == (57, 18, 16, None, None)


def test_a_langfuse_error_is_a_level() -> None:
    assert _read({"langfuse.observation.type": "tool", "langfuse.observation.level": "ERROR"})["error_type"] == "error"


def test_an_observed_function_s_call_is_unwrapped() -> None:
    call = '{"args": [], "kwargs": {"q": "x"}}'
    tool = _read({"langfuse.observation.type": "tool", "langfuse.observation.input": call})
    assert (tool["input"], tool["tool_arguments"]) == ('{"q":"x"}', '{"q":"x"}')
    assert _read({"langfuse.observation.type": "chain", "langfuse.observation.input": call})["input"] == "x"


def test_langsmith_reads_bodies_reprs_and_its_own_idea_of_a_session() -> None:
    response = {
        "id": "r-1",
        "model": "gpt-4o-2024",
        "choices": [{"message": {"role": "assistant", "content": "30 days"}}],
    }
    found = _read(
        {
            "langsmith.span.kind": "llm",
            "gen_ai.prompt": json.dumps({"messages": OPENAI, "model": "gpt-4o"}),
            "gen_ai.completion": json.dumps(response),
            "gen_ai.usage.input_tokens": 57,
            "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 16}",
            "gen_ai.usage.output_token_details": "{'audio': None, 'reasoning': 5}",
            "langsmith.trace.session_name": "my project",
            "langsmith.trace.session_id": "uuid",
            "langsmith.metadata.thread_id": "s-1",
            "langsmith.metadata.ls_provider": "openai",
        }
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == ANSWER
    assert _counts(found) == (57, None, 16, None, 5)
    assert (found["project"], found["session_id"], found["provider"]) == ("my project", "s-1", "openai")
    assert (found["model_requested"], found["model"]) == ("gpt-4o", "gpt-4o-2024")
