"""Slices of a comparison (by tag, model, tool, length): where a difference comes from, and whether a mix made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tracekit_evaluators.paired_scores import PairedScore, Side
from tracekit_evaluators.pairing import RunRows
from tracekit_evaluators.statistics import (
    Estimate,
    PValue,
    benjamini_hochberg,
    independent_difference,
    mcnemar_exact_p,
    paired_difference,
    sign_flip_p,
    tango_difference,
)
from tracekit_evaluators.summary import Row
from tracekit_evaluators.verdict import amount, verdict

FALSE_SHARE = 0.1  # which share of the slices that are marked may be marked by chance
_FEWEST = 5
_MOST = 50
Labels = Callable[[Row], Iterable[str]]


@dataclass(frozen=True)
class Slice:
    """One score's difference within one slice.

    Args:
        score: The score's name.
        kind: The score's kind.
        by: `tag`, `model`, `tool` or `length`.
        value: Which tag, model, tool or length.
        pairs: How many cases were compared as pairs; 0 where the slices are compared as independent samples.
        cases: How many cases either side has in it.
        baseline: The baseline's mean.
        candidate: The candidate's mean.
        estimate: candidate - baseline with its 95 % interval.
        p: The p-value.
        q: The p-value after Benjamini and Hochberg's correction over all slices.
        verdict: `better`, `worse`, `higher`, `lower`, `no clear difference` or `not tested`.
    """

    score: str
    kind: str
    by: str
    value: str
    pairs: int
    cases: tuple[int, int]
    baseline: float
    candidate: float
    estimate: Estimate
    p: PValue
    q: float | None = None
    verdict: str = "not tested"

    def to_dict(self) -> dict[str, object]:
        """The slice as JSON takes it."""
        return {
            "score": self.score,
            "by": self.by,
            "value": self.value,
            "pairs": self.pairs,
            "cases": list(self.cases),
            "baseline": self.baseline,
            "candidate": self.candidate,
            "difference": self.estimate.value,
            "low": self.estimate.low,
            "high": self.estimate.high,
            "method": self.estimate.method,
            "p": self.p.value,
            "q": self.q,
            "verdict": self.verdict,
        }


def slices_of(scores: Mapping[str, PairedScore], *, baseline: RunRows, candidate: RunRows) -> tuple[Slice, ...]:
    """Every score in every slice with at least five cases on each side, corrected for how many there are.

    Args:
        scores: The scores that both runs have.
        baseline: The run to compare with.
        candidate: The run to judge.
    """
    found: list[Slice] = []
    for score in scores.values():
        for by, before, after in _ways(score, baseline, candidate):
            found += _slices(score, by, before, after)
    adjusted = benjamini_hochberg([each.p.value for each in found])
    directions = {name: score.direction for name, score in scores.items()}
    return tuple(
        replace(each, q=q, verdict=verdict(each.estimate.value, q, directions[each.score], level=FALSE_SHARE))
        for each, q in zip(found, adjusted, strict=True)
    )


def reversals(scores: Mapping[str, PairedScore], *, baseline: RunRows, candidate: RunRows) -> tuple[str, ...]:
    """Sentences on scores whose overall difference is the opposite of that in every slice: E. H. Simpson's paradox.

    What is compared are the plain means of all that either run has, which is what one sees first: they also move when
    the mix of cases does.
    """
    told = []
    for score in scores.values():
        overall = _mean(score.right, score.right.values) - _mean(score.left, score.left.values) if _both(score) else 0.0
        for by, before, after in _ways(score, baseline, candidate):
            names = sorted(name for name in before.keys() & after.keys() if _enough(before[name], after[name]))
            steps = [_mean(score.right, after[name]) - _mean(score.left, before[name]) for name in names]
            if len(steps) > 1 and overall and all(step * overall < 0 for step in steps):
                moved, inside = ("falls", "rises") if overall < 0 else ("rises", "falls")
                shown = amount(overall, kind=score.kind, signed=True)
                told.append(
                    f"{score.name} {moved} overall ({shown}) and {inside} within every {by} ({', '.join(names[:5])}): "
                    f"the mix has changed, not the quality (Simpson's paradox)"
                )
    return tuple(told)


def _ways(
    score: PairedScore, baseline: RunRows, candidate: RunRows
) -> Iterable[tuple[str, dict[str, list[str]], dict[str, list[str]]]]:
    bounds = _thirds(score, baseline, candidate)
    for by in ("tag", "model", "tool", "length"):
        if by == "length" and bounds is None:
            continue
        sides = [
            _labelled(side, _labels(by, run, bounds))
            for side, run in ((score.left, baseline), (score.right, candidate))
        ]
        yield by, sides[0], sides[1]


def _labels(by: str, run: RunRows, bounds: tuple[int, int] | None) -> Labels:
    if by == "tag":
        return lambda row: _words(run.cases.get(str(row.get("case_id")), {}).get("tags"))
    if by == "length":
        return lambda row: _length(run, row, bounds or (0, 0))
    named = run.models if by == "model" else run.tools
    return lambda row: named.get(str(row.get("trace_id")), ())


def _labelled(side: Side, labels: Labels) -> dict[str, list[str]]:
    """For each label the cases of one side that have it."""
    found: dict[str, list[str]] = {}
    for key, rows in side.rows.items():
        for label in sorted({label for row in rows for label in labels(row)}):
            found.setdefault(label, []).append(key)
    return found


def _slices(
    score: PairedScore, by: str, before: Mapping[str, list[str]], after: Mapping[str, list[str]]
) -> list[Slice]:
    found = []
    everything = len(score.left.values), len(score.right.values)
    names = [name for name in before.keys() & after.keys() if _enough(before[name], after[name])]
    for name in sorted(names, key=lambda name: (-len(after[name]), name))[:_MOST]:
        cases = len(before[name]), len(after[name])
        if cases == everything:
            continue  # a slice that leaves nothing out says nothing more
        keys = sorted(set(before[name]) & set(after[name]) & set(score.keys))
        paired = len(keys) >= _FEWEST and 2 * len(keys) >= max(cases)
        used = (keys, keys) if paired else (before[name], after[name])
        means = score.left.means(used[0]), score.right.means(used[1])
        estimate, p = _tested(score, means, keys, paired=paired)
        values = [sum(side) / len(side) for side in means]
        pairs = len(keys) if paired else 0
        found.append(Slice(score.name, score.kind, by, name, pairs, cases, values[0], values[1], estimate, p))
    return found


def _tested(
    score: PairedScore, means: tuple[Sequence[float], Sequence[float]], keys: Sequence[str], *, paired: bool
) -> tuple[Estimate, PValue]:
    if not paired:
        return independent_difference(means[0], candidate=means[1])
    differences = [after - before for before, after in zip(*means, strict=True)]
    if score.clusters is not None:
        of = dict(zip(score.keys, score.clusters.of, strict=True))
        groups = [of[key] for key in keys]
        return paired_difference(differences, clusters=groups), sign_flip_p(differences, clusters=groups)
    if score.yes_no and score.once:
        gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        found = tango_difference(gained=gained, lost=lost, n=len(differences))
        return found, mcnemar_exact_p(gained=gained, lost=lost)
    return paired_difference(differences), sign_flip_p(differences)


def _thirds(score: PairedScore, baseline: RunRows, candidate: RunRows) -> tuple[int, int] | None:
    sizes = sorted(
        len(str(run.traces[str(row["trace_id"])]["input"]))
        for side, run in ((score.left, baseline), (score.right, candidate))
        for rows in side.rows.values()
        for row in rows
        if run.traces.get(str(row.get("trace_id")), {}).get("input") is not None
    )
    if len(sizes) < 6 * _FEWEST:
        return None
    bounds = sizes[len(sizes) // 3], sizes[2 * len(sizes) // 3]
    return bounds if sizes[0] < bounds[0] < bounds[1] < sizes[-1] else None


def _length(run: RunRows, row: Row, bounds: tuple[int, int]) -> tuple[str, ...]:
    asked = run.traces.get(str(row.get("trace_id")), {}).get("input")
    if asked is None:
        return ()
    size, (low, high) = len(str(asked)), bounds
    if size <= low:
        return (f"input ≤ {low} characters",)
    return (f"input {low + 1}-{high} characters",) if size <= high else (f"input > {high} characters",)


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, (list, tuple)) else ()


def _enough(before: Sequence[str], after: Sequence[str]) -> bool:
    return min(len(before), len(after)) >= _FEWEST


def _both(score: PairedScore) -> bool:
    return bool(score.left.values and score.right.values)


def _mean(side: Side, keys: Iterable[str]) -> float:
    means = side.means(keys)
    return sum(means) / len(means)
