"""`tracekit judges`: which judges there are."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option


def command() -> Command:
    """The command `judges`."""
    return Command(
        help="list the installed judges, with what each needs and says",
        run=_run,
        configure=_configure,
        examples=("tracekit judges list", "tracekit judges list --format json"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the installed judges")
    add_format_option(listing)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.listing import LISTED, judge_rows

    print_rows(judge_rows(), LISTED, format=arguments.format)
    return 0
