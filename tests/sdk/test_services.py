"""A service calls another one over HTTP: one trace, one session, an inference log on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import tracekit
from tracekit.asgi import InferenceLog
from tracekit.testing import Recorder
from tracekit_collector.store import Store

WORDS = [f"word {number}" for number in range(40)]


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The app on a port of the loopback interface; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    up = threading.Event()
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # not from a thread
    startup = server.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        up.set()

    server.startup = started  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def post(url: str, body: dict[str, object], **headers: str) -> urllib.request.Request:
    sent = {"content-type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return urllib.request.Request(url, json.dumps(body).encode(), sent)


SERVICE_B = """
import socket

import tracekit
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from tracekit.asgi import InferenceLog

tracekit.init(store="store", project="words", agent="speller", agent_version="2")
app = FastAPI()
app.add_middleware(InferenceLog, routes=["/words"])


@tracekit.tool
async def words(question: str) -> list[str]:
    return [f"word {number}" for number in range(40)]


@app.post("/words/{topic}")
async def stream(topic: str, request: Request) -> StreamingResponse:
    question = (await request.json())["question"]

    async def events():
        for word in await words(question):
            yield f"data: {word}\\n\\n"

    return StreamingResponse(events(), media_type="text/event-stream")


listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""


@contextlib.contextmanager
def service_b(folder: Path) -> Iterator[str]:
    """A service in a process of its own; gives its address."""
    process = subprocess.Popen([sys.executable, "-c", SERVICE_B], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def service_a(b: str) -> FastAPI:
    app = FastAPI()

    @tracekit.agent(name="asker")
    def ask(question: str) -> str:
        request = post(f"{b}/words/all", {"question": question}, **tracekit.inject())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    @app.post("/ask")
    def asked(body: dict[str, str]) -> dict[str, str]:
        return {"answer": ask(body["question"])}

    app.add_middleware(InferenceLog, agent="asker", agent_version="1")
    return app


@pytest.mark.usefixtures("fresh")
def test_one_trace_one_session_and_both_inferences_with_the_streamed_response_whole(tmp_path: Path) -> None:
    tracekit.init(store=tmp_path / "store", project="words")
    with service_b(tmp_path) as b, served(service_a(b)) as a:
        request = post(f"{a}/ask", {"question": "which?"}, x_session_id="chat-7", x_user_id="ada")
        with urllib.request.urlopen(request, timeout=10) as answer:
            trace_id = answer.headers["X-Trace-Id"]
            said = json.load(answer)["answer"]
    assert tracekit.flush()
    streamed = "".join(f"data: {word}\n\n" for word in WORDS)
    assert said == streamed
    with Store.open(tmp_path / "store") as store:
        spans = store.sql(
            "SELECT name, kind, trace_id, session_id, user_id, span_id, parent_span_id FROM spans"
        ).dicts()
        rows = store.sql(
            "SELECT endpoint, status_code, agent_name, agent_version, session_id, user_id, trace_id, project, request,"
            " response, latency_ms, ttft_ms, span_id FROM inferences ORDER BY endpoint"
        ).dicts()
    assert {span["trace_id"] for span in spans} == {trace_id}
    assert {(span["session_id"], span["user_id"]) for span in spans} == {("chat-7", "ada")}
    by_id = {span["span_id"]: span for span in spans}

    def parent(span: dict[str, Any]) -> str | None:
        """The nearest one above that is not of FastAPI's own tracing, which newer versions bring."""
        above = by_id.get(span["parent_span_id"])
        return parent(above) if above and above["name"].startswith("fastapi.") else above and above["name"]

    assert sorted((span["name"], parent(span)) for span in spans if not span["name"].startswith("fastapi.")) == [
        ("POST /ask", None),
        ("POST /words/{topic}", "invoke_agent asker"),
        ("execute_tool words", "POST /words/{topic}"),
        ("invoke_agent asker", "POST /ask"),
    ]
    first, second = rows
    for row in rows:
        assert (row["status_code"], row["session_id"], row["user_id"], row["trace_id"], row["project"]) == (
            200,
            "chat-7",
            "ada",
            trace_id,
            "words",
        )
        assert 0 < row["ttft_ms"] <= row["latency_ms"] < 10_000
        assert json.loads(row["request"]) == {"question": "which?"}
    assert [(row["endpoint"], row["agent_name"], row["agent_version"]) for row in rows] == [
        ("/ask", "asker", "1"),
        ("/words/{topic}", "speller", "2"),
    ]
    assert json.loads(first["response"]) == {"answer": streamed}
    assert second["response"] == streamed
    assert by_id[first["span_id"]]["name"] == "POST /ask"
    assert {span["kind"] for span in spans if span["name"].startswith("POST")} == {"server"}


def test_a_client_that_leaves_a_stream_is_told_of(recorder: Recorder) -> None:
    left = threading.Event()
    app = FastAPI()

    @app.post("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"part "
                    await asyncio.sleep(0.001)
            finally:
                left.set()

        return StreamingResponse(parts())

    app.add_middleware(InferenceLog, limit=10)
    with served(app) as address:
        with urllib.request.urlopen(post(f"{address}/endless", {}), timeout=10) as answer:
            assert answer.read(5) == b"part "
        assert left.wait(10)
    (record,) = recorder.records
    metadata = json.loads(record.attributes["tracekit.inference.metadata"])
    assert (metadata["disconnected"], metadata["response_whole"]) == (True, False)
    assert record.attributes["tracekit.inference.status_code"] == 200
    assert record.attributes["tracekit.inference.response"].startswith("part ")
