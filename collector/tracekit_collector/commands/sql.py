"""`tracekit sql`: one query over the store."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `sql`."""
    return Command(
        help="ask the store in SQL (DuckDB's)",
        run=_run,
        configure=_configure,
        examples=(
            'tracekit sql "SELECT name, status, duration_ms FROM traces ORDER BY start_time DESC LIMIT 10"',
            'tracekit sql "SELECT tool_name, count(*) FROM tool_calls GROUP BY ALL" --format csv',
            'tracekit sql "DESCRIBE spans"',
            "tracekit sql - < query.sql",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query",
        metavar="QUERY",
        help="one statement over the views spans, logs, inferences, scores, traces, llm_calls, tool_calls, sessions, "
        "runs, agents; - reads it from standard input",
    )
    add_store_option(parser)
    add_format_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    with Store.open(arguments.store, create=False) as store:
        found = store.sql(query)
        print_rows(found.dicts(), found.columns, format=arguments.format)
    return 0
