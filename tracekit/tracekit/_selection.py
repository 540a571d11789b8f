"""What of a call is recorded, as `capture=` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracekit.errors import UsageError

Capture = bool | str | Sequence[str] | Mapping[str, bool | str | Sequence[str]]
"""What `capture=` takes: `True`, `False`, names, or a mapping with `input`, `drop` and `output`."""

_RETURN = "return"
_KEYS = ("input", "drop", "output")


@dataclass(frozen=True)
class Selection:
    """What is kept of a call.

    Args:
        keep: The names of the parameters that are kept; `None` for all of them.
        drop: The names of those that are not, of all the others.
        has_input: Whether any argument may be kept.
        has_output: Whether the output is kept.
    """

    keep: frozenset[str] | None
    drop: frozenset[str]
    has_input: bool
    has_output: bool


def selection(capture: Capture) -> Selection:
    """What `capture=` means.

    Args:
        capture: `True` for everything, `False` for nothing; names of parameters, and `return` for the output, to keep
            these alone; or a mapping with any of `input` (a bool or names), `drop` (names) and `output` (a bool).

    Raises:
        UsageError: A mapping has another key, or a value that is none of these.

    Example:
        >>> selection({"drop": ["password"]}).has_output
        True
    """
    if isinstance(capture, bool):
        return Selection(None, frozenset(), capture, capture)
    if isinstance(capture, Mapping):
        return _of_mapping(capture)
    wanted = _named(capture)
    keep = wanted - {_RETURN}
    return Selection(keep, frozenset(), bool(keep), _RETURN in wanted)


def _of_mapping(capture: Mapping[str, bool | str | Sequence[str]]) -> Selection:
    unknown = sorted(set(capture) - set(_KEYS))
    if unknown:
        raise UsageError(f"capture has {', '.join(unknown)}, which it does not know; it knows {', '.join(_KEYS)}")
    given, dropped, output = capture.get("input", True), capture.get("drop", ()), capture.get("output", True)
    if not isinstance(output, bool) or isinstance(dropped, bool):
        raise UsageError("capture's output is True or False, and its drop is a list of names of parameters")
    keep = None if isinstance(given, bool) else _named(given)
    return Selection(keep, _named(dropped), given if isinstance(given, bool) else bool(keep), output)


def _named(names: str | Sequence[str]) -> frozenset[str]:
    return frozenset([names] if isinstance(names, str) else names)
