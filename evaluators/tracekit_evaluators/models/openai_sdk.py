"""Models through the package `openai` (the extra `openai`), for what its own client alone can do."""

from __future__ import annotations

from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.models._sdk import SdkModel, completion, messages_of, schema_form
from tracekit_evaluators.models.chat import Completion, Request


def openai_sdk(
    *, model: str, base_url: str | None = None, client: Any = None, timeout: float = 60.0, attempts: int = 5
) -> SdkModel:
    """A model that the package `openai` asks.

    Args:
        model: The model's name.
        base_url: The server, where it is not the client's own.
        client: An `AsyncOpenAI` or `AsyncAzureOpenAI`; made from the environment when not given.
        timeout: Seconds that one attempt may take.
        attempts: How often a request is tried when the server is busy or failing.

    Raises:
        UsageError: The package is not installed.
    """
    if client is None:
        try:
            from openai import AsyncOpenAI  # noqa: PLC0415 - an extra
        except ImportError:
            raise UsageError("the package openai is not installed; pip install 'tracekit[openai]'") from None
        client = AsyncOpenAI(base_url=base_url, max_retries=0, timeout=timeout)

    async def call(request: Request) -> Completion:
        given: dict[str, Any] = {"model": model, "messages": messages_of(request), "temperature": 0}
        form = schema_form(request)
        if form is not None:
            given["response_format"] = form
        answer = await client.chat.completions.create(**given, max_completion_tokens=request.max_tokens)
        return completion(answer, model, base_url=str(client.base_url))

    return SdkModel("openai", model, call, timeout, attempts, client.close)
