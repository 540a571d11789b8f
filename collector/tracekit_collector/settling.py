"""The settle loop of a running collector, and what it tells of itself."""

from __future__ import annotations

import logging
import threading
import time

from tracekit.errors import StoreBusyError, StoreError, TracekitError
from tracekit_collector.store import Store

_OTHERS_SECONDS = 5.0  # for another process that is settling
_WORKERS = 2  # processes that decode, when there is much to decode

logger = logging.getLogger(__name__)


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
        self._mutex = threading.Lock()
        self._unsettled_since: float | None = None  # when the oldest came that no pass has begun with
        self._passing_since: float | None = None  # the same of the pass that runs, or failed
        self.failure: str | None = None
        self.last: float | None = None

    def start(self) -> None:
        """Begin."""
        self._store.settler.employ(_WORKERS)
        self._thread.start()

    def stop(self) -> None:
        """Settle what is there once more, then end."""
        self._stopping.set()
        self._thread.join()
        self._settle()
        self._store.settler.employ(0)

    def arrived(self) -> None:
        """Note that a request was committed just now."""
        with self._mutex:
            if self._unsettled_since is None:
                self._unsettled_since = time.monotonic()

    def lag(self) -> float:
        """For how many seconds the oldest request that this collector knows of has waited to be settled."""
        with self._mutex:
            since = self._unsettled_since if self._passing_since is None else self._passing_since
        return 0.0 if since is None else time.monotonic() - since

    def backlog(self) -> int:
        """How many bytes of the inbox are not in the lake yet."""
        return self._store.settler.backlog_bytes()

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether settling goes well, and what `/ready` tells of it."""
        ago = None if self.last is None else round(time.monotonic() - self.last, 3)
        settle: dict[str, object] = {
            "error": self.failure,
            "seconds_since": ago,
            "lag_seconds": round(self.lag(), 3),
        }
        try:
            settle["backlog_bytes"] = self.backlog()
            settle["quarantined"] = len(self._store.settler.quarantined())
        except (StoreError, OSError) as error:
            return False, {"store": str(self._store.location), "settle": {**settle, "error": str(error)}}
        return self.failure is None, {"store": str(self._store.location), "settle": settle}

    def gauges(self) -> dict[str, float | None]:
        """The same for Prometheus."""
        try:
            backlog: int | None = self.backlog()
            quarantined: int | None = len(self._store.settler.quarantined())
        except (StoreError, OSError):
            backlog = quarantined = None
        return {
            "backlog_bytes": backlog,
            "settle_lag_seconds": self.lag(),
            "settle_failing": float(self.failure is not None),
            "quarantined_files": quarantined,
        }

    def _run(self) -> None:
        # Decorated processes write to the same inbox, so a look is taken even when the door was quiet.
        while not self._stopping.wait(self._every):
            self._settle()

    def _settle(self) -> None:
        with self._mutex:
            if self._passing_since is None:
                self._passing_since, self._unsettled_since = self._unsettled_since, None
        try:
            if self._store.settler.pending():
                with self._mutex:
                    self._passing_since = self._passing_since or time.monotonic()  # by another process's hand
                self._store.settle(timeout=_OTHERS_SECONDS)
            self.failure = None
            self._logged = ""
            self.last = time.monotonic()
            with self._mutex:
                self._passing_since = None
        except StoreBusyError:
            self.failure = None  # another process does our work
        except Exception as error:  # noqa: BLE001 - the door goes on, the inbox keeps everything
            self.failure = str(error) if isinstance(error, TracekitError) else f"{type(error).__name__}: {error}"
            if self.failure != self._logged:
                logger.error("settling failed and will be tried again: %s", self.failure)  # noqa: TRY400 - one line, not a traceback
                self._logged = self.failure
