"""Runs in notebooks: tables as Arrow and pandas, a page of numbers where a run is shown, and the report's charts.

What a notebook shows is HTML without script, which carries its charts as pictures; nothing in it comes from anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape, unescape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import MissingExtraError, NotFoundError

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.report import Report

_CELL = "padding:3px 14px 3px 0;text-align:{side};border-bottom:1px solid rgba(128,128,128,.25)"


class Drawing:
    """A chart that notebooks show and that can be kept as a file.

    Args:
        svg: The chart as one SVG document.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return _picture(self.svg)

    def save(self, path: str | Path) -> Path:
        """Keep it as a file: a PNG picture where the name ends in .png, else SVG.

        Raises:
            MissingExtraError: A PNG was asked for without `tracekit[png]`.
        """
        from tracekit_evaluators.report.raster import png  # noqa: PLC0415 - a notebook may never need it

        target = Path(path)
        target.write_bytes(png(self.svg) if target.suffix.lower() == ".png" else self.svg.encode("utf-8"))
        return target


class Plots:
    """The report's charts of a run, or of a run against a baseline.

    Args:
        store: The store that has the runs.
        run: The run.
        baseline: A run to compare it with.
    """

    def __init__(self, store: Store, run: RunRecord, *, baseline: RunRecord | None = None) -> None:
        self._store, self._run, self._baseline = store, run, baseline

    @cached_property
    def report(self) -> Report:
        """What the charts are drawn from: the report without its list of cases and traces."""
        from tracekit_evaluators.report import headline_report  # noqa: PLC0415 - it brings Jinja2

        return headline_report(self._store, self._run, baseline=self._baseline)

    def forest(self) -> Drawing:
        """Every score's mean, or its difference from the baseline, with its 95 % interval."""
        from tracekit_evaluators.report import svg  # noqa: PLC0415 - as above

        return Drawing(svg.forest(self.report))

    def pass_k(self, score: str | None = None) -> Drawing:
        """pass^k over k with its band.

        Args:
            score: Which score; the first that was repeated when not given.

        Raises:
            NotFoundError: No such score was tried several times a case.
        """
        from tracekit_evaluators.report import svg  # noqa: PLC0415 - as above

        return Drawing(svg.pass_k(_named(self.report.curves, score, "has several tries a case")))

    def distribution(self, score: str | None = None) -> Drawing:
        """How a score's values spread.

        Args:
            score: Which score; the first when not given.

        Raises:
            NotFoundError: There is no such score.
        """
        from tracekit_evaluators.report import svg  # noqa: PLC0415 - as above

        return Drawing(svg.distribution(_named(self.report.distributions, score, "has values")))

    def time_and_cost(self) -> Drawing:
        """How long each case took and what it cost.

        Raises:
            NotFoundError: Fewer than three cases tell both.
        """
        from tracekit_evaluators.report import svg  # noqa: PLC0415 - as above

        if self.report.scatter is None:
            raise NotFoundError("fewer than three cases tell both a duration and a cost")
        return Drawing(svg.time_and_cost(self.report.scatter))

    def frontier(self) -> Drawing:
        """What each version of the agent is worth and costs.

        Raises:
            NotFoundError: Fewer than two versions tell both.
        """
        from tracekit_evaluators.report import svg  # noqa: PLC0415 - as above

        if self.report.frontier is None:
            raise NotFoundError("fewer than two versions of the agent tell both a score and a cost")
        return Drawing(svg.cost_frontier(self.report.frontier))


