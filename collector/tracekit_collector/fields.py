"""The derived columns of a span, and how each is read from an attribute.

A reader takes an attribute's value and returns the column's value, or None where the value says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracekit_collector import messages
from tracekit_collector.anyvalue import plain_text

Reader = Callable[[object], object]

EMPTY = frozenset({"", "None", "null", "[]", "{}", '""'})

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
    "amazon-bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "aws": "aws.bedrock",
    "azure-openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azureopenai": "azure.ai.openai",
    "google_vertexai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google-genai": "google (gemini)",
    "google_generative_ai": "google (gemini)",
    "googleai": "google (gemini)",
    "mistral": "mistral_ai",
}
FRAMEWORKS = frozenset(
    {
        "strands-agents", "microsoft.agent_framework", "autogen", "langchain", "gcp.vertex.agent", "langgraph",
        "haystack", "llama_index", "crewai", "semantic_kernel", "litellm", "unknown", "openlit",
    }
)  # fmt: skip
# What the Vercel AI SDK and others add to a provider's name for its kind of interface.
_INTERFACE = re.compile(
    r"[.](?:chat|responses|messages|completions?|embeddings?|generative-ai|generatecontent|image|transcription)$"
)
_MODELS = (
    ("gpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"), ("chatgpt", "openai"),
    ("text-embedding-", "openai"), ("claude", "anthropic"), ("gemini", "google (gemini)"), ("mistral", "mistral_ai"),
    ("command", "cohere"), ("deepseek", "deepseek"), ("grok", "x_ai"), ("us.anthropic.", "aws.bedrock"),
    ("anthropic.", "aws.bedrock"), ("amazon.", "aws.bedrock"), ("us.amazon.", "aws.bedrock"),
)  # fmt: skip


def text(value: object) -> str | None:
    """A short text: a name or an id."""
    if type(value) is str:
        if value in EMPTY or (value[0] in "_<[" and messages.is_hidden(value)):
            return None
        return value
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
    folded = _FOLDED.get(name)
    if folded is None:
        folded = _folded(name)
        if len(_FOLDED) < _MOST_FOLDED:
            _FOLDED[name] = folded
    return folded or None


def _folded(name: str) -> str:
    name = name.strip().lower()
    if name not in _PROVIDERS:
        name = _INTERFACE.sub("", name)
    return "" if name in FRAMEWORKS else _PROVIDERS.get(name, name)


_FOLDED: dict[str, str] = {}
_MOST_FOLDED = 1000


def provider_of_model(model: object) -> str | None:
    """Who made a model, by its name; None where the name does not tell."""
    if not isinstance(model, str):
        return None
    return next((provider for start, provider in _MODELS if model.startswith(start)), None)


class Wrapped(NamedTuple):
    """A function's arguments, and how they are shown where the function is no tool: a single one without its name."""

    arguments: str
    shown: str


_CALL_KEYS = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})


def told(value: object) -> str | Wrapped | None:
    """What any writer says went in or came out: a quoted text loses its quotes, a function's call its wrapping."""
    if type(value) is str:
        if messages.is_hidden(value):
            return None
        first = value[:1]
        if first == '"':
            inner = messages.decoded(value)
            return inner if type(inner) is str else told(inner)
        if first != "{" or ("args" not in value and '"inputs"' not in value):
            return value
        value_read = messages.decoded(value)
        return _unwrapped(value_read) or value if isinstance(value_read, dict) else value
    if isinstance(value, dict):
        return _unwrapped(value) or plain_text(value)
    return None if value is None else plain_text(value)


def _unwrapped(call: Mapping[str, Any]) -> Wrapped | None:
    keys = call.keys()
    if keys and keys <= _CALL_KEYS and ("args" in keys or "kwargs" in keys):
        args, kwargs = call.get("args") or [], call.get("kwargs") or {}
        if isinstance(args, list) and isinstance(kwargs, dict):
            if not args:
                inner: object = next(iter(kwargs.values())) if len(kwargs) == 1 else kwargs
                return Wrapped(plain_text(kwargs), _as_shown(inner))
            if not kwargs and len(args) == 1:
                return Wrapped(_as_shown(args[0]), _as_shown(args[0]))
    elif "inputs" in keys and keys <= {"inputs", "tags", "metadata", "kwargs", "input_str"}:  # Traceloop on LangChain
        text = _as_shown(call["inputs"])
        return Wrapped(text, text)
    return None


