"""One run's scores as metrics: each score name becomes one dict that says how much, how sure, and of how many."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tracekit_evaluators._weights import weighted_mean, weights_of
from tracekit_evaluators.clustering import Clusters, Facts, find_clusters, told_of
from tracekit_evaluators.statistics import (
    Estimate,
    coverage,
    flaky_share,
    mean_of_cases,
    pass_at_k,
    pass_hat_k,
    proportion_of_cases,
    ratio_of_means,
    repeats_of_cases,
    trials_of,
    wilson_interval,
    worst_case_bounds,
)

Row = Mapping[str, object]
MOST_LABELS = 50
_MOST_NAMED = 50


@dataclass(frozen=True)
class ScoreGroup:
    """All rows of one score name, and what kind of score that makes it.

    Args:
        name: The score's name.
        rows: Its rows, the superseded ones left out.
        kind: `bool`, `number`, `label` or `text`; `none` when nothing was scored.
        direction: `maximize`, `minimize` or `neutral`.
    """

    name: str
    rows: tuple[Row, ...]
    kind: str
    direction: str

    @cached_property
    def cases(self) -> dict[str, list[Row]]:
        """The eligible rows by case: by case id, else by what was judged, each on its own."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.get("status") != "not_applicable":
                found.setdefault(case_key(row), []).append(row)
        return found

    def values(self) -> list[list[float | None]]:
        """For each case the values of its eligible rows, `None` where one is missing."""
        return [[number(row) for row in rows] for rows in self.cases.values()]


def summarise(rows: Iterable[Row], facts: Facts | None = None) -> dict[str, dict[str, object]]:
    """The metrics of a run from its rows in the lake's table `scores`.

    Repeats of a case are averaged first, so that each case counts the same, or as much as the `weight` that its dataset
    gives it. A bool (or 0-1) score whose cases
    were repeated also gives `pass^1` … `pass^K`, K being the fewest trials of any case; where a run has
    several such scores these are called `NAME.pass^k`. What was not scored is in no mean: it is counted in
    `missing` and `coverage`, and `bounds` says how far it could move a share.

    Args:
        rows: Dicts with the columns of the table `scores`; a column may be absent. A row that another row
            supersedes is left out.
        facts: What is known of their traces and cases: whose sessions, users and sources they share, what they cost.

    Returns:
        Metrics by name, in order of name: `value`, `low`, `high` (95 %), `n` (cases), `method`, `mean`,
        `scores`, `cases`, `repeats`, `coverage`, `missing`, `bounds`, `direction`, `kind`, and where the score has them
        `passed`, `distribution`, `clusters` (what cases share, design effect, effective n), `variance` (between and
        within cases), `flaky` (share and cases), `pass_at_k`, `cost_per_success` (USD) and `warning`.

    Example:
        >>> rows = [{"name": "ok", "value_type": "bool", "value": v, "status": "scored"} for v in (1.0, 0.0)]
        >>> metric = summarise(rows)["ok"]
        >>> metric["mean"], metric["n"], metric["method"]
        (0.5, 2, 'Wilson')
    """
    summing = Summing(facts)
    for group in group_scores(rows):
        summing.take(group)
    return summing.metrics()


