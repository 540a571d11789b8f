"""The OTLP/gRPC door: what it takes, how it refuses, and that success means the disk has it."""

from __future__ import annotations

import asyncio
import os
import threading

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracekit.errors import StoreError, TracekitError
from tracekit.inbox import Record, read_segment, segments
from tracekit_collector.admission import Admission, Limits
from tracekit_collector.committer import Committer
from tracekit_collector.grpc_door import GrpcDoor

SERVICE = "/opentelemetry.proto.collector.{}/Export"
TRACES = SERVICE.format("trace.v1.TraceService")
LOGS = SERVICE.format("logs.v1.LogsService")
METRICS = SERVICE.format("metrics.v1.MetricsService")


class Served:
    """A gRPC door on an event loop of its own, and a channel to it."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.door = GrpcDoor(admission, host="127.0.0.1", port=0)
        self.run(self.door.start())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.door.port}")

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, method: str, body: bytes, **options) -> bytes:
        return self.channel.unary_unary(method)(body, timeout=20, **options)

    def refusal(self, method: str, body: bytes, **options) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, body, **options)
        return caught.value

    def close(self) -> None:
        self.channel.close()
        self.run(self.door.stop(0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.admission.close()


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox"


@pytest.fixture
def serve(inbox):
    committer = Committer(inbox)
    served: list[Served] = []

    def start(**options) -> Served:
        served.append(Served(Admission(committer, **options)))
        return served[-1]

    start.committer = committer
    yield start
    for each in served:
        each.close()
    committer.close()


def traces(count: int = 3, *, bad: int = 0) -> bytes:
    good = [{"name": "s", "trace_id": os.urandom(16), "span_id": os.urandom(8)} for _ in range(count)]
    spans = [*good, *[{"name": "no id"}] * bad]
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}]).SerializeToString()


def kept(inbox) -> list[bytes]:
    return [item.payload for path in segments(inbox) for item in read_segment(path) if isinstance(item, Record)]


def retry_of(error: grpc.RpcError) -> int | None:
    """The seconds that a refusal asks to wait, `None` where it says nothing of trying again."""
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if details is None:
        return None
    info = RetryInfo()
    status = Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert status.details[0].Unpack(info)
    return info.retry_delay.seconds


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_success_is_an_empty_answer_and_the_disk_has_the_request(serve, inbox, compression):
    body = traces()
    assert serve().call(TRACES, body, compression=compression) == b""
    assert kept(inbox) == [body]


def test_logs_and_genai_metrics_are_kept_and_other_metrics_counted(serve, inbox):
    served = serve()
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [{"severity_text": "INFO"}]}]}])
    served.call(LOGS, logs.SerializeToString())
    point = {"data_points": [{"as_int": 1}]}
    ours = {"name": "gen_ai.client.token.usage", "sum": point}
    metrics = ExportMetricsServiceRequest(
        resource_metrics=[
            {"scope_metrics": [{"metrics": [{"name": "http.server.duration", "sum": point}, ours]}]},
            {"scope_metrics": [{"metrics": [{"name": "process.cpu", "sum": point}]}]},
        ]
    )
    served.call(METRICS, metrics.SerializeToString())
    wanted = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [ours]}]}])
    assert kept(inbox) == [logs.SerializeToString(), wanted.SerializeToString()]
    assert [path.suffix for path in segments(inbox)] == [".logs", ".metrics"]
    assert served.admission.meter.counted("items_total", signal="metrics") == 3


def test_spans_that_cannot_be_kept_are_a_partial_success(serve, inbox):
    partial = ExportTraceServiceResponse.FromString(serve().call(TRACES, traces(2, bad=1))).partial_success
    assert partial.rejected_spans == 1
    assert "'no id' has a trace id of 0 bytes; it must have 16" in partial.error_message
    assert len(kept(inbox)) == 1


def test_a_message_that_is_none_is_invalid_and_not_worth_sending_again(serve, inbox):
    error = serve().refusal(TRACES, b"\x00\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "at byte 0" in error.details()
    assert retry_of(error) is None
    assert kept(inbox) == []


def test_a_method_that_is_none_is_unimplemented(serve):
    assert serve().refusal(TRACES + "s", b"").code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_for_good_be_it_small_when_compressed(serve, inbox, compression):
    served = serve(limits=Limits(max_body=1 << 16))
    error = served.refusal(TRACES, bytes(1 << 20), compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_of(error) is None
    assert served.call(TRACES, traces()) == b""
    assert served.admission.held == 0


def test_too_much_in_flight_is_resource_exhausted_with_a_time_to_come_again(serve, inbox):
    served = serve(limits=Limits(in_flight=1 << 18))
    served.admission.hold(1)
    error = served.refusal(TRACES, traces())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_of(error) == 2
    served.admission.let_go(1)
    assert served.call(TRACES, traces()) == b""
    assert served.admission.held == 0


def test_a_backlog_over_the_bound_is_unavailable_until_settling_caught_up(serve, inbox):
    waiting = [1000]
    served = serve(limits=Limits(backlog=1000), backlog=lambda: waiting[0])
    error = served.refusal(TRACES, traces())
    assert (error.code(), retry_of(error)) == (grpc.StatusCode.UNAVAILABLE, 2)
    assert error.details() == "1000 bytes wait to be settled and the bound is 1000; send again later"
    waiting[0] = 0
    served.admission._backlog._measured = None
    assert served.call(TRACES, traces()) == b""


def test_a_stopping_collector_is_unavailable(serve):
    served = serve()
    serve.committer.close()
    error = served.refusal(TRACES, traces())
    assert (error.code(), retry_of(error)) == (grpc.StatusCode.UNAVAILABLE, 2)


class NotAllowedError(TracekitError):
    def __init__(self, status: int) -> None:
        super().__init__(f"the token is not good: {status}")
        self.status = status


@pytest.mark.parametrize(
    ("token", "code"), [("none", grpc.StatusCode.UNAUTHENTICATED), ("reader", grpc.StatusCode.PERMISSION_DENIED)]
)
def test_who_may_not_write_is_refused_before_the_message_is_read(serve, inbox, token, code):
    def authorise(header, kind):
        assert kind == "write"
        if header != "Bearer writer":
            raise NotAllowedError(401 if header == "Bearer none" else 403)

    served = serve(authorise=authorise)
    error = served.refusal(TRACES, traces(), metadata=(("authorization", f"Bearer {token}"),))
    assert (error.code(), retry_of(error)) == (code, None)
    assert served.call(TRACES, traces(), metadata=(("authorization", "Bearer writer"),)) == b""
    assert len(kept(inbox)) == 1


def test_tokens_that_cannot_be_read_make_the_door_unavailable(serve):
    def authorise(header, kind):
        raise StoreError("the catalog is away")

    error = serve(authorise=authorise).refusal(TRACES, traces())
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the catalog is away")
