"""OpenLLMetry (Traceloop): decorators, flattened messages of versions up to 0.5x, vector databases, MCP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Key, Lift, Marks, RawSpan, marks, ranked
from tracekit_collector.dialects._flat import items_of, unflattened

KIND = "traceloop.span.kind"
_LINK = "traceloop.association.properties."
_FUNCTIONS = "llm.request.functions."
_TREES = frozenset({"gen_ai.prompt", "gen_ai.completion"})
_DIGITS = tuple("0123456789")
_FLAT = tuple(f"{tree}.{digit}" for tree in sorted(_TREES) for digit in _DIGITS)
_VECTOR = ("db.query.result", "db.search.result")


def dialect() -> Dialect:
    """OpenLLMetry, before and after it took up OpenTelemetry's newest keys."""
    return Dialect(
        name="traceloop",
        rank=34,
        recognises=marks(
            "llm.request.type",
            prefixes=("traceloop.", *_FLAT),
            scopes=("traceloop.", "opentelemetry.instrumentation.openai.v1"),
        ),
        keys={
            "session_id": ranked(
                15,
                _LINK + "session_id",
                _LINK + "session.id",
                _LINK + "conversation_id",
                _LINK + "thread_id",
                _LINK + "chat_id",
            ),
            "user_id": (
                *ranked(14, "llm.user"),
                *ranked(16, _LINK + "user_id", _LINK + "user.id", _LINK + "userId", _LINK + "customer_id"),
            ),
            "reasoning_tokens": ranked(12, "llm.usage.reasoning_tokens"),
            "input": (*ranked(23, "traceloop.entity.input"), *ranked(41, "mcp.request.argument")),
            "output": (*ranked(23, "traceloop.entity.output"), *ranked(41, "mcp.response.value")),
            "tool_arguments": (Key("mcp.request.argument", 17, _mcp_arguments),),
            "tool_result": (Key("mcp.response.value", 17, _mcp_result),),
            "prompt_name": ranked(12, "traceloop.prompt.key"),
            "prompt_version": ranked(12, "traceloop.prompt.version", "traceloop.prompt.version_name"),
        },
        steps={
            (KIND, 16): {"workflow": "chain", "task": "task", "agent": "agent", "tool": "tool"},
            ("llm.request.type", 32): {
                "chat": "llm",
                "completion": "llm",
                "embedding": "embedding",
                "embeddings": "embedding",
                "rerank": "reranker",
            },
            ("db.operation", 33): {"query": "retriever", "search": "retriever", "vector_db_retrieve": "retriever"},
        },
        lifts=(
            Lift(25, Marks(prefixes=_FLAT), _flattened),
            Lift(25, Marks(prefixes=(_FUNCTIONS,)), _functions),
            Lift(50, marks(KIND), _entity),
            Lift(50, marks("db.system"), _found, events=True),
        ),
    )


def _mcp_arguments(value: object) -> str | None:
    read = messages.decoded(value)
    inner = read.get("params", read) if isinstance(read, dict) else read
    return fields.payload(inner.get("arguments", inner) if isinstance(inner, dict) else inner)


def _mcp_result(value: object) -> str | None:
    read = messages.decoded(value)
    parts = messages.content_parts(read["content"]) if isinstance(read, dict) and "content" in read else []
    text = messages.text_of({"parts": parts})
    return text or fields.payload(value)


def _flattened(span: RawSpan) -> Mapping[str, object]:
    trees = unflattened(span.attributes, _TREES)
    found: dict[str, object] = {}
    for field, tree, role in (
        ("input_messages", "gen_ai.prompt", "user"),
        ("output_messages", "gen_ai.completion", "assistant"),
    ):
        listed = items_of(trees.get(tree))
        whole = [message for item in listed if (message := _message(item, role)) is not None]
        if whole:
            found[field] = whole
        reasons = [item["finish_reason"] for item in listed if item.get("finish_reason")]
        if reasons and role == "assistant":
            found["finish_reasons"] = reasons
    return found


def _message(item: Mapping[str, Any], role: str) -> messages.Message | None:
    chat: dict[str, Any] = {"role": str(item.get("role") or role)}
    content = item.get("content")
    if content not in (None, "", "None", "null"):
        read = messages.decoded(content)
        chat["content"] = read if isinstance(read, list) and _are_parts(read) else content
    for name in ("tool_call_id", "finish_reason"):
        if item.get(name):
            chat[name] = item[name]
    calls = items_of(item.get("tool_calls"))
    if isinstance(item.get("function_call"), dict):
        calls.append(item["function_call"])
    if calls:
        chat["tool_calls"] = calls
    return messages.canonical(chat, role) if len(chat) > 1 else None


def _are_parts(read: list[object]) -> bool:
    return bool(read) and all(isinstance(part, dict) and "type" in part for part in read)


def _functions(span: RawSpan) -> Mapping[str, object]:
    tools: dict[int, dict[str, object]] = {}
    for key, value in span.attributes.items():
        if key.startswith(_FUNCTIONS):
            place, _, name = key[len(_FUNCTIONS) :].partition(".")
            if place.isdecimal() and name:
                tools.setdefault(int(place), {"type": "function"})[name] = (
                    messages.decoded(value) if name in ("parameters", "input_schema") else value
                )
    return {"tool_definitions": [tools[place] for place in sorted(tools)] or None}


def _entity(span: RawSpan) -> Mapping[str, object]:
    """The name of what a decorator stands on is that of the agent or the tool."""
    name = span.attributes.get("traceloop.entity.name")
    kind = span.attributes.get(KIND)
    return {"agent_name": name if kind == "agent" else None, "tool_name": name if kind == "tool" else None}


def _found(span: RawSpan) -> Mapping[str, object]:
    """What a vector database found, one event each."""
    found: list[dict[str, object]] = []
    for event in span.events:
        if event.name in _VECTOR:
            told = {key.rpartition(".")[2]: value for key, value in event.attributes.items()}
            document = {name: told.get(name) for name in ("id", "score", "distance", "metadata")}
            found.append({**document, "content": told.get("document")})
    return {"documents": found, "step": "retriever"} if found else {}
