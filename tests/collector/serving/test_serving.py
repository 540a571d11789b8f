"""An agent behind `tracekit serve`: what comes back, in which shape, and what is found in the store of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

Serving = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def served(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, "bot:answer", "--agent", "bot", "--agent-version", "1.2", "--workers", "1") as found:
        yield found


@pytest.fixture(scope="module")
def streaming(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("streaming")
    with serving(folder, "bot:words", "--agent", "bot", "--agent-version", "2", "--workers", "1") as found:
        yield found


def ask(served: Any, body: object, path: str = "/invocations", **headers: str) -> httpx.Response:
    return httpx.post(served.url + path, json=body, headers=headers, timeout=20)


def test_an_answer_names_its_version_and_its_trace_and_both_are_in_the_store(served: Any) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = ask(served, {"input": "hello"}, **{"X-Session-Id": "chat-1", "X-User-Id": "ada", "traceparent": caller})
    assert (answer.status_code, answer.json()) == (200, "HELLO")
    assert answer.headers["x-agent-version"] == "1.2"
    trace = answer.headers["x-trace-id"]
    assert trace == "0af7651916cd43dd8448eb211c80319c"
    feedback = ask(served, {"trace_id": trace, "name": "helpful", "value": True, "comment": "thanks"}, "/feedback")
    assert feedback.status_code == 200
    log = served.rows(f"SELECT * FROM inferences WHERE trace_id = '{trace}'")
    assert [(row["agent_name"], row["agent_version"], row["session_id"], row["user_id"]) for row in log] == [
        ("bot", "1.2", "chat-1", "ada")
    ]
    assert [(row["status_code"], row["request"], row["response"]) for row in log] == [
        (200, '{"input":"hello"}', '"HELLO"')
    ]
    scores = served.rows(f"SELECT name, value, explanation, source FROM scores WHERE trace_id = '{trace}'")
    assert scores == [{"name": "helpful", "value": 1.0, "explanation": "thanks", "source": "user"}]


def test_what_the_agent_traces_belongs_to_the_server_s_span(serving: Serving, tmp_path: Path) -> None:
    """The worker's spans are delivered when it ends, at the latest."""
    with serving(tmp_path, "bot:answer", "--agent", "bot", "--agent-version", "1.2", "--workers", "1") as served:
        trace = ask(served, "hello", **{"X-Session-Id": "chat-2"}).headers["x-trace-id"]
        assert served.stop().splitlines()[0] == "stopping: answering what is left"
        assert served.process.returncode == 0
        spans = served.rows(
            f"SELECT s.name, p.name AS parent, s.agent_version, s.session_id, s.output FROM spans s "
            f"LEFT JOIN spans p ON s.parent_span_id = p.span_id WHERE s.trace_id = '{trace}' ORDER BY s.start_time"
        )
    assert [tuple(row.values()) for row in spans] == [
        ("POST /invocations", None, "1.2", "chat-2", "HELLO"),
        ("invoke_agent answer", "POST /invocations", "1.2", "chat-2", "HELLO"),
        ("execute_tool look_up", "invoke_agent answer", "1.2", "chat-2", "HELLO"),
    ]


