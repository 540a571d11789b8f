"""`tracekit trace`: one trace as a tree, or as JSON."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `trace`."""
    return Command(
        help="show one trace",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit trace 4bf92f35",
            "tracekit trace 4bf92f35 --format json",
            "tracekit trace 4bf92f35 --lineage",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace_id", metavar="ID", help="the trace's id, or the beginning of it")
    parser.add_argument(
        "--width", type=int, default=None, metavar="N", help="characters of a preview (default: what fits)"
    )
    parser.add_argument(
        "--lineage", action="store_true", help="instead: the version, prompts and runs it came from, and who judged it"
    )
    add_store_option(parser)
    add_format_option(parser, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        if arguments.lineage:
            from tracekit_collector.lineage import trace_lineage
            from tracekit_collector.lineage_tree import print_lineage

            store.settle()
            print_lineage(trace_lineage(store, arguments.trace_id), arguments.format)
            return 0
        trace = store.trace(arguments.trace_id)
    if arguments.format == "json":
        from tracekit_collector.terminal import print_json

        print_json(trace.to_dict())
    else:
        from tracekit_collector.trace_tree import print_trace

        print_trace(trace, width=arguments.width)
    return 0
