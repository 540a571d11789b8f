"""Whatever breaks around tracekit, the program prints and ends as it does where tracekit is not installed at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Stands for "not installed": the same program, with decorators and blocks that do nothing.
NOTHING = """
from contextlib import nullcontext

def _same(function=None, **_):
    return (lambda inner: inner) if function is None else function

tool = agent = step = llm = retriever = embedding = _same
def span(*_, **__): return nullcontext()
def session(*_, **__): return nullcontext()
def init(**_): pass
def flush(timeout=0): pass
def score(*_, **__): pass
def keep(): pass
"""

PROGRAM = """
import atexit, os, shutil, signal, sys, threading, time
import tracekit

try:
    import tracekit._outlets as outlets
except ImportError:
    outlets = None

{before}

@tracekit.tool
def look(number: int) -> int:
    print("looking", number, flush=True)
    if number == 3:
        raise ValueError("three")
    return number * 2

@tracekit.tool
def count(to: int):
    yield from range(to)

@tracekit.agent
def main() -> None:
    print([look(1), look(2), *count(3)], flush=True)
    try:
        look(3)
    except ValueError as error:
        print("caught", error, flush=True)
    tracekit.score("good", True, trace_id="0af7651916cd43dd8448eb211c80319c")
    {middle}
    print("end of main", flush=True)

atexit.register(print, "at exit", flush=True)
with tracekit.session("s"):
    main()
{after}
print("done", flush=True)
"""


@dataclass
class Fault:
    """What goes wrong, and where."""

    before: str = ""
    middle: str = "pass"
    after: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    store_is_a_file: bool = False
    says: str = ""


RAISING = """
def broken(*_, **__): raise RuntimeError("no")
if outlets is not None:
    from opentelemetry.sdk.trace import TracerProvider
    {}
"""
BACKWARDS = """
import itertools
steps = itertools.count(time.time_ns(), -10**9)
time.time_ns = lambda: next(steps)
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))"
DAEMON = """
def work():
    while True:
        list(count(2))
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
"""
FORK = """
    child = os.fork()
    if child == 0:
        print("child", look(5), flush=True)
        sys.exit(0)
    print("parent", os.waitpid(child, 0)[1], flush=True)
"""
REPLACED = """
if outlets is not None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    trace._TRACER_PROVIDER = {}
list(count(2)), look(7)
"""
DOWN = {"TRACEKIT_ENDPOINT": "http://127.0.0.1:9"}

FAULTS = {
    "nothing": Fault(),
    "an outlet that raises": Fault(
        before=RAISING.format("outlets.InboxOutlet.deliver = broken"), says="delivering spans failed"
    ),
    "an encoder that raises": Fault(
        before=RAISING.format("outlets.SpanEncoder.request = broken"), says="encoding a span"
    ),
    "a processor that raises": Fault(
        before=RAISING.format("import tracekit._delivery as d; d.Relay.put = d.Batch.put = broken")
    ),
    "a thread that cannot start": Fault(
        before="import threading as t\nif outlets is not None: t.Thread.start = lambda _: (_ for _ in ()).throw("
        "RuntimeError('can not start new thread'))"
    ),
    "collector down": Fault(environment=DOWN, says="and sent later"),
    "collector down, disk full": Fault(before=FULL, environment=DOWN, says="File too large; set TRACEKIT_SPOOL"),
    "collector down, no cache folder": Fault(environment={**DOWN, "TRACEKIT_SPOOL": "/dev/null/x"}),
    "collector hangs": Fault(environment={"TRACEKIT_ENDPOINT": "HANGS", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}),
    "an endpoint that is none": Fault(environment={"TRACEKIT_ENDPOINT": "localhost:4318"}),
    "disk full": Fault(before=FULL, says="cannot write to the inbox"),
    "store is a file": Fault(store_is_a_file=True, says="cannot write to the inbox"),
    "store removed": Fault(middle="tracekit.flush(5); shutil.rmtree('.tracekit', ignore_errors=True)"),
    "store read-only": Fault(middle="tracekit.flush(5); os.path.isdir('.tracekit') and os.chmod('.tracekit/inbox', 0)"),
    "working folder removed": Fault(before="os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"),
    "clock jumps backwards": Fault(before=BACKWARDS),
    "fork inside a span": Fault(middle=FORK.strip().replace("\n    ", "\n    ")),
    "os._exit": Fault(middle="os._exit(5)"),
    "sys.exit": Fault(middle="sys.exit(3)"),
    "KeyboardInterrupt": Fault(middle="raise KeyboardInterrupt"),
    "SIGTERM": Fault(middle="os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)"),
    "an uncaught error": Fault(after="look(3)"),
    "daemon threads at the end": Fault(after=DAEMON),
    "provider replaced": Fault(after=REPLACED.format("TracerProvider()")),
    "provider gone": Fault(after=REPLACED.format("None")),
    "provider shut down": Fault(after=REPLACED.format("trace._TRACER_PROVIDER; trace._TRACER_PROVIDER.shutdown()")),
    "a redaction rule that raises": Fault(
        before="tracekit.init(redact=lambda key, text: 1 / 0)", says="the redaction rule"
    ),
    "a sampling rule that raises": Fault(
        before="tracekit.init(sample=lambda root: 1 / 0)", says="a sampling rule failed"
    ),
}


@pytest.fixture(scope="module")
def hanging() -> str:
    """The URL of something that takes connections and never answers; the kernel keeps them while nobody accepts."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    _open.append(listening)
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


_open: list[socket.socket] = []


@pytest.fixture(scope="module", autouse=True)
def _close_all():
    yield
    while _open:
        _open.pop().close()


@pytest.mark.parametrize("name", FAULTS)
def test_the_program_is_as_it_is_without_tracekit(name: str, tmp_path: Path, hanging: str) -> None:
    fault = FAULTS[name]
    source = PROGRAM.format(before=fault.before, middle=fault.middle, after=fault.after)
    seen = []
    for kind in ("without", "with"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "program.py").write_text(textwrap.dedent(source))
        environment = {**os.environ, **fault.environment}
        if environment.get("TRACEKIT_ENDPOINT") == "HANGS":
            environment["TRACEKIT_ENDPOINT"] = hanging
        if kind == "without":
            (folder / "tracekit.py").write_text(NOTHING)
        if fault.store_is_a_file:
            (folder / ".tracekit").write_text("in the way")
        done = subprocess.run(
            [sys.executable, str(folder / "program.py")],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        seen.append((done.returncode, done.stdout, _tracebacks(done.stderr)))
    assert seen[1] == seen[0]
    assert fault.says in done.stderr  # the fault is one; and it is told


def _tracebacks(stderr: str) -> int:
    return stderr.count("Traceback (most recent call last)")
