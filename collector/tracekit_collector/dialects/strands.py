"""Strands Agents: content in span events, as Bedrock's blocks."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import messages
from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, ranked
from tracekit_collector.dialects.otel_genai import tool_result

_FIRST_MS = "gen_ai.server.time_to_first_token"
_HERE = marks("event_loop.cycle_id", "gen_ai.agent.tools", scopes=("strands.",))


def dialect() -> Dialect:
    """Strands Agents."""
    return Dialect(
        name="strands",
        rank=37,
        recognises=_HERE,
        keys={
            "ttft_ms": ranked(12, _FIRST_MS),
            "tool_definitions": (*ranked(12, "gen_ai_tool_definitions"), Key("gen_ai.agent.tools", 60, _named_tools)),
            "system_instructions": ranked(40, "system_prompt"),
        },
        lifts=(
            Lift(50, marks("gen_ai.tool.status"), _fault),
            Lift(55, _HERE, _plain_answer, events=True),
        ),
    )


def _named_tools(value: object) -> str | None:
    """A list of the tools' names alone."""
    read = messages.decoded(value)
    if not isinstance(read, list):
        return None
    return messages.tools_column([{"name": item} if isinstance(item, str) else item for item in read])


def _fault(span: RawSpan) -> Mapping[str, object]:
    return {"error_type": "tool_error"} if span.attributes["gen_ai.tool.status"] == "error" else {}


def _plain_answer(span: RawSpan) -> Mapping[str, object]:
    """An event loop's cycle carries its tools' results beside the answer."""
    found: dict[str, object] = {}
    for event in span.events:
        if event.name == "gen_ai.choice" and "tool.result" in event.attributes and "message" not in event.attributes:
            found["output"] = tool_result(event.attributes["tool.result"])
    return found
