"""The list of all cases as the page carries it: a column an array, what is said often said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tracekit_evaluators.report.cases import CaseView, Cell
from tracekit_evaluators.report.packing import packed
from tracekit_evaluators.report.picking import Bars
from tracekit_evaluators.report.text import line

_CHANGES = ("", "regressed", "improved", "mixed")


def listing(
    views: Sequence[CaseView],
    *,
    columns: Sequence[str],
    kinds: Mapping[str, str],
    compared: bool,
    charts: Mapping[str, Bars] | None = None,
) -> str:
    """The list of cases, packed.

    Args:
        views: The cases, worst first.
        columns: The names of the scores that have a column.
        kinds: Their kinds: `bool`, `number`, `label` or `text`.
        compared: Whether there is a baseline.
        charts: The bars of their charts, by column.

    Returns:
        An object of `name`, `link` (null where it is the name), `ask`, `change` (a number: nothing, regressed,
        improved, mixed), `flags` (1 failed, 2 error), `ms`, `usd`, each an array with one item a case; `columns`, each
        with `name`, `kind`, `cells` (text, tone, hint, change, tone of the change) and for each case `at` (its cell),
        `value` and, with a baseline, `before` (the baseline's value), and where the column has a chart `bars`:
        `labels`, `counts`, `before`, `masks` of `picking`; and `compared`.
    """
    return packed(
        {
            "compared": compared,
            "name": [view.name for view in views],
            "link": [None if view.link == view.name else view.link for view in views],
            "ask": [view.summary for view in views],
            "change": [_CHANGES.index(view.change) for view in views],
            "flags": [view.failed + 2 * view.error for view in views],
            "ms": [None if view.milliseconds is None else float(f"{view.milliseconds:.5g}") for view in views],
            "usd": [None if view.dollars is None else float(f"{view.dollars:.4g}") for view in views],
            "columns": [
                {
                    "name": line(name, longest=80),
                    "kind": kinds[name],
                    **_column([view.cells[place] for view in views], compared=compared),
                    **({"bars": asdict(charts[name])} if charts and name in charts else {}),
                }
                for place, name in enumerate(columns)
            ],
        }
    )


def _column(cells: Sequence[Cell], *, compared: bool) -> dict[str, list[object]]:
    places: dict[tuple[str, ...], int] = {}
    at: list[object] = []
    for cell in cells:
        told = (cell.text, cell.tone, cell.hint, cell.change, cell.change_tone)
        at.append(places.setdefault(told, len(places)))
    found: dict[str, list[object]] = {"cells": [list(told) for told in places], "at": at}
    found["value"] = [_short(cell.value) for cell in cells]
    if compared:
        found["before"] = [_short(cell.before) for cell in cells]
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
