"""`tracekit traces`: the newest traces, one line each."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option, add_store_option

_TABLE: tuple[str, ...] = (
    "trace_id",
    "start_time",
    "name",
    "status",
    "duration_ms",
    "model_calls",
    "tool_calls",
    "errors",
)
_TABLE += ("input_tokens", "output_tokens", "cost_usd", "input")


def command() -> Command:
    """The command `traces`."""
    return Command(
        help="list traces, newest first",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit traces",
            "tracekit traces --errors --limit 20",
            "tracekit traces --where \"agent_name = 'bot' AND duration_ms > 5000\" --format json",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most so many (default: 50)")
    parser.add_argument("--where", metavar="SQL", help="a condition over the view `traces`")
    parser.add_argument("--errors", action="store_true", help="only traces that failed")
    parser.add_argument("--session", metavar="ID", help="only traces of one session")
    add_store_option(parser)
    add_format_option(parser)


def _limit(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        equal = {} if arguments.session is None else {"session_id": arguments.session}
        found = store.find(where=arguments.where, equal=equal, errors=arguments.errors, limit=arguments.limit)
        columns = list(_TABLE) if arguments.format in ("table", "markdown") else found.columns
        print_rows(found.dicts(), columns, format=arguments.format)
    return 0
