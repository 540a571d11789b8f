"""What a span costs: bare, written by hand with our attributes, decorated by us and by others, interleaved.

    python benchmarks/sdk.py [--traces 300] [--rounds 15] [--spans 1000000]

A trace is one root and nine children. All spans end in a processor that does nothing, so that what is measured is the
caller's own time. Prints one JSON line a figure: microseconds a span as the median over rounds, the 99th percentile
over single traces, and the median over rounds of the ratio to the span that is written by hand in the same round. The
cost of the import, how many of 20,000 spans made back to back are stored, and memory over a million spans follow.
Other projects are compared with where benchmarks/requirements-peers.txt is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from _peers import Decorate, peers
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, Tracer

import tracekit

SPANS = 10
SMALL = "small arguments"
KILOBYTE = "1 KB in, 1 KB out"
_TRACEPARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"

Subjects = dict[str, Callable[[int], None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=300, help="traces of ten spans a round and subject")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--spans", type=int, default=1_000_000, help="over which memory is watched; 0 for not at all")
    parser.add_argument("--only-grow", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only-burst", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_burst:
        _make_burst(arguments.only_burst, arguments.target)
        return
    if arguments.only_grow:
        _grow(arguments.only_grow)
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SpanProcessor())
    os.environ["TRACEKIT_STORE"] = tempfile.mkdtemp()
    tracekit.init(tracer_provider=provider)
    _silence()
    for case, text in ((SMALL, "what is up"), (KILOBYTE, "x" * 1024)):
        _compare(case, _sync_subjects(provider, text), arguments.traces, arguments.rounds)
        _compare(f"{case}, async", _async_subjects(provider, text), arguments.traces, arguments.rounds)
    _inference_log(arguments.traces, arguments.rounds)
    tracekit.shutdown()
    _import_time()
    _automatic_version()
    _kept()
    if arguments.spans:
        _memory(arguments.spans)


def _silence() -> None:
    """Take our queue out of the way: its thread would take the interpreter from whichever subject runs."""
    from tracekit._runtime import runtime

    assert runtime.relay is not None
    runtime.relay.batch = None


def _sync_subjects(provider: TracerProvider, text: str) -> Subjects:
    tracer = provider.get_tracer("by-hand")
    subjects = {"bare": _bare(tracer), "by hand": _by_hand(tracer, text)}
    return subjects | {name: _decorated(decorate, text) for name, decorate in _decorators().items()}


def _decorators() -> dict[str, Decorate]:
    return {"decorated": tracekit.tool, **peers()}


def _bare(tracer: Tracer) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span("root"):
                for _ in range(SPANS - 1):
                    with tracer.start_as_current_span("child"):
                        pass

    return run


def _by_hand(tracer: Tracer, text: str) -> Callable[[int], None]:
    def step(name: str, question: str, limit: int = 5) -> str:
        with tracer.start_as_current_span(f"execute_tool {name}", attributes=_static(name)) as span:
            _say_input(span, question, limit)
            if name == "root":
                for _ in range(SPANS - 1):
                    step("child", question)
            _say_output(span, question)
            return question

    def run(count: int) -> None:
        for _ in range(count):
            step("root", text)

    return run


def _decorated(decorate: Decorate, text: str) -> Callable[[int], None]:
    @decorate
    def child(question: str, limit: int = 5) -> str:
        """Look something up."""
        return question if limit else ""

    @decorate
    def root(question: str, limit: int = 5) -> str:
        """Look something up."""
        for _ in range(SPANS - 1):
            child(question)
        return question if limit else ""

    def run(count: int) -> None:
        for _ in range(count):
            root(text)

    return run


def _async_subjects(provider: TracerProvider, text: str) -> Subjects:
    tracer = provider.get_tracer("by-hand")
    loop = asyncio.new_event_loop()
    subjects = {"bare": _bare_async(tracer), "by hand": _by_hand_async(tracer, text)}
    subjects |= {name: _decorated_async(decorate, text) for name, decorate in _decorators().items()}
    return {name: _in(loop, subject) for name, subject in subjects.items()}


def _in(
    loop: asyncio.AbstractEventLoop, subject: Callable[[int], Coroutine[None, None, None]]
) -> Callable[[int], None]:
    return lambda count: loop.run_until_complete(subject(count))


def _bare_async(tracer: Tracer) -> Callable[[int], Coroutine[None, None, None]]:
    async def step(name: str) -> None:
        with tracer.start_as_current_span(name):
            if name == "root":
                for _ in range(SPANS - 1):
                    await step("child")

    async def run(count: int) -> None:
        for _ in range(count):
            await step("root")

    return run


def _by_hand_async(tracer: Tracer, text: str) -> Callable[[int], Coroutine[None, None, None]]:
    async def step(name: str, question: str, limit: int = 5) -> str:
        with tracer.start_as_current_span(f"execute_tool {name}", attributes=_static(name)) as span:
            _say_input(span, question, limit)
            if name == "root":
                for _ in range(SPANS - 1):
                    await step("child", question)
            _say_output(span, question)
            return question

    async def run(count: int) -> None:
        for _ in range(count):
            await step("root", text)

    return run


def _decorated_async(decorate: Decorate, text: str) -> Callable[[int], Coroutine[None, None, None]]:
    @decorate
    async def child(question: str, limit: int = 5) -> str:
        """Look something up."""
        return question if limit else ""

    @decorate
    async def root(question: str, limit: int = 5) -> str:
        """Look something up."""
        for _ in range(SPANS - 1):
            await child(question)
        return question if limit else ""

    async def run(count: int) -> None:
        for _ in range(count):
            await root(text)

    return run


def _say_input(span: Span, question: str, limit: int) -> None:
    called = json.dumps({"question": question, "limit": limit})
    span.set_attribute("input.value", called)
    span.set_attribute("input.mime_type", "application/json")
    span.set_attribute("gen_ai.tool.call.arguments", called)


def _say_output(span: Span, result: str) -> None:
    span.set_attribute("output.value", result)
    span.set_attribute("output.mime_type", "text/plain")
    span.set_attribute("gen_ai.tool.call.result", result)


@functools.cache
def _static(name: str) -> dict[str, Any]:
    """What our decorator puts on each span of a tool besides its input and output, so that both have the same."""
    from tracekit.testing import recorded

    with recorded() as recorder:
        _decorated(tracekit.tool, "what is up")(1)
    span = recorder.all(name=name)[0]
    said_each_time = ("input.", "output.", "gen_ai.tool.call.")
    return {key: value for key, value in span.attributes.items() if not key.startswith(said_each_time)}


def _compare(case: str, subjects: Subjects, traces: int, rounds: int) -> None:
    """Print microseconds a span by subject, as the median over rounds."""
    times: dict[str, list[float]] = {name: [] for name in subjects}
    single: dict[str, list[float]] = {name: [] for name in subjects}
    order = list(subjects)
    chance = random.Random(7)  # the order of turns
    for run in subjects.values():
        run(traces // 3)
    for _ in range(rounds):
        chance.shuffle(order)
        for name in order:
            begun = time.perf_counter()
            subjects[name](traces)
            times[name].append((time.perf_counter() - begun) / (traces * SPANS) * 1e6)
        for name in order:
            for _ in range(40):
                begun = time.perf_counter()
                subjects[name](1)
                single[name].append((time.perf_counter() - begun) / SPANS * 1e6)
    by_hand = times["by hand"]
    for name, taken in times.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, by_hand, strict=True)]
        figures = {
            "us_per_span": round(statistics.median(taken), 2),
            "p99_us_per_span": round(statistics.quantiles(single[name], n=100)[98], 2),
            "ratio_to_by_hand": round(statistics.median(ratios), 3),
        }
        _print(f"span, {case}, {name}", figures)


def _import_time() -> None:
    script = "import time; t = time.perf_counter(); import {}; print((time.perf_counter() - t) * 1e3)"
    times: dict[str, list[float]] = {"opentelemetry.sdk.trace": [], "tracekit": []}
    for _ in range(15):
        for module, taken in times.items():
            done = subprocess.run([sys.executable, "-c", script.format(module)], capture_output=True, check=True)
            taken.append(float(done.stdout))
    medians = {module: statistics.median(taken) for module, taken in times.items()}
    ratio = medians["tracekit"] / medians["opentelemetry.sdk.trace"]
    figures = {"ms": round(medians["tracekit"], 1), "ratio_to_sdk_import": round(ratio, 3)}
    _print("import tracekit", figures)


def _inference_log(traces: int, rounds: int) -> None:
    """What `tracekit.asgi.InferenceLog` adds to a request of 1 KB with a response of 1 KB in four parts."""
    from tracekit._runtime import runtime
    from tracekit.asgi import InferenceLog

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(4):
            await send({"type": "http.response.body", "body": b"x" * 256, "more_body": number < 3})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 1024}

    async def send(_message: Any) -> None: ...

    async def serve(served: Any, count: int) -> None:
        for _ in range(count):
            await served({"type": "http", "method": "POST", "path": "/chat", "headers": headers}, receive, send)

    headers = [(b"content-type", b"text/plain"), (b"x-session-id", b"chat-7"), (b"traceparent", _TRACEPARENT)]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(serve(InferenceLog(app), 1))
    runtime.lines["logs"].batch.put = lambda _record: None  # as with spans: its thread would take the interpreter
    times: dict[str, list[float]] = {"bare": [], "logged": []}
    for _ in range(rounds):
        for name, served in (("bare", app), ("logged", InferenceLog(app))):
            begun = time.perf_counter()
            loop.run_until_complete(serve(served, traces))
            times[name].append((time.perf_counter() - begun) / traces * 1e6)
    bare, logged = statistics.median(times["bare"]), statistics.median(times["logged"])
    _print("inference log, a request", {"us_without": round(bare, 1), "us_with": round(logged, 1)})


def _automatic_version() -> None:
    """How long the first span waits for `agent_version="auto"`, in this repository."""
    script = (
        "import time, tracekit\n"
        "@tracekit.tool\n"
        "def search(query): return query\n"
        "tracekit.init(agent='bot', agent_version={!r})\n"
        "begun = time.perf_counter()\n"
        "search('x')\n"
        "print((time.perf_counter() - begun) * 1e3)"
    )
    times: dict[str, list[float]] = {"auto": [], "1": []}
    for _ in range(9):
        for version, taken in times.items():
            words = [sys.executable, "-c", script.format(version)]
            done = subprocess.run(words, capture_output=True, check=True, cwd=Path(__file__).parent)
            taken.append(float(done.stdout))
    figures = {name: round(statistics.median(taken), 1) for name, taken in times.items()}
    _print("agent version, the first span", {"ms_auto": figures["auto"], "ms_given": figures["1"]})


def _kept() -> None:
    """Make traces of ten spans back to back, with default settings, and count what is stored afterwards.

    2,000 traces fit into the queue and are delivered after; 10,000 do not, and share the interpreter with delivery.
    Beside each, in turns, the same traces with spans that end in a processor that does nothing.
    """
    for target, traces in (("local store", 2_000), ("collector", 2_000), ("local store", 10_000)):
        taken: list[dict[str, float]] = []
        alone: list[dict[str, float]] = []
        for _ in range(3):
            alone.append(_burst("nowhere", traces))
            taken.append(_burst(target, traces))
        figures = {
            "made": taken[0]["made"],
            "stored": min(each["stored"] for each in taken),
            **{name: statistics.median(each[name] for each in taken) for name in ("seconds_to_make", "cpu_seconds")},
            "seconds_of_decorators": statistics.median(each["seconds_to_make"] for each in alone),
            "cpu_seconds_of_decorators": statistics.median(each["cpu_seconds"] for each in alone),
            "seconds_to_hand_over": statistics.median(each["seconds_to_hand_over"] for each in taken),
        }
        _print(f"{traces * SPANS:,} spans back to back, {target}", figures)


def _burst(target: str, traces: int) -> dict[str, float]:
    """Make traces in a process of its own, and count what is stored of them; CPU is the thread's that makes them."""
    from tracekit_collector.store import Store

    store = Path(tempfile.mkdtemp())
    with _collecting(store) if target == "collector" else contextlib.nullcontext() as endpoint:
        words = [sys.executable, __file__, "--only-burst", str(traces), "--target", endpoint or target]
        environment = {**os.environ, "TRACEKIT_STORE": str(store)}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    with Store.open(store) as opened:
        stored = opened.sql("SELECT count(DISTINCT span_id) FROM spans").fetchall()[0][0] - SPANS
    shutil.rmtree(store)
    return {**json.loads(done.stdout), "made": traces * SPANS, "stored": stored}


