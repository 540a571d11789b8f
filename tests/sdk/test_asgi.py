"""The inference log on ASGI: what it records, and that the service does not notice."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

import tracekit
from tracekit import _guard
from tracekit.asgi import InferenceLog
from tracekit.errors import UsageError
from tracekit.testing import Recorder, recorded

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
PREFIX = "tracekit.inference."


def scope(path: str = "/chat", method: str = "POST", **headers: str) -> Message:
    pairs = [(key.replace("_", "-").encode(), value.encode("latin-1")) for key, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": pairs}


async def serve(app: App, given: Message, requests: Sequence[Message] = ()) -> list[Message]:
    """Drive an app as a server does; gives the messages that the server got."""
    waiting, sent = list(requests or [{"type": "http.request", "body": b"{}"}]), list[Message]()

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(given, receive, send)
    return sent


def call(app: App, given: Message | None = None, requests: Sequence[Message] = ()) -> list[Message]:
    return asyncio.run(serve(app, given or scope(), requests))


def answering(*parts: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> App:
    """An app that reads its request and answers in parts."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


def inference(recorder: Recorder) -> dict[str, Any]:
    """What the one inference record says, without its prefix; metadata decoded."""
    (record,) = [found for found in recorder.records if found.event == "tracekit.inference"]
    found = {key.removeprefix(PREFIX): value for key, value in record.attributes.items()}
    return {**found, "metadata": json.loads(found["metadata"])}


def test_a_request_is_a_server_span_and_a_record(recorder: Recorder) -> None:
    sent = call(InferenceLog(answering(b'{"a": 1}')), scope(content_type="application/json", x_request_id="r-1"))
    found, span = inference(recorder), recorder.find(name="POST /chat")
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"x-trace-id", b"0" * 31 + b"1")]},
        {"type": "http.response.body", "body": b'{"a": 1}', "more_body": False},
    ]
    assert span.attributes == {
        "tracekit.step": "span",
        "http.request.method": "POST",
        "url.path": "/chat",
        "http.response.status_code": 200,
    }
    assert recorder._ended[0].kind is SpanKind.SERVER
    assert 0 <= found.pop("ttft_ms") <= found.pop("latency_ms")
    assert len(found.pop("request_id")) == 26
    assert found == {
        "endpoint": "/chat",
        "status_code": 200,
        "request": "{}",
        "response": '{"a": 1}',
        "metadata": {
            "method": "POST",
            "path": "/chat",
            "request_id": "r-1",
            "request_bytes": 2,
            "request_whole": True,
            "response_bytes": 8,
            "response_whole": True,
        },
    }
    assert recorder.records[0].trace_id == span.trace_id
    assert recorder.records[0].span_id == span.span_id


@pytest.mark.parametrize(
    ("routes", "methods", "method", "path", "recorded"),
    [
        ((), ("POST",), "POST", "/any/thing", True),
        ((), ("POST",), "GET", "/any/thing", False),
        (["/"], ("get", "post"), "GET", "/any/thing", True),
        (["/chat"], ("POST",), "POST", "/chat", True),
        (["/chat/"], ("POST",), "POST", "/chat/7", True),
        (["/chat"], ("POST",), "POST", "/chatter", False),
        (["/v1/*/ask"], ("POST",), "POST", "/v1/bot/ask", True),
        (["/v1/*/ask"], ("POST",), "POST", "/v1/bot/asked", False),
    ],
)
def test_which_requests_are_recorded(recorder: Recorder, routes, methods, method, path, recorded) -> None:
    app = answering(b"yes")
    sent = call(InferenceLog(app, routes=routes, methods=methods), scope(path, method))
    assert bool(recorder.records) is bool(recorder.spans) is recorded
    assert sent[1]["body"] == b"yes"


def test_a_websocket_gets_the_servers_own_channels(recorder: Recorder) -> None:
    got: list[object] = []

    async def app(*given: object) -> None:
        got.extend(given)

    given = ({"type": "websocket", "path": "/chat"}, object(), object())
    asyncio.run(InferenceLog(app)(*given))  # type: ignore[arg-type]  # they are only passed on
    assert all(one is other for one, other in zip(got, given, strict=True))
    assert recorder.records == []