class Summing:
    """Metrics of a run whose scores come one name at a time.

    Example:
        >>> summing = Summing()
        >>> summing.add([{"name": "ok", "value_type": "bool", "value": 1.0, "status": "scored"}])
        >>> summing.metrics()["ok"]["value"]
        1.0
    """

    def __init__(self, facts: Facts | None = None) -> None:
        self._facts = Facts() if facts is None else facts
        self._metrics: dict[str, dict[str, object]] = {}
        self._reliability: list[tuple[str, dict[str, dict[str, object]]]] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Take all rows of one name, or of several."""
        for group in group_scores(rows):
            self.take(group)

    def take(self, group: ScoreGroup) -> None:
        """Take all rows of one name."""
        self._metrics[group.name] = _metric(group, self._facts)
        if group.kind == "bool":
            curve, at_k = _reliability(group, self._facts)
            self._reliability.append((group.name, curve))
            if at_k:
                self._metrics[group.name]["pass_at_k"] = at_k

    def put(self, name: str, metric: dict[str, object]) -> None:
        """Take the metric of a name that was summed up elsewhere, of cases that were tried once each."""
        self._metrics[name] = metric
        if metric["kind"] == "bool":
            self._reliability.append((name, {}))

    def metrics(self) -> dict[str, dict[str, object]]:
        """The metrics by name, as `summarise` tells them."""
        found = dict(self._metrics)
        for name, curve in self._reliability:
            prefix = "" if len(self._reliability) == 1 else f"{name}."
            found.update({f"{prefix}{key}": metric for key, metric in curve.items()})
        return found


def group_scores(rows: Iterable[Row]) -> list[ScoreGroup]:
    """The rows of a run by score name, in order of name, without those that a later row supersedes."""
    listed = list(rows)
    superseded = {row.get("supersedes") for row in listed if row.get("supersedes")}
    by_name: dict[str, list[Row]] = {}
    for row in listed:
        if row.get("score_id") is None or row.get("score_id") not in superseded:
            by_name.setdefault(str(row.get("name")), []).append(row)
    return [_group(name, by_name[name]) for name in sorted(by_name)]


def case_key(row: Row) -> str:
    """What a row's value is a repeat of: its case, or the one thing that it judges where no case is named."""
    if row.get("case_id") is not None:
        return f"case:{row['case_id']}"
    parts = [str(row.get(column) or "") for column in ("trace_id", "span_id", "session_id")]
    return f"target:{'/'.join(parts)}" if any(parts) else f"row:{id(row)}"


def number(row: Row) -> float | None:
    """A row's value as a finite number; `None` unless it was scored."""
    value = row.get("value")
    if status(row) != "scored" or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def status(row: Row) -> str:
    """A row's status; a row that has none was scored if it has a value."""
    given = row.get("status")
    if given is not None:
        return str(given)
    return "missing_input" if row.get("value") is None and row.get("label") is None else "scored"


def trial(row: Row, *, direction: str) -> float | None:
    """Whether a row passed, as 1 and 0: its `passed`, else its value read in its direction; `None` unless scored."""
    value = number(row)
    if status(row) != "scored":
        return None
    if row.get("passed") is not None:
        return float(bool(row["passed"]))
    return None if value is None else (1.0 - value if direction == "minimize" else value)


def _group(name: str, rows: Sequence[Row]) -> ScoreGroup:
    scored = [row for row in rows if status(row) == "scored"]
    kind = _kind(scored)
    stated = [str(row["direction"]) for row in rows if row.get("direction")]
    usual = "maximize" if kind == "bool" or any(row.get("passed") is not None for row in scored) else "neutral"
    return ScoreGroup(name, tuple(rows), kind, stated[0] if stated else usual)


def _kind(scored: Sequence[Row]) -> str:
    types = {str(row.get("value_type") or ("label" if row.get("value") is None else "number")) for row in scored}
    zero_one = all(number(row) in (0.0, 1.0) for row in scored)
    judged = all(row.get("passed") is not None or row.get("source") == "environment" for row in scored)
    return kind_of(types, zero_one=zero_one, judged=judged)


def kind_of(types: Collection[str], *, zero_one: bool, judged: bool) -> str:
    """What kind of score this is: `bool`, `number`, `label` or `text`; `none` when nothing was scored.

    Args:
        types: The value types of what was scored.
        zero_one: Whether every value is 0 or 1.
        judged: Whether every row says if it passed, or comes from an environment, whose rewards are 0 and 1.
    """
    held = set(types)
    if not held:
        return "none"
    if held <= {"bool"}:
        return "bool"
    if held <= {"bool", "number"}:
        return "bool" if zero_one and (judged or "bool" in held) else "number"
    return "text" if held == {"text"} else "label"


