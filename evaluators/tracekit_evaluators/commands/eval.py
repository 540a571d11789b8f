"""`tracekit eval`: judge stored traces."""

from __future__ import annotations

import argparse
import shlex
import sys

from tracekit.command import Command, add_format_option, add_store_option


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
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that did not finish")
    parser.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="judges that wait for an answer at once (default: 8)"
    )
    parser.add_argument("--no-cache", action="store_true", help="ask models again, also what they answered before")
    add_store_option(parser)
    add_format_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_evaluators._records import print_run
    from tracekit_evaluators.runner import evaluate

    if "" not in sys.path:
        sys.path.insert(0, "")  # a judge in the folder that one stands in is found, as with `python -m`
    with Store.open(arguments.store, create=False) as store:
        try:
            run = evaluate(
                store,
                judges=arguments.judge,
                where=arguments.where,
                agent=arguments.agent,
                dataset=arguments.dataset,
                expected_from=arguments.expected_from,
                name=arguments.name,
                limit=arguments.limit,
                resume=arguments.resume,
                concurrency=arguments.concurrency,
                cache=not arguments.no_cache,
            )
        except KeyboardInterrupt:
            stopped = [record.id for record in store.catalog.runs.list(1) if record.status == "failed"]
            more = f"; go on with: tracekit eval --resume {stopped[0]}" if stopped else ""
            print(f"tracekit: stopped{more}", file=sys.stderr)
            return 4
    print_run(run.record, format=arguments.format, title=f"{run.name}: {run.summary['traces']} traces")
    words = ["tracekit", "report", run.name, *(["--store", arguments.store] if arguments.store else [])]
    print(f"report: {shlex.join([*words, '-o', _file(run.name) + '.html'])}", file=sys.stderr)
    return 0


def _file(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name) or "report"
