"""The derived columns of a span: how each is read from an attribute, and all dialects' ranked keys as one index.

A reader takes an attribute's value and returns the column's value, or None where the value says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tracekit_collector import messages
from tracekit_collector.anyvalue import plain_text
from tracekit_collector.dialects import Dialect, Key, Lift

Reader = Callable[[object], object]

_EMPTY = frozenset({"", "None", "null", "[]", "{}", '""'})
EMPTY_RANK = 1000  # added for a payload that says nothing: it wins only where nothing else is there

# Names of providers, folded to one each. Frameworks that call models are not providers.
_PROVIDERS = {
    "openai.chat": "openai",
    "openai.responses": "openai",
    "azure": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "gemini": "google (gemini)",
    "gcp.gemini": "google (gemini)",
    "gcp.gen_ai": "google (gemini)",
    "google": "google (gemini)",
    "google_genai": "google (gemini)",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
    "mistralai": "mistral_ai",
    "bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
}
_FRAMEWORKS = frozenset(
    {"strands-agents", "microsoft.agent_framework", "autogen", "langchain", "gcp.vertex.agent", "langgraph"}
)


def text(value: object) -> str | None:
    """A short text: a name or an id."""
    if type(value) is str:
        return None if value in _EMPTY or messages.is_hidden(value) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return str(value)


def count(value: object) -> int | None:
    """A number that counts: never negative, never a guess."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value < 2**63 and value == int(value) else None


def real(value: object) -> float | None:
    """A finite number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def money(value: object) -> float | None:
    """A cost in US dollars: finite, not negative."""
    found = real(value)
    return found if found is not None and found >= 0 else None


def small_count(value: object) -> int | None:
    """A count that fits 32 bits."""
    found = count(value)
    return found if found is not None and found < 2**31 else None


def seconds(value: object) -> float | None:
    """Seconds, as milliseconds."""
    found = real(value)
    return found * 1000 if found is not None and found >= 0 else None


def milliseconds(value: object) -> float | None:
    """Milliseconds."""
    found = real(value)
    return found if found is not None and found >= 0 else None


def payload(value: object) -> str | None:
    """What went in or came out: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return None if messages.is_hidden(value) else value
    return None if value is None else plain_text(value)


def result(value: object) -> str | None:
    """What a tool returned: as `payload`, but a text that was quoted as JSON loses its quotes."""
    if isinstance(value, str) and value[:1] == '"':
        inner = messages.decoded(value)
        return inner if isinstance(inner, str) else value
    return payload(value)


def provider(value: object) -> str | None:
    """A provider's name in one spelling; None for a framework."""
    name = text(value)
    if name is None:
        return None
    name = name.strip().lower()
    return None if name in _FRAMEWORKS else _PROVIDERS.get(name, name)


def input_messages(value: object) -> messages.Column | None:
    """What a model was given."""
    return messages.column(value, "user")


def output_messages(value: object) -> messages.Column | None:
    """What a model answered."""
    return messages.column(value, "assistant")


def documents(value: object) -> str | None:
    """Documents as a JSON list of {id, content, score, metadata}, each with what is known."""
    found = messages.decoded(value)
    listed = found.get("documents", [found]) if isinstance(found, dict) else found
    if not isinstance(listed, list):
        return None
    whole = [document for raw in listed if (document := _document(raw)) is not None]
    return messages.as_text(whole, value, found) if whole else None


def _document(raw: object) -> dict[str, object] | None:
    if isinstance(raw, str):
        return {"content": raw} if raw else None
    if not isinstance(raw, dict):
        return None
    metadata = messages.decoded(raw.get("metadata"))
    inner: Mapping[str, object] = metadata if isinstance(metadata, dict) else {}
    content = next((raw[key] for key in ("content", "page_content", "text") if raw.get(key) is not None), None)
    score = next((raw[key] for key in ("score", "relevance_score") if raw.get(key) is not None), None)
    document = {
        "id": raw.get("id") if raw.get("id") is not None else inner.get("id"),
        "content": content,
        "score": real(score if score is not None else inner.get("score")),
        "metadata": metadata if metadata not in (None, {}, "") else None,
    }
    return {key: value for key, value in document.items() if value is not None} or None


# Every derived column that a dialect may offer, with its reader.
READERS: dict[str, Reader] = {
    "error_type": text,
    "service_name": text,
    "project": text,
    "environment": text,
    "agent_name": text,
    "agent_version": text,
    "session_id": text,
    "user_id": text,
    "case_id": text,
    "repeat": small_count,
    "run_id": text,
    "input": payload,
    "output": payload,
    "input_messages": input_messages,
    "output_messages": output_messages,
    "system_instructions": messages.instructions_column,
    "tool_definitions": messages.tools_column,
    "provider": provider,
    "model_requested": text,
    "model": text,
    "input_tokens": count,
    "output_tokens": count,
    "cached_tokens": count,
    "cache_write_tokens": count,
    "reasoning_tokens": count,
    "cost_usd": money,
    "response_id": text,
    "finish_reasons": messages.finish_reasons,
    "ttft_ms": milliseconds,
    "tool_name": text,
    "tool_call_id": text,
    "tool_arguments": payload,
    "tool_result": result,
    "documents": documents,
    "prompt_name": text,
    "prompt_version": text,
}
_PAYLOADS = frozenset({"input", "output", "tool_arguments", "tool_result"})


# A field that an attribute may hold, with its rank and reader; a plain tuple, as this is asked for every attribute.
Place = tuple[str, int, Reader]


class Index(NamedTuple):
    """The keys of all dialects, by attribute."""

    places: dict[str, tuple[Place, ...]]
    resource: dict[str, tuple[Place, ...]]
    steps: dict[str, tuple[tuple[int, Mapping[str, str]], ...]]
    lifts: tuple[Lift, ...]


def index_of(dialects: Iterable[Dialect]) -> Index:
    """Turn the dialects' ranked keys, field by field, into one look-up by attribute.

    Args:
        dialects: All that are installed.

    Raises:
        KeyError: A dialect names a field that is no derived column.
    """
    places: dict[str, list[Place]] = {}
    resource: dict[str, list[Place]] = {}
    steps: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    lifts: list[Lift] = []
    for dialect in dialects:
        for table, into in ((dialect.keys, places), (dialect.resource, resource)):
            for field, keys in table.items():
                for key in keys:
                    into.setdefault(key.name, []).append(_place(field, key))
        for (key_name, rank), meanings in dialect.steps.items():
            steps.setdefault(key_name, []).append((rank, meanings))
        lifts += dialect.lifts
    return Index(
        {key: tuple(found) for key, found in places.items()},
        {key: tuple(found) for key, found in resource.items()},
        {key: tuple(found) for key, found in steps.items()},
        tuple(sorted(lifts, key=lambda lift: lift.rank)),
    )


def _place(field: str, key: Key) -> Place:
    return (field, key.rank, key.read or READERS[field])


Best = dict[str, tuple[int, object]]


def offer(best: Best, field: str, rank: int, value: object) -> None:
    """Keep a field's value if it is filled and none of a lower rank is held."""
    if value is None:
        return
    if field in _PAYLOADS and value in _EMPTY:
        rank += EMPTY_RANK
    held = best.get(field)
    if held is None or rank < held[0]:
        best[field] = (rank, value)
