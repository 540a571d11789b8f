"""Models through the package `any-llm-sdk` (the extra `any-llm`): providers by their official SDKs."""

from __future__ import annotations

from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.models._sdk import SdkModel, completion, messages_of, schema_form
from tracekit_evaluators.models.chat import Completion, Request


def any_llm(
    *, model: str, timeout: float = 60.0, attempts: int = 5, options: dict[str, object] | None = None
) -> SdkModel:
    """A model that the package `any-llm-sdk` asks.

    Args:
        model: The model's name with its provider: `provider:model`.
        timeout: Seconds that one attempt may take.
        attempts: How often a request is tried when the server is busy or failing.
        options: What else `any_llm.acompletion` is given: `api_base`, `temperature`, …

    Raises:
        UsageError: The package is not installed.
    """
    try:
        from any_llm import acompletion  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError("the package any-llm-sdk is not installed; pip install 'tracekit[any-llm]'") from None
    provider, _, name = model.rpartition(":")

    async def call(request: Request) -> Completion:
        given: dict[str, Any] = {"temperature": 0, **(options or {})}
        form = schema_form(request)
        if form is not None:
            given["response_format"] = form
        answer = await acompletion(model=model, messages=messages_of(request), max_tokens=request.max_tokens, **given)
        return completion(answer, name, provider=provider or None)

    return SdkModel("any-llm", model, call, timeout, attempts)
