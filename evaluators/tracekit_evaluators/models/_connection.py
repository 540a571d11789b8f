"""One connection to a model's server: HTTP/1.1 over asyncio, requests one after the other.

What a judging run waits for longest, after the model, would be its HTTP client: one that can do everything takes a
millisecond of the processor a request. This one sends a body and reads an answer, and leaves the protocol to h11.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import h11

_CHUNK = 1 << 16
_LONGEST_HEAD = 100 * 1024
_ANY_ZLIB = 47  # gzip or zlib, as the data says


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Args:
        status: The status code.
        headers: By lower-case name; the last of several counts.
        content: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection:
    """An open connection; made by `opened`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)

    @classmethod
    async def opened(cls, host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
        """A connection to a server.

        Raises:
            OSError: It cannot be reached, or its certificate is not good.
        """
        named = host if tls is not None else None
        return cls(*await asyncio.open_connection(host, port, ssl=tls, server_hostname=named))

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent on it."""
        return self._protocol.our_state is h11.IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def post(self, target: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """Send a body, and read the answer to its end.

        Args:
            target: Path and query.
            headers: With the host and the body's length.
            content: The body.

        Raises:
            OSError: The connection broke.
            h11.ProtocolError: The server broke off, or does not speak HTTP.
            zlib.error: The body is not what its headers say.
        """
        protocol = self._protocol
        parts = (h11.Request(method="POST", target=target, headers=list(headers.items())), h11.Data(data=content))
        self._writer.write(b"".join(protocol.send(part) or b"" for part in (*parts, h11.EndOfMessage())))
        await self._writer.drain()
        status, found, body = 0, dict[str, str](), list[bytes]()
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
                found = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
        if not status:
            raise h11.RemoteProtocolError("the server closed the connection without an answer")
        if protocol.our_state is h11.DONE and protocol.their_state is h11.DONE:
            protocol.start_next_cycle()
        plain = b"".join(body)
        if found.get("content-encoding", "identity").lower() != "identity":
            plain = zlib.decompress(plain, _ANY_ZLIB)
        return Answer(status, found, plain)

    def close(self) -> None:
        """Close it at once; who waits for an answer sees it break off."""
        self._writer.transport.abort()
