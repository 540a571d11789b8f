"""What models answer, read from the objects that their clients return, without importing any client.

One small module a provider, each with `read(response) -> Answer | None` and, where its answers come in chunks,
`fold(chunk) -> Fold | None`. A response is known by its shape, be it an object or the same JSON as dicts.
"""

from __future__ import annotations

from typing import Protocol

from tracekit._responses import anthropic, gemini, langchain, openai_chat, openai_responses
from tracekit._responses.answer import Answer, Fold, may_be_response


class _Provider(Protocol):
    def read(self, response: object) -> Answer | None: ...

    def fold(self, chunk: object) -> Fold | None: ...


_PROVIDERS: tuple[_Provider, ...] = (openai_chat, openai_responses, anthropic, gemini, langchain)

__all__ = ["Answer", "Fold", "fold", "folded", "read"]


def read(response: object) -> Answer | None:
    """What a response says, or `None` where it is of no known shape.

    Args:
        response: Anything.

    Example:
        >>> message = {"role": "assistant", "content": "yes"}
        >>> read({"choices": [{"message": message, "finish_reason": "stop"}]}).output
        'yes'
    """
    if not may_be_response(response):
        return None
    for provider in _PROVIDERS:
        answer = provider.read(response)
        if answer is not None:
            return answer
    return None


def fold(chunk: object) -> Fold | None:
    """What joins the chunks of an answer, chosen by the first of them; `None` where it is of no known shape.

    Args:
        chunk: The first chunk, which is not added yet.
    """
    if not may_be_response(chunk):
        return None
    for provider in _PROVIDERS:
        found = provider.fold(chunk)
        if found is not None:
            return found
    return None


def folded(chunks: object) -> Answer | None:
    """What a list of chunks says together, or `None` where these are no chunks.

    Args:
        chunks: Anything.
    """
    if not isinstance(chunks, (list, tuple)) or not chunks:
        return None
    found = fold(chunks[0])
    if found is None:
        return None
    for chunk in chunks:
        found.add(chunk)
    return found.answer()
