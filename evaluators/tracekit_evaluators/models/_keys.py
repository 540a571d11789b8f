"""Keys of model servers, as the settings have them."""

from __future__ import annotations

import time

from tracekit.settings import setting

_FRESH_SECONDS = 1.0


class Key:
    """A server's key, looked up once a second at most, since that reads files.

    Args:
        name: The setting that holds it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: tuple[str | None, float] | None = None

    def read(self) -> str | None:
        """The key; `None` where there is none."""
        now = time.monotonic()
        if self._held is None or now >= self._held[1]:
            self._held = (setting(self._name), now + _FRESH_SECONDS)
        return self._held[0]

    def forget(self) -> None:
        """Keep it no longer."""
        self._held = None
