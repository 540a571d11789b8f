"""The OTLP/gRPC door: traces, logs and metrics on one port, on the event loop of the HTTP door.

Answers follow the OTLP specification (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc): what is worth sending again
is UNAVAILABLE, or RESOURCE_EXHAUSTED with a `RetryInfo` that says when; what is not is INVALID_ARGUMENT. gzip and
deflate are undone by gRPC itself, as is the refusal of messages over the limit.

A unary call is served as a stream of one message, because then the handler begins before the message is read: a request
that may not come in costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # generated without types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # generated without types

from tracekit.errors import SettingError
from tracekit_collector.admission import ANSWERS, Admission, RefusedError
from tracekit_collector.otlp import PROTOBUF, Kind, response_body

_PATIENCE = 30.0  # seconds in which a message must have come
_AHEAD = 1 << 18  # bytes taken of the bound before a message's size is known
_LONGEST_DETAIL = 500  # characters; a header has 8 KiB at most
_SERVICES: dict[str, Kind] = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Handler = Callable[[Any, Any], Any]


class GrpcDoor:
    """Receives OTLP/gRPC and keeps it in an inbox; lives on the event loop that starts it.

    Args:
        admission: What takes requests in.
        host: The address to listen on.
        port: The port; 0 picks a free one, which `port` then tells.
        certificate: Files of a certificate chain and its private key, PEM, for TLS.
    """

    def __init__(
        self, admission: Admission, *, host: str, port: int, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.port = port
        self._admission = admission
        self._host = host
        self._certificate = certificate
        self._server: Any = None

    async def start(self) -> None:
        """Listen from now on.

        Raises:
            SettingError: The address cannot be listened on.
        """
        limit = self._admission.limits.max_body
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ]
        )
        server.add_generic_rpc_handlers((_Handlers(self._admission),))
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            if self._certificate is None:
                self.port = server.add_insecure_port(f"{host}:{self.port}")
            else:
                chain, key = (path.read_bytes() for path in self._certificate)
                credentials = grpc.ssl_server_credentials([(key, chain)])
                self.port = server.add_secure_port(f"{host}:{self.port}", credentials)
        except (RuntimeError, OSError, ValueError):
            mend = "stop what has it, or give another --grpc-port (0 picks a free one, off opens none)"
            raise SettingError(f"cannot listen on {self._host}:{self.port} for gRPC; {mend}") from None
        await server.start()
        self._server = server

    async def stop(self, grace: float) -> None:
        """Take no more, and let what is under way end within `grace` seconds."""
        if self._server is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._server.stop(grace)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, admission: Admission) -> None:
        # No deserializer: the admission decodes, and says where a message is wrong.
        self._methods = {
            method: grpc.stream_unary_rpc_method_handler(_exporting(admission, kind))
            for method, kind in _SERVICES.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)


def _exporting(admission: Admission, kind: Kind) -> Handler:
    async def export(messages: Any, context: Any) -> bytes:
        del messages  # read from the context, which says when there is none
        refused: RefusedError
        try:
            with await admission.enter("grpc", kind, _authorization(context)) as ticket:
                ticket.hold(_AHEAD)
                body = await _message(context)
                ticket.hold(max(0, len(body) - _AHEAD))
                decoded = await ticket.keep(body, PROTOBUF)
            return response_body(decoded, PROTOBUF)
        except RefusedError as error:
            refused = error
        return await _abort(context, refused)

    return export


async def _message(context: Any) -> bytes:
    try:
        body = await asyncio.wait_for(context.read(), _PATIENCE)
    except asyncio.TimeoutError:
        raise RefusedError("slow", f"no message came for {_PATIENCE:.0f} s") from None
    if not isinstance(body, bytes):  # the call ended before its message
        raise RefusedError("malformed", "the call has no message")
    return body


def _authorization(context: Any) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            return value
    return None


async def _abort(context: Any, refused: RefusedError) -> bytes:
    code = _CODES[ANSWERS[refused.reason][1]]
    message = refused.message[:_LONGEST_DETAIL].encode("utf-8", "replace").decode("utf-8")
    trailing: tuple[tuple[str, bytes], ...] = ()
    if refused.retry_seconds is not None:
        detail = AnyMessage()
        detail.Pack(RetryInfo(retry_delay=Duration(seconds=refused.retry_seconds)))
        status = Status(code=code.value[0], message=message, details=[detail])
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, message, trailing)
    raise AssertionError  # abort does not return
