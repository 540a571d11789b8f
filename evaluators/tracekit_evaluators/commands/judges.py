"""`tracekit judges`: which judges there are."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option


def command() -> Command:
    """The command `judges`."""
    return Command(
        help="list the installed judges, or show one, with what each needs and says",
        run=_run,
        configure=_configure,
        examples=("tracekit judges list", "tracekit judges list --format markdown", "tracekit judges show loop"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the installed judges")
    showing = actions.add_parser("show", help="show all that one judge says of itself")
    showing.add_argument("name", metavar="NAME", help="a judge's name, or package.module:function")
    for each in (listing, showing):
        add_format_option(each)


def _run(arguments: argparse.Namespace) -> int:
    import sys

    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.listing import LISTED, judge_facts, judge_rows

    if arguments.action == "list":
        print_rows(judge_rows(), LISTED, format=arguments.format)
        return 0
    if "" not in sys.path:
        sys.path.insert(0, "")  # a judge in the folder that one stands in is found, as with `python -m`
    facts = judge_facts(arguments.name)
    if arguments.format == "json":
        print_json(facts)
        return 0
    if arguments.format != "table":
        print_rows([facts], [key for key in facts if key != "documentation"], format=arguments.format)
        return 0
    for key, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if text and key != "documentation":
            print(f"{key:10} {visible(str(text))}")
    print()
    for line in str(facts["documentation"] or "").splitlines():
        print(visible(line))
    return 0
