"""`tracekit eval`: judge stored traces."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.store import Store

FORECAST = ("judge", "subjects", "requests", "input_tokens", "output_tokens", "cost_usd")


def command() -> Command:
    """The command `eval`."""
    return Command(
        help="judge stored traces and keep the scores as a run",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit eval --judge error --judge 'latency?max=2' --name nightly",
            "tracekit eval --judge exact_match --dataset cases.jsonl --agent bot@4",
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
        "--judge",
        action="append",
        default=[],
        metavar="SPEC",
        help="a judge: NAME, NAME?key=value, or package.module:function; may be repeated (`tracekit judges list`)",
    )
    parser.add_argument("--where", metavar="SQL", help="a condition over the view traces: status = 'error'")
    parser.add_argument("--agent", metavar="REF", help="only traces of an agent (NAME) or a version of it (NAME@4)")
    parser.add_argument(
        "--dataset", metavar="FILE", help="JSONL with case_id, input, expected, tags; judges the traces of its cases"
    )
    parser.add_argument(
        "--expected-from",
        metavar="RUN",
        help="take the metadata of this run's scores as what is expected of each trace",
    )
    parser.add_argument("--name", help="what to call the run (default: eval-DATE-TIME)")
    parser.add_argument("--limit", type=int, metavar="N", help="judge at most so many traces, the newest ones")
    parser.add_argument(
        "--against", metavar="REF", help="a run or an agent version whose tries judges of pairs compare with"
    )
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
        "--concurrency", type=int, default=8, metavar="N", help="judges that wait for an answer at once (default: 8)"
    )
    parser.add_argument("--no-cache", action="store_true", help="ask models again, also what they answered before")
    add_store_option(parser)
    add_format_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators._records import print_run
    from tracekit_evaluators.budget import Budget
    from tracekit_evaluators.runner import evaluate

    if "" not in sys.path:
        sys.path.insert(0, "")  # a judge in the folder that one stands in is found, as with `python -m`
    with Store.open(arguments.store, create=False) as store:
        if arguments.dry_run:
            return _foretell(store, arguments)
        try:
            run = evaluate(
                store,
                judges=arguments.judge,
                where=arguments.where,
                agent=arguments.agent,
                dataset=arguments.dataset,
                expected_from=arguments.expected_from,
                against=arguments.against,
                name=arguments.name,
                limit=arguments.limit,
                samples=arguments.samples,
                resume=arguments.resume,
                into=arguments.into,
                only_unscored=arguments.only_unscored,
                budget=Budget(arguments.budget_usd, arguments.budget_tokens),
                concurrency=arguments.concurrency,
                cache=not arguments.no_cache,
                trace_judges=not arguments.no_judge_traces,
            )
        except KeyboardInterrupt:
            stopped = [record.id for record in store.catalog.runs.list(1) if record.status == "failed"]
            more = f"; go on with: tracekit eval --resume {stopped[0]}" if stopped else ""
            print(f"tracekit: stopped{more}", file=sys.stderr)
            return 4
    print_run(run.record, format=arguments.format, title=f"{run.name}: {run.summary['traces']} traces")
    words = ["tracekit", "report", run.name, *(["--store", arguments.store] if arguments.store else [])]
    print(f"report: {shlex.join([*words, '-o', _file(run.name) + '.html'])}", file=sys.stderr)
    statuses = run.summary.get("statuses")
    over = statuses.get("budget_exceeded", 0) if isinstance(statuses, dict) else 0
    if over:
        more = f"{over} scores are missing; go on with: tracekit eval --resume {run.id} and a new budget"
        print(f"tracekit: the budget is used up, {more}", file=sys.stderr)
        return 4
    return 0


def _foretell(store: Store, arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.runner import estimate

    found = estimate(
        store,
        judges=arguments.judge,
        where=arguments.where,
        agent=arguments.agent,
        dataset=arguments.dataset,
        expected_from=arguments.expected_from,
        against=arguments.against,
        limit=arguments.limit,
        samples=arguments.samples,
    )
    rows = [asdict(each) for each in found]
    print_rows(rows, FORECAST, format=arguments.format, title="nothing was asked; this is about what it would take")
    costs = [each.cost_usd for each in found]
    total = "unknown" if None in costs else f"${sum(cost for cost in costs if cost is not None):.4f}"
    print(f"in all: {total}", file=sys.stderr)
    return 0


def _file(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name) or "report"