def _as_shown(value: object) -> str:
    return value if isinstance(value, str) else plain_text(value)


_CLASS = re.compile(r"<(?:class|enum) '([^']+)'>")


def error_type(value: object) -> str | None:
    """The type of an error: a class's name without Python's `<class '...'>` around it."""
    name = text(value)
    found = _CLASS.fullmatch(name) if name is not None and name[:1] == "<" else None
    return found[1] if found else name


def body_input(value: object) -> messages.Column | None:
    """What a model was given, from an attribute that may hold anything."""
    return messages.body(value, "user")


def body_output(value: object) -> messages.Column | None:
    """What a model answered, from an attribute that may hold anything."""
    return messages.body(value, "assistant")


def input_messages(value: object) -> messages.Column | None:
    """What a model was given."""
    return messages.column(value, "user")


def output_messages(value: object) -> messages.Column | None:
    """What a model answered."""
    return messages.column(value, "assistant")


_LISTS = ("documents", "output", "results", "nodes", "source_nodes", "matches", "data", "output_documents")


def documents(value: object) -> str | None:
    """Documents as a JSON list of {id, content, score, metadata}, each with what is known."""
    found = messages.decoded(value)
    listed = _listed(found)
    if listed is None:
        return None
    whole = [document for raw in listed if (document := _document(raw)) is not None]
    return messages.as_text(whole, value, found) if whole else None


def _listed(found: object) -> list[Any] | None:
    if isinstance(found, dict):
        inner = next((found[key] for key in _LISTS if isinstance(found.get(key), list)), None)
        return inner if inner is not None else [found]
    return found if isinstance(found, list) else None


def found_documents(value: object) -> str | None:
    """As `documents`, of an attribute that may hold anything: only what has content or a score is a document."""
    found = messages.decoded(value)
    listed = _listed(found)
    if not listed or (isinstance(found, dict) and listed == [found]):
        return None
    whole = [document for raw in listed if isinstance(raw, dict) and (document := _document(raw)) is not None]
    return plain_text(whole) if whole and all("content" in item or "score" in item for item in whole) else None


_CONTENTS = ("content", "page_content", "text")
_SCORES = ("score", "relevance_score", "relevanceScore", "similarity", "distance")
_IDS = ("id", "id_", "doc_id", "document_id", "node_id")


def _document(raw: object) -> dict[str, object] | None:
    if isinstance(raw, str):
        return {"content": raw} if raw else None
    if not isinstance(raw, dict):
        return None
    for key in ("node", "document", "kwargs"):  # LlamaIndex, rerankers, LangChain's serialised objects
        inner_document = raw.get(key)
        if isinstance(inner_document, dict) and not any(raw.get(name) is not None for name in _CONTENTS):
            raw = {**inner_document, **{name: raw[name] for name in _SCORES if raw.get(name) is not None}}
            break
    metadata = messages.decoded(raw.get("metadata", raw.get("meta")))
    inner: Mapping[str, object] = metadata if isinstance(metadata, dict) else {}
    content = next((raw[key] for key in _CONTENTS if raw.get(key) is not None), None)
    identity = next((raw[key] for key in _IDS if raw.get(key) is not None), None)
    score = next((raw[key] for key in _SCORES if raw.get(key) is not None), None)
    document = {
        "id": identity if identity is not None and not isinstance(identity, list) else inner.get("id"),
        "content": content,
        "score": real(score if score is not None else inner.get("score", inner.get("relevance_score"))),
        "metadata": metadata if metadata not in (None, {}, "") else None,
    }
    return {key: value for key, value in document.items() if value is not None} or None


# Every derived column that a dialect may offer, with its reader.
READERS: dict[str, Reader] = {
    "error_type": error_type,
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
    "input": told,
    "output": told,
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
