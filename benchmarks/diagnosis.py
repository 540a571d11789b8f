"""How well the detectors find planted faults: recall and precision by code, and the time they take.

    python benchmarks/diagnosis.py [--traces 320] [--seed 1] [--format table|json|csv|markdown]

The wordings of errors are those of real libraries, on which the detectors were not tuned.
"""

from __future__ import annotations

import argparse
import sys
import time

from tracekit_collector.terminal import print_rows
from tracekit_evaluators.diagnosis import detect
from tracekit_evaluators.diagnosis.corpus import corpus
from tracekit_evaluators.diagnosis.measure import MEASURED, execution, figures, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    arguments = parser.parse_args()
    planted = corpus(seed=arguments.seed, traces=arguments.traces)
    print_rows(measured(seed=arguments.seed, traces=arguments.traces), MEASURED, format=arguments.format)
    whole, system = figures(planted), execution(planted)
    traces = [each.trace() for each in planted]
    began = time.process_time()
    for trace in traces:
        detect(trace)
    each_ms = (time.process_time() - began) / len(traces) * 1000
    told = {
        "category F1": whole.category_f1,
        "location accuracy": whole.location_accuracy,
        "joint accuracy": whole.joint_accuracy,
        "joint recall, system execution": system.joint_recall,
        "joint precision, system execution": system.joint_precision,
        "milliseconds a trace": each_ms,
    }
    for name, value in told.items():
        print(f"{name}: {'unknown' if value is None else f'{value:.3f}'}", file=sys.stderr)


if __name__ == "__main__":
    main()
