"""`tracekit agents alias` and `history`: moving aliases, and who moved them when, why, and from what evidence."""

from __future__ import annotations

import argparse
from typing import Any

from tracekit.command import add_format_option, add_store_option
from tracekit.errors import UsageError

_COLUMNS = ["at", "alias", "version", "label", "by", "why", "evidence"]


def configure(actions: Any) -> None:
    """Add the actions to `tracekit agents`."""
    alias = actions.add_parser("alias", help="let an alias stand for a version from now on")
    alias.add_argument("name", metavar="NAME", help="the agent's name")
    alias.add_argument("alias", metavar="ALIAS", help="such as production")
    alias.add_argument("version", metavar="VERSION", nargs="?", help="a number, label or other alias")
    alias.add_argument("--remove", action="store_true", help="let it stand for nothing; its history stays")
    alias.add_argument("--why", metavar="TEXT", help="the reason, kept in its history")
    alias.add_argument("--force", action="store_true", help="against the alias's policy; needs --why")
    alias.set_defaults(action=_alias)
    history = actions.add_parser("history", help="who moved an agent's aliases when, why, and from what evidence")
    history.add_argument("name", metavar="NAME", help="the agent's name")
    history.add_argument("alias", metavar="ALIAS", nargs="?", help="one alias (default: all)")
    history.set_defaults(action=_history)
    add_format_option(alias, formats=("table", "json"))
    add_format_option(history)
    for each in (alias, history):
        add_store_option(each)


def _alias(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands.agents_list import print_version
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.store import Store

    if (arguments.version is None) != arguments.remove:
        raise UsageError("name the VERSION that the alias is to stand for, or --remove")
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        agents = store.catalog.agents
        why, force = arguments.why, arguments.force
        if arguments.remove:
            version = agents.promotions.remove(arguments.name, arguments.alias, why=why, force=force)
        else:
            version = agents.resolve(f"{arguments.name}@{arguments.version}")
            agents.set_alias(arguments.name, arguments.alias, version, why=why, force=force)
        tell(store)
        return print_version(store, version, arguments.format)


def _history(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        moves = store.catalog.agents.history(arguments.name, arguments.alias)
    as_json = arguments.format == "json"
    rows = [
        {
            "at": move.at,
            "alias": move.alias,
            "version": None if move.removed else move.version.ref,
            "label": None if move.removed else move.version.label,
            "by": move.by,
            "why": move.why,
            "evidence": move.evidence if as_json else _sentence(move.evidence),
        }
        for move in moves
    ]
    print_rows(rows, _COLUMNS, format=arguments.format)
    return 0


def _sentence(evidence: dict[str, object] | None) -> object:
    return None if evidence is None else evidence.get("sentence") or evidence.get("verdict")
