"""What more writers' spans say: Google ADK, Strands, Microsoft, Haystack, coding agents, gateways, provider bodies."""

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


def test_langsmith_tools_and_retrievers() -> None:
    message = {"content": "30 days", "type": "tool", "name": "search", "tool_call_id": "c-1"}
    tool = _read(
        {
            "langsmith.span.kind": "tool",
            "gen_ai.tool.name": "search",
            "gen_ai.prompt": json.dumps({"input": "{'q': 'x'}"}),
            "gen_ai.completion": json.dumps({"output": message}),
        }
    )
    told = (tool["tool_arguments"], tool["tool_result"], tool["tool_call_id"])
    assert told == ('{"q":"x"}', "30 days", "c-1")
    documents = [{"page_content": "30 days", "metadata": {"id": "d-1"}, "type": "Document"}]
    found = _read({"langsmith.span.kind": "retriever", "gen_ai.completion": json.dumps({"documents": documents})})
    assert json.loads(found["documents"]) == [{"id": "d-1", "content": "30 days", "metadata": {"id": "d-1"}}]


def test_adk_1_counts_thoughts_beside_the_output_and_speaks_gemini() -> None:
    request = {
        "model": "gemini-2.5-flash",
        "config": {
            "system_instruction": "Be brief.",
            "tools": [{"function_declarations": [{"name": "search", "description": "d"}]}],
        },
        "contents": [{"role": "user", "parts": [{"text": "How long?"}]}],
    }
    response = {
        "content": {"role": "model", "parts": [{"function_call": {"id": "c-1", "name": "search", "args": {"q": "x"}}}]},
        "usage_metadata": {"cached_content_token_count": 16},
    }
    found = _read(
        {
            "gen_ai.system": "gcp.vertex.agent",
            "gen_ai.request.model": "gemini-2.5-flash",
            "gcp.vertex.agent.session_id": "s-1",
            "gcp.vertex.agent.llm_request": json.dumps(request),
            "gcp.vertex.agent.llm_response": json.dumps(response),
            "gcp.vertex.agent.tool_response": "{}",
            "gen_ai.usage.input_tokens": 57,
            "gen_ai.usage.output_tokens": 13,
            "gen_ai.usage.experimental.reasoning_tokens": 5,
        },
        "call_llm",
        scope="gcp.vertex.agent",
    )
    assert found["step"] == "llm"
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert json.loads(found["tool_definitions"]) == [{"type": "function", "name": "search", "description": "d"}]
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["session_id"], found["provider"]) == ("s-1", "google (gemini)")


def test_an_adk_tool() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "search",
            "gcp.vertex.agent.tool_call_args": '{"q": "x"}',
            "gcp.vertex.agent.tool_response": '{"result": "30 days"}',
            "gcp.vertex.agent.llm_request": "{}",
        },
        scope="gcp.vertex.agent",
    )
    assert (found["tool_arguments"], found["tool_result"]) == ('{"q": "x"}', "30 days")


def test_strands_blocks_in_span_events() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "strands-agents",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 57,
            "gen_ai.usage.input_tokens": 57,
            "gen_ai.usage.cache_write_input_tokens": 3,
            "gen_ai.server.time_to_first_token": 12,
        },
        scope="strands.telemetry.tracer",
        events=(
            ("gen_ai.system.message", {"content": '[{"text": "Be brief."}]'}),
            ("gen_ai.user.message", {"content": '[{"text": "How long?"}]'}),
            (
                "gen_ai.choice",
                {
                    "finish_reason": "tool_use",
                    "message": '[{"toolUse": {"toolUseId": "c-1", "name": "search", "input": {"q": "x"}}}]',
                },
            ),
        ),
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert (found["provider"], found["input_tokens"], found["cache_write_tokens"]) == ("openai", 57, 3)
    assert found["ttft_ms"] == 12.0


def test_a_strands_tool_s_events_are_its_arguments_and_result() -> None:
    found = _read(
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.tool.status": "error"},
        scope="strands.telemetry.tracer",
        events=(
            ("gen_ai.tool.message", {"role": "tool", "content": '{"q": "x"}', "id": "c-1"}),
            ("gen_ai.choice", {"message": '[{"text": "30 days"}]', "id": "c-1"}),
        ),
    )
    told = (found["tool_arguments"], found["tool_result"], found["tool_call_id"], found["error_type"])
    assert told == ('{"q": "x"}', "30 days", "c-1", "tool_error")


