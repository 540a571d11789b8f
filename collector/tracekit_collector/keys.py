"""Digests of rows' keys, by which rows that come again are found."""

from __future__ import annotations

import hashlib


def key_of(*parts: object) -> int:
    """A 64-bit digest of a row's key, for tables other than `spans`."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def point_key(writer: str, place: int) -> int:
    """A 64-bit digest of a point's key: writers are random, so counting on from one will do."""
    return (int(writer, 16) + place) & 0xFFFF_FFFF_FFFF_FFFF


def span_key(trace_id: str, span_id: str) -> int:
    """A 64-bit digest of a span's key: ids are random, so their last halves will do."""
    return int(trace_id[16:], 16) ^ int(span_id, 16)
