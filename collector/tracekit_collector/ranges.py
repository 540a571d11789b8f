"""Which bytes of an inbox's segments are to be settled next, and where they can be cut.

Segments are skimmed: from one record's head to the next, without reading what lies between. Only where a head is
damaged are the bytes read and checksums looked at, to find where reading can go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tracekit._locks import try_lock
from tracekit.inbox import HEAD, MAGIC, MARKER, Damage, read_segment, segments

Ranges = dict[str, tuple[int, int]]


def next_ranges(inbox: Path, offsets: Mapping[str, int], *, room: int) -> Ranges:
    """The next range of every segment that has something new, oldest first.

    Args:
        inbox: The folder of segments.
        offsets: How far each segment is settled.
        room: How many bytes to take, more or less.
    """
    ranges: Ranges = {}
    for path in segments(inbox):
        start = offsets.get(path.name, 0)
        if room <= 0 or size(path) <= start:
            continue
        end = start
        for end in _ends(path, start):
            if end - start >= room:
                break
        if end > start:
            ranges[path.name] = (start, end)
            room -= end - start
    return ranges


def waits(inbox: Path) -> bool:
    """Whether the inbox may hold something that is not in the lake yet: a look that loads nothing that settles."""
    found = segments(inbox)
    if not found:
        return False
    try:
        plan = json.loads((inbox / "settle.json").read_text(encoding="utf-8"))
        return plan["ranges"] is not None or any(size(path) > plan["offsets"].get(path.name, 0) for path in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # settling says what is wrong


def pieces(path: Path, start: int, end: int, *, least: int) -> list[tuple[int, int]]:
    """A range in two halves, cut between records; whole where a half would be smaller than `least` bytes."""
    if end - start < 2 * least:
        return [(start, end)]
    middle = (start + end) // 2
    cut = next((place for place in _ends(path, start) if place >= middle), end)
    return [(start, cut), (cut, end)] if start < cut < end else [(start, end)]


def is_abandoned(path: Path) -> bool:
    """Whether no writer has the segment open, so that nothing will be appended to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def size(path: Path) -> int:
    """The file's size in bytes; 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _ends(path: Path, start: int) -> Iterator[int]:
    """Where each record ends, from a place on; a torn one at the end counts only when nobody is writing it."""
    whole = size(path)
    place = start
    with path.open("rb") as file:
        if place == 0 and file.read(len(MAGIC)) == MAGIC:
            place = len(MAGIC)
        while 0 < place < whole:
            file.seek(place)
            head = file.read(HEAD.size)
            if len(head) < HEAD.size:
                break
            marker, length, _, _ = HEAD.unpack(head)
            if marker != MARKER or place + HEAD.size + length > whole:
                break
            place += HEAD.size + length
            yield place
    if place < whole:
        for item in read_segment(path, place if place > len(MAGIC) else start, whole):
            if isinstance(item, Damage) and item.torn and not is_abandoned(path):
                return
            yield item.end