def test_semantic_kernel_has_messages_without_parts_and_one_finish_reason() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": "[]",
            "gen_ai.output.messages": '[{"role": "assistant", "content": "30 days", "name": "bot"}]',
            "gen_ai.response.finish_reason": "FinishReason.STOP",
            "error.type": "<class 'openai.RateLimitError'>",
        },
        scope="semantic_kernel.connectors.ai",
    )
    assert _parts(found["output_messages"]) == ANSWER
    assert (found["finish_reasons"], found["error_type"]) == (["stop"], "openai.RateLimitError")
    assert "input_messages" not in found


def test_agent_framework_writes_finish_reasons_as_text_and_no_vendor_on_agents() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "microsoft.agent_framework",
            "gen_ai.response.finish_reasons": '["stop"]',
        },
        scope="agent_framework",
    )
    assert (found.get("provider"), found["finish_reasons"]) == (None, ["stop"])


def test_haystack_says_model_and_usage_in_its_replies() -> None:
    given = {"messages": [{"role": "user", "content": [{"text": "How long?"}]}], "tools": [{"name": "search"}]}
    reply = {
        "role": "assistant",
        "meta": {
            "model": "gpt-4o-2024",
            "finish_reason": "tool_calls",
            "usage": {
                "prompt_tokens": 57,
                "completion_tokens": 18,
                "completion_tokens_details": {"reasoning_tokens": 5},
                "prompt_tokens_details": {"cached_tokens": 16},
            },
        },
        "content": [{"tool_call": {"tool_name": "search", "arguments": {"q": "x"}, "id": "c-1"}}],
    }
    found = _read(
        {
            "haystack.agent.step.llm.input": json.dumps(given),
            "haystack.agent.step.llm.output": json.dumps({"replies": [reply]}),
        },
        "haystack.agent.step.llm",
        scope="haystack",
    )
    assert _parts(found["input_messages"]) == ASKED[1:]
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]
    assert _counts(found) == (57, 18, 16, None, 5)
    assert (found["model"], found["finish_reasons"]) == ("gpt-4o-2024", ["tool_call"])


def test_haystack_tools_and_documents() -> None:
    tool = _read(
        {
            "haystack.tool.name": "search",
            "haystack.tool.call.id": "c-1",
            "haystack.agent.step.tool.input": '{"q": "x"}',
            "haystack.agent.step.tool.output": '"30 days"',
        },
        "haystack.agent.step.tool",
    )
    told = (tool["tool_name"], tool["tool_call_id"], tool["tool_arguments"], tool["tool_result"])
    assert told == ("search", "c-1", '{"q": "x"}', "30 days")
    output = {"documents": [{"id": "d-1", "content": "30 days", "score": 0.5, "source": "faq"}]}
    attributes = {"haystack.component.type": "X", "haystack.component.output": json.dumps(output)}
    attributes["haystack.component.type"] = "InMemoryBM25Retriever"
    documents = _read(dict(attributes), "haystack.component.run")["documents"]
    assert json.loads(documents) == [{"id": "d-1", "content": "30 days", "score": 0.5}]


def test_claude_code_counts_its_input_without_what_was_cached() -> None:
    found = _read(
        {
            "span.type": "llm_request",
            "model": "claude-sonnet-4-5",
            "gen_ai.system": "anthropic",
            "input_tokens": "41",
            "output_tokens": 18,
            "cache_read_tokens": 16,
            "cache_creation_tokens": 2,
            "ttft_ms": 56,
            "success": False,
            "status_code": 500,
            "stop_reason": "tool_use",
        },
        scope="com.anthropic.claude_code.tracing",
        status="error",
    )
    assert _counts(found) == (59, 18, 16, 2, None)
    assert (found["model_requested"], found["ttft_ms"], found["error_type"]) == ("claude-sonnet-4-5", 56.0, "500")
    assert found["finish_reasons"] == ["tool_call"]


def test_a_claude_code_tool_and_what_stands_inside_it() -> None:
    scope = "com.anthropic.claude_code.tracing"
    found = _read(
        {"span.type": "tool", "tool_name": "Bash", "full_command": "ls", "gen_ai.tool.call.id": "c-1"},
        scope=scope,
        events=(("tool.output", {"output": "a.txt", "bash_command": "ls"}),),
    )
    told = (found["step"], found["tool_name"], found["tool_arguments"], found["tool_result"], found["tool_call_id"])
    assert told == ("tool", "Bash", '{"command":"ls"}', "a.txt", "c-1")
    assert _read({"span.type": "tool.execution", "gen_ai.tool.call.id": "c-1"}, scope=scope)["step"] == "span"
    asked = _read({"span.type": "interaction", "user_prompt": "<REDACTED>"}, scope=scope)
    assert (asked["step"], asked.get("input")) == ("agent", None)


