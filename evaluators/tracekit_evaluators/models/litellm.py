"""Models through the package `litellm` (the extra `litellm`): a hundred providers by one name each."""

from __future__ import annotations

from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.models._sdk import SdkModel, completion, messages_of, schema_form
from tracekit_evaluators.models.chat import Completion, Request


def litellm(
    *, model: str, timeout: float = 60.0, attempts: int = 5, options: dict[str, object] | None = None
) -> SdkModel:
    """A model that the package `litellm` asks.

    A LiteLLM proxy needs no package: name its address as `base_url` of an ordinary model.

    Args:
        model: The model's name with its provider: `provider/model`.
        timeout: Seconds that one attempt may take.
        attempts: How often a request is tried when the server is busy or failing.
        options: What else `litellm.acompletion` is given: `api_base`, `temperature`, …

    Raises:
        UsageError: The package is not installed.
    """
    try:
        from litellm import acompletion  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError("the package litellm is not installed; pip install 'tracekit[litellm]'") from None
    provider = model.partition("/")[0] if "/" in model else None

    async def call(request: Request) -> Completion:
        given: dict[str, Any] = {"temperature": 0, "num_retries": 0, **(options or {})}
        form = schema_form(request)
        if form is not None:
            given["response_format"] = form
        answer = await acompletion(
            model=model, messages=messages_of(request), max_tokens=request.max_tokens, timeout=timeout, **given
        )
        return completion(answer, model.rpartition("/")[2], provider=provider)

    return SdkModel("litellm", model, call, timeout, attempts)
