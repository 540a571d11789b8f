"""A server of an agent: its door on a loop, its workers, and the versions that move under it.

When the version that is to be served changes, the new one's workers are started first; then new requests go to them,
while the old ones finish what they have. A version that cannot be made ready changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tracekit.errors import TracekitError
from tracekit_collector.service import check_certificate
from tracekit_collector.serving.deployment import Deployment, Split
from tracekit_collector.serving.door import Door, Entrance
from tracekit_collector.serving.metrics import Metrics
from tracekit_collector.serving.pool import Limits
from tracekit_collector.serving.target import Source

_IDLE_SECONDS = 75
_LONGEST_PAUSE = 60.0

logger = logging.getLogger(__name__)


@dataclass
class _Role:
    """One of the two roles that a version can have, and where that version comes from."""

    name: str
    source: Source
    key: str = ""
    failure: str | None = None
    failures: int = 0
    not_before: float = 0.0


class Server:
    """Serves an agent from `start` to `stop`, on a thread of its own.

    Args:
        listener: A socket that listens.
        source: The version that is served.
        entrance: Who may come in.
        limits: How much is taken on.
        canary: Another version, and how much of the requests it gets.
        reload_every: Seconds from one look for another version to the next; 0 for never.
        loop: Makes the event loop.
        certificate: Files of a certificate chain and its private key, PEM: the door then speaks TLS only.
    """

    def __init__(
        self,
        listener: socket.socket,
        source: Source,
        entrance: Entrance,
        *,
        limits: Limits | None = None,
        canary: tuple[Source, float] | None = None,
        reload_every: float = 2.0,
        loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self.split = Split(0.0 if canary is None else canary[1])
        self._listener = listener
        self._roles = [_Role("main", source)]
        if canary is not None:
            self._roles.append(_Role("canary", canary[0]))
        self._every = reload_every
        self._certificate = certificate
        self._loop = loop or new_loop
        self._metrics = Metrics()
        self._reloads = 0
        self._restarts: dict[str, int] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tracekit-serve", daemon=True)
        self._door = Door(
            self.split,
            self._metrics,
            entrance,
            max_body=self.limits.max_body,
            seconds=self.limits.timeout,
            state=self._state,
            gauges=self._gauges,
        )
        self._uvicorn = _Uvicorn(self._config())

    def start(self) -> None:
        """Start the workers, then answer requests.

        Raises:
            TracekitError: The version cannot be made ready.
            SettingError: The certificate cannot be used.
        """
        if self._certificate is not None:
            check_certificate(*self._certificate)
        self._thread.start()
        self.ready.wait()
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    @property
    def running(self) -> bool:
        """Whether the server has not come to an end by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Take no more requests, answer those that are there, end the workers."""
        self._stopping = True
        self._uvicorn.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        loop = self._loop()
        try:
            loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - `start` raises it
            self.failure = error
        finally:
            self.ready.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _serve(self) -> None:
        watching: asyncio.Task[None] | None = None
        try:
            for role in self._roles:
                await self._renew(role)
            watching = asyncio.get_running_loop().create_task(self._watch()) if self._every else None
            self._uvicorn.started_up = self.ready.set
            await self._uvicorn.serve(sockets=[self._listener])
        finally:
            if watching is not None:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
            await asyncio.gather(*self._retiring, *(each.retire() for each in self.split.all()))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            for role in self._roles:
                if time.monotonic() < role.not_before:
                    continue
                try:
                    await self._renew(role)
                    role.failure, role.failures = None, 0
                except TracekitError as error:
                    self._put_off(role, str(error))
                except Exception as error:  # whatever it is, what is served goes on being served
                    logger.exception("looking for another version")
                    self._put_off(role, f"{type(error).__name__}: {error}")

    def _put_off(self, role: _Role, message: str) -> None:
        role.failures += 1
        role.not_before = time.monotonic() + min(_LONGEST_PAUSE, self._every * 2.0 ** min(role.failures, 10))
        if role.failure != message:
            logger.error("the %s version stays as it is: %s", role.name, message)
        role.failure = message

    async def _renew(self, role: _Role) -> None:
        """Serve the version that is to be served, if it is another one than now."""
        key = await asyncio.to_thread(role.source.look)
        if key == role.key:
            return
        target = await asyncio.to_thread(role.source.prepare)
        fresh = Deployment(target, self.limits)
        await fresh.start()
        before: Deployment | None = getattr(self.split, role.name)
        setattr(self.split, role.name, fresh)  # from here on, requests go there
        role.key = target.key
        if before is not None:
            self._reloads += 1
            logger.warning("%s takes over from %s", target.ref, before.target.ref)
            task = asyncio.get_running_loop().create_task(before.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _state(self) -> dict[str, Any]:
        alive = all(each.pool.alive for each in self.split.all()) and bool(self.split.all())
        status = "stopping" if self._stopping else "ready" if alive else "no_worker"
        failing = {role.name: role.failure for role in self._roles if role.failure is not None}
        workers = {each.target.ref: each.pool.alive for each in self.split.all()}
        return {"status": status, "workers": workers, **({"reload_failures": failing} if failing else {})}

    def _gauges(self) -> Mapping[tuple[str, str | None], float]:
        found: dict[tuple[str, str | None], float] = {}
        for name in ("workers", "running", "waiting", "restarts_total"):
            for each in self.split.all():
                pool = each.pool
                value = {
                    "workers": pool.alive,
                    "running": pool.running,
                    "waiting": pool.waiting,
                    "restarts_total": pool.restarts,
                }[name]
                found[name, each.target.version] = value
        found["reloads_total", None] = self._reloads
        found["reload_failing", None] = float(any(role.failure is not None for role in self._roles))
        return found

    def _config(self) -> uvicorn.Config:
        chain, key = self._certificate or (None, None)
        return uvicorn.Config(
            self._door,
            lifespan="off",
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ssl_certfile=chain,
            ssl_keyfile=key,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=int(self.limits.timeout) + 5,
        )


class _Uvicorn(uvicorn.Server):
    """Tells when it listens, and leaves signals to the command."""

    started_up: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_up()


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where it is installed."""
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - not everybody has it
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
