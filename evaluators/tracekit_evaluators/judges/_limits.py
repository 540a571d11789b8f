"""A number that should be small, with a limit that somebody may have set."""

from __future__ import annotations

import math

from tracekit.errors import UsageError
from tracekit_evaluators.score import Score


def limit_of(judge: str, given: object) -> float | None:
    """A limit as a judge was given it.

    Args:
        judge: Whose limit it is, for the message.
        given: A number, or `None` for no limit.

    Raises:
        UsageError: It is no finite number.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise UsageError(f"{judge} needs a number as max, not {given!r}")
    return float(given)


def count_of(judge: str, name: str, given: object, *, at_least: int) -> int:
    """A whole number as a judge was given it.

    Args:
        judge: Whose parameter it is, for the message.
        name: The parameter.
        given: Its value.
        at_least: The smallest value that makes sense.

    Raises:
        UsageError: It is no whole number, or too small.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < at_least:
        raise UsageError(f"{judge} needs a whole number of at least {at_least} as {name}, not {given!r}")
    return given


def limited(value: float, limit: float | None, unit: str) -> Score:
    """The number as a score, which passes when it does not exceed the limit.

    Args:
        value: What was measured.
        limit: The most that passes; `None` where nobody set one.
        unit: What the number counts.
    """
    if limit is None:
        return Score(float(value))
    word = "within" if value <= limit else "over"
    return Score(float(value), passed=value <= limit, explanation=f"{value:g} {unit}, {word} the limit of {limit:g}")
