"""How long questions to a large store take, beside the same question to its Parquet files in DuckDB alone.

    python benchmarks/query.py                     10 million spans: some 1.4 GB and two minutes to make
    python benchmarks/query.py --spans 2000000

The spans are made, ten a trace over seven days (benchmarks/_spans.py), and written straight to the lake; about 300
bytes of each differ from span to span, which is less than real spans hold, but the questions read only the columns
that they need. Each question is asked `--times` times; the line has the middle of these, the first, and the same for
DuckDB. A question with a bar that is not met makes the exit code 1; bars are for 10 million spans and fewer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from _spans import tables

from tracekit_collector.store import Store

_TRACEKIT = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())"]
_BYTES_A_SPAN = 200  # on the disk, with room to spare
_FAILED = "status = 'error'"


@dataclass(frozen=True)
class Question:
    """Something that is asked.

    Args:
        name: What it is called.
        ask: Asks tracekit.
        baseline: The same, or the least that any answer must read, in SQL over the files themselves.
        bar_ms: How long it may take.
    """

    name: str
    ask: Callable[[], object]
    baseline: str
    bar_ms: float | None = None


def questions(store: Store, files: str) -> list[Question]:
    """All of them, about a trace and a session from the middle of the store."""
    row = store.sql(
        "SELECT trace_id, session_id, (SELECT max(start_ns) FROM spans) FROM spans WHERE parent_span_id IS NULL "
        "AND date = (SELECT min(date) + 3 FROM spans) LIMIT 1"
    ).fetchone()
    assert row is not None
    trace_id, session, newest = row
    since = int(str(newest)) - 86_400 * 10**9
    day = f"status = 'error' AND start_ns >= {since} ORDER BY start_ns DESC LIMIT 100"
    told = "trace_id, span_id, name, start_time, error_type, status_message"
    hours = "SELECT date_trunc('hour', start_time) AS hour, quantile_cont(duration_ns, 0.95) FROM {} GROUP BY hour"
    tenant = "SELECT count(*) FROM {} WHERE json_extract_string(attributes, '$.\"app.tenant\"') = 't-123'"
    roots = f"SELECT * FROM {files} WHERE parent_span_id IS NULL"
    return [
        Question("newest 50 traces", store.find, f"{roots} ORDER BY start_ns DESC LIMIT 50", 150),
        Question(
            "one trace by id",
            lambda: store.trace(str(trace_id)),
            f"SELECT * FROM {files} WHERE trace_id = '{trace_id}'",
            150,
        ),
        Question(
            "errors of the last day",
            lambda: store.sql(f"SELECT {told} FROM spans WHERE {day}"),
            f"SELECT {told} FROM {files} WHERE {day}",
            150,
        ),
        Question("p95 by hour over all", lambda: store.sql(hours.format("spans")), hours.format(files), 1_500),
        Question(
            "newest 50 traces that failed",
            lambda: store.find(errors=True),
            f"{roots} AND {_FAILED} ORDER BY start_ns DESC LIMIT 50",
            150,
        ),
        Question(
            "traces of a session",
            lambda: store.find(equal={"session_id": str(session)}),
            f"SELECT * FROM {files} WHERE session_id = '{session}'",
            150,
        ),
        Question(
            "50 traces that took longer than 20 s",
            lambda: store.find(where="duration_ms > 20000"),
            f"{roots} AND duration_ns > 20e9 ORDER BY start_ns DESC LIMIT 50",
        ),
        Question(
            "traces that took longer than 10 min, of which there are none",
            lambda: store.find(where="duration_ms > 600000"),
            f"{roots} AND duration_ns > 600e9",
        ),
        Question(
            "traces by a text in their input, of which there are none",
            lambda: store.find(where="input LIKE '%no such words%'"),
            f"SELECT * FROM {files} WHERE input LIKE '%no such words%'",
        ),
        Question(
            "traces by an agent or a user, of which there are none",
            lambda: store.find(where="agent_name = 'nobody' OR user_id = 'nobody'"),
            f"SELECT * FROM {files} WHERE agent_name = 'nobody' OR user_id = 'nobody'",
        ),
        Question("spans by an attribute", lambda: store.sql(tenant.format("spans")), tenant.format(files)),
    ]


def measure(question: Question, connection: duckdb.DuckDBPyConnection, *, times: int) -> dict[str, object]:
    """Ask in turns, tracekit and DuckDB."""
    ours, theirs = [], []
    for _ in range(times):
        ours.append(_ms(question.ask))
        theirs.append(_ms(lambda: connection.execute(question.baseline).fetchall()))
    found = statistics.median(ours)
    return {
        "name": question.name,
        "ms": round(found, 1),
        "first_ms": round(ours[0], 1),
        "duckdb_ms": round(statistics.median(theirs), 1),
        "bar_ms": question.bar_ms,
        "met": None if question.bar_ms is None else found <= question.bar_ms,
    }


def opening(folder: Path) -> dict[str, object]:
    """A store that is opened and asked how many spans it has, or for the newest trace, by one that did so before."""

    def count() -> None:
        with Store.open(folder) as store:
            store.sql("SELECT count(*) FROM spans")

    def newest() -> None:
        with Store.open(folder) as store:
            store.trace_ids(limit=1)

    found: dict[str, object] = {"name": "open the store", "bar_ms": 50}
    for name, ask in (("ms", count), ("newest_trace_ms", newest)):
        ask()
        found[name] = round(statistics.median(_ms(ask) for _ in range(5)), 1)
    return found


def cold(folder: Path, trace_id: str) -> dict[str, object]:
    """`tracekit trace ID` in a new process, beside `tracekit --help`: what Python and our imports take."""
    trace = [*_TRACEKIT, "trace", trace_id, "--store", str(folder), "--format", "json"]
    found = _ms(lambda: subprocess.run(trace, check=True, stdout=subprocess.DEVNULL))
    bare = _ms(lambda: subprocess.run([*_TRACEKIT, "--help"], check=True, stdout=subprocess.DEVNULL))
    return {"name": "tracekit trace ID, a new process", "ms": round(found, 1), "help_ms": round(bare, 1)}


def _ms(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1e3


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=10_000_000, help="how many (default: 10 million)")
    parser.add_argument("--times", type=int, default=5, help="how often each question is asked (default: 5)")
    parser.add_argument("--keep", type=Path, help="a folder for the store; one that has it already is used as it is")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="tracekit-query-"))
    try:
        return _run(folder, arguments.spans, arguments.times)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, spans: int, times: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < spans * _BYTES_A_SPAN:
        print(f"{spans} spans need {spans * _BYTES_A_SPAN >> 20} MB at {folder}; make room, or fewer", file=sys.stderr)
        return 2
    told: list[dict[str, object]] = []
    with Store.open(folder) as store:
        if not store.lake.files("spans"):
            began = time.perf_counter()
            for table in tables(spans):
                store.lake.append("spans", table)
            size, files = store.lake.size("spans")
            seconds = round(time.perf_counter() - began, 1)
            print(json.dumps({"name": "make", "spans": spans, "seconds": seconds, "bytes": size, "files": files}))
        listed = ", ".join(_literal(path) for path in store.lake.files("spans"))
        source = f"read_parquet([{listed}], hive_partitioning = true)"
        connection = duckdb.connect()
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute("SET TimeZone = 'UTC'")
        for question in questions(store, source):
            told.append(measure(question, connection, times=times))
            print(json.dumps(told[-1]), flush=True)
        trace_id = store.trace_ids(limit=1)[0]
    for each in (opening(folder), cold(folder, trace_id)):
        print(json.dumps(each), flush=True)
    return 1 if any(each["met"] is False for each in told) else 0


if __name__ == "__main__":
    raise SystemExit(main())