class Shown:
    """What a run is in a notebook; `Run` has all of it."""

    store: Store
    record: RunRecord

    @property
    def plot(self) -> Plots:
        """The report's charts of it: `forest`, `pass_k`, `distribution`, `time_and_cost`, `frontier`."""
        return Plots(self.store, self.record)

    def against(self, baseline: str | Shown) -> Compared:
        """It compared with another run, to be shown and plotted.

        Args:
            baseline: A run, or its name or id.

        Raises:
            NotFoundError: There is no such run.

        Example:
            >>> run.against("main").plot.forest()  # doctest: +SKIP
        """
        other = self.store.catalog.runs.find(baseline) if isinstance(baseline, str) else baseline.record
        return Compared(self.store, self.record, other)

    def to_arrow(self) -> pa.Table:
        """Its scores as an Arrow table: the columns of the table `scores`, in the order of name and trace."""
        query = "SELECT * FROM scores WHERE run_id = ? ORDER BY name, trace_id, span_id, score_id"
        return self.store.sql(query, [self.record.id], settle=False).to_arrow()

    def to_pandas(self) -> Any:
        """Its scores as a pandas data frame, where pandas is installed.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import_module("pandas")
        except ImportError:
            raise MissingExtraError("a data frame needs pandas: pip install pandas; to_arrow() needs nothing") from None
        return self.to_arrow().to_pandas()

    def _repr_html_(self) -> str:
        return _page(self.plot.report)


class Compared:
    """Two runs side by side in a notebook.

    Args:
        store: The store that has both.
        record: The run that is judged.
        baseline: The run that it is compared with.
    """

    def __init__(self, store: Store, record: RunRecord, baseline: RunRecord) -> None:
        self.store, self.record, self.baseline = store, record, baseline

    @cached_property
    def plot(self) -> Plots:
        """The report's charts of both."""
        return Plots(self.store, self.record, baseline=self.baseline)

    def _repr_html_(self) -> str:
        return _page(self.plot.report)


def _named(charts: Sequence[Any], score: str | None, what: str) -> Any:
    found = [chart for chart in charts if score is None or chart.name == score]
    if not found:
        names = ", ".join(chart.name for chart in charts)
        which = "" if score is None else f"{score!r} "
        raise NotFoundError(f"no score {which}{what}" + (f"; these do: {names}" if names else ""))
    return found[0]


def _page(report: Report) -> str:
    """The headline as HTML without script: every text escaped, every chart a picture."""
    from tracekit_evaluators.report import svg  # noqa: PLC0415 - it brings what a report needs

    against = f" against {report.baseline_title}" if report.compared else ""
    parts = [f"<p><b>{_words(report.title + against)}</b><br>{_words(report.subtitle)}</p>"]
    verdict = f"<b>{_words(f'{report.glyph} {report.word}')}.</b> " if report.word else ""
    parts.append(f"<p>{verdict}{_words(report.sentence)}</p>")
    parts += [f"<p>{_words(note)}</p>" for note in report.notes]
    if report.scores:
        parts.append(_table(report))
        parts.append(_picture(svg.forest(report)))
    return f'<div style="font-family:system-ui,sans-serif;max-width:960px">{"".join(parts)}</div>'


def _table(report: Report) -> str:
    if report.compared:
        head: Sequence[str] = (
            "score",
            "baseline",
            "this run",
            "difference",
            "95 % interval",
            "p, corrected",
            "verdict",
        )
        rows: Iterable[Sequence[str]] = (
            (
                *(each.name, each.baseline, each.value, each.difference, each.difference_interval, each.p_adjusted),
                f"{each.glyph} {each.verdict}{f' ({each.unsettled})' if each.unsettled else ''}".strip() or each.method,
            )
            for score in report.scores
            for each in score.and_people()
        )
    else:
        head = ("score", "mean", "95 % interval", "cases", "scored", "method")
        rows = (
            (each.name, each.value, each.interval, each.cases, each.coverage, each.method)
            for score in report.scores
            for each in score.and_people()
        )
    said = "".join(_row(row, "td") for row in rows)
    return f'<table style="border-collapse:collapse">{_row(head, "th")}{said}</table>'


def _row(cells: Sequence[str], tag: str) -> str:
    sides = ["left", *["right"] * (len(cells) - 2), "left"]
    made = (
        f'<{tag} style="{_CELL.format(side=side)}">{_words(cell or "–")}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"


def _picture(svg: str) -> str:
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    label = escape(unescape(svg.partition("<title>")[2].partition("</title>")[0]))
    return f'<img alt="{label}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def _words(text: str) -> str:
    from tracekit_evaluators.report.text import shown  # noqa: PLC0415 - as above

    return escape(shown(text))
