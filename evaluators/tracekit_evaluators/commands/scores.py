"""`tracekit scores`: verdicts of people, in from outside, and out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_evaluators.score_tables import TableForm


def command() -> Command:
    """The command `scores`."""
    return Command(
        help="ask people about traces, take in scores from elsewhere, or give a run's scores out",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit scores label --run helpful --name helpful --question 'Did it help?' --sample 50",
            "tracekit scores label --run stars --rubric stars.yaml --of-run nightly --sample 50 --by uncertainty",
            "tracekit scores label --run helpful --annotator ada",
            "tracekit scores import labels.jsonl --run labels",
            "tracekit scores import labels.csv --run labels",
            "tracekit scores import table.csv --run labels --values ann,bob,gpt --judge gpt --name good",
            "tracekit scores import results.csv --run v2 --values v2_passed --name passed",
            "tracekit scores export nightly -o nightly.jsonl",
            "tracekit scores export nightly --otlp http://127.0.0.1:4318",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    taking = actions.add_parser(
        "import",
        help="read scores from JSONL or CSV into a run",
        description=(
            "Read scores from JSONL or CSV into a run. A line is an object (or a row) with trace_id (or case_id alone, "
            "where nothing was traced), name and value (a number, true or false, or a label), and may have passed, "
            "source, case_id, repeat, span_id, explanation, annotator, direction, status, metadata, "
            "inclusion_probability, rubric_version, seconds. Where a line is faulty nothing is imported; a file that "
            "is read again changes nothing. With --values the file is a table (CSV, TSV, JSON or JSONL) that has a row "
            "for each case, and a column for each annotator, judge or version."
        ),
    )
    taking.add_argument("file", metavar="FILE", help="the scores, one JSON object a line, or .csv")
    taking.add_argument("--run", required=True, metavar="NAME", help="the run that they belong to")
    table = taking.add_argument_group("a table with a row for each case")
    table.add_argument(
        "--values", action="append", default=[], metavar="COLUMN", help="a column of values, or several: ann,bob,gpt"
    )
    table.add_argument("--name", metavar="SCORE", help="what the score is called (default: the column, or `value`)")
    table.add_argument(
        "--case", metavar="COLUMN", help="names the case (default: case_id, id …, else the row's number)"
    )
    table.add_argument(
        "--judge", action="append", default=[], metavar="COLUMN", help="which columns are no person's but a judge's"
    )
    add_format_option(taking)
    giving = actions.add_parser("export", help="write a run's scores as JSONL or CSV, as `import` reads them")
    giving.add_argument("run", metavar="RUN", help="a name (its newest run) or the beginning of an id")
    giving.add_argument("-o", "--output", metavar="FILE", help="where to, .jsonl or .csv (default: JSONL to stdout)")
    giving.add_argument(
        "--otlp", metavar="URL", help="send them to a collector instead, as `gen_ai.evaluation.result` events"
    )
    asking = actions.add_parser(
        "label",
        help="ask a person about one trace after the other",
        description=(
            "Show one trace after the other and ask for a verdict, by a key or a line. Every answer is kept at once; a "
            "queue goes on where its annotator stopped, and other annotators go through the same traces. Where traces "
            "are drawn, each answer keeps how probable it was that its trace would be."
        ),
    )
    _configure_label(asking)
    for each in (taking, giving, asking):
        add_store_option(each)


def _configure_label(asking: argparse.ArgumentParser) -> None:
    asking.add_argument(
        "--run", required=True, metavar="NAME", help="the run that the answers belong to, and the queue"
    )
    asking.add_argument("--name", metavar="SCORE", help="what the score is called, for a new queue")
    asking.add_argument("--question", default="", metavar="TEXT", help="what is asked")
    asking.add_argument(
        "--values", metavar="VALUES", help="yes,no (default), 1-5, number, text, or labels: good,bad,odd"
    )
    asking.add_argument("--minimize", action="store_true", help="less of it is better")
    asking.add_argument("--rubric", metavar="FILE", help="YAML with name, question, kind, choices, guide … instead")
    asking.add_argument("--annotator", metavar="WHO", help="who answers (default: the machine's user)")
    asking.add_argument("--where", metavar="SQL", help="a condition over the view traces")
    asking.add_argument("--of-run", metavar="RUN", help="only the traces of this run")
    asking.add_argument("--sample", type=int, metavar="N", help="draw so many traces (default: all, in random order)")
    asking.add_argument(
        "--by",
        default="random",
        choices=("random", "uncertainty", "disagreement"),
        help="prefer traces whose scores are uncertain, or whose judges and annotators disagree",
    )
    asking.add_argument("--of-score", metavar="NAME", help="whose uncertainty or disagreement counts (default: any)")
    asking.add_argument("--seed", type=int, default=0, metavar="N", help="draw another sample (default: 0)")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "label":
        return _label(arguments)
    return _import(arguments) if arguments.action == "import" else _export(arguments)


def _label(arguments: argparse.Namespace) -> int:
    from tracekit.errors import UsageError
    from tracekit_collector.store import Store
    from tracekit_evaluators.label_screen import Screen, keyboard
    from tracekit_evaluators.labels import close_queue, open_queue
    from tracekit_evaluators.rubric_form import parse_rubric, read_rubric

    rubric = None
    if arguments.rubric is not None:
        if arguments.name is not None or arguments.values is not None or arguments.question or arguments.minimize:
            raise UsageError("a rubric says name, question, values and direction itself; leave the others out")
        rubric = read_rubric(arguments.rubric)
    elif arguments.name is not None:
        way = "minimize" if arguments.minimize else "maximize"
        rubric = parse_rubric(arguments.name, arguments.values, question=arguments.question, direction=way)
    with Store.open(arguments.store, create=False) as store:
        queue = open_queue(
            store,
            run=arguments.run,
            rubric=rubric,
            annotator=arguments.annotator,
            where=arguments.where,
            of_run=arguments.of_run,
            sample=arguments.sample,
            by=arguments.by,
            of_score=arguments.of_score,
            seed=arguments.seed,
        )
        done = len(queue.drawn) - len(queue.left())
        try:
            with keyboard(sys.stdin, sys.stderr) as ask:
                count = Screen(store, queue, ask, say=lambda line: print(line, file=sys.stderr)).run()
        except KeyboardInterrupt:
            count = len(queue.drawn) - len(queue.left()) - done
        close_queue(store, queue)
        left = len(queue.left())
    print(f"{arguments.run}: {count} answers by {queue.annotator}, {left} of {len(queue.drawn)} traces left")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators._records import print_run
    from tracekit_evaluators.imports import import_scores

    table = _table(arguments)
    with Store.open(arguments.store) as store:
        done = import_scores(store, arguments.file, run=arguments.run, table=table)
    title = f"{done.run.name}: {done.lines} lines, {done.new} new, {done.replaced} replaced"
    print_run(done.run.record, format=arguments.format, title=title)
    if done.unknown_traces:
        n = done.unknown_traces
        which = "1 trace that the file names is" if n == 1 else f"{n} traces that the file names are"
        print(f"tracekit: {which} not in the store", file=sys.stderr)
    return 0


def _table(arguments: argparse.Namespace) -> TableForm | None:
    from tracekit.errors import UsageError
    from tracekit_evaluators.score_tables import TableForm, columns_of

    values = columns_of(arguments.values)
    if not values:
        if arguments.name or arguments.case or arguments.judge:
            raise UsageError("--name, --case and --judge are for tables; say which columns hold values with --values")
        return None
    name = arguments.name or (values[0] if len(values) == 1 else "value")
    return TableForm(values, name, arguments.case, columns_of(arguments.judge))


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
