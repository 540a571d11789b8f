"""`tracekit plan`: how many cases a question needs."""

from __future__ import annotations

import argparse

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `plan`."""
    return Command(
        help="say how many cases a comparison or a gate needs",
        run=run,
        configure=configure,
        examples=(
            "tracekit plan --discordant 0.2",
            "tracekit plan --from before after --score contains --difference 0.05",
            "tracekit plan --from before --margin 0.03 --cases 200",
        ),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--from", dest="pilot", nargs="+", metavar="RUN", help="a pilot: one run, or two of the same cases"
    )
    parser.add_argument("--score", metavar="NAME", help="which score of the pilot")
    parser.add_argument("--discordant", type=float, metavar="SHARE", help="instead: which share of pairs will differ")
    parser.add_argument("--rate", type=float, metavar="SHARE", help="instead: the pass rate, versions independent")
    parser.add_argument("--spread", type=float, metavar="SD", help="instead: standard deviation of a pair's difference")
    parser.add_argument(
        "--difference",
        type=float,
        action="append",
        default=[],
        metavar="D",
        help="a true difference to find; repeatable",
    )
    parser.add_argument(
        "--margin", type=float, metavar="M", help="a gate's margin, the versions being equal; one-sided"
    )
    parser.add_argument("--cases", type=int, metavar="N", help="what so many cases can tell")
    parser.add_argument("--repeats", type=int, metavar="K", help="tries of each case; needs a pilot with repeats")
    parser.add_argument("--alpha", type=float, default=0.05, help="significance level (default: 0.05)")
    parser.add_argument("--power", type=float, default=0.8, help="the probability to find it (default: 0.8)")
    add_store_option(parser)
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work it out and print a line for each difference."""
    from tracekit.errors import UsageError
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.planning import detectable_with, needs, pilot_from, pilot_of
    from tracekit_evaluators.verdict import amount

    told = (arguments.discordant, arguments.spread, arguments.rate)
    if arguments.pilot:
        if len(arguments.pilot) > 2 or any(each is not None for each in told):
            raise UsageError("a pilot is one run or two; leave out --discordant, --spread and --rate")
        with Store.open(arguments.store, create=False) as store:
            store.settle()
            *before, last = [store.catalog.runs.find(ref) for ref in arguments.pilot]
            pilot = pilot_of(store, last, score=arguments.score, baseline=before[0] if before else None)
    else:
        pilot = pilot_from(discordant=arguments.discordant, spread=arguments.spread, rate=arguments.rate)
    if arguments.margin is not None and (arguments.margin <= 0 or arguments.difference):
        raise UsageError("a margin is above 0, and takes the place of --difference")
    sides = 2 if arguments.margin is None else 1
    level = {"alpha": arguments.alpha, "power": arguments.power, "sides": sides}
    wanted = arguments.difference if arguments.margin is None else [arguments.margin]
    found = needs(pilot, differences=wanted, cases=arguments.cases, repeats=arguments.repeats, **level)
    spread = pilot.repeated(arguments.repeats)
    least = None if arguments.cases is None else detectable_with(arguments.cases, spread, **level)
    if arguments.format == "json":
        listed = [{"difference": each.difference, "cases": each.cases, "power": each.power} for each in found]
        print_json({"pilot": pilot.said, "spread": spread, **level, "detectable": least, "needs": listed})
        return 0
    what = "margin" if sides == 1 else "difference"
    reached = "" if arguments.cases is None else f"power with {arguments.cases}"
    columns = [what, "cases", *([reached] if reached else [])]
    rows = [
        {
            what: amount(each.difference, kind=pilot.kind, signed=True).lstrip("+"),
            "cases": "more than 10 million" if each.cases is None else f"{each.cases:,}",
            reached: None if each.power is None else f"{each.power:.0%}",
        }
        for each in found
    ]
    if arguments.format != "csv":
        print(visible(f"{pilot.said}; alpha {arguments.alpha:g}, {sides}-sided, power {arguments.power:.0%}"))
        if least is not None:
            size = amount(least, kind=pilot.kind, signed=True).lstrip("+")
            print(f"{arguments.cases:,} cases find differences from {size} on")
    print_rows(rows, columns, format=arguments.format)
    return 0
