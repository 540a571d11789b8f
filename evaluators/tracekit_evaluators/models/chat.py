"""What every model client takes and gives."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from tracekit import plugins
from tracekit.errors import PluginError, SettingError
from tracekit.settings import setting
from tracekit_evaluators.score import Unscored

GROUP = "tracekit.models"
Message = Mapping[str, str]
_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")


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
        logprobs: How many of the likeliest tokens to name at each place of the answer; 0 asks for none. A model that
            cannot leaves them out.
    """

    messages: Sequence[Message]
    schema: Mapping[str, object] | None = None
    max_tokens: int = 2000
    sample: int = 0
    logprobs: int = 0


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
        logprobs: For each token in order `{"token": text, "top": [[text, log probability], …]}`; empty where the
            server does not tell.
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
    logprobs: Sequence[Mapping[str, object]] = field(default_factory=list)


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
        model: A `ChatModel`; a function that takes a `Request` and returns text; a mapping or a string with `?` that
            names a plugin; `package.module:function`, where there is such a function; else the name of a model on the
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
    elif isinstance(given, str) and _is_path(given):
        found = plugins.find(GROUP, given)
        made = _function(found, parameters) if takes_positional(found) else found()
    elif isinstance(given, ChatModel):
        made = given
    elif callable(given):
        made = _function(given, parameters)
    else:
        set_ones = {key: value for key, value in parameters.items() if value is not None}
        made = plugins.load(GROUP, plugins.Spec("openai", {"model": str(given), **set_ones}))
    if not isinstance(made, ChatModel):
        raise PluginError(f"{given!r} is no model client: a {type(made).__name__} has no complete(request)")
    return made


def takes_positional(function: Callable[..., object]) -> bool:
    """Whether a function's first parameter can be given by place, and so is the request."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)


def _function(function: Callable[..., object], parameters: Mapping[str, object]) -> ChatModel:
    from tracekit_evaluators.models.function import FunctionModel  # noqa: PLC0415 - it needs what stands here

    timeout = parameters.get("timeout")
    return FunctionModel(function, float(timeout) if isinstance(timeout, (int, float)) else None)


def _is_path(text: str) -> bool:
    """Whether a text names a function: models too are called `name:tag`, but no module has that name."""
    module = _PATH.match(text)
    if module is None:
        return False
    try:
        return importlib.util.find_spec(module[1]) is not None
    except (ImportError, ValueError):
        return False
