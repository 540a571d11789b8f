"""A yes-or-no judge against people: what it catches, what it lets pass, and what is left beside a frequent answer."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.resampling import interval_of_sums
from tracekit_evaluators.statistics import Estimate, proportion_of_cases, wilson_interval
from tracekit_evaluators.statistics.estimate import Reals


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a judge said yes and no where people did.

    Args:
        tp: Both said yes.
        fp: The judge said yes, people no.
        fn: The judge said no, people yes.
        tn: Both said no.

    Example:
        >>> Confusion(tp=8, fp=1, fn=2, tn=9).youden
        0.7
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        """How many items."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float | None:
        """The share to which people said yes."""
        return _ratio(self.tp + self.fn, self.n)

    @property
    def tpr(self) -> float | None:
        """Of people's yes, the share that the judge said yes to (sensitivity)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def tnr(self) -> float | None:
        """Of people's no, the share that the judge said no to (specificity)."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def youden(self) -> float | None:
        """TPR + TNR - 1: 0 is a coin, 1 is perfect."""
        return None if self.tpr is None or self.tnr is None else round(self.tpr + self.tnr - 1, 15)

    def rates(self, *, level: float = 0.95) -> dict[str, Estimate]:
        """TPR, TNR, precision and NPV, each with Wilson's interval."""
        return {
            "tpr": wilson_interval(self.tp, n=self.tp + self.fn, level=level),
            "tnr": wilson_interval(self.tn, n=self.tn + self.fp, level=level),
            "precision": wilson_interval(self.tp, n=self.tp + self.fp, level=level),
            "npv": wilson_interval(self.tn, n=self.tn + self.fn, level=level),
        }

    def to_dict(self) -> dict[str, int]:
        """The four counts."""
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn}


def confusion(judged: Sequence[bool], human: Sequence[bool]) -> Confusion:
    """Count a judge's verdicts against people's.

    Example:
        >>> confusion([True, True, False], [True, False, False])
        Confusion(tp=1, fp=1, fn=0, tn=1)
    """
    if len(judged) != len(human):
        raise UsageError(f"{len(judged)} verdicts need {len(judged)} labels, got {len(human)}")
    cells = [(bool(one), bool(two)) for one, two in zip(judged, human, strict=True)]
    return Confusion(*(cells.count(each) for each in ((True, True), (True, False), (False, True), (False, False))))


def rates(
    judged: Sequence[bool],
    human: Sequence[bool],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """TPR, TNR, precision and NPV: Wilson's intervals, on the effective number of items where they share something.

    Args:
        judged: The judge's verdicts.
        human: People's.
        clusters: For each item what it shares with others: a case, a session, an annotator.
        level: Confidence level.

    Example:
        >>> found = rates([True] * 8 + [False] * 2, [True] * 10, clusters=[1, 1, 2, 2, 3, 3, 4, 4, 5, 5])["tpr"]
        >>> found.value, found.clusters
        (0.8, 5)
    """
    if clusters is None:
        return confusion(judged, human).rates(level=level)
    found = {}
    for name, among, wanted in (
        ("tpr", human, True),
        ("tnr", human, False),
        ("precision", judged, True),
        ("npv", judged, False),
    ):
        mine = [place for place, value in enumerate(among) if bool(value) is wanted]
        right = [[float(bool(judged[place]) is bool(human[place]))] for place in mine]
        found[name] = proportion_of_cases(right, clusters=[clusters[place] for place in mine], level=level)
    return found


def combined_rates(
    judged: Sequence[bool],
    human: Sequence[bool],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Balanced accuracy, Matthews' correlation, F1 and Youden's J, each with a bootstrap interval over items.

    A judge that agrees in 91 % where 90 % are good, and catches 3 of 10 failures, has a balanced accuracy of 0.64.

    Args:
        judged: The judge's verdicts.
        human: People's.
        clusters: For each item what it shares with others.
        level: Confidence level.
        seed: Seed of the bootstrap.
    """
    cells = np.array(
        [
            [one and two, one and not two, two and not one, not one and not two]
            for one, two in zip(judged, human, strict=True)
        ],
        dtype=np.float64,
    ).reshape(len(judged), 4)
    return {
        name: interval_of_sums(cells, statistic, name=words, clusters=clusters, level=level, seed=seed)
        for name, words, statistic in (
            ("balanced_accuracy", "balanced accuracy", _balanced),
            ("mcc", "MCC", _mcc),
            ("f1", "F1", _f1),
            ("youden", "Youden's J", lambda sums: 2 * _balanced(sums) - 1),
        )
    }


@np.errstate(divide="ignore", invalid="ignore")
def _balanced(sums: Reals) -> Reals:
    tp, fp, fn, tn = sums.T
    rates: Reals = (tp / (tp + fn) + tn / (tn + fp)) / 2
    return rates


@np.errstate(divide="ignore", invalid="ignore")
def _mcc(sums: Reals) -> Reals:
    tp, fp, fn, tn = sums.T
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    found: Reals = (tp * tn - fp * fn) / below
    return found


@np.errstate(divide="ignore", invalid="ignore")
def _f1(sums: Reals) -> Reals:
    tp, fp, fn, _ = sums.T
    found: Reals = 2 * tp / (2 * tp + fp + fn)
    return found


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole and math.isfinite(whole) else None
