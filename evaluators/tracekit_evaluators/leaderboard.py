"""Many runs side by side: their scores over the same cases, what they cost, and which of them nothing beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.compare import compare_rows
from tracekit_evaluators.comparison import Comparison, ScoreDifference
from tracekit_evaluators.pairing import RunRows, read_run
from tracekit_evaluators.statistics import holm
from tracekit_evaluators.verdict import verdict

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store


@dataclass(frozen=True)
class Standing:
    """One run of a leaderboard.

    Args:
        run: The run.
        metrics: Its metrics by score name.
        comparison: It compared with the first run; `None` for that one. p-values and verdicts are corrected by Holm
            over all scores of all runs.
        cost: Mean cost of a trace in USD, where all that have a score tell it.
        latency: Mean duration of a trace in seconds.
        on_frontier: Whether no other run is at least as good and as cheap, and better in one of the two.
    """

    run: RunRecord
    metrics: Mapping[str, Mapping[str, object]]
    comparison: Comparison | None
    cost: float | None
    latency: float | None
    on_frontier: bool = False

    def difference(self, name: str) -> ScoreDifference | None:
        """How a score differs from the first run's."""
        scores = () if self.comparison is None else self.comparison.scores
        return next((each for each in scores if each.name == name), None)


@dataclass(frozen=True)
class Leaderboard:
    """Runs, the best first.

    Args:
        standings: One for each run, by the score that ranks.
        score: The score that ranks and that the frontier weighs against cost.
        scores: All score names that every run has.
        notes: What a reader should know.
    """

    standings: tuple[Standing, ...]
    score: str
    scores: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """The leaderboard as JSON takes it."""
        return {
            "score": self.score,
            "scores": list(self.scores),
            "notes": list(self.notes),
            "runs": [_row(place, each, self.scores) for place, each in enumerate(self.standings, start=1)],
        }


def leaderboard(store: Store, runs: Sequence[RunRecord], *, score: str | None = None) -> Leaderboard:
    """Rank runs of a store; the first is what the others are compared with."""
    return leaderboard_rows([read_run(store, run) for run in runs], score=score)


def leaderboard_rows(runs: Sequence[RunRows], *, score: str | None = None) -> Leaderboard:
    """Rank runs whose rows have been read.

    Args:
        runs: Two or more; the first is the baseline.
        score: The score that ranks; the first that all runs have and that has a better and a worse where none is named.

    Raises:
        UsageError: There is no such score.
    """
    shared = [name for name in runs[0].groups if all(name in run.groups for run in runs)]
    directions = {name: runs[0].groups[name].direction for name in shared}
    ranking = [name for name in shared if directions[name] != "neutral" and _value(runs[0], name) is not None]
    if score is not None and score not in shared:
        raise UsageError(f"not all runs have the score {score}; they share {', '.join(shared) or 'none'}")
    if score is None and not ranking:
        raise UsageError("the runs share no score that could rank them")
    name = score or ranking[0]
    compared = [compare_rows(runs[0], run) for run in runs[1:]]
    adjusted = iter(holm([each.p.value for one in compared for each in one.scores]))
    corrected = [
        replace(one, scores=tuple(_corrected(each, next(adjusted)) for each in one.scores)) for one in compared
    ]
    found = [
        Standing(run.run, run.metrics, comparison, _mean(run, "cost_usd"), _mean(run, "duration_ms", 1e-3))
        for run, comparison in zip(runs, [None, *corrected], strict=True)
    ]
    sign = -1.0 if directions[name] == "minimize" else 1.0
    found = [replace(each, on_frontier=_undominated(each, found, name, sign)) for each in found]
    known = [each for each in found if _metric(each, name) is not None]
    ranked = sorted(known, key=lambda each: -sign * (_metric(each, name) or 0.0))
    ranked += [each for each in found if _metric(each, name) is None]
    notes = [
        f"{run.run.name} lacks {len(one.only_baseline)} cases of {runs[0].run.name} and adds {len(one.only_candidate)}"
        for run, one in zip(runs[1:], compared, strict=True)
        if one.only_baseline or one.only_candidate
    ]
    notes += [f"{one.candidate.name}: {note}" for one in compared for note in one.notes]
    return Leaderboard(tuple(ranked), name, tuple(shared), tuple(notes))


def _corrected(each: ScoreDifference, p: float | None) -> ScoreDifference:
    return replace(each, p_adjusted=p, verdict=verdict(each.estimate.value, p, each.direction))


def _undominated(each: Standing, others: Sequence[Standing], name: str, sign: float) -> bool:
    mine, cost = _metric(each, name), each.cost
    if mine is None or cost is None:
        return False
    for other in others:
        theirs, price = _metric(other, name), other.cost
        if other is each or theirs is None or price is None:
            continue
        if sign * theirs >= sign * mine and price <= cost and (theirs != mine or price < cost):
            return False
    return True


def _mean(run: RunRows, column: str, scale: float = 1.0) -> float | None:
    values = [trace.get(column) for trace in run.traces.values()]
    known = [float(value) * scale for value in values if isinstance(value, (int, float))]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _value(run: RunRows, name: str) -> float | None:
    value = run.metrics[name].get("value")
    return value if isinstance(value, float) else None


def _metric(each: Standing, name: str) -> float | None:
    value = each.metrics.get(name, {}).get("value")
    return value if isinstance(value, float) else None


def _row(place: int, each: Standing, names: Sequence[str]) -> dict[str, object]:
    differences = {name: each.difference(name) for name in names}
    return {
        "place": place,
        "id": each.run.id,
        "name": each.run.name,
        "agent_version": None if each.run.agent_version is None else each.run.agent_version.ref,
        "metrics": {name: dict(each.metrics[name]) for name in names},
        "against_first": {name: None if found is None else found.to_dict() for name, found in differences.items()},
        "cost_usd": each.cost,
        "latency_s": each.latency,
        "on_frontier": each.on_frontier,
    }
