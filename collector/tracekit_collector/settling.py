"""The settle loop of a running collector, and what it tells of itself."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from tracekit.errors import StoreBusyError, StoreError, TracekitError
from tracekit_collector.store import Store

_OTHERS_SECONDS = 5.0  # for another process that is settling
_TOGETHER = 0.05  # seconds; what arrives within them counts as one arrival
_WORKERS = 2  # processes that decode, when there is much to decode
_LOOKED_BACK = 10.0  # seconds
_BUSY = 0.6  # of them

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
        self._taken = 0  # bytes that were committed since the start
        self._arrivals: deque[tuple[float, int]] = deque()  # when, and how many had been committed by then
        self._worked: deque[tuple[float, float]] = deque(maxlen=256)  # from when to when settling was at work
        self._began: float | None = None  # and since when it is
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

    def arrived(self, size: int) -> None:
        """Note that so many bytes were committed just now."""
        now = time.monotonic()
        with self._mutex:
            self._taken += size
            if self._arrivals and now - self._arrivals[-1][0] < _TOGETHER:
                self._arrivals[-1] = (self._arrivals[-1][0], self._taken)
            else:
                self._arrivals.append((now, self._taken))

    def lag(self, backlog: int) -> float:
        """For how many seconds the oldest request that this collector took has waited to be settled.

        Args:
            backlog: How many bytes wait; the inbox is settled in the order in which it was filled, or nearly.
        """
        with self._mutex:
            while self._arrivals and (backlog == 0 or self._arrivals[0][1] <= self._taken - backlog):
                self._arrivals.popleft()
            return time.monotonic() - self._arrivals[0][0] if self._arrivals else 0.0

    def backlog(self) -> int:
        """How many bytes of the inbox are not in the lake yet."""
        return self._store.settler.backlog_bytes()

    def rate(self) -> float | None:
        """How many bytes of the inbox are settled a second, where enough were settled to tell."""
        return self._store.settler.rate

    def busy(self) -> bool:
        """Whether settling has been at work for most of the last ten seconds."""
        now = time.monotonic()
        since = now - _LOOKED_BACK
        with self._mutex:
            while self._worked and self._worked[0][1] <= since:
                self._worked.popleft()
            spent = sum(end - max(begin, since) for begin, end in self._worked)
            if self._began is not None:
                spent += now - max(self._began, since)
        return spent > _BUSY * _LOOKED_BACK

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether settling goes well, and what `/ready` tells of it."""
        ago = None if self.last is None else round(time.monotonic() - self.last, 3)
        settle: dict[str, object] = {"error": self.failure, "seconds_since": ago}
        try:
            settle["backlog_bytes"] = backlog = self.backlog()
            settle["lag_seconds"] = round(self.lag(backlog), 3)
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
            "settle_lag_seconds": None if backlog is None else self.lag(backlog),
            "settle_failing": float(self.failure is not None),
            "quarantined_files": quarantined,
        }

    def _run(self) -> None:
        # Decorated processes write to the same inbox, so a look is taken even when the door was quiet.
        while not self._stopping.wait(self._every):
            began = time.monotonic()
            with self._mutex:
                self._began = began
            self._settle()
            with self._mutex:
                self._worked.append((began, time.monotonic()))
                self._began = None

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
