"""Kill the collector under load, again and again, and count: every acknowledged span once, none twice.

    python benchmarks/kill.py --kills 100 --seed 1
    python benchmarks/kill.py --mode points --kills 400
    python benchmarks/kill.py --mode full --kills 100

Clients send requests and send again what was not answered, as SDKs do. At a random moment, or as soon as settling is
at work, the collector gets SIGKILL; then it is started again on the same store. At the end the store is opened and
its spans are compared with what was acknowledged. Prints one JSON line and exits 1 when a span is lost or doubled.

`--mode points` (Linux, with a C compiler) kills instead at chosen events: the work of a collector (append, settle,
compact, retain, vacuum) is done in one process, and SIGKILL comes at one of the some 1,300 writes, fsyncs, renames,
links and removals that it does below the store, a write after half of its bytes. The events are spread over all of
them, so that every step is met. `--mode full` lets the disk be full at such an event and for a while after: what
could not be kept must have been refused. Both then open the store again, as one would after a crash.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import _faults
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

COMMAND = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
CLIENTS = 3
SPANS_A_REQUEST = 25


@dataclass
class Outcome:
    """What became of the spans.

    Args:
        kills: How many times the collector was killed.
        in_settle: How many of these while a batch was being settled.
        acknowledged: Spans whose request was answered with success.
        lost: Acknowledged spans that the store does not have.
        doubled: Spans that it has more than once.
        foreign: Spans that nobody sent.
    """

    kills: int = 0
    in_settle: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0


@dataclass
class _Load:
    """Clients that send until they are told to stop."""

    seed: int
    url: str = ""
    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    up: threading.Event = field(default_factory=threading.Event)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def _send(self, number: int) -> None:
        rng = random.Random(self.seed * 1000 + number)
        with httpx.Client(timeout=10) as client:
            while not self.stopping.is_set():
                body, ids = request(rng)
                with self.mutex:
                    self.sent |= ids
                while not self._accepted(client, body):
                    if self.stopping.is_set():
                        return
                    self.up.wait(1)
                with self.mutex:
                    self.acknowledged |= ids

    def _accepted(self, client: httpx.Client, body: bytes) -> bool:
        try:
            answer = client.post(
                f"{self.url}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


def request(rng: random.Random, spans: int = SPANS_A_REQUEST) -> tuple[bytes, set[str]]:
    """A traces request of new spans, and their ids as `trace_id/span_id`."""
    trace_id = rng.randbytes(16)
    made = [
        {
            "trace_id": trace_id,
            "span_id": rng.randbytes(8),
            "name": f"step {number}",
            "start_time_unix_nano": time.time_ns(),
            "end_time_unix_nano": time.time_ns() + 1000,
            "attributes": [{"key": "input.value", "value": {"string_value": rng.randbytes(60).hex()}}],
        }
        for number in range(spans)
    ]
    body = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": made}]}]).SerializeToString()
    return body, {f"{trace_id.hex()}/{span['span_id'].hex()}" for span in made}  # type: ignore[attr-defined]  # bytes


def start(store: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A collector on a free port, ready, and its address."""
    process = subprocess.Popen(
        [*COMMAND, "collect", "--port", "0", "--store", str(store), "--settle-every", "0.05", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("collecting on "):
            # Whoever does not read what it logs would stop it in the end.
            threading.Thread(target=_drop, args=(process.stderr,), daemon=True).start()
            return process, line.removeprefix("collecting on ").strip()
    process.wait()
    process.stderr.close()
    raise RuntimeError(f"the collector did not start: {''.join(seen)}")


def _drop(stream: IO[str]) -> None:
    with stream:
        stream.read()


def trial(store: Path, *, kills: int, seed: int) -> Outcome:
    """Kill a collector under load, then count what the store has.

    Args:
        store: A folder for the store.
        kills: How many times to kill it.
        seed: Of the load and of the moments.
    """
    load, started = _Load(seed), list[subprocess.Popen[str]]()
    try:
        return _trial(store, kills, seed, load, started)
    finally:
        load.stopping.set()
        for process in started:
            process.kill()
            process.wait()


def _trial(store: Path, kills: int, seed: int, load: _Load, started: list[subprocess.Popen[str]]) -> Outcome:
    rng = random.Random(seed)
    outcome = Outcome()
    threads: list[threading.Thread] = []
    for number in range(kills):
        process, load.url = start(store)
        started.append(process)
        load.up.set()
        threads = threads or load.run()
        if number % 2:
            outcome.in_settle += _settling(store, within=3.0)
            time.sleep(rng.uniform(0, 0.03))
        else:
            time.sleep(rng.uniform(0.05, 1.0))
        load.up.clear()
        process.send_signal(signal.SIGKILL)
        process.wait()
        outcome.kills += 1
    process, load.url = start(store)
    started.append(process)
    load.up.set()
    time.sleep(0.3)
    load.stopping.set()
    for thread in threads:
        thread.join(20)
    process.send_signal(signal.SIGTERM)
    if process.wait(60) != 0:
        raise RuntimeError(f"the collector ended with {process.returncode} after SIGTERM")
    _count(store, load, outcome)
    return outcome


def _settling(store: Path, *, within: float) -> bool:
    """Wait until a batch is being settled."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if json.loads((store / "inbox" / "settle.json").read_text(encoding="utf-8"))["ranges"]:
                return True
        except (OSError, ValueError):
            pass
        time.sleep(0.001)
    return False


def _count(store: Path, load: _Load, outcome: Outcome) -> None:
    from tracekit_collector.store import Store

    with Store.open(store) as opened:
        rows = opened.sql("SELECT trace_id || '/' || span_id FROM spans").fetchall()
    found = Counter(str(row[0]) for row in rows)
    outcome.acknowledged = len(load.acknowledged)
    outcome.lost = sum(1 for each in load.acknowledged if each not in found)
    outcome.doubled = sum(1 for count in found.values() if count > 1)
    outcome.foreign = sum(1 for each in found if each not in load.sent)


def points(kills: int, seed: int, *, full: bool = False) -> dict[str, int]:
    """Kill the work at events that are spread over all of them, or let the disk be full there.

    Args:
        kills: How many trials.
        seed: Of the content and of the events.
        full: Whether the disk is full instead.

    Returns:
        Sums over all trials: `killed`, `refused` or `crashed`, `acknowledged`, `lost`, `doubled`, `foreign`, and
        `changed`, how many stores did not read the same after compaction; `events`, how many there are.
    """
    rng = random.Random(seed)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _faults.Faults(folder) as faults:
            events = faults.events(folder / "whole", seed)
            for number in range(kills):
                at = 1 + events * number // kills + rng.randrange(max(1, events // kills))
                until = at + rng.randrange(1, 200) if full else None
                one = _faults.trial(faults, folder, seed=seed + number, at=min(at, events), until=until)
                total.update(one)
                if one["lost"] or one["doubled"] or one["foreign"] or one["changed"] or one["crashed"]:
                    print(json.dumps({"seed": seed + number, "at": at, "until": until, **one}), file=sys.stderr)
    names = ("killed", "refused", "crashed", "acknowledged", "lost", "doubled", "foreign", "changed")
    return {"events": events, **{each: total[each] for each in names}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("load", "points", "full"), default="load")
    parser.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.mode == "load":
        total = Outcome()
        for number in range(0, arguments.kills, 10):
            with tempfile.TemporaryDirectory() as folder:
                one = trial(Path(folder), kills=min(10, arguments.kills - number), seed=arguments.seed + number)
            for name in vars(total):
                setattr(total, name, getattr(total, name) + getattr(one, name))
        found = vars(total)
    else:
        found = points(arguments.kills, arguments.seed, full=arguments.mode == "full")
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"name": f"kill, {arguments.mode}", **found, "seed": arguments.seed, "seconds": seconds}))
    wrong = ("lost", "doubled", "foreign", "changed", "crashed")
    return 1 if any(found.get(name) for name in wrong) else 0


if __name__ == "__main__":
    raise SystemExit(main())
