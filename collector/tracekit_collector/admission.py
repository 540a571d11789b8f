"""The one way in: what both doors do with a request, from its arrival to the moment its acknowledgement may go out.

Limits and tokens first, then the body is unfolded, decoded and checked, put through the processors, and committed.
Bytes count against one bound from their arrival to the end, whichever door they came by. When settling falls behind,
each request waits a little longer for its acknowledgement, and beyond a bound it is refused until settling has caught
up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tracekit import attributes as names
from tracekit.errors import DecodeError, StoreError, TracekitError
from tracekit_collector.backlog import Backlog
from tracekit_collector.committer import Committer
from tracekit_collector.encoding import TooLargeError, UnknownCodingError, inflate
from tracekit_collector.health import Meter
from tracekit_collector.otlp import Decoded, Kind, decode, genai_metrics, refusal_message, serialized_again

if TYPE_CHECKING:
    from typing_extensions import Self

    from tracekit_collector.access import Grant

MAX_BODY = 64 << 20
RETRY_SECONDS = 2

_IN_FLIGHT = 128 << 20
_REQUESTS = 512
_BACKLOG = 256 << 20
_THREADS = 3
_OFF_LOOP = 1 << 17  # a body of this size is decoded on a thread, so that others need not wait for it
_LARGE = 1 << 19  # of bodies of this size one is decoded at a time: they unfold to several times as much
_SIGNED = names.PRINCIPAL.encode()
_TELL_AGAIN = 60.0  # seconds before the log repeats itself

logger = logging.getLogger(__name__)

Reason = Literal[
    "malformed",
    "unauthenticated",
    "forbidden",
    "slow",
    "too_large",
    "media_type",
    "coding",
    "busy",
    "behind",
    "unavailable",
]

ANSWERS: dict[Reason, tuple[int, int]] = {
    "malformed": (400, 3),
    "unauthenticated": (401, 16),
    "forbidden": (403, 7),
    "slow": (408, 4),
    "too_large": (413, 3),
    "media_type": (415, 3),
    "coding": (415, 3),
    "busy": (429, 8),
    "behind": (503, 14),
    "unavailable": (503, 14),
}
"""The HTTP status and the gRPC code that answer each reason; the last three are worth sending again."""

_AGAIN = frozenset({"busy", "behind", "unavailable"})


class RefusedError(TracekitError):
    """A request is not taken.

    Args:
        reason: Why, as one of the words of `ANSWERS`.
        message: What was wrong and what to do.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message

    @property
    def retry_seconds(self) -> int | None:
        """When to send again; `None` where that would not help."""
        return RETRY_SECONDS if self.reason in _AGAIN else None


@dataclass
class Limits:
    """What the doors take on.

    Args:
        max_body: Largest body, in bytes, as sent and again when decompressed.
        in_flight: Bytes of bodies that may be held at once, before they are on the disk.
        requests: How many requests may be under way at once.
        backlog: Bytes that may wait in the inbox to be settled. From an eighth of it on, acknowledgements slow down;
            no more than is settled in 2.5 s may wait, so that queries see what arrived soon.
    """

    max_body: int = MAX_BODY
    in_flight: int = 0
    requests: int = _REQUESTS
    backlog: int = _BACKLOG

    def __post_init__(self) -> None:
        self.in_flight = self.in_flight or max(_IN_FLIGHT, 2 * self.max_body)


class Authorise(Protocol):
    """Lets a request in, or raises an error with a `status` of 401 or 403."""

    def __call__(self, header: str | None, kind: Literal["write", "read"], /) -> Grant | str | None:
        """What the request may do, or the project alone that it is confined to, `None` for all."""


class Forwarder(Protocol):
    """Sends on what was kept."""

    def offer(self, kind: Kind, payload: bytes, /) -> object:
        """Take a serialized request."""


