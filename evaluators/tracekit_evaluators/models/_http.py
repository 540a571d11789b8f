"""One JSON request over HTTP, with the faults that it can have told apart."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import zlib
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import h11
import httpx
import orjson

from tracekit_evaluators.models._connection import Answer, Connection
from tracekit_evaluators.models._retry import Fault
from tracekit_evaluators.score import TimedOut

OK = 200
_MOST_IDLE = 256
_OURS = {
    "user-agent": "tracekit",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
}
Place = tuple[str, int, bool]


class Wire:
    """Connections to servers, opened when needed and again in another event loop.

    A server behind a proxy, or with a name and a password in its address, is asked by httpx instead, which knows how.
    """

    def __init__(self) -> None:
        self._idle: dict[Place, list[Connection]] = {}  # the one that was used last is used first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls: ssl.SSLContext | None = None
        self._knowing: httpx.AsyncClient | None = None
        self._direct: dict[str, bool] = {}

    async def post(
        self, url: str, payload: Mapping[str, object], headers: Mapping[str, str], *, who: str, timeout: float
    ) -> tuple[int, Mapping[str, str], object]:
        """The status, headers and decoded body of an answer; the beginning of its text where a failure is no JSON.

        Args:
            url: Where to.
            payload: What to send.
            headers: What to send with it, by lower-case name.
            who: The model and its server, for messages.
            timeout: Seconds that it may take, from connecting to the last byte.

        Raises:
            Fault: The server cannot be reached, breaks off, or answers with something else than JSON.
            TimedOut: The answer was not complete in the time allowed.
        """
        self._begin()
        content = _encoded(payload)
        sent = {**_OURS, **headers}
        parts = urlsplit(url)
        if url not in self._direct:
            self._direct[url] = _is_direct(url, parts)
        try:
            if self._direct[url]:
                answer = await self._posted(parts, sent, content, timeout)
            else:
                # httpx's own limits begin anew with each chunk; a server that drips would never reach them.
                answer = await asyncio.wait_for(self._by_httpx(url, sent, content, timeout), timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise TimedOut(f"{who} did not answer within {timeout:g} s") from None
        except (httpx.HTTPError, h11.ProtocolError, OSError, zlib.error) as error:
            raise Fault(f"{type(error).__name__}: {error}", retryable=True) from None
        try:
            body: object = json.loads(answer.content)
        except (ValueError, RecursionError):
            if answer.status == OK:
                raise Fault("the answer is not JSON", retryable=True) from None
            body = answer.content[:1200].decode("utf-8", "replace")[:300]
        return answer.status, answer.headers, body

    async def aclose(self) -> None:
        """Close the connections."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()
        if self._knowing is not None:
            knowing, self._knowing = self._knowing, None
            await knowing.aclose()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Connections belong to the event loop that opened them.
            self._idle, self._knowing, self._loop = {}, None, loop

    async def _posted(self, parts: SplitResult, headers: Mapping[str, str], content: bytes, timeout: float) -> Answer:
        secure = parts.scheme == "https"
        place = (parts.hostname or "", parts.port or (443 if secure else 80), secure)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        connection = await self._connected(place, timeout)
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            connection.close()

        watch = loop.call_at(until, stop)
        head = {"host": parts.netloc, **headers, "content-length": str(len(content))}
        try:
            answer = await connection.post(target, head, content)
        except BaseException as error:
            connection.close()
            if late and isinstance(error, (OSError, h11.ProtocolError)):
                raise asyncio.TimeoutError from None
            raise
        finally:
            watch.cancel()
        idle = self._idle.setdefault(place, [])
        if connection.is_open and len(idle) < _MOST_IDLE:
            idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connected(self, place: Place, timeout: float) -> Connection:
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        host, port, secure = place
        try:
            tls = self._context() if secure else None
            return await asyncio.wait_for(Connection.opened(host, port, tls), timeout)
        except asyncio.TimeoutError:
            raise
        except OSError as error:
            raise httpx.ConnectError(str(error)) from None

    async def _by_httpx(self, url: str, headers: Mapping[str, str], content: bytes, timeout: float) -> Answer:
        if self._knowing is None:
            self._knowing = httpx.AsyncClient(verify=self._context(), limits=httpx.Limits(max_connections=None))
        response = await self._knowing.post(url, content=content, headers=dict(headers), timeout=timeout)
        return Answer(response.status_code, response.headers, response.content)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()  # which takes longer than many requests
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _encoded(payload: Mapping[str, object]) -> bytes:
    if any(type(value) is float and not math.isfinite(value) for value in payload.values()):
        raise ValueError("JSON has no word for NaN and infinity")  # where orjson says null
    try:
        return orjson.dumps(payload)
    except TypeError:  # an integer of more than 64 bits, or a text that is none
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _is_direct(url: str, parts: SplitResult) -> bool:
    """Whether a server is reached without a proxy, by an address that can be sent as it is."""
    if "@" in parts.netloc or not url.isascii() or any(sign in url for sign in ' "<>\\^`{|}'):
        return False
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    return not named or bool(proxy_bypass(parts.hostname or ""))


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
