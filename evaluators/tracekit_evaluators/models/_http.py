"""One JSON request over HTTP, with the faults that it can have told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from tracekit_evaluators.models._retry import Fault
from tracekit_evaluators.score import TimedOut


class Wire:
    """Connections to one server, opened when needed and again in another event loop."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(
        self, url: str, payload: Mapping[str, object], headers: Mapping[str, str], *, who: str, timeout: float
    ) -> tuple[int, httpx.Headers, object]:
        """The status, headers and decoded body of an answer; the beginning of its text where a failure is no JSON.

        Args:
            url: Where to.
            payload: What to send.
            headers: What to send with it.
            who: The model and its server, for messages.
            timeout: Seconds that it may take, from connecting to the last byte.

        Raises:
            Fault: The server cannot be reached, breaks off, or answers with something else than JSON.
            TimedOut: The answer was not complete in the time allowed.
        """
        sending = self._open(timeout).post(url, json=payload, headers=dict(headers))
        try:
            # httpx's own limits begin anew with each chunk; a server that drips would never reach them.
            response = await asyncio.wait_for(sending, timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise TimedOut(f"{who} did not answer within {timeout:g} s") from None
        except httpx.HTTPError as error:
            raise Fault(f"{type(error).__name__}: {error}", retryable=True) from None
        try:
            body: object = response.json()
        except ValueError:
            if response.status_code == httpx.codes.OK:
                raise Fault("the answer is not JSON", retryable=True) from None
            body = response.text[:300]
        return response.status_code, response.headers, body

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self, timeout: float) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            # A client's connections belong to the event loop that opened them.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._client, self._loop = httpx.AsyncClient(timeout=timeout, limits=limits), loop
        return self._client


def said(body: object) -> tuple[str, str]:
    """An error's message and code, in the forms that servers write them."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        inner = at(error, "innererror", "code")
        message = error.get("message") or error.get("detail") or str(error)
        return str(message)[:300], str(error.get("code") or inner or error.get("type") or "")
    return str(error)[:300], ""


def at(value: object, *path: str | int) -> object:
    """What stands at a path in decoded JSON; `None` where there is nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def count(body: object, *path: str) -> int | None:
    """A count of tokens under `usage`; `None` where the server does not say."""
    value = at(body, "usage", *path)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
