"""Values as JSON has them, whole: nothing is cut, redacted or put aside."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import math
import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from tracekit._capture import plain

_DEEPEST = 100


def json_value(value: object) -> Any:
    """A value as dicts with text keys, lists, text, finite numbers, booleans and `None`.

    Dataclasses and pydantic models become objects, bytes Base64, times ISO 8601, sets sorted lists, numbers that JSON
    lacks text; anything else what a span would show of it.

    Args:
        value: What an agent took or gave.

    Example:
        >>> json_value({"found": (1, 2.5), "share": float("inf")})
        {'found': [1, 2.5], 'share': 'Infinity'}
    """
    return _value(value, 0)


def _value(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if depth > _DEEPEST:
        raise RecursionError("the value is nested too deep to be JSON, or holds itself")
    if kind is float:
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if kind in (list, tuple):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_key(key): _value(item, depth + 1) for key, item in value.items()}
    return _object(value, depth)


def _object(value: Any, depth: int) -> Any:
    dumped: Callable[..., Any] | None = getattr(type(value), "model_dump", None)
    if callable(dumped):
        return _value(value.model_dump(mode="json"), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _value(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return _value(value.value, depth + 1)
    for base, told in _TOLD:
        if isinstance(value, base):
            return told(value)
    if isinstance(value, (list, tuple)):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, AbstractSet):
        return sorted((_value(item, depth + 1) for item in value), key=lambda item: (str(type(item)), str(item)))
    return plain(value, limit=None)


def _key(key: object) -> str:
    return key if isinstance(key, str) else str(plain(key, limit=None))


_TOLD: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, lambda value: _value(float.__float__(value), 0)),
    ((bytes, bytearray), lambda value: base64.b64encode(value).decode()),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (os.PathLike, os.fspath),
)
