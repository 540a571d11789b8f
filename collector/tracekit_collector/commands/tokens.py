"""`tracekit tokens`: the tokens of a store's doors and API, and the principals who act with them."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

_COLUMNS = ["id", "name", "principal", "role", "scopes", "project", "state", "created_at", "expires_at"]
_PRINCIPAL_COLUMNS = ["name", "kind", "state", "tokens", "created_at"]
_ROLES = ("reader", "writer", "evaluator", "admin")


def command() -> Command:
    """The command `tokens`."""
    return Command(
        help="make, list and revoke the tokens that a collector asks for, by role and principal",
        run=lambda arguments: int(arguments.action(arguments)),
        configure=_configure,
        examples=(
            "tracekit tokens create ci --project library",
            "tracekit tokens create --principal ana --role evaluator --project library",
            "tracekit tokens create --principal bot --service --role writer --days 90",
            "tracekit tokens list",
            "tracekit tokens revoke ci",
            "tracekit tokens principals",
            "tracekit tokens disable ana",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token and print it, this once; with the first, all need one")
    create.add_argument("name", nargs="?", metavar="NAME", help="what it is for (default: its principal's name)")
    create.add_argument("--principal", metavar="NAME", help="who acts with it; the audit log names them")
    create.add_argument("--service", action="store_true", help="the principal is a service, not a person")
    allowed = create.add_mutually_exclusive_group()
    allowed.add_argument("--role", choices=_ROLES, help="what its bearer may do (default with --principal: writer)")
    allowed.add_argument(
        "--scope",
        action="append",
        choices=("write", "read", "admin"),
        help="what it allows, without a role; repeat for more (default: write)",
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
    principals = actions.add_parser("principals", help="the people and services that act with tokens")
    add_format_option(principals)
    principals.set_defaults(action=_principals)
    disable = actions.add_parser("disable", help="have none of a principal's tokens open anything")
    enable = actions.add_parser("enable", help="undo that")
    for each, state in ((disable, "disable"), (enable, "enable")):
        each.add_argument("principal", metavar="NAME", help="the principal")
        each.set_defaults(action=_switch, state=state)
    for each in (create, listed, revoke, principals, disable, enable):
        add_store_option(each)


def _create(arguments: argparse.Namespace) -> int:
    from tracekit_collector.access import expiry
    from tracekit_collector.store import Store

    if arguments.days is not None and not 0 < arguments.days <= 36_500:
        raise UsageError(f"--days must be more than 0 and at most 36500, not {arguments.days:g}")
    name = arguments.name or arguments.principal
    if name is None:
        raise UsageError("say what the token is for: give a NAME or --principal")
    if arguments.service and arguments.principal is None:
        raise UsageError("--service says what a principal is; give --principal too")
    role = arguments.role or (None if arguments.scope or arguments.principal is None else "writer")
    with Store.open(arguments.store) as store:
        text, token = store.catalog.tokens.create(
            name,
            scopes=arguments.scope or ["write"],
            project=arguments.project,
            expires_at=expiry(arguments.days),
            role=role,
            principal=arguments.principal,
            kind="service" if arguments.service else "person",
        )
    allows = f"makes its bearer {token.role}" if token.role else f"allows to {', '.join(token.scopes)}"
    print(f"token {token.id} {allows}; it is not shown again:", file=sys.stderr)
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


def _principals(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        tokens = store.catalog.tokens.list()
        rows = [
            {
                **{name: getattr(principal, name) for name in _PRINCIPAL_COLUMNS if name != "tokens"},
                "tokens": [token.id for token in tokens if token.principal == principal.name],
            }
            for principal in store.catalog.principals.list()
        ]
    print_rows(rows, _PRINCIPAL_COLUMNS, format=arguments.format)
    return 0


def _switch(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        principals = store.catalog.principals
        change = principals.disable if arguments.state == "disable" else principals.enable
        principal = change(arguments.principal)
    known = f"running collectors know in {_fresh():g} s"
    print(f"principal {principal.name} is {principal.state}; {known}", file=sys.stderr)
    return 0


def _fresh() -> float:
    from tracekit_collector.access import FRESH_SECONDS

    return FRESH_SECONDS
