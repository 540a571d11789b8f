"""Two runs' scores side by side, case by case: what comparing, slicing and gating all start from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tracekit_evaluators.clustering import Clusters, find_clusters
from tracekit_evaluators.pairing import Pairing, RunRows, natural
from tracekit_evaluators.summary import Row, ScoreGroup, number, trial

SAME = 1e-12  # differences of means below this are rounding
_Entry = tuple[str | None, float | None, Row]


@dataclass(frozen=True)
class Side:
    """One run's values by case key, with the rows that they came from."""

    values: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def mean(self, key: str) -> float:
        """The mean over a case's repeats."""
        values = self.values[key]
        return values[0] if len(values) == 1 else math.fsum(values) / len(values)

    def means(self, keys: Iterable[str]) -> list[float]:
        """The same of several cases."""
        return [self.mean(key) for key in keys]


@dataclass(frozen=True)
class PairedScore:
    """One score (or measure) of two runs.

    Args:
        name: Its name.
        kind: `bool`, `number`, `label` or `text`.
        direction: `maximize`, `minimize` or `neutral`.
        left: The baseline's values.
        right: The candidate's values.
        keys: The cases that both have a value for, in natural order; none where the runs could not be paired.
        clusters: What these cases share.
        paired: Whether the runs could be paired.
    """

    name: str
    kind: str
    direction: str
    left: Side
    right: Side
    keys: tuple[str, ...]
    clusters: Clusters | None
    paired: bool

    @cached_property
    def differences(self) -> list[float]:
        """Candidate minus baseline for each of `keys`."""
        found = [
            after - before
            for before, after in zip(self.left.means(self.keys), self.right.means(self.keys), strict=True)
        ]
        return [0.0 if abs(each) < SAME else each for each in found]

    @property
    def yes_no(self) -> bool:
        """Whether its values are passes and failures."""
        return self.kind in {"bool", "label", "text"}

    @cached_property
    def once(self) -> bool:
        """Whether no case was tried several times."""
        used = [self.keys, self.keys] if self.paired else [self.left.values, self.right.values]
        return all(
            len(side.values[key]) == 1 for side, keys in zip((self.left, self.right), used, strict=True) for key in keys
        )

    @property
    def sign(self) -> float:
        """1, or -1 where less is better."""
        return -1.0 if self.direction == "minimize" else 1.0


class PairedScores:
    """All scores and measures that two runs have in common, by name.

    Args:
        baseline: The run to compare with.
        candidate: The run to judge.
        pairing: Which case is which.
    """

    def __init__(self, baseline: RunRows, candidate: RunRows, pairing: Pairing) -> None:
        self._runs = baseline, candidate
        self._pairing = pairing
        self._clusters: dict[tuple[str, ...], Clusters | None] = {}
        before, after = baseline.groups, candidate.groups
        self.scores = {name: self._score(before[name], after[name]) for name in before if name in after}
        self.measures = self._measures()

    def _score(self, before: ScoreGroup, after: ScoreGroup) -> PairedScore:
        kind = before.kind if after.kind == "none" else after.kind
        if {before.kind, after.kind} == {"bool", "number"}:
            kind = "number"
        left, right = values_by_case(before, self._pairing.baseline), values_by_case(after, self._pairing.candidate)
        direction = "maximize" if kind in {"label", "text"} else after.direction
        return self._paired(before.name, kind, direction, left, right)

    def _measures(self) -> dict[str, PairedScore]:
        sides: list[dict[str, list[_Entry]]] = []
        for side, keys in zip(self._runs, (self._pairing.baseline, self._pairing.candidate), strict=True):
            entries: dict[str, list[_Entry]] = {}
            for name, value, row in side.measures():
                entries.setdefault(name, []).append((keys.get(str(row["trace_id"])), value, row))
            sides.append(entries)
        return {
            name: self._paired(name, "number", "minimize", collected(sides[0][name]), collected(sides[1][name]))
            for name in sides[0]
            if name in sides[1]
        }

    def _paired(self, name: str, kind: str, direction: str, left: Side, right: Side) -> PairedScore:
        paired = self._pairing.by != "none"
        keys = tuple(natural(set(left.values) & set(right.values))) if paired else ()
        return PairedScore(name, kind, direction, left, right, keys, self._shared(keys, left, right), paired)

    def _shared(self, keys: tuple[str, ...], left: Side, right: Side) -> Clusters | None:
        """The coarser of the groupings that the two sides show: sessions are new in each run, sources are not."""
        if keys not in self._clusters:
            shown = zip(self._runs, (left, right), strict=True)
            found = [find_clusters({key: side.rows[key] for key in keys}, run.facts) for run, side in shown]
            there = [each for each in found if each is not None]
            self._clusters[keys] = min(there, key=lambda each: each.count) if there else None
        return self._clusters[keys]


def collected(entries: Iterable[tuple[str | None, float | None, Row]]) -> Side:
    """Values by case key; what has no key or no value is left out."""
    found = Side()
    for key, value, row in entries:
        if key is not None and value is not None:
            found.values.setdefault(key, []).append(value)
            found.rows.setdefault(key, []).append(row)
    return found


def values_by_case(group: ScoreGroup, keys: Mapping[str, str]) -> Side:
    """A score's values by case key: numbers, or for words whether they passed."""
    as_pass = group.kind in {"label", "text"}
    return collected(
        (
            keys.get(str(row.get("trace_id"))) or _own_key(row),
            trial(row, direction=group.direction) if as_pass else number(row),
            row,
        )
        for row in group.rows
    )


def _own_key(row: Row) -> str | None:
    # A score of something that is no trace, or of a trace that the store does not hold, still pairs by its case.
    return None if row.get("case_id") is None else f"case:{row['case_id']}"


def unsteady(score: PairedScore) -> list[str]:
    """Keys of the cases that sometimes pass and sometimes fail in one run, in natural order."""
    if not score.yes_no:
        return []
    found: set[str] = set()
    for side in (score.left, score.right):
        found |= {key for key, values in side.values.items() if 0 < math.fsum(values) < len(values)}
    return natural(found)


def means_of(score: PairedScore) -> tuple[Sequence[float], Sequence[float]]:
    """Either side's case means: of the pairs, or of everything where the runs could not be paired."""
    keys = (score.keys, score.keys) if score.paired else (list(score.left.values), list(score.right.values))
    return score.left.means(keys[0]), score.right.means(keys[1])
