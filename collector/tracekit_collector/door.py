"""The OTLP/HTTP door: an ASGI app that answers success only once the disk has the request.

`POST /v1/traces`, `/v1/logs` and `/v1/metrics` take protobuf and JSON, with gzip, deflate or zstd. Of metrics, those
named `gen_ai.…` are kept and the others counted, so that an SDK that sends all three signals logs no errors. `GET
/health` says that the process lives, `/ready` whether it can keep what it is sent, `/metrics` tells Prometheus
everything that is counted.

Answers follow the OTLP specification (https://opentelemetry.io/docs/specs/otlp/#otlphttp-response): a failed request
is answered with a `google.rpc.Status` in the request's own content type; 429 and 503 carry `Retry-After` and are
worth sending again, all other failures are not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tracekit_collector.admission import ANSWERS, Admission, Limits, RefusedError, Ticket
from tracekit_collector.committer import Committer
from tracekit_collector.encoding import ACCEPTED
from tracekit_collector.health import CONTENT_TYPE
from tracekit_collector.otlp import JSON, PROTOBUF, Kind, media_type, response_body, status_body

__all__ = ["LOOPBACK_ORIGINS", "Door", "Limits"]

LOOPBACK_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages that may send when nothing else is said: those of this machine."""

_PATIENCE = 30.0  # seconds without a byte of the body
_DRAIN = 10.0  # seconds in which a refused body may still come, so that its sender gets to read the answer
_FAILURE_SECONDS = 10.0
_PREFLIGHT_SECONDS = 7200
_KINDS: tuple[Kind, ...] = ("traces", "logs", "metrics")
_RPC_CODE = {404: 5, 405: 12}


