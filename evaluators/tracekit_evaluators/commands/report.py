"""`tracekit report`: one self-contained HTML file about a run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tracekit.command import Command, add_store_option
from tracekit.errors import UsageError


def command() -> Command:
    """The command `report`."""
    return Command(
        help="write a run, or a run against a baseline, as one HTML file that needs no network and no JavaScript",
        run=run,
        configure=configure,
        examples=(
            "tracekit report bm25 -o report.html",
            "tracekit report bm25 --baseline keyword -o report.html",
        ),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run's name or id")
    parser.add_argument("--baseline", metavar="RUN", help="the run to compare it with")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the HTML file to write")
    parser.add_argument(
        "--max-cases", metavar="N", type=int, default=200, help="how many cases open to their traces (default: 200)"
    )
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Build the report, and put it in place at once."""
    from tracekit_collector.store import Store
    from tracekit_evaluators.report import html_report

    if arguments.max_cases < 0:
        raise UsageError(f"--max-cases counts cases and is at least 0, not {arguments.max_cases}")
    target = Path(arguments.output)
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent} to write {target.name} to; make it first")
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        runs = store.catalog.runs
        mine = runs.find(arguments.run)
        baseline = None if arguments.baseline is None else runs.find(arguments.baseline)
        html = html_report(store, mine, baseline=baseline, max_cases=arguments.max_cases)
    _write(target, html)
    print(target)
    return 0


def _write(target: Path, html: str) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(html, encoding="utf-8", newline="\n")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
