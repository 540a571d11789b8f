"""The metric of a score that very many traces have once each, made of columns: some forty bytes a trace, no row.

`summary` keeps every row of a score, which is right for the thousands of cases of a dataset and the tries at them. A
run over a store's traces has millions of rows, each a case of its own; what that leaves to be told, the arrays here
tell by the same functions of `statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from tracekit_evaluators._stretches import quoted, stretches
from tracekit_evaluators.clustering import FEWEST, told_of
from tracekit_evaluators.statistics import (
    Coverage,
    Estimate,
    coverage,
    mean_of_cases,
    proportion_of_cases,
    ratio_of_means,
    wilson_interval,
)
from tracekit_evaluators.summary import MOST_LABELS, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.store import Store

MANY = 20_000
"""From how many rows on a score is summed up by columns."""
Codes = npt.NDArray[np.uint64]
Reals = npt.NDArray[np.float64]
_SHARES = (
    "hash(trace_id) AS k, CASE WHEN session_id IS NULL THEN 0 ELSE hash(session_id) END AS s, "
    "CASE WHEN user_id IS NULL THEN 0 ELSE hash(user_id) END AS u, cost_usd AS c"
)
_TOLD = "SELECT bool_or(session_id IS NOT NULL), bool_or(user_id IS NOT NULL), bool_or(cost_usd IS NOT NULL) FROM steps"
_STANDING = (
    "(SELECT *, coalesce(status, CASE WHEN value IS NULL AND label IS NULL THEN 'missing_input' ELSE 'scored' END) AS "
    "said FROM scores WHERE run_id = ? AND name = ? AND score_id NOT IN "
    "(SELECT supersedes FROM scores WHERE run_id = ? AND supersedes IS NOT NULL))"
)
_CASES = "WHERE status IS DISTINCT FROM 'not_applicable'"
_FINITE = "(said = 'scored' AND value IS NOT NULL AND isfinite(value))"
_SHAPE = f"""SELECT count(*) FILTER ({_CASES}), count(case_id),
  count(DISTINCT hash(trace_id, span_id, session_id)) FILTER ({_CASES}),
  list(DISTINCT direction) FILTER (WHERE direction IS NOT NULL),
  list(DISTINCT coalesce(value_type, CASE WHEN value IS NULL THEN 'label' ELSE 'number' END))
    FILTER (WHERE said = 'scored'),
  bool_and({_FINITE} AND value IN (0, 1)) FILTER (WHERE said = 'scored'),
  bool_and(passed IS NOT NULL OR source = 'environment') FILTER (WHERE said = 'scored'),
  coalesce(bool_or(passed IS NOT NULL) FILTER (WHERE said = 'scored'), false)
FROM {_STANDING}"""  # noqa: S608 - our own names
_COLUMNS = f"""SELECT hash(trace_id) AS k,
  CASE WHEN nullif(session_id, '') IS NULL THEN 0 ELSE hash(session_id) END AS s,
  CASE WHEN {_FINITE} THEN value END AS v, CASE WHEN said = 'scored' THEN passed::DOUBLE END AS p