class Door:
    """Receives OTLP/HTTP and keeps it in an inbox.

    Args:
        admission: What takes requests in; a committer stands for one without further wishes.
        limits: What to take on, where a committer is given.
        origins: Pages whose scripts may send, as `https://host:port`; `*` for all. Those of this machine always may.
        report: Adds to what `/ready` tells: whether all is well, and facts.
        more: Routes beside the door's own.
    """

    def __init__(
        self,
        admission: Admission | Committer,
        *,
        limits: Limits | None = None,
        origins: Iterable[str] = (),
        report: Callable[[], tuple[bool, dict[str, object]]] = lambda: (True, {}),
        more: Iterable[BaseRoute] = (),
    ) -> None:
        self.admission = admission if isinstance(admission, Admission) else Admission(admission, limits=limits)
        self._report = report
        routes = [Route(f"/v1/{kind}", self._taking(kind), methods=["POST"]) for kind in _KINDS]
        told = {
            "/health": self._health,
            "/healthz": self._health,
            "/ready": self._ready,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_origin_regex=LOOPBACK_ORIGINS,
            allow_methods=["POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
            max_age=_PREFLIGHT_SECONDS,
        )
        self.app = Starlette(
            routes=[*routes, *(Route(path, tell, methods=["GET"]) for path, tell in told.items()), *more],
            middleware=[cors],
            exception_handlers={HTTPException: _no_route},
        )

    async def _health(self, request: Request) -> Response:
        del request
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def _ready(self, request: Request) -> Response:
        del request
        well, facts = self._report()
        failure = self.admission.committer.failure
        broken = failure is not None and time.monotonic() - failure[0] < _FAILURE_SECONDS
        state = "failing" if broken else "ready" if well else "degraded"
        meter = self.admission.meter
        names = (("spans", "traces"), ("logs", "logs"), ("metrics", "metrics"))
        accepted = {name: meter.counted("items_total", signal=signal) for name, signal in names}
        told: dict[str, object] = {
            "status": state,
            "inbox": {"error": failure[1] if failure else None},
            "in_flight_bytes": self.admission.held,
            "accepted": {"requests": meter.counted("requests_total", code="200"), **accepted},
            "refused": meter.counted("refused_items_total"),
            **facts,
        }
        return Response(orjson.dumps(told, default=str), 503 if broken else 200, media_type=JSON)

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(self.admission.meter.text(), headers={"Content-Type": CONTENT_TYPE})

    def _taking(self, kind: Kind) -> Callable[[Request], object]:
        async def take(request: Request) -> Response:
            return await self._receive(kind, request)

        return take

    async def _receive(self, kind: Kind, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        media = media_type(content_type)
        upload = _Upload(request)
        try:
            with await self.admission.enter("http", kind, request.headers.get("authorization")) as ticket:
                if media is None:
                    wanted = f"Content-Type must be {PROTOBUF} or {JSON}, not {content_type[:100]!r}"
                    raise RefusedError("media_type", wanted)  # noqa: TRY301 - answered as any other, below
                body = await upload.read(ticket, self.admission.limits.max_body)
                decoded = await ticket.keep(body, media, upload.coding)
        except RefusedError as refused:
            await upload.drain(4 * self.admission.limits.max_body)
            return _refusal(refused, media or _asked(request))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        return Response(response_body(decoded, media), media_type=media)


class _Upload:
    """The body of one request: what has come of it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._done = False
        self.coding = request.headers.get("content-encoding", "").strip()

    async def read(self, ticket: Ticket, limit: int) -> bytes:
        """The body, whole; refused when it is larger than `limit` or stops coming."""
        length = self._request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            large = f"the body has {length} bytes and the limit is {limit}; send smaller batches"
            raise RefusedError("too_large", large)
        pieces: list[bytes] = []
        while not self._done:
            try:
                piece = await asyncio.wait_for(self._piece(), _PATIENCE)
            except asyncio.TimeoutError:
                self._done = True
                raise RefusedError("slow", f"no byte of the body came for {_PATIENCE:.0f} s") from None
            ticket.hold(len(piece))
            if ticket.held > limit:
                large = f"the body is larger than the limit of {limit} bytes; send smaller batches"
                raise RefusedError("too_large", large)
            pieces.append(piece)
        return b"".join(pieces)

    async def drain(self, limit: int) -> None:
        """Let a refused body come to its end and drop it: a client that still writes would not read the answer."""
        if "100-continue" in self._request.headers.get("expect", "").lower():
            return
        try:
            await asyncio.wait_for(self._drop(limit), _DRAIN)
        except (asyncio.TimeoutError, ClientDisconnect):
            return

    async def _drop(self, limit: int) -> None:
        size = 0
        while not self._done and size <= limit:
            size += len(await self._piece())

    async def _piece(self) -> bytes:
        message = await self._request.receive()
        if message["type"] != "http.request":
            self._done = True
            raise ClientDisconnect
        self._done = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def _asked(request: Request) -> str:
    """The media type to answer in when the request's own is none of ours."""
    wanted = request.headers.get("content-type", "") + request.headers.get("accept", "")
    return PROTOBUF if "protobuf" in wanted else JSON


def _refusal(refused: RefusedError, media: str) -> Response:
    status, code = ANSWERS[refused.reason]
    headers: dict[str, str] = {}
    if refused.retry_seconds is not None:
        headers["Retry-After"] = str(refused.retry_seconds)
    if refused.reason == "coding":
        headers["Accept-Encoding"] = ", ".join(ACCEPTED)
    if refused.reason == "unauthenticated":
        headers["WWW-Authenticate"] = "Bearer"
    if refused.reason == "slow":
        headers["Connection"] = "close"
    return _failed(status, code, refused.message, media, headers)


def _failed(status: int, code: int, message: str, media: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status_body(code, message, media), status, headers=dict(headers or {}), media_type=media)


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    path = request.url.path[:100]
    message = {
        404: f"there is nothing at {path}; send to /v1/traces or /v1/logs",
        405: f"{path} does not take {request.method[:20]}",
    }.get(status, "the request cannot be answered")
    media = media_type(request.headers.get("content-type", "")) or _asked(request)
    return _failed(status, _RPC_CODE.get(status, 13 if status >= 500 else 3), message, media, headers)
