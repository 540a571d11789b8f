"""The OTLP/HTTP door: an ASGI app that answers success only once the disk has the request.

`POST /v1/traces` and `/v1/logs` take protobuf and JSON, with gzip, deflate or zstd. `POST /v1/metrics` reads and
counts metrics and keeps none, so that an SDK that sends all three signals logs no errors. `GET /healthz` says that
the process lives, `GET /readyz` whether it can keep what it is sent, and what it has kept so far.

Answers follow the OTLP specification (https://opentelemetry.io/docs/specs/otlp/#otlphttp-response): a failed request
is answered with a `google.rpc.Status` in the request's own content type; 429 and 503 carry `Retry-After` and are
worth sending again, all other failures are not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tracekit.errors import DecodeError, StoreError
from tracekit_collector.committer import Committer
from tracekit_collector.encoding import ACCEPTED, TooLargeError, UnknownCodingError, inflate
from tracekit_collector.otlp import (
    JSON,
    PROTOBUF,
    Decoded,
    Kind,
    decode,
    media_type,
    refusal_message,
    response_body,
    status_body,
)

MAX_BODY = 64 << 20

_IN_FLIGHT = 128 << 20
_OFF_LOOP = 1 << 17  # a body of this size is decoded on a thread, so that others need not wait for it
_PATIENCE = 30.0  # seconds without a byte of the body
_DRAIN = 10.0  # seconds in which a refused body may still come, so that its sender gets to read the answer
_RETRY_SECONDS = 2
_TELL_AGAIN = 60.0  # seconds before the log repeats itself
_FAILURE_SECONDS = 10.0

_RPC_CODE = {400: 3, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 500: 13, 503: 14}

logger = logging.getLogger(__name__)


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The request is answered with this status and message."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass
class Limits:
    """What the door takes on.

    Args:
        max_body: Largest body, in bytes, as sent and again when decompressed.
        in_flight: Bytes of bodies that may be held at once, before they are on the disk.
    """

    max_body: int = MAX_BODY
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.in_flight = self.in_flight or max(_IN_FLIGHT, 2 * self.max_body)


class Door:
    """Receives OTLP/HTTP and keeps it in an inbox.

    Args:
        committer: Where requests are kept.
        limits: What to take on.
        report: Adds to what `/readyz` tells: whether all is well, and facts.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        limits: Limits | None = None,
        report: Callable[[], tuple[bool, dict[str, object]]] = lambda: (True, {}),
    ) -> None:
        self._committer = committer
        self._limits = limits or Limits()
        self._report = report
        self._held = 0
        self._told = (0.0, "")
        self.counts: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/v1/traces", self._traces, methods=["POST"]),
                Route("/v1/logs", self._logs, methods=["POST"]),
                Route("/v1/metrics", self._metrics, methods=["POST"]),
                Route("/healthz", self._healthz, methods=["GET"]),
                Route("/readyz", self._readyz, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _no_route},
        )

    async def _traces(self, request: Request) -> Response:
        return await self._receive("traces", request)

    async def _logs(self, request: Request) -> Response:
        return await self._receive("logs", request)

    async def _metrics(self, request: Request) -> Response:
        return await self._receive("metrics", request)

    async def _healthz(self, request: Request) -> Response:
        del request
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def _readyz(self, request: Request) -> Response:
        del request
        well, facts = self._report()
        failure = self._committer.failure
        broken = failure is not None and time.monotonic() - failure[0] < _FAILURE_SECONDS
        state = "failing" if broken else "ready" if well else "degraded"
        told: dict[str, object] = {
            "status": state,
            "inbox": {"error": failure[1] if failure else None},
            "in_flight_bytes": self._held,
            "accepted": {kind: self.counts[kind] for kind in ("requests", "spans", "logs", "metrics")},
            "refused": self.counts["refused"],
            **facts,
        }
        return Response(orjson.dumps(told, default=str), 503 if broken else 200, media_type=JSON)

    async def _receive(self, kind: Kind, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        media = media_type(content_type)
        upload = _Upload(request, self)
        try:
            if media is None:  # said here, so that the answer waits for the body's end as any other does
                raise _Refused(  # noqa: TRY301
                    415, f"Content-Type must be {PROTOBUF} or {JSON}, not {content_type[:100]!r}"
                )
            body = await upload.read(self._limits.max_body)
            decoded = await self._decoded(kind, body, media, upload)
            await self._keep(decoded)
        except _Refused as refused:
            await upload.drain(4 * self._limits.max_body)
            return _failed(refused.status, refused.message, media or _asked(request), refused.headers)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        finally:
            upload.release()
        self._count(decoded)
        return Response(response_body(decoded, media), media_type=media)

    async def _decoded(self, kind: Kind, body: bytes, media: str, upload: _Upload) -> Decoded:
        try:
            if upload.coding:
                body = await asyncio.to_thread(inflate, body, upload.coding, limit=self._limits.max_body)
                upload.hold(len(body))
            if len(body) > _OFF_LOOP:
                return await asyncio.to_thread(decode, kind, body, media)
            return decode(kind, body, media)
        except TooLargeError as error:
            raise _Refused(413, str(error)) from None
        except UnknownCodingError as error:
            raise _Refused(415, str(error), {"Accept-Encoding": ", ".join(ACCEPTED)}) from None
        except DecodeError as error:
            raise _Refused(400, str(error)) from None

    async def _keep(self, decoded: Decoded) -> None:
        if decoded.kind == "metrics" or not decoded.items:
            return
        try:
            await asyncio.wrap_future(self._committer.keep(decoded.kind, decoded.payload))
        except StoreError as error:
            self._tell(str(error))
            raise _Refused(503, str(error), {"Retry-After": str(_RETRY_SECONDS)}) from None

    def _count(self, decoded: Decoded) -> None:
        self.counts["requests"] += 1
        self.counts["spans" if decoded.kind == "traces" else decoded.kind] += decoded.items
        if decoded.refusals:
            self.counts["refused"] += len(decoded.refusals)
            self._tell(refusal_message(decoded))

    def _tell(self, message: str) -> None:
        now = time.monotonic()
        if message != self._told[1] or now - self._told[0] > _TELL_AGAIN:
            logger.warning("%s", message)
            self._told = (now, message)

    def hold(self, size: int) -> None:
        """Take `size` bytes of the bound on what is in flight; 429 to the client when they are not there."""
        if self._held + size > self._limits.in_flight:
            bound = self._limits.in_flight
            message = f"{self._held} bytes wait to be written and the bound is {bound}; send again later"
            raise _Refused(429, message, {"Retry-After": str(_RETRY_SECONDS)})
        self._held += size

    def let_go(self, size: int) -> None:
        """Give back what `hold` took."""
        self._held -= size


class _Upload:
    """The body of one request: what has come of it, and the bytes it holds of the bound."""

    def __init__(self, request: Request, door: Door) -> None:
        self._request = request
        self._door = door
        self._held = 0
        self._done = False
        self.coding = request.headers.get("content-encoding", "").strip()

    async def read(self, limit: int) -> bytes:
        """The body, whole; refused when it is larger than `limit` or stops coming."""
        length = self._request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _Refused(413, f"the body has {length} bytes and the limit is {limit}; send smaller batches")
        pieces: list[bytes] = []
        while not self._done:
            try:
                piece = await asyncio.wait_for(self._piece(), _PATIENCE)
            except asyncio.TimeoutError:
                self._done = True
                slow = f"no byte of the body came for {_PATIENCE:.0f} s"
                raise _Refused(408, slow, {"Connection": "close"}) from None
            self.hold(len(piece))
            if self._held > limit:
                raise _Refused(413, f"the body is larger than the limit of {limit} bytes; send smaller batches")
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

    def hold(self, size: int) -> None:
        """Take `size` bytes of the bound, until `release`."""
        self._door.hold(size)
        self._held += size

    def release(self) -> None:
        """Give back all that was held."""
        self._door.let_go(self._held)
        self._held = 0

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


def _failed(status: int, message: str, media: str, headers: Mapping[str, str] | None = None) -> Response:
    body = status_body(_RPC_CODE.get(status, 2), message, media)
    return Response(body, status, headers=dict(headers or {}), media_type=media)


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    path = request.url.path[:100]
    message = {
        404: f"there is nothing at {path}; send to /v1/traces or /v1/logs",
        405: f"{path} does not take {request.method[:20]}",
    }.get(status, "the request cannot be answered")
    return _failed(status, message, media_type(request.headers.get("content-type", "")) or _asked(request), headers)
