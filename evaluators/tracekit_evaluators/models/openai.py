"""A client for any server that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, llama.cpp, Ollama, gateways.

An answer of a given shape is asked for by `json_schema`, then by `json_object` with the schema beside it (as the Python
server of llama.cpp wants it), then by `json_object` alone, then in words, each when the server refuses the one before;
the form that worked is the first one tried next time.
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

_FORMS = ("json_schema", "json_object with schema", "json_object", "text")
_FINAL = ("context_length_exceeded", "model_not_found")
_FILTERED = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")


def openai(
    *,
    model: str,
    base_url: str | None = None,
    temperature: float | None = 0.0,
    seed: int | None = 0,
    timeout: float = 60.0,
    attempts: int = 5,
    provider: str | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> OpenAIModel:
    """A model on an OpenAI-compatible server.

    The key is taken from the setting `openai_api_key` when requests are made, and kept for a second.

    Args:
        model: The model's name on that server.
        base_url: The server, up to and with `/v1`; the setting `openai_base_url` when not given.
        temperature: 0 for the steadiest answers; `None` leaves it to the server.
        seed: For servers that know one; `None` leaves it out.
        timeout: Seconds that one attempt may take, from connecting to the last byte.
        attempts: How often a request is tried when the server is busy or failing.
        provider: Whose prices to count with (`openai`, `anthropic`, …), where the address does not tell.
        requests_per_minute: The account's limit, to keep to; `None` where the server's own word is enough.
        tokens_per_minute: The same for tokens, read and written together.

    Raises:
        SettingError: No server is named, or its address is no URL.
    """
    address = setting("openai_base_url", base_url)
    if not address:
        raise SettingError(
            f"no server is named for the model {model!r}; give base_url=URL or set OPENAI_BASE_URL "
            "(OpenAI's own is https://api.openai.com/v1)"
        )
    if not address.startswith(("http://", "https://")):
        raise SettingError(f"{address!r} is no address of a model server; it begins with http:// or https://")
    limits = (requests_per_minute, tokens_per_minute)
    return OpenAIModel(model, address.rstrip("/"), temperature, seed, timeout, max(1, int(attempts)), provider, limits)


@dataclass
class OpenAIModel:
    """A model on an OpenAI-compatible server; made by `openai`.

    Args:
        model: The model's name on that server.
        base_url: The server's address.
        temperature: As sent; `None` sends none.
        seed: As sent; `None` sends none.
        timeout: Seconds for one attempt.
        attempts: The most attempts at one request.
        provider: Whose prices count.
        limits: Requests and tokens a minute, `None` for no limit.
    """

    model: str
    base_url: str
    temperature: float | None
    seed: int | None
    timeout: float
    attempts: int
    provider: str | None
    limits: tuple[float | None, float | None] = (None, None)
    _form: int = field(default=0, init=False, repr=False)
    _left_out: set[str] = field(default_factory=set, init=False, repr=False)
    _key: Key = field(default_factory=lambda: Key("openai_api_key"), init=False, repr=False, compare=False)
    _wire: Wire = field(default_factory=Wire, init=False, repr=False)
    _limiter: Limiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._limiter = Limiter(requests_per_minute=self.limits[0], tokens_per_minute=self.limits[1])

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Model, server and parameters."""
        known = {"model": self.model, "base_url": self.base_url, "temperature": self.temperature, "seed": self.seed}
        return {key: value for key, value in known.items() if value is not None}

    async def complete(self, request: Request) -> Completion:
        """Answer a request; see `ChatModel`."""
        who = f"{self.model} at {self.base_url}"
        return await patiently(self._once, request, limiter=self._limiter, attempts=self.attempts, who=who)

    async def aclose(self) -> None:
        """Close the connections."""
        self._key.forget()
        await self._wire.aclose()

    async def _once(self, request: Request) -> Completion:
        form, url, who = self._form, f"{self.base_url}/chat/completions", f"{self.model} at {self.base_url}"
        key = self._key.read()
        own = {"authorization": f"Bearer {key}"} if key else {}
        while True:
            status, headers, body = await self._wire.post(
                url, self._payload(request, _FORMS[form]), own, who=who, timeout=self.timeout
            )
            if status == OK:
                self._form = form
                return self._completion(body)
            message, code = said(body)
            if code in _FILTERED or any(word in message for word in _FILTERED):
                raise Refused(f"{self.model}: the content filter refused the request: {message}")
            # Some servers say so with a 500, as llama.cpp's Python server does.
            unknown = status in (400, 404, 415, 422, 501) or (status == 500 and "response_format" in message)
            refused = unknown and code not in _FINAL
            if refused and self._without(message):
                continue
            if not refused or request.schema is None or form == len(_FORMS) - 1:
                raise Fault.of_status(status, headers, message)
            form += 1

    def _without(self, message: str) -> bool:
        """Leave out the parameter that the server says it does not know; whether there was one."""
        for name in ("max_tokens", "temperature", "seed", "top_logprobs", "logprobs"):
            if name in message and name not in self._left_out:
                self._left_out.add(name)
                return True
        return False

    def _payload(self, request: Request, form: str) -> dict[str, object]:
        messages = [dict(message) for message in request.messages]
        payload: dict[str, object] = {"model": self.model, "messages": messages}
        # Newer reasoning models know the limit by another name only.
        limit = "max_completion_tokens" if "max_tokens" in self._left_out else "max_tokens"
        payload[limit] = request.max_tokens
        if self.temperature is not None and "temperature" not in self._left_out:
            payload["temperature"] = self.temperature
        if self.seed is not None and "seed" not in self._left_out:
            payload["seed"] = self.seed + request.sample
        if request.logprobs and not {"logprobs", "top_logprobs"} & self._left_out:
            payload |= {"logprobs": True, "top_logprobs": request.logprobs}
        if request.schema is not None:
            if form == "json_schema":
                wanted = {"name": "verdict", "strict": True, "schema": dict(request.schema)}
                payload["response_format"] = {"type": "json_schema", "json_schema": wanted}
            else:
                shape = json.dumps(request.schema, ensure_ascii=False)
                messages[0]["content"] += (
                    f"\n\nAnswer with one JSON object of this JSON Schema and nothing else:\n{shape}"
                )
                if form == "json_object":
                    payload["response_format"] = {"type": "json_object"}
                elif form == "json_object with schema":
                    payload["response_format"] = {"type": "json_object", "schema": dict(request.schema)}
        return payload

    def _completion(self, body: object) -> Completion:
        first = at(body, "choices", 0)
        if not isinstance(first, dict):
            raise Fault(f"the answer holds no choice: {json.dumps(body)[:200]}", retryable=True)
        refusal = at(first, "message", "refusal")
        if isinstance(refusal, str) and refusal:
            raise Refused(f"{self.model} refused: {refusal[:500]}")
        reason = first.get("finish_reason")
        if reason == "content_filter":
            raise Refused(f"{self.model}: the content filter cut the answer off")
        text = at(first, "message", "content")
        served = at(body, "model")
        read, wrote = count(body, "prompt_tokens"), count(body, "completion_tokens")
        cached = count(body, "prompt_tokens_details", "cached_tokens")
        fingerprint = at(body, "system_fingerprint")
        return Completion(
            text=text if isinstance(text, str) else "",
            model=served if isinstance(served, str) else self.model,
            finish_reason=reason if isinstance(reason, str) else None,
            input_tokens=read,
            output_tokens=wrote,
            cached_tokens=cached,
            cost_usd=price(self.model, read, wrote, cached, provider=self.provider, base_url=self.base_url),
            detail={"system_fingerprint": fingerprint} if fingerprint else {},
            logprobs=_likely(at(first, "logprobs", "content")),
        )


def _likely(content: object) -> list[dict[str, object]]:
    """The tokens of an answer, each with the likeliest ones at its place; empty where the server does not say."""
    tokens: list[dict[str, object]] = []
    for each in content if isinstance(content, list) else []:
        token, top = at(each, "token"), at(each, "top_logprobs")
        if not isinstance(token, str) or not isinstance(top, list):
            return []
        pairs = [(at(one, "token"), at(one, "logprob")) for one in top]
        kept = [
            [text, float(value)] for text, value in pairs if isinstance(text, str) and isinstance(value, (int, float))
        ]
        tokens.append({"token": token, "top": kept})
    return tokens
