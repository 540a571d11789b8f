"""The OTLP/HTTP door: its answers to every kind of body, and that success means the disk has it."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracekit.errors import DecodeError, StoreError
from tracekit.inbox import Record, SegmentWriter, read_segment, segments
from tracekit_collector.committer import Committer
from tracekit_collector.door import Door, Limits
from tracekit_collector.encoding import TooLargeError, inflate

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
MAX_BODY = 1 << 20


def traces(count: int = 3, *, bad: int = 0) -> bytes:
    good = [{"name": "s", "trace_id": os.urandom(16), "span_id": os.urandom(8)} for _ in range(count)]
    return ExportTraceServiceRequest(
        resource_spans=[{"scope_spans": [{"spans": [*good, *[{"name": "no id"}] * bad]}]}]
    ).SerializeToString()


def kept(inbox) -> list[bytes]:
    return [item.payload for path in segments(inbox) for item in read_segment(path) if isinstance(item, Record)]


class Client:
    """Asks a door in this process, with no network between."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def post(self, path: str, body: object, headers: dict[str, str]) -> httpx.Response:
        return asyncio.run(self.ask("POST", path, content=body, headers=headers))

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self.ask("GET", path))

    async def ask(self, method: str, path: str, **options) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.door.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.request(method, path, **options)


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox"


@pytest.fixture
def client(inbox):
    committer = Committer(inbox)
    yield Client(Door(committer, limits=Limits(max_body=MAX_BODY)))
    committer.close()


def message_of(response: httpx.Response) -> tuple[int, str]:
    """The status that a failure carries, in whichever form it was asked for."""
    if response.headers["content-type"] == "application/json":
        return response.json()["code"], response.json()["message"]
    assert response.headers["content-type"] == "application/x-protobuf"
    status = Status.FromString(response.content)
    return status.code, status.message


def test_success_is_empty_and_the_disk_has_the_request(client, inbox):
    body = traces()
    answer = client.post("/v1/traces", body, PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert kept(inbox) == [body]


def test_json_is_answered_in_json_and_kept_as_protobuf(client, inbox):
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "js"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    answer = client.post("/v1/traces", body, {"content-type": "application/json; charset=utf-8"})
    assert (answer.status_code, answer.json()) == (200, {})
    (payload,) = kept(inbox)
    assert ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans[0].name == "js"


def test_logs_have_a_segment_of_their_own(client, inbox):
    body = ExportLogsServiceRequest(
        resource_logs=[{"scope_logs": [{"log_records": [{"severity_text": "INFO"}]}]}]
    ).SerializeToString()
    assert client.post("/v1/logs", body, PROTOBUF).status_code == 200
    assert [path.suffix for path in segments(inbox)] == [".logs"]


def test_metrics_are_counted_and_not_kept(client, inbox):
    body = ExportMetricsServiceRequest(
        resource_metrics=[{"scope_metrics": [{"metrics": [{"name": "a", "gauge": {}}, {"name": "b", "gauge": {}}]}]}]
    ).SerializeToString()
    assert client.post("/v1/metrics", body, PROTOBUF).status_code == 200
    assert client.get("/readyz").json()["accepted"]["metrics"] == 2
    assert kept(inbox) == []


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("zstd", lambda body: pa.compress(body, codec="zstd", asbytes=True)),
        ("identity", bytes),
        ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
    ],
)
def test_every_content_coding_is_undone(client, inbox, coding, compress):
    body = traces()
    answer = client.post("/v1/traces", compress(body), {**PROTOBUF, "content-encoding": coding})
    assert answer.status_code == 200
    assert kept(inbox) == [body]


def test_spans_that_cannot_be_kept_are_a_partial_success(client, inbox):
    answer = client.post("/v1/traces", traces(2, bad=1), PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_spans) == (200, 1)
    assert "'no id' has a trace id of 0 bytes; it must have 16" in partial.error_message
    assert len(ExportTraceServiceRequest.FromString(kept(inbox)[0]).resource_spans[0].scope_spans[0].spans) == 2


