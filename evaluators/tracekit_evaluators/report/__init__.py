"""The report: one HTML file about a run, that needs no network and no server; its first screen needs no JavaScript."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracekit_evaluators.calibration.shown import corrections
from tracekit_evaluators.compare import compare_rows, with_corrections
from tracekit_evaluators.pairing import pair, read_run
from tracekit_evaluators.report.exports import markdown
from tracekit_evaluators.report.judge_cards import judge_cards
from tracekit_evaluators.report.payload import MOST_BYTES, Builder, Report
from tracekit_evaluators.report.render import render
from tracekit_evaluators.report.scatters import frontier
from tracekit_evaluators.report.svg import drawings
from tracekit_evaluators.report.trace_view import TraceView, trace_view
from tracekit_evaluators.report.versions import version_runs, version_table

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_LEAST_WITH_LIBRARY = 1_000_000  # below, its 216 kB would take the place of the cases
_SLACK = 2_000  # what the page says of what it leaves out

__all__ = ["Report", "build_report", "drawings", "headline_report", "html_report", "markdown", "render"]


def build_report(
    store: Store,
    run: RunRecord,
    *,
    baseline: RunRecord | None = None,
    max_cases: int = 200,
    max_bytes: int = MOST_BYTES,
) -> Report:
    """Gather what the report of a run says.

    Args:
        store: The store that has the run.
        run: The run.
        baseline: A run to compare it with.
        max_cases: How many cases, the worst first, bring their traces.
        max_bytes: How large the HTML may be. The headline and the list of all cases are in whatever this is; texts and
            traces of cases, the worst first, as far as there is room.
    """
    builder = _builder(
        store, run, baseline, max_cases=max_cases, library=max_bytes >= _LEAST_WITH_LIBRARY, at=_end(run)
    )

    def read(ids: list[str]) -> Iterator[TraceView]:
        return map(trace_view, store.traces(ids))

    shell = builder.shell()
    return builder.filled(shell, room=max_bytes - len(render(shell).encode("utf-8")) - _SLACK, read=read)


def headline_report(store: Store, run: RunRecord, *, baseline: RunRecord | None = None) -> Report:
    """What the report's first screen says and draws, without the list of cases, their texts and traces.

    Args:
        store: The store that has the run.
        run: The run.
        baseline: A run to compare it with.
    """
    return _builder(store, run, baseline, max_cases=0, library=False, at=None).shell()


def _end(run: RunRecord) -> datetime.datetime:
    return run.finished_at or run.created_at  # what has expired since, the page itself marks when it is opened


def _builder(
    store: Store,
    run: RunRecord,
    baseline: RunRecord | None,
    *,
    max_cases: int,
    library: bool,
    at: datetime.datetime | None,
) -> Builder:
    mine = read_run(store, run)
    shown = version_runs(store.catalog.runs.list(), run)
    theirs = None if baseline is None else read_run(store, baseline)
    told = corrections(store, [each for each in (baseline, run) if each is not None], at=at)
    return Builder(
        mine,
        baseline=theirs,
        pairing=None if theirs is None else pair(theirs, mine),
        comparison=None if theirs is None else with_corrections(compare_rows(theirs, mine), told),
        versions=version_table(shown, run),
        frontier=frontier(store, shown, run) if len(shown) > 1 else None,
        judges=judge_cards(store, mine),
        corrected=told,
        library=library,
        max_cases=max_cases,
    )


def html_report(
    store: Store,
    run: RunRecord,
    *,
    baseline: RunRecord | None = None,
    max_cases: int = 200,
    max_bytes: int = MOST_BYTES,
) -> str:
    """The report of a run as one self-contained HTML file; arguments as for `build_report`.

    The same store and arguments give the same text, byte for byte: it holds the run's times, not the clock's.
    """
    return render(build_report(store, run, baseline=baseline, max_cases=max_cases, max_bytes=max_bytes))
