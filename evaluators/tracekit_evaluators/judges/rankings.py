"""How near a ranking or a distribution in the output is to the expected one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges.structure import unfenced
from tracekit_evaluators.score import MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text


def spearman(places: Sequence[int]) -> float:
    """Spearman's rho of a ranking against the right one: 1 - 6 Σd² / (n (n² - 1)) (Spearman 1904).

    Args:
        places: For each item as it was ranked, its right place, from 0; each place once, at least two.

    Example:
        >>> spearman([0, 1, 2]), spearman([2, 1, 0])
        (1.0, -1.0)
    """
    n = len(places)
    return 1 - 6 * sum((place - right) ** 2 for place, right in enumerate(places)) / (n * (n * n - 1))


def kendall(places: Sequence[int]) -> float:
    """Kendall's tau of a ranking: pairs in the right order less those in the wrong one, over all (Kendall 1938).

    Args:
        places: As for `spearman`.

    Example:
        >>> kendall([0, 2, 1])
        0.3333333333333333
    """
    n = len(places)
    right = sum(1 if a < b else -1 for a, b in combinations(places, 2))
    return right / (n * (n - 1) / 2)


def jensen_shannon(p: Sequence[float], q: Sequence[float]) -> float:
    """Jensen-Shannon distance in base 2: the root of the mean divergence from the mixture (Lin 1991; Endres 2003).

    Args:
        p: Probabilities, which sum to 1.
        q: Those of the other distribution, in the same order.

    Example:
        >>> jensen_shannon([1, 0], [0, 1]), jensen_shannon([0.5, 0.5], [0.5, 0.5])
        (1.0, 0.0)
    """
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = 0.5 * math.fsum(
        a * math.log2(a / m) for side in (p, q) for a, m in zip(side, middle, strict=True) if a > 0
    )
    return math.sqrt(max(0.0, divergence))


def total_variation(p: Sequence[float], q: Sequence[float]) -> float:
    """Half the sum of the differences: the share that would have to move.

    Example:
        >>> total_variation([0.75, 0.25], [0.25, 0.75])
        0.5
    """
    return 0.5 * math.fsum(abs(a - b) for a, b in zip(p, q, strict=True))


def earth_mover(p: Sequence[float], q: Sequence[float]) -> float:
    """Wasserstein distance of order 1 between values on 0, 1, 2, …: what has to move times how far.

    Example:
        >>> earth_mover([1, 0, 0], [0, 0, 1])
        2.0
    """
    moved = total = 0.0
    for a, b in zip(p, q, strict=True):
        moved += a - b
        total += abs(moved)
    return total


_CORRELATIONS: Mapping[str, Callable[[Sequence[int]], float]] = {"spearman": spearman, "kendall": kendall}
_DISTANCES: Mapping[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "jensen_shannon": jensen_shannon,
    "total_variation": total_variation,
    "earth_mover": earth_mover,
}


@judge(needs=("output", "expected.ranking"), values="[-1,1]")
def rank_correlation(*, method: str = "spearman", expected: list[str] | None = None, of: str = "output") -> Call:
    """How alike two rankings are: 1 for the same order, -1 for the reverse, about 0 for none.

    Items that only one of the two has are left out; `rank_correlation.coverage` says which share of the expected ones
    was ranked. Not applicable where fewer than two are in both.

    Args:
        method: `spearman` (rho) or `kendall` (tau).
        expected: The right order; the case's `ranking` (or `output`), a list or JSON, when not given.
        of: What is ranked: the `output`, a JSON list or lines of text, or the `documents` by their ids.

    Raises:
        UsageError: There is no such method, or nothing of that kind is ranked.

    Example:
        >>> rank_correlation(method="kendall").parameters["method"]
        'kendall'
    """
    if method not in _CORRELATIONS:
        raise UsageError(f"rank_correlation knows {', '.join(_CORRELATIONS)}, not {method!r}")
    if of not in ("output", "documents"):
        raise UsageError(f"rank_correlation is of the output or the documents, not of {of!r}")

    def call(subject: Subject) -> dict[str, Score]:
        right = _items(subject.expect("ranking", "output") if expected is None else expected)
        if of == "documents":
            ranked = list(dict.fromkeys(as_text(each.id) for each in subject.documents if each.id is not None))
        else:
            ranked = _items(subject.output_text)
        both = [each for each in right if each in set(ranked)]
        if len(both) < 2:
            raise NotApplicable(f"{len(both)} of the {len(right)} expected items are ranked, and two are needed")
        place = {each: number for number, each in enumerate(both)}
        value = _CORRELATIONS[method]([place[each] for each in ranked if each in place])
        return {"rank_correlation": Score(value), "rank_correlation.coverage": Score(len(both) / len(right))}

    return call


@judge(needs=("output", "expected.distribution"), values="≥ 0", direction="minimize")
def distribution_distance(
    *,
    method: str = "jensen_shannon",
    expected: Mapping[str, float] | None = None,
    max: float | None = None,  # noqa: A002 - the word that one writes
) -> Call:
    """How far a distribution in the output is from the expected one: `{"yes": 0.8, "no": 0.2}` against another.

    Numbers are divided by their sum; a name that only one side has counts as 0 on the other.

    Args:
        method: `jensen_shannon` (0 to 1), `total_variation` (0 to 1), or `earth_mover` for ordered names, by their
            order in what is expected, each one step from the next.
        expected: The right one; the case's `distribution` (or `output`) when not given.
        max: The greatest distance that passes; without it nothing passes or fails.

    Raises:
        UsageError: There is no such method.

    Example:
        >>> distribution_distance(method="total_variation").parameters["method"]
        'total_variation'
    """
    if method not in _DISTANCES:
        raise UsageError(f"distribution_distance knows {', '.join(_DISTANCES)}, not {method!r}")

    def call(subject: Subject) -> Score:
        try:
            right = _shares(subject.expect("distribution", "output") if expected is None else expected)
        except ValueError as error:
            raise MissingInput(f"the case expects no distribution: {error}") from None
        try:
            said = _shares(subject.output_text)
        except ValueError as error:
            raise NotApplicable(f"the output holds no distribution: {error}") from None
        names = list(dict.fromkeys([*right, *said]))
        value = _DISTANCES[method]([said.get(name, 0.0) for name in names], [right.get(name, 0.0) for name in names])
        return Score(value, passed=None if max is None else value <= max)

    return call


def _items(value: object) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(unfenced(value))
        except (ValueError, RecursionError):
            lines = [line.strip().lstrip("-*•0123456789.) ").strip() for line in str(value).splitlines()]
            value = [line for line in lines if line]
    found = value if isinstance(value, (list, tuple)) else [value]
    return list(dict.fromkeys(as_text(each) for each in found))


def _shares(value: object) -> dict[str, float]:
    if isinstance(value, str):
        value = json.loads(unfenced(value))
    if not isinstance(value, Mapping) or not value:
        raise ValueError("it is no object of names with numbers")
    numbers = {str(name): each for name, each in value.items()}
    for name, each in numbers.items():
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not math.isfinite(each) or each < 0:
            raise ValueError(f"{name!r} has {each!r:.40}, which is no number of 0 or more")
    total = math.fsum(numbers.values())
    if total <= 0:
        raise ValueError("its numbers sum to 0")
    return {name: each / total for name, each in numbers.items()}
