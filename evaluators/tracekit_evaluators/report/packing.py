"""The report's data as the page carries it: JSON, deflated, in base64, in chunks that a browser inflates when needed.

Format. A packed text is base64 of a zlib stream (RFC 1950) of UTF-8 JSON, which `DecompressionStream("deflate")` reads;
base64 has no character that could end a script element. What is empty is left out of objects; a text is a string, or
`{"t": text, "x": characters left out}` where it was cut.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache

from tracekit_evaluators.report.text import Text

_MOST_ITEMS = 100
MOST_CHARACTERS = 250_000
_ELEMENT = 64  # the element around a chunk, and its line feed


@dataclass(frozen=True)
class Chunk:
    """A part of the report's data: the id of its element, and its packed text."""

    name: str
    data: str


@dataclass(frozen=True)
class Shelf:
    """Chunks of items in their order.

    Args:
        chunks: The chunks.
        starts: For each chunk the place of its first item.
        end: How many items there are in all chunks.
    """

    chunks: tuple[Chunk, ...]
    starts: tuple[int, ...]
    end: int

    @property
    def size(self) -> int:
        """How many bytes of the page they take."""
        return sum(len(chunk.data) + _ELEMENT for chunk in self.chunks)


class Packer:
    """Packs items in their order for as long as there is room.

    Args:
        prefix: What the names of the chunks begin with.
        items: The items, made when they are needed.
        most: How much JSON a chunk holds, in characters, the last item of it beyond that.
    """

    def __init__(self, prefix: str, items: Iterator[object], *, most: int = MOST_CHARACTERS) -> None:
        self._most = most
        self._prefix = prefix
        self._items = items
        self._chunks: list[Chunk] = []
        self._starts: list[int] = []
        self._end = 0
        self._waiting: tuple[Chunk, int] | None = None  # packed, and did not fit yet
        self.size = 0

    def fill(self, room: int) -> Shelf:
        """Pack until the chunks together would take more than this many bytes of the page, or no item is left."""
        while (packed := self._waiting or self._next()) is not None:
            chunk, count = packed
            taken = len(chunk.data) + _ELEMENT
            if self.size + taken > room:
                self._waiting = packed
                break
            self._waiting = None
            self._chunks.append(chunk)
            self._starts.append(self._end)
            self._end += count
            self.size += taken
        return Shelf(tuple(self._chunks), tuple(self._starts), self._end)

    def _next(self) -> tuple[Chunk, int] | None:
        texts: list[str] = []
        size = 0
        for item in self._items:
            texts.append(_json(plain(item)))
            size += len(texts[-1])
            if len(texts) >= _MOST_ITEMS or size >= self._most:
                break
        if not texts:
            return None
        return Chunk(f"{self._prefix}{len(self._chunks)}", _deflated(f"[{','.join(texts)}]")), len(texts)


def packed(value: object) -> str:
    """A value as the page carries it; the same value gives the same text.

    Example:
        >>> unpacked(packed({"a": [1, None]}))
        {'a': [1, None]}
    """
    return _deflated(_json(value))


def unpacked(data: str) -> object:
    """What was packed."""
    found: object = json.loads(zlib.decompress(base64.b64decode(data)))
    return found


def plain(part: object) -> object:
    """A part of the report as JSON takes it, without what is empty."""
    if isinstance(part, Text):
        return {"t": part.body, "x": part.left_out} if part.left_out else part.body
    if is_dataclass(part) and not isinstance(part, type):
        told = ((name, getattr(part, name)) for name in _names(type(part)))
        return {name: plain(value) for name, value in told if value is not None and value not in ((), "", False)}
    if isinstance(part, (tuple, list)):
        return [plain(each) for each in part]
    return part


@lru_cache(maxsize=64)
def _names(kind: type) -> Sequence[str]:
    return [each.name for each in fields(kind)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _deflated(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
