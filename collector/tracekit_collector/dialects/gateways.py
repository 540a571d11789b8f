"""LiteLLM, OpenLIT and the Anthropic SDK's own spans: mostly OpenTelemetry's keys, with something of their own."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields, messages
from tracekit_collector.dialects import NOTHING, Dialect, Lift, RawSpan, marks, ranked

_LITELLM = marks("hidden_params", scopes=("litellm",))
_OPENLIT = marks(scopes=("openlit",))
_CALLS = ("gen_ai.completion.0.function_call.name", "gen_ai.completion.0.tool_calls.0.name")


def litellm() -> Dialect:
    """LiteLLM, as a library and as a gateway."""
    return Dialect(
        name="litellm",
        rank=33,
        recognises=_LITELLM,
        keys={
            "cost_usd": ranked(12, "gen_ai.cost.total_cost"),
            "session_id": ranked(28, "metadata.session_id"),
            "user_id": ranked(27, "metadata.user_id", "metadata.user_api_key_user_id"),
            "system_instructions": ranked(42, "llm.request.system"),
        },
        lifts=(Lift(9, marks(*_CALLS), _calls), Lift(25, marks("hidden_params"), _hidden)),
    )


def openlit() -> Dialect:
    """OpenLIT."""
    return Dialect(
        name="openlit",
        rank=35,
        recognises=_OPENLIT,
        keys={
            "tool_arguments": ranked(15, "gen_ai.tool.args"),
        },
        lifts=(Lift(5, _OPENLIT, _known),),
    )


def anthropic_sdk() -> Dialect:
    """The spans that Anthropic's SDK writes by itself; beside those of an instrumentation they are the same call."""
    return Dialect(
        name="anthropic_sdk",
        rank=43,
        recognises=marks(scopes=("com.anthropic.sdk",)),
        keys={"finish_reasons": ranked(41, "anthropic.message.stop_reason")},
    )


def _hidden(span: RawSpan) -> Mapping[str, object]:
    read = messages.decoded(span.attributes["hidden_params"])
    return {"cost_usd": read.get("response_cost")} if isinstance(read, dict) else {}


def _calls(span: RawSpan) -> Mapping[str, object]:
    """An answer that calls tools has no parts in LiteLLM's messages: the flattened form has the calls."""
    answered = messages.decoded(span.attributes.get("gen_ai.output.messages"))
    if not isinstance(answered, list) or any(isinstance(item, dict) and item.get("parts") for item in answered):
        return {}
    calls = [call for start in ("function_call", "tool_calls.0") if (call := _call(span.attributes, start)) is not None]
    return {"output_messages": [{"role": "assistant", "tool_calls": calls[:1]}]} if calls else {}


def _call(attributes: Mapping[str, object], start: str) -> dict[str, object] | None:
    found = {name: attributes.get(f"gen_ai.completion.0.{start}.{name}") for name in ("id", "name", "arguments")}
    return found if found["name"] else None


def _known(span: RawSpan) -> Mapping[str, object]:
    """A cost of 0 is a price that OpenLIT does not know; a tool's name on a model's call is what was asked for."""
    found: dict[str, object] = {}
    if fields.money(span.attributes.get("gen_ai.usage.cost")) == 0:
        found["cost_usd"] = NOTHING
    if str(span.attributes.get("gen_ai.operation.name", "")).lower() in ("chat", "text_completion", "generate_content"):
        found.update(dict.fromkeys(("tool_name", "tool_call_id", "tool_arguments", "tool_result"), NOTHING))
    return found
