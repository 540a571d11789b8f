"""What a server and its workers say to each other over a socket: frames of a kind, a request's number and JSON.

A frame is the payload's length (4 bytes), the kind (1 byte) and the number of the request (8 bytes), all in network
order, then the payload. Both sides may be of different versions of tracekit, so kinds are only ever added.
"""

from __future__ import annotations

import struct
from enum import IntEnum

FORMAT = 1
"""The number that a worker names when it is ready."""

_HEADER = struct.Struct("!IBQ")
_MOST = (1 << 32) - 1


class Kind(IntEnum):
    """What a frame says; below 16 the server speaks, from 16 the worker."""

    CALL = 1  # {input, stream, traceparent, facts}
    CANCEL = 2  # nobody waits for the request any more
    MORE = 3  # so many more chunks may come: a number
    STOP = 4  # end
    READY = 16  # {format, signature, pid}, or FAILED instead
    RESULT = 17  # the output; ends the request
    CHUNK = 18  # a part of a stream
    END = 19  # the stream is over; ends the request
    FAILED = 20  # {kind, type, message}; ends the request


Frame = tuple[int, int, bytes]


def frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    """A frame as bytes.

    Args:
        kind: Of `Kind`.
        number: The request; 0 for what is about the worker itself.
        payload: JSON, less than 4 GiB of it.

    Raises:
        ValueError: The payload is too large.

    Example:
        >>> Frames().feed(frame(Kind.CHUNK, 7, b'"yes"')) == [(Kind.CHUNK, 7, b'"yes"')]
        True
    """
    if len(payload) > _MOST:
        raise ValueError(f"a payload of {len(payload)} bytes; a frame takes less than 4 GiB")
    return _HEADER.pack(len(payload), kind, number) + payload


class Frames:
    """Puts frames together from bytes as they come."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now.

        Args:
            data: The bytes that came.
        """
        rest = self._rest
        rest += data
        found: list[Frame] = []
        start, size = 0, len(rest)
        while size - start >= _HEADER.size:
            length, kind, number = _HEADER.unpack_from(rest, start)
            end = start + _HEADER.size + length
            if end > size:
                break
            found.append((kind, number, bytes(rest[start + _HEADER.size : end])))
            start = end
        if start:
            del rest[:start]
        return found
