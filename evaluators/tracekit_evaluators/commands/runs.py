"""`tracekit runs`: what was evaluated."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `runs`."""
    return Command(
        help="list runs, or show one with its metrics",
        run=_run,
        configure=_configure,
        examples=("tracekit runs list", "tracekit runs show nightly", "tracekit runs show nightly --format json"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the runs, the newest first")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    showing = actions.add_parser("show", help="show one run with its metrics")
    showing.add_argument("run", metavar="RUN", help="a name (its newest run) or the beginning of an id")
    for each in (listing, showing):
        add_store_option(each)
        add_format_option(each)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows, visible
    from tracekit_evaluators._records import RUN_COLUMNS, facts, print_run, run_row

    with Store.open(arguments.store, create=False) as store:
        if arguments.action == "list":
            records = store.catalog.runs.list(max(0, arguments.limit))
            print_rows([run_row(record) for record in records], RUN_COLUMNS, format=arguments.format)
            return 0
        record = store.catalog.runs.find(arguments.run)
    if arguments.format == "table":
        for label, text in facts(record):
            print(f"{label:9} {visible(text)}")
    print_run(record, format=arguments.format)
    return 0
