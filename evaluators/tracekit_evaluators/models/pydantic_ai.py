"""Models through the package `pydantic-ai-slim` (the extra `pydantic-ai`): any model that Pydantic AI can ask."""

from __future__ import annotations

import json
from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.models._sdk import SdkModel
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.models.price import price


def pydantic_ai(*, model: Any, timeout: float = 60.0, attempts: int = 5) -> SdkModel:
    """A model that Pydantic AI asks.

    Args:
        model: The model's name with its provider, `provider:model`, or one of Pydantic AI's `Model` objects.
        timeout: Seconds that one attempt may take.
        attempts: How often a request is tried when the server is busy or failing.

    Raises:
        UsageError: The package is not installed.
    """
    try:
        from pydantic_ai.direct import model_request  # noqa: PLC0415 - an extra
        from pydantic_ai.messages import (  # noqa: PLC0415 - an extra
            ModelRequest,
            ModelResponse,
            SystemPromptPart,
            TextPart,
            UserPromptPart,
        )
    except ImportError:
        raise UsageError("pydantic-ai-slim is not installed; pip install 'tracekit[pydantic-ai]'") from None
    name = str(getattr(model, "model_name", model))
    provider, _, short = name.rpartition(":")

    async def call(request: Request) -> Completion:
        said: list[Any] = []
        for each in request.messages:
            text = each["content"]
            if each["role"] == "system" and request.schema is not None:
                shape = json.dumps(request.schema, ensure_ascii=False)
                text += f"\n\nAnswer with one JSON object of this JSON Schema and nothing else:\n{shape}"
            if each["role"] == "assistant":
                said.append(ModelResponse(parts=[TextPart(text)]))
            else:
                part = SystemPromptPart(text) if each["role"] == "system" else UserPromptPart(text)
                said.append(ModelRequest(parts=[part]))
        answer = await model_request(model, said, model_settings={"temperature": 0, "max_tokens": request.max_tokens})
        text = "".join(part.content for part in answer.parts if isinstance(part, TextPart))
        read, wrote = answer.usage.input_tokens, answer.usage.output_tokens
        reason = getattr(answer, "finish_reason", None)
        cost = price(short, read, wrote, provider=provider or None)
        return Completion(
            text,
            model=answer.model_name or short,
            finish_reason=reason,
            input_tokens=read,
            output_tokens=wrote,
            cost_usd=cost,
        )

    return SdkModel("pydantic-ai", name, call, timeout, attempts)
