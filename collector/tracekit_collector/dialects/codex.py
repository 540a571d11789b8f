"""Codex CLI: a few of the many spans of its run-time say what it did; the rest stands in log records."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector.dialects import Dialect, Lift, RawSpan, marks, named, ranked

_HERE = marks("turn.id", scopes=("codex",))


def dialect() -> Dialect:
    """Codex CLI."""
    return Dialect(
        name="codex",
        rank=41,
        recognises=_HERE,
        keys={
            "session_id": ranked(32, "conversation.id"),
            "input_tokens": ranked(40, "input_token_count"),
            "output_tokens": ranked(40, "output_token_count"),
            "cached_tokens": ranked(40, "cached_token_count"),
            "reasoning_tokens": ranked(40, "reasoning_token_count"),
        },
        lifts=(
            named(
                28,
                _HERE,
                {"session_task.turn": "agent", "run_turn": "chain", "model_client.stream_responses_api": "llm"},
            ),
            Lift(29, marks("call_id"), _tool),
        ),
    )


def _tool(span: RawSpan) -> Mapping[str, object]:
    """A tool's span is called by the tool."""
    name = span.attributes.get("tool_name")
    if name != span.name:
        return {}
    return {
        "step": "tool",
        "tool_arguments": span.attributes.get("arguments"),
        "tool_result": span.attributes.get("output"),
    }
