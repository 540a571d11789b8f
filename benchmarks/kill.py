"""Kill the collector under load, again and again, and count: every acknowledged span once, none twice.

    python benchmarks/kill.py --kills 100 --seed 1
    python benchmarks/kill.py --mode workers --kills 100
    python benchmarks/kill.py --mode points --kills 400
    python benchmarks/kill.py --mode full --kills 100

Clients send requests over both doors, HTTP and gRPC, and send again what was not answered, as SDKs do. At a random
moment, or as soon as settling is at work, the collector gets SIGKILL; then it is started again on the same store.
With `--mode workers` the requests are large, so that worker processes decode them: a worker is killed alone, the
collector alone (its workers end by themselves, maybe in the middle of a file), or both at once. With `--mode beside`
a second collector works on the same store all the time. At the end the store
is opened and its spans are compared with what was acknowledged. Prints one JSON line and exits 1 when a span is lost
or doubled.

`--mode points` (Linux, with a C compiler) kills instead at chosen events: the work of a collector (append, settle,
compact, retain, vacuum) is done in one process, and SIGKILL comes at one of the some 1,300 writes, fsyncs, renames,
links and removals that it does below the store, a write after half of its bytes. The events are spread over all
steps, and the line tells how many kills met which. `--mode full` lets the disk be full
at such an event and for a while after: what could not be kept must have been refused. Both then open the store again,
as one would after a crash.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import _faults
from _senders import Senders

COMMAND = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
_LARGE = 400  # spans a request that workers are to decode


@dataclass
class Outcome:
    """What became of the spans.

    Args:
        kills: How many processes were killed.
        in_settle: How many collectors while a batch was being settled.
        workers: How many of the killed were worker processes.
        acknowledged: Spans whose request was answered with success.
        by_grpc: How many of these by the gRPC door.
        lost: Acknowledged spans that the store does not have.
        doubled: Spans that it has more than once.
        foreign: Spans that nobody sent.
    """

    kills: int = 0
    in_settle: int = 0
    workers: int = 0
    acknowledged: int = 0
    by_grpc: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[str]
    url: str
    target: str

    def workers(self) -> list[int]:
        """The process ids of its worker processes."""
        try:
            children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
            return [int(pid) for each in children for pid in each.read_text(encoding="ascii").split()]
        except OSError:
            return []


def start(store: Path, *options: str) -> _Running:
    """A collector on free ports, ready."""
    process = subprocess.Popen(
        [*COMMAND, "collect", "--port", "0", "--store", str(store), "--settle-every", "0.05", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("gRPC on "):
            # Whoever does not read what it logs would stop it in the end.
            threading.Thread(target=_drop, args=(process.stderr,), daemon=True).start()
            url = next(each for each in seen if each.startswith("collecting on ")).removeprefix("collecting on ")
            return _Running(process, url.strip(), line.removeprefix("gRPC on ").strip())
    process.wait()
    process.stderr.close()
    raise RuntimeError(f"the collector did not start: {''.join(seen)}")


def _drop(stream: IO[str]) -> None:
    with stream:
        stream.read()


def trial(store: Path, *, kills: int, seed: int, workers: bool = False, beside: bool = False) -> Outcome:
    """Kill a collector under load, then count what the store has.

    Args:
        store: A folder for the store.
        kills: How many times to kill.
        seed: Of the load and of the moments.
        workers: Whether requests are large, and worker processes killed too.
        beside: Whether a second collector, with clients of its own, works on the same store all the time.
    """
    if beside:
        return _beside(store, kills, seed)
    load = Senders(seed, spans=_LARGE, text=600, pause=0.1) if workers else Senders(seed, pause=0.01)
    one = _Trial(store, random.Random(seed), load)
    try:
        one.run(kills, (one.moment, one.worker, one.settling, one.together) if workers else (one.moment, one.settling))
    finally:
        load.stopping.set()
        for each in one.started:
            each.process.kill()
            each.process.wait()
    _count(store, load, one.outcome)
    return one.outcome


def _beside(store: Path, kills: int, seed: int) -> Outcome:
    other, theirs = start(store), Senders(seed + 500_000, pause=0.01)
    one = _Trial(store, random.Random(seed), Senders(seed, pause=0.01))
    try:
        theirs.url, theirs.target = other.url, other.target
        theirs.up.set()
        threads = theirs.run()
        one.run(kills, (one.moment, one.settling))
        theirs.stopping.set()
        for thread in threads:
            thread.join(20)
        other.process.send_signal(signal.SIGTERM)
        if other.process.wait(120) != 0:
            raise RuntimeError(f"the collector ended with {other.process.returncode} after SIGTERM")
    finally:
        for load in (one.load, theirs):
            load.stopping.set()
        for each in (*one.started, other):
            each.process.kill()
            each.process.wait()
    one.load.acknowledged |= theirs.acknowledged
    one.load.sent |= theirs.sent
    one.load.by_grpc += theirs.by_grpc
    _count(store, one.load, one.outcome)
    return one.outcome


@dataclass
class _Trial:
    store: Path
    rng: random.Random
    load: Senders
    outcome: Outcome = field(default_factory=Outcome)
    started: list[_Running] = field(default_factory=list)

    def run(self, kills: int, ways: Sequence[Callable[[_Running], None]]) -> None:
        threads: list[threading.Thread] = []
        number = 0
        while self.outcome.kills < kills:
            running = self._start()
            threads = threads or self.load.run()
            ways[number % len(ways)](running)
            number += 1
            self.load.up.clear()
            self._kill(running.process.pid)
            running.process.wait()
        running = self._start()
        time.sleep(0.3)
        self.load.stopping.set()
        for thread in threads:
            thread.join(20)
        running.process.send_signal(signal.SIGTERM)
        if running.process.wait(120) != 0:
            raise RuntimeError(f"the collector ended with {running.process.returncode} after SIGTERM")

    def moment(self, running: _Running) -> None:
        """Wait for a random one."""
        del running
        time.sleep(self.rng.uniform(0.05, 1.0))

    def settling(self, running: _Running) -> None:
        """Wait until a batch is being settled, and a little."""
        del running
        self.outcome.in_settle += _settling(self.store, within=3.0)
        time.sleep(self.rng.uniform(0, 0.03))

    def worker(self, running: _Running) -> None:
        """Kill a worker process, and let the collector go on for a moment."""
        for pid in self._workers(running)[:1]:
            self._kill(pid, worker=True)
        time.sleep(self.rng.uniform(0, 1.0))

    def together(self, running: _Running) -> None:
        """Kill the worker processes, just before their collector."""
        for pid in self._workers(running):
            self._kill(pid, worker=True)

    def _workers(self, running: _Running) -> list[int]:
        """Its worker processes, some of the way through a batch."""
        deadline = time.monotonic() + 8
        while not (found := running.workers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.outcome.in_settle += _settling(self.store, within=3.0)
        time.sleep(self.rng.uniform(0, 0.6))
        return running.workers() or found

    def _start(self) -> _Running:
        running = start(self.store)
        self.started.append(running)
        self.load.url, self.load.target = running.url, running.target
        self.load.up.set()
        return running

    def _kill(self, pid: int, *, worker: bool = False) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.outcome.kills += 1
        self.outcome.workers += worker


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


def _count(store: Path, load: Senders, outcome: Outcome) -> None:
    from tracekit_collector.store import Store

    with Store.open(store) as opened:
        rows = opened.sql("SELECT trace_id || '/' || span_id FROM spans").fetchall()
    found = Counter(str(row[0]) for row in rows)
    outcome.acknowledged, outcome.by_grpc = len(load.acknowledged), load.by_grpc
    outcome.lost = sum(1 for each in load.acknowledged if each not in found)
    outcome.doubled = sum(1 for count in found.values() if count > 1)
    outcome.foreign = sum(1 for each in found if each not in load.sent)


def points(kills: int, seed: int, *, full: bool = False) -> dict[str, object]:
    """Kill the work at events that are spread over all of them, or let the disk be full there.

    Args:
        kills: How many trials.
        seed: Of the content and of the events.
        full: Whether the disk is full instead.

    Returns:
        Sums over all trials: `killed`, `refused` or `crashed`, `acknowledged`, `lost`, `doubled`, `foreign`, and
        `changed`, how many stores did not read the same after compaction; `events`, how many there are; `steps`, how
        many trials met which step.
    """
    rng = random.Random(seed)
    total: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _faults.Faults(folder) as faults:
            events = faults.events(folder / "whole", seed)
            for number, at in enumerate(_spread(events, kills, rng)):
                until = at + rng.randrange(1, 200) if full else None
                one = _faults.trial(faults, folder, seed=seed + number, at=at, until=until)
                total.update(one)
                steps[faults.step()] += 1
                if one["lost"] or one["doubled"] or one["foreign"] or one["changed"] or one["crashed"]:
                    print(json.dumps({"seed": seed + number, "at": at, "until": until, **one}), file=sys.stderr)
    names = ("killed", "refused", "crashed", "acknowledged", "lost", "doubled", "foreign", "changed")
    return {"events": len(events), **{each: total[each] for each in names}, "steps": dict(sorted(steps.items()))}


def _spread(events: Sequence[str], count: int, rng: random.Random) -> list[int]:
    """Numbers of events, each step's in turn: a step that writes a thousand times is not worth more than one."""
    of_step: dict[str, list[int]] = {}
    for number, step in enumerate(events, 1):
        of_step.setdefault(step, []).append(number)
    steps = sorted(of_step)
    rng.shuffle(steps)
    return [rng.choice(of_step[steps[number % len(steps)]]) for number in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("load", "workers", "beside", "points", "full"), default="load")
    parser.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.mode in ("load", "workers", "beside"):
        total = Outcome()
        while total.kills < arguments.kills:
            with tempfile.TemporaryDirectory() as folder:
                one = trial(
                    Path(folder),
                    kills=min(10, arguments.kills - total.kills),
                    seed=arguments.seed + total.kills,
                    workers=arguments.mode == "workers",
                    beside=arguments.mode == "beside",
                )
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
