"""What the evaluators' tests share: subjects made in memory, and traces recorded through a store's real door."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tracekit.inbox import SegmentWriter
from tracekit_collector.store import Store
from tracekit_collector.trace import assemble
from tracekit_evaluators import Case, Subject

SECOND = 1_000_000_000
START = 1_770_000_000 * SECOND


def _row(span_id: str, **columns: object) -> dict[str, object]:
    parent = None if span_id == "00" * 8 else "00" * 8
    base = {"trace_id": "ab" * 16, "span_id": span_id, "parent_span_id": parent, "name": "step", "kind": "internal"}
    return {**base, "start_ns": START, "duration_ns": SECOND, "status": "ok", **columns}


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """Makes a subject: output and input as text; tools as (name, arguments, error or None); documents by id."""

    def make(
        output: str | None = "an answer",
        *,
        input: str | None = "a question",  # noqa: A002 - the word that subjects use
        tools: Sequence[tuple[str, object, str | None]] = (),
        documents: Sequence[Mapping[str, object]] = (),
        expected: Mapping[str, object] | None = None,
        case_id: str | None = None,
        **root: object,
    ) -> Subject:
        rows = [_row("00" * 8, step="agent", name="agent", input=input, output=output, **root)]
        for place, (name, arguments, error) in enumerate(tools, start=1):
            done = {"tool_name": name, "tool_arguments": json.dumps(arguments), "start_ns": START + place}
            told = {"status": "error", "status_message": error} if error else {"tool_result": '"done"'}
            rows.append(_row(f"{place:016x}", step="tool", name=name, **done, **told))
        if documents:
            rows.append(_row("ff" * 8, step="retriever", name="search", documents=json.dumps(list(documents))))
        return Subject(assemble(rows), Case(case_id, None, expected))

    return make


@pytest.fixture
def tree() -> Callable[..., Subject]:
    """Makes a subject of rows of spans: mappings with `at` and `took` in seconds and columns; the first is the root.

    Columns that hold JSON may be given as values; `span_id` is the row's number in hex.
    """

    def make(*rows: Mapping[str, object], expected: Mapping[str, object] | None = None) -> Subject:
        made = []
        for place, given in enumerate(rows):
            columns = {key: value for key, value in given.items() if key not in ("at", "took")}
            for key, value in columns.items():
                if isinstance(value, (dict, list)):
                    columns[key] = json.dumps(value)
            begin, took = given.get("at", place), given.get("took", 0.5)
            times = {"start_ns": START + int(begin * SECOND), "duration_ns": int(took * SECOND)}
            made.append(_row(f"{place:016x}", **{**times, **columns}))
        return Subject(assemble(made), Case(None, None, expected))

    return make


class Recorder:
    """Records traces the way an agent does: as OTLP requests in a store's inbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        key: str,
        *,
        output: str | None = "an answer",
        input: str = "a question",  # noqa: A002
        tools: Sequence[str] = (),
        case: str | None = None,
        session: str | None = None,
        repeat: int | None = None,
        agent: str = "bot",
        version: str = "v1",
        seconds: float = 1.0,
        error: str | None = None,
    ) -> str:
        """Record one trace; returns its id, which `key` decides."""
        trace_id = hashlib.sha256(key.encode()).digest()[:16]
        request = ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        given = {"tracekit.step": "agent", "input.value": input, "gen_ai.agent.name": agent}
        given |= {"gen_ai.agent.version": version, "output.value": output}
        given |= {"tracekit.case.id": case, "session.id": session}
        spans.append(_span(trace_id, b"\1" * 8, b"", "agent", seconds, given))
        if repeat is not None:
            spans[0].attributes.add(key="tracekit.case.repeat").value.int_value = repeat
        if error is not None:
            spans[0].status.code, spans[0].status.message = Status.STATUS_CODE_ERROR, error
        for place, tool in enumerate(tools):
            attributes = {"tracekit.step": "tool", "gen_ai.tool.name": tool, "gen_ai.tool.call.arguments": "{}"}
            spans.append(_span(trace_id, bytes([2 + place]) * 8, b"\1" * 8, tool, 0.1, attributes))
        writer = SegmentWriter(self.folder / "inbox", "traces")
        writer.append(request.SerializeToString())
        writer.close()
        return trace_id.hex()


def _span(
    trace_id: bytes, span_id: bytes, parent: bytes, name: str, seconds: float, given: Mapping[str, object]
) -> Span:
    span = Span(trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name)
    span.start_time_unix_nano = START + int.from_bytes(trace_id[:2], "big") * SECOND
    span.end_time_unix_nano = span.start_time_unix_nano + int(seconds * SECOND)
    for key, value in given.items():
        if value is not None:
            span.attributes.add(key=key).value.string_value = str(value)
    return span


@pytest.fixture(scope="session")
def recorder() -> type[Recorder]:
    """What records traces into a store's folder, for fixtures that many tests share."""
    return Recorder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def record(store: Store) -> Recorder:
    """Records traces into `store`."""
    return Recorder(store.location)


class ModelServer:
    """A server that speaks OpenAI's chat completions over a real socket and follows a script.

    `script` holds what to do with each request in turn, the last step again and again: a text (the model's answer), a
    mapping (the whole body), or a function of the handler and the request's payload that returns either or, having
    answered by itself, `None`.
    """

    def __init__(self) -> None:
        self.script: list[object] = []
        self.asked: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with owner._mutex:
                    place = len(owner.asked)
                    owner.asked.append(payload)
                    owner.headers.append({key.lower(): value for key, value in self.headers.items()})
                step = owner.script[min(place, len(owner.script) - 1)]
                answer = step(self, payload) if callable(step) else step
                if answer is not None:
                    self.answer(200, completion(answer) if isinstance(answer, str) else answer)

            def answer(self, status: int, body: object, **headers: str) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for key, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def hang(self) -> None:
                owner.released.wait(30)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._mutex = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(text: str | None, *, finish: str = "stop", refusal: str | None = None) -> dict[str, object]:
    """A chat completion's body."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"model": "judge-1-0101", "choices": [choice], "usage": usage, "system_fingerprint": "fp_1"}


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A scripted model server."""
    server = ModelServer()
    yield server
    server.close()
