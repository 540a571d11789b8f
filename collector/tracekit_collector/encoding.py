"""Content codings of request bodies: undone piece by piece, so that a bomb is refused before it unfolds."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tracekit.errors import DecodeError

ACCEPTED = ("gzip", "deflate", "zstd")

_PIECE = 1 << 18
_SLICE = 1 << 15
_MEMBERS = 1000
# 8 MiB, as RFC 9659 bounds it; a frame may ask for 2 GiB.
_ZSTD_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 23}


class TooLargeError(DecodeError):
    """A body is larger than the limit once it is decompressed."""


class UnknownCodingError(DecodeError):
    """A body has a content coding that is not spoken here."""


def inflate(body: bytes, coding: str, *, limit: int, took: Callable[[int], None] = lambda _: None) -> bytes:
    """Undo the content codings of a body.

    Args:
        body: The body as it came.
        coding: Its `Content-Encoding`: `gzip`, `deflate` (with or without zlib's frame), `zstd`, `identity`, or several
            with commas, the first applied first.
        limit: How large the result may be, in bytes.
        took: Is told of every so many bytes that unfolded, and may raise to stop.

    Raises:
        TooLargeError: The result is larger than `limit`; at most a little more than that was unfolded.
        UnknownCodingError: The coding is none of these.
        DecodeError: The body is not what the coding says, or ends too early.

    Example:
        >>> import gzip
        >>> inflate(gzip.compress(b"spans"), "gzip", limit=100)
        b'spans'
    """
    names = [name.strip().lower() for name in coding.split(",")]
    codings = [name.removeprefix("x-") for name in names if name not in {"", "identity"}]
    if len(codings) > 2:
        raise UnknownCodingError(f"the body is compressed {len(codings)} times; once is enough")
    for name in reversed(codings):
        if name not in ACCEPTED:
            raise UnknownCodingError(
                f"the content encoding {name!r:.40} is not known here; use {', '.join(ACCEPTED)} or none"
            )
        pieces = _from_zstd(body) if name == "zstd" else _from_zlib(body, name)
        body = _joined(pieces, name, limit, took)
    return body


def _joined(pieces: Iterator[bytes], name: str, limit: int, took: Callable[[int], None]) -> bytes:
    out = bytearray()
    for piece in pieces:
        if len(out) + len(piece) > limit:
            raise TooLargeError(f"the {name} body unfolds to more than {limit} bytes; send smaller batches")
        took(len(piece))
        out += piece
    return bytes(out)


def _from_zlib(body: bytes, name: str) -> Iterator[bytes]:
    view = memoryview(body)
    position, members = 0, 0
    while position < len(view) or not members:
        inflater = zlib.decompressobj(_window_bits(body, name))
        members += 1
        try:
            while True:
                # Small slices of input: what one call leaves over is copied.
                given = inflater.unconsumed_tail or view[position : position + _SLICE]
                if not inflater.unconsumed_tail:
                    position += len(given)
                piece = inflater.decompress(given, _PIECE)
                if piece:
                    yield piece
                if inflater.eof:
                    break
                if not piece and position >= len(view) and not inflater.unconsumed_tail:
                    raise DecodeError(f"the {name} body ends too early, after {len(body)} bytes")
        except zlib.error as error:
            raise DecodeError(f"the body is no sound {name}: {error}") from None
        position -= len(inflater.unused_data)
        if name == "gzip":  # may be several members, and zeros may pad its end
            while position < len(view) and view[position] == 0:
                position += 1
        elif position < len(view):
            raise DecodeError(f"the {name} body has {len(view) - position} bytes after its end")
        if members == _MEMBERS and position < len(view):
            raise DecodeError(f"the {name} body has more than {_MEMBERS} members; compress it as one")


def _window_bits(body: bytes, name: str) -> int:
    if name == "gzip":
        return 31
    framed = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return 15 if framed else -15


def _from_zstd(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    position, frames = 0, 0
    while position < len(view) or not frames:
        inflater = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
        frames += 1
        try:
            while not inflater.eof:
                given = view[position : position + _SLICE] if inflater.needs_input else b""
                if inflater.needs_input and not given:
                    raise DecodeError(f"the zstd body ends too early, after {len(body)} bytes")
                position += len(given)
                piece = inflater.decompress(given, _PIECE)
                if piece:
                    yield piece
        except zstd.ZstdError as error:
            raise DecodeError(f"the body is no sound zstd: {error}") from None
        position -= len(inflater.unused_data)
        if frames == _MEMBERS and position < len(view):
            raise DecodeError(f"the zstd body has more than {_MEMBERS} frames; compress it as one")
