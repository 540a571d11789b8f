"""An inference log for services on WSGI: Flask, Django, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from opentelemetry import context as otel_context

from tracekit import _guard
from tracekit._identity import leave
from tracekit._inference import LIMIT, Choice, Exchange

_Environ = MutableMapping[str, Any]
_StartResponse = Callable[..., Callable[[bytes], object]]
_App = Callable[[_Environ, _StartResponse], Iterable[bytes]]


class InferenceLog:
    """Middleware that records the requests of chosen routes with their responses, and traces what answers them.

    It does for WSGI what `tracekit.asgi.InferenceLog` does for ASGI, with the same arguments. A response that is made
    while it is sent is passed on piece by piece, and what it traces while it is made belongs to the request.

    Args:
        app: The WSGI application.
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
        >>> def app(environ, start_response):
        ...     start_response("200 OK", [("content-type", "text/plain")])
        ...     return [b"yes"]
        >>> logged = InferenceLog(app, routes=["/chat"])  # with Flask: app.wsgi_app = InferenceLog(app.wsgi_app, …)
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

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        exchange = self._begun(environ)
        if exchange is None:
            return self.app(environ, start_response)
        body = environ.get("wsgi.input")
        if body is not None:
            environ["wsgi.input"] = _Input(body, exchange)
        token = otel_context.attach(exchange.context)
        try:
            made = self.app(environ, _starting(start_response, exchange))
        except BaseException as error:
            exchange.finish(error)
            raise
        finally:
            leave(token)
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(made, wrapper):
            # The server sends the file by itself, which it would not if it were wrapped.
            exchange.response.ended = True
            exchange.finish(note="…[a file that the server sent by itself]")
            return made
        return (_SizedOutput if hasattr(made, "__len__") else _Output)(made, exchange)

    def _begun(self, environ: _Environ) -> Exchange | None:
        try:
            method = str(environ["REQUEST_METHOD"]).upper()
            path = _text(environ.get("SCRIPT_NAME", "")) + _text(environ.get("PATH_INFO", ""))
            if not self._choice.takes(method, path):
                return None
            return self._choice.begin(method, path, str(environ.get("QUERY_STRING", "")), _headers(environ))
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("beginning an inference")
            return None


def _starting(start_response: _StartResponse, exchange: Exchange) -> _StartResponse:
    def started(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        try:
            more = exchange.starts(int(status.split(None, 1)[0]), headers)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording a response")
            more = []
        write = start_response(status, [*headers, *more] if more else headers, *error)

        def written(data: bytes) -> object:
            exchange.sends(data)
            return write(data)

        return written

    return started


class _Input:
    """The request's body, recorded as the application reads it."""

    def __init__(self, body: Any, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, *size: int) -> bytes:
        return self._seen(self._body.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._seen(self._body.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._seen(line) for line in self._body.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        for line in self._body:
            yield self._seen(line)

    def _seen(self, data: bytes) -> bytes:
        try:
            self._exchange.request.add(data)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording a request")
        return data


class _Output:
    """The response's body, recorded as the server sends it.

    The context that the application leaves behind with one piece is the one that it finds when it makes the next.
    """

    def __init__(self, made: Iterable[bytes], exchange: Exchange) -> None:
        self._made = made
        self._pieces: Iterator[bytes] | None = None
        self._exchange = exchange
        self._context = exchange.context

    def __iter__(self) -> _Output:
        return self

    def __next__(self) -> bytes:
        token = otel_context.attach(self._context)
        try:
            if self._pieces is None:
                self._pieces = iter(self._made)
            piece = next(self._pieces)
        except StopIteration:
            self._exchange.response.ended = True
            self._exchange.finish()
            raise
        except BaseException as error:
            self._exchange.finish(error)
            raise
        finally:
            self._context = otel_context.get_current()
            leave(token)
        try:
            self._exchange.sends(piece)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording a response")
        return piece

    def close(self) -> None:
        """The server is done: it has sent everything, or its client has gone."""
        token = otel_context.attach(self._context)
        try:
            close = getattr(self._made, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._end(error)
            raise
        finally:
            leave(token)
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._exchange.disconnected = not self._exchange.response.ended
        self._exchange.finish(error)


class _SizedOutput(_Output):
    """A response in a list: servers ask for its length to say how long the response is."""

    def __len__(self) -> int:
        return len(self._made)  # type: ignore[arg-type]  # only what has a length is given here


def _text(raw: object) -> str:
    """A path of the environment, which holds bytes as Latin-1, as UTF-8."""
    return str(raw).encode("latin-1", "replace").decode("utf-8", "replace")


def _headers(environ: _Environ) -> dict[str, str]:
    found = {key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            found[key.replace("_", "-").lower()] = str(environ[key])
    return found
