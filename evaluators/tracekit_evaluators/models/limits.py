"""How fast and how widely one model is asked: budgets a minute, as many at once as it bears, and a rest when it is ill.

Three things together. A token bucket for requests and for tokens a minute, where the user states them. A window of
requests at once that halves when the server says that it is too much, and grows by one for every window of answers
(AIMD, as in TCP congestion control: Chiu and Jain 1989). A circuit breaker: after several requests in a row that
failed for good, the model is left alone for a while, and one request then tries whether it is well again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_BREAK_AFTER = 5
_REST_SECONDS = 30.0
_SLOWER_ONCE_IN = 1.0


class Resting(Exception):  # noqa: N818 - a state of the model, told by whoever asks it
    """The model failed several times in a row and is left alone for now.

    Args:
        seconds: For how much longer.
        failures: How many requests in a row failed.
    """

    def __init__(self, seconds: float, failures: int) -> None:
        super().__init__(f"{failures} requests in a row failed; it is left alone for another {seconds:.0f} s")
        self.seconds = seconds
        self.failures = failures


@dataclass
class Bucket:
    """So much a minute, and no more than a minute's worth at once.

    Args:
        per_minute: How much a minute; `None` for no limit.
        clock: Seconds, monotonic.
    """

    per_minute: float | None
    clock: Callable[[], float] = time.monotonic
    _level: float = field(default=0.0, init=False)
    _at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._level, self._at = self.per_minute or 0.0, self.clock()

    def wait(self, amount: float) -> float:
        """Take an amount, and say how many seconds to wait before using it."""
        if self.per_minute is None:
            return 0.0
        now = self.clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        self._level -= amount
        return max(0.0, -self._level * 60 / self.per_minute)

    def correct(self, amount: float) -> None:
        """Take more (or give back, when negative), once the real amount is known."""
        if self.per_minute is not None:
            self._level -= amount


class Limiter:
    """Who may ask one model now; all requests to it go through `turn`.

    Args:
        requests_per_minute: The account's limit; `None` where there is none to keep to.
        tokens_per_minute: The same for tokens, read and written together.
        most: The most requests at once.
        clock: Seconds, monotonic.

    Example:
        >>> limiter = Limiter(requests_per_minute=60)
        >>> limiter.window
        256.0
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        most: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.window = float(most)
        self._most = most
        self._clock = clock
        self._requests = Bucket(requests_per_minute, clock)
        self._tokens = Bucket(tokens_per_minute, clock)
        self._at_once = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._not_before = 0.0
        self._slowed = float("-inf")
        self._failures = 0
        self._rests_until = 0.0
        self._probing = False

    @asynccontextmanager
    async def turn(self, tokens: int = 0) -> AsyncIterator[None]:
        """Wait until the model may be asked, and hold a place while it is.

        Args:
            tokens: About how many tokens the request will take.

        Raises:
            Resting: The model failed several times in a row, and its rest is not over.
        """
        probe = self._check()
        try:
            await self._place()
            try:
                pause = max(self._requests.wait(1), self._tokens.wait(tokens), self._not_before - self._clock())
                if pause > 0:
                    await asyncio.sleep(pause)
                yield
            finally:
                self._leave()
        finally:
            if probe:
                self._probing = False

    def answered(self, *, tokens: int = 0, estimated: int = 0) -> None:
        """The model answered: it bears a little more.

        Args:
            tokens: What the request took.
            estimated: What `turn` was told.
        """
        self._failures = 0
        self.window = min(float(self._most), self.window + 1 / max(1.0, self.window))
        self._tokens.correct(tokens - estimated)

    def too_much(self, retry_after: float | None) -> None:
        """The server said that it is too much: half as many at once, and nobody before it wants to be asked again."""
        now = self._clock()
        if now - self._slowed >= _SLOWER_ONCE_IN:  # answers to one burst say one thing
            self.window = max(1.0, min(self.window, float(max(1, self._at_once))) / 2)
            self._slowed = now
        if retry_after is not None:
            self._not_before = max(self._not_before, now + retry_after)

    def failed(self) -> None:
        """A request failed for good."""
        self._failures += 1
        if self._failures >= _BREAK_AFTER:
            self._rests_until = self._clock() + _REST_SECONDS

    def _check(self) -> bool:
        """Whether this request is the one that tries whether the model is well again."""
        if self._failures < _BREAK_AFTER:
            return False
        left = self._rests_until - self._clock()
        if left > 0 or self._probing:
            raise Resting(max(left, 0.0), self._failures)
        self._probing = True
        return True

    async def _place(self) -> None:
        while self._at_once >= max(1, int(self.window)):
            free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            try:
                await free
            except asyncio.CancelledError:
                if free in self._waiting:
                    self._waiting.remove(free)
                else:
                    self._wake()  # it was this one's turn: the next one's now
                raise
        self._at_once += 1

    def _leave(self) -> None:
        self._at_once -= 1
        self._wake()

    def _wake(self) -> None:
        room = max(1, int(self.window)) - self._at_once
        while self._waiting and room > 0:
            free = self._waiting.popleft()
            if not free.done():
                free.set_result(None)
                room -= 1
