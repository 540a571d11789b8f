"""Steps that coding agents tell in log records: what was asked, each model call, each tool call.

Claude Code and Codex write events. Beside spans they add what the spans lack (answers, costs, usage); where tracing is
off they are all there is, and steps are made of them. One table says which attribute of which event holds what:
`read` follows it for one record, `tracekit_collector.log_views` makes the SQL of the views from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracekit_collector import fields, messages
from tracekit_collector.anyvalue import attributes_from_text, plain_text

Row = Mapping[str, object]

CLAUDE = "claude_code"
CODEX = "codex"


@dataclass(frozen=True)
class Event:
    """What one kind of record tells.

    Args:
        kind: `ask` (a user's words), `llm` (a model call), `said` (the words of the model call before it) or `tool`.
        told: Column of `spans` to the attribute that holds it.
        adds: Attributes to add to `input_tokens`: the writer counts what was cached apart.
        needs: An attribute without which the record tells nothing.
        fails: Whether every such record is a failure; else `success` = false says so.
    """

    kind: str
    told: Mapping[str, str] = field(default_factory=dict)
    adds: tuple[str, ...] = ()
    needs: str | None = None
    fails: bool = False


_COUNTS = {
    "model": "model",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_creation_tokens",
    "cost_usd": "cost_usd",
    "response_id": "request_id",
    "duration_ms": "duration_ms",
}
_TOOL = {"tool_name": "tool_name", "duration_ms": "duration_ms", "status_message": "error", "error_type": "error_type"}

EVENTS: dict[str, dict[str, Event]] = {
    CLAUDE: {
        "user_prompt": Event("ask", {"input": "prompt"}),
        "api_request": Event("llm", _COUNTS, adds=("cache_read_tokens", "cache_creation_tokens")),
        "api_error": Event(
            "llm",
            {
                "model": "model",
                "status_message": "error",
                "error_type": "status_code",
                "duration_ms": "duration_ms",
            },
            fails=True,
        ),
        "assistant_response": Event("said", {"output": "response"}),
        "tool_result": Event("tool", {**_TOOL, "tool_call_id": "tool_use_id", "tool_arguments": "tool_input"}),
    },
    CODEX: {
        "codex.user_prompt": Event("ask", {"input": "prompt"}),
        "codex.sse_event": Event(
            "llm",
            {
                "model": "model",
                "input_tokens": "input_token_count",
                "output_tokens": "output_token_count",
                "cached_tokens": "cached_token_count",
                "reasoning_tokens": "reasoning_token_count",
                "duration_ms": "duration_ms",
            },
            needs="input_token_count",
        ),
        "codex.api_request": Event(
            "llm",
            {
                "model": "model",
                "status_message": "error.message",
                "error_type": "http.response.status_code",
                "duration_ms": "duration_ms",
            },
            needs="error.message",
            fails=True,
        ),
        "codex.tool_result": Event(
            "tool",
            {**_TOOL, "tool_call_id": "call_id", "tool_arguments": "arguments", "tool_result": "output"},
        ),
    },
}
PROVIDERS = {CLAUDE: "anthropic", CODEX: "openai"}
ROOTS = {CLAUDE: "claude_code.interaction", CODEX: "codex.turn"}  # the name of a trace that only records tell
NAMES = {CLAUDE: "claude_code.llm_request", CODEX: "codex.model_call"}
PROMPT = "prompt.id"  # with the session it names a turn
SEQUENCE = "event.sequence"

_COUNT_COLUMNS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_READERS: dict[str, Callable[[object], object]] = {
    **dict.fromkeys(_COUNT_COLUMNS, fields.count),
    "cost_usd": fields.money,
    "duration_ms": fields.milliseconds,
    "tool_arguments": fields.payload,
    "tool_result": fields.payload,
    "input": fields.payload,
    "output": fields.payload,
}


class Told(NamedTuple):
    """What a record tells: its kind, when, on which span, and columns of `spans`."""

    kind: str
    dialect: str
    time_ns: int
    span_id: str | None
    columns: dict[str, Any]


def writer_of(row: Row) -> str | None:
    """The coding agent that wrote a record; None for any other record."""
    if "claude_code" in str(row.get("scope")):
        return CLAUDE
    return CODEX if '"codex.' in str(row.get("attributes")) else None


def lone_trace_id(session_id: object, prompt_id: object) -> str:
    """The id of the trace that records without a trace id make: of one turn, or of a whole session.

    Example:
        >>> lone_trace_id("s", None)
        '03c7c0ace395d80182db07ae2c30f034'
    """
    named = f"{session_id}/{prompt_id}" if prompt_id else f"{session_id}"
    return hashlib.md5(named.encode(), usedforsecurity=False).hexdigest()


def told(logs: Sequence[Row]) -> list[Told]:
    """What the records of coding agents tell, in order; other records tell nothing."""
    found: list[tuple[tuple[int, int, int], Told]] = []
    for row in logs:
        writer = writer_of(row)
        if writer is None:
            continue
        attributes = attributes_from_text(str(row.get("attributes") or "{}"))
        name = str(attributes.get("event.name") or row.get("event_name"))
        event = EVENTS[writer].get(name.removeprefix("claude_code."))
        if event is None or (event.needs is not None and attributes.get(event.needs) is None):
            continue
        time = row.get("time_ns")
        at = time if isinstance(time, int) else 0
        place = str(row.get("log_id") or "").rpartition("-")[2]
        order = (at, fields.count(attributes.get(SEQUENCE)) or 0, int(place) if place.isdecimal() else 0)
        span_id = row.get("span_id")
        columns = _columns(event, attributes, writer) | {
            "session_id": row.get("session_id"),
            "user_id": fields.text(attributes.get("user.id")),
            "service_name": row.get("service_name"),
            "project": row.get("project"),
            "log_id": row.get("log_id"),
            "trace_id": row.get("trace_id"),
        }
        found.append((order, Told(event.kind, writer, at, str(span_id) if span_id else None, columns)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _columns(event: Event, attributes: Mapping[str, object], writer: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, key in event.told.items():
        value = _READERS.get(column, fields.text)(attributes.get(key))
        if value is not None:
            found[column] = value
    if "input_tokens" in found:
        found["input_tokens"] += sum(fields.count(attributes.get(key)) or 0 for key in event.adds)
    if event.kind == "llm":
        found["provider"] = PROVIDERS[writer]
    failed = event.fails or str(attributes.get("success")).lower() == "false"
    found["status"] = "error" if failed else "unset"
    return found


def add_to(rows: dict[str, dict[str, Any]], records: Sequence[Told]) -> None:
    """Add to a trace's rows what records tell: into its model and tool spans, else as rows of their own.

    A model call belongs to the last model span that had begun; a tool call to the span with its id. Steps of a kind
    are made of records only where the trace has no span of that kind.

    Args:
        rows: The trace's rows by span id; filled, and rows added.
        records: What `told` gave of the trace's records.
    """
    if not records:
        return
    models = sorted((row for row in rows.values() if row.get("step") == "llm"), key=_start)
    tools = sorted((row for row in rows.values() if row.get("step") == "tool"), key=_start)
    made = _made(rows, records, models=not models, tools=not tools)
    answered = models or [row for row in made if row["step"] == "llm"]
    for each in records:
        if each.kind == "ask":
            _ask(rows, each)
        elif each.kind == "said":
            # A record of an answer is written when the call is over.
            fill(_begun_before(answered, each.time_ns), _said(each.columns.get("output")))
        elif each.kind == "llm" and models and each.columns["status"] != "error":
            fill(_begun_before(models, each.time_ns), _without(each.columns))
        elif each.kind == "tool" and tools:
            fill(_same_tool(tools, each), _without(each.columns))


def _made(
    rows: dict[str, dict[str, Any]], records: Sequence[Told], *, models: bool, tools: bool
) -> list[dict[str, Any]]:
    kinds = {"llm"} if models else set()
    kinds |= {"tool"} if tools else set()
    wanted = [each for each in records if each.kind in kinds]
    alone = not rows
    made = [_step(each) for each in wanted]
    for row, each in zip(made, wanted, strict=True):
        row["parent_span_id"] = each.span_id if each.span_id in rows else None
    if alone:
        root = _root(records, made)
        rows[root["span_id"]] = root
    top = _top(rows)
    for row in made:
        row["parent_span_id"] = row["parent_span_id"] or top
        rows[row["span_id"]] = row
    return made


def _top(rows: Mapping[str, dict[str, Any]]) -> str:
    whole = [row for row in rows.values() if not row.get("parent_span_id")] or list(rows.values())
    return str(min(whole, key=_start)["span_id"])


def _step(each: Told) -> dict[str, Any]:
    columns = each.columns
    duration = int((columns.get("duration_ms") or 0) * 1_000_000)
    row = {name: value for name, value in columns.items() if name not in ("duration_ms", "log_id")}
    name = NAMES[each.dialect] if each.kind == "llm" else str(columns.get("tool_name") or "tool")
    return row | {
        "span_id": _id_of(columns.get("log_id")),
        "name": name,
        "kind": "internal",
        "step": each.kind,
        "start_ns": max(0, each.time_ns - duration),
        "duration_ns": duration,
        "dialect": each.dialect,
    }


def _root(records: Sequence[Told], made: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = records[0]
    start = min([first.time_ns, *(row["start_ns"] for row in made)])
    common = {
        name: next((each.columns[name] for each in records if each.columns.get(name) is not None), None)
        for name in ("trace_id", "session_id", "user_id", "service_name", "project", "input")
    }
    outputs = [each.columns["output"] for each in records if each.kind == "said" and each.columns.get("output")]
    return common | {
        "span_id": _id_of(common["trace_id"]),
        "parent_span_id": None,
        "name": ROOTS[first.dialect],
        "kind": "internal",
        "step": "agent",
        "start_ns": start,
        "duration_ns": records[-1].time_ns - start,
        "status": "unset",
        "output": outputs[-1] if outputs else None,
        "dialect": first.dialect,
    }


def _ask(rows: dict[str, dict[str, Any]], each: Told) -> None:
    row = rows.get(each.span_id or "") or rows[_top(rows)]
    fill(row, {"input": each.columns.get("input")})


def _said(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    answer = [{"role": "assistant", "parts": [messages.text_part(text)]}]
    return {"output": text, "output_messages": plain_text(answer)}


def _without(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in columns.items()
        if name not in ("status", "status_message", "error_type", "duration_ms", "log_id", "trace_id")
    }


def _same_tool(tools: Sequence[dict[str, Any]], each: Told) -> dict[str, Any]:
    wanted = each.columns.get("tool_call_id")
    return next((row for row in tools if wanted is not None and row.get("tool_call_id") == wanted), {})


def _begun_before(spans: Sequence[dict[str, Any]], time_ns: int) -> dict[str, Any]:
    found: dict[str, Any] = spans[0] if spans else {}
    for row in spans:
        if _start(row) > time_ns:
            break
        found = row
    return found


def fill(target: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Set the columns of a row that are null; a cost that somebody told wins over one from a price list."""
    for name, value in found.items():
        if value is None:
            continue
        if target.get(name) is None:
            target[name] = value
        elif name == "cost_usd" and str(target.get("cost_source")).startswith("genai-prices"):
            target["cost_usd"], target["cost_source"] = value, None


def _start(row: Mapping[str, Any]) -> int:
    return row.get("start_ns") or 0


def _id_of(name: object) -> str:
    return hashlib.md5(str(name).encode(), usedforsecurity=False).hexdigest()[:16]
