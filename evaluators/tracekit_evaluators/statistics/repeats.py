"""pass@k, pass^k and flakiness of cases that were tried several times."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.cases import share_of_cases
from tracekit_evaluators.statistics.estimate import Estimate
from tracekit_evaluators.statistics.intervals import clopper_pearson_interval, wilson_interval

Trials = tuple[int, int]  # passed, tried


def trials_of(cases: Iterable[Sequence[float]]) -> list[Trials]:
    """For each case that was tried, how often it passed and how often it was tried.

    Example:
        >>> trials_of([[1, 0, 1], []])
        [(2, 3)]
    """
    return [(sum(1 for trial in case if trial), len(case)) for case in cases if len(case)]


def pass_hat_k(
    trials: Sequence[Trials],
    *,
    k: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Estimate:
    """pass^k: the probability that a case passes k times out of k, C(c, k)/C(n, k) averaged over cases.

    S. Yao et al., τ-bench, arXiv 2406.12045. It is not the pass rate to the power of k, which is wrong when
    cases differ. The interval is Wilson's on the effective number of trials, as that of `proportion_of_cases`: as many
    as would make a share so sure as the variance over cases does, and at most K and (K/k)^1.5 for each case of K
    tries, since cases that seldom pass k times are seldom in a sample. Clopper-Pearson where all cases are at 0 or 1.

    Args:
        trials: For each case (passed, tried).
        k: At least 1 and at most the fewest trials of any case.
        clusters: For each case what it shares with others; the interval then rests on these.
        level: Confidence level in (0, 1).

    Raises:
        UsageError: A case has fewer than k trials, so that its probability cannot be estimated.

    Example:
        >>> round(pass_hat_k([(4, 4), (2, 4), (0, 4)], k=2).value, 4)
        0.3889
    """
    _check(trials, k)
    chance = {each: math.comb(each[0], k) / math.comb(each[1], k) for each in set(trials)}
    most = _most_trials(trials, k)
    return _over_cases([chance[each] for each in trials], clusters, level, most)


def pass_at_k(
    trials: Sequence[Trials],
    *,
    k: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Estimate:
    """pass@k: the probability that a case passes at least once in k tries.

    1 - C(n-c, k)/C(n, k) averaged over cases; M. Chen et al., arXiv 2107.03374. Arguments, interval and
    errors as for `pass_hat_k`.

    Example:
        >>> pass_at_k([(1, 2), (0, 2)], k=2).value
        0.5
    """
    _check(trials, k)
    chance = {(c, n): 1 - math.comb(n - c, k) / math.comb(n, k) for c, n in set(trials)}
    most = _most_trials(trials, k)
    return _over_cases([chance[each] for each in trials], clusters, level, most)


def flaky_cases(trials: Sequence[Trials]) -> list[int]:
    """Places of the cases that sometimes pass and sometimes fail.

    Example:
        >>> flaky_cases([(1, 2), (2, 2), (0, 3)])
        [0]
    """
    return [place for place, (c, n) in enumerate(trials) if 0 < c < n]


def flaky_share(trials: Sequence[Trials], *, level: float = 0.95) -> Estimate:
    """The share of cases, among those tried at least twice, that sometimes pass and sometimes fail.

    Example:
        >>> flaky_share([(1, 2), (2, 2), (1, 1)]).value
        0.5
    """
    repeated = [(c, n) for c, n in trials if n > 1]
    return wilson_interval(sum(1 for c, n in repeated if 0 < c < n), n=len(repeated), level=level)


def _check(trials: Sequence[Trials], k: int) -> None:
    if k < 1:
        raise UsageError(f"k counts trials and is at least 1, not {k}")
    short = sum(1 for _, n in trials if n < k)
    if short:
        raise UsageError(f"{short} of {len(trials)} cases have fewer than {k} trials: choose a smaller k")


def _most_trials(trials: Sequence[Trials], k: int) -> float:
    return math.fsum(min(n, (n / k) ** 1.5) for _, n in trials)


def _over_cases(chances: Sequence[float], clusters: Sequence[Hashable] | None, level: float, most: float) -> Estimate:
    array = np.array(chances, dtype=np.float64)
    count = len(array)
    if count == 0:
        return Estimate(None, None, None, 0, "no scores")
    groups = count if clusters is None else len(set(clusters))
    value = float(array.mean())
    if array.min() == array.max() and value in (0.0, 1.0):
        return replace(clopper_pearson_interval(groups * value, n=groups, level=level), n=count)
    return share_of_cases(array, clusters, most=most, level=level)
