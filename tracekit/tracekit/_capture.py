"""Any Python object as JSON text: bounded, always valid, never raising.

A value of plain types goes through the C encoder in one step. Anything else is first walked into plain types within a
budget of characters. What does not fit is replaced by a mark that begins with `…` and says what is missing. A float
that JSON cannot write becomes the text `NaN`, `Infinity` or `-Infinity`; a lone surrogate becomes its escape.
Iterators, generators and awaitables are named, never consumed. Plain values of more than 2 KB are written without
blanks, by orjson where it is installed; the text is the same without it.
"""

from __future__ import annotations

import enum
import json
import math
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, cast

from tracekit import _attachments
from tracekit._previews import bytes_preview, fields, qualified_name, type_name, written

LIMIT = 65_536
"""The most characters that one captured value takes."""

JSON = "application/json"
TEXT = "text/plain"

_MARKS = 2_560  # room for the marks of a value that is cut at every depth
_DEEPEST = 24
_PLAIN_DEPTH = 12
_KEY_LIMIT = 200
_INT_BITS = 12_000  # Python refuses to write longer ones in decimal

_LISTED = 1_000  # how many items a list may have to be an attribute as it is
_LISTED_TEXT = 8_192
_COMPACT = 2_048  # from how many characters on there are no blanks
_BASE64_HEAD = 256

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False)
_compact_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


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
        left = _room_left(value, limit - _MARKS, 0)
        if left >= 0:
            text = _encoder.encode(value) if limit - _MARKS - left < _COMPACT else _compact(value, left)
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
    return _Walk(1 << 62 if limit is None else limit - _MARKS, keep=limit is not None).plain(value, 0)


def attribute(value: object) -> str | bool | int | float | list[str] | list[bool] | list[int] | list[float]:
    """A value as a span attribute may carry it: a scalar, a short list of scalars of one type, else JSON."""
    kind = type(value)
    if kind is str:
        return clean_text(cast("str", value))
    if kind in (bool, float) or (kind is int and -(1 << 63) <= cast("int", value) < 1 << 63):
        return cast("bool | int | float", value)
    if kind in (list, tuple) and len(cast("Sequence[object]", value)) <= _LISTED:
        items = cast("Sequence[object]", value)
        kinds = {type(item) for item in items}
        if kinds == {str} and sum(len(cast("str", item)) for item in items) <= _LISTED_TEXT:
            return [clean_text(cast("str", item)) for item in items]
        if len(kinds) == 1 and kinds <= {bool, float}:
            return cast("list[bool] | list[float]", list(items))
        if kinds == {int} and all(-(1 << 63) <= cast("int", item) < 1 << 63 for item in items):
            return cast("list[int]", list(items))
    return to_text(value)[0]


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and not isinstance(value, enum.Enum)
    except Exception:  # noqa: BLE001 - an object may raise even when it is asked for its class
        return False


def _room_left(value: object, room: float, depth: int) -> float:
    """What is left of `room` after the value; negative where it does not fit or is not of plain types.

    It becomes a float, and stays one, where the value has a float that writers of JSON spell in different ways.
    """
    kind = type(value)
    if kind is str:
        size = len(cast("str", value))
        if size >= _attachments.LARGE and " " not in cast("str", value)[:_BASE64_HEAD]:
            return -1  # perhaps an image: the walk looks at it
        return room - size - 2
    if kind is float:
        return room - _float_cost(cast("float", value))
    if kind is int or kind is bool or value is None:
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


def _float_cost(number: float) -> float:
    if number == 0.0 or 1e-4 <= abs(number) < 1e16:
        return 6
    return 6.0 if math.isfinite(number) else math.inf


def _compact(value: object, left: float) -> str:
    """A plain value as JSON without blanks."""
    dumps = _orjson_dumps()
    if dumps is not None and type(left) is int:
        with suppress(Exception):  # integers of more than 64 bits and lone surrogates are not for it
            return dumps(value).decode()
    return _compact_encoder.encode(value)


