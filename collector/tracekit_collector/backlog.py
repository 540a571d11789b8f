"""How far settling is behind, and how that slows whoever sends."""

from __future__ import annotations

import time
from collections.abc import Callable

from tracekit.errors import StoreError

_LONGEST_DELAY = 2.0  # seconds
_MOST_SECONDS = 2.5  # of work that may wait, where it is known how fast settling is
_FREE = 0.4  # of the bound: so much may wait before anybody is slowed
_BURST = 16  # the part of the bound that may always wait: a burst is no load
_FRESH = 0.25  # seconds for which a measured backlog is taken for true


class Backlog:
    """How far settling is behind, and what that costs whoever sends.

    Args:
        measure: Tells how many bytes wait to be settled.
        bound: At how many to take no more.
        rate: Tells how many bytes a second are settled; `None` while that is not known. No more may wait than is
            settled in 2.5 s, but a sixteenth of `bound` always may.

    Example:
        >>> Backlog(lambda: 0, 800).delay(), Backlog(lambda: 450, 800).delay(), Backlog(lambda: 800, 800).delay()
        (0.0, 1.0, None)
    """

    def __init__(
        self, measure: Callable[[], int], bound: int, *, rate: Callable[[], float | None] = lambda: None
    ) -> None:
        self._measure = measure
        self._bound = bound
        self._rate = rate
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

    def bound(self) -> int:
        """At how many bytes no more is taken now."""
        rate = self._rate()
        if rate is None:
            return self._bound
        return min(self._bound, max(self._bound // _BURST, int(rate * _MOST_SECONDS)))

    def delay(self) -> float | None:
        """Seconds that a request should wait before it is committed; `None` when nothing more should come."""
        size, bound = self.size(), self.bound()
        if size >= bound:
            return None
        free = min(self._bound // 8, int(bound * _FREE))
        return max(0.0, (size - free) / (bound - free)) * _LONGEST_DELAY
