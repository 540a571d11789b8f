"""`tracekit ingest`: take OTLP files into a store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `ingest`."""
    return Command(
        help="take traces and logs from OTLP files into a store; again makes no difference",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit ingest traces.pb logs.jsonl.gz",
            "tracekit ingest exported/ --store .tracekit --format json",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a .pb, .json or .jsonl file of OTLP requests, also .gz, or a folder of them",
    )
    add_store_option(parser)
    add_format_option(parser, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.ingest import find_files, ingest
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, progress, visible

    files = find_files(arguments.paths)
    with Store.open(arguments.store) as store, progress("ingesting", len(files)) as advance:
        told = ingest(store, files, advance=advance)
    for fault in told.skipped:
        print(visible(f"skipped {fault}"), file=sys.stderr)
    for fault in told.faults:
        print(visible(str(fault)), file=sys.stderr)
    if arguments.format == "json":
        counts = {name: getattr(told, name) for name in ("files", "requests", "spans", "logs", "known")}
        faults = [{"file": str(each.path), "line": each.line, "reason": each.reason} for each in told.faults]
        skipped = [{"file": str(each.path), "reason": each.reason} for each in told.skipped]
        print_json({**counts, "skipped": skipped, "faults": faults})
    else:
        print(
            f"{_number(told.requests, 'request')}, {_number(told.spans, 'span')}, {_number(told.logs, 'log record')} "
            f"from {_number(told.files, 'file')} ({_number(told.known, 'request')} already known)"
        )
    return 1 if told.faults else 0


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
