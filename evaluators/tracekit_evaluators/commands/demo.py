"""`tracekit demo`: the whole way once, from an agent's traces to a verdict on its new version."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.command import Command, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord


def command() -> Command:
    """The command `demo`."""
    return Command(
        help="trace, judge and compare two versions of an agent that knows Python's standard library",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit demo",
            "tracekit demo --store demo --output demo.html",
            "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 tracekit demo --model small-1",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        default="report-demo.html",
        help="where the report is written (default: report-demo.html)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="let this model write the answers and judge them, on the server at OPENAI_BASE_URL",
    )


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators.demo.run import demo

    report = Path(arguments.output).resolve()
    if not report.parent.is_dir():
        raise UsageError(f"there is no folder {report.parent} to write {report.name} to; make it first")
    with Store.open(arguments.store) as store:
        runs = demo(store, model=arguments.model, say=lambda line: print(line, flush=True))
    print()
    _show(store.location, runs, report)
    _what_next(store.location, runs)
    return 0


def _show(store: Path, runs: list[RunRecord], report: Path) -> None:
    """What `tracekit compare` and `tracekit report` would print."""
    from tracekit_evaluators.commands import compare
    from tracekit_evaluators.commands import report as reporting

    before, after = (run.id for run in runs)
    of_store = {"store": str(store), "format": "table"}
    compare.run(
        argparse.Namespace(baseline=before, candidate=after, others=[], score=None, html=None, show=3, **of_store)
    )
    print("\nReport:", end=" ", flush=True)
    reporting.run(
        argparse.Namespace(
            run=after, baseline=before, output=str(report), svg=None, png=None, max_cases=200, max_mb=5.0, **of_store
        )
    )


def _what_next(store: Path, runs: list[RunRecord]) -> None:
    import shlex

    option = "" if store == Path(".tracekit") else f" --store {shlex.quote(str(store))}"
    before, after = (run.name for run in runs)
    lines = {
        f"tracekit traces{option}": "what was traced; `tracekit trace ID` shows one",
        f"tracekit runs show {after}{option}": "what a run keeps",
        f"tracekit compare {before} {after} --show 60{option}": "every case that changed",
        f'tracekit sql "DESCRIBE spans"{option}': "anything else, in SQL",
    }
    width = max(map(len, lines))
    print("\nNext:")
    for line, about in lines.items():
        print(f"  {line:<{width}}  {about}")
