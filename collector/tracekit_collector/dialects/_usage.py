"""Token counts out of a provider's or framework's usage object: input with what was cached, output with reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracekit_collector import fields, messages

_INPUT = ("input_tokens", "prompt_tokens", "inputTokens", "promptTokens", "prompt_token_count", "promptTokenCount")
_OUTPUT = (
    "output_tokens", "completion_tokens", "outputTokens", "completionTokens",
    "candidates_token_count", "candidatesTokenCount",
)  # fmt: skip
_DETAILS = (
    "prompt_tokens_details", "input_tokens_details", "input_token_details", "completion_tokens_details",
    "output_tokens_details", "output_token_details", "inputTokenDetails", "outputTokenDetails",
)  # fmt: skip
_CACHED = (
    "cached_tokens", "cache_read_input_tokens", "cache_read", "cacheReadInputTokens", "cachedInputTokens",
    "cacheReadTokens", "cached_content_token_count", "cachedContentTokenCount", "input_cached_tokens",
    "input_cache_read", "cache_read_tokens", "prompt_tokens_details.cached_tokens",
)  # fmt: skip
_WRITTEN = (
    "cache_creation_input_tokens", "cache_creation", "cacheWriteInputTokens", "cacheWriteTokens", "cache_write",
    "cache_write_tokens", "cache_write_input_tokens", "input_cache_creation", "cache_creation_tokens",
)  # fmt: skip
_REASONING = (
    "reasoning_tokens", "reasoning", "reasoningTokens", "thoughts_token_count", "thoughtsTokenCount",
    "output_reasoning_tokens", "output_reasoning", "completion_tokens_details.reasoning_tokens",
)  # fmt: skip
_TOTAL = ("total_tokens", "totalTokens", "total_token_count", "totalTokenCount", "total")


def tokens_of(usage: object) -> dict[str, object]:
    """The counts that a usage object tells, in our fields.

    Args:
        usage: The object, or text of it (JSON or Python's notation).

    Returns:
        `input_tokens`, `output_tokens`, `cached_tokens`, `cache_write_tokens`, `reasoning_tokens`, as far as they are
        there. Anthropic's own usage and Langfuse's buckets count what was cached apart, and are added up; Gemini counts
        its thoughts apart; else a total tells whether details are parts of a count or stand beside it.

    Example:
        >>> tokens_of({"input_tokens": 41, "output_tokens": 18, "cache_read_input_tokens": 16})["input_tokens"]
        57
    """
    read = messages.decoded(usage)
    if not isinstance(read, dict):
        return {}
    flat: dict[str, Any] = dict(read)
    for name in _DETAILS:
        inner = messages.decoded(read.get(name))
        if isinstance(inner, dict):
            flat = {**inner, **flat}
    cached, written, reasoning = _count(flat, _CACHED), _count(flat, _WRITTEN), _count(flat, _REASONING)
    details = {"cached_tokens": cached, "cache_write_tokens": written, "reasoning_tokens": reasoning}
    found: dict[str, object] = {field: value for field, value in details.items() if value is not None}
    given, answered, total = _count(flat, _INPUT), _count(flat, _OUTPUT), _count(flat, _TOTAL)
    buckets = given is None and answered is None and bool({"input", "output"} & read.keys())
    if buckets:
        given, answered = _count(flat, ("input",)), _count(flat, ("output",))
    if given is not None:
        beside = (cached or 0) + (written or 0)
        found["input_tokens"] = given + (beside if buckets or _apart(read, given, answered, total, beside) else 0)
    if answered is not None:
        apart = buckets or "candidates_token_count" in read or "candidatesTokenCount" in read
        found["output_tokens"] = answered + (reasoning or 0 if apart else 0)
    return found


def _apart(read: Mapping[str, Any], given: int, answered: int | None, total: int | None, beside: int) -> bool:
    """Whether the input leaves out the tokens `beside` it, that were cached."""
    if not beside or beside > given:
        return beside > given
    if total is not None and answered is not None:
        return total == given + answered + beside
    own = "cache_read_input_tokens" in read or "cache_creation_input_tokens" in read
    return own and "input_tokens" in read and "prompt_tokens" not in read  # Anthropic's own


def _count(flat: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := fields.count(flat.get(name))) is not None), None)
