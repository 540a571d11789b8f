"""`tracekit tokens`: making, listing and revoking the tokens of a store's doors and API."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

_COLUMNS = ["id", "name", "scopes", "project", "state", "created_at", "expires_at"]


def command() -> Command:
    """The command `tokens`."""
    return Command(
        help="make, list and revoke the tokens that a collector asks for",
        run=lambda arguments: int(arguments.action(arguments)),
        configure=_configure,
        examples=(
            "tracekit tokens create ci --project library",
            "tracekit tokens create dashboard --scope read --days 90",
            "tracekit tokens list",
            "tracekit tokens revoke ci",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token and print it, this once; with the first, all need one")
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument(
        "--scope",
        action="append",
        choices=("write", "read", "admin"),
        help="what it allows; repeat for more (default: write)",
    )
    create.add_argument("--project", metavar="NAME", help="the one project that it is for (default: all)")
    create.add_argument("--days", type=float, metavar="N", help="when it ends by itself (default: never)")
    create.set_defaults(action=_create)
    listed = actions.add_parser("list", help="every token that was ever made, without its secret")
    add_format_option(listed)
    listed.set_defaults(action=_list)
    revoke = actions.add_parser("revoke", help="end a token for good")
    revoke.add_argument("token", metavar="ID", help="the token's id, or its name")
    revoke.set_defaults(action=_revoke)
    for each in (create, listed, revoke):
        add_store_option(each)


def _create(arguments: argparse.Namespace) -> int:
    from tracekit_collector.access import expiry
    from tracekit_collector.store import Store

    if arguments.days is not None and not 0 < arguments.days <= 36_500:
        raise UsageError(f"--days must be more than 0 and at most 36500, not {arguments.days:g}")
    with Store.open(arguments.store) as store:
        text, token = store.catalog.tokens.create(
            arguments.name,
            scopes=arguments.scope or ["write"],
            project=arguments.project,
            expires_at=expiry(arguments.days),
        )
    print(f"token {token.id} allows to {', '.join(token.scopes)}; it is not shown again:", file=sys.stderr)
    print(text)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        rows = [
            {**{name: getattr(token, name) for name in _COLUMNS}, "scopes": list(token.scopes)}
            for token in store.catalog.tokens.list()
        ]
    print_rows(rows, _COLUMNS, format=arguments.format)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        token = store.catalog.tokens.revoke(arguments.token)
    print(f"token {token.id} is revoked; running collectors know in {_fresh():g} s", file=sys.stderr)
    return 0


def _fresh() -> float:
    from tracekit_collector.access import FRESH_SECONDS

    return FRESH_SECONDS
