"""A client for servers that speak Anthropic's messages.

An answer of a given shape is asked for as the input of a tool that the model has to call; where a server does not know
tools, in words. Tokens read from and written to the server's cache count as read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tracekit.errors import SettingError
from tracekit.settings import setting
from tracekit_evaluators.models._http import OK, Wire, at, count, said
from tracekit_evaluators.models._keys import Key
from tracekit_evaluators.models._retry import Fault, patiently
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.models.limits import Limiter
from tracekit_evaluators.models.price import price
from tracekit_evaluators.score import Refused

_VERSION = "2023-06-01"
_TOOL = "give_verdict"
_OWN = "https://api.anthropic.com"
_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "stop", "max_tokens": "length"}


def anthropic(
    *,
    model: str,
    base_url: str | None = None,
    temperature: float | None = 0.0,
    timeout: float = 60.0,
    attempts: int = 5,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> AnthropicModel:
    """A model on a server that speaks Anthropic's messages.

    The key is taken from the setting `anthropic_api_key` when a request is made, and kept nowhere.

    Args:
        model: The model's name.
        base_url: The server, without `/v1`; the setting `anthropic_base_url` when not given, else Anthropic's own.
        temperature: 0 for the steadiest answers; `None` leaves it to the server.
        timeout: Seconds that one attempt may take, from connecting to the last byte.
        attempts: How often a request is tried when the server is busy or failing.
        requests_per_minute: The account's limit, to keep to; `None` where the server's own word is enough.
        tokens_per_minute: The same for tokens, read and written together.

    Raises:
        SettingError: The server's address is no URL.
    """
    address = setting("anthropic_base_url", base_url) or _OWN
    if not address.startswith(("http://", "https://")):
        raise SettingError(f"{address!r} is no address of a model server; it begins with http:// or https://")
    limits = (requests_per_minute, tokens_per_minute)
    address = address.rstrip("/").removesuffix("/v1")
    return AnthropicModel(model, address, temperature, timeout, max(1, int(attempts)), limits)


@dataclass
class AnthropicModel:
    """A model on a server that speaks Anthropic's messages; made by `anthropic`.

    Args:
        model: The model's name.
        base_url: The server's address, without `/v1`.
        temperature: As sent; `None` sends none.
        timeout: Seconds for one attempt.
        attempts: The most attempts at one request.
        limits: Requests and tokens a minute, `None` for no limit.
    """

    model: str
    base_url: str
    temperature: float | None
    timeout: float
    attempts: int
    limits: tuple[float | None, float | None] = (None, None)
    _left_out: set[str] = field(default_factory=set, init=False, repr=False)
    _key: Key = field(default_factory=lambda: Key("anthropic_api_key"), init=False, repr=False, compare=False)
    _wire: Wire = field(default_factory=Wire, init=False, repr=False)
    _limiter: Limiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._limiter = Limiter(requests_per_minute=self.limits[0], tokens_per_minute=self.limits[1])

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Model, server and parameters."""
        known = {"model": self.model, "base_url": self.base_url, "temperature": self.temperature}
        return {"provider": "anthropic", **{key: value for key, value in known.items() if value is not None}}

    async def complete(self, request: Request) -> Completion:
        """Answer a request; see `ChatModel`."""
        who = f"{self.model} at {self.base_url}"
        return await patiently(self._once, request, limiter=self._limiter, attempts=self.attempts, who=who)

    async def aclose(self) -> None:
        """Close the connections."""
        self._key.forget()
        await self._wire.aclose()

    async def _once(self, request: Request) -> Completion:
        key = self._key.read()
        headers = {"anthropic-version": _VERSION, **({"x-api-key": key} if key else {})}
        url, who = f"{self.base_url}/v1/messages", f"{self.model} at {self.base_url}"
        while True:
            status, answered, body = await self._wire.post(
                url, self._payload(request), headers, who=who, timeout=self.timeout
            )
            if status == OK:
                return self._completion(body)
            message, _ = said(body)
            if status in (400, 422) and self._without(message):
                continue
            raise Fault.of_status(status, answered, message)

    def _without(self, message: str) -> bool:
        """Leave out what the server says it does not know; whether there was something."""
        for name, words in (("temperature", ("temperature",)), ("tools", ("tool_choice", "tools"))):
            if name not in self._left_out and any(word in message for word in words):
                self._left_out.add(name)
                return True
        return False

    def _payload(self, request: Request) -> dict[str, object]:
        system = "\n\n".join(each["content"] for each in request.messages if each["role"] == "system")
        messages = [dict(each) for each in request.messages if each["role"] != "system"]
        payload: dict[str, object] = {"model": self.model, "max_tokens": request.max_tokens, "messages": messages}
        if self.temperature is not None and "temperature" not in self._left_out:
            payload["temperature"] = self.temperature
        if request.schema is not None and "tools" not in self._left_out:
            tool = {"name": _TOOL, "description": "Give the verdict.", "input_schema": dict(request.schema)}
            payload |= {"tools": [tool], "tool_choice": {"type": "tool", "name": _TOOL}}
        elif request.schema is not None:
            shape = json.dumps(request.schema, ensure_ascii=False)
            system += f"\n\nAnswer with one JSON object of this JSON Schema and nothing else:\n{shape}"
        if system:
            # The instructions are the same for every subject: the server may keep them.
            payload["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        return payload

    def _completion(self, body: object) -> Completion:
        content = at(body, "content")
        if not isinstance(content, list):
            raise Fault(f"the answer holds no content: {json.dumps(body)[:200]}", retryable=True)
        reason = at(body, "stop_reason")
        if reason == "refusal":
            raise Refused(f"{self.model} refused to answer")
        given = next((at(block, "input") for block in content if at(block, "type") == "tool_use"), None)
        texts = [at(block, "text") for block in content if at(block, "type") == "text"]
        text = "".join(each for each in texts if isinstance(each, str))
        served = at(body, "model")
        fresh, wrote = count(body, "input_tokens"), count(body, "output_tokens")
        cached = count(body, "cache_read_input_tokens")
        kept = count(body, "cache_creation_input_tokens") or 0
        read = None if fresh is None else fresh + (cached or 0) + kept
        return Completion(
            text=text if given is None else json.dumps(given, ensure_ascii=False),
            model=served if isinstance(served, str) else self.model,
            finish_reason=_REASONS.get(reason, reason) if isinstance(reason, str) else None,
            input_tokens=read,
            output_tokens=wrote,
            cached_tokens=cached,
            # What the list price of written cache adds is not in it: the sum is a little low where a cache is filled.
            cost_usd=price(self.model, read, wrote, cached, provider="anthropic"),
        )
