"""`tracekit diagnose`: what went wrong in traces, where, and from what cause."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace
    from tracekit_evaluators.diagnosis.locate import Diagnosis

_TABLE = ("trace_id", "span_id", "code", "severity", "root", "confidence", "step", "quote")
_ALL = (*_TABLE, "group", "field", "offset", "explanation", "found_by", "root_cause_of")


def command() -> Command:
    """The command `diagnose`."""
    return Command(
        help="say what went wrong in traces, where, and from what cause",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit diagnose 4bf92f35",
            "tracekit diagnose --where \"status = 'error'\" --limit 20",
            "tracekit diagnose 4bf92f35 --model small-1 --format json",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", nargs="?", metavar="TRACE_ID", help="a trace, by the beginning of its id")
    parser.add_argument("--where", metavar="SQL", help="a condition over the view `traces`, instead of an id")
    parser.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most so many traces (default: 50)")
    parser.add_argument("--model", metavar="M", help="a model that judges each step, and then the whole")
    parser.add_argument("--max-spans", type=_limit, default=40, metavar="N", help="steps a model judges (default: 40)")
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="the most that the model may cost")
    add_store_option(parser)
    add_format_option(parser)


def _limit(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    from tracekit.errors import UsageError
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    if (arguments.trace is None) == (arguments.where is None):
        raise UsageError("name either a trace or a condition: tracekit diagnose TRACE_ID, or --where SQL")
    with Store.open(arguments.store, create=False) as store:
        if arguments.trace is not None:
            traces = [store.trace(arguments.trace)]
        else:
            traces = list(store.traces(store.trace_ids(where=arguments.where, limit=arguments.limit)))
        diagnoses = _diagnosed(store, traces, arguments)
    rows = [row for trace, diagnosis in zip(traces, diagnoses, strict=True) for row in _rows(trace, diagnosis)]
    columns = _ALL if arguments.format in ("json", "csv") else _TABLE
    print_rows(rows, columns, format=arguments.format, title=_title(traces, diagnoses))
    return 0


def _diagnosed(store: Store, traces: list[Trace], arguments: argparse.Namespace) -> list[Diagnosis]:
    from tracekit_evaluators.diagnosis.locate import by_code

    if arguments.model is None:
        return [by_code(trace) for trace in traces]
    import asyncio

    from tracekit_evaluators.asking import Desk, desk
    from tracekit_evaluators.budget import Budget
    from tracekit_evaluators.cache import Cache

    cache = Cache(store.location / "judge-cache.db")
    try:
        with desk(Desk(cache, Budget(arguments.budget_usd))):
            return asyncio.run(_asked(traces, arguments))
    finally:
        cache.close()


async def _asked(traces: list[Trace], arguments: argparse.Namespace) -> list[Diagnosis]:
    from tracekit_evaluators.diagnosis._asking import Interview
    from tracekit_evaluators.diagnosis.locate import Limits, by_model
    from tracekit_evaluators.models import resolve

    model = resolve(arguments.model)
    limits = Limits(max_spans=arguments.max_spans)
    try:
        return [await by_model(trace, Interview(model), limits=limits) for trace in traces]
    finally:
        await model.aclose()


def _rows(trace: Trace, diagnosis: Diagnosis) -> list[dict[str, object]]:
    from tracekit_evaluators.diagnosis.taxonomy import code_of

    names = {span.span_id: f"{span.step} {span.name}" for span in trace.spans}
    return [
        {
            "trace_id": trace.trace_id,
            **finding.to_dict(),
            "group": code_of(finding.code).group,
            "step": names.get(finding.span_id),
            "root": diagnosis.root is not None and finding.key == diagnosis.root.key,
        }
        for finding in diagnosis.findings
    ]


def _title(traces: list[Trace], diagnoses: list[Diagnosis]) -> str:
    found = sum(len(each.findings) for each in diagnoses)
    words = f"{found} findings in {len(traces)} {'trace' if len(traces) == 1 else 'traces'}"
    left_out = sum(each.spans_left_out for each in diagnoses)
    return words + (f"; {left_out} steps were not shown to the model" if left_out else "")
