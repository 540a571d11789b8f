"""A request to the agent: from its body to the answer, and what is recorded of it.

Nothing here waits for the disk: span and record are made when the answer is on its way, and delivered in batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson
from opentelemetry import trace

from tracekit import attributes as names
from tracekit._capture import clean_text, to_text
from tracekit._identity import facts
from tracekit._inference import Exchange
from tracekit._runtime import runtime
from tracekit._serving_frames import Kind
from tracekit_collector.serving.deployment import Deployment, Split
from tracekit_collector.serving.metrics import Metrics
from tracekit_collector.serving.pool import NoWorkerError, QueueFullError
from tracekit_collector.serving.refusals import Refusal
from tracekit_collector.serving.shapes import Shape, spoken
from tracekit_collector.serving.worker import Call, Ending

ScopeMap = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_WATCH_SECONDS = 0.05  # from when on it is worth to know that a client has gone
_KEPT_CHUNKS = 4_096
_UNREAD_SECONDS = 2.0  # how much longer than its time a stream may wait for a client that does not read
_GONE = 499  # what the record says where nobody was there to be answered


class GoneError(Exception):
    """The client has gone before its request was whole."""


class Answer:
    """What goes to the client, and what is recorded of it.

    Args:
        send: ASGI's.
        deployment: Who answers.
        exchange: The record; `None` while tracing is off.
    """

    __slots__ = ("_send", "begun", "deployment", "exchange", "status", "trace_id")

    def __init__(self, send: Send, deployment: Deployment | None, exchange: Exchange | None) -> None:
        self._send = send
        self.deployment = deployment
        self.exchange = exchange
        self.begun = False
        self.status = 0
        self.trace_id: str | None = None
        if exchange is not None:
            place = trace.get_current_span(exchange.context).get_span_context()
            self.trace_id = trace.format_trace_id(place.trace_id) if place.is_valid else None

    async def start(self, status: int, kind: str, more: Mapping[str, str], size: int | None = None) -> None:
        """Send status and headers.

        Args:
            status: The HTTP status.
            kind: The media type.
            more: Further headers.
            size: The body's length, where it is known.
        """
        headers = [("content-type", kind), *more.items()]
        if size is not None:
            headers.append(("content-length", str(size)))
        if self.deployment is not None:
            headers.append(("x-agent-version", self.deployment.version_header))
        if self.exchange is not None:
            headers += self.exchange.starts(status, headers)
        self.begun, self.status = True, status
        raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def body(self, data: bytes, *, last: bool = True) -> None:
        """Send a part of the body."""
        if self.exchange is not None:
            self.exchange.sends(data)
            self.exchange.response.ended = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def whole(self, status: int, data: bytes, *, more: Mapping[str, str] | None = None, kind: str = JSON) -> None:
        """Send an answer at once."""
        await self.start(status, kind, more or {}, len(data))
        await self.body(data)

    async def refuse(self, refusal: Refusal) -> None:
        """Send what was wrong."""
        await self.whole(refusal.status, refusal.dumped(self.trace_id), more=refusal.headers)


class Answering:
    """Answers requests to the agent.

    Args:
        split: The versions that are served.
        metrics: Counts them.
        max_body: Bytes of one request.
        seconds: How long its body may take to come.
    """

    def __init__(self, split: Split, metrics: Metrics, max_body: int, seconds: float) -> None:
        self._split = split
        self._metrics = metrics
        self._max_body = max_body
        self._seconds = seconds

    async def answer(
        self, kind: type[Shape], scope: ScopeMap, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        """Answer one request.

        Args:
            kind: The endpoint's shape.
            scope: ASGI's.
            headers: The request's headers, their names in lower case.
            receive: ASGI's.
            send: ASGI's.
        """
        begun, path = time.perf_counter(), str(scope["path"])
        refusal: Refusal | None = None
        shape: Shape | None = None
        deployment, data = self._split.main, b""
        try:
            data = await read_body(receive, headers, self._max_body, self._seconds)
            shape = kind(parsed(data), headers.get("accept", ""))
            if shape.user is not None and "x-user-id" not in headers:
                headers["x-user-id"] = shape.user
            deployment = self._split.choose(headers.get("x-session-id"), shape.model)
        except GoneError:
            return
        except Refusal as error:
            refusal = error
        query = scope.get("query_string", b"").decode("latin-1")
        exchange = None if deployment is None else deployment.choice.begin("POST", path, query, headers)
        answer = Answer(send, deployment, exchange)
        if exchange is not None:
            exchange.request.add(data)
            exchange.request.ended = True
        failure: BaseException | None = None
        try:
            if refusal is not None or deployment is None or shape is None:
                raise refusal or Refusal(503, "not_ready", "no version is being served yet")
            failure = await self._asked(answer, deployment, shape, receive)
        except Refusal as error:
            failure = error.__cause__
            await answer.refuse(error)
        except asyncio.CancelledError as error:
            failure = error
            raise
        finally:
            if exchange is not None:
                exchange.finish(failure, route=path)
            version = "" if deployment is None else deployment.target.version
            status = answer.status if exchange is None else exchange.status or answer.status
            self._metrics.answered(path, version, status, time.perf_counter() - begun)

    async def _asked(
        self, answer: Answer, deployment: Deployment, shape: Shape, receive: Receive
    ) -> BaseException | None:
        """Ask the agent and send what it says; what went wrong when a stream had begun is returned."""
        shape.served = deployment.target.ref
        given = shape.input(deployment.asked)
        deployment.check(given)
        exchange, pool = answer.exchange, deployment.pool
        _note(exchange, names.INPUT, names.INPUT_MIME, given)
        try:
            call = pool.submit(_payload(given, exchange, stream=shape.stream))
        except QueueFullError as error:
            wait = {"retry-after": "1"}
            raise Refusal(503, "queue_full", f"{error}; come again in a moment", headers=wait) from None
        except NoWorkerError as error:
            raise Refusal(503, "no_worker", "no worker is alive", headers={"retry-after": "5"}) from error
        watch = _Watch(call, receive)
        try:
            kind, payload = await call.next()
            if shape.stream and kind in (Kind.CHUNK, Kind.END):
                return await _streamed(answer, call, shape, (kind, payload))
            if kind == Kind.RESULT:
                _note_json(exchange, payload)
                await answer.whole(200, shape.whole(payload))
                return None
            if kind == Ending.GONE:
                _went(exchange)
                return None
            raise _refusal(kind, payload, pool.limits.timeout)
        finally:
            watch.end()
            pool.done(call)


class _Watch:
    """Notices that a client has gone, in requests that last."""

    __slots__ = ("_call", "_receive", "_task", "_timer")

    def __init__(self, call: Call, receive: Receive) -> None:
        self._call = call
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._begin)

    def end(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._call.arrive(Ending.GONE)


async def _streamed(answer: Answer, call: Call, shape: Shape, first: tuple[int, bytes]) -> BaseException | None:
    """Send a stream; one that its client does not read is cut off soon after its time is over."""
    task, cut = asyncio.current_task(), asyncio.Event()

    def cut_off() -> None:
        cut.set()
        if task is not None:
            task.cancel()

    limit = 0.0 if answer.deployment is None else answer.deployment.pool.limits.timeout
    timer = asyncio.get_running_loop().call_later(limit + _UNREAD_SECONDS, cut_off)
    try:
        return await _sent(answer, call, shape, first, limit)
    except asyncio.CancelledError:
        if not cut.is_set():
            raise
        _went(answer.exchange)
        return _raised("timeout", f"the client did not read the stream within {limit:g} s")
    finally:
        timer.cancel()


async def _sent(
    answer: Answer, call: Call, shape: Shape, first: tuple[int, bytes], limit: float
) -> BaseException | None:
    await answer.start(200, _EVENTS, {"cache-control": "no-cache", "x-accel-buffering": "no"})
    await answer.body(shape.opening(), last=False)
    kept: list[bytes] = []
    kind, payload = first
    while kind == Kind.CHUNK:
        if len(kept) < _KEPT_CHUNKS:
            kept.append(payload)
        await answer.body(shape.part(payload), last=False)
        kind, payload = await call.next()
    if runtime.capture:
        _note(answer.exchange, names.OUTPUT, names.OUTPUT_MIME, spoken(kept))
    if kind == Kind.END:
        await answer.body(shape.closing())
        return None
    if kind == Ending.GONE:
        _went(answer.exchange)
        return None
    refusal = _refusal(kind, payload, limit)
    await answer.body(shape.failing(refusal, answer.trace_id))
    return refusal.__cause__ or refusal


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, seconds: float) -> bytes:
    """A request's body.

    Args:
        receive: ASGI's.
        headers: The request's.
        limit: The most bytes of it.
        seconds: How long it may take to come.

    Raises:
        Refusal: It is larger, too slow, or compressed.
        GoneError: The client has gone.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        raise Refusal(415, "content_encoding", "send the body as it is; compressed ones are not read")
    first = await receive()
    if not first.get("more_body", False):
        return await _body(first, receive, headers, limit)
    try:
        return await asyncio.wait_for(_body(first, receive, headers, limit), seconds)
    except asyncio.TimeoutError:
        raise Refusal(
            408, "body_timeout", f"the body did not come within {seconds:g} s", headers={"connection": "close"}
        ) from None


