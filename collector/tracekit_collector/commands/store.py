"""`tracekit store`: what a store holds, and keeping it tidy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.store import Store


def command() -> Command:
    """The command `store`."""
    return Command(
        help="show what a store holds, or compact it",
        run=_run,
        configure=_configure,
        examples=("tracekit store info", "tracekit store compact --store ./traces"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    info = actions.add_parser("info", help="tables, files, bytes, what waits in the inbox, what was quarantined")
    add_store_option(info)
    add_format_option(info)
    compact = actions.add_parser("compact", help="join small files into large ones")
    add_store_option(compact)
    compact.add_argument(
        "--keep-hours",
        type=int,
        default=24,
        metavar="N",
        help="how long replaced files stay for readers that still use them (default: 24)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.schema import TABLES
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        if arguments.action == "info":
            return _info(store, arguments.format)
        for table in TABLES:
            joined = store.lake.compact(table)
            removed = store.lake.vacuum(table, hours=arguments.keep_hours)
            print(f"{table}: {joined} files joined, {removed} old files removed")
    return 0


def _info(store: Store, format_: str) -> int:
    from tracekit_collector.schema import TABLES
    from tracekit_collector.terminal import print_rows

    rows: list[dict[str, object]] = []
    for table in TABLES:
        bytes_, files = store.lake.size(table)
        counted = store.sql(f"SELECT count(*) FROM lake_{table}", settle=False).fetchone()  # noqa: S608 - our own names
        rows.append(
            {
                "table": table,
                "rows": counted[0] if counted else 0,
                "files": files,
                "bytes": bytes_,
                "version": store.lake.version(table),
            }
        )
    waiting = store.settler.backlog_bytes()
    rows.append({"table": "inbox", "rows": None, "files": None, "bytes": waiting, "version": None})
    quarantined = store.settler.quarantined()
    size = sum(path.stat().st_size for path in quarantined)
    rows.append({"table": "quarantine", "rows": None, "files": len(quarantined), "bytes": size, "version": None})
    title = f"{store.location} (catalog {store.catalog.url})"
    print_rows(rows, ["table", "rows", "files", "bytes", "version"], format=format_, title=title)
    return 0
