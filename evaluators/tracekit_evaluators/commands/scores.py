"""`tracekit scores`: verdicts in from outside, and out."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """The command `scores`."""
    return Command(
        help="take in scores of people, environments or other tools, or give a run's scores out",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit scores import labels.jsonl --run labels",
            "tracekit scores export nightly -o nightly.jsonl",
            "tracekit scores export nightly --otlp http://127.0.0.1:4318",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    taking = actions.add_parser(
        "import",
        help="read scores from JSONL into a run",
        description=(
            "Read scores from JSONL into a run. A line is an object with trace_id, name and value (a number, true or "
            "false, or a label), and may have passed, source, case_id, repeat, span_id, explanation, annotator, "
            "direction, status, metadata. Where a line is faulty nothing is imported; a file that is read again "
            "changes nothing."
        ),
    )
    taking.add_argument("file", metavar="FILE", help="the scores, one JSON object a line")
    taking.add_argument("--run", required=True, metavar="NAME", help="the run that they belong to")
    add_format_option(taking)
    giving = actions.add_parser("export", help="write a run's scores as JSONL, as `import` reads them")
    giving.add_argument("run", metavar="RUN", help="a name (its newest run) or the beginning of an id")
    giving.add_argument("-o", "--output", metavar="FILE", help="where to (default: stdout)")
    giving.add_argument(
        "--otlp", metavar="URL", help="send them to a collector instead, as `gen_ai.evaluation.result` events"
    )
    for each in (taking, giving):
        add_store_option(each)


def _run(arguments: argparse.Namespace) -> int:
    return _import(arguments) if arguments.action == "import" else _export(arguments)


def _import(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators._records import print_run
    from tracekit_evaluators.imports import import_scores

    with Store.open(arguments.store) as store:
        done = import_scores(store, arguments.file, run=arguments.run)
    title = f"{done.run.name}: {done.lines} lines, {done.new} new, {done.replaced} replaced"
    print_run(done.run.record, format=arguments.format, title=title)
    if done.unknown_traces:
        n = done.unknown_traces
        which = "1 trace that the file names is" if n == 1 else f"{n} traces that the file names are"
        print(f"tracekit: {which} not in the store", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators.exports import export_scores
    from tracekit_evaluators.runner import scores_of
    from tracekit_evaluators.score_events import send_scores

    with Store.open(arguments.store, create=False) as store:
        record = store.catalog.runs.find(arguments.run)
        if arguments.otlp:
            sent = send_scores(scores_of(store, record.id), arguments.otlp)
            print(f"tracekit: {sent} scores sent to {arguments.otlp}", file=sys.stderr)
            return 0
        count = export_scores(store, record.id, arguments.output)
    if arguments.output:
        print(f"tracekit: {count} scores in {arguments.output}", file=sys.stderr)
    return 0