def test_what_there_is_is_delivered_when_the_service_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []
    monkeypatch.setattr("tracekit.asgi.flush", order.append)

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Message) -> None:
        order.append(message["type"])

    asyncio.run(InferenceLog(app)({"type": "lifespan"}, None, send))  # type: ignore[arg-type]  # it does not read
    assert order == ["lifespan.startup.complete", 5.0, "lifespan.shutdown.complete"]


def test_the_trace_goes_on_from_the_caller_and_into_the_service(recorder: Recorder) -> None:
    @tracekit.tool
    async def search(question: str) -> str:
        return question

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await search("x")
        await answering(b"yes")(scope, receive, send)

    given = scope(traceparent=f"00-{'a' * 32}-{'b' * 16}-01", baggage="session.id=chat-7,user.id=ada,more=1")
    call(InferenceLog(app, agent="bot", agent_version="4"), given)
    span = recorder.find(name="POST /chat")
    assert (span.trace_id, span.parent_id) == ("a" * 32, "b" * 16)
    assert recorder.tree() == "POST /chat\n  execute_tool search"
    for each in recorder.spans:
        assert (each.attributes["session.id"], each.attributes["user.id"]) == ("chat-7", "ada")
    found = inference(recorder)
    assert (found["session.id"], found["user.id"]) == ("chat-7", "ada")
    assert (found["gen_ai.agent.name"], found["gen_ai.agent.version"]) == ("bot", "4")
    assert not trace.get_current_span().get_span_context().is_valid


def test_headers_name_session_and_user_before_baggage_does(recorder: Recorder) -> None:
    given = scope(x_session_id="s-1", x_account="u-1", baggage="session.id=chat-7,user.id=ada")
    call(InferenceLog(answering(b"yes"), user_header="X-Account"), given)
    found = inference(recorder)
    assert (found["session.id"], found["user.id"]) == ("s-1", "u-1")


def test_a_span_around_the_server_is_not_the_requests_parent(recorder: Recorder) -> None:
    with tracekit.span("main"):
        call(InferenceLog(answering(b"yes")))
    assert recorder.tree() == "main\nPOST /chat"


def test_another_instrumentations_server_span_is_used(recorder: Recorder) -> None:
    tracer = recorder.tracer_provider.get_tracer("other")
    with tracer.start_as_current_span("theirs", kind=SpanKind.SERVER):
        call(InferenceLog(answering(b"yes"), agent="bot"), scope(x_session_id="s-1"))
        assert trace.get_current_span().is_recording()
    span = recorder.find(name="theirs")
    assert recorder.tree() == "theirs"
    assert span.attributes == {"session.id": "s-1", "gen_ai.agent.name": "bot"}
    assert recorder.records[0].span_id == span.span_id


def test_the_process_agent_is_named_unless_the_middleware_names_another() -> None:
    for own, said in (({}, ("bot", "4")), ({"agent": "other"}, ("other", None))):
        with recorded(agent="bot", agent_version="4") as recorder:
            call(InferenceLog(answering(b"yes"), **own))
        found = inference(recorder)
        assert (found["gen_ai.agent.name"], found.get("gen_ai.agent.version")) == said


def test_parts_pass_as_they_come_and_are_recorded_together(recorder: Recorder) -> None:
    order: list[str] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            order.append("made")
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def send(message: Message) -> None:
        order.append(message.get("body", b"-").decode().strip())
        if message.get("body"):
            await asyncio.sleep(0)
            assert recorder.records == []

    asyncio.run(InferenceLog(app)(scope(), None, send))  # type: ignore[arg-type]  # it does not read
    assert order == ["-", "made", "data: 1", "made", "data: 2", "-"]
    found = inference(recorder)
    assert found["response"] == "data: 1\n\ndata: 2\n\n"
    assert "request" not in found
    assert "request_whole" not in found["metadata"]


def test_what_happens_after_the_response_is_not_waited_for(recorder: Recorder) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await answering(b"yes")(scope, receive, send)
        assert len(recorder.records) == 1
        raise KeyError("in the background")

    with pytest.raises(KeyError, match="in the background"):
        call(InferenceLog(app))
    assert "error" not in inference(recorder)["metadata"]
    assert recorder.find(name="POST /chat").status == "unset"


