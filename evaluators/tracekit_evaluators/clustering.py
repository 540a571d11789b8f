"""What a run's cases share (a session, a user, a source), found in its traces and in the dataset that it tried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracekit.errors import StoreError
from tracekit_evaluators._artifacts import kept
from tracekit_evaluators._stretches import quoted, stretches, those

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.statistics import Estimate

Row = Mapping[str, object]
# The coarsest first: of two that group as much, the first is taken.
SHARED = ("cluster", "source", "document", "template", "user", "session")
_OF_CASES = SHARED[:4]
FEWEST = 5  # with fewer, an interval says what another source would do; nobody can know that from so few
_COLUMNS = "trace_id, session_id, user_id, cost_usd"
_SHARED = "(session_id IS NOT NULL OR user_id IS NOT NULL OR cost_usd IS NOT NULL)"
_MOST_UNSURE = 0.1  # the share of cases that may lie in several clusters at once


@dataclass(frozen=True)
class Facts:
    """What is known of a run beyond its scores.

    Args:
        traces: For each trace id a row with `session_id`, `user_id`, `cost_usd`; a trace without any may be absent.
        cases: For each case id the row of the dataset: `tags`, `golden`, `metadata` and whatever else it has.
    """

    traces: Mapping[str, Row] = field(default_factory=dict)
    cases: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Clusters:
    """What groups cases.

    Args:
        by: `session`, `user`, `source`, `document`, `template` or `cluster`.
        of: For each case its cluster, in the order of the cases; a case without one is a cluster of its own.
        count: How many clusters.
        largest: How many cases the largest has.
        unsure: How many cases lie in several clusters; each is a cluster of its own.
    """

    by: str
    of: tuple[str, ...]
    count: int
    largest: int
    unsure: int = 0


def told_of(by: str, largest: int, estimate: Estimate) -> dict[str, object]:
    """What a metric says of the clusters that its cases lie in.

    Args:
        by: What they share.
        largest: How many cases the largest has.
        estimate: The mean that knows of them.
    """
    return {
        "by": by,
        "count": estimate.clusters,
        "largest": largest,
        "design_effect": estimate.design_effect,
        "effective_n": estimate.effective_n,
    }


def find_clusters(cases: Mapping[str, Sequence[Row]], facts: Facts) -> Clusters | None:
    """What these cases share; the coarsest grouping with at least five groups, `None` where each stands alone.

    Args:
        cases: For each case its rows of the table `scores`.
        facts: What is known of their traces and of the dataset.

    Example:
        >>> rows = {str(i): [{"trace_id": str(i), "session_id": f"s{i // 2}"}] for i in range(12)}
        >>> found = find_clusters(rows, Facts())
        >>> found.by, found.count, found.largest
        ('session', 6, 2)
    """
    best: Clusters | None = None
    for name in SHARED:
        found = _grouped(name, cases, _teller(name, facts))
        if found is not None and (best is None or found.count < best.count):
            best = found
    return best


def facts_of(store: Store, run: RunRecord, *, traces: Mapping[str, Row] | None = None) -> Facts:
    """What a store knows of a run's traces and of the dataset that it tried.

    Args:
        store: The store.
        run: The run.
        traces: What `shared_by` tells of its traces, where that is known already.
    """
    if traces is None:
        whose = f"trace_id IN (SELECT trace_id FROM scores WHERE run_id = {quoted(run.id)})"  # noqa: S608 - a constant
        pages = stretches(store, f"{_SHARED} AND {whose}", _COLUMNS)
        traces = {row["trace_id"]: row for page in pages for row in page.to_pylist()}
    return Facts(traces, case_rows(store, run))


def shared_by(store: Store, trace_ids: Sequence[str]) -> dict[str, Row]:
    """For each of these traces a row with `session_id`, `user_id`, `cost_usd`; none for a trace without any."""
    pages = those(store, trace_ids, _COLUMNS, _SHARED)
    return {row["trace_id"]: row for page in pages for row in page.to_pylist()}


def case_rows(store: Store, run: RunRecord) -> dict[str, Row]:
    """The cases of the dataset that a run tried, by case id; what imported scores say of theirs where there is none."""
    found: dict[str, Row] = {}
    told = (
        "SELECT case_id, any_value(metadata) AS metadata FROM scores WHERE run_id = ? AND case_id IS NOT NULL "
        "AND regexp_matches(metadata, '\"(cluster|source|document|template|tags|golden)\"') GROUP BY case_id"
    )
    for row in store.sql(told, [run.id], settle=False):
        said = _object(row["metadata"])
        found[str(row["case_id"])] = {"metadata": said, "tags": said.get("tags"), "golden": said.get("golden")}
    digest = run.selection.get("dataset")
    if digest is None:
        return found
    try:
        lines = kept(store.artifacts, str(digest)).splitlines()
    except StoreError:  # another machine's store: the scores are still worth summing up
        return found
    for line in lines:
        case = json.loads(line)
        if case.get("case_id") is not None:
            found[str(case["case_id"])] = case
    return found


def _teller(name: str, facts: Facts) -> Callable[[Row], object]:
    traces, cases = facts.traces, facts.cases
    if name in _OF_CASES:
        return lambda row: _of_case(cases.get(str(row.get("case_id"))), name)
    column = f"{name}_id"
    return lambda row: row.get(column) or traces.get(str(row.get("trace_id")), _NOTHING).get(column)


def _of_case(case: Row | None, name: str) -> object:
    if case is None:
        return None
    metadata = case.get("metadata")
    told = metadata.get(name) if isinstance(metadata, Mapping) else None
    found = case.get(name) if told is None else told
    return found if isinstance(found, (str, int)) and not isinstance(found, bool) else None


def _grouped(name: str, cases: Mapping[str, Sequence[Row]], tell: Callable[[Row], object]) -> Clusters | None:
    of: list[str] = []
    unsure = 0
    for key, rows in cases.items():
        told = {tell(row) for row in rows} - {None}
        unsure += len(told) > 1
        of.append(f"={next(iter(told))}" if len(told) == 1 else f"alone:{key}")
    counts = Counter(of)
    if not FEWEST <= len(counts) < len(of) or unsure > _MOST_UNSURE * len(of):
        return None
    return Clusters(name, tuple(of), len(counts), max(counts.values()), unsure)


def _object(text: object) -> dict[str, object]:
    try:
        value = json.loads(str(text))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


_NOTHING: Row = {}
