"""What `tracekit judges` does with people's labels: calibrate, card, probe, bridge."""

from __future__ import annotations

import argparse

from tracekit.command import add_store_option

_FORMATS = ("table", "json", "markdown")
_UNSURE = {"join": 0, "break": 1, "unsure": 3}


def configure(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the actions to those of `tracekit judges`."""
    measuring = actions.add_parser(
        "calibrate",
        help="measure a judge against people's labels",
        description=(
            "Measure a judge against people's labels of the same traces, and keep that for its digest. Labels are a "
            "run, "
            "or a file as `tracekit scores import` reads it; several annotators show how far people agree themselves."
        ),
    )
    _judge(measuring)
    measuring.add_argument("--labels", required=True, metavar="RUN_OR_FILE", help="people's verdicts")
    measuring.add_argument("--label", metavar="NAME", help="which labels, where they have several names")
    measuring.add_argument(
        "--random", action="store_true", help="the labelled traces were drawn at random from those that were judged"
    )
    measuring.add_argument(
        "--family", metavar="WORD", help="what models of the judge's own family are called (gpt): does it favour them?"
    )
    measuring.add_argument(
        "--expires", metavar="TIME", default="90d", help="after how long it stops counting: 12h, 90d, 8w, never (90d)"
    )
    measuring.add_argument(
        "--floor", type=float, default=0.4, metavar="KAPPA", help="the agreement below which a judge is weak (0.4)"
    )
    showing = actions.add_parser("card", help="show all that is known of a judge")
    _judge(showing)
    probing = actions.add_parser(
        "probe", help="find what sways a judge that should not: length, format, position and the like"
    )
    probing.add_argument("judge", metavar="JUDGE", help="a judge's spec, as for `tracekit eval --judge`")
    probing.add_argument("--probe", action="append", metavar="NAME", help="which probe (default: all that make sense)")
    probing.add_argument("--where", metavar="SQL", help="which traces: a condition over the view `traces`")
    probing.add_argument("--agent", metavar="NAME[@VERSION]", help="only an agent's traces")
    probing.add_argument("--dataset", metavar="NAME_OR_FILE", help="cases, where the judge needs expectations")
    probing.add_argument("--against", metavar="RUN_OR_AGENT", help="the other tries, where the judge compares two")
    probing.add_argument("--limit", type=int, default=30, metavar="N", help="at most so many traces (30)")
    probing.add_argument("--repeats", type=int, default=3, metavar="N", help="how often the same is asked (3)")
    probing.add_argument("--budget-usd", type=float, metavar="USD", help="what may be spent at most")
    bridging = actions.add_parser(
        "bridge",
        help="compare two versions of a judge on the same traces, and say whether their scores may be joined",
        description="Exit code 0: scores may be joined; 1: they must not; 3: more traces are needed to tell.",
    )
    bridging.add_argument("old", metavar="OLD_RUN", help="the run with the old version's verdicts")
    bridging.add_argument("new", metavar="NEW_RUN", help="the run with the new version's, on the same traces")
    bridging.add_argument("--score", metavar="NAME", help="which score, where there are several")
    bridging.add_argument("--margin", type=float, metavar="X", help="up to which offset scores may be joined")
    for each in (measuring, showing, probing, bridging):
        add_store_option(each)
        each.add_argument("--format", choices=_FORMATS, default="table", help="how to print (default: table)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of them."""
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        if arguments.action == "bridge":
            return _bridge(store, arguments)
        if arguments.action == "probe":
            return _probe(store, arguments)
        if arguments.action == "calibrate":
            from tracekit_evaluators.calibration.record import calibrate

            calibrate(
                store,
                arguments.judge,
                labels=arguments.labels,
                score=arguments.score,
                label=arguments.label,
                annotator=arguments.annotator,
                random=arguments.random,
                family=arguments.family,
                expires=None if arguments.expires == "never" else arguments.expires,
                floor=arguments.floor,
            )
        return _card(store, arguments)


def _judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("judge", metavar="JUDGE|RUN", help="a run, or a judge by name, spec or digest")
    parser.add_argument("--score", metavar="NAME", help="which of its scores, where it has several")
    parser.add_argument("--annotator", metavar="NAME", help="which judge, where imported verdicts are told apart so")


def _card(store: object, arguments: argparse.Namespace) -> int:
    from tracekit_collector.terminal import print_json, visible
    from tracekit_evaluators.calibration.cards import as_markdown, as_text, card

    told = card(store, arguments.judge, score=arguments.score, annotator=arguments.annotator)  # type: ignore[arg-type] # a Store, which is not imported here
    if arguments.format == "json":
        print_json(told)
        return 0
    text = as_markdown(told) if arguments.format == "markdown" else as_text(told)
    for line in text.splitlines():
        print(visible(line))
    return 0


def _probe(store: object, arguments: argparse.Namespace) -> int:
    import sys

    from tracekit_collector.terminal import print_json, print_rows
    from tracekit_evaluators._records import plain
    from tracekit_evaluators.budget import Budget
    from tracekit_evaluators.calibration.probes import probe
    from tracekit_evaluators.verdict import figure

    if "" not in sys.path:
        sys.path.insert(0, "")  # a judge in the folder that one stands in is found, as with `python -m`
    record = probe(
        store,  # type: ignore[arg-type] # a Store, which is not imported here
        arguments.judge,
        probes=arguments.probe,
        where=arguments.where,
        agent=arguments.agent,
        dataset=arguments.dataset,
        against=arguments.against,
        limit=arguments.limit,
        repeats=arguments.repeats,
        budget=None if arguments.budget_usd is None else Budget(usd=arguments.budget_usd),
    )
    if arguments.format == "json":
        print_json(plain(record))
        return 0
    rows = []
    for each in record.summary["probes"]:  # type: ignore[attr-defined] # a list, as `probe` wrote it
        shift = each["shift"] or {"value": None, "low": None, "high": None}
        ends = "" if shift["low"] is None else f"{figure(shift['low'])} to {figure(shift['high'])}"
        found = "" if each["p"] is None else "yes" if each["found"] else "no"
        moved = figure(each["moved"]["value"])
        rows.append([each["name"], found, figure(shift["value"], signed=True), ends, moved, each["moved"]["n"]])
    columns = ("probe", "bias", "shift", "95 % interval", "verdicts moved", "n")
    print_rows(
        [dict(zip(columns, row, strict=True)) for row in rows], columns, format=arguments.format, title=record.name
    )
    return 0


def _bridge(store: object, arguments: argparse.Namespace) -> int:
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators._records import METRIC_FIGURES, plain
    from tracekit_evaluators.calibration.bridges import bridge

    record = bridge(store, arguments.old, arguments.new, score=arguments.score, margin=arguments.margin)  # type: ignore[arg-type] # a Store, which is not imported here
    if arguments.format == "json":
        print_json(plain(record))
    else:
        columns = [each for each in METRIC_FIGURES if each != "coverage"]
        rows = [{"metric": name, **metric} for name, metric in record.metrics.items()]
        print_rows(rows, columns, format=arguments.format)
        print(visible(f"{record.summary['verdict']}: {record.summary['why']}"))
    return _UNSURE[str(record.summary["verdict"])]
