"""`tracekit audit`: who did what to a store, of the acts that change who may do what, or what is kept."""

from __future__ import annotations

import argparse
import json

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

_COLUMNS = ["at", "actor", "act", "target", "details"]


def command() -> Command:
    """The command `audit`."""
    return Command(
        help="list administrative acts: tokens, aliases, retention, deletes",
        run=_run,
        configure=_configure,
        examples=("tracekit audit", "tracekit audit --act token.create --format json"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--act", metavar="ACT", help="only acts of this kind, such as alias.move")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    add_store_option(parser)
    add_format_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    if arguments.limit < 1:
        raise UsageError(f"--limit must be at least 1, not {arguments.limit}")
    with Store.open(arguments.store, create=False) as store:
        acts = store.catalog.audit.list(act=arguments.act, limit=arguments.limit)
    as_text = arguments.format != "json"
    rows = [
        {
            **{name: getattr(act, name) for name in _COLUMNS},
            "details": json.dumps(act.details, ensure_ascii=False) if as_text else act.details,
        }
        for act in acts
    ]
    print_rows(rows, _COLUMNS, format=arguments.format)
    return 0
