"""Claude Code's traces; what it asks and answers stands in log records too."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import fields
from tracekit_collector.anyvalue import plain_text
from tracekit_collector.dialects import NOTHING, Dialect, Lift, RawSpan, marks, ranked

KIND = "span.type"
_HERE = marks(KIND)
_STEPS = {
    "interaction": "agent",
    "llm_request": "llm",
    "tool": "tool",
    "tool.execution": "span",
    "tool.blocked_on_user": "span",
    "hook": "span",
}
# A tool's one telling argument, for tools whose whole input is not recorded.
_ARGUMENTS = {
    "full_command": "command",
    "file_path": "file_path",
    "skill_name": "skill",
    "subagent_type": "subagent_type",
}


def dialect() -> Dialect:
    """Claude Code."""
    return Dialect(
        name="claude_code",
        rank=40,
        recognises=marks(scopes=("com.anthropic.claude_code",)),
        keys={
            "model_requested": ranked(40, "model"),
            "output_tokens": ranked(20, "output_tokens"),
            "cached_tokens": ranked(20, "cache_read_tokens"),
            "cache_write_tokens": ranked(20, "cache_creation_tokens"),
            "cost_usd": ranked(20, "cost_usd"),
            "ttft_ms": ranked(15, "ttft_ms"),
            "finish_reasons": ranked(40, "stop_reason"),
            "response_id": ranked(40, "request_id"),
            "tool_name": ranked(40, "tool_name"),
            "tool_call_id": ranked(40, "tool_use_id", "call_id"),
            "tool_arguments": ranked(14, "tool_input"),
            "input": ranked(35, "user_prompt"),
        },
        steps={(KIND, 26): {**_STEPS, **{f"claude_code.{kind}": step for kind, step in _STEPS.items()}}},
        lifts=(
            Lift(9, _HERE, _inner),
            Lift(20, marks("input_tokens"), _counted),
            Lift(30, _HERE, _result, events=True),
            Lift(45, _HERE, _arguments),
            Lift(50, marks("success"), _fault),
            Lift(60, marks("new_context", "response.model_output"), _content),
        ),
    )


def _inner(span: RawSpan) -> Mapping[str, object]:
    """Waiting for a user's leave and running a tool are parts of its call, not calls."""
    kind = str(span.attributes[KIND]).removeprefix("claude_code.")
    return {"step": "span", "tool_call_id": NOTHING} if kind in ("tool.execution", "tool.blocked_on_user") else {}


def _counted(span: RawSpan) -> Mapping[str, object]:
    """Its input leaves out what was cached."""
    attributes = span.attributes
    given = fields.count(attributes["input_tokens"])
    beside = [fields.count(attributes.get(key)) or 0 for key in ("cache_read_tokens", "cache_creation_tokens")]
    return {"input_tokens": given + sum(beside) if given is not None else None}


def _result(span: RawSpan) -> Mapping[str, object]:
    for event in span.events:
        if event.name == "tool.output":
            told = event.attributes
            return {"tool_result": told.get("output") or told.get("content") or told.get("diff")}
    return {}


def _arguments(span: RawSpan) -> Mapping[str, object]:
    found = {name: span.attributes[key] for key, name in _ARGUMENTS.items() if span.attributes.get(key)}
    return {"tool_arguments": plain_text(found)} if found else {}


def _fault(span: RawSpan) -> Mapping[str, object]:
    attributes = span.attributes
    if str(attributes["success"]).lower() != "false":
        return {}
    return {"error_type": fields.text(attributes.get("status_code")) or "error"}


def _content(span: RawSpan) -> Mapping[str, object]:
    if not str(span.attributes.get(KIND, "")).endswith("llm_request"):
        return {}
    return {
        "input_messages": span.attributes.get("new_context"),
        "output_messages": span.attributes.get("response.model_output"),
        "system_instructions": span.attributes.get("system_prompt_preview"),
        "tool_definitions": span.attributes.get("tools"),
    }
