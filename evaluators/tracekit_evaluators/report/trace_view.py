"""One trace as the report shows it: facts, conversation, tool calls, waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.text import Text, line, shown, text
from tracekit_evaluators.report.waterfall import Waterfall, duration, waterfall
from tracekit_evaluators.verdict import figure

if TYPE_CHECKING:
    from tracekit_collector.trace import ToolCall, Trace

_LONGEST_MESSAGE = 4_000
_LONGEST_ARGUMENTS = 2_000
_MOST_MESSAGES = 200
_MOST_CALLS = 200
_MOST_SPANS = 2_000


@dataclass(frozen=True)
class Part:
    """A part of a message: `text`, `tool call`, `tool result` …, a title such as a tool's name, the text."""

    kind: str
    title: str
    text: Text | None


@dataclass(frozen=True)
class Message:
    """A message of the conversation: who speaks, and in which parts."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Call:
    """A tool call: which tool, with what, and what came of it (`ok`, `error`, or `not seen` to have been made)."""

    name: str
    arguments: Text | None
    result: Text | None
    error: str
    outcome: str
    duration: str


@dataclass(frozen=True)
class TraceView:
    """A trace.

    Args:
        trace_id: Its id.
        name: Its name.
        failed: Whether it ended in an error.
        error: The error that mattered.
        facts: Duration, models, tokens, cost and the like, as (name, value).
        messages: The conversation.
        messages_left_out: How many messages are not shown.
        calls: The tool calls in order.
        calls_left_out: How many tool calls are not shown.
        waterfall: The spans.
    """

    trace_id: str
    name: str
    failed: bool
    error: str
    facts: tuple[tuple[str, str], ...]
    messages: tuple[Message, ...]
    messages_left_out: int
    calls: tuple[Call, ...]
    calls_left_out: int
    waterfall: Waterfall


def trace_view(trace: Trace) -> TraceView:
    """A trace as the report shows it."""
    names = _names_of_calls(trace.messages)
    messages = [_message(message, names) for message in trace.messages[:_MOST_MESSAGES]]
    return TraceView(
        trace_id=trace.trace_id,
        name=line(trace.name, longest=120),
        failed=trace.status == "error",
        error=_error(trace),
        facts=tuple(_facts(trace)),
        messages=tuple(message for message in messages if message.parts),
        messages_left_out=max(0, len(trace.messages) - _MOST_MESSAGES),
        calls=tuple(_call(call) for call in trace.tool_calls[:_MOST_CALLS]),
        calls_left_out=max(0, len(trace.tool_calls) - _MOST_CALLS),
        waterfall=waterfall(trace, most=_MOST_SPANS),
    )


def _error(trace: Trace) -> str:
    return _fault(trace.error)


def _fault(error: Mapping[str, str | None] | None) -> str:
    told = [error.get("type"), error.get("message")] if error is not None else []
    return line(": ".join(str(each) for each in told if each), longest=600)


def _facts(trace: Trace) -> Iterator[tuple[str, str]]:
    yield "duration", duration(trace.duration_ns)
    steps = ", ".join(f"{count} {step}" for step, count in trace.steps.items() if count)
    models = sorted({str(call.model or call.model_requested) for call in trace.model_calls} - {"None"})
    tokens = [trace.usage.input_tokens, trace.usage.output_tokens]
    for name, value in (
        ("steps", steps),
        ("model", ", ".join(models)),
        ("tokens", "" if tokens == [None, None] else " in, ".join(_count(each) for each in tokens) + " out"),
        ("cost", "" if trace.cost_usd is None else f"${figure(trace.cost_usd)}"),
        ("session", trace.session_id or ""),
        ("agent version", trace.agent_version or ""),
    ):
        if value:
            yield name, line(value, longest=200)


def _count(tokens: int | None) -> str:
    return "–" if tokens is None else f"{tokens:,}"


def _names_of_calls(messages: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Names of tools by the ids of their calls, which results carry alone."""
    found: dict[str, object] = {}
    for message in messages:
        parts = message.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping) and part.get("type") == "tool_call" and part.get("name") is not None:
                found[str(part.get("id"))] = part["name"]
    return found


def _message(message: Mapping[str, object], names: Mapping[str, object]) -> Message:
    parts = message.get("parts")
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        parts = [{"type": "text", "content": message.get("content")}]
    return Message(
        shown(str(message.get("role") or "unknown"))[:40],
        tuple(_part(part, names) for part in parts if isinstance(part, Mapping)),
    )


def _part(part: Mapping[str, object], names: Mapping[str, object]) -> Part:
    kind = str(part.get("type") or "text")
    if kind == "tool_call":
        return Part("tool call", _title(part, names), text(part.get("arguments"), longest=_LONGEST_MESSAGE))
    if kind == "tool_call_response":
        said = next((part[key] for key in ("response", "result", "content") if part.get(key) is not None), None)
        return Part("tool result", _title(part, names), text(said, longest=_LONGEST_MESSAGE))
    if kind in {"text", "reasoning"}:
        title = "" if kind == "text" else "reasoning"
        return Part(kind, title, text(part.get("content"), longest=_LONGEST_MESSAGE))
    described = {key: value for key, value in part.items() if key not in {"type", "content", "data"}}
    return Part("other", shown(kind)[:40], text(described or None, longest=400))


def _title(part: Mapping[str, object], names: Mapping[str, object]) -> str:
    return line(part.get("name") or names.get(str(part.get("id"))) or part.get("id") or "", longest=80)


def _call(call: ToolCall) -> Call:
    error, result = _fault(call.error), text(call.result, longest=_LONGEST_ARGUMENTS)
    return Call(
        name=line(call.name, longest=120) or "unnamed",
        arguments=text(call.arguments, longest=_LONGEST_ARGUMENTS),
        result=None if result is not None and error.endswith(result.body) else result,  # says the same
        error=error,
        outcome=call.status or "not seen",
        duration=duration(call.duration_ns),
    )
