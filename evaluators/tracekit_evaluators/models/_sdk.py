"""What the clients that go through somebody else's SDK share: one call, its faults told apart, its answer as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from tracekit_evaluators.models._http import at
from tracekit_evaluators.models._retry import Fault, patiently
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.models.limits import Limiter
from tracekit_evaluators.models.price import price
from tracekit_evaluators.score import Refused, TimedOut

_FILTERED = ("ContentPolicyViolation", "ContentFilter", "ContentModeration")
_LATE = ("Timeout", "APITimeoutError", "APIConnectionTimeout")


@dataclass
class SdkModel:
    """A model that an SDK asks.

    Args:
        sdk: The SDK's name.
        model: The model's name, as the SDK knows it.
        call: Asks once, returns the answer as `completion` makes it.
        timeout: Seconds for one attempt.
        attempts: The most attempts at one request.
        close: Frees the SDK's connections.
    """

    sdk: str
    model: str
    call: Callable[[Request], Awaitable[Completion]]
    timeout: float = 60.0
    attempts: int = 5
    close: Callable[[], Awaitable[None]] | None = None
    _limiter: Limiter = field(default_factory=Limiter, init=False, repr=False)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The SDK and the model."""
        return {"sdk": self.sdk, "model": self.model}

    async def complete(self, request: Request) -> Completion:
        """Answer a request; see `ChatModel`."""
        who = f"{self.model} through {self.sdk}"
        return await patiently(self._once, request, limiter=self._limiter, attempts=self.attempts, who=who)

    async def aclose(self) -> None:
        """Free the SDK's connections."""
        if self.close is not None:
            await self.close()

    async def _once(self, request: Request) -> Completion:
        try:
            return await asyncio.wait_for(self.call(request), self.timeout)
        except (Fault, Refused, TimedOut):
            raise
        except asyncio.TimeoutError:
            raise TimedOut(f"{self.model} did not answer within {self.timeout:g} s") from None
        except Exception as error:
            raise fault_of(error, self.model) from error


def fault_of(error: Exception, model: str) -> Exception:
    """What an SDK's exception means: SDKs name their kinds alike and carry the HTTP status."""
    kind = type(error).__name__
    if any(word in kind for word in _FILTERED):
        return Refused(f"{model}: the content filter refused the request: {error}")
    if any(word in kind for word in _LATE):
        return TimedOut(f"{model} did not answer in time: {error}")
    status = getattr(error, "status_code", None)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    if isinstance(status, int):
        return Fault.of_status(status, headers, str(error)[:300])
    return Fault(f"{kind}: {error}", retryable="Connection" in kind)


def schema_form(request: Request) -> dict[str, object] | None:
    """The `response_format` of a request, in OpenAI's words."""
    if request.schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": dict(request.schema)}}


def completion(answer: object, model: str, *, provider: str | None = None, base_url: str | None = None) -> Completion:
    """A chat completion of OpenAI's kind, as an SDK's object or a mapping, as ours.

    Raises:
        Fault: It holds no choice.
        Refused: The model or a content filter refused.
    """
    dump = getattr(answer, "model_dump", None)
    body = dump() if callable(dump) else answer
    first = at(body, "choices", 0)
    if first is None:
        raise Fault("the answer holds no choice", retryable=True)
    if at(first, "message", "refusal") or at(first, "finish_reason") == "content_filter":
        raise Refused(f"{model} refused: {at(first, 'message', 'refusal') or 'the content filter cut the answer off'}")
    read, wrote = at(body, "usage", "prompt_tokens"), at(body, "usage", "completion_tokens")
    cached = at(body, "usage", "prompt_tokens_details", "cached_tokens")
    counts = [value if isinstance(value, int) else None for value in (read, wrote, cached)]
    text, served, reason = at(first, "message", "content"), at(body, "model"), at(first, "finish_reason")
    return Completion(
        text=text if isinstance(text, str) else "",
        model=served if isinstance(served, str) else model,
        finish_reason=reason if isinstance(reason, str) else None,
        input_tokens=counts[0],
        output_tokens=counts[1],
        cached_tokens=counts[2],
        cost_usd=price(model, *counts, provider=provider, base_url=base_url),
    )


def messages_of(request: Request) -> list[dict[str, str]]:
    """A request's messages as plain dicts."""
    return [cast("dict[str, str]", dict(each)) for each in request.messages]
