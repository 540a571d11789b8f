"""`tracekit eval`: judge stored traces, or try a task and judge that."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_evaluators.calibration.shown import Corrections
    from tracekit_evaluators.configuration import Configuration
    from tracekit_evaluators.runner import Run

FORECAST = ("judge", "subjects", "requests", "input_tokens", "output_tokens", "cost_usd")
# What choosing traces takes; a run that is gone on with has chosen already.
_CHOOSING = (
    "task",
    "where",
    "agent",
    "dataset",
    "split",
    "repeats",
    "timeout",
    "expected_from",
    "against",
    "name",
    "limit",
    "samples",
)
_FORETOLD = ("task", "where", "agent", "dataset", "split", "expected_from", "against", "limit", "samples", "repeats")


def command() -> Command:
    """The command `eval`."""
    return Command(
        help="judge stored traces, or try a task and judge that, and keep the scores as a run",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit eval --judge error --judge 'latency?max=2' --name nightly",
            "tracekit eval --judge exact_match --dataset cases.jsonl --agent bot@4",
            "tracekit eval --task mybot:answer --dataset sums@2:test --repeats 3 --judge contains",
            "tracekit eval nightly.yaml --limit 100",
            'tracekit eval --judge "sql?expr=output_tokens > 1000&direction=minimize"',
            "tracekit eval --judge tool_names --expected-from tau --where \"agent_name = 'tau-airline'\"",
            "tracekit eval --judge 'rubric?criteria=The answer names its source.&model=gpt-4o-mini'",
            "tracekit eval --judge preference --against bot@3 --agent bot@4",
            "tracekit eval --judge 'rubric?criteria=Polite.' --samples 3 --budget-usd 5 --dry-run",
            "tracekit eval --into nightly --judge tokens",
            "tracekit eval --resume nightly",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", metavar="FILE", help="YAML that describes all of it; what is said here too wins"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of such a file, and stop")
    parser.add_argument(
        "--judge",
        action="append",
        default=[],
        metavar="SPEC",
        help="a judge: NAME, NAME?key=value, or package.module:function; may be repeated (`tracekit judges list`)",
    )
    _configure_choice(parser)
    parser.add_argument("--name", help="what to call the run (default: eval-DATE-TIME)")
    parser.add_argument(
        "--samples", type=int, metavar="K", help="independent verdicts of each judge that asks a model (default: 1)"
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that did not finish")
    parser.add_argument(
        "--into", metavar="RUN", help="judge the traces of this run by more judges, or by others of the same names"
    )
    parser.add_argument(
        "--only-unscored", action="store_true", help="leave out what any run has scored with the same judge"
    )
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="spend at most so much on models")
    parser.add_argument("--budget-tokens", type=int, metavar="N", help="use at most so many tokens of models")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be asked of models and about what it costs, and stop"
    )
    parser.add_argument("--no-judge-traces", action="store_true", help="do not record what judges ask models as traces")
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="judges that wait for an answer, or tries, at once (default: 8)"
    )
    parser.add_argument("--no-cache", action="store_true", help="ask models again, also what they answered before")
    add_store_option(parser)
    add_format_option(parser)


def _configure_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task", metavar="MODULE:FUNCTION", help="try this with the input of each case of --dataset, and judge that"
    )
    parser.add_argument("--repeats", type=int, metavar="K", help="how many times a task tries each case (default: 1)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long a try of a task may take")
    parser.add_argument("--where", metavar="SQL", help="a condition over the view traces: status = 'error'")
    parser.add_argument(
        "--agent",
        metavar="REF",
        help="only traces of an agent (NAME) or a version (NAME@4); with --task: whose they are",
    )
    parser.add_argument(
        "--dataset",
        metavar="DATASET",
        help="NAME, NAME@VERSION, NAME@VERSION:SPLIT, or a file (JSONL, CSV, Parquet) with case_id, input, expected …",
    )
    parser.add_argument("--split", metavar="NAME", help="only the dataset's cases of this split")
    parser.add_argument(
        "--expected-from",
        metavar="RUN",
        help="take the metadata of this run's scores as what is expected of each trace",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="judge at most so many traces, the newest ones; or try so many cases"
    )
    parser.add_argument(
        "--against", metavar="REF", help="a run or an agent version whose tries judges of pairs compare with"
    )


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector._heap import use_few_heaps

    use_few_heaps()
    from tracekit_collector.store import Store
    from tracekit_evaluators.calibration.shown import corrections
    from tracekit_evaluators.configuration import read_configuration, schema_text

    if arguments.schema:
        sys.stdout.write(schema_text())
        return 0
    config = None if arguments.config is None else read_configuration(arguments.config)
    for folder in ("", *([] if config is None else [str(config.path.parent)])):
        if folder not in sys.path:
            sys.path.insert(0, folder)  # a judge or task in the folder that one stands in is found, as with `python -m`
    location = arguments.store or (None if config is None else config.store)
    wanted = _wanted(arguments, config)
    with Store.open(location, create=wanted.get("task") is not None) as store:
        if arguments.dry_run:
            return _foretell(store, arguments, wanted)
        run = _evaluated(store, wanted)
        if run is None:
            return 4
        corrected = corrections(store, (run.record,)) if arguments.format == "table" else None
    return _told(run, arguments, location, corrected)


def _wanted(arguments: argparse.Namespace, config: Configuration | None) -> dict[str, Any]:
    """Keyword arguments for `evaluate`: what the command line says, else what the file says."""
    from tracekit_evaluators.budget import Budget

    found: dict[str, Any] = {} if config is None else config.arguments()
    going_on = arguments.resume is not None or arguments.into is not None
    if going_on:
        found = {key: value for key, value in found.items() if key not in _CHOOSING}
    said = {key: getattr(arguments, key) for key in (*_CHOOSING, "resume", "into", "concurrency")}
    found.update({key: value for key, value in said.items() if value is not None})
    if arguments.judge:
        found["judges"] = arguments.judge
    for key, off in (("cache", arguments.no_cache), ("trace_judges", arguments.no_judge_traces)):
        found.update({key: False} if off else {})
    found.update({"only_unscored": True} if arguments.only_unscored else {})
    usd, tokens = (None, None) if config is None else config.budget()
    found["budget"] = Budget(
        usd if arguments.budget_usd is None else arguments.budget_usd,
        tokens if arguments.budget_tokens is None else arguments.budget_tokens,
    )
    return found


def _evaluated(store: Store, wanted: dict[str, Any]) -> Run | None:
    from tracekit_evaluators.runner import evaluate

    before = {record.id for record in store.catalog.runs.list(1)}
    try:
        return evaluate(store, **wanted)
    except KeyboardInterrupt:
        stopped = [record.id for record in store.catalog.runs.list(1) if record.status == "failed"]
        going_on = wanted.get("resume") is not None or not before.issuperset(stopped)
        more = f"; go on with: tracekit eval --resume {stopped[0]}" if stopped and going_on else ""
        print(f"tracekit: stopped{more}", file=sys.stderr)
        return None


def _told(run: Run, arguments: argparse.Namespace, location: str | None, corrected: Corrections | None) -> int:
    from tracekit_evaluators._records import print_corrected, print_run

    print_run(run.record, format=arguments.format, title=f"{run.name}: {run.summary['traces']} traces")
    if corrected is not None:
        print_corrected(corrected, run.record)
    words = ["tracekit", "report", run.name, *(["--store", location] if location else [])]
    print(f"report: {shlex.join([*words, '-o', _file(run.name) + '.html'])}", file=sys.stderr)
    lost = run.record.selection.get("tries_without_trace")
    if lost:
        print(f"tracekit: {lost} tries left no trace; try them with: tracekit eval --resume {run.id}", file=sys.stderr)
    statuses = run.summary.get("statuses")
    over = statuses.get("budget_exceeded", 0) if isinstance(statuses, dict) else 0
    if over:
        more = f"{over} scores are missing; go on with: tracekit eval --resume {run.id} and a new budget"
        print(f"tracekit: the budget is used up, {more}", file=sys.stderr)
        return 4
    return 0


def _foretell(store: Store, arguments: argparse.Namespace, wanted: dict[str, Any]) -> int:
    from dataclasses import asdict

    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.runner import estimate

    chosen = {key: wanted[key] for key in _FORETOLD if key in wanted}
    found = estimate(store, judges=wanted.get("judges", ()), **chosen)
    rows = [asdict(each) for each in found]
    print_rows(rows, FORECAST, format=arguments.format, title="nothing was asked; this is about what it would take")
    costs = [each.cost_usd for each in found]
    total = "unknown" if None in costs else f"${sum(cost for cost in costs if cost is not None):.4f}"
    also = "; what the task itself asks of models comes on top" if wanted.get("task") is not None else ""
    print(f"in all: {total}{also}", file=sys.stderr)
    return 0


def _file(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name) or "report"
