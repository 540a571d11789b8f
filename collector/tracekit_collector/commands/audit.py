"""`tracekit audit`: who did what to a store, of the acts that change its catalog, who may do what, or what is kept."""

from __future__ import annotations

import argparse
import json
import sys

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

_COLUMNS = ["number", "at", "actor", "act", "target", "details"]


def command() -> Command:
    """The command `audit`."""
    return Command(
        help="list who changed what in the catalog, and verify that the list is whole",
        run=lambda arguments: int(arguments.action(arguments)),
        configure=_configure,
        examples=(
            "tracekit audit",
            "tracekit audit list --act token. --since 2026-11-01 --format json",
            "tracekit audit list --actor ana --target bot@production",
            "tracekit audit verify",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    _add_listing(parser)
    actions = parser.add_subparsers(metavar="ACTION")
    _add_listing(actions.add_parser("list", help="the acts, newest first (what happens without an ACTION)"))
    verify = actions.add_parser("verify", help="make every digest of the chain anew; exit 1 where one does not fit")
    verify.add_argument(
        "--head", metavar="NUMBER:DIGEST", help="what an earlier verify printed: it has to be in the chain still"
    )
    add_store_option(verify)
    verify.set_defaults(action=_verify)


def _add_listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--act", metavar="ACT", help="only acts of this kind, such as alias.move; `token.` for all such"
    )
    parser.add_argument("--actor", metavar="NAME", help="only what this principal, token:ID or user did")
    parser.add_argument("--target", metavar="TARGET", help="only what was done to this, such as bot@production")
    parser.add_argument("--since", metavar="TIME", help="only acts at or after this, UTC, ISO 8601")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    add_store_option(parser)
    add_format_option(parser)
    parser.set_defaults(action=_list)


def _list(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands.export import moment
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    if arguments.limit < 1:
        raise UsageError(f"--limit must be at least 1, not {arguments.limit}")
    since = moment(arguments.since)
    with Store.open(arguments.store, create=False) as store:
        acts = store.catalog.audit.list(
            act=arguments.act, actor=arguments.actor, target=arguments.target, since=since, limit=arguments.limit
        )
    as_text = arguments.format != "json"
    columns = _COLUMNS if as_text else [*_COLUMNS, "digest"]
    rows = [
        {
            **{name: getattr(act, name) for name in columns},
            "details": json.dumps(act.details, ensure_ascii=False) if as_text else act.details,
        }
        for act in acts
    ]
    print_rows(rows, columns, format=arguments.format)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import progress

    with Store.open(arguments.store, create=False) as store, progress("verifying acts", None) as advance:
        found = store.catalog.audit.verify(head=arguments.head, done=advance)
    if found.fault is not None:
        print(f"the audit log is not whole: {found.fault}", file=sys.stderr)
        return 1
    print(f"{found.acts} acts, each as it was taken down; keep the head elsewhere:", file=sys.stderr)
    print(found.head)
    return 0
