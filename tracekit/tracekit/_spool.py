"""The spool: requests that could not be delivered, on the disk, oldest first, until an endpoint takes them.

A request is one file, `<nanoseconds>-<process>-<number>.<signal>`, that holds the body as it is sent, so that a repeat
is the same to the byte and a collector can know it. It appears under its name only when it is whole, and is removed
only when it was taken or refused for good. One process at a time sends what is spooled; it holds the folder's lock.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tracekit import _guard
from tracekit._locks import try_lock
from tracekit.errors import StoreError

_RESCAN = 32
_STALE_SECONDS = 3600


class Spool:
    """A folder of requests for one endpoint.

    Args:
        folder: Where they are kept; made when the first one comes.
        limit: The most bytes to keep there; beyond it the oldest are dropped.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._number = itertools.count()
        self._last_ns = 0
        self._size = 0
        self._scan_in = 0
        self._lock: int | None = None
        _spools.add(self)

    def put(self, body: bytes, signal: str) -> Path | None:
        """Keep a request, and say where; `None` if it cannot be kept. Drops the oldest where there is no room.

        Args:
            body: The body as it is to be sent.
            signal: `traces` or `logs`.
        """
        if len(body) > self._limit:
            return None
        self._last_ns = max(self._last_ns + 1, time.time_ns())  # in order also when the clock is set back
        name = f"{self._last_ns:020d}-{os.getpid()}-{next(self._number)}.{signal}"
        hidden = self._folder / f".{name}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(body))
            descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(body)
                hidden.rename(self._folder / name)
            except OSError:
                hidden.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._scan_in = 0
            _guard.note(
                f"spool {self._folder}",
                f"cannot keep what is not delivered in {self._folder}: {error.strerror or error}; set TRACEKIT_SPOOL",
            )
            return None
        self._size += len(body)
        return self._folder / name

    def waiting(self) -> list[Path]:
        """What is kept, oldest first."""
        try:
            with os.scandir(self._folder) as found:
                names = [entry.name for entry in found]
        except OSError:
            return []
        return [self._folder / name for name in sorted(names) if name[0].isdigit()]

    def empty(self) -> bool:
        """Whether nothing is kept; quick."""
        return not self.waiting()

    @contextmanager
    def mine(self) -> Iterator[bool]:
        """Be the one that sends what is kept, inside the block; yields whether nobody else is."""
        try:
            descriptor = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        self._lock = descriptor
        try:
            try:
                got = try_lock(descriptor)
            except (OSError, StoreError):
                got = False  # a file system without locks: what is spooled waits for another one
            yield got
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _make_room(self, wanted: int) -> None:
        if self._scan_in <= 0 or self._size + wanted > self._limit:
            self._rescan(wanted)
        self._scan_in -= 1

    def _rescan(self, wanted: int) -> None:
        """Count what is there, other processes' requests too, and drop the oldest beyond the limit."""
        sizes: list[tuple[str, int]] = []
        with os.scandir(self._folder) as found:
            for entry in found:
                with suppress(OSError):
                    told = entry.stat()
                    if entry.name[0].isdigit():
                        sizes.append((entry.name, told.st_size))
                    elif entry.name.startswith(".") and time.time() - told.st_mtime > _STALE_SECONDS:
                        Path(entry.path).unlink()  # what a process that was killed left half written
        total = sum(size for _, size in sizes)
        for name, size in sorted(sizes):
            if total + wanted <= self._limit:
                break
            with suppress(FileNotFoundError):
                (self._folder / name).unlink()
                _guard.note(
                    "spool full",
                    f"{self._folder} holds as much as it may ({self._limit >> 20} MiB); the oldest spans are dropped",
                )
            total -= size
        self._size, self._scan_in = total, _RESCAN

    def _leave_to_parent(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def spool_folder(given: str | None, url: str, headers: Mapping[str, str]) -> Path:
    """Where requests for an endpoint are kept.

    Args:
        given: The folder of all spools; one in the user's cache folder when not given.
        url: The endpoint.
        headers: What is sent with each request: another key may mean another tenant.
    """
    said = "\n".join([url, *(f"{key}: {value}" for key, value in sorted(headers.items()))])
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return (Path(given).absolute() if given else cache_folder() / "tracekit" / "spool") / digest


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home())
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool._leave_to_parent()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
