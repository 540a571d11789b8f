"""`tracekit sql`: one query over the store."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError


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
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end the query if it takes longer (default: no limit)"
    )
    add_store_option(parser)
    add_format_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    if arguments.timeout is not None and not 0 < arguments.timeout <= 86_400:
        raise UsageError(f"--timeout must be more than 0 and at most 86400, not {arguments.timeout:g}")
    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    with Store.open(arguments.store, create=False) as store:
        found = store.sql(query, seconds=arguments.timeout)
        print_rows(found.dicts(), found.columns, format=arguments.format)
    return 0
