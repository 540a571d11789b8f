"""Clients for benchmarks that kill: they send over both doors, and again what was not answered, and take notes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from typing_extensions import Self

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CLIENTS = 4  # every second one by gRPC
SPANS_A_REQUEST = 25
_SECONDS = 10.0  # that an answer is waited for
_AGAIN_SECONDS = 1.0


@dataclass
class Senders:
    """Clients that send until they are told to stop.

    Args:
        seed: Of what they send.
        spans: How many a request.
        text: How many bytes of text a span.
        pause: Seconds from one answer to the next request.
    """

    seed: int
    spans: int = SPANS_A_REQUEST
    text: int = 60
    pause: float = 0.0
    url: str = ""
    target: str = ""
    acknowledged: set[str] = field(default_factory=set)
    by_grpc: int = 0
    sent: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    up: threading.Event = field(default_factory=threading.Event)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> list[threading.Thread]:
        """Start the clients."""
        threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def _send(self, number: int) -> None:
        rng = random.Random(self.seed * 1000 + number)
        over_grpc = number % 2 == 1
        with httpx.Client(timeout=_SECONDS) as client, _Channels() as channels:
            accepted: Callable[[bytes], bool] = (
                (lambda body: channels.accepted(self.target, body))
                if over_grpc
                else (lambda body: _accepted(client, self.url, body))
            )
            while not self.stopping.is_set():
                body, ids = request(rng, self.spans, self.text)
                with self.mutex:
                    self.sent |= ids
                while not accepted(body):
                    if self.stopping.is_set():
                        return
                    self.up.wait(_AGAIN_SECONDS)
                with self.mutex:
                    self.acknowledged |= ids
                    self.by_grpc += len(ids) * over_grpc
                self.stopping.wait(self.pause)


def request(rng: random.Random, spans: int = SPANS_A_REQUEST, text: int = 60) -> tuple[bytes, set[str]]:
    """A traces request of new spans, and their ids as `trace_id/span_id`."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    trace_id, ids, now = rng.randbytes(16), set(), time.time_ns()
    for number in range(spans):
        span = scope.spans.add(name=f"step {number}", trace_id=trace_id, span_id=rng.randbytes(8))
        span.start_time_unix_nano, span.end_time_unix_nano = now + number, now + number + 1000
        span.attributes.add(key="input.value").value.string_value = rng.randbytes(text // 2).hex()
        ids.add(f"{trace_id.hex()}/{span.span_id.hex()}")
    return message.SerializeToString(), ids


def _accepted(client: httpx.Client, url: str, body: bytes) -> bool:
    try:
        answer = client.post(f"{url}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


class _Channels:
    """The channel of one client, to whichever collector runs now."""

    def __init__(self) -> None:
        self._target = ""
        self._channel: grpc.Channel | None = None

    def accepted(self, target: str, body: bytes) -> bool:
        if self._channel is None or target != self._target:
            self.close()
            self._target, self._channel = target, grpc.insecure_channel(target)
        try:
            self._channel.unary_unary(EXPORT)(body, timeout=_SECONDS)
        except grpc.RpcError:
            return False
        return True

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
