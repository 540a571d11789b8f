"""What a span costs: bare OpenTelemetry, written by hand with our attributes, and our decorator, interleaved.

    python benchmarks/sdk.py [--traces 300] [--rounds 15]

A trace is one root and nine children. All spans end in the same no-op processor, so that what is measured is the
caller's own time. Prints one JSON line a figure: microseconds a span as the median over rounds, the 99th percentile
over single traces, and the median over rounds of the ratio to the span that is written by hand in the same round. The
cost of the import and how many of 20,000 spans made back to back are stored follow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Tracer

import tracekit

SPANS = 10
SMALL = "small arguments"
KILOBYTE = "1 KB in, 1 KB out"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=300, help="traces of ten spans a round and subject")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SpanProcessor())
    os.environ["TRACEKIT_STORE"] = tempfile.mkdtemp()
    tracekit.init(tracer_provider=provider)
    _silence()
    for case, text in ((SMALL, "what is up"), (KILOBYTE, "x" * 1024)):
        _compare(case, _sync_subjects(provider, text), arguments.traces, arguments.rounds)
        _compare(f"{case}, async", _async_subjects(provider, text), arguments.traces, arguments.rounds)
    tracekit.shutdown()
    _import_time()
    _kept()


def _silence() -> None:
    """Take our queue out of the way: its thread would take the interpreter from whichever subject runs."""
    from tracekit._runtime import runtime

    assert runtime.relay is not None
    runtime.relay.batch = None


def _sync_subjects(provider: TracerProvider, text: str) -> dict[str, Callable[[int], None]]:
    tracer = provider.get_tracer("by-hand")
    return {"bare": _bare(tracer), "by hand": _by_hand(tracer, text), "decorated": _decorated(text)}


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
            called = json.dumps({"question": question, "limit": limit})
            span.set_attribute("input.value", called)
            span.set_attribute("input.mime_type", "application/json")
            span.set_attribute("gen_ai.tool.call.arguments", called)
            if name == "root":
                for _ in range(SPANS - 1):
                    step("child", question)
            result = question
            span.set_attribute("output.value", result)
            span.set_attribute("output.mime_type", "text/plain")
            span.set_attribute("gen_ai.tool.call.result", result)
            return result

    def run(count: int) -> None:
        for _ in range(count):
            step("root", text)

    return run


def _decorated(text: str) -> Callable[[int], None]:
    @tracekit.tool
    def child(question: str, limit: int = 5) -> str:
        """Look something up."""
        return question if limit else ""

    @tracekit.tool
    def root(question: str, limit: int = 5) -> str:
        """Look something up."""
        for _ in range(SPANS - 1):
            child(question)
        return question if limit else ""

    def run(count: int) -> None:
        for _ in range(count):
            root(text)

    return run


def _async_subjects(provider: TracerProvider, text: str) -> dict[str, Callable[[int], None]]:
    tracer = provider.get_tracer("by-hand")

    async def by_hand_step(name: str, question: str, limit: int = 5) -> str:
        with tracer.start_as_current_span(f"execute_tool {name}", attributes=_static(name)) as span:
            called = json.dumps({"question": question, "limit": limit})
            span.set_attribute("input.value", called)
            span.set_attribute("input.mime_type", "application/json")
            span.set_attribute("gen_ai.tool.call.arguments", called)
            if name == "root":
                for _ in range(SPANS - 1):
                    await by_hand_step("child", question)
            result = question
            span.set_attribute("output.value", result)
            span.set_attribute("output.mime_type", "text/plain")
            span.set_attribute("gen_ai.tool.call.result", result)
            return result

    @tracekit.tool
    async def child(question: str, limit: int = 5) -> str:
        """Look something up."""
        return question if limit else ""

    @tracekit.tool
    async def root(question: str, limit: int = 5) -> str:
        """Look something up."""
        for _ in range(SPANS - 1):
            await child(question)
        return question if limit else ""

    async def by_hand_all(count: int) -> None:
        for _ in range(count):
            await by_hand_step("root", text)

    async def decorated_all(count: int) -> None:
        for _ in range(count):
            await root(text)

    return {
        "by hand": lambda count: asyncio.run(by_hand_all(count)),
        "decorated": lambda count: asyncio.run(decorated_all(count)),
    }


def _static(name: str) -> dict[str, str]:
    return {
        "tracekit.step": "tool",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Look something up.",
    }


def _compare(case: str, subjects: dict[str, Callable[[int], None]], traces: int, rounds: int) -> None:
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


def _kept() -> None:
    """Make 2,000 traces of ten spans back to back, to a local inbox, and count what is there afterwards."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracekit.inbox import Record, read_segment, segments

    store = Path(tempfile.mkdtemp())
    tracekit.init(store=store)

    @tracekit.tool
    def child(question: str) -> str:
        return question

    @tracekit.tool
    def root(question: str) -> str:
        for _ in range(SPANS - 1):
            child(question)
        return question

    begun = time.perf_counter()
    for _ in range(2_000):
        root("what is up")
    made = time.perf_counter() - begun
    tracekit.shutdown(60)
    stored = 0
    for path in segments(store / "inbox"):
        for record in read_segment(path):
            if isinstance(record, Record):
                request = ExportTraceServiceRequest.FromString(record.payload)
                stored += sum(len(scope.spans) for of in request.resource_spans for scope in of.scope_spans)
    done = time.perf_counter() - begun
    figures = {"made": 20_000, "stored": stored, "seconds_to_make": round(made, 2), "seconds_to_store": round(done, 2)}
    _print("20,000 spans back to back", figures)


def _print(figure: str, values: dict[str, float]) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"benchmark": "sdk", "figure": figure, **values, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
