"""`tracekit judges`: which judges there are, and how far each can be trusted."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option

_PEOPLE = (
    "tracekit judges calibrate nightly --labels labels.jsonl --score helpful --expires 90d",
    "tracekit judges card helpful --format markdown",
    'tracekit judges probe "rubric?criteria=The answer is right." --limit 30',
    "tracekit judges bridge nightly-old-judge nightly-new-judge",
)


def command() -> Command:
    """The command `judges`."""
    return Command(
        help="list and show judges, measure them against people, find what sways them",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit judges list",
            "tracekit judges list --format markdown",
            "tracekit judges show loop",
            *_PEOPLE,
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the installed judges")
    showing = actions.add_parser("show", help="show all that one judge says of itself")
    showing.add_argument("name", metavar="NAME", help="a judge's name, or package.module:function")
    for each in (listing, showing):
        add_format_option(each)
    from tracekit_evaluators.commands import _calibration

    _calibration.configure(actions)


def _run(arguments: argparse.Namespace) -> int:
    import sys

    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.listing import LISTED, judge_facts, judge_rows

    if arguments.action not in ("list", "show"):
        from tracekit_evaluators.commands import _calibration

        return _calibration.run(arguments)
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