def _metric(group: ScoreGroup, facts: Facts) -> dict[str, object]:
    cases = group.values()
    kept = [[value for value in case if value is not None] for case in cases]
    clusters = find_clusters(group.cases, facts)
    weights = weights_of(group.cases, facts)
    estimate = _estimate(group, kept, clusters, weights)
    held = coverage("scored" if _has_value(group, row) else _missing_status(row) for row in group.rows)
    tried = [len(case) for case in group.cases.values()]
    metric: dict[str, object] = {
        **estimate.to_dict(),
        "mean": estimate.value,
        "scores": held.scored,
        "cases": len(tried),
        "repeats": [min(tried), max(tried)] if tried else None,
        "coverage": held.share,
        "missing": held.missing,
        "bounds": _bounds(group, cases, estimate, weights),
        "direction": group.direction,
        "kind": group.kind,
    }
    if group.kind in {"label", "text"}:
        metric["distribution"] = _distribution(group)
    passes = _passes(group)
    if passes is not None and group.kind != "bool":
        metric["passed"] = proportion_of_cases(passes).to_dict()
    if clusters is not None and estimate.clusters is not None:
        metric["clusters"] = told_of(clusters.by, clusters.largest, estimate)
    if weights is not None:
        metric["weighted"] = True
    if estimate.warning is not None:
        metric["warning"] = estimate.warning
    spent = _cost_per_success(group, facts, clusters) if group.kind == "bool" else None
    if spent is not None:
        metric["cost_per_success"] = spent.to_dict()
    metric.update(_of_repeats(group, kept) if max(tried, default=0) > 1 else {})
    return metric


def estimate_of(group: ScoreGroup, facts: Facts, *, level: float = 0.95) -> Estimate:
    """A score's mean over cases with its interval at a level."""
    kept = [[value for value in case if value is not None] for case in group.values()]
    return _estimate(group, kept, find_clusters(group.cases, facts), weights_of(group.cases, facts), level=level)


def _estimate(
    group: ScoreGroup,
    kept: Sequence[Sequence[float]],
    clusters: Clusters | None,
    weights: Sequence[float] | None,
    *,
    level: float = 0.95,
) -> Estimate:
    of = None if clusters is None else clusters.of
    if weights is not None and group.kind not in {"label", "text"} and any(map(len, kept)):
        return weighted_mean(kept, weights=weights, clusters=of, share=group.kind == "bool", level=level)
    if group.kind == "bool":
        return proportion_of_cases(kept, clusters=of, level=level)
    if group.kind in {"label", "text"}:
        return Estimate(None, None, None, len(group.cases), f"{group.kind}s have no mean")
    return mean_of_cases(kept, clusters=of, level=level)


def _of_repeats(group: ScoreGroup, kept: Sequence[Sequence[float]]) -> dict[str, object]:
    found: dict[str, object] = {}
    parts = repeats_of_cases(kept) if group.kind in {"bool", "number"} else None
    if parts is not None:
        shares = {"between": parts.between, "within": parts.within, "within_share": parts.within_share}
        found["variance"] = {**shares, "advice": parts.advice}
    if group.kind == "bool":
        unsteady = [key for key, case in zip(group.cases, kept, strict=True) if 0 < sum(case) < len(case)]
        named = [key.partition(":")[2] for key in unsteady[:_MOST_NAMED]]
        found["flaky"] = {**flaky_share(trials_of(kept)).to_dict(), "count": len(unsteady), "cases": named}
    return found


def _cost_per_success(group: ScoreGroup, facts: Facts, clusters: Clusters | None) -> Estimate | None:
    """Dollars spent for each try that passed; `None` where not all tries have a cost."""
    spent: list[float] = []
    passed: list[float] = []
    for rows in group.cases.values():
        costs = [facts.traces.get(str(row.get("trace_id")), {}).get("cost_usd") for row in rows]
        tries = [trial(row, direction=group.direction) for row in rows]
        known = [cost for cost in costs if isinstance(cost, (int, float))]
        held = [each for each in tries if each is not None]
        if len(known) < len(rows) or len(held) < len(rows):
            return None
        spent.append(math.fsum(known))
        passed.append(math.fsum(held))
    if not spent or not math.fsum(spent):
        return None
    of = None if clusters is None else clusters.of
    return ratio_of_means(spent, denominators=passed, clusters=of, method="studentised")


