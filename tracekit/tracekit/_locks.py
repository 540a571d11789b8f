"""Advisory file locks that a process loses when it ends, however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracekit.errors import StoreError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock
    fcntl = None  # type: ignore[assignment]


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process if nobody else has it; say whether that worked."""
    if fcntl is None:  # pragma: no cover
        raise StoreError("a local store needs file locks, which this platform lacks; set an OTLP endpoint instead")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path, *, timeout: float) -> Iterator[bool]:
    """Hold the lock file `path` inside the block; yields whether it was had within `timeout` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout
        got = try_lock(descriptor)
        while not got and time.monotonic() < deadline:
            time.sleep(0.005)
            got = try_lock(descriptor)
        yield got
    finally:
        os.close(descriptor)
