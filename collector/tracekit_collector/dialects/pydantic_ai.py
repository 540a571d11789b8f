"""pydantic-ai, formats 1 to 6, and the Logfire SDK."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import content_events, fields, messages
from tracekit_collector.dialects import NOTHING, Dialect, Key, Lift, RawSpan, marks, ranked
from tracekit_collector.dialects._usage import tokens_of

_DETAILS = "gen_ai.usage.details."


def dialect() -> Dialect:
    """pydantic-ai and Logfire."""
    return Dialect(
        name="pydantic_ai",
        rank=32,
        recognises=marks(
            "logfire.msg_template", "logfire.span_type", "logfire.msg", scopes=("pydantic-ai", "pydantic_ai", "logfire")
        ),
        keys={
            "agent_name": ranked(12, "agent_name"),
            "cached_tokens": ranked(18, _DETAILS + "cache_read_tokens", _DETAILS + "cached_tokens"),
            "cache_write_tokens": ranked(18, _DETAILS + "cache_write_tokens"),
            "reasoning_tokens": (
                *ranked(16, _DETAILS + "reasoning_tokens"),
                *ranked(61, "gen_ai.aggregated_usage.details.reasoning_tokens"),
            ),
            "cost_usd": ranked(13, "operation.cost"),
            "tool_arguments": ranked(13, "tool_arguments"),
            "tool_result": ranked(13, "tool_response"),
            "input_messages": (Key("request_data", 74, fields.body_input),),
            "output_messages": (Key("response_data", 74, fields.body_output),),
            "output": ranked(35, "final_result"),
            "model_requested": (*ranked(44, "model_name"), Key("request_data", 60, _model)),
            "model": (Key("response_data", 60, _model),),
        },
        steps={("sdk_span_type", 35): {"turn": "chain", "task": "chain"}},
        lifts=(
            Lift(5, marks("logfire.span_type", "logfire.msg_template", "logfire.tags"), _logfire),
            Lift(40, marks("events"), lambda span: _said(span.attributes["events"])),
            Lift(41, marks("all_messages_events"), lambda span: _said(span.attributes["all_messages_events"])),
            Lift(42, marks("pydantic_ai.all_messages"), _history),
            Lift(60, marks("gen_ai.usage.raw"), lambda span: tokens_of(span.attributes["gen_ai.usage.raw"])),
            Lift(61, marks("response_data"), _usage),
            Lift(62, marks("logfire.msg_template"), _bare),
        ),
    )


def _said(value: object) -> Mapping[str, object]:
    """Events, one a message: of a chat the question and the answer, of an agent the whole history."""
    read = messages.decoded(value)
    listed = [item for item in read if isinstance(item, dict)] if isinstance(read, list) else []
    pairs: list[tuple[str, object]] = [(str(item.get("event.name", "")), item) for item in listed]
    given, answered = content_events.conversation(pairs)
    if not answered and pairs and pairs[-1][0] == "gen_ai.assistant.message":
        given, answered = given[:-1], given[-1:]
    return {"input_messages": given or None, "output_messages": answered or None}


def _history(span: RawSpan) -> Mapping[str, object]:
    """An agent's history, the last answer apart."""
    found = messages.body(span.attributes["pydantic_ai.all_messages"], "user")
    if found is None or found.messages[-1].get("role") != "assistant":
        return {"input_messages": found.messages if found is not None else None}
    return {"input_messages": found.messages[:-1] or None, "output_messages": found.messages[-1:]}


def _model(value: object) -> str | None:
    read = messages.decoded(value)
    return fields.text(read.get("model")) if isinstance(read, dict) else None


def _usage(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes["response_data"])
    return tokens_of(read.get("usage")) if isinstance(read, dict) else {}


def _logfire(span: RawSpan) -> Mapping[str, object]:
    """A log, and the sign that a span has begun, are no calls; unless the log holds a streamed answer."""
    attributes = span.attributes
    kind = attributes.get("logfire.span_type")
    if kind == "pending_span":
        return {"step": "span", "input_messages": NOTHING, "output_messages": NOTHING, "input_tokens": NOTHING}
    says = any(key in attributes for key in ("gen_ai.output.messages", "response_data", "gen_ai.usage.output_tokens"))
    return {"step": "span"} if kind == "log" and not says else {}


def _bare(span: RawSpan) -> Mapping[str, object]:
    """What Logfire's own spans of OpenAI's agents, and of tools run by hand, hold under plain names."""
    attributes = span.attributes
    found: dict[str, object] = {}
    if span.name.startswith("running tool"):
        found["tool_name"] = attributes.get("tool") or attributes.get("gen_ai.tool.name") or attributes.get("tool_name")
        found["tool_arguments"], found["tool_result"] = attributes.get("arguments"), attributes.get("result")
    tags = messages.decoded(attributes.get("logfire.tags"))
    if isinstance(tags, list) and "LLM" in tags and "gen_ai.request.model" in attributes:
        found["step"] = "llm"
    if "sdk_span_type" in attributes or "LLM" in (tags if isinstance(tags, list) else ()):
        found.update(tokens_of(attributes.get("usage")))
    return found
