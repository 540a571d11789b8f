"""Any Python object as JSON text: bounded, always valid, never raising.

A value of plain types goes through the C encoder in one step. Anything else is first walked into plain types within a
budget of characters. What does not fit is replaced by a mark that begins with `…` and says what is missing. A float
that JSON cannot write becomes the text `NaN`, `Infinity` or `-Infinity`; a lone surrogate becomes its escape.
Iterators, generators and awaitables are named, never consumed.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import os
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, cast

LIMIT = 65_536
"""The most characters that one captured value takes."""

JSON = "application/json"
TEXT = "text/plain"

_MARKS = 2_560  # room for the marks of a value that is cut at every depth
_DEEPEST = 24
_PLAIN_DEPTH = 12
_KEY_LIMIT = 200
_BYTES_SHOWN = 48
_ROWS_SHOWN = 5
_NUMBERS_SHOWN = 32
_INT_BITS = 12_000  # Python refuses to write longer ones in decimal

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False)


def to_json(value: object, *, limit: int = LIMIT) -> str:
    """A value as JSON text of at most `limit` characters.

    Args:
        value: Anything.
        limit: The most characters, at least 4096.

    Example:
        >>> to_json({"seen": {2, 1}, "share": float("nan")})
        '{"seen": [1, 2], "share": "NaN"}'
    """
    try:
        if _room_left(value, limit - _MARKS, 0) >= 0:
            text = _encoder.encode(value)
            if len(text) <= limit and (text.isascii() or _is_unicode(text)):
                return text
    except Exception:  # noqa: BLE001, S110 - not that plain after all: the walk below deals with it
        pass
    return _encoded(plain(value, limit=limit), limit)


def to_text(value: object, *, limit: int = LIMIT) -> tuple[str, str]:
    """A value as text with its media type: text as itself, everything else as JSON.

    Args:
        value: Anything.
        limit: The most characters, at least 4096.

    Example:
        >>> to_text("yes"), to_text(["yes"])
        (('yes', 'text/plain'), ('["yes"]', 'application/json'))
    """
    if type(value) is str or _is_text(value):
        return clean_text(cast("str", value), limit=limit), TEXT
    return to_json(value, limit=limit), JSON


def clean_text(text: str, *, limit: int = LIMIT) -> str:
    """Text that UTF-8 can hold, cut to `limit` characters with a mark that says so."""
    try:
        exact = str.__str__(text)
        if len(exact) > limit:
            exact = _cut(exact, limit - 64)
        return _unicode(exact)
    except Exception:  # noqa: BLE001 - a subclass of str can refuse anything
        return "<str: cannot be read>"


def plain(value: object, *, limit: int | None = LIMIT) -> object:
    """A value as dicts with text keys, lists, text, finite numbers, booleans and `None`; never raises.

    Args:
        value: Anything.
        limit: Roughly the most characters of its JSON text; `None` for all of it.
    """
    return _Walk(1 << 62 if limit is None else limit - _MARKS).plain(value, 0)


def attribute(value: object) -> str | bool | int | float | list[str] | list[bool] | list[int] | list[float]:
    """A value as a span attribute may carry it: a scalar, a list of scalars of one type, else JSON text."""
    kind = type(value)
    if kind is str:
        return clean_text(cast("str", value))
    if kind in (bool, float) or (kind is int and -(1 << 63) <= cast("int", value) < 1 << 63):
        return cast("bool | int | float", value)
    if kind in (list, tuple):
        items = cast("Sequence[object]", value)
        kinds = {type(item) for item in items}
        if kinds == {str} and len(items) <= 1_000:
            return [clean_text(cast("str", item)) for item in items]
        if len(kinds) == 1 and kinds <= {bool, float}:
            return cast("list[bool] | list[float]", list(items))
        if kinds == {int} and all(-(1 << 63) <= cast("int", item) < 1 << 63 for item in items):
            return cast("list[int]", list(items))
    return to_text(value)[0]


def qualified_name(kind: type) -> str:
    """A class's module and name, without the module for built-in ones."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and not isinstance(value, enum.Enum)
    except Exception:  # noqa: BLE001 - an object may raise even when it is asked for its class
        return False


