"""What tracking costs: points logged and flushed, settled, and asked for; one JSON line a figure.

Each figure has a baseline of the same run: the same points appended to a list, and those that `mlflow` takes where it
is installed.

    python benchmarks/tracking.py [POINTS]
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

import tracekit
from tracekit_collector.store import Store

_MLFLOW_POINTS = 10_000  # more take it minutes


def main() -> None:
    """Measure, and print."""
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        tracekit.init(store=store)
        logged = _logged(points)
        _say("log_metric and flush", logged, points, baseline=_listed(points), of="append to a list")
        with Store.open(store) as opened:
            begun = time.perf_counter()
            settled = opened.settle().points
            _say("settle", time.perf_counter() - begun, settled, baseline=logged, of="logging them")
            begun = time.perf_counter()
            opened.sql("SELECT name, value, n FROM run_metrics").fetchall()
            _say("last value of each series", time.perf_counter() - begun, settled, baseline=logged, of="logging them")
        tracekit.shutdown()
        if importlib.util.find_spec("mlflow") is not None:
            few = min(points, _MLFLOW_POINTS)
            seconds = _with_mlflow(Path(folder) / "mlflow.db", few) * points / few
            _say("the same with mlflow", seconds, points, baseline=logged, of="log_metric and flush")


def _logged(points: int) -> float:
    with tracekit.run("benchmark") as run:
        begun = time.perf_counter()
        for step in range(points):
            run.log_metric("loss", step / 7, step=step)
        tracekit.flush(60)
        return time.perf_counter() - begun


def _listed(points: int) -> float:
    found = []
    begun = time.perf_counter()
    for step in range(points):
        found.append(("loss", step / 7, step, time.time_ns()))  # noqa: PERF401 - as `log_metric` is called
    return time.perf_counter() - begun


def _with_mlflow(database: Path, points: int) -> float:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{database}")
    with mlflow.start_run():
        begun = time.perf_counter()
        for step in range(points):
            mlflow.log_metric("loss", step / 7, step=step)
        return time.perf_counter() - begun


def _say(what: str, seconds: float, points: int, *, baseline: float, of: str) -> None:
    rounded = {"seconds": round(seconds, 3), "points": points, "points_per_second": round(points / seconds)}
    print(json.dumps({"figure": what, **rounded, "baseline": of, "times_baseline": round(seconds / baseline, 2)}))


if __name__ == "__main__":
    main()