def _make_burst(traces: int, target: str) -> None:
    if target == "nowhere":
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SpanProcessor())
        tracekit.init(tracer_provider=provider)
        _silence()
    else:
        tracekit.init(endpoint=target if target.startswith("http") else None)
    run = _decorated(tracekit.tool, "what is up")
    run(1)
    begun, cpu = time.perf_counter(), time.thread_time()
    run(traces)
    made, used = time.perf_counter() - begun, time.thread_time() - cpu
    tracekit.shutdown(120)
    handed = time.perf_counter() - begun
    figures = {"seconds_to_make": made, "cpu_seconds": used, "seconds_to_hand_over": handed}
    print(json.dumps({name: round(seconds, 3) for name, seconds in figures.items()}))


@contextlib.contextmanager
def _collecting(store: Path) -> Iterator[str]:
    """A collector with that store; gives its address."""
    command = "from tracekit.cli import main; raise SystemExit(main())"
    words = [sys.executable, "-c", command, "collect", "--port", "0", "--store", str(store)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if line.startswith("collecting on "))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield address.removeprefix("collecting on ").strip()
    finally:
        process.terminate()
        process.wait(30)


def _memory(spans: int) -> None:
    """Resident memory of a process that makes spans and stores them, after a tenth of them and at the end."""
    done = subprocess.run(
        [sys.executable, __file__, "--only-grow", str(spans)], capture_output=True, text=True, check=True
    )
    _print(f"memory over {spans:,} spans", json.loads(done.stdout))


def _grow(spans: int) -> None:
    store = Path(tempfile.mkdtemp())
    tracekit.init(store=store)
    run = _decorated(tracekit.tool, "what is up")
    early = 0.0
    for part in range(10):
        run(spans // SPANS // 10)
        tracekit.flush(60)
        for path in sorted((store / "inbox").glob("*.traces"))[:-1]:
            path.unlink()  # a gigabyte otherwise
        if part == 0:
            early = _resident_mb()
    late = _resident_mb()
    tracekit.shutdown(60)
    shutil.rmtree(store)
    print(json.dumps({"mb_at_a_tenth": early, "mb_at_the_end": late, "growth_mb": round(late - early, 1)}))


def _resident_mb() -> float:
    gc.collect()
    pages = Path("/proc/self/statm")
    if pages.exists():
        return round(int(pages.read_text().split()[1]) * resource.getpagesize() / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1_000
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _print(figure: str, values: dict[str, float]) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"benchmark": "sdk", "figure": figure, **values, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
