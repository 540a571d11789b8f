"""When to ask a model's server again, and how long to wait."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime

from tracekit.errors import TracekitError
from tracekit_evaluators.models.chat import Completion, ModelUnavailable, Request
from tracekit_evaluators.models.limits import Limiter, Resting

LONGEST_WAIT = 120.0
_TOO_MUCH = frozenset({429, 503, 529})
_CHARACTERS_A_TOKEN = 4
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class Fault(TracekitError):  # noqa: N818 - what went wrong with one attempt, before anyone calls it an error
    """One attempt at a request failed.

    Args:
        message: What happened.
        retryable: Whether another attempt may do better.
        retry_after: Seconds that the server wants to be left alone; `None` where it does not say.
        too_much: Whether the server said that it is asked too much.
    """

    def __init__(
        self, message: str, *, retryable: bool, retry_after: float | None = None, too_much: bool = False
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        self.too_much = too_much

    @classmethod
    def of_status(cls, status: int, headers: Mapping[str, str], message: str) -> Fault:
        """The fault that an HTTP status other than 200 is."""
        words = f"HTTP {status}: {message}"
        too_much = status in _TOO_MUCH
        return cls(words, retryable=status in _RETRYABLE, retry_after=retry_after(headers), too_much=too_much)


async def patiently(
    once: Callable[[Request], Awaitable[Completion]],
    request: Request,
    *,
    limiter: Limiter,
    attempts: int,
    who: str,
) -> Completion:
    """A model's answer, asked for within its limits and again where that may help.

    Args:
        once: Asks once; raises `Fault` where that failed.
        request: What to ask.
        limiter: The model's.
        attempts: The most attempts.
        who: The model and its server, for messages.

    Raises:
        ModelUnavailable: The server cannot be reached, goes on failing, or is left alone because it did.
    """
    began, tried, expected = time.monotonic(), 0, tokens_of(request)
    while True:
        tried += 1
        try:
            async with limiter.turn(expected):
                done = await once(request)
        except Resting as resting:
            raise ModelUnavailable(f"{who}: {resting}") from None
        except Fault as fault:
            wait = wait_of(fault, tried)
            asked_to = wait if fault.retry_after is not None else None
            if fault.too_much:
                limiter.too_much(asked_to)  # its turn waits for as long, and so do all others
            if not fault.retryable or tried >= attempts or wait is None:
                limiter.failed()
                raise ModelUnavailable(f"{who}: {fault}{again(tried)}") from None
            if asked_to is None or not fault.too_much:
                await asyncio.sleep(wait)
        else:
            took = (done.input_tokens or 0) + (done.output_tokens or 0)
            limiter.answered(tokens=took or expected, estimated=expected)
            return replace(done, latency_ms=(time.monotonic() - began) * 1000, attempts=tried)


def tokens_of(request: Request) -> int:
    """About how many tokens a request takes at most: four characters are about one, and the answer may be full."""
    characters = sum(len(message.get("content", "")) for message in request.messages)
    return characters // _CHARACTERS_A_TOKEN + request.max_tokens


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: `Retry-After` in seconds or as a date (RFC 9110 §10.2.3).

    Example:
        >>> retry_after({"retry-after": "3"})
        3.0
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def wait_of(fault: Fault, tried: int) -> float | None:
    """Seconds to wait before the next attempt, with jitter; `None` where the server asks for too long a wait.

    Args:
        fault: What happened to the last attempt.
        tried: How many attempts were made, from 1.
    """
    jitter = random.random()  # noqa: S311 - spreads clients apart, hides nothing
    if fault.retry_after is not None:
        return None if fault.retry_after > LONGEST_WAIT else fault.retry_after + 0.1 * jitter
    return min(30.0, 0.5 * 2.0 ** min(tried - 1, 6)) * (0.5 + jitter / 2)


def again(tried: int) -> str:
    """How often it was tried, for a message."""
    return f" (after {tried} attempts)" if tried > 1 else ""


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
