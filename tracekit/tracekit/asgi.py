"""An inference log for services on ASGI: FastAPI, Starlette, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from opentelemetry import context as otel_context

from tracekit import _guard
from tracekit._configuration import flush
from tracekit._identity import leave
from tracekit._inference import LIMIT, Choice, Exchange

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_SHUTDOWN_SECONDS = 5.0


class InferenceLog:
    """Middleware that records the requests of chosen routes with their responses, and traces what answers them.

    Each such request is a server span, in the caller's trace if it sends one (W3C `traceparent`), and the parent of
    what the service's code traces; and one row of the table `inferences`, with both bodies (streamed ones too), the
    status, the latency and the time to the first byte. Bodies pass as they are, chunk by chunk; the response gets a
    header that names the trace. Requests of other routes, and WebSockets, pass untouched. When the
    server shuts the application down, what there is is delivered.

    Args:
        app: The ASGI application.
        routes: Paths with everything below them (`/chat`), or patterns (`/v1/*/ask`); every path when not given.
        methods: The HTTP methods whose requests are recorded.
        agent: The name of the agent that answers; that of `init` when not given.
        agent_version: The agent's version; that of `init` when not given.
        limit: The most bytes of each body that are kept; what is cut says so.
        session_header: The request's header that names the session. Without it, `session.id` of W3C baggage counts.
        user_header: The request's header that names the user. Without it, `user.id` of W3C baggage counts.
        trace_header: The response's header that names the trace; `None` for none.

    Raises:
        UsageError: A route or the limit cannot be used.

    Example:
        >>> async def app(scope, receive, send):
        ...     await send({"type": "http.response.start", "status": 200, "headers": []})
        ...     await send({"type": "http.response.body", "body": b"yes"})
        >>> logged = InferenceLog(app, routes=["/chat"])  # with FastAPI: app.add_middleware(InferenceLog, routes=…)
    """

    def __init__(
        self,
        app: _App,
        *,
        routes: Sequence[str] = (),
        methods: Sequence[str] = ("POST",),
        agent: str | None = None,
        agent_version: str | None = None,
        limit: int = LIMIT,
        session_header: str = "x-session-id",
        user_header: str = "x-user-id",
        trace_header: str | None = "X-Trace-Id",
    ) -> None:
        self.app = app
        self._choice = Choice.of(
            routes, methods, agent, agent_version, limit, session_header, user_header, trace_header
        )

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        kind = scope.get("type")
        exchange = self._begun(scope) if kind == "http" else None
        if exchange is None:
            await self.app(scope, receive, _delivering(send) if kind == "lifespan" else send)
            return
        passage = _Passage(exchange, scope, receive, send)
        token = otel_context.attach(exchange.context)
        try:
            await self.app(scope, passage.receive, passage.send)
        except BaseException as error:
            passage.finish(error)
            raise
        finally:
            leave(token)
            passage.finish(None)

    def _begun(self, scope: _Scope) -> Exchange | None:
        try:
            method, path = str(scope["method"]).upper(), str(scope["path"])
            if not self._choice.takes(method, path):
                return None
            query = scope.get("query_string", b"").decode("latin-1")
            return self._choice.begin(method, path, query, _headers(scope.get("headers", ())))
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("beginning an inference")
            return None


def _delivering(send: _Send) -> _Send:
    """Deliver what there is when the application has shut down: some servers end the process right after that."""

    async def sent(message: _Message) -> None:
        if message.get("type") in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            try:
                flush(_SHUTDOWN_SECONDS)  # nothing is left to be served meanwhile
            except Exception:  # noqa: BLE001 - never into the service
                _guard.fault("delivering at a service's end")
        await send(message)

    return sent


class _Passage:
    """What passes between the server and the application in one exchange."""

    def __init__(self, exchange: Exchange, scope: _Scope, receive: _Receive, send: _Send) -> None:
        self._exchange = exchange
        self._scope = scope
        self._root = scope.get("root_path", "")
        self._receive = receive
        self._send = send
        self._note: str | None = None
        self._over = False

    async def receive(self) -> _Message:
        message = await self._receive()
        try:
            if message["type"] == "http.request":
                self._exchange.request.add(message.get("body", b""))
                self._exchange.request.ended = not message.get("more_body", False)
            elif message["type"] == "http.disconnect" and not self._over:
                self._exchange.disconnected = True
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording a request")
        return message

    async def send(self, message: _Message) -> None:
        try:
            message = self._seen(message)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording a response")
        try:
            await self._send(message)
        except OSError:
            self._exchange.disconnected = True  # how servers say that the client has gone
            raise
        if self._over and (self._exchange.status or 0) < 500:  # an error's cause is still to be raised
            self.finish(None)

    def _seen(self, message: _Message) -> _Message:
        kind = message["type"]
        if kind == "http.response.start":
            given = list(message.get("headers", ()))
            more = self._exchange.starts(int(message["status"]), _headers(given).items())
            if more:
                added = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in more]
                return {**message, "headers": [*given, *added]}
        elif kind == "http.response.body":
            self._exchange.sends(message.get("body", b""))
            self._over = self._exchange.response.ended = not message.get("more_body", False)
        elif kind in {"http.response.pathsend", "http.response.zerocopysend"}:
            self._note = "…[a file that the server sent by itself]"
            self._over = self._exchange.response.ended = not message.get("more_body", False)
        return message

    def finish(self, error: BaseException | None) -> None:
        self._exchange.finish(error, route=self._route(), note=self._note)

    def _route(self) -> str | None:
        """The template of the route that was taken, as FastAPI leaves it in the scope."""
        try:
            path = getattr(self._scope.get("route"), "path", None)
            mounted = str(self._scope.get("root_path", "")).removeprefix(self._root)
            return f"{mounted}{path}" if isinstance(path, str) else None
        except Exception:  # noqa: BLE001 - somebody else's object
            return None


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in pairs:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found