def test_input_that_does_not_fit_the_signature_is_refused_with_path_and_reason(served: Any) -> None:
    answer = ask(served, {"input": 3})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["errors"]) == ("invalid_input", [{"path": "", "reason": "3 is not of type 'string'"}])


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/invocations", b"{", 400, "invalid_json"),
        ("/invocations", b"", 400, "invalid_json"),
        ("/v1/chat/completions", b"[]", 400, "invalid_body"),
        ("/v1/chat/completions", b'{"messages": []}', 400, "invalid_body"),
        ("/v1/chat/completions", b'{"messages": [{"role": "king"}]}', 400, "invalid_body"),
        ("/v1/chat/completions", b'{"messages": [{"role": "system", "content": "x"}]}', 422, "invalid_input"),
        ("/v1/chat/completions", b'{"model": "gpt", "messages": []}', 404, "model_not_found"),
        ("/v1/responses", b'{"input": 7}', 400, "invalid_body"),
        ("/invocations", b'"' + b"x" * (9 << 20) + b'"', 413, "too_large"),
        ("/feedback", b'{"trace_id": "1", "name": "n", "value": 1}', 422, "invalid_feedback"),
        ("/feedback", b'{"trace_id": "0af7651916cd43dd8448eb211c80319c", "name": "n"}', 422, "invalid_feedback"),
        ("/nothing", b"", 404, "not_found"),
        ("/metrics", b"", 405, "method"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(
    served: Any, path: str, body: bytes, status: int, code: str
) -> None:
    answer = httpx.post(served.url + path, content=body, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_agent_that_raises_is_a_500_without_its_message_and_an_error_in_the_store(served: Any) -> None:
    answer = ask(served, {"input": "fail"})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the agent raised ValueError; see its trace and the server's log"
    assert "no such thing" not in answer.text
    ask(served, {"trace_id": answer.headers["x-trace-id"], "name": "seen", "value": 1}, "/feedback")  # delivers
    rows = served.rows(
        f"SELECT error_type, status_message FROM spans WHERE trace_id = '{answer.headers['x-trace-id']}' "
        f"AND parent_span_id IS NULL"
    )
    assert rows == [{"error_type": "ValueError", "status_message": "no such thing"}]


def test_chat_asks_the_last_user_message(served: Any) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]
    last = {"role": "user", "content": [{"type": "text", "text": "two"}]}
    answer = ask(served, {"model": "bot", "messages": [*messages, last]}, "/v1/chat/completions").json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "TWO", "refusal": None}


def test_chat_gives_all_messages_to_an_agent_that_takes_them(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path, "bot:chat", "--agent", "bot", "--workers", "1") as served:
        messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
        body = {"messages": messages, "temperature": 0.5}
        answer = ask(served, body, "/v1/chat/completions").json()
        assert answer["choices"][0]["message"]["content"] == "2 at 0.5"
        wrong = ask(served, {"input": {"messages": "hi"}}).json()["error"]
        assert wrong["errors"] == [{"path": "/messages", "reason": "'hi' is not of type 'array'"}]


def test_responses_answer_in_openai_s_shape(served: Any) -> None:
    answer = ask(served, {"model": "bot", "input": "hello"}, "/v1/responses").json()
    assert (answer["object"], answer["status"]) == ("response", "completed")
    assert answer["output"][0]["content"][0]["text"] == "HELLO"


def test_a_stream_comes_in_events_and_is_logged_whole(streaming: Any) -> None:
    with httpx.stream(
        "POST", f"{streaming.url}/invocations", json={"input": "to be or", "stream": True}, timeout=20
    ) as answer:
        events = "".join(answer.iter_text())
        trace = answer.headers["x-trace-id"]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events == 'data: "to "\n\ndata: "be "\n\ndata: "or "\n\nevent: done\ndata: {}\n\n'
    ask(streaming, {"trace_id": trace, "name": "seen", "value": 1}, "/feedback")  # delivers
    rows = streaming.rows(
        f"SELECT s.output, i.response, i.ttft_ms <= i.latency_ms AS timed FROM spans s "
        f"JOIN inferences i USING (trace_id) WHERE s.trace_id = '{trace}'"
    )
    assert rows == [{"output": "to be or ", "response": events, "timed": True}]


def test_a_generator_without_a_stream_is_joined(streaming: Any) -> None:
    assert ask(streaming, "to be").json() == "to be "


def test_a_stream_that_fails_says_so_in_an_event(streaming: Any) -> None:
    answer = ask(streaming, "one fail", Accept="text/event-stream")
    first, error, _ = answer.text.split("\n\n")
    assert first == 'data: "one "'
    assert error.startswith("event: error\ndata: ")
    assert json.loads(error.partition("data: ")[2])["error"]["code"] == "agent_failed"


def test_a_stream_that_fails_at_once_is_no_stream(streaming: Any) -> None:
    assert ask(streaming, "fail", Accept="text/event-stream").status_code == 500


def test_openai_s_client_asks_and_streams(streaming: Any) -> None:
    openai = pytest.importorskip("openai", reason="needs the package openai")
    with openai.OpenAI(base_url=f"{streaming.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["bot", "bot@2"]
        chat = [{"role": "user", "content": "to be"}]
        whole = client.chat.completions.create(model="bot", messages=chat)
        assert whole.choices[0].message.content == "to be "
        chunks = list(client.chat.completions.create(model="bot@2", messages=chat, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "to be "
        assert client.responses.create(model="bot", input="to be").output_text == "to be "
        events = list(client.responses.create(model="bot", input="to be", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].response.output_text == "to be "
        with client.responses.stream(model="bot", input="to be") as stream:
            assert stream.get_final_response().output_text == "to be "
        with pytest.raises(openai.InternalServerError, match="the agent raised ValueError"):
            client.chat.completions.create(model="bot", messages=[{"role": "user", "content": "fail"}])
        with pytest.raises(openai.APIError, match="the agent raised ValueError"):
            list(
                client.chat.completions.create(
                    model="bot", messages=[{"role": "user", "content": "a fail"}], stream=True
                )
            )


def test_the_other_endpoints_tell_of_the_server(served: Any) -> None:
    with httpx.Client(base_url=served.url) as client:
        health = client.get("/health").json()
        assert (health["status"], health["workers"]) == ("ready", {"bot@1.2": 1})
        assert client.get("/version").json()["versions"][0]["version"] == "1.2"
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["bot", "bot@1.2"]
        assert client.get("/v1/models/bot").json()["id"] == "bot"
        document = client.get("/openapi.json").json()
        assert document["components"]["schemas"]["Input"]["type"] == "string"
        client.post("/invocations", json="hi")
        metrics = client.get("/metrics").text
        assert re.search(
            r'tracekit_serve_requests_total\{endpoint="/invocations",status="200",version="1.2"\} \d', metrics
        )
        assert 'tracekit_serve_workers{version="1.2"} 1' in metrics
        allowed = client.options("/invocations", headers={"Origin": "https://a.example"}).headers
        assert not [name for name in allowed if name.startswith("access-control")]
