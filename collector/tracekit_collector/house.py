"""Keeping house: what a store that runs for long needs now and then, to stay quick and no larger than asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit._locks import held
from tracekit.errors import StoreBusyError, StoreError, TracekitError
from tracekit.settings import setting
from tracekit_collector.compaction import LARGE, Join, compact
from tracekit_collector.joining import join, join_apart
from tracekit_collector.renormalise import renormalise, reprice
from tracekit_collector.retention import Removed, Rule, retain, rules_from
from tracekit_collector.schema import TABLES

if TYPE_CHECKING:
    from tracekit_collector.store import Store

KEPT_HOURS = 1

_JOIN_SECONDS = 5.0
_WEBHOOKS_SECONDS = 2.0
_TIDY_SECONDS = 300.0
_RETAIN_SECONDS = 3_600.0
_ENTRIES = 100  # so many entries of a Delta log may come before it is shortened
_PATIENCE = 60.0
_BRIEF = 10.0
_BUSY_BYTES = 4 << 20
_BUSY_FILES = 320  # so many may wait to be joined while settling needs the machine

logger = logging.getLogger(__name__)


class House:
    """The upkeep of a store; one process at a time does it.

    Args:
        store: The store.
        clock: Tells seconds that only grow.
        joined: Writes joined files for `tend`: `joining.join` or `joining.join_apart`.
        busy: Whether settling needs the machine more than joining does; what waits in the inbox tells when not given.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        joined: Join = join,
        busy: Callable[[], bool] | None = None,
    ) -> None:
        self._store = store
        self._joined = joined
        self._busy = busy or (lambda: store.settler.backlog_bytes() > _BUSY_BYTES)
        self._clock = clock
        begun = clock()
        self._due = {"webhooks": begun, "join": begun, "tidy": begun + _TIDY_SECONDS, "retain": begun + 60.0}
        self._logged = ""

    def tend(self) -> bool:
        """Do what is due; quick where nothing is. A failure is logged, and tried again when it is due again.

        Returns:
            Whether anything was due and done.
        """
        now = self._clock()
        due = [name for name, at in self._due.items() if at <= now]
        if not due:
            return False
        every = {"join": _JOIN_SECONDS, "webhooks": _WEBHOOKS_SECONDS, "tidy": _TIDY_SECONDS, "retain": _RETAIN_SECONDS}
        try:
            with held(self._store.location / ".house.lock", timeout=0) as ours:
                for name in due if ours else ():
                    getattr(self, f"_{name}")()
            self._logged = ""
        except (TracekitError, OSError) as error:
            if str(error) != self._logged:
                logger.warning("the store %s could not be tended: %s", self._store.location, error)
                self._logged = str(error)
            return False
        finally:
            for name in due:
                self._due[name] = self._clock() + every[name]
        return ours

    def compact(self, *, every: bool = True, done: Callable[[int], object] | None = None) -> dict[str, int]:
        """Join small files; how many of each table.

        Args:
            every: However few or new they are.
            done: Called with a number of files as they are joined.
        """
        with self._alone():
            return {table: compact(self._store.lake, table, every=every, done=done) for table in TABLES}

    def vacuum(self, *, hours: int = KEPT_HOURS, dry_run: bool = False) -> dict[str, int]:
        """Take files off the disk that were replaced longer ago than this; how many of each table.

        Args:
            hours: With 0 nothing else may write to the lake. Settling is held up meanwhile, whatever the hours: after
                a clock's jump forward what it has written and not committed would look old.
            dry_run: Only count them.
        """
        with self._alone(settling=not dry_run):
            removed = {table: self._store.lake.vacuum(table, hours=hours, dry_run=dry_run) for table in TABLES}
            if not dry_run:
                for table in TABLES:
                    self._store.lake.shorten_log(table)
            return removed

    def retain(self, rules: list[Rule] | None = None, *, dry_run: bool = False) -> Removed | None:
        """Remove what the rules do not keep.

        Args:
            rules: The rules; those of the setting `retain` when not given.
            dry_run: Only say what would go.

        Returns:
            What went; `None` where there is no rule.

        Raises:
            SettingError: The setting is not written as it should be.
        """
        known = rules_from(setting("retain") or "") if rules is None else rules
        if not known:
            return None
        with self._alone():
            return retain(self._store, known, dry_run=dry_run)

    def renormalise(self, *, every: bool = False, done: Callable[[int], object] | None = None) -> int:
        """Derive the columns of stored spans again; how many.

        Args:
            every: Also those that this version has derived.
            done: Called with the number of rows of each file that is done.
        """
        with self._alone():
            return renormalise(self._store, every=every, done=done)

    def reprice(self, *, done: Callable[[int], object] | None = None) -> int:
        """Reckon what calls cost again; how many spans were looked at.

        Args:
            done: Called with the number of rows of each file that is done.
        """
        with self._alone():
            return reprice(self._store, done=done)

    @contextmanager
    def _alone(self, *, settling: bool = False) -> Iterator[None]:
        try:
            with held(self._store.location / ".house.lock", timeout=_PATIENCE) as ours:
                if not ours:
                    raise StoreBusyError(
                        f"another process has been tending {self._store.location} for {_PATIENCE:.0f} s"
                    )
                if not settling:
                    yield
                    return
                with held(self._store.inbox / ".settle.lock", timeout=_PATIENCE) as quiet:
                    if not quiet:
                        raise StoreBusyError(f"another process has been settling for {_PATIENCE:.0f} s; try again")
                    yield
        except OSError as error:  # a full disk, above all
            raise StoreError(f"cannot tend {self._store.location}: {error.strerror or error}") from error

    def _join(self) -> None:
        lake, busy = self._store.lake, self._busy()
        for table in TABLES:
            if not busy or sum(file.bytes < LARGE for file in lake.entries(table)) > _BUSY_FILES:
                compact(lake, table, joined=self._joined)

    def _webhooks(self) -> None:
        self._store.catalog.webhooks.deliver()

    def _tidy(self) -> None:
        # Settling writes files before it commits them: after a clock's jump forward those too would look old.
        with held(self._store.inbox / ".settle.lock", timeout=_BRIEF) as quiet:
            for table in TABLES if quiet else ():
                self._store.lake.vacuum(table, hours=KEPT_HOURS)
                if self._store.lake.log_entries(table) > _ENTRIES:
                    self._store.lake.shorten_log(table)

    def _retain(self) -> None:
        rules = rules_from(setting("retain") or "")
        if rules:
            retain(self._store, rules)


class Keeping:
    """Tends a store on a thread of its own, through a handle of its own, from `start` to `stop`.

    Args:
        location: The store's folder.
        every: Seconds from one look at what is due to the next.
        busy: As for `House`.
    """

    def __init__(self, location: Path, *, every: float = 1.0, busy: Callable[[], bool] | None = None) -> None:
        self._location = location
        self._every = every
        self._busy = busy
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracekit-keeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        from tracekit_collector.store import Store  # noqa: PLC0415 - the store's own modules import this one's

        try:
            with Store.open(self._location) as store:
                house = House(store, joined=join_apart, busy=self._busy)
                while not self._stopping.wait(self._every):
                    house.tend()
        except TracekitError as error:
            logger.warning("the store %s will not be tended: %s", self._location, error)