@pytest.mark.parametrize(("limit", "response"), [(5, "12345…[truncated: 4 more bytes]"), (9, "123456789")])
def test_a_long_body_is_cut_and_says_so(recorder: Recorder, limit: int, response: str) -> None:
    sent = call(InferenceLog(answering(b"123", b"456", b"789"), limit=limit))
    found = inference(recorder)
    assert found["response"] == response
    assert found["metadata"]["response_bytes"] == 9
    assert b"".join(message.get("body", b"") for message in sent) == b"123456789"


def test_a_cut_in_the_middle_of_a_character_costs_that_character(recorder: Recorder) -> None:
    call(InferenceLog(answering("grüße".encode()), limit=3))
    assert inference(recorder)["response"] == "gr…[truncated: 4 more bytes]"


@pytest.mark.parametrize(
    ("body", "headers", "response"),
    [
        (gzip.compress(b'{"a": 1}', mtime=0), {"content-encoding": "gzip"}, '{"a": 1}'),
        (
            gzip.compress(b"x" * 1_000_000, mtime=0),
            {"content-encoding": "gzip"},
            "x" * 2_000 + "…[truncated: it took 1003 bytes of gzip in all]",
        ),
        (b"no gzip", {"content-encoding": "gzip"}, "…[truncated: it took 7 bytes of gzip in all]"),
        (b"1234", {"content-encoding": "br"}, "…[br: 4 bytes]"),
        (b"\x89PNG\r\n\xff", {"content-type": "image/png"}, "…[image/png: 7 bytes]"),
        ("grüße".encode("latin-1"), {"content-type": "text/plain; charset=ISO-8859-1"}, "grüße"),
        ("grüße".encode(), {"content-type": "text/plain; charset=nonsense"}, "grüße"),
    ],
    ids=["gzip", "gzip cut", "no gzip", "other coding", "binary", "latin-1", "unknown charset"],
)
def test_bodies_are_read_as_their_headers_say(recorder: Recorder, body, headers, response) -> None:
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    call(InferenceLog(answering(body, headers=pairs), limit=2_000))
    assert inference(recorder)["response"] == response


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    st.sampled_from(["", "gzip", "deflate", "br", "GZIP "]),
    st.text(st.characters(max_codepoint=255), max_size=30),
    st.integers(0, 50),
)
def test_any_body_passes_whole_whatever_is_made_of_it(parts, encoding, kind, limit) -> None:
    headers = [(b"Content-Encoding", encoding.encode()), (b"Content-Type", kind.encode("latin-1"))]
    with recorded() as recorder:
        sent = call(InferenceLog(answering(*parts, headers=headers), limit=limit))
    assert b"".join(message.get("body", b"") for message in sent) == b"".join(parts)
    assert sent[0]["headers"][:2] == headers
    found = inference(recorder)
    assert _guard.faults == {}
    assert found["metadata"]["response_bytes"] == sum(map(len, parts))


def test_content_stays_out_when_capture_is_off() -> None:
    with recorded(capture_content=False) as recorder:
        call(InferenceLog(answering(b"secret")), {**scope(), "query_string": b"key=1"})
    found = inference(recorder)
    assert "request" not in found
    assert "response" not in found
    assert found["metadata"]["response_bytes"] == 6
    assert "query" not in found["metadata"]


def test_an_exception_passes_as_it_is(recorder: Recorder) -> None:
    error = ValueError("broken")

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        call(InferenceLog(app))
    assert caught.value is error
    found = inference(recorder)
    assert (found["status_code"], found["metadata"]["error"]) == (500, "ValueError")
    assert recorder.find(name="POST /chat").error == "ValueError"


def test_an_error_that_is_answered_and_then_raised_is_one_record_with_its_cause(recorder: Recorder) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await answering(b"sorry", status=503)(scope, receive, send)
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        call(InferenceLog(app))
    found = inference(recorder)
    assert (found["status_code"], found["response"], found["metadata"]["error"]) == (503, "sorry", "OSError")


def test_a_5xx_answer_is_an_error_of_the_span(recorder: Recorder) -> None:
    call(InferenceLog(answering(b"", status=502)))
    span = recorder.find(name="POST /chat")
    assert (span.status, span.error) == ("error", "502")
    assert "ttft_ms" not in inference(recorder)


