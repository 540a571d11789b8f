"""The inference log on WSGI: what it records, and that the service does not notice."""

from __future__ import annotations

import io
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from opentelemetry import trace

import tracekit
from tracekit import _guard
from tracekit.testing import Recorder
from tracekit.wsgi import InferenceLog

Environ = dict[str, Any]


def environ(path: str = "/chat", method: str = "POST", body: bytes = b"{}", **more: Any) -> Environ:
    found: Environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    found.update({"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), **more})
    setup_testing_defaults(found)
    return found


def serve(app: Any, given: Environ | None = None, *, pieces: int | None = None) -> tuple[str, dict[str, str], bytes]:
    """Drive an app as a server does, that perhaps stops after some pieces because its client has gone."""
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], object]:
        started[:] = [status, dict(headers)]
        return lambda data: None

    made = app(given or environ(), start)
    body = b""
    try:
        for number, piece in enumerate(made, 1):
            body += piece
            if number == pieces:
                break
    finally:
        if hasattr(made, "close"):
            made.close()
    return started[0], started[1], body


def answering(*parts: bytes, status: str = "200 OK") -> Callable[..., Iterable[bytes]]:
    def app(environ: Environ, start: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start(status, [("Content-Type", "text/plain")])
        return list(parts)

    return app


def inference(recorder: Recorder) -> dict[str, Any]:
    (record,) = recorder.records
    found = {key.removeprefix("tracekit.inference."): value for key, value in record.attributes.items()}
    return {**found, "metadata": json.loads(found["metadata"])}


def test_a_request_is_a_server_span_and_a_record(recorder: Recorder) -> None:
    given = environ("/v1", HTTP_TRACEPARENT=f"00-{'a' * 32}-{'b' * 16}-01", HTTP_X_SESSION_ID="chat-7")
    status, headers, body = serve(validator(InferenceLog(validator(answering(b"yes")), agent="bot")), given)
    assert (status, body) == ("200 OK", b"yes")
    assert headers == {"Content-Type": "text/plain", "x-trace-id": "a" * 32}
    found, span = inference(recorder), recorder.find(name="POST /v1")
    assert 0 <= found.pop("ttft_ms") <= found.pop("latency_ms")
    assert len(found.pop("request_id")) == 26
    assert found == {
        "endpoint": "/v1",
        "status_code": 200,
        "request": "{}",
        "response": "yes",
        "session.id": "chat-7",
        "gen_ai.agent.name": "bot",
        "metadata": {
            "method": "POST",
            "path": "/v1",
            "content_type": "text/plain",
            "request_bytes": 2,
            "response_bytes": 3,
            "response_whole": True,
        },
    }
    assert (span.parent_id, span.attributes["session.id"]) == ("b" * 16, "chat-7")


def test_other_requests_pass_untouched(recorder: Recorder) -> None:
    given, seen = environ("/health"), []

    def app(environ: Environ, start: Any) -> list[bytes]:
        seen.append((environ is given, start))
        return parts

    parts: list[bytes] = []

    def start(*_: Any) -> Any: ...

    assert InferenceLog(app, routes=["/chat"])(given, start) is parts
    assert seen == [(True, start)]
    assert recorder.records == []


def test_what_is_made_while_it_is_sent_belongs_to_the_request(recorder: Recorder) -> None:
    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        with tracekit.span("making", step="chain"):
            for number in range(3):
                with tracekit.span(f"piece {number}"):
                    pass
                yield b"%d" % number

    made = InferenceLog(app)(environ(), lambda *_: lambda data: None)
    assert recorder.spans == []
    pieces = []
    for piece in made:
        assert not trace.get_current_span().get_span_context().is_valid
        pieces.append(piece)
    assert pieces == [b"0", b"1", b"2"]
    assert recorder.tree() == "POST /chat\n  making\n    piece 0\n    piece 1\n    piece 2"
    assert inference(recorder)["response"] == "012"


def test_a_client_that_leaves_is_told_of_and_the_service_is_closed(recorder: Recorder) -> None:
    closed: list[str] = []

    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        try:
            yield b"half"
            yield b"whole"
        finally:
            closed.append(str(tracekit.trace_id()))

    serve(InferenceLog(app), pieces=1)
    found = inference(recorder)
    assert closed == ["0" * 31 + "1"]
    assert (found["response"], found["metadata"]["disconnected"]) == ("half", True)
    assert found["metadata"]["response_whole"] is False


@pytest.mark.parametrize("late", [False, True])
def test_an_exception_passes_as_it_is(recorder: Recorder, late: bool) -> None:
    error = ValueError("broken")

    def app(environ: Environ, start: Any) -> Iterable[bytes]:
        def pieces() -> Iterator[bytes]:
            start("200 OK", [("Content-Type", "text/plain")])
            yield b"half"
            raise error

        if late:
            return pieces()
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        serve(InferenceLog(app))
    assert caught.value is error
    found = inference(recorder)
    assert (found["status_code"], found["metadata"]["error"]) == (200 if late else 500, "ValueError")
    assert recorder.find(name="POST /chat").error == "ValueError"


def test_an_error_page_instead_of_a_response_counts(recorder: Recorder) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        try:
            raise KeyError("broken")
        except KeyError:
            start("500 Oops", [], sys.exc_info())
        return [b"sorry"]

    assert serve(InferenceLog(app))[0] == "500 Oops"
    assert inference(recorder)["status_code"] == 500


def test_the_length_of_a_list_is_still_known(recorder: Recorder) -> None:
    made: Any = InferenceLog(answering(b"yes"))(environ(), lambda *_: lambda data: None)
    assert len(made) == 1
    generated: Any = InferenceLog(lambda *_: iter([b""]))(environ(), lambda *_: lambda data: None)
    assert not hasattr(generated, "__len__")
    made.close()
    generated.close()


def test_what_is_written_by_hand_is_recorded(recorder: Recorder) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        write = start("200 OK", [])
        write(b"one ")
        return [b"two"]

    serve(InferenceLog(app))
    assert inference(recorder)["response"] == "one two"


def test_a_file_is_left_to_the_server(recorder: Recorder) -> None:
    file = FileWrapper(io.BytesIO(b"much"))

    def app(environ: Environ, start: Any) -> Any:
        start("200 OK", [])
        return file

    assert InferenceLog(app)(environ(**{"wsgi.file_wrapper": FileWrapper}), lambda *_: None) is file
    assert inference(recorder)["response"] == "…[a file that the server sent by itself]"


@pytest.mark.parametrize("way", ["read", "readline", "readlines", "iterate", "in parts"])
def test_every_way_to_read_the_request_is_recorded(recorder: Recorder, way: str) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        ways: dict[str, Callable[[], list[bytes]]] = {
            "read": lambda: [body.read()],
            "readline": lambda: [body.readline(), body.readline(), body.readline()],
            "readlines": body.readlines,
            "iterate": lambda: list(body),
            "in parts": lambda: [body.read(2), body.read(-1)],
        }
        start("200 OK", [])
        return [b"".join(ways[way]())]

    _, _, body = serve(InferenceLog(app), environ(body=b"one\ntwo\n"))
    assert body == b"one\ntwo\n"
    assert inference(recorder)["request"] == "one\ntwo\n"


def test_a_fault_of_ours_never_reaches_the_service(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("tracekit._inference.Exchange.starts", broken)
    monkeypatch.setattr("tracekit._inference.Exchange.sends", broken)
    monkeypatch.setattr("tracekit._inference.Exchange._record", broken)
    assert serve(InferenceLog(answering(b"yes")))[2] == b"yes"
    assert sum(_guard.faults.values()) >= 3


def test_behind_a_real_server(recorder: Recorder) -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None: ...

    logged = InferenceLog(answering(b"one ", b"two"))
    with make_server("127.0.0.1", 0, validator(logged), handler_class=Quiet) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/ask/%C3%BC?q=1"
        with urllib.request.urlopen(urllib.request.Request(url, b'{"q": 1}'), timeout=10) as answer:
            assert answer.read() == b"one two"
            assert len(answer.headers["X-Trace-Id"]) == 32
        thread.join(10)
    found = inference(recorder)
    assert (found["endpoint"], found["request"], found["response"]) == ("/ask/ü", '{"q": 1}', "one two")
    assert found["metadata"]["query"] == "q=1"
