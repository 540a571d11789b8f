"""How far settling is behind, and how that slows whoever sends."""

from __future__ import annotations

import time
from collections.abc import Callable

from tracekit.errors import StoreError

_LONGEST_DELAY = 2.0  # seconds
_FRESH = 0.25  # seconds for which a measured backlog is taken for true


class Backlog:
    """How far settling is behind, and what that costs whoever sends.

    Args:
        measure: Tells how many bytes wait to be settled.
        bound: At how many to take no more.

    Example:
        >>> Backlog(lambda: 0, 800).delay(), Backlog(lambda: 450, 800).delay(), Backlog(lambda: 800, 800).delay()
        (0.0, 1.0, None)
    """

    def __init__(self, measure: Callable[[], int], bound: int) -> None:
        self._measure = measure
        self._bound = bound
        self._measured: tuple[float, int] | None = None

    def size(self) -> int:
        """How many bytes wait, measured a moment ago, and what came since."""
        now = time.monotonic()
        if self._measured is None or now - self._measured[0] > _FRESH:
            try:
                size = self._measure()
            except (StoreError, OSError):
                size = 0 if self._measured is None else self._measured[1]
            self._measured = (now, size)
        return self._measured[1]

    def grew(self, size: int) -> None:
        """Note that more waits."""
        if self._measured is not None:
            self._measured = (self._measured[0], self._measured[1] + size)

    def delay(self) -> float | None:
        """Seconds that a request should wait before it is committed; `None` when nothing more should come."""
        size = self.size()
        if size >= self._bound:
            return None
        free = self._bound // 8
        return max(0.0, (size - free) / (self._bound - free)) * _LONGEST_DELAY
