"""One request that a service answers, as a server span and an inference record: what ASGI and WSGI have in common.

A body is kept as it passes, up to a limit, and read only when the exchange is over: a gzipped or deflated one is
decompressed within the limit, text is decoded by its charset, and what is no text is named with its size. Nothing here
raises into the service, and nothing here reads what the service does not read.
"""

from __future__ import annotations

import fnmatch
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from tracekit import _guard
from tracekit import attributes as names
from tracekit._capture import clean_text, to_json
from tracekit._identity import facts, with_facts
from tracekit._runtime import runtime
from tracekit._spans import finish, mark_ending, static_attributes
from tracekit.errors import UsageError
from tracekit.inbox import ulid

LIMIT = 262_144
"""The most bytes of one body that are kept."""

_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 47}
_ID_LIMIT = 200
_METHODS = frozenset({"POST"})
_SAID = (names.AGENT_NAME, names.AGENT_VERSION, names.SESSION, names.USER)


@dataclass(frozen=True)
class Choice:
    """Which requests are recorded, and how.

    Args:
        routes: Paths with everything below them, or patterns with `*`, `?` and `[…]`; every path when empty.
        methods: HTTP methods.
        agent: The agent's name; that of `init` when not given.
        agent_version: The agent's version; that of `init` when not given.
        limit: The most bytes of one body that are kept.
        session_header: The header that names the session, in lower case.
        user_header: The header that names the user, in lower case.
        trace_header: The response's header that is to name the trace, in lower case; `None` for no such header.

    Raises:
        UsageError: A route or the limit cannot be used.
    """

    routes: tuple[str, ...]
    methods: frozenset[str]
    agent: str | None
    agent_version: str | None
    limit: int
    session_header: str
    user_header: str
    trace_header: str | None

    @classmethod
    def of(
        cls,
        routes: Sequence[str],
        methods: Sequence[str],
        agent: str | None,
        agent_version: str | None,
        limit: int,
        session_header: str,
        user_header: str,
        trace_header: str | None,
    ) -> Choice:
        """A choice from a middleware's arguments, checked."""
        if isinstance(routes, str) or not all(str(route)[:1] in {"/", "*"} for route in routes):
            raise UsageError(f"routes={routes!r}: give a list of paths or patterns such as ['/chat', '/v1/*/ask']")
        if limit < 0:
            raise UsageError(f"limit={limit}: give the most bytes of a body that are kept, 0 for none")
        return cls(
            tuple(route.rstrip("/") or "/" for route in routes),
            _METHODS if not methods else frozenset(method.upper() for method in methods),
            agent,
            agent_version,
            limit,
            session_header.lower(),
            user_header.lower(),
            None if trace_header is None else trace_header.lower(),
        )

    def takes(self, method: str, path: str) -> bool:
        """Whether a request is recorded.

        Example:
            >>> choice = Choice.of(["/chat", "/v1/*/ask"], ["POST"], None, None, 10, "", "", None)
            >>> [choice.takes("POST", path) for path in ("/chat", "/chat/7", "/chatter", "/v1/bot/ask")]
            [True, True, False, True]
        """
        return method in self.methods and (not self.routes or any(_matches(route, path) for route in self.routes))

    def begin(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Exchange | None:
        """Begin the server span of a request that is recorded; `None` while tracing is off.

        Args:
            method: The HTTP method.
            path: The path, decoded.
            query: What follows the question mark.
            headers: The request's headers, their names in lower case.
        """
        tracer = runtime.tracer or runtime.start()
        if tracer is None:
            return None
        try:
            return self._begun(tracer, (method, path, query), headers)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("beginning an inference")
            return None

    def _begun(self, tracer: trace.Tracer, target: tuple[str, str, str], headers: Mapping[str, str]) -> Exchange:
        method, path, _query = target
        theirs, parent = _joined(headers)
        current = self._identified(parent, headers)
        attributes = {**runtime.identity, **facts(current), **static_attributes("span", "")}
        if self.agent is not None:
            attributes.pop(names.AGENT_VERSION, None)  # that of another agent
            attributes[names.AGENT_NAME] = self.agent
        if self.agent_version is not None:
            attributes[names.AGENT_VERSION] = self.agent_version
        said = {key: attributes[key] for key in _SAID if key in attributes}
        if theirs is not None:
            theirs.set_attributes(said)
            return Exchange(self, theirs, current, said, target, headers, owned=False)
        attributes.update({names.HTTP_METHOD: method, names.URL_PATH: clean_text(path)})
        span = tracer.start_span(
            f"{method} {clean_text(path)}", current, SpanKind.SERVER, attributes=attributes, start_time=runtime.now()
        )
        return Exchange(self, span, trace.set_span_in_context(span, current), said, target, headers, owned=True)

    def _identified(self, parent: Context, headers: Mapping[str, str]) -> Context:
        """The context with the session and user that the request's headers name; its baggage is read anyway."""
        found: dict[str, AttributeValue] = {}
        chat, user = headers.get(self.session_header, "").strip(), headers.get(self.user_header, "").strip()
        if chat:
            found[names.SESSION] = found[names.CONVERSATION] = clean_text(chat)[:_ID_LIMIT]
        if user:
            found[names.USER] = clean_text(user)[:_ID_LIMIT]
        return with_facts(parent, found, share=runtime.shares()) if found else parent


class Body:
    """What passed of a request's or a response's body.

    Args:
        limit: The most bytes that are kept.
    """

    __slots__ = ("_kept", "_limit", "_parts", "ended", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = 0
        self._parts: list[bytes] = []
        self.size = 0
        self.ended = False

    def add(self, data: bytes) -> None:
        """Keep what there is room for."""
        self.size += len(data)
        room = self._limit - self._kept
        if room > 0 and data:
            part = bytes(data if len(data) <= room else data[:room])
            self._parts.append(part)
            self._kept += len(part)

    def text(self, headers: Mapping[str, str]) -> str | None:
        """The body as text with a mark where it is not whole; `None` where there was none.

        Args:
            headers: The headers that it came with, their names in lower case.

        Example:
            >>> body = Body(8)
            >>> body.add("grüße dich".encode())
            >>> body.text({})
            'grüße …[truncated: 4 more bytes]'
        """
        if not self.size:
            return None
        kind = headers.get("content-type", "")
        encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
        data, left = b"".join(self._parts), self.size - self._kept
        mark = f"…[truncated: {left} more bytes]" if left else ""
        if encoding != "identity":
            if encoding not in _WINDOW or not data:
                return f"…[{encoding}: {self.size} bytes]"
            data, whole = _inflated(data, _WINDOW[encoding], self._limit)
            mark = "" if whole and not left else f"…[truncated: it took {self.size} bytes of {encoding} in all]"
        found = _decoded(data, kind, cut=bool(mark))
        return f"…[{kind or 'binary'}: {self.size} bytes]" if found is None else found + mark


class Exchange:
    """One request and its response, recorded once: when the response is over, or the service gave up.

    Args:
        choice: How it is recorded.
        span: The server span.
        context: What the service's code is to run in.
        said: What the record says of agent, session and user.
        target: Method, path and query.
        headers: The request's headers.
        owned: Whether the span is ours to name, to mark and to end.
    """

    def __init__(
        self,
        choice: Choice,
        span: trace.Span,
        context: Context,
        said: Mapping[str, AttributeValue],
        target: tuple[str, str, str],
        headers: Mapping[str, str],
        *,
        owned: bool,
    ) -> None:
        limit = choice.limit if runtime.capture else 0
        self.context = context
        self.request = Body(limit)
        self.response = Body(limit)
        self.status: int | None = None
        self.disconnected = False
        self._choice = choice
        self._span = span
        self._owned = owned
        self._said = said
        self._target = target
        self._request_headers = headers
        self._response_headers: Mapping[str, str] = {}
        self._generation = runtime.generation
        self._begun_ns = time.perf_counter_ns()
        self._first_ns: int | None = None
        self._done = False

    def starts(self, status: int, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The response begins.

        Args:
            status: Its status code.
            headers: Its headers.

        Returns:
            The headers to add to it.
        """
        self.status = status
        self._response_headers = {key.lower(): value for key, value in headers}
        name, place = self._choice.trace_header, self._span.get_span_context()
        if name is None or name in self._response_headers or not place.is_valid:
            return []
        return [(name, trace.format_trace_id(place.trace_id))]

    def sends(self, data: bytes) -> None:
        """A part of the response goes out."""
        if data and self._first_ns is None:
            self._first_ns = time.perf_counter_ns()
        self.response.add(data)

    def finish(self, error: BaseException | None = None, *, route: str | None = None, note: str | None = None) -> None:
        """The exchange is over; only the first call counts.

        Args:
            error: What the service raised.
            route: The template of the route that was taken, such as `/chat/{chat}`.
            note: What the response was, where it did not pass as bytes.
        """
        if self._done:
            return
        self._done = True
        ended_ns = time.perf_counter_ns()
        if error is not None and self.status is None and isinstance(error, Exception) and not self.disconnected:
            self.status = 500  # what every server answers for an application that raises before it responds
        try:
            if self._owned:
                self._mark(error, route)
            runtime.emit(names.INFERENCE_EVENT, self._record(error, ended_ns, route, note), self.context)
        except Exception:  # noqa: BLE001 - never into the service
            _guard.fault("recording an inference")
        finally:
            if self._owned:
                finish(self._span, self._generation)

    def _mark(self, error: BaseException | None, route: str | None) -> None:
        if route is not None:
            self._span.update_name(f"{self._target[0]} {route}")
            self._span.set_attribute(names.HTTP_ROUTE, route)
        if self.status is not None:
            self._span.set_attribute(names.HTTP_STATUS_CODE, self.status)
        if error is not None:
            mark_ending(self._span, error)
        elif self.status is not None and self.status >= 500:
            self._span.set_attribute(names.ERROR_TYPE, str(self.status))
            self._span.set_status(Status(StatusCode.ERROR))

    def _record(
        self, error: BaseException | None, ended_ns: int, route: str | None, note: str | None
    ) -> dict[str, AttributeValue]:
        method, path, query = self._target
        shown = runtime.capture
        metadata = {
            "method": method,
            "path": path,
            "query": query if shown else None,
            "request_id": self._request_headers.get("x-request-id"),  # theirs, and perhaps not unique
            "content_type": self._response_headers.get("content-type"),
            "request_bytes": self.request.size,
            "request_whole": self.request.ended or None,
            "response_bytes": None if note else self.response.size,
            "response_whole": self.response.ended,
            "disconnected": self.disconnected or None,
            "error": None if error is None else type(error).__name__,
        }
        found: dict[str, AttributeValue | None] = {
            **self._said,
            names.INFERENCE_REQUEST_ID: ulid(),
            names.INFERENCE_ENDPOINT: clean_text(route or path),
            names.INFERENCE_STATUS_CODE: self.status,
            names.INFERENCE_LATENCY_MS: (ended_ns - self._begun_ns) / 1e6,
            names.INFERENCE_TTFT_MS: None if self._first_ns is None else (self._first_ns - self._begun_ns) / 1e6,
            names.INFERENCE_REQUEST: self.request.text(self._request_headers) if shown else None,
            names.INFERENCE_RESPONSE: (note or self.response.text(self._response_headers)) if shown else None,
            names.INFERENCE_METADATA: to_json(
                {key: value for key, value in metadata.items() if value not in (None, "")}
            ),
        }
        return {key: value for key, value in found.items() if value is not None}


def _matches(route: str, path: str) -> bool:
    if any(sign in route for sign in "*?["):
        return fnmatch.fnmatchcase(path, route)
    return route in (path, "/") or path.startswith(f"{route}/")


def _joined(headers: Mapping[str, str]) -> tuple[trace.Span | None, Context]:
    """The server span that another instrumentation has begun for the request, if any, and what the request runs in.

    Newer versions of FastAPI trace requests by themselves, for one. A span that is current only because the server was
    started inside of it has nothing to do with the request.
    """
    sent = propagate.extract(headers, Context())
    caller = trace.get_current_span(sent).get_span_context()
    current = trace.get_current_span()
    place = current.get_span_context()
    if (
        place.is_valid
        and getattr(current, "kind", None) is SpanKind.SERVER
        and current.is_recording()
        and (not caller.is_valid or caller.trace_id == place.trace_id)
    ):
        return current, otel_context.get_current()
    return None, sent


def _inflated(data: bytes, window: int, limit: int) -> tuple[bytes, bool]:
    """What is compressed, at most `limit` bytes of it, and whether that is all."""
    reader = zlib.decompressobj(window)
    try:
        found = reader.decompress(data, max(1, limit))
    except zlib.error:
        return b"", False
    return found, reader.eof


def _decoded(data: bytes, kind: str, *, cut: bool) -> str | None:
    """Bytes as text; `None` where they are none. A cut in the middle of a character costs that character."""
    charset = kind.lower().partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
    for attempt in (charset, "utf-8"):
        try:
            return data.decode(attempt)
        except LookupError:
            continue
        except UnicodeDecodeError as error:
            if cut and error.start >= len(data) - 4 and error.start > 0:
                return data[: error.start].decode(attempt, "ignore")
    return None