FROM {_STANDING} {_CASES} ORDER BY "repeat", trace_id, span_id, sample, score_id"""  # noqa: S608 - our own names


@dataclass(frozen=True)
class Traces:
    """What a run's traces share and cost, in the order of their ids' hashes; 0 and NaN where nothing is known.

    Args:
        keys: Hashes of trace ids, ascending.
        sessions: Hashes of session ids.
        users: Hashes of user ids.
        costs: US dollars.
    """

    keys: Codes
    sessions: Codes
    users: Codes
    costs: Reals

    @classmethod
    def of(cls, store: Store, run_id: str) -> Traces:
        """Those that a run has scores of."""
        told = store.sql(_TOLD, settle=False).fetchone()
        if told is None or not any(told):
            nothing = np.zeros(0, dtype=np.uint64)
            return cls(nothing, nothing, nothing, np.zeros(0))
        where = (
            "(session_id IS NOT NULL OR user_id IS NOT NULL OR cost_usd IS NOT NULL) AND "  # noqa: S608 - a constant
            f"trace_id IN (SELECT trace_id FROM scores WHERE run_id = {quoted(run_id)})"
        )
        parts = [
            (_codes(part, "k"), _codes(part, "s"), _codes(part, "u"), _reals(part, "c"))
            for part in stretches(store, where, _SHARES)
        ]
        keys, sessions, users, costs = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.argsort(keys)
        return cls(keys[order], sessions[order], users[order], costs[order])

    def places(self, keys: Codes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Where each of these keys stands, and whether it does."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.intp), np.zeros(len(keys), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return at, self.keys[at] == keys


@dataclass(frozen=True)
class _Shared:
    by: str
    of: Sequence[int]
    count: int
    largest: int


def metric_of_many(store: Store, run_id: str, name: str, traces: Traces) -> dict[str, object] | None:
    """The metric of a score as `summary` tells it; `None` where its rows are more than one thing's word each.

    Args:
        store: Where the scores are.
        run_id: Whose.
        name: The score's name.
        traces: What is known of the run's traces.
    """
    whose = [run_id, name, run_id]
    shape = store.sql(_SHAPE, whose, settle=False).fetchone()
    if shape is None:
        return None
    cases, named, several, directions, types, zero_one, judged, passes = cast("tuple[Any, ...]", shape)
    if not cases or named or several < cases or len(directions or ()) > 1:
        return None
    kind = kind_of(set(types or ()), zero_one=bool(zero_one), judged=bool(judged))
    direction = directions[0] if directions else "maximize" if kind == "bool" or passes else "neutral"
    worded = kind in {"label", "text"}
    held = _coverage(store, whose, "label IS NOT NULL" if worded else _FINITE)
    found = store.sql(_COLUMNS, whose, settle=False).to_arrow()
    values, passed, keys = _reals(found, "v"), _reals(found, "p"), _codes(found, "k")
    own = _codes(found, "s")
    del found
    at, known = traces.places(keys)
    shared = _clusters(traces, own, at, known)
    estimate = _estimate(kind, values, shared)
    metric: dict[str, object] = {
        **estimate.to_dict(),
        "mean": estimate.value,
        "scores": held.scored,
        "cases": cases,
        "repeats": [1, 1],
        "coverage": held.share,
        "missing": held.missing,
        "bounds": None if worded else _bounds(kind, values, estimate),
        "direction": direction,
        "kind": kind,
    }
    if worded:
        metric["distribution"] = _distribution(store, whose)
    if kind != "bool" and not np.isnan(passed).all():
        metric["passed"] = proportion_of_cases(_alone(passed)).to_dict()
    if shared is not None and estimate.clusters is not None:
        metric["clusters"] = told_of(shared.by, shared.largest, estimate)
    if estimate.warning is not None:
        metric["warning"] = estimate.warning
    if kind == "bool":
        tried = np.where(np.isnan(passed), 1 - values if direction == "minimize" else values, passed)
        spent = np.where(known, traces.costs[at], np.nan) if len(traces.costs) else np.full(cases, np.nan)
        if not np.isnan(spent).any() and not np.isnan(tried).any() and spent.any():
            of = None if shared is None else shared.of
            each = ratio_of_means(
                cast("Any", spent), denominators=cast("Any", tried), clusters=of, method="studentised"
            )
            metric["cost_per_success"] = each.to_dict()
    return metric


def _coverage(store: Store, whose: list[str], has: str) -> Coverage:
    query = (
        f"SELECT CASE WHEN said = 'scored' AND {has} THEN 'scored' WHEN said = 'scored' THEN 'parse_error' "  # noqa: S608 - our own names
        f"ELSE said END, count(*) FROM {_STANDING} GROUP BY 1"
    )
    counts = {str(status): cast("int", n) for status, n in store.sql(query, whose, settle=False).fetchall()}
    return coverage(chain.from_iterable(repeat(status, n) for status, n in counts.items()))


def _estimate(kind: str, values: Reals, shared: _Shared | None) -> Estimate:
    if kind in {"label", "text"}:
        return Estimate(None, None, None, len(values), f"{kind}s have no mean")
    there = ~np.isnan(values)
    of = None if shared is None else [each for each, has in zip(shared.of, there.tolist(), strict=True) if has]
    return (proportion_of_cases if kind == "bool" else mean_of_cases)(_alone(values), clusters=of)


def _alone(values: Reals) -> Sequence[Sequence[float]]:
    """Each value that is there as the only one of its case."""
    return cast("Sequence[Sequence[float]]", values[~np.isnan(values), None])


def _bounds(kind: str, values: Reals, estimate: Estimate) -> list[float | None] | None:
    if not np.isnan(values).any():
        return None if estimate.value is None else [estimate.value, estimate.value]
    if kind != "bool":
        return None
    return [float(np.where(np.isnan(values), fill, values).mean()) for fill in (0.0, 1.0)]


def _clusters(traces: Traces, own: Codes, at: npt.NDArray[np.intp], known: npt.NDArray[np.bool_]) -> _Shared | None:
    """As `clustering.find_clusters`: the coarsest of what traces share, by user before by session."""
    best: _Shared | None = None
    none = np.zeros(len(own), dtype=np.uint64)
    users = np.where(known, traces.users[at], none) if len(traces.keys) else none
    sessions = np.where(known, traces.sessions[at], none) if len(traces.keys) else none
    for name, codes in (("user", users), ("session", np.where(own != 0, own, sessions))):
        told = codes != 0
        _, place, sizes = np.unique(codes[told], return_inverse=True, return_counts=True)
        count = len(sizes) + len(codes) - len(place)
        if not len(sizes) or not FEWEST <= count < len(codes) or (best is not None and count >= best.count):
            continue
        of = np.arange(len(sizes), len(sizes) + len(codes), dtype=np.int64)
        of[told] = place
        best = _Shared(name, of.tolist(), count, int(sizes.max()))
    return best


def _distribution(store: Store, whose: list[str]) -> dict[str, dict[str, object]]:
    query = (
        f"SELECT label, count(*) AS n, sum(n) OVER () FROM {_STANDING} "  # noqa: S608 - our own names
        f"WHERE said = 'scored' AND label IS NOT NULL GROUP BY label ORDER BY n DESC, label LIMIT {MOST_LABELS}"
    )
    rows = cast("list[tuple[str, int, int]]", store.sql(query, whose, settle=False).fetchall())
    return {
        str(label): {"count": count, **wilson_interval(count, n=int(total)).to_dict()} for label, count, total in rows
    }


def _codes(table: pa.Table, name: str) -> Codes:
    return cast("Codes", table.column(name).to_numpy().astype(np.uint64, copy=False))


def _reals(table: pa.Table, name: str) -> Reals:
    column = table.column(name)
    return cast("Reals", column.cast("float64").to_numpy().astype(np.float64, copy=False))
