"""Any Python function as a model."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from tracekit.errors import PluginError
from tracekit_evaluators._digest import code_digest
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.score import TimedOut


class FunctionModel:
    """A model that is a function: it takes a `Request` and returns a text or a `Completion`; it may be async.

    A function that is not async is called in a thread, so that it may take its time.

    Args:
        function: The function.
        timeout: Seconds that one call may take; `None` for no limit.

    Example:
        >>> FunctionModel(lambda request: "yes").fingerprint["model"]
        '<lambda>'
    """

    def __init__(self, function: Callable[[Request], object], timeout: float | None = None) -> None:
        self._function = function
        self._timeout = timeout
        self._name = str(getattr(function, "__qualname__", type(function).__name__)).rpartition(".")[2]

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The function's name and the digest of its code."""
        return {"model": self._name, "code": code_digest(self._function)}

    async def complete(self, request: Request) -> Completion:
        """Answer a request; see `ChatModel`. Whatever the function raises is the score's status `judge_error`."""
        began = time.monotonic()
        try:
            answer = await asyncio.wait_for(self._call(request), self._timeout)
        except asyncio.TimeoutError:
            raise TimedOut(f"{self._name} did not answer within {self._timeout} s") from None
        took = (time.monotonic() - began) * 1000
        if isinstance(answer, str):
            return Completion(answer, model=self._name, latency_ms=took)
        if isinstance(answer, Completion):
            return replace(answer, latency_ms=answer.latency_ms or took)
        raise PluginError(f"{self._name} returned a {type(answer).__name__}; a model returns a text or a Completion")

    async def aclose(self) -> None:
        """A function holds nothing."""

    async def _call(self, request: Request) -> object:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(request)
        answer = await asyncio.to_thread(self._function, request)
        return await answer if inspect.isawaitable(answer) else answer
