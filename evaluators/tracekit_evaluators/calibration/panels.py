"""Several judges together: whether they err alike, and what each one's word weighs.

Judges of one family make the same mistakes: three of them are then little more than one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.agreement import Label, in_order
from tracekit_evaluators.statistics.estimate import Reals

Votes = Mapping[str, Sequence[Label | None]]


def error_correlations(votes: Votes, truth: Sequence[Label | None]) -> dict[tuple[str, str], float | None]:
    """For each two judges the correlation of being wrong, over items that both judged and people labelled.

    Near 0 they fail on different items and a majority helps; near 1 a second judge adds nothing. `None` where one of
    them is never or always wrong.

    Example:
        >>> error_correlations({"a": [1, 0, 1, 1], "b": [1, 0, 1, 1]}, [1, 1, 1, 0])
        {('a', 'b'): 1.0}
    """
    _check(votes, len(truth))
    names = list(votes)
    found: dict[tuple[str, str], float | None] = {}
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            both = [
                (one != gold, two != gold)
                for one, two, gold in zip(votes[first], votes[second], truth, strict=True)
                if one is not None and two is not None and gold is not None
            ]
            found[first, second] = _phi(both)
    return found


def independent_judges(votes: Votes, truth: Sequence[Label | None]) -> float | None:
    """How many judges with independent errors the panel is worth: k / (1 + (k-1)·ρ), ρ the mean error correlation.

    Example:
        >>> independent_judges({"a": [1, 0, 1, 1], "b": [1, 0, 1, 1]}, [1, 1, 1, 0])
        1.0
    """
    known = [each for each in error_correlations(votes, truth).values() if each is not None]
    k = len(votes)
    if not known:
        return None
    return k / (1 + (k - 1) * min(1.0, max(0.0, sum(known) / len(known))))


def log_odds_weight(tpr: float, tnr: float, *, labels: int) -> float:
    """What a judge's vote weighs beside others': the log odds of its balanced accuracy, 0 for a coin.

    Args:
        tpr: Its true positive rate.
        tnr: Its true negative rate.
        labels: How many labels these come from; a perfect record of few is drawn in by one item on either side.

    Example:
        >>> round(log_odds_weight(0.9, 0.9, labels=998), 2)
        2.19
    """
    right = ((tpr + tnr) / 2 * labels + 1) / (labels + 2)
    return max(0.0, math.log(right / (1 - right)))


@dataclass(frozen=True)
class Consensus:
    """What a panel says, without any label of people.

    Args:
        labels: All labels.
        posterior: For each item the probability of each label.
        accuracy: For each judge how often it is right, as the panel sees it.
        confusion: For each judge, for each true label, the probability of what it says.
        prevalence: The share of each label.
        rounds: How many rounds of expectation-maximisation that took.
    """

    labels: tuple[Label, ...]
    posterior: Reals
    accuracy: dict[str, float]
    confusion: dict[str, Reals]
    prevalence: Reals
    rounds: int

    @property
    def verdicts(self) -> list[Label]:
        """The likeliest label of each item."""
        return [self.labels[int(place)] for place in self.posterior.argmax(axis=1)]


def dawid_skene(votes: Votes, *, most_rounds: int = 200) -> Consensus:
    """The truth and every judge's reliability together, from votes alone, by expectation-maximisation.

    A. P. Dawid and A. M. Skene, Appl. Stat. 28 (1979), begun from the shares of votes and with one hundredth of a vote
    added to every cell. It takes the judges' errors for independent: judges of one family outvote a better one. Look at
    `error_correlations` before believing it.

    Args:
        votes: By judge, one label for each item, `None` where it said nothing.
        most_rounds: Where it stops if it does not settle.

    Raises:
        UsageError: The lists differ in length, there are fewer than three judges, or an item has no vote at all.

    Example:
        >>> found = dawid_skene({"a": [1, 1, 0, 0], "b": [1, 1, 0, 0], "c": [1, 0, 1, 0]})
        >>> found.verdicts, found.accuracy["a"] > found.accuracy["c"]
        ([1, 1, 0, 0], True)
    """
    items = len(next(iter(votes.values()), ()))
    _check(votes, items)
    if len(votes) < 3:
        raise UsageError(f"a panel has at least three judges, not {len(votes)}: two that differ cannot be told apart")
    labels = in_order({vote for row in votes.values() for vote in row if vote is not None})
    place = {label: index for index, label in enumerate(labels)}
    said = np.zeros((len(votes), items, len(labels)))
    for judge, row in enumerate(votes.values()):
        for item, vote in enumerate(row):
            if vote is not None:
                said[judge, item, place[vote]] = 1.0
    counts = said.sum(axis=0)
    if items == 0 or (counts.sum(axis=1) == 0).any():
        raise UsageError("every item needs a vote of at least one judge")
    posterior = counts / counts.sum(axis=1, keepdims=True)
    rounds = 0
    for rounds in range(1, most_rounds + 1):  # noqa: B007 - told in the result
        prevalence = posterior.mean(axis=0)
        tables = np.einsum("it,jil->jtl", posterior, said) + 0.01
        tables /= tables.sum(axis=2, keepdims=True)
        likely = np.log(prevalence + 1e-12) + np.einsum("jil,jtl->it", said, np.log(tables))
        likely = np.exp(likely - likely.max(axis=1, keepdims=True))
        after = likely / likely.sum(axis=1, keepdims=True)
        moved = float(np.abs(after - posterior).max())
        posterior = after
        if moved < 1e-8:
            break
    right = {name: float((prevalence * np.diagonal(tables[judge])).sum()) for judge, name in enumerate(votes)}
    return Consensus(tuple(labels), posterior, right, dict(zip(votes, tables, strict=True)), prevalence, rounds)


def _phi(both: Sequence[tuple[bool, bool]]) -> float | None:
    if not both:
        return None
    a, b = np.array(both, dtype=np.float64).T
    if a.min() == a.max() or b.min() == b.max():
        return None
    a, b = a - a.mean(), b - b.mean()
    return round(float((a @ b) / math.sqrt(float(a @ a) * float(b @ b))), 12)


def _check(votes: Votes, items: int) -> None:
    for name, row in votes.items():
        if len(row) != items:
            raise UsageError(f"the judge {name} has {len(row)} votes for {items} items")