class Admission:
    """Takes requests from both doors into an inbox.

    Args:
        committer: Where requests are kept.
        limits: What to take on.
        authorise: Who may come in; everybody when not given.
        pipeline: Changes a decoded request of a kind in place, and says whether it did.
        forwarders: Get what was kept, and the metrics that were only counted.
        backlog: Measures how many bytes wait to be settled.
        rate: Tells how many of them are settled a second.
        meter: Counts what happens.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        limits: Limits | None = None,
        authorise: Authorise | None = None,
        pipeline: Callable[[str, Any], bool] | None = None,
        forwarders: Iterable[Forwarder] = (),
        backlog: Callable[[], int] | None = None,
        rate: Callable[[], float | None] = lambda: None,
        meter: Meter | None = None,
    ) -> None:
        self.committer = committer
        self.limits = limits or Limits()
        self.meter = meter or Meter()
        self._authorise = authorise
        self._pipeline = pipeline
        self._forwarders = list(forwarders)
        self._backlog = Backlog(backlog, self.limits.backlog, rate=rate) if backlog is not None else None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tracekit-decoding")
        self._gate = ThreadPoolExecutor(
            1, thread_name_prefix="tracekit-access"
        )  # large bodies hold up nobody at the door
        self._mutex = threading.Lock()
        self._large = threading.Lock()
        self._held = 0
        self._requests = 0
        self._told = (0.0, "")
        self.meter.watch(self._gauges)

    @property
    def held(self) -> int:
        """Bytes that are in flight."""
        return self._held

    async def enter(self, door: str, kind: Kind, header: str | None) -> Ticket:
        """Let a request begin.

        Args:
            door: By which door it comes: `http` or `grpc`.
            kind: What it brings.
            header: Its `Authorization`.

        Raises:
            RefusedError: It may not, or too many others are under way.
        """
        ticket = Ticket(self, door, kind)
        try:
            if self._requests > self.limits.requests:
                raise RefusedError("busy", f"{self.limits.requests} requests are under way; send again later")  # noqa: TRY301 - the ticket must go back
            if self._authorise is not None:
                ticket.project, ticket.grant = await self._off_loop(self._allowed, header, threads=self._gate)
        except RefusedError as refused:
            ticket.refuse(refused)
            ticket.close()
            raise
        return ticket

    def close(self) -> None:
        """End the threads."""
        for threads in (self._threads, self._gate):
            threads.shutdown(wait=False)

    def hold(self, size: int) -> None:
        """Take `size` bytes of the bound on what is in flight, or refuse the request."""
        with self._mutex:
            if self._held + size <= self.limits.in_flight:
                self._held += size
                return
        bound = self.limits.in_flight
        raise RefusedError("busy", f"{self._held} bytes wait to be written and the bound is {bound}; send again later")

    def let_go(self, size: int) -> None:
        """Give back what `hold` took."""
        with self._mutex:
            self._held -= size

    def begun(self, change: int) -> None:
        """Note that a request begins or ends."""
        with self._mutex:
            self._requests += change

    def tell(self, message: str) -> None:
        """Log a message, but not over and over."""
        now = time.monotonic()
        if message != self._told[1] or now - self._told[0] > _TELL_AGAIN:
            logger.warning("%s", message)
            self._told = (now, message)

    async def keep(self, ticket: Ticket, body: bytes, media: str, coding: str) -> Decoded:
        """Decode, process and commit a body; on return the disk has what is to be kept of it."""
        if coding or len(body) > _OFF_LOOP or self._pipeline is not None or ticket.project is not None:
            prepared: tuple[Decoded, bytes] = await self._off_loop(self._prepare, ticket, body, media, coding)
            decoded, whole = prepared
        else:
            decoded, whole = self._prepare(ticket, body, media, coding)
        if decoded.payload and decoded.items:
            await self._commit(decoded)
        if whole and self._forwarders and decoded.items:
            await self._off_loop(self._forward, decoded.kind, whole)
        self._count(decoded)
        return decoded

    async def _off_loop(
        self, function: Callable[..., Any], *arguments: Any, threads: ThreadPoolExecutor | None = None
    ) -> Any:
        try:
            waiting = asyncio.get_running_loop().run_in_executor(threads or self._threads, function, *arguments)
        except RuntimeError:  # the threads were ended
            raise RefusedError("unavailable", "the collector is stopping; send the request again in a moment") from None
        return await waiting

    def _allowed(self, header: str | None) -> tuple[str | None, Grant | None]:
        try:
            found = None if self._authorise is None else self._authorise(header, "write")
            return (found, None) if found is None or isinstance(found, str) else (found.project, found)
        except StoreError as error:
            self.tell(str(error))
            raise RefusedError("unavailable", str(error)) from None
        except TracekitError as error:
            status = getattr(error, "status", 403)
            raise RefusedError("unauthenticated" if status == 401 else "forbidden", str(error)) from None

    def _prepare(self, ticket: Ticket, body: bytes, media: str, coding: str) -> tuple[Decoded, bytes]:
        """The request that is to be kept, and the payload that goes on to others."""
        try:
            if coding:
                body = inflate(body, coding, limit=self.limits.max_body, took=ticket.hold)
            if len(body) > _LARGE:
                with self._large:
                    return self._decoded(ticket, body, media)
            return self._decoded(ticket, body, media)
        except TooLargeError as error:
            raise RefusedError("too_large", str(error)) from None
        except UnknownCodingError as error:
            raise RefusedError("coding", str(error)) from None
        except DecodeError as error:
            raise RefusedError("malformed", str(error)) from None
        except StoreError as error:  # a processor that must not be left out
            self.tell(str(error))
            raise RefusedError("unavailable", str(error)) from None
        except RefusedError:
            raise
        except TracekitError as error:  # none of it may be sent
            raise RefusedError("forbidden", str(error)) from None

    def _decoded(self, ticket: Ticket, body: bytes, media: str) -> tuple[Decoded, bytes]:
        decoded = decode(ticket.kind, body, media)
        changed = False
        if ticket.grant is not None or (ticket.kind == "logs" and _SIGNED in decoded.payload):
            from tracekit_collector import access, enforcement  # noqa: PLC0415 - bring the catalog, which few doors need

            decoded = enforcement.enforced(decoded, ticket.grant or access.OPEN)
        if ticket.project is not None:
            from tracekit_collector.access import confine  # noqa: PLC0415 - brings the catalog, which few doors need

            changed = confine(decoded.request, ticket.project)
        if self._pipeline is not None and decoded.items:
            changed = self._pipeline(ticket.kind, decoded.request) or changed
        if changed:
            decoded = serialized_again(decoded)
        whole = decoded.payload
        if ticket.kind == "metrics":
            decoded = replace(decoded, payload=genai_metrics(decoded))
        # What was parsed takes several times its body's room, and nobody reads it any more.
        return replace(decoded, request=type(decoded.request)()), whole

    async def _commit(self, decoded: Decoded) -> None:
        if self._backlog is not None:
            delay = self._backlog.delay()
            if delay is None:
                behind = f"{self._backlog.size()} bytes wait to be settled and the bound is {self._backlog.bound()}"
                self.tell("more comes in than can be settled; senders are told to wait")
                raise RefusedError("behind", f"{behind}; send again later")
            if delay > 0:
                await asyncio.sleep(delay)
        try:
            await asyncio.wrap_future(self.committer.keep(decoded.kind, decoded.payload))
        except StoreError as error:
            self.tell(str(error))
            raise RefusedError("unavailable", str(error)) from None
        if self._backlog is not None:
            self._backlog.grew(len(decoded.payload))

    def _forward(self, kind: Kind, payload: bytes) -> None:
        for forwarder in self._forwarders:
            try:
                forwarder.offer(kind, payload)
            except Exception as error:  # noqa: BLE001 - what is kept here is kept, whatever becomes of the copy
                self.tell(f"{kind} could not be handed to a forwarder: {type(error).__name__}: {error}")

    def _count(self, decoded: Decoded) -> None:
        if decoded.items:
            self.meter.count("items_total", decoded.items, signal=decoded.kind)
        if decoded.refused:
            self.meter.count("refused_items_total", decoded.refused, signal=decoded.kind)
        if decoded.refused or decoded.cuts:
            self.tell(refusal_message(decoded))

    def _gauges(self) -> dict[str, float | None]:
        return {
            "in_flight_bytes": self._held,
            "in_flight_requests": self._requests,
            "queue_depth": self.committer.waiting(),
        }


class Ticket:
    """One request under way, and the bytes that it holds; a context manager that gives them back.

    Args:
        admission: What let it in.
        door: By which door it came.
        kind: What it brings.
    """

    def __init__(self, admission: Admission, door: str, kind: Kind) -> None:
        self.kind: Kind = kind
        self.project: str | None = None
        self.grant: Grant | None = None
        self.held = 0
        self._admission = admission
        self._door = door
        self._began = time.monotonic()
        self._code: int | None = None
        admission.begun(1)

    def hold(self, size: int) -> None:
        """Take bytes of the bound until the end, or refuse the request."""
        self._admission.hold(size)
        self.held += size

    async def keep(self, body: bytes, media: str, coding: str = "") -> Decoded:
        """Take the body in; on return the disk has it.

        Args:
            body: The body as it came, already held.
            media: `application/x-protobuf` or `application/json`.
            coding: Its content coding, if any.

        Raises:
            RefusedError: It cannot be read or not be kept.
        """
        decoded = await self._admission.keep(self, body, media, coding)
        self._code = 200
        self._admission.meter.acknowledged(time.monotonic() - self._began)
        return decoded

    def refuse(self, refused: RefusedError) -> None:
        """Note why the request is not taken."""
        self._code = ANSWERS[refused.reason][0]
        self._admission.meter.count("refusals_total", reason=refused.reason)

    def close(self) -> None:
        """Give back what was held."""
        self._admission.let_go(self.held)
        self._admission.begun(-1)
        self.held = 0
        code = "gone" if self._code is None else str(self._code)
        self._admission.meter.count("requests_total", door=self._door, signal=self.kind, code=code)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RefusedError):
            self.refuse(error)
        self.close()
