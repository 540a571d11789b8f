"""The running collector: the door on a thread, settling on another, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

import uvicorn

from tracekit.errors import SettingError, StoreBusyError, StoreError, TracekitError
from tracekit_collector.committer import Committer
from tracekit_collector.door import Door, Limits
from tracekit_collector.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self

_GRACE_SECONDS = 5  # for requests that are in flight when the collector is told to stop
_OTHERS_SECONDS = 5.0  # for another process that is settling
_BACKLOG = 512

logger = logging.getLogger(__name__)


class Collector:
    """Takes OTLP over HTTP into a store, and settles it, from `start` to `stop`.

    Args:
        store: Where everything goes; stays open after `stop`.
        host: The address to listen on.
        port: The port to listen on; 0 picks a free one, which `port` then tells.
        settle_every: Seconds from one settling to the next.
        limits: What the door takes on.

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
        settle_every: float = 0.5,
        limits: Limits | None = None,
    ) -> None:
        self.store = store
        self.host = host
        self.port = port
        self._settling = Settling(store, every=settle_every)
        self._limits = limits
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._committer: Committer | None = None

    @property
    def url(self) -> str:
        """Where clients send to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen, receive and settle, from now on.

        Raises:
            SettingError: The address cannot be listened on.
        """
        listener = _listener(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._committer = Committer(self.store.inbox)
        door = Door(self._committer, limits=self._limits, report=self._settling.report)
        config = uvicorn.Config(
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
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._server.serve(sockets=[listener]),), name="tracekit-door", daemon=True
        )
        self._thread.start()
        self._server.ready.wait()
        self._settling.start()

    def stop(self) -> None:
        """Stop listening, finish what is in flight, put everything that was kept into the lake.

        What cannot be settled now stays in the inbox, for whoever opens the store next.
        """
        if self._server is None or self._thread is None or self._committer is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._committer.close()
        self._settling.stop()
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Settling:
    """Settles a store on a thread of its own, whenever its inbox holds something.

    A failure is logged once for each cause, told by `report`, and tried again.

    Args:
        store: The store.
        every: Seconds from one look to the next.
    """

    def __init__(self, store: Store, *, every: float = 0.5) -> None:
        self._store = store
        self._every = every
        self._thread = threading.Thread(target=self._run, name="tracekit-settling", daemon=True)
        self._stopping = threading.Event()
        self._logged = ""
        self.failure: str | None = None
        self.last: float | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Settle what is there once more, then end."""
        self._stopping.set()
        self._thread.join()
        self._settle()

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether settling goes well, and what `/readyz` tells of it."""
        ago = None if self.last is None else round(time.monotonic() - self.last, 3)
        settle: dict[str, object] = {"error": self.failure, "seconds_since": ago}
        try:
            settle["backlog_bytes"] = self._store.settler.backlog_bytes()
        except (StoreError, OSError) as error:
            return False, {"store": str(self._store.location), "settle": {**settle, "error": str(error)}}
        return self.failure is None, {"store": str(self._store.location), "settle": settle}

    def _run(self) -> None:
        # Decorated processes write to the same inbox, so a look is taken even when the door was quiet.
        while not self._stopping.wait(self._every):
            self._settle()

    def _settle(self) -> None:
        try:
            if self._store.settler.pending():
                self._store.settle(timeout=_OTHERS_SECONDS)
            self.failure = None
            self._logged = ""
            self.last = time.monotonic()
        except StoreBusyError:
            self.failure = None  # another process does our work
        except Exception as error:  # noqa: BLE001 - the door goes on, the inbox keeps everything
            self.failure = str(error) if isinstance(error, TracekitError) else f"{type(error).__name__}: {error}"
            if self.failure != self._logged:
                logger.error("settling failed and will be tried again: %s", self.failure)  # noqa: TRY400 - one line, not a traceback
                self._logged = self.failure


class _Server(uvicorn.Server):
    """Tells when it is ready, and leaves signals to the command."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()


def _listener(host: str, port: int) -> socket.socket:
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
    except OverflowError:
        listener.close()
        raise SettingError(f"there is no port {port}; give one from 0 to 65535") from None
    return listener