def _bounds(
    group: ScoreGroup, cases: Sequence[Sequence[float | None]], estimate: Estimate, weights: Sequence[float] | None
) -> list[float | None] | None:
    if group.kind in {"label", "text"}:
        return None
    if all(value is not None for case in cases for value in case):
        return None if estimate.value is None else [estimate.value, estimate.value]
    # What a missing number could be, nobody can say: only a share has ends.
    if group.kind != "bool":
        return None
    if weights is None:
        return list(worst_case_bounds(cases))
    ends = ([[fill if value is None else value for value in case] for case in cases] for fill in (0.0, 1.0))
    return [weighted_mean(end, weights=weights).value for end in ends]


def _has_value(group: ScoreGroup, row: Row) -> bool:
    if group.kind in {"label", "text"}:
        return status(row) == "scored" and row.get("label") is not None
    return number(row) is not None


def _missing_status(row: Row) -> str:
    found = status(row)
    return "parse_error" if found == "scored" else found  # says it was scored, and holds nothing that can be read


def _distribution(group: ScoreGroup) -> dict[str, dict[str, object]]:
    counts: dict[str, int] = {}
    for row in group.rows:
        if _has_value(group, row):
            counts[str(row["label"])] = counts.get(str(row["label"]), 0) + 1
    total = sum(counts.values())
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_LABELS]
    return {label: {"count": count, **wilson_interval(count, n=total).to_dict()} for label, count in common}


def _passes(group: ScoreGroup) -> list[list[float]] | None:
    judged = [
        [float(bool(row["passed"])) for row in rows if status(row) == "scored" and row.get("passed") is not None]
        for rows in group.cases.values()
    ]
    return judged if any(judged) else None


def _several_of_one_try(rows: Sequence[Row]) -> bool:
    """Whether rows are several words on one try (its spans, several annotators), which no pass^k can be made from."""
    tries = [(row.get("trace_id"), row.get("repeat")) for row in rows]
    return len(set(tries)) < len(tries) and any(trace is not None for trace, _ in tries)


def _reliability(group: ScoreGroup, facts: Facts) -> tuple[dict[str, dict[str, object]], list[dict[str, object]]]:
    named = {key: rows for key, rows in group.cases.items() if key.startswith("case:")}
    if any(_several_of_one_try(rows) for rows in named.values()):
        return {}, []
    tried = {
        key: [value for row in rows if (value := trial(row, direction=group.direction)) is not None]
        for key, rows in named.items()
    }
    tried = {key: values for key, values in tried.items() if values}
    trials = trials_of(list(tried.values()))
    most = max((n for _, n in trials), default=0)
    if most < 2:
        return {}, []
    shared = find_clusters({key: named[key] for key in tried}, facts)
    of = None if shared is None else shared.of
    fewest = min(n for _, n in trials)
    found: dict[str, dict[str, object]] = {}
    at_k: list[dict[str, object]] = []
    for k in range(1, fewest + 1):
        estimate = pass_hat_k(trials, k=k, clusters=of)
        at_k.append({"k": k, **pass_at_k(trials, k=k, clusters=of).to_dict()})
        found[f"pass^{k}"] = {
            **estimate.to_dict(),
            "mean": estimate.value,
            "k": k,
            "cases": len(trials),
            "trials": [fewest, most],
            "cases_with_fewer_trials": sum(1 for _, n in trials if n < most),
            "cases_without_scores": len(named) - len(trials),
            "score": group.name,
            "direction": "maximize",
            "kind": "reliability",
        }
    return found, at_k
