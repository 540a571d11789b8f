"""The samples do what their pages say."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit_collector.store import Store

SAMPLES = Path(__file__).parents[2] / "samples"


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_hello_records_a_trace_of_two_spans(tmp_path: Path) -> None:
    done = run(sys.executable, SAMPLES / "hello" / "hello.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO, WORLD!\n", "")
    with Store.open(tmp_path / ".tracekit") as store:
        rows = store.sql("SELECT name, step, input, output FROM spans ORDER BY start_ns").dicts()
    assert [(row["name"], row["step"]) for row in rows] == [
        ("invoke_agent greet", "agent"),
        ("execute_tool shout", "tool"),
    ]
    code = (SAMPLES / "hello" / "hello.py").read_text(encoding="utf-8")
    written = [line for line in code.splitlines()[1:] if line.strip()]
    assert len(written) <= 10


class Program:
    """A process that says on a line that it is ready."""

    def __init__(self, *words: str | Path, ready: str, stream: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in words],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = getattr(self._process, stream)
        for line in lines:
            found = re.search(ready, line)
            if found:
                self.url = found[1]
                return
        raise AssertionError(f"it ended before it was ready: {self._process.communicate()}")

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)
        return self._process.returncode

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=30)


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()


def ask(url: str, question: str) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(f"{url}/ask", data=json.dumps({"question": question}).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_plain_opentelemetry_service_is_collected(tmp_path: Path, programs: list[Program]) -> None:
    location = tmp_path / "store"
    ready = r"on (http://127\.0\.0\.1:\d+)"
    collect = [Path(sysconfig.get_path("scripts")) / "tracekit", "collect", "--port", "0", "--store", location]
    collector = Program(*collect, ready=rf"collecting {ready}", stream="stderr")
    programs.append(collector)
    service = Program(
        sys.executable,
        SAMPLES / "otlp_service" / "service.py",
        ready=rf"listening {ready}",
        stream="stdout",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        PORT="0",
    )
    programs.append(service)
    assert ask(service.url, "12 km in mi") == (200, {"answer": "7.45645 mi"})
    assert ask(service.url, "12 km in furlongs") == (422, {"error": "unknown unit 'furlongs'"})
    assert service.stop() == 0
    assert collector.stop() == 0
    with Store.open(location) as store:
        rows = store.sql(
            "SELECT name, step, status, service_name, agent_name, agent_version FROM spans ORDER BY start_ns"
        ).dicts()
        trace = store.trace(store.trace_ids(newest_first=False)[0])
    assert [(row["name"], row["status"]) for row in rows] == [
        ("POST /ask", "unset"),
        ("invoke_agent units", "unset"),
        ("execute_tool convert", "unset"),
        ("POST /ask", "error"),
        ("invoke_agent units", "error"),
        ("execute_tool convert", "error"),
    ]
    assert [row["step"] for row in rows[1:3]] == ["agent", "tool"]
    assert {row["service_name"] for row in rows} == {"units"}
    assert (trace.agent_name, trace.agent_version) == ("units", "1")
    call = trace.tool_calls[0]
    assert (call.name, call.arguments, call.result) == (
        "convert",
        {"amount": 12.0, "unit": "km", "to": "mi"},
        "7.456454",
    )


class Model(http.server.ThreadingHTTPServer):
    """An OpenAI-compatible server that first asks for a tool and then answers with its result."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class _Chat(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results = [message["content"] for message in asked["messages"] if message["role"] == "tool"]
        if results:
            message: dict[str, object] = {"role": "assistant", "content": f"It is {float(results[0]):g}."}
            reason, usage = "stop", {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}
        else:
            function = {"name": "multiply", "arguments": '{"a": 12, "b": 31}'}
            calls = [{"id": "call_1", "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
            reason, usage = "tool_calls", {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}
        reply = {
            "id": f"chatcmpl-{len(results)}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "small-1-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": usage,
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def with_openai(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has this one's packages and the sample's; kept in pytest's cache."""
    wanted = SAMPLES / "openai_agent" / "requirements.txt"
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode() + sys.prefix.encode()).hexdigest()[:16]
    cache = getattr(request.config, "cache", None)
    folder = (cache.mkdir("samples") if cache is not None else tmp_path_factory.mktemp("samples")) / key
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        # A line that begins with `import` runs: the packages here are seen there, editable ones included.
        purelib = sysconfig.get_path("purelib")
        inner = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        (inner / "outer.pth").write_text(f"import site; site.addsitedir({purelib!r})\n", encoding="utf-8")
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"the sample's packages cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    return python


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_instrumented_openai_agent_is_one_trace(with_openai: Path, model: Model, tmp_path: Path) -> None:
    done = run(
        with_openai,
        SAMPLES / "openai_agent" / "agent.py",
        "What is 12 times 31?",
        OPENAI_BASE_URL=model.url,
        OPENAI_API_KEY="none",
        OPENAI_MODEL="small-1",
    )
    assert (done.returncode, done.stdout) == (0, "It is 372.\n"), done.stderr
    with Store.open(tmp_path / ".tracekit") as store:
        rows = store.sql("SELECT name, trace_id FROM spans ORDER BY start_ns").dicts()
        assert [row["name"] for row in rows] == [
            "invoke_agent calculator",
            "chat small-1",
            "execute_tool multiply",
            "chat small-1",
        ]
        assert len({row["trace_id"] for row in rows}) == 1
        trace = store.trace(str(rows[0]["trace_id"]))
    assert trace.output == "It is 372."
    assert [(call.model_requested, call.model, call.input_tokens) for call in trace.model_calls] == [
        ("small-1", "small-1-2026", 20),
        ("small-1", "small-1-2026", 40),
    ]
    assert [(call.name, call.arguments, call.result) for call in trace.tool_calls] == [
        ("multiply", {"a": 12, "b": 31}, "372"),
    ]
    assert (trace.agent_name, trace.project) == ("calculator", "samples")