def _room_left(value: object, room: int, depth: int) -> int:
    """What is left of `room` after the value; negative where it does not fit or is not of plain types."""
    kind = type(value)
    if kind is str:
        return room - len(cast("str", value)) - 2
    if kind is int or kind is bool or value is None or kind is float:
        return room - 6
    room = room - 2 if depth < _PLAIN_DEPTH else -1
    if kind is dict:
        for key, item in cast("dict[object, object]", value).items():
            if room < 0 or type(key) is not str:
                return -1
            room = _room_left(item, room - len(key) - 4, depth + 1)
    elif kind is list or kind is tuple:
        for item in cast("Sequence[object]", value):
            if room < 0:
                return -1
            room = _room_left(item, room - 2, depth + 1)
    else:
        return -1
    return room


def _encoded(value: object, limit: int) -> str:
    try:
        text = _encoder.encode(value)
    except Exception as error:  # noqa: BLE001 - the last net: capture must not raise whatever it was given
        return _encoder.encode(f"<cannot be written: {type(error).__name__}>")
    if len(text) <= limit:
        return text
    return _encoder.encode(f"…[truncated: {len(text)} characters]")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unicode(text: str) -> str:
    if text.isascii() or _is_unicode(text):
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, room: int) -> str:
    kept = max(0, room)
    return f"{text[:kept]}…[truncated: {len(text) - kept} more characters]"


class _Walk:
    """One walk over a value, with the characters that are left for it."""

    __slots__ = ("_open", "_room")

    def __init__(self, room: int) -> None:
        self._room = room
        self._open: set[int] = set()

    def plain(self, value: object, depth: int) -> object:
        self._room -= 8
        try:
            if value is None or value is True or value is False:
                return value
            if isinstance(value, enum.Enum):
                return self.plain(value.value, depth + 1) if depth < _DEEPEST else str(value)
            if isinstance(value, str):
                return self._text(value)
            if isinstance(value, int):
                return self._integer(value)
            if isinstance(value, float):
                return self._real(value)
            return self._compound(value, depth)
        except Exception as error:  # noqa: BLE001 - an object of the user's may raise at any touch
            return self._text(f"<{_type_name(value)}: cannot be read: {type(error).__name__}>")

    def _text(self, value: str) -> str:
        text = _unicode(str.__str__(value))
        written = len(text) if len(text) > self._room else len(encode_basestring(text))
        if written > self._room:
            kept = max(0, min(len(text), self._room))
            while kept and (written := len(encode_basestring(text[:kept]))) > self._room:
                kept = kept * self._room // (written + 2)
            text = _cut(text, kept)
            self._room = -1
            return text
        self._room -= written
        return text

    def _integer(self, value: int) -> object:
        number = int(value)
        if number.bit_length() > _INT_BITS:
            return self._text(f"…[integer of {number.bit_length()} bits]")
        self._room -= number.bit_length() // 3
        return number

    def _real(self, value: float) -> object:
        number = float(value)
        self._room -= 16
        if math.isfinite(number):
            return number
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"

    def _compound(self, value: object, depth: int) -> object:
        if depth >= _DEEPEST:
            return self._text(f"…[too deep: {_type_name(value)}]")
        if id(value) in self._open:
            return self._text(f"…[cycle: {_type_name(value)}]")
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth)
            if isinstance(value, (list, tuple, set, frozenset, deque, range)):
                return self._collection(value, depth)
            return self._object(value, depth)
        finally:
            self._open.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        size = len(value)
        for count, (key, item) in enumerate(self._taken(value.items())):
            if self._room < 0:
                result["…"] = f"[truncated: {size - count} more entries]"
                break
            name = self._key(key)
            self._room -= len(name) + 4
            result[name] = self.plain(item, depth + 1)
        return result

    def _taken(self, items: Iterable[Any]) -> list[Any]:
        """As many items as there may be room for, taken at once so that other threads may change the rest."""
        return list(islice(items, max(0, self._room) // 8 + 2))

    def _key(self, key: object) -> str:
        try:
            text = str.__str__(key if isinstance(key, str) else str(key))
        except Exception:  # noqa: BLE001 - a key may refuse to be read
            text = f"<{_type_name(key)}>"
        if self._room < 1 << 60 and len(text) > _KEY_LIMIT:
            text = _cut(text, _KEY_LIMIT)
        return _unicode(text)

    def _collection(self, value: Collection[object], depth: int) -> object:
        names = getattr(type(value), "_fields", None)
        if isinstance(value, tuple) and isinstance(names, tuple) and len(names) == len(value):
            return self._mapping(dict(zip(names, value, strict=True)), depth)
        result: list[object] = []
        size = len(value)
        for count, item in enumerate(self._taken(value)):
            if self._room < 0:
                result.append(f"…[truncated: {size - count} more items]")
                return result
            result.append(self.plain(item, depth + 1))
        if isinstance(value, AbstractSet):
            result.sort(key=lambda item: json.dumps(item, sort_keys=True))  # sets have no order: give them one
        return result

    def _object(self, value: object, depth: int) -> object:
        written = _written(value)
        if written is not None:
            return self._text(written)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._mapping(_bytes(value), depth)
        fields = _fields(value)
        if isinstance(fields, Mapping):
            return self._mapping(fields, depth)
        if fields is not None:
            return self.plain(fields, depth)
        if isinstance(value, Sequence):
            return self._collection(value, depth)
        kind = type(value)
        if kind.__repr__ is object.__repr__ or hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            return self._text(f"<{qualified_name(kind)}>")
        if isinstance(value, (types.CoroutineType, types.AsyncGeneratorType)):
            return self._text(f"<{kind.__name__} {value.__qualname__}>")
        return self._text(repr(value))


def _type_name(value: object) -> str:
    try:
        return str(type(value).__qualname__)
    except Exception:  # noqa: BLE001 - a metaclass can refuse even this
        return "object"


def _function_name(value: object) -> str:
    return f"<function {getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}>"


_WRITERS: tuple[tuple[tuple[type, ...], Callable[[Any], str]], ...] = (
    ((os.PathLike,), os.fsdecode),
    ((complex,), str),
    ((type,), lambda value: f"<class {qualified_name(value)}>"),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), _function_name),
    ((types.ModuleType,), lambda value: f"<module {value.__name__}>"),
)