def test_an_mcp_transport_names_its_tool_and_a_result_says_whether_it_failed() -> None:
    sent = _read({"mcp.method.name": "tools/call", "mcp.session.id": "m"}, "MCP send tools/call search")
    assert (sent["step"], sent["tool_name"], sent.get("session_id")) == ("tool", "search", None)
    result = '{"content": [{"type": "text", "text": "30 days"}], "isError": true}'
    told = _read(
        {
            "mcp.method.name": "tools/call",
            "mcp.request.argument": '{"params": {"name": "search", "arguments": {"q": "x"}}}',
            "mcp.response.value": result,
        },
        "search.mcp",
    )
    assert (told["tool_arguments"], told["tool_result"], told["error_type"]) == ('{"q":"x"}', "30 days", "tool_error")


def test_litellm_s_calls_stand_beside_its_empty_messages() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": '[{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}]',
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.function_call.name": "search",
            "gen_ai.completion.0.function_call.arguments": '{"q": "x"}',
            "gen_ai.cost.total_cost": 3e-05,
            "hidden_params": '{"response_cost": 4e-05}',
            "llm.user": "",
            "metadata.user_id": "u-1",
        },
        scope="litellm",
    )
    call = {key: value for key, value in CALL.items() if key != "id"}
    assert _parts(found["output_messages"]) == [("assistant", [call])]
    assert (found["cost_usd"], found["user_id"]) == (3e-05, "u-1")


def test_openlit_s_cost_of_0_is_unknown_and_a_requested_tool_makes_no_tool_span() -> None:
    found = _read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.cost": 0.0,
            "gen_ai.tool.name": "search",
            "gen_ai.tool.args": "{'q': 'x'}",
        },
        scope="openlit.otel.tracing",
    )
    assert (found["step"], found.get("cost_usd"), found.get("tool_name")) == ("llm", None, None)


def test_genkit_and_laminar_bodies() -> None:
    answer = {"message": {"role": "model", "content": [{"text": "30 days"}]}, "usage": {"inputTokens": 57}}
    genkit = _read(
        {
            "genkit:metadata:subtype": "model",
            "genkit:name": "googleai/gemini-2.5-flash",
            "genkit:input": json.dumps({"messages": [{"role": "user", "content": [{"text": "How long?"}]}]}),
            "genkit:output": json.dumps(answer),
        }
    )
    assert (genkit["input"], genkit["output"], genkit["input_tokens"]) == ("How long?", "30 days", 57)
    assert genkit["model_requested"] == "gemini-2.5-flash"
    laminar = _read({"lmnr.span.type": "LLM", "lmnr.span.input": json.dumps(OPENAI), "lmnr.span.output": "30 days"})
    assert (_parts(laminar["input_messages"]), laminar["output"]) == (ASKED, "30 days")


def test_a_prompt_s_name_is_no_flattened_message() -> None:
    found = _read({"gen_ai.operation.name": "chat", "gen_ai.prompt.name": "p", "gen_ai.prompt.variable.city": "Rome"})
    assert (found["prompt_name"], "input_messages" in found, found["dialect"]) == ("p", False, "otel_genai")


def test_a_model_that_answers_json_keeps_its_text() -> None:
    found = _read(
        {"gen_ai.operation.name": "chat", "gen_ai.output.messages": '[{"role":"assistant","content":"{\\"a\\":1}"}]'}
    )
    assert found["output"] == '{"a":1}'


