"""The running collector: both doors on a thread, settling on another, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import uvicorn

from tracekit.errors import SettingError
from tracekit_collector.admission import Admission, Authorise, Forwarder, Limits
from tracekit_collector.api import routes
from tracekit_collector.committer import Committer
from tracekit_collector.door import Door
from tracekit_collector.health import Meter
from tracekit_collector.house import Keeping
from tracekit_collector.settling import Settling
from tracekit_collector.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self

    from tracekit_collector.grpc_door import GrpcDoor

__all__ = ["Collector", "Settling"]

_GRACE_SECONDS = 5  # for requests that are in flight when the collector is told to stop
_IDLE_SECONDS = 75  # a connection may rest: exporters send every few seconds, and one closed under them loses a request
_BACKLOG = 512


class Collector:
    """Takes OTLP over HTTP and gRPC into a store, and settles it, from `start` to `stop`.

    Args:
        store: Where everything goes; stays open after `stop`.
        host: The address to listen on.
        port: The port for HTTP; 0 picks a free one, which `port` then tells.
        grpc_port: The port for gRPC, 0 as above; no such door when not given.
        settle_every: Seconds from one settling to the next.
        limits: What the doors take on.
        certificate: Files of a certificate chain and its private key, PEM: both doors then speak TLS only.
        origins: Pages whose scripts may send, beside those of this machine.
        authorise: Who may come in; everybody when not given.
        pipeline: Changes a decoded request of a kind in place before it is kept, and says whether it did.
        forwarders: Get what was kept, and the metrics that were only counted.

    Example:
        >>> import tempfile
        >>> with Store.open(tempfile.mkdtemp()) as store, Collector(store, port=0) as collector:
        ...     collector.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 4318,
        grpc_port: int | None = None,
        settle_every: float = 0.5,
        limits: Limits | None = None,
        certificate: tuple[Path, Path] | None = None,
        origins: Iterable[str] = (),
        authorise: Authorise | None = None,
        pipeline: Callable[[str, Any], bool] | None = None,
        forwarders: Iterable[Forwarder] = (),
    ) -> None:
        self.store = store
        self.host = host
        self.port = port
        self.grpc_port = grpc_port
        self.meter = Meter()
        self._settling = Settling(store, every=settle_every)
        self._keeping = Keeping(store.location, busy=self._settling.busy)
        self._limits = limits
        self._certificate = certificate
        self._origins = tuple(origins)
        self._hooks: dict[str, Any] = {"authorise": authorise, "pipeline": pipeline, "forwarders": tuple(forwarders)}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._committer: Committer | None = None
        self._admission: Admission | None = None

    @property
    def url(self) -> str:
        """Where clients send to by HTTP."""
        return f"{'http' if self._certificate is None else 'https'}://{self._address}:{self.port}"

    @property
    def grpc_target(self) -> str | None:
        """Where clients send to by gRPC; `None` where that door is not open."""
        return None if self.grpc_port is None else f"{self._address}:{self.grpc_port}"

    @property
    def _address(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def start(self) -> None:
        """Listen, receive and settle, from now on.

        Raises:
            SettingError: An address cannot be listened on, or the certificate cannot be used.
        """
        if self._certificate is not None:
            check_certificate(*self._certificate)
        listener = listening(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._committer = Committer(self.store.inbox, committed=self._settling.arrived)
        self._admission = Admission(
            self._committer,
            limits=self._limits,
            backlog=self._settling.backlog,
            rate=self._settling.rate,
            meter=self.meter,
            **self._hooks,
        )
        self.meter.watch(self._settling.gauges)
        more = routes(self.store, self._reader)
        door = Door(self._admission, origins=self._origins, report=self._settling.report, more=more)
        self._server = _Server(self._config(door), self._grpc_door(self._admission))
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._server.serve(sockets=[listener]),), name="tracekit-door", daemon=True
        )
        self._thread.start()
        self._server.ready.wait()
        if self._server.failure is not None:
            self._thread.join()
            self._committer.close()
            self._admission.close()
            listener.close()
            raise self._server.failure
        if self._server.grpc_door is not None:
            self.grpc_port = self._server.grpc_door.port
        self._settling.start()
        self._keeping.start()

    def _reader(self, header: str | None) -> str | None:
        authorise: Authorise | None = self._hooks["authorise"]
        found = None if authorise is None else authorise(header, "read")
        return found if found is None or isinstance(found, str) else found.project

    def stop(self) -> None:
        """Stop listening, finish what is in flight, put everything that was kept into the lake.

        What cannot be settled now stays in the inbox, for whoever opens the store next.
        """
        if self._server is None or self._thread is None or self._committer is None or self._admission is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._admission.close()
        self._committer.close()
        self._keeping.stop()
        self._settling.stop()
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self, door: Door) -> uvicorn.Config:
        chain, key = self._certificate or (None, None)
        return uvicorn.Config(
            door.app,
            http="h11",
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=_IDLE_SECONDS,
            ssl_certfile=chain,
            ssl_keyfile=key,
        )

    def _grpc_door(self, admission: Admission) -> GrpcDoor | None:
        if self.grpc_port is None:
            return None
        from tracekit_collector.grpc_door import GrpcDoor  # noqa: PLC0415 - only where that door is wanted

        return GrpcDoor(admission, host=self.host, port=self.grpc_port, certificate=self._certificate)


class _Server(uvicorn.Server):
    """Opens both doors, tells when they are, and leaves signals to the command."""

    def __init__(self, config: uvicorn.Config, grpc_door: GrpcDoor | None) -> None:
        super().__init__(config)
        self.grpc_door = grpc_door
        self.ready = threading.Event()
        self.failure: Exception | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            if self.grpc_door is not None:
                await self.grpc_door.start()
            await super().startup(sockets)
        except SettingError as error:
            self.failure = error
            self.should_exit = True
        finally:
            self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = [] if self.grpc_door is None else [self.grpc_door.stop(_GRACE_SECONDS)]
        await asyncio.gather(super().shutdown(sockets), *closing)


def check_certificate(chain: Path, key: Path) -> None:
    """See whether files serve for TLS.

    Args:
        chain: The certificate chain, PEM.
        key: Its private key, PEM, without a password.

    Raises:
        SettingError: They do not.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(chain, key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        wanted = "they must be a PEM certificate chain and its private key without a password"
        raise SettingError(f"cannot use {chain} with {key} for TLS: {reason}; {wanted}") from None


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on an address of this machine.

    Args:
        host: The address, or a name of it.
        port: The port; 0 for a free one.

    Raises:
        SettingError: It cannot be listened on.
    """
    if not 0 <= port <= 65_535:  # some systems would take what is left of it
        raise SettingError(f"there is no port {port}; give one from 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingError(
            f"cannot listen on {host}: {error.strerror or error}; give an address of this machine"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        mend = "stop what has it, or give another --port (0 picks a free one)"
        raise SettingError(f"cannot listen on {host}:{port}: {error.strerror or error}; {mend}") from None
    return listener