def test_a_request_without_spans_succeeds_and_writes_nothing(client, inbox):
    assert client.post("/v1/traces", b"", PROTOBUF).status_code == 200
    assert client.post("/v1/traces", b"{}", JSON).json() == {}
    assert kept(inbox) == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "says"),
    [
        (b"\x00", PROTOBUF, 400, 3, "at byte 0"),
        (b"{", JSON, 400, 3, "no JSON"),
        (b"x", {"content-type": "text/plain"}, 415, 3, "Content-Type must be application/x-protobuf"),
        (b"x", {}, 415, 3, "Content-Type must be"),
        (b"x", {**JSON, "content-encoding": "br"}, 415, 3, "use gzip, deflate, zstd or none"),
        (gzip.compress(traces(), mtime=0)[:-5], {**PROTOBUF, "content-encoding": "gzip"}, 400, 3, "ends too early"),
        (b"not gzip", {**PROTOBUF, "content-encoding": "gzip"}, 400, 3, "no sound gzip"),
        (bytes(MAX_BODY + 1), PROTOBUF, 413, 3, "the limit is 1048576"),
        (
            gzip.compress(bytes(MAX_BODY * 5), mtime=0),
            {**PROTOBUF, "content-encoding": "gzip"},
            413,
            3,
            "unfolds to more than",
        ),
    ],
)
def test_a_bad_body_is_answered_with_a_status_that_says_why(client, inbox, body, headers, status, code, says):
    answer = client.post("/v1/traces", body, headers)
    assert answer.status_code == status
    told_code, told = message_of(answer)
    assert told_code == code
    assert says in told
    assert "retry-after" not in answer.headers
    assert kept(inbox) == []


def test_a_body_in_pieces_without_a_length_meets_the_same_limit(client):
    async def pieces():
        for _ in range(40):
            yield bytes(50_000)

    assert client.post("/v1/traces", pieces(), PROTOBUF).status_code == 413


def test_other_paths_and_methods_are_told_as_statuses(client):
    assert (client.post("/v1/trace", b"", JSON).status_code, client.get("/v1/traces").status_code) == (404, 405)
    assert message_of(client.post("/v1/trace", b"", JSON)) == (
        5,
        "there is nothing at /v1/trace; send to /v1/traces or /v1/logs",
    )


def test_health_and_readiness(client):
    client.post("/v1/traces", traces(4, bad=1), PROTOBUF)
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "inbox": {"error": None},
        "in_flight_bytes": 0,
        "accepted": {"requests": 1, "spans": 4, "logs": 0, "metrics": 0},
        "refused": 1,
    }


class Slow(SegmentWriter):
    """A segment writer whose disk waits for a word."""

    def __init__(self, writer: SegmentWriter, go: threading.Event) -> None:
        self._writer = writer
        self._go = go
        self.groups: list[int] = []
        self.failing = ""

    def append(self, *payloads, **options) -> None:
        self._go.wait(20)
        self.groups.append(len(payloads))
        if self.failing:
            raise StoreError(self.failing)
        self._writer.append(*payloads, **options)

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
def slow(inbox):
    go = threading.Event()
    committer = Committer(inbox)
    disk = committer._writers["traces"] = Slow(committer._writers["traces"], go)
    yield disk, go, committer
    go.set()
    committer.close()


def test_nothing_is_acknowledged_before_the_disk_has_it_and_who_waits_together_shares_a_write(slow, inbox):
    disk, go, committer = slow
    client = Client(Door(committer))

    async def scene():
        asked = [
            asyncio.create_task(client.ask("POST", "/v1/traces", content=traces(), headers=PROTOBUF)) for _ in range(20)
        ]
        done, _ = await asyncio.wait(asked, timeout=0.3)
        assert not done
        go.set()
        return [(await each).status_code for each in asked]

    assert asyncio.run(scene()) == [200] * 20
    assert sum(disk.groups) == 20
    assert len(disk.groups) <= 3
    assert len(kept(inbox)) == 20


