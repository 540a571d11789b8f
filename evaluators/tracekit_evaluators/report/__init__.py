"""The report: one HTML file about a run, that needs no network, no JavaScript and no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracekit_evaluators.compare import compare_rows
from tracekit_evaluators.pairing import pair, read_run
from tracekit_evaluators.report.payload import Builder, Report
from tracekit_evaluators.report.render import render

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

__all__ = ["Report", "build_report", "html_report", "render"]


def build_report(store: Store, run: RunRecord, *, baseline: RunRecord | None = None, max_cases: int = 200) -> Report:
    """Gather what the report of a run says.

    Args:
        store: The store that has the run.
        run: The run.
        baseline: A run to compare it with.
        max_cases: How many cases, the worst first, open to their traces; the others are listed alone.
    """
    mine = read_run(store, run)
    if baseline is None:
        builder = Builder(mine, max_cases=max_cases)
    else:
        theirs = read_run(store, baseline)
        builder = Builder(
            mine,
            baseline=theirs,
            pairing=pair(theirs, mine),
            comparison=compare_rows(theirs, mine),
            max_cases=max_cases,
        )
    traces = {trace.trace_id: trace for trace in store.traces(builder.trace_ids())}
    return builder.report(traces)


def html_report(store: Store, run: RunRecord, *, baseline: RunRecord | None = None, max_cases: int = 200) -> str:
    """The report of a run as one self-contained HTML file; arguments as for `build_report`.

    The same store and arguments give the same text, byte for byte: it holds the run's times, not the clock's.
    """
    return render(build_report(store, run, baseline=baseline, max_cases=max_cases))