# By name, so that nobody pays for importing what nobody uses.
_WRITTEN_AS_TEXT = frozenset(
    {
        ("datetime", "date"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
    }
)


def _written(value: object) -> str | None:
    """The text of an object that is best told as one; `None` for others."""
    if not _WRITTEN_AS_TEXT.isdisjoint((base.__module__, base.__qualname__) for base in type(value).__mro__):
        return str(value.isoformat() if hasattr(value, "isoformat") else value)
    return next((write(value) for kinds, write in _WRITERS if isinstance(value, kinds)), None)


def _fields(value: object) -> object:
    """The named parts of an object that has some: exceptions, dataclasses, attrs, pydantic, numpy, pandas."""
    if isinstance(value, BaseException):
        return {"type": qualified_name(type(value)), "message": str(value)}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    kind = type(value)
    attrs = getattr(kind, "__attrs_attrs__", None)
    if attrs is not None:
        return {field.name: getattr(value, field.name, None) for field in attrs}
    dump = getattr(kind, "model_dump", None)
    if callable(dump):
        return dump(value)
    package = str(kind.__module__).partition(".")[0]
    if package == "numpy":
        return _numpy(value)
    if package in {"pandas", "polars"}:
        return _table(value)
    return None


def _bytes(value: bytes | bytearray | memoryview) -> dict[str, object]:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    head = bytes(value[:_BYTES_SHOWN]) if not isinstance(value, memoryview) else value.tobytes()[:_BYTES_SHOWN]
    shown = {"type": "bytes", "size": size, "base64": base64.b64encode(head).decode()}
    if size > _BYTES_SHOWN:
        shown["base64"] = f"{shown['base64']}…[truncated: {size - _BYTES_SHOWN} more bytes]"
    return shown


def _numpy(value: Any) -> object:
    if hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "ravel"):
        if value.shape == ():
            return value.item()
        shown: dict[str, object] = {"type": type(value).__name__, "dtype": str(value.dtype)}
        whole = value.size <= _NUMBERS_SHOWN
        head = value.tolist() if whole else value.ravel()[:_NUMBERS_SHOWN].tolist()
        return {**shown, "shape": list(value.shape), "values" if whole else "first values": head}
    return None


def _table(value: Any) -> dict[str, object] | None:
    if not (hasattr(value, "head") and hasattr(value, "shape")):
        return None
    shown: dict[str, object] = {"type": type(value).__name__, "shape": list(value.shape)}
    head = value.head(_ROWS_SHOWN)
    if hasattr(head, "to_dicts"):
        return {**shown, "first rows": head.to_dicts()}
    if hasattr(value, "columns"):
        return {**shown, "columns": list(value.columns), "first rows": head.to_dict("records")}
    return {**shown, "first values": head.to_list() if hasattr(head, "to_list") else head.tolist()}
