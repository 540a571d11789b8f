"""Served by gunicorn, whatever its workers are: each request's spans and inference log are stored, and once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tracekit
from tracekit.testing import recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first run on a machine installs packages

REQUESTS = 40
APP = """
import os

import tracekit

tracekit.init(agent="desk", agent_version="1")


@tracekit.tool
def look_up(path):
    return path


@tracekit.agent(name="desk")
def answer(path):
    return f"{look_up(path)} {os.getpid()}"
"""
WSGI = """
from tracekit.wsgi import InferenceLog


def serve(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer(environ["PATH_INFO"]).encode()]


app = InferenceLog(serve, methods=["GET"])
"""
ASGI = """
from tracekit.asgi import InferenceLog


async def serve(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = answer(scope["path"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


app = InferenceLog(serve, methods=["GET"])
"""
WORKERS = {
    "sync": (WSGI, []),
    "sync, loaded before the fork": (WSGI, ["--preload"]),
    "gthread": (WSGI, ["--worker-class", "gthread", "--threads", "4"]),
    "uvicorn": (ASGI, ["--worker-class", "uvicorn.workers.UvicornWorker"]),
}


@pytest.mark.parametrize("workers", WORKERS)
def test_gunicorns_workers_store_every_request_once(
    clients_python: Path, ours: Path, tmp_path: Path, workers: str
) -> None:
    app, options = WORKERS[workers]
    (tmp_path / "app.py").write_text(APP + app)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE", "TRACEKIT"))}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [clients_python, "-m", "gunicorn", "app:app", "--workers", "2", "--bind", "127.0.0.1:0", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ours)},
        )
    try:
        port = _port(tmp_path / "log", server)
        with recorded() as recorder, tracekit.session("chat-1"), tracekit.span("client"):
            headers = tracekit.inject()

            def ask(number: int) -> str:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/{number}", headers=headers)
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return str(answer.read().decode())

            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(ask, range(REQUESTS)))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    assert [answer.split()[0] for answer in answers] == [f"/{number}" for number in range(REQUESTS)]
    assert "Traceback" not in (tmp_path / "log").read_text()

    from tracekit_collector.store import Store

    trace_id = recorder.find(name="client").trace_id
    with Store.open(tmp_path / ".tracekit") as store:
        spans = store.sql("SELECT name, trace_id, session_id, output FROM spans ORDER BY name").dicts()
        logs = store.sql("SELECT endpoint, status_code, response, trace_id, agent_version FROM inferences").dicts()
    assert {(span["trace_id"], span["session_id"]) for span in spans} == {(trace_id, "chat-1")}
    found = sorted(span["output"] for span in spans if span["name"] == "execute_tool look_up")
    assert found == sorted(f"/{number}" for number in range(REQUESTS))
    assert sorted(span["output"] for span in spans if span["name"] == "invoke_agent desk") == sorted(answers)
    assert len(spans) == 3 * REQUESTS
    assert sorted(row["response"] for row in logs) == sorted(answers)
    assert {(row["status_code"], row["trace_id"], row["agent_version"]) for row in logs} == {(200, trace_id, "1")}


def _port(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The port that gunicorn says it listens on, once both workers are there."""
    waiting = threading.Event()
    for _ in range(600):
        said = log.read_text()
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", said)
        if found and said.count("Booting worker") == 2:
            return found[1]
        assert server.poll() is None, said
        waiting.wait(0.05)
    raise AssertionError(log.read_text())
