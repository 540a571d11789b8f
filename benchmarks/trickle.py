"""A week of trickle: a span a second, settled every two seconds, with the house kept as a collector keeps it.

    python benchmarks/trickle.py --commits 1000

Runs faster than a week: a day is `--commits` commits of two spans (in truth 43,200), and the clock jumps in between.
The number of live files does not depend on it but by the logarithm. Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from tracekit_collector.compaction import compact
from tracekit_collector.lake import Lake, to_arrow
from tracekit_collector.store import Store

DAYS = 7


def commit(lake: Lake, day: datetime.date, number: int) -> None:
    start = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(seconds=2 * number)
    start_ns = int(start.replace(tzinfo=datetime.timezone.utc).timestamp()) * 10**9
    rows = [
        {
            "date": day,
            "trace_id": f"{start_ns:032x}",
            "span_id": f"{start_ns + place:016x}",
            "name": "chat",
            "step": "llm",
            "start_time": start,
            "start_ns": start_ns + place,
            "duration_ns": 10**8,
            "attributes": json.dumps({"gen_ai.request.model": "m", "number": number, "text": f"{start_ns}" * 20}),
        }
        for place in range(2)
    ]
    lake.append("spans", to_arrow("spans", rows))


def age_log(lake: Lake, hours: float) -> None:
    """Have the log look as old as it would be, for it is by their age that entries go."""
    at = time.time() - 3600 * hours
    for path in (lake.folder / "spans" / "_delta_log").glob("0*"):
        os.utime(path, (at, at))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1000, help="commits a day")
    commits = parser.parse_args().commits
    today = datetime.datetime.now(datetime.timezone.utc).date()
    with tempfile.TemporaryDirectory() as folder:
        with Store.open(Path(folder) / "store") as store:
            lake = store.lake
            most = 0
            began = time.process_time()
            for back in reversed(range(DAYS)):
                for number in range(commits):
                    commit(lake, today - datetime.timedelta(days=back), number)
                    if number % 3 == 2:  # the house is looked after every five seconds or so
                        compact(lake, "spans")
                    if number % 100 == 99:
                        most = max(most, lake.size("spans")[1])
                        age_log(lake, 2)
                        lake.shorten_log("spans")
                compact(lake, "spans", now=time.time() + 7200)
            spent = time.process_time() - began
            print(json.dumps({"what": "live files at most", "value": most, "bar": 200}))
            print(json.dumps({"what": "live files at the end", "value": lake.size("spans")[1], "bar": 200}))
            print(json.dumps({"what": "log entries", "value": lake.log_entries("spans")}))
            cpu = round(spent / (DAYS * commits) * 1000, 2)
            print(json.dumps({"what": "CPU of a commit and its share of the house", "value": cpu, "unit": "ms"}))
            lake.vacuum("spans", hours=0)
        opened, counted = [], 0
        for _ in range(15):
            began = time.perf_counter()
            fresh = Lake(Path(folder) / "store" / "lake")
            counted = fresh.size("spans")[1]
            opened.append(time.perf_counter() - began)
        value = round(statistics.median(opened) * 1000, 2)
        print(json.dumps({"what": "opening the table", "value": value, "unit": "ms", "files": counted, "bar": 50}))
        with Store.open(Path(folder) / "store") as store:
            rows = store.sql("SELECT count(*), count(DISTINCT span_id) FROM spans").fetchone()
        print(json.dumps({"what": "spans", "value": rows, "expected": DAYS * commits * 2}))


if __name__ == "__main__":
    main()