def test_too_many_bytes_in_flight_are_a_429_that_says_when_to_come_again(slow):
    _, go, committer = slow
    body = traces(1000)
    client = Client(Door(committer, limits=Limits(in_flight=int(len(body) * 2.5))))

    async def scene():
        ask = [asyncio.create_task(client.ask("POST", "/v1/traces", content=body, headers=PROTOBUF)) for _ in range(3)]
        done, waiting = await asyncio.wait(ask, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        go.set()
        return refused.result(), [(await each).status_code for each in waiting], await client.ask("GET", "/readyz")

    refused, others, ready = asyncio.run(scene())
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "2"
    assert message_of(refused)[0] == 8
    assert others == [200, 200]
    assert ready.json()["in_flight_bytes"] == 0


def test_a_disk_that_refuses_is_a_503_that_says_when_to_come_again_and_the_door_recovers(slow, inbox):
    disk, go, committer = slow
    go.set()
    client = Client(Door(committer))
    disk.failing = "cannot write to the inbox: No space left on device"
    refused = client.post("/v1/traces", traces(), PROTOBUF)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert message_of(refused) == (14, "cannot write to the inbox: No space left on device")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "failing")
    disk.failing = ""
    assert client.post("/v1/traces", traces(), PROTOBUF).status_code == 200
    assert client.get("/readyz").json()["status"] == "ready"
    assert len(kept(inbox)) == 1


def test_a_client_that_gives_up_harms_nobody_who_waits_with_it(slow, inbox):
    _, go, committer = slow
    first = committer.keep("traces", b"held by the disk")
    leaving, staying = committer.keep("traces", b"leaving"), committer.keep("traces", b"staying")
    assert leaving.cancel()
    go.set()
    first.result(10)
    staying.result(10)
    assert kept(inbox) == [b"held by the disk", b"staying"]


def test_a_stopping_collector_asks_to_be_asked_again(inbox):
    committer = Committer(inbox)
    committer.close()
    refused = Client(Door(committer)).post("/v1/traces", traces(), PROTOBUF)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


bodies = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda body, cut: gzip.compress(body)[:cut], st.binary(max_size=100), st.integers(0, 120)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["resourceSpans", "scopeSpans", "spans", "traceId", "key"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    path=st.sampled_from(["/v1/traces", "/v1/logs", "/v1/metrics"]),
    body=bodies,
    media=st.sampled_from(["application/json", "application/x-protobuf", "text/html", "", "application/json;;=;"]),
    coding=st.sampled_from(["", "gzip", "deflate", "zstd", "gzip,gzip", "zip", ",,"]),
)
def test_no_body_is_ever_a_fault_of_the_server(client, path, body, media, coding):
    answer = client.post(path, body, {"content-type": media, "content-encoding": coding})
    assert answer.status_code in {200, 400, 413, 415}
    if answer.status_code != 200:
        assert message_of(answer)[1]


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_what_is_compressed_comes_back(body, coding):
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(
        coding, lambda plain: pa.compress(plain, codec="zstd", asbytes=True)
    )(body)
    assert inflate(packed, coding, limit=5000) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_unfolds(coding):
    plain = bytes(64 << 20)
    bomb = gzip.compress(plain) if coding == "gzip" else pa.compress(plain, codec="zstd", asbytes=True)
    assert len(bomb) < 100_000
    with pytest.raises(TooLargeError, match="unfolds to more than 1000 bytes"):
        inflate(bomb, coding, limit=1000)


def test_many_gzip_members_are_one_body_until_they_are_a_trick():
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b") + bytes(512), "gzip", limit=10) == b"ab"
    with pytest.raises(Exception, match="more than 1000 members"):
        inflate(gzip.compress(b"") * 2000, "gzip", limit=10)


def test_segments_of_two_committers_do_not_meet(inbox):
    first, second = Committer(inbox), Committer(inbox)
    with ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda n: (first, second)[n % 2].keep("traces", b"%d" % n), range(200)))
    for future in futures:
        future.result(10)
    assert len(segments(inbox)) == 2
    assert sorted(kept(inbox), key=int) == [b"%d" % n for n in range(200)]
    first.close()
    second.close()


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the size of memory as Linux tells it")
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bodies_that_cannot_be_unfolded_leave_nothing_behind(coding):
    plain = os.urandom(200_000)
    packed = gzip.compress(plain) if coding == "gzip" else pa.compress(plain, codec="zstd", asbytes=True)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fail(times: int) -> None:
        for number in range(times):
            with pytest.raises(DecodeError, match="ends too early"):
                inflate(packed[: 150_000 + number], coding, limit=1 << 20)

    fail(30)
    before = resident()
    fail(300)
    assert resident() - before < 20_000_000
