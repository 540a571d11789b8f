"""`tracekit agents`: the registry of agents, from registering a version to promoting it."""

from __future__ import annotations

import argparse

from tracekit.command import Command


def command() -> Command:
    """The command `agents`."""
    return Command(
        help="register, compare, name and promote versions of agents",
        run=lambda arguments: int(arguments.action(arguments)),
        configure=_configure,
        examples=(
            "tracekit agents register bot --version 2.1 --param temperature=0.2 --prompt system=prompts/system.txt",
            "tracekit agents list",
            "tracekit agents show bot@production",
            "tracekit agents diff bot@3 bot@4",
            "tracekit agents lineage bot@4",
            "tracekit agents alias bot staging 4 --why 'for the testers'",
            "tracekit agents policy bot production --gate gate.yaml",
            "tracekit agents promote bot@4 production",
            "tracekit agents history bot production",
            "tracekit agents package bot --entry-point bot:answer --example @example.json --alias candidate",
            "tracekit agents verify bot@candidate",
            "tracekit agents webhooks add https://example.org/hook --events alias.moved --secret-env HOOK_SECRET",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    from tracekit_collector.commands import (
        agents_aliases,
        agents_change,
        agents_diff,
        agents_lineage,
        agents_list,
        agents_package,
        agents_promote,
        agents_register,
        agents_webhooks,
    )

    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for part in (
        agents_register,
        agents_list,
        agents_diff,
        agents_lineage,
        agents_change,
        agents_aliases,
        agents_promote,
        agents_package,
        agents_webhooks,
    ):
        part.configure(actions)
