"""What every model client takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from tracekit import plugins
from tracekit.errors import PluginError, SettingError
from tracekit.settings import setting
from tracekit_evaluators.score import Unscored

GROUP = "tracekit.models"
Message = Mapping[str, str]


class ModelUnavailable(Unscored):
    """The model's server cannot be reached, or goes on failing; the score's status is `judge_error`."""


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Args:
        messages: `{"role": …, "content": …}`, in order.
        schema: A JSON Schema that the answer must fit; `None` for free text.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent answers this is, from 0.
    """

    messages: Sequence[Message]
    schema: Mapping[str, object] | None = None
    max_tokens: int = 2000
    sample: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Args:
        text: What it said.
        model: The model as the server names it.
        finish_reason: `stop`, `length`, …; `None` where the server does not say.
        input_tokens: Tokens that it read; `None` where unknown.
        output_tokens: Tokens that it wrote; `None` where unknown.
        cached_tokens: Those of the input that came from the server's cache.
        cost_usd: The price by a public price list, in US dollars; `None` where the model is not on it.
        latency_ms: From the first attempt to the last byte.
        attempts: How often it was asked until it answered.
        detail: What else the server said of it.
    """

    text: str
    model: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float = 0.0
    attempts: int = 1
    detail: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class ChatModel(Protocol):
    """A model that judges can ask. Plugins of the group `tracekit.models` return one."""

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides its answers: model, parameters, server; no keys."""

    async def complete(self, request: Request) -> Completion:
        """Answer a request.

        Raises:
            ModelUnavailable: The server cannot be reached, or goes on failing.
            Refused: The model or a content filter refused.
            TimedOut: No answer came in the time allowed.
        """

    async def aclose(self) -> None:
        """Free the connections; they are opened again when needed."""


def resolve(model: object, **parameters: object) -> ChatModel:
    """The model that a judge's `model` parameter means.

    Args:
        model: A `ChatModel`; a mapping or a string with `?` that names a plugin; else the name of a model on the
            OpenAI-compatible server in force. The setting `judge_model` when `None`.
        parameters: For that server's client, where the model is only a name.

    Raises:
        PluginError: The spec names no model client.
        SettingError: No model is named anywhere.
    """
    given = setting("judge_model") if model is None else model
    if given is None:
        raise SettingError("no model is named to judge; give model=NAME or set TRACEKIT_JUDGE_MODEL")
    if isinstance(given, Mapping) or (isinstance(given, str) and "?" in given):
        made = plugins.load(GROUP, cast("str | Mapping[str, object]", given))
    elif isinstance(given, ChatModel):
        made = given
    else:
        set_ones = {key: value for key, value in parameters.items() if value is not None}
        made = plugins.load(GROUP, plugins.Spec("openai", {"model": str(given), **set_ones}))
    if not isinstance(made, ChatModel):
        raise PluginError(f"{given!r} is no model client: a {type(made).__name__} has no complete(request)")
    return made
