"""The ids of very many traces, sixteen bytes each."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

_BYTES = 16
_AT_ONCE = 4_096
_HEX = re.compile(rb"[0-9a-f]{32}(?:\n[0-9a-f]{32})*\Z")


class TraceIds(Sequence[str]):
    """Ids of traces in order, as texts to whoever asks; a million of them take 16 MB, and 90 MB as a list.

    Args:
        packed: Sixteen bytes for each.

    Example:
        >>> ids = TraceIds.of(["0" * 31 + "1", "f" * 32])
        >>> len(ids), ids[1] == "f" * 32
        (2, True)
    """

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @classmethod
    def of(cls, ids: Iterable[str]) -> Sequence[str]:
        """These ids, packed where all are 32 lower-case hex digits; else a list of them."""
        packed = bytearray()
        taken = iter(ids)
        for each in taken:
            if not _HEX.match(each.encode("utf-8", "replace")):
                return [*cls(bytes(packed)), each, *taken]
            packed += bytes.fromhex(each)
        return cls(bytes(packed))

    @classmethod
    def from_lines(cls, lines: bytes) -> Sequence[str]:
        """The ids of a text with one a line, as `to_lines` gives it."""
        if _HEX.match(lines):
            return cls(bytes.fromhex(lines.decode("ascii")))
        return lines.decode().split("\n")

    @property
    def packed(self) -> bytes:
        """Sixteen bytes for each."""
        return self._packed

    def to_lines(self) -> bytes:
        """One id a line, without an end of the last one."""
        return binascii.hexlify(self._packed, b"\n", _BYTES) if self._packed else b""

    def __len__(self) -> int:
        return len(self._packed) // _BYTES

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        at = place + len(self) if place < 0 else place
        if not 0 <= at < len(self):
            raise IndexError(place)
        return self._packed[at * _BYTES : (at + 1) * _BYTES].hex()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._packed), _AT_ONCE * _BYTES):
            text = self._packed[start : start + _AT_ONCE * _BYTES].hex()
            yield from (text[at : at + 2 * _BYTES] for at in range(0, len(text), 2 * _BYTES))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TraceIds):
            return self._packed == other._packed
        return isinstance(other, list) and len(other) == len(self) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # a list has none either

    def __repr__(self) -> str:
        return f"TraceIds({len(self)} ids)"


def among_of(ids: Collection[str]) -> Callable[[Sequence[str]], list[bool]]:
    """A function that says of each of some ids whether it is among these; it takes as much memory again as they do.

    Args:
        ids: Any number.

    Example:
        >>> among_of(["a", "b"])(["b", "c"])
        [True, False]
    """
    if not isinstance(ids, TraceIds):
        known = frozenset(ids)
        return lambda asked: [each in known for each in asked]
    ours = np.sort(np.frombuffer(ids.packed, dtype=f"S{_BYTES}"))

    def among(asked: Sequence[str]) -> list[bool]:
        fine = [_HEX.match(each.encode("utf-8", "replace")) is not None for each in asked]
        text = "".join(each if good else "0" * 2 * _BYTES for each, good in zip(asked, fine, strict=True))
        codes = np.frombuffer(bytes.fromhex(text), dtype=ours.dtype)
        at = np.minimum(np.searchsorted(ours, codes), len(ours) - 1)
        found: list[bool] = ((ours[at] == codes) & np.array(fine, dtype=np.bool_)).tolist()
        return found

    return among if len(ours) else lambda asked: [False] * len(asked)


def once(ids: Sequence[str]) -> Sequence[str]:
    """These ids, each where it comes first.

    Example:
        >>> once(["a", "b", "a"])
        ['a', 'b']
    """
    if isinstance(ids, TraceIds) and len(np.unique(np.frombuffer(ids.packed, dtype=f"S{_BYTES}"))) == len(ids):
        return ids
    return TraceIds.of(dict.fromkeys(ids))


def lines_of(ids: Sequence[str]) -> bytes:
    """One id a line, as a run's selection keeps them."""
    return ids.to_lines() if isinstance(ids, TraceIds) else "\n".join(ids).encode()
