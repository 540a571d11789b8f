"""`tracekit store`: what a store holds, keeping it tidy, and checking it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.retention import Rule
    from tracekit_collector.store import Store


def command() -> Command:
    """The command `store`."""
    return Command(
        help="show what a store holds, keep it tidy, check it",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit store info",
            "tracekit store check --store ./traces",
            "tracekit store retain --days 30 --size 20gb --dry-run",
            "tracekit store renormalise",
            "tracekit store migrate --to postgresql+psycopg://tracekit@db.example/tracekit",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    info = actions.add_parser("info", help="tables, files, bytes, what waits in the inbox, what was quarantined")
    add_format_option(info)
    checking = actions.add_parser("check", help="verify what the store promises; exit 1 where there are faults")
    checking.add_argument("--quick", action="store_true", help="look at sizes and footers, not at every value")
    add_format_option(checking)
    compact = actions.add_parser("compact", help="join small files into large ones, sorted by time, each row once")
    _add_keep_hours(compact, 24)
    vacuum = actions.add_parser("vacuum", help="take replaced files off the disk")
    _add_keep_hours(vacuum, 1)
    _add_dry_run(vacuum)
    retain = actions.add_parser("retain", help="remove old traces, by age, count or size, and free the disk")
    retain.add_argument("--days", type=float, metavar="N", help="keep traces that are no older")
    retain.add_argument("--traces", type=int, metavar="N", help="keep so many of the newest traces")
    retain.add_argument(
        "--size", metavar="SIZE", help="keep the newest traces that take no more, such as 500mb or 20gb"
    )
    retain.add_argument("--project", metavar="NAME", help="of this project only; each project by itself when not given")
    _add_dry_run(retain)
    renormalise = actions.add_parser("renormalise", help="derive the columns of stored spans again, after an upgrade")
    renormalise.add_argument("--all", action="store_true", help="also those that this version has derived")
    actions.add_parser("reprice", help="reckon what calls cost again, by the price list that is installed")
    for action in actions.choices.values():
        add_store_option(action)
    from tracekit_collector.commands._store_migrate import add_migrate

    add_migrate(actions)


def _add_keep_hours(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--keep-hours",
        type=int,
        default=default,
        metavar="N",
        help=f"how long replaced files stay for readers that still use them (default: {default})",
    )


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands import _store_migrate
    from tracekit_collector.store import Store

    if arguments.action == "migrate":
        return _store_migrate.run(arguments)
    actions: dict[str, Callable[[Store, argparse.Namespace], int]] = {
        "info": _info,
        "check": _check,
        "compact": _compact,
        "vacuum": _vacuum,
        "retain": _retain,
        "renormalise": _renormalise,
        "reprice": _reprice,
    }
    if getattr(arguments, "keep_hours", 0) < 0:
        raise UsageError("--keep-hours takes 0 or more")
    with Store.open(arguments.store, create=False) as store:
        if arguments.action != "check":
            store.settle()
        return actions[arguments.action](store, arguments)


def _check(store: Store, arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tracekit_collector.check import check
    from tracekit_collector.schema import TABLES
    from tracekit_collector.terminal import print_rows, progress

    files = sum(store.lake.size(table)[1] for table in TABLES)
    with progress("checking files", files) as advance:
        found = check(store, quick=arguments.quick, done=advance)
    print_rows([asdict(each) for each in found], ["part", "level", "what"], format=arguments.format)
    return 1 if any(each.level == "fault" for each in found) else 0


def _compact(store: Store, arguments: argparse.Namespace) -> int:
    from tracekit_collector.house import House
    from tracekit_collector.schema import TABLES
    from tracekit_collector.terminal import progress

    house = House(store)
    with progress("joining files", sum(store.lake.size(table)[1] for table in TABLES)) as advance:
        joined = house.compact(done=advance)
    removed = house.vacuum(hours=arguments.keep_hours)
    for table in TABLES:
        print(f"{table}: {joined[table]} files joined, {removed[table]} old files removed")
    return 0


def _vacuum(store: Store, arguments: argparse.Namespace) -> int:
    from tracekit_collector.house import House

    removed = House(store).vacuum(hours=arguments.keep_hours, dry_run=arguments.dry_run)
    for table, files in removed.items():
        print(f"{table}: {files} old files {'would be removed' if arguments.dry_run else 'removed'}")
    return 0


def _retain(store: Store, arguments: argparse.Namespace) -> int:
    from tracekit_collector.house import House

    house = House(store)
    removed = house.retain(_rules(arguments), dry_run=arguments.dry_run)
    if removed is None:
        raise UsageError("nothing says what to keep: give --days, --traces or --size, or set `retain`")
    word = "would be removed" if arguments.dry_run else "removed"
    print(f"traces: {removed.traces} {word}")
    for table, rows in removed.rows.items():
        print(f"{table}: {rows} rows {word}")
    print(f"artifacts: {removed.artifacts} files {word}")
    print(f"requests: {removed.requests} digests {word}")
    if not arguments.dry_run:
        print(f"files: {sum(house.vacuum(hours=0).values())} {word}")
    return 0


def _rules(arguments: argparse.Namespace) -> list[Rule] | None:
    from dataclasses import replace
    from datetime import timedelta

    from tracekit_collector.retention import Rule, rules_from

    if arguments.days is None and arguments.traces is None and arguments.size is None:
        if arguments.project is not None:
            raise UsageError("--project needs --days, --traces or --size with it")
        return None
    if min(arguments.days or 0, arguments.traces or 0) < 0:
        raise UsageError("--days and --traces take 0 or more")
    rule = Rule(arguments.project, traces=arguments.traces)
    if arguments.days is not None:
        rule = replace(rule, age=timedelta(days=arguments.days))
    if arguments.size is not None:
        sizes = rules_from(arguments.size)
        if len(sizes) != 1 or sizes[0].bytes is None:
            raise UsageError(f"--size {arguments.size!r} is no size; write 500mb or 20gb")
        rule = replace(rule, bytes=sizes[0].bytes)
    return [rule]


def _renormalise(store: Store, arguments: argparse.Namespace) -> int:
    from tracekit_collector.house import House
    from tracekit_collector.terminal import progress

    total = sum(file.rows or 0 for file in store.lake.entries("spans"))
    with progress("deriving spans again", total) as advance:
        count = House(store).renormalise(every=arguments.all, done=advance)
    print(f"{count} spans derived again")
    return 0


def _reprice(store: Store, _arguments: argparse.Namespace) -> int:
    from tracekit_collector.house import House
    from tracekit_collector.terminal import progress

    total = sum(file.rows or 0 for file in store.lake.entries("spans"))
    with progress("pricing calls again", total) as advance:
        count = House(store).reprice(done=advance)
    print(f"{count} spans looked at again")
    return 0


def _info(store: Store, arguments: argparse.Namespace) -> int:
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
    print_rows(rows, ["table", "rows", "files", "bytes", "version"], format=arguments.format, title=title)
    return 0
