"""Our own faults: swallowed, counted, and logged once a place, so that they never reach the user's code."""

from __future__ import annotations

import logging
import sys
from collections import Counter

_logger = logging.getLogger("tracekit")

faults: Counter[str] = Counter()
"""How often each place failed in this process."""


def fault(place: str) -> None:
    """Count the exception that is being handled, and log it if it is the first one of its place.

    Args:
        place: What was being done, in a few words.
    """
    faults[place] += 1
    if faults[place] == 1:
        error = sys.exc_info()[1]
        kind = type(error).__name__
        _logger.warning("%s failed, which costs its trace data only: %s: %s", place, kind, _message(error))
        _logger.debug("where %s failed", place, exc_info=error)


def note(place: str, message: str, *, count: int = 1) -> None:
    """Count a loss that is no exception, and log the message if it is the first one of its place.

    Args:
        place: What was being done, in a few words; also the key of the count.
        message: What was lost and how to mend it.
        count: How many were lost.
    """
    first = not faults[place]
    faults[place] += count
    if first:
        _logger.warning("%s", message)


def _message(error: BaseException | None) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's may raise when it is asked for its text
        return "(its message cannot be read)"