@lru_cache(maxsize=1)
def _orjson_dumps() -> Callable[[object], bytes] | None:
    try:
        from importlib import import_module  # noqa: PLC0415 - most programs have small values only

        return cast("Callable[[object], bytes]", import_module("orjson").dumps)
    except Exception:  # noqa: BLE001 - not installed, or broken: nobody needs it
        return None


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
    """One walk over a value, with the characters that are left for it.

    Args:
        room: The characters.
        keep: Whether the content of attachments is kept.
    """

    def __init__(self, room: int, *, keep: bool) -> None:
        self._room = room
        self._keep = keep
        self._open: set[int] = set()

    def plain(self, value: object, depth: int) -> object:
        self._room -= 8
        try:
            if value is None or value is True or value is False:
                return value
            if isinstance(value, enum.Enum):
                return self.plain(value.value, depth + 1) if depth < _DEEPEST else str(value)
            if isinstance(value, str):
                attached = self._attached(value)
                return self._text(value) if attached is None else self._mapping(attached, depth)
            if isinstance(value, int):
                return self._integer(value)
            if isinstance(value, float):
                return self._real(value)
            return self._compound(value, depth)
        except Exception as error:  # noqa: BLE001 - an object of the user's may raise at any touch
            return self._text(f"<{type_name(value)}: cannot be read: {type(error).__name__}>")

    def _attached(self, value: str, mime_type: str | None = None) -> dict[str, object] | None:
        """The description of large Base64 text; `None` for other text."""
        exact = str.__str__(value)
        if len(exact) < _attachments.LARGE or (mime_type is None and not exact.startswith("data:")):
            return None
        return _attachments.of_text(exact, mime_type=mime_type, keep=self._keep)

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
            return self._text(f"…[too deep: {type_name(value)}]")
        if id(value) in self._open:
            return self._text(f"…[cycle: {type_name(value)}]")
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
        encoded = _attachments.encoded_field(value)
        for count, (key, item) in enumerate(self._taken(value.items())):
            if self._room < 0:
                result["…"] = f"[truncated: {size - count} more entries]"
                break
            name = self._key(key)
            self._room -= len(name) + 4
            attached = None if encoded is None or key != encoded[0] else self._attached(item, encoded[1])
            result[name] = self.plain(item if attached is None else attached, depth + 1)
        return result

    def _taken(self, items: Iterable[Any]) -> list[Any]:
        """As many items as there may be room for, taken at once so that other threads may change the rest."""
        return list(islice(items, max(0, self._room) // 8 + 2))

    def _key(self, key: object) -> str:
        try:
            text = str.__str__(key if isinstance(key, str) else str(key))
        except Exception:  # noqa: BLE001 - a key may refuse to be read
            text = f"<{type_name(key)}>"
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
        told = written(value)
        if told is not None:
            return self._text(told)
        blob = self._blob(value)
        parts = fields(value) if blob is None else blob
        if isinstance(parts, Mapping):
            return self._mapping(parts, depth)
        if parts is not None:
            return self.plain(parts, depth)
        if isinstance(value, Sequence):
            return self._collection(value, depth)
        kind = type(value)
        if kind.__repr__ is object.__repr__ or hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            return self._text(f"<{qualified_name(kind)}>")
        if isinstance(value, (types.CoroutineType, types.AsyncGeneratorType)):
            return self._text(f"<{kind.__name__} {value.__qualname__}>")
        return self._text(repr(value))

    def _blob(self, value: object) -> Mapping[str, object] | None:
        """The description of bytes, an attachment or an image; `None` for other objects."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            size = value.nbytes if isinstance(value, memoryview) else len(value)
            return bytes_preview(value) if size < _attachments.LARGE else _attachments.described(value, keep=self._keep)
        kind = type(value)
        if issubclass(kind, _attachments.Attachment):
            return cast("_attachments.Attachment", value).describe(keep=self._keep)
        if kind.__module__.startswith("PIL.") and hasattr(value, "save") and hasattr(value, "mode"):
            return _attachments.image(value, keep=self._keep)
        return None
