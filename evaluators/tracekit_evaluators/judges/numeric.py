"""Whether the output's number is the expected one."""

from __future__ import annotations

import math
import re

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:[,_ ]\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FRACTION = re.compile(r"([-+]?\d+)\s*/\s*(\d+)")


@judge(needs=("output", "expected.output"), values="{0,1} or [0,1]")
def numeric_close(
    *,
    expected: float | None = None,
    absolute: float = 1e-9,
    relative: float = 1e-6,
    graded: bool = False,
    take: str = "last",
) -> Call:
    """Whether the output's number is within a tolerance of the expected one.

    It is when |a - b| ≤ absolute + relative × |b|. Graded, the value is 1 - |a - b| / (|a| + |b|) instead.

    Args:
        expected: The number that is expected of every case; the case's `output` (or `number`) when not given.
        absolute: How far off it may be, in its own unit.
        relative: How far off it may be, as a share of the expected number.
        graded: Whether near misses count for something.
        take: Which of several numbers in the output counts: `last`, `first`, or `only`.

    Raises:
        UsageError: A tolerance is negative, or `take` is none of the three.

    Example:
        >>> numeric_close(relative=0.01).parameters["relative"]
        0.01
    """
    if absolute < 0 or relative < 0:
        raise UsageError(f"numeric_close needs tolerances of 0 or more, not {absolute!r} and {relative!r}")
    if take not in {"last", "first", "only"}:
        raise UsageError(f"numeric_close takes the last, first or only number, not {take!r}")

    def call(subject: Subject) -> Score:
        wanted = expected if expected is not None else _one(subject.expect("number", "output"))
        found = numbers(subject.output_text)
        if not found or (take == "only" and len(found) > 1):
            words = f"the output holds {len(found)} numbers" if found else "the output holds no number"
            return Score(0.0 if graded else False, explanation=f"{words}, {wanted:g} was expected")
        said = found[0 if take == "first" else -1]
        words = f"{said:g}, {wanted:g} was expected"
        if graded:
            size = abs(said) + abs(wanted)
            return Score(1.0 if size == 0 else 1.0 - abs(said - wanted) / size, explanation=words)
        return Score(abs(said - wanted) <= absolute + relative * abs(wanted), explanation=words)

    return call


def numbers(text: str) -> list[float]:
    """The numbers in a text, in order; thousands may be set apart by commas, and fractions count as their value.

    Example:
        >>> numbers("between 1,250.5 and -3e2, or 3/4")
        [1250.5, -300.0, 0.75]
    """
    found: list[float] = []
    place = 0
    while place < len(text):
        fraction = _FRACTION.match(text, place)
        if fraction and int(fraction[2]) and _begins(text, place):
            found.append(int(fraction[1]) / int(fraction[2]))
            place = fraction.end()
            continue
        match = _NUMBER.match(text, place)
        if match and any(letter.isdigit() for letter in match[0]) and _begins(text, place):
            value = float(match[0].replace(",", "").replace("_", "").replace(" ", ""))
            if math.isfinite(value):
                found.append(value)
            place = match.end()
        else:
            place += 1
    return found


def _begins(text: str, place: int) -> bool:
    """Whether a number may begin here: a digit or a sign inside a word or a date is none."""
    before = text[place - 1] if place else " "
    return not (before.isalnum() or (before == "." and place > 1 and text[place - 2].isdigit()))


def _one(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = numbers(str(value))
    if not found:
        raise MissingInput(f"the case expects {str(value)[:100]!r}, which holds no number")
    return found[-1]