def test_a_client_that_leaves_is_told_of(recorder: Recorder) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    call(InferenceLog(app), requests=[{"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}])
    found = inference(recorder)
    assert found["response"] == "half"
    assert found["metadata"]["disconnected"] is True
    assert found["metadata"]["response_whole"] is False


def test_a_send_that_fails_is_a_client_that_has_left(recorder: Recorder) -> None:
    async def send(message: Message) -> None:
        if "body" in message:
            raise BrokenPipeError

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(BrokenPipeError):
        asyncio.run(InferenceLog(answering(b"yes"))(scope(), receive, send))
    found = inference(recorder)
    assert found["metadata"]["disconnected"] is True
    assert found["status_code"] == 200


def test_a_cancelled_request_stays_cancelled(recorder: Recorder) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.ensure_future(serve(InferenceLog(app), scope()))
        await asyncio.sleep(0)
        task.cancel("enough")
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    found = inference(recorder)
    assert "status_code" not in found
    assert found["metadata"]["error"] == "CancelledError"
    assert recorder.find(name="POST /chat").attributes["tracekit.cancelled"] is True


def test_the_template_of_the_route_is_the_endpoint(recorder: Recorder) -> None:
    fastapi = pytest.importorskip("fastapi")
    inner, app = fastapi.FastAPI(), fastapi.FastAPI()

    @inner.post("/chat/{number}")
    def chat(number: int) -> int:
        return number

    app.mount("/v1", inner)
    call(InferenceLog(app), {**scope("/v1/chat/7"), "root_path": "", "http_version": "1.1", "scheme": "http"})
    assert inference(recorder)["endpoint"] == "/v1/chat/{number}"
    assert inference(recorder)["response"] == "7"


def test_a_trace_header_of_the_services_own_stays(recorder: Recorder) -> None:
    sent = call(InferenceLog(answering(b"", headers=[(b"X-Trace-Id", b"mine")])))
    assert sent[0]["headers"] == [(b"X-Trace-Id", b"mine")]
    sent = call(InferenceLog(answering(b""), trace_header=None))
    assert sent[0]["headers"] == []


def test_without_tracing_the_service_gets_the_servers_own_channels(fresh: Any) -> None:
    tracekit.init(disabled=True)
    got: list[object] = []

    async def app(*given: object) -> None:
        got.extend(given)

    given = (scope(), object(), object())
    asyncio.run(InferenceLog(app)(*given))  # type: ignore[arg-type]  # they are only passed on
    assert all(one is other for one, other in zip(got, given, strict=True))


def test_a_fault_of_ours_never_reaches_the_service(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("tracekit._inference.Exchange.starts", broken)
    monkeypatch.setattr("tracekit._inference.Exchange._record", broken)
    monkeypatch.setattr("tracekit._inference.Body.add", broken)
    sent = call(InferenceLog(answering(b"yes")))
    assert sent[1]["body"] == b"yes"
    assert sum(_guard.faults.values()) >= 3


def test_a_hostile_request_is_only_text(recorder: Recorder) -> None:
    given = scope("/chat/\ud800\n<b>", traceparent="00-zz-zz-zz", baggage="%%%===,,,", x_session_id="\xff" * 9_000)
    call(InferenceLog(answering(b"yes")), {**given, "query_string": b"\xff\xfe"})
    assert len(inference(recorder)["session.id"]) == 200
    assert inference(recorder)["endpoint"] == "/chat/\\ud800\n<b>"


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(UsageError, match=r"routes='/chat': give a list of paths or patterns"):
        InferenceLog(answering(), routes="/chat")
    with pytest.raises(UsageError, match=r"routes=\['chat'\]: give a list"):
        InferenceLog(answering(), routes=["chat"])
    with pytest.raises(UsageError, match="limit=-1: give the most bytes"):
        InferenceLog(answering(), limit=-1)


def test_two_requests_at_once_do_not_mix(recorder: Recorder) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        with tracekit.span(f"in {scope['path']}"):
            await asyncio.sleep(0)
        await answering(scope["path"].encode())(scope, receive, send)

    async def run() -> None:
        logged = InferenceLog(app)
        await asyncio.gather(serve(logged, scope("/a")), serve(logged, scope("/b")))

    asyncio.run(run())
    assert recorder.tree() == "POST /a\n  in /a\nPOST /b\n  in /b"
    assert {r.attributes[PREFIX + "response"] for r in recorder.records} == {"/a", "/b"}
    assert not otel_context.get_current()