def test_hidden_content_is_not_shown_as_text() -> None:
    messages = '[{"role":"user","parts":[{"type":"text","content":"<REDACTED>"}]}]'
    assert "input" not in _read({"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages})


def test_a_model_call_with_only_a_provider_s_bodies_has_messages() -> None:
    body = {"id": "r-1", "model": "m", "content": [{"type": "text", "text": "30 days"}], "role": "assistant"}
    found = _read(
        {
            "openinference.span.kind": "LLM",
            "input.value": json.dumps({"model": "m", "system": "Be brief.", "messages": OPENAI[1:]}),
            "output.value": json.dumps(body),
        }
    )
    assert (_parts(found["input_messages"]), _parts(found["output_messages"])) == (ASKED, ANSWER)
    assert (found["input"], found["output"], found["response_id"]) == ("How long?", "30 days", "r-1")


def test_openai_s_responses_are_read_item_by_item() -> None:
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c-1", "name": "search", "arguments": '{"q": "x"}'},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "30 days"}]},
    ]
    found = _read({"gen_ai.operation.name": "chat", "response_data": json.dumps({"output": items})})
    assert _parts(found["output_messages"]) == [
        ("assistant", [{"type": "reasoning", "content": "hm"}]),
        ("assistant", [CALL]),
        *ANSWER,
    ]


def test_langchain_s_serialised_messages_are_read() -> None:
    def message(kind: str, **kwargs: object) -> dict[str, object]:
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", kind], "kwargs": kwargs}

    calls = [{"name": "search", "args": {"q": "x"}, "id": "c-1"}]
    batch = [[message("SystemMessage", content="Be brief."), message("HumanMessage", content="How long?")]]
    answer = {"generations": [[{"text": "", "message": message("AIMessage", content="", tool_calls=calls)}]]}
    found = _read(
        {
            "langsmith.span.kind": "llm",
            "gen_ai.prompt": json.dumps({"messages": batch}),
            "gen_ai.completion": json.dumps(answer),
        }
    )
    assert _parts(found["input_messages"]) == ASKED
    assert _parts(found["output_messages"]) == [("assistant", [CALL])]


def test_pydantic_ai_1_agents_hold_their_history_as_events() -> None:
    events = [
        {"role": "user", "content": "How long?", "event.name": "gen_ai.user.message"},
        {"role": "assistant", "content": "30 days", "event.name": "gen_ai.assistant.message"},
    ]
    found = _read({"gen_ai.operation.name": "invoke_agent", "all_messages_events": json.dumps(events)}, "agent run")
    assert (found["input"], found["output"], found.get("agent_name")) == ("How long?", "30 days", None)


def test_llama_index_s_step_that_takes_an_answer_tells_the_answering_model() -> None:
    taken = json.dumps({"ctx": "<Context>", "ev": "AgentOutput(raw={'id': 'r-1', 'choices': [], 'model': 'm-2024'})"})
    found = _read(
        {"openinference.span.kind": "CHAIN", "input.value": taken},
        "BaseWorkflowAgent.parse_agent_output",
        scope="openinference.instrumentation.llama_index",
    )
    assert (found["step"], found["model"], found["response_id"], found.get("input")) == ("chain", "m-2024", "r-1", None)


def test_a_crew_s_answer_is_its_raw_text() -> None:
    found = _read(
        {
            "openinference.span.kind": "AGENT",
            "graph.node.id": "Researcher",
            "output.value": '{"raw": "30 days", "agent": "Researcher"}',
        },
        scope="openinference.instrumentation.crewai",
    )
    assert (found["agent_name"], found["output"]) == ("Researcher", "30 days")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": 41, "output_tokens": 18, "cache_read_input_tokens": 16}, (57, 18, 16, None, None)),
        ({"prompt_tokens": 57, "completion_tokens": 18, "cache_read_input_tokens": 16}, (57, 18, 16, None, None)),
        ({"promptTokenCount": 57, "candidatesTokenCount": 13, "thoughtsTokenCount": 5}, (57, 18, None, None, 5)),
        ({"inputTokens": 57, "outputTokens": 18, "totalTokens": 75}, (57, 18, None, None, None)),
        ({"input_tokens": 5, "cache_read_input_tokens": 90}, (95, None, 90, None, None)),
        ("{'input': 1, 'output': 2}", (1, 2, None, None, None)),
        ("not usage", (None, None, None, None, None)),
    ],
)
def test_usage_objects_of_all_providers(usage: object, counts: tuple[object, ...]) -> None:
    text = usage if isinstance(usage, str) else json.dumps(usage)
    assert _counts(_read({"gen_ai.operation.name": "chat", "gen_ai.usage.raw": text})) == counts


def test_openllmetrys_langchain_tools_tell_their_callbacks_payload() -> None:
    given = {
        "input_str": "{'day': 'sunday'}",
        "tags": [],
        "metadata": {"a": 1},
        "inputs": {"day": "sunday"},
        "kwargs": {},
    }
    message = {"content": "10 to 16", "tool_call_id": "call_1", "type": "tool"}
    columns = _read(
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "opening_hours",
            "gen_ai.tool.call.arguments": json.dumps(given),
            "gen_ai.tool.call.result": json.dumps({"output": message, "kwargs": {"name": "opening_hours"}}),
        }
    )
    assert json.loads(columns["tool_arguments"]) == {"day": "sunday"}
    assert columns["tool_result"] == "10 to 16"
