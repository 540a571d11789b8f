"""How many spans a second the collector takes in for good, on this machine and with the load made on it too.

    python benchmarks/ingest.py --seconds 60 --clients 4 --rate 21000

A collector is started as users start it. Clients send requests of 100 traces of ten spans of 1.2 KB, at a rate, or
as fast as they are answered with `--rate 0`; then again at half that rate. Prints one JSON line a figure: what was
acknowledged, what a query finds two seconds after the end, how long acknowledgements took, memory and processor time
of all the collector's processes, bytes on the disk after compaction beside `zstd -3` of the same requests; and, in the
same run, what the disk and the lake's library can do with the same bytes when nothing is decoded.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from _requests import Template, templates
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

COMMAND = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LATEST = 120  # seconds that what is late is waited for


@dataclass
class Load:
    """What the clients saw.

    Args:
        acknowledged: Spans whose request was answered with success.
        refused: Requests that were answered with anything else, and sent again.
        seconds: From the first request to the last answer.
        waits_ms: How long each acknowledgement took.
    """

    acknowledged: int = 0
    refused: int = 0
    seconds: float = 0.0
    waits_ms: list[float] = field(default_factory=list)


class Collector:
    """A collector in processes of its own, watched.

    Args:
        store: The store's folder.
    """

    def __init__(self, store: Path) -> None:
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, "collect", "--port", "0", "--store", str(store)], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.url = ""
        for line in self.process.stderr:
            found = [word for word in line.split() if word.startswith("http://")]
            if found:
                self.url = found[0].rstrip("/.,")
                break
        self.ready_seconds = time.monotonic() - began
        self._telling = threading.Thread(target=sys.stderr.writelines, args=(self.process.stderr,), daemon=True)
        self._telling.start()
        self.rss: list[tuple[float, int]] = []
        self._seen: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def cpu_seconds(self) -> float:
        """Processor time of the collector and all its children until now."""
        self._look()
        return sum(self._seen.values()) / _TICKS

    def stop(self) -> None:
        """Tell it to end, and wait for that."""
        self._stopping.set()
        self._thread.join()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._telling.join()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _watch(self) -> None:
        while not self._stopping.wait(0.25):
            self.rss.append((time.monotonic(), self._look()))

    def _look(self) -> int:
        total = 0
        for pid in _family(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            except (OSError, IndexError):
                continue
            self._seen[pid] = int(fields[11]) + int(fields[12])
        return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def send(url: str, made: list[Template], *, seconds: float, clients: int, rate: float) -> Load:
    """Send requests until the time is over; `rate` in spans a second, 0 for as fast as they are answered."""
    load, mutex = Load(), threading.Lock()
    began = time.monotonic()
    threads = [
        threading.Thread(target=_client, args=(url, made[number::clients], began, seconds, clients, rate, load, mutex))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - began
    return load


def _client(
    url: str,
    made: list[Template],
    began: float,
    seconds: float,
    clients: int,
    rate: float,
    load: Load,
    mutex: threading.Lock,
) -> None:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    headers = {"content-type": "application/x-protobuf"}
    number = 0
    while time.monotonic() - began < seconds:
        template = made[number % len(made)]
        number += 1
        body = template.fresh()
        if rate:
            time.sleep(max(0.0, began + number * template.spans * clients / rate - time.monotonic()))
        while True:
            asked = time.monotonic()
            connection.request("POST", "/v1/traces", body=bytes(body), headers=headers)
            answer = connection.getresponse()
            answer.read()
            with mutex:
                if answer.status == 200:
                    load.acknowledged += template.spans
                    load.waits_ms.append((time.monotonic() - asked) * 1000)
                    break
                load.refused += 1
            time.sleep(float(answer.headers.get("retry-after") or 0.2))
    connection.close()


def figures(
    *, seconds: float = 60, clients: int = 4, rate: float = 21_000, requests: int = 64, folder: Path | None = None
) -> Iterator[dict[str, object]]:
    """The benchmark; a figure at a time."""
    made = templates(requests)
    size = sum(len(each.body) for each in made) / sum(each.spans for each in made)
    yield {"figure": "load", "bytes_a_span": round(size), "spans_a_request": made[0].spans, "clients": clients}
    # What else runs on the machine takes from the figures; the load averages tell how much there was.
    yield {"figure": "machine", "cores": os.cpu_count(), "load_average": _load_average()}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield from _baseline(Path(scratch), made)
        store = Path(scratch) / "store"
        collector = Collector(store)
        try:
            yield {"figure": "start_to_ready_seconds", "value": round(collector.ready_seconds, 2)}
            time.sleep(2)
            yield {"figure": "idle_rss_mb", "value": round(collector.rss[-1][1] / 2**20)}
            total = yield from _full(collector, store, made, seconds, clients, rate)
            half = send(collector.url, made, seconds=seconds / 3, clients=clients, rate=(rate or 21_000) / 2)
            yield {
                "figure": "ack_ms_at_half_load",
                "spans_a_second": round(half.acknowledged / half.seconds),
                **_ack(half),
            }
            total += half.acknowledged
        finally:
            collector.stop()
        yield from _disk(store, made, total)


def _full(
    collector: Collector, store: Path, made: list[Template], seconds: float, clients: int, rate: float
) -> Iterator[dict[str, object]]:
    cpu, own = collector.cpu_seconds(), time.process_time()
    began = len(collector.rss)
    load = send(collector.url, made, seconds=seconds, clients=clients, rate=rate)
    own = time.process_time() - own
    time.sleep(2)
    queryable = _count(store)
    late = time.monotonic()
    while _count(store) < load.acknowledged and time.monotonic() - late < _LATEST:
        time.sleep(0.5)
    late = time.monotonic() - late
    cpu = collector.cpu_seconds() - cpu  # of all of it, also where settling came after
    yield {
        "figure": "ingest",
        "offered_spans_a_second": rate or "all",
        "acknowledged_spans_a_second": round(load.acknowledged / load.seconds),
        "queryable_spans_a_second": round(queryable / load.seconds),
        "acknowledged": load.acknowledged,
        "queryable_at_end_plus_2_s": queryable,
        "all_queryable_after_seconds": round(late + 2, 1) if queryable < load.acknowledged else 2.0,
        "refused_requests": load.refused,
        "collector_cpu_us_a_span": round(cpu / max(1, load.acknowledged) * 1e6, 1),
        "load_cpu_us_a_span": round(own / max(1, load.acknowledged) * 1e6, 1),
        "load_average": _load_average(),
    }
    yield {"figure": "ack_ms_at_full_load", **_ack(load)}
    memory = collector.rss[began:]
    half = memory[len(memory) // 3 :]
    yield {
        "figure": "rss_mb_of_all_processes",
        "max": round(max(rss for _, rss in memory) / 2**20),
        "median": round(statistics.median(rss for _, rss in memory) / 2**20),
        "slope_mb_a_minute": round(_slope(half) * 60 / 2**20, 1),
    }
    return load.acknowledged


def _load_average() -> list[float]:
    return [round(each, 1) for each in os.getloadavg()]


def _ack(load: Load) -> dict[str, object]:
    waits = sorted(load.waits_ms)
    return {
        "p50": round(waits[len(waits) // 2], 1) if waits else None,
        "p99": round(waits[int(len(waits) * 0.99)], 1) if waits else None,
        "max": round(waits[-1], 1) if waits else None,
    }


def _slope(points: list[tuple[float, int]]) -> float:
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return 0.0
    return statistics.linear_regression([at for at, _ in points], [rss for _, rss in points]).slope


def _count(store: Path) -> int:
    # In a process of its own, which does not settle: only what the collector has brought into the lake counts.
    code = (
        "import sys, pathlib; from tracekit_collector.lake import Lake; from tracekit_collector.query import Engine\n"
        "lake = Lake(pathlib.Path(sys.argv[1]) / 'lake'); engine = Engine(lake.folder)\n"
        "engine.show_files('spans', 'spans', lake.files('spans'))\n"
        "print(engine.run('SELECT count(*) FROM spans').fetchone()[0])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(store)], check=True, stdout=subprocess.PIPE, text=True)
    return int(found.stdout)


def _disk(store: Path, made: list[Template], total: int) -> Iterator[dict[str, object]]:
    subprocess.run([*COMMAND, "store", "compact", "--store", str(store)], check=True, capture_output=True)
    from tracekit_collector.lake import Lake
    from tracekit_collector.query import Engine

    lake = Lake(store / "lake")
    engine = Engine(lake.folder)
    engine.show_files("spans", "spans", lake.files("spans"))
    count, whole = engine.run("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans").fetchall()[0]
    engine.close()
    size, files = lake.size("spans")
    raw = b"".join(bytes(each.fresh()) for each in made)
    compressed = len(pa.Codec("zstd", compression_level=3).compress(raw)) / sum(each.spans for each in made)
    yield {"figure": "in_the_end", "acknowledged": total, "spans": count, "distinct": whole}
    yield {
        "figure": "disk",
        "bytes_a_span": round(size / max(1, int(str(count))), 1),
        "zstd_3_bytes_a_span": round(compressed, 1),
        "ratio": round(size / max(1, int(str(count))) / compressed, 3),
        "files": files,
    }


def _baseline(folder: Path, made: list[Template]) -> Iterator[dict[str, object]]:
    """What the disk does with the bytes, and the lake's library with columns that are ready."""
    from deltalake import write_deltalake

    from tracekit_collector.rows import SpanColumns

    bodies = [bytes(each.fresh()) for each in made]
    spans = sum(each.spans for each in made)
    began = time.monotonic()
    with (folder / "raw").open("wb") as file:
        for body in bodies:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    yield {"figure": "baseline_fsync", "spans_a_second": round(spans / (time.monotonic() - began))}
    columns = SpanColumns()
    for body in bodies[:16]:
        columns.add(ExportTraceServiceRequest.FromString(body), received_ns=time.time_ns())
    table = columns.table()
    began, cpu = time.monotonic(), time.process_time()
    write_deltalake(str(folder / "delta"), table, partition_by=["date"])
    yield {
        "figure": "baseline_write_deltalake",
        "spans_a_second": round(len(table) / (time.monotonic() - began)),
        "cpu_us_a_span": round((time.process_time() - cpu) / len(table) * 1e6, 1),
    }
    shutil.rmtree(folder / "delta")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long to send at full load")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rate", type=float, default=21_000, help="spans a second; 0 sends as fast as it is answered")
    parser.add_argument("--requests", type=int, default=64, help="how many different requests are made")
    parser.add_argument("--folder", type=Path, help="where to put the store; a temporary folder when not given")
    chosen = parser.parse_args()
    for figure in figures(**vars(chosen)):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