async def _body(message: MutableMapping[str, Any], receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    size = headers.get("content-length", "")
    parts: list[bytes] = []
    kept = 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        kept += len(part)
        if kept > limit or (size.isdigit() and int(size[:20]) > limit):
            raise Refusal(413, "too_large", f"the body is larger than {limit} bytes", headers={"connection": "close"})
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
    raise GoneError


def parsed(data: bytes) -> Any:
    """A body as JSON.

    Raises:
        Refusal: It is none.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is no JSON: {error}") from None


def _payload(given: object, exchange: Exchange | None, *, stream: bool) -> bytes:
    call: dict[str, object] = {"input": given, "stream": stream}
    if exchange is not None:
        place = trace.get_current_span(exchange.context).get_span_context()
        call["traceparent"] = f"00-{place.trace_id:032x}-{place.span_id:016x}-{int(place.trace_flags):02x}"
        call["facts"] = dict(facts(exchange.context))
    try:
        return orjson.dumps(call)
    except orjson.JSONEncodeError as error:
        raise Refusal(400, "invalid_body", f"the input cannot be passed on: {error}") from None


def _refusal(kind: int, payload: bytes, limit: float) -> Refusal:
    """What a client is told of a call that has no output."""
    if kind == Ending.TIMED_OUT:
        found = Refusal(504, "timeout", f"the agent did not answer within {limit:g} s")
    elif kind == Ending.DIED:
        found = Refusal(502, "worker_died", "the process that was answering has ended; it was replaced")
    else:
        said = orjson.loads(payload)
        found = Refusal(500, "agent_failed", f"the agent raised {said['type']}; see its trace and the server's log")
        found.__cause__ = _raised(str(said["type"]), str(said["message"]))
        return found
    found.__cause__ = _raised("timeout" if kind == Ending.TIMED_OUT else "worker_died", found.message)
    return found


def _raised(name: str, message: str) -> Exception:
    """An exception that is named as the one in the worker was."""
    kind: type[Exception] = type(name.replace("\0", "") or "Exception", (Exception,), {"__module__": "builtins"})
    return kind(message)


def _went(exchange: Exchange | None) -> None:
    if exchange is not None:
        exchange.disconnected = True
        exchange.status = exchange.status or _GONE


def _note(exchange: Exchange | None, name: str, mime: str, value: object) -> None:
    """Put the agent's input or output on the server span, which is the trace's root."""
    if exchange is not None and runtime.capture:
        text, kind = to_text(value)
        trace.get_current_span(exchange.context).set_attributes({name: text, mime: kind})


def _note_json(exchange: Exchange | None, output: bytes) -> None:
    if exchange is None or not runtime.capture:
        return
    if output[:1] == b'"':
        _note(exchange, names.OUTPUT, names.OUTPUT_MIME, orjson.loads(output))
        return
    text = clean_text(output.decode("utf-8", "replace"))
    span = trace.get_current_span(exchange.context)
    span.set_attributes({names.OUTPUT: text, names.OUTPUT_MIME: JSON})
