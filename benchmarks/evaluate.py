"""How quickly stored traces are judged: ten code judges on many traces, and a model that takes 50 ms a verdict.

    python benchmarks/evaluate.py [--traces 10000] [--judgments 1000] [--many 0]

Prints one JSON line a figure. Beside the run of code judges stands a plain loop over the same judges and traces in
memory, which keeps nothing: the difference is what reading traces from the store and keeping scores costs.

The model is a function in this process first, then an OpenAI-compatible server in another process that the package's
own client asks over HTTP; both runs go through `evaluate` as it is by default, with cache, limits and the traces of
judging. `--many N` judges a fifth of N and then N traces of one small span each, in a process of its own, and prints
what each trace added to the most resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import TracekitError
from tracekit.inbox import SegmentWriter
from tracekit_collector._heap import use_few_heaps
from tracekit_collector.store import Store
from tracekit_evaluators import Subject, evaluate, load_judge
from tracekit_evaluators.judges.rubric import rubric
from tracekit_evaluators.models import Completion, Request, resolve

JUDGES = (
    "error",
    "latency?max=2",
    "steps",
    "tool_success",
    "loop",
    "tokens",
    "cost",
    "contains?any=refund&name=says_refund",
    "regex?pattern=\\d+ days&name=says_days",
    'json_schema?schema={"type":"object"}',
)
WORDS = ("plan", "refund", "window", "days", "after", "order", "ticket", "customer", "asks", "search", "policy")
SECOND = 1_000_000_000
SAID = {"evidence": [], "reasoning": "because", "verdict": "pass"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--judgments", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--judge-stored", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.judge_stored:
        _judge_stored(Path(arguments.judge_stored))
        return
    folder = Path(tempfile.mkdtemp())
    try:
        with Store.open(folder / "store") as store:
            _record(store, arguments.traces)
            _code_judges(store, arguments.traces)
            _model_judges(store, arguments.judgments)
        if arguments.many:
            _memory(folder, arguments.many)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(store: Store, traces: int) -> None:
    """Traces of an agent, three model calls and two tool calls each."""
    chance = random.Random(7)
    writer = SegmentWriter(store.inbox, "traces")
    for start in range(0, traces, 200):
        request = ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        for number in range(start, min(traces, start + 200)):
            trace_id = number.to_bytes(16, "big", signed=False).replace(b"\0" * 8, b"\1" * 8, 1)
            began = 1_790_000_000 * SECOND + number * SECOND
            said = " ".join(chance.choices(WORDS, k=60)) + f" {chance.randint(1, 90)} days"
            _span(
                spans,
                trace_id,
                1,
                0,
                began,
                2.0,
                {
                    "tracekit.step": "agent",
                    "input.value": f"question {number}",
                    "output.value": said,
                    "gen_ai.agent.name": "bot",
                    "gen_ai.agent.version": "1",
                },
            )
            for place in range(3):
                model = {
                    "tracekit.step": "llm",
                    "gen_ai.request.model": "gpt-4o-mini",
                    "output.value": said,
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                }
                counts = {"gen_ai.usage.input_tokens": 100 + place, "gen_ai.usage.output_tokens": 20}
                _span(spans, trace_id, 2 + place, 1, began + place, 0.5, model, counts)
            for place in range(2):
                tool = {
                    "tracekit.step": "tool",
                    "gen_ai.tool.name": "search",
                    "gen_ai.tool.call.arguments": json.dumps({"query": f"q{number % 7} {place}"}),
                    "gen_ai.tool.call.result": said,
                }
                _span(spans, trace_id, 5 + place, 1, began + place, 0.1, tool)
        writer.append(request.SerializeToString(), sync=False)
    writer.close()
    begun = time.perf_counter()
    store.settle(timeout=600)
    _print("settled", {"traces": traces, "seconds": round(time.perf_counter() - begun, 2)})


def _span(
    spans: Any,
    trace_id: bytes,
    key: int,
    parent: int,
    start: int,
    seconds: float,
    texts: dict[str, str],
    counts: dict[str, int] | None = None,
) -> None:
    span = spans.add(trace_id=trace_id, span_id=key.to_bytes(8, "big"), name=texts["tracekit.step"])
    if parent:
        span.parent_span_id = parent.to_bytes(8, "big")
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + int(seconds * SECOND)
    for name, text in texts.items():
        span.attributes.add(key=name).value.string_value = text
    for name, count in (counts or {}).items():
        span.attributes.add(key=name).value.int_value = count


def _code_judges(store: Store, traces: int) -> None:
    evaluate(store, judges=["error"], limit=10, progress=False)  # what is imported once
    early = _run(store, max(1, traces // 10))
    late = _run(store, traces)
    ids = store.trace_ids(limit=min(traces, 1_000))
    subjects = [Subject(trace) for trace in store.traces(ids)]
    judges = [load_judge(spec) for spec in JUDGES]
    begun = time.perf_counter()
    for subject in subjects:
        for judge in judges:
            try:
                judge.scores(judge.call(subject))
            except TracekitError:  # it lacks something, which a run keeps as a status
                continue
    loop = (time.perf_counter() - begun) / len(subjects)
    _print(
        f"{traces:,} traces x {len(JUDGES)} code judges",
        {
            "seconds": round(late["seconds"], 2),
            "scores_per_second": round(late["scores"] / late["seconds"]),
            "seconds_of_a_plain_loop": round(loop * traces, 2),
            "seconds_of_a_tenth": round(early["seconds"], 2),
            "resident_mb_of_a_tenth": early["mb"],
            "resident_mb": late["mb"],
        },
    )


def _run(store: Store, traces: int) -> dict[str, float]:
    peak = _Peak()
    begun = time.perf_counter()
    run = evaluate(store, judges=JUDGES, limit=traces, progress=False)
    seconds = time.perf_counter() - begun
    scores = run.summary["scores"]
    assert isinstance(scores, int)
    return {"seconds": seconds, "scores": scores, "mb": peak.stop()}


class _Peak:
    """The most resident memory of this process while it is watched, in megabytes."""

    def __init__(self) -> None:
        self._most = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return round(self._most)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._most = max(self._most, pages * resource.getpagesize() / 1e6)


class _Mock:
    """A model that says the same after 50 ms."""

    @property
    def fingerprint(self) -> dict[str, object]:
        return {"model": "mock"}

    async def complete(self, request: Request) -> Completion:
        del request
        await asyncio.sleep(0.05)
        return Completion(json.dumps(SAID), model="mock", input_tokens=100, output_tokens=10, cost_usd=0.0)

    async def aclose(self) -> None: ...


class _Answering(asyncio.Protocol):
    """An OpenAI-compatible server that says the same after 50 ms."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = b""
        message = {"role": "assistant", "content": json.dumps(SAID)}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = json.dumps({"id": "1", "model": "mock", "choices": [choice], "usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._answer = head.encode() + body

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if end and len(rest) >= length:
            self._received = rest[length:]
            asyncio.get_running_loop().call_later(0.05, self._transport.write, self._answer)


async def _serving(told: Any) -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _serve(told: Any) -> None:
    asyncio.run(_serving(told))


def _model_judges(store: Store, judgments: int) -> None:
    _asked(store, judgments, _Mock(), "a function in this process")
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    server = processes.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        model = resolve("mock", base_url=f"http://127.0.0.1:{ours.recv()}/v1")
        _asked(store, judgments, model, "an HTTP server in another process")
    finally:
        server.terminate()
        server.join()


def _asked(store: Store, judgments: int, model: Any, what: str) -> None:
    for limit, shown in ((min(50, judgments), False), (judgments, True)):  # first what is imported and opened once
        built = rubric(criteria=f"The answer is about refunds, as {what} sees it, {limit} times.", model=model)
        begun, used = time.perf_counter(), time.process_time()
        run = evaluate(store, judges=[built], limit=limit, concurrency=50, progress=False)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
        if shown:
            figures = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "asked": run.summary["asked"]}
            least = {"least_seconds": judgments / 50 * 0.05, "load_average": round(os.getloadavg()[0], 1)}
            _print(f"{judgments:,} verdicts of a 50 ms model, 50 at once: {what}", {**figures, **least})


def _memory(folder: Path, traces: int) -> None:
    """What a trace adds to the most memory of a process that judges."""
    most: list[float] = []
    for count in (traces // 5, traces):
        place = folder / f"many-{count}"
        with Store.open(place) as store:
            _record_small(store, count)
        command = [sys.executable, __file__, "--judge-stored", str(place)]
        pool = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=pool).stdout)
        most.append(float(told["mb"]))
        _print(f"{count:,} traces of one span, two code judges", told)
    growth = (most[1] - most[0]) * 1e6 / (traces - traces // 5)
    _print("memory that a trace adds", {"bytes": round(growth), "mb_for_a_million": round(growth * 1e6 / 1e6)})


def _record_small(store: Store, traces: int) -> None:
    chance = random.Random(3)
    for start in range(0, traces, 10_000):
        with contextlib.closing(SegmentWriter(store.inbox, "traces")) as writer:
            for first in range(start, min(traces, start + 10_000), 1_000):
                request = ExportTraceServiceRequest()
                spans = request.resource_spans.add().scope_spans.add().spans
                for number in range(first, min(traces, first + 1_000)):
                    texts = {"tracekit.step": "agent", "output.value": f"answer {number}"}
                    began = 1_790_000_000 * SECOND + number * SECOND // 100
                    _span(spans, chance.randbytes(16), number + 1, 0, began, chance.random() * 4, texts)
                writer.append(request.SerializeToString(), sync=False)
        store.settle(timeout=600)


def _judge_stored(location: Path) -> None:
    use_few_heaps()  # as `tracekit eval` does
    with Store.open(location) as store:
        evaluate(store, judges=["error"], limit=100, progress=False)
        peak = _Peak()
        begun, used = time.perf_counter(), time.process_time()
        run = evaluate(store, judges=["error", "latency?max=2"], progress=False)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
        told = {"mb": peak.stop(), "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
    print(json.dumps({**told, "scores": run.summary["scores"]}))


def _print(figure: str, values: dict[str, Any]) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"benchmark": "evaluate", "figure": figure, **values, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
