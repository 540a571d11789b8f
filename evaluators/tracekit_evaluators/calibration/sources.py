"""What judged items share: a case, a session, a user, a document, an annotator. Items of one source count together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError
from tracekit_evaluators.clustering import Facts, facts_of, find_clusters
from tracekit_evaluators.statistics import proportion_of_cases

if TYPE_CHECKING:
    from tracekit_collector.store import Store

Row = Mapping[str, object]
_FEWEST_ANNOTATORS = 5  # what a sixth would say cannot be known from fewer


class Sources:
    """Which source each item is of.

    Args:
        rows: A judge's rows.
        facts: What is known of their traces and cases; without it, repeats of a case are of one source.
        labels: For each case its labels: where each was labelled by one of five people or more, who that was.
    """

    def __init__(
        self, rows: Sequence[Row], facts: Facts | None = None, *, labels: Mapping[str, Sequence[Row]] | None = None
    ) -> None:
        cases: dict[str, list[Row]] = {}
        for row in rows:
            cases.setdefault(case_name(row), []).append(row)
        found = None if facts is None else find_clusters(cases, facts)
        self.by: str | None = None if found is None else found.by
        self._of = {} if found is None else dict(zip(cases, found.of, strict=True))
        people = _annotators(cases, labels or {})
        count = len(set(people.values()))
        if count and (found is None or count < found.count):
            self.by, self._of = "annotator", people

    def of(self, row: Row) -> str:
        """The source of one of the rows."""
        case = case_name(row)
        return self._of.get(case, case)


def case_name(row: Row) -> str:
    """What a row is a repeat of: its case, else only itself."""
    if row.get("case_id") is not None:
        return f"case:{row['case_id']}"
    return f"target:{(row.get('trace_id'), row.get('span_id'))}"


def facts_of_runs(store: Store, runs: Sequence[str]) -> Facts:
    """What a store knows of the traces and cases of several runs."""
    traces: dict[str, Row] = {}
    cases: dict[str, Row] = {}
    for ref in runs:
        try:
            found = facts_of(store, store.catalog.runs.find(ref))
        except NotFoundError:
            continue
        traces |= found.traces
        cases |= found.cases
    return Facts(traces, cases)


def several(sources: Sequence[str]) -> list[str] | None:
    """The sources, where any has several items."""
    return list(sources) if len(set(sources)) < len(sources) else None


def effective_count(values: Sequence[bool], clusters: Sequence[Hashable] | None) -> float:
    """How many independent items would say as much of a rate as these do.

    Example:
        >>> round(effective_count([True, True, False, False] * 10, [i // 2 for i in range(40)]), 6)
        19.0
    """
    n = len(values)
    if clusters is None or n == 0:
        return float(n)
    found = proportion_of_cases([[float(value)] for value in values], clusters=clusters)
    share, error = found.value or 0.0, found.standard_error
    if error is None or not 0 < share < 1:
        return float(len(set(clusters)))
    return min(float(n), share * (1 - share) / error**2) if error > 0 else float(n)


def _annotators(cases: Mapping[str, Sequence[Row]], labels: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    people: dict[str, str] = {}
    for case in cases:
        named = {str(row["annotator"]) for row in labels.get(case, ()) if row.get("annotator")}
        if len(named) > 1:
            return {}
        if named:
            people[case] = f"by:{next(iter(named))}"
    count = len(set(people.values()))
    return people if _FEWEST_ANNOTATORS <= count < len(people) else {}
