"""The points of series as bytes: columns of numbers, little-endian, so that a hundred thousand take three megabytes.

magic    4 bytes      b"tkp1"
writer   8 bytes      who says it; with a point's place among the writer's it is the point's key
first    u64          the place of the first point
count    u32          how many there are
names    u16[count]   which of the record's names
times    i64[count]   nanoseconds since 1970
steps    i64[count]   0 where there is none
values   f64[count]   NaN and infinities are themselves; 0 where there is none
known    u8[count]    1 where there is a step, 2 where there is a value, 3 for both
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AT_ONCE = 8_192
"""How many points a record holds at most."""

_HEAD = struct.Struct("<4s8sQI")
_MAGIC = b"tkp1"
_COLUMNS = ("H", "q", "q", "d", "B")
_BOTH = 3

Point = tuple[str, "float | None", "int | None", int]
"""A series' name, value, step, and the time in nanoseconds since 1970."""


@dataclass(frozen=True)
class Points:
    """The points of one record, by columns.

    Args:
        writer: Who says it, 16 hex digits.
        first: The place of the first of them among the writer's points.
        names: Which name each has, as an index into the record's names.
        times: When, in nanoseconds since 1970.
        steps: Their steps, where `known` says so.
        values: Their values, where `known` says so.
        known: 1 for a step, 2 for a value, 3 for both.
    """

    writer: str
    first: int
    names: array[int]
    times: array[int]
    steps: array[int]
    values: array[float]
    known: array[int]

    def __len__(self) -> int:
        return len(self.names)


def packed(points: Sequence[Point], *, writer: str, first: int) -> tuple[list[str], bytes]:
    """The names that some points have, and the points as bytes.

    Args:
        points: At most `AT_ONCE` of them.
        writer: Who says it, 16 hex digits.
        first: The place of the first of them among the writer's points.

    Example:
        >>> names, body = packed([("loss", 0.5, 1, 0)], writer="00" * 8, first=0)
        >>> names, unpacked(body).values[0]
        (['loss'], 0.5)
    """
    series, values, steps, times = zip(*points, strict=True)
    places = {name: place for place, name in enumerate(dict.fromkeys(series))}
    if None in steps or None in values:
        known = array("B", ((s is not None) + 2 * (v is not None) for s, v in zip(steps, values, strict=True)))
        steps = tuple(step or 0 for step in steps)
        values = tuple(0.0 if value is None else value for value in values)
    else:
        known = array("B", bytes((_BOTH,)) * len(points))
    columns = [
        array("H", map(places.__getitem__, series)),
        array("q", times),
        array("q", steps),
        array("d", values),
        known,
    ]
    head = _HEAD.pack(_MAGIC, bytes.fromhex(writer), first, len(points))
    return list(places), head + b"".join(map(_little_endian, columns))


def unpacked(body: bytes) -> Points:
    """The points that bytes hold.

    Raises:
        ValueError: They are no points, or are cut.
    """
    if len(body) < _HEAD.size:
        raise ValueError(f"points of {len(body)} bytes are cut")
    magic, writer, first, count = _HEAD.unpack_from(body)
    room = len(body) - _HEAD.size
    if magic != _MAGIC or room != count * sum(array(kind).itemsize for kind in _COLUMNS):
        raise ValueError(f"these {len(body)} bytes are no {count} points")
    if first + count >= 1 << 63:
        raise ValueError(f"a point cannot have the place {first}")
    columns: list[array[Any]] = []
    at = _HEAD.size
    for kind in _COLUMNS:
        column: array[Any] = array(kind)
        end = at + count * column.itemsize
        column.frombytes(body[at:end])
        if sys.byteorder == "big":
            column.byteswap()
        columns.append(column)
        at = end
    return Points(writer.hex(), first, *columns)


def _little_endian(column: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
