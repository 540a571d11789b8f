"""A server with several worker processes: each delivers its spans, in the trace of the caller."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

import tracekit
from tracekit.testing import recorded

APP = """
import os
import tracekit

@tracekit.tool
def work(path):
    return f"{path} {os.getpid()}"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        END
        await send({"type": "lifespan.shutdown.complete"})
        return
    with tracekit.extract(scope["headers"]):
        body = work(scope["path"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize(
    ("words", "end"),
    [(["-m", "uvicorn"], "tracekit.flush()"), (["-m", "tracekit", "run", "-m", "uvicorn"], "pass")],
    ids=["flushed at the end of its lifespan", "run by tracekit"],
)
def test_uvicorns_workers_keep_their_spans(stored, tmp_path: Path, words: list[str], end: str) -> None:
    """Uvicorn ends its workers with the signal that ended their serving, so that no exit handler runs."""
    pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'collector'")
    (tmp_path / "app.py").write_text(APP.replace("END", end))
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *words, "app:app", "--workers", "2", "--port", "0"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        port = _port(tmp_path / "log", server)
        with recorded() as recorder, tracekit.session("chat-1"), tracekit.span("client"):
            for number in range(8):
                request = urllib.request.Request(f"http://127.0.0.1:{port}/{number}", headers=tracekit.inject())
                with urllib.request.urlopen(request, timeout=20) as answer:
                    assert answer.read().startswith(f"/{number} ".encode())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    spans = stored.spans(tmp_path / ".tracekit")
    client = recorder.find(name="client")
    answered = sorted(stored.attributes(span)["output.value"][:2] for span in spans)
    assert answered == [f"/{number}" for number in range(8)]
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(client.trace_id, client.span_id)}
    assert {stored.attributes(span)["session.id"] for span in spans} == {"chat-1"}


def _port(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The port that the server says it listens on, once both workers are up."""
    waiting = threading.Event()
    for _ in range(600):
        said = log.read_text()
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", said)
        if found and said.count("Application startup complete") == 2:
            return found[1]
        assert server.poll() is None, said
        waiting.wait(0.05)
    raise AssertionError(log.read_text())
