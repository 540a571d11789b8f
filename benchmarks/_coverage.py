"""The grid of every default interval: what is drawn, what is true of it, and whether the interval holds that.

A pass rate takes few values, so at one fixed rate the coverage of any interval jumps up and down with the rate and n
(L. D. Brown, T. T. Cai and A. DasGupta, Stat. Sci. 16, 2001). Rates, how alike the cases of a source are, and how good
a judge is are therefore drawn anew in each repetition; each family says from where.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tracekit_evaluators import statistics as ours
from tracekit_evaluators._weights import weighted_mean
from tracekit_evaluators.calibration.corrections import (
    ppi_difference,
    ppi_mean,
    rogan_gladen,
    rogan_gladen_difference,
)
from tracekit_evaluators.statistics.bootstrap import (
    resamples_for,
    studentised_reach,
    studentised_reach_of_clusters,
)
from tracekit_evaluators.statistics.clusters import SKEWED, cluster_codes, skewness, spread
from tracekit_evaluators.statistics.distributions import t_quantile, t_quantiles
from tracekit_evaluators.statistics.heaped import heap_of

GRID = (20, 50, 100, 200, 500)
SHARED = tuple((n, sources) for sources in (10, 20, 50) for n in GRID if n >= 2 * sources)
Generator = np.random.Generator
Reals = np.ndarray
Held = tuple[int, int]  # how many of how many intervals held the truth


@dataclass(frozen=True)
class Cell:
    """One place of the grid: `measure(generator, rounds)` says how many of how many intervals held the truth.

    `quick` are those whose repetitions are made all at once, so that they can be more.
    """

    family: str
    n: int
    detail: str
    measure: Callable[[Generator, int], Held]
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}, {self.detail}, n={self.n}" if self.detail else f"{self.family}, n={self.n}"

    def held(self, rounds: int) -> Held:
        """The seed is the cell's name: nobody has chosen it."""
        return self.measure(np.random.default_rng(zlib.crc32(self.name.encode())), rounds)


def one_by_one(once: Callable[[Generator], tuple[ours.Estimate, float]]) -> Callable[[Generator, int], Held]:
    """Repetitions of a shipped function; one that says why it gives no interval is not counted."""

    def measure(generator: Generator, rounds: int) -> Held:
        inside = told = 0
        for _ in range(rounds):
            found, truth = once(generator)
            if found.low is not None:
                told += 1
                inside += found.low - 1e-12 <= truth <= found.high + 1e-12
        return inside, told

    return measure


def repeated(generator: Generator, n: int, tries: int) -> tuple[Reals, float, float]:
    """How often each case passes; a case's chance is Beta(a, b), of mean 0.2 to 0.9 and a + b 0.7 to 6."""
    mean, weight = generator.uniform(0.2, 0.9), generator.uniform(0.7, 6)
    a, b = mean * weight, (1 - mean) * weight
    return generator.binomial(tries, generator.beta(a, b, n)), a, b


def tried(passed: Reals, tries: int) -> list[list[int]]:
    return [[1] * k + [0] * (tries - k) for k in passed.tolist()]


@lru_cache(maxsize=64)
def sources_of(n: int, sources: int) -> tuple[Reals, Reals, tuple[int, ...]]:
    """For each case its source, the sources' sizes (unequal, the largest about three times the smallest)."""
    generator = np.random.default_rng(n * 1000 + sources)
    weights = generator.uniform(0.5, 1.5, sources)
    sizes = 1 + generator.multinomial(n - sources, weights / weights.sum())
    groups = np.repeat(np.arange(sources), sizes)
    return groups, sizes.astype(float), tuple(groups.tolist())


@lru_cache(maxsize=100_000)
def _rate(passed: int, n: int) -> ours.Estimate:
    return ours.proportion_of_cases([[1]] * passed + [[0]] * (n - passed))


@lru_cache(maxsize=200_000)
def _tango(gained: int, lost: int, n: int) -> ours.Estimate:
    return ours.tango_difference(gained=gained, lost=lost, n=n)


def rates() -> Iterator[Cell]:
    """Rates are drawn from 5 to 95 %."""
    for n in GRID:

        def once(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate = generator.uniform(0.05, 0.95)
            return _rate(int(generator.binomial(n, rate)), n), rate

        yield Cell("pass rate", n, "", one_by_one(once))
        for tries in (3, 8):

            def again(generator: Generator, n: int = n, tries: int = tries) -> tuple[ours.Estimate, float]:
                passed, a, b = repeated(generator, n, tries)
                return ours.proportion_of_cases(tried(passed, tries)), a / (a + b)

            yield Cell("pass rate", n, f"{tries} repeats", one_by_one(again))

        def weighed(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate = generator.uniform(0.1, 0.9)
            passed = (generator.random(n) < rate).astype(float)
            return weighted_mean(
                [[each] for each in passed], weights=generator.uniform(1, 4, n).tolist(), share=True
            ), rate

        yield Cell("pass rate", n, "weighted", one_by_one(weighed))


def shared_rates() -> Iterator[Cell]:
    """Rates from 10 to 90 %; the correlation of a source's cases from 0.05 to 0.5."""
    for n, sources in SHARED:
        for tries in (1, 3):

            def once(
                generator: Generator, n: int = n, sources: int = sources, tries: int = tries
            ) -> tuple[ours.Estimate, float]:
                groups, _, listed = sources_of(n, sources)
                rate, alike = generator.uniform(0.1, 0.9), generator.uniform(0.05, 0.5)
                weight = (1 - alike) / alike
                chances = generator.beta(rate * weight, (1 - rate) * weight, sources)[groups]
                passed = generator.binomial(tries, chances)
                return ours.proportion_of_cases(tried(passed, tries), clusters=listed), rate

            detail = f"{sources} sources" + ("" if tries == 1 else f", {tries} repeats")
            yield Cell("pass rate", n, detail, one_by_one(once))


def _heaped(perfect: float) -> Callable[[Generator, tuple[int, ...]], Reals]:
    return lambda g, size: np.where(g.random(size) < perfect, 1.0, g.random(size))


KINDS: dict[str, tuple[Callable[[Generator, tuple[int, ...]], Reals], float]] = {
    "normal": (lambda g, size: g.normal(size=size), 0.0),
    "score, Beta(4, 1)": (lambda g, size: g.beta(4, 1, size), 0.8),
    "score, 1 to 5": (lambda g, size: g.choice([1.0, 2, 3, 4, 5], size, p=[0.05, 0.05, 0.1, 0.3, 0.5]), 4.15),
    "score, 7 in 10 perfect": (_heaped(0.7), 0.85),
    "score, 17 in 20 perfect": (_heaped(0.85), 0.925),
    "score, 1 to 5, 8 in 10 are 5": (
        lambda g, size: g.choice([1.0, 2, 3, 4, 5], size, p=[0.03, 0.02, 0.05, 0.1, 0.8]),
        4.62,
    ),
    "cost, 3 in 4 nothing": (lambda g, size: np.where(g.random(size) < 0.75, 0.0, g.exponential(size=size)), 0.25),
    "lognormal 1, half nothing": (
        lambda g, size: np.where(g.random(size) < 0.5, 0.0, np.exp(g.normal(size=size))),
        math.exp(0.5) / 2,
    ),
    "exponential": (lambda g, size: g.exponential(size=size), 1.0),
    "lognormal 0.5": (lambda g, size: np.exp(0.5 * g.normal(size=size)), math.exp(0.125)),
    "lognormal 1": (lambda g, size: np.exp(g.normal(size=size)), math.exp(0.5)),
}


def means_hold(rows: Reals, truth: float) -> Held:
    """What `mean_of_cases` gives for each row, its bootstrap done for all rows at once; a few are compared with it."""
    rows = rows[rows.min(axis=1) < rows.max(axis=1)]
    n = rows.shape[1]
    means = rows.mean(axis=1)
    errors = rows.std(axis=1, ddof=1) / math.sqrt(n)
    heaped = np.array([heap_of(row) is not None for row in rows])
    skewed = ~heaped & np.array([abs(skewness(row)) / math.sqrt(n) > SKEWED for row in rows])
    reach = np.full((2, len(rows)), t_quantile(0.975, degrees=n - 1))
    if skewed.any():
        drawn = studentised_reach(rows[skewed], resamples=resamples_for(n))
        reach[:, skewed] = np.where(np.isnan(drawn), reach[:, skewed], drawn)
    low, high = means - reach[0] * errors, means + reach[1] * errors
    for place in np.flatnonzero(heaped):
        found = ours.mean_of_cases(rows[place][:, None].tolist())
        low[place], high[place] = found.low, found.high
    for place in range(0, len(rows), max(1, len(rows) // 5)):
        found = ours.mean_of_cases(rows[place][:, None].tolist())
        assert np.allclose([found.low, found.high], [low[place], high[place]], rtol=1e-9), found
    return int(np.count_nonzero((low <= truth) & (truth <= high))), len(rows)


def shared_means_hold(rows: Reals, truth: float, sizes: Reals, listed: tuple[int, ...]) -> Held:
    """The same of `clustered_mean`."""
    rows = rows[rows.min(axis=1) < rows.max(axis=1)]
    codes, count = cluster_codes(listed)
    found = [spread(row, codes, count) for row in rows]
    means = np.array([each.mean for each in found])
    errors = np.array([each.standard_error for each in found])
    degrees = np.array([each.degrees for each in found])
    reach = np.tile(t_quantiles(0.975, degrees), (2, 1))
    skewed = np.array([abs(skewness(each.sums - sizes * each.mean)) / math.sqrt(count) > SKEWED for each in found])
    if skewed.any():
        rest = np.stack([each.sums - sizes * each.mean for each in found])[skewed]
        tails = np.array([each.skewness for each in found])[skewed]
        drawn = studentised_reach_of_clusters(
            rest, sizes, degrees=degrees[skewed], tails=tails, resamples=resamples_for(count)
        )
        reach[:, skewed] = np.where(np.isnan(drawn), reach[:, skewed], drawn)
    low, high = means - reach[0] * errors, means + reach[1] * errors
    for place, row in enumerate(rows):
        if heap_of(row) is not None:
            shipped = ours.clustered_mean(row, clusters=listed)
            low[place], high[place] = shipped.low, shipped.high
    for place in range(0, len(rows), max(1, len(rows) // 5)):
        shipped = ours.clustered_mean(rows[place], clusters=listed)
        assert np.allclose([shipped.low, shipped.high], [low[place], high[place]], rtol=1e-9), shipped
    return int(np.count_nonzero((low <= truth) & (truth <= high))), len(rows)


def means() -> Iterator[Cell]:
    """Fixed truths: scores with bounds and without, costs and seconds with long tails."""
    for kind, (draw, truth) in KINDS.items():
        for n in GRID:

            def whole(generator: Generator, rounds: int, n: int = n, draw=draw, truth: float = truth) -> Held:
                return means_hold(draw(generator, (rounds, n)), truth)

            yield Cell("mean", n, kind, whole, quick="nothing" not in kind)
    for tries in (3, 8):
        for n in GRID:

            def again(generator: Generator, rounds: int, n: int = n, tries: int = tries) -> Held:
                case = np.exp(0.5 * generator.normal(size=(rounds, n)))
                noise = np.exp(0.5 * generator.normal(size=(rounds, n, tries))).mean(axis=2)
                return means_hold(case * noise, math.exp(0.25))

            yield Cell("mean", n, f"lognormal, {tries} repeats", again)
    for n in GRID:

        def weighed(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            values = generator.beta(4, 1, n)
            return weighted_mean(values[:, None].tolist(), weights=generator.uniform(1, 4, n).tolist()), 0.8

        yield Cell("mean", n, "score, Beta(4, 1), weighted", one_by_one(weighed))


SHARED_KINDS: dict[str, Callable[[Generator, int, int, Reals], tuple[Reals, float]]] = {
    "normal": lambda g, rounds, c, groups: (
        g.normal(size=(rounds, c))[:, groups] + g.normal(size=(rounds, len(groups))),
        0.0,
    ),
    "score": lambda g, rounds, c, groups: (_scores_of_sources(g, rounds, c, groups), 0.8),
    "score, 17 in 20 perfect": lambda g, rounds, c, groups: (_seldom_imperfect(g, c, groups, rounds), 0.925),
    "exponential": lambda g, rounds, c, groups: (
        g.exponential(size=(rounds, c))[:, groups] + g.exponential(size=(rounds, len(groups))),
        2.0,
    ),
    "lognormal 0.5": lambda g, rounds, c, groups: (
        np.exp(0.35 * (g.normal(size=(rounds, c))[:, groups] + g.normal(size=(rounds, len(groups))))),
        math.exp(0.35**2),
    ),
    "lognormal 1": lambda g, rounds, c, groups: (
        np.exp(0.7 * (g.normal(size=(rounds, c))[:, groups] + g.normal(size=(rounds, len(groups))))),
        math.exp(0.7**2),
    ),
}


def _seldom_imperfect(generator: Generator, sources: int, groups: Reals, rounds: int) -> Reals:
    """Scores of which 17 in 20 are perfect, more in one source than in another."""
    perfect = generator.beta(0.85 * 4, 0.15 * 4, (rounds, sources))[:, groups]
    return np.where(generator.random(perfect.shape) < perfect, 1.0, generator.random(perfect.shape))


def _scores_of_sources(generator: Generator, rounds: int, sources: int, groups: Reals) -> Reals:
    centre = np.clip(generator.beta(4, 1, (rounds, sources)), 1e-6, 1 - 1e-6)[:, groups]
    return generator.beta(8 * centre, 8 * (1 - centre))


def shared_means() -> Iterator[Cell]:
    """Half of the variance (of its logarithm) lies between sources."""
    for kind, draw in SHARED_KINDS.items():
        for n, sources in SHARED:

            def whole(generator: Generator, rounds: int, n: int = n, sources: int = sources, draw=draw) -> Held:
                groups, sizes, listed = sources_of(n, sources)
                rows, truth = draw(generator, rounds, sources, groups)
                return shared_means_hold(rows, truth, sizes, listed)

            yield Cell("mean", n, f"{kind}, {sources} sources", whole, quick=True)


def pairs() -> Iterator[Cell]:
    """Gained and lost from 2 to 30 % each; scores that move; costs and seconds with a factor of their own."""
    for n in GRID:

        def counted(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            gained, lost = generator.uniform(0.02, 0.3, 2)
            up = int(generator.binomial(n, gained))
            return _tango(up, int(generator.binomial(n - up, lost / (1 - gained))), n), gained - lost

        yield Cell("paired difference", n, "pass rates", one_by_one(counted))
        for tries in (3, 8):

            def again(generator: Generator, n: int = n, tries: int = tries) -> tuple[ours.Estimate, float]:
                mean, weight = generator.uniform(0.2, 0.9), generator.uniform(0.7, 6)
                before = generator.beta(mean * weight, (1 - mean) * weight, n)
                sides = [generator.binomial(tries, each) / tries for each in (before, before + 0.1 * (1 - before))]
                return ours.paired_difference(sides[1] - sides[0]), 0.1 * (1 - mean)

            yield Cell("paired difference", n, f"pass rates, {tries} repeats", one_by_one(again))

        def scores(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            before, after = generator.beta(4, 1, n), generator.beta(5, 1, n)
            return ours.paired_difference(after - before), 5 / 6 - 4 / 5

        def seconds(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            case, first, second = np.exp(0.5 * generator.normal(size=(3, n)))
            return ours.paired_difference(case * (1.1 * second - first)), 0.1 * math.exp(0.25)

        yield Cell("paired difference", n, "scores, Beta(4, 1) and Beta(5, 1)", one_by_one(scores))

        yield Cell("paired difference", n, "lognormal", one_by_one(seconds))
    for n, sources in SHARED:

        def moved(generator: Generator, n: int = n, sources: int = sources) -> tuple[ours.Estimate, float]:
            groups, _, listed = sources_of(n, sources)
            up, down = generator.uniform(0.05, 0.3, 2)
            gained = generator.random(n) < generator.beta(4 * up, 4 * (1 - up), sources)[groups]
            lost = ~gained & (generator.random(n) < down)
            return ours.paired_difference(gained.astype(float) - lost, clusters=listed), up - (1 - up) * down

        yield Cell("paired difference", n, f"pass rates, {sources} sources", one_by_one(moved))


def changes() -> Iterator[Cell]:
    """Scores of which from 3 (or 2 %) to half differ, by up to 1, to either side or to one; costs that only grow."""
    for n in GRID:
        for least, detail in ((0.0, ""), (1.0, ", one way")):

            def seldom(generator: Generator, n: int = n, least: float = least) -> tuple[ours.Estimate, float]:
                share, up = generator.uniform(max(0.02, 3 / n), 0.5), generator.uniform(least, 1)
                by = generator.random(n) * np.where(generator.random(n) < up, 1.0, -1.0)
                found = ours.paired_difference(np.where(generator.random(n) < share, by, 0.0))
                return found, share * (2 * up - 1) / 2

            yield Cell("paired difference", n, f"scores of which few differ{detail}", one_by_one(seldom))

        def grown(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            return ours.paired_difference(generator.exponential(size=n)), 1.0

        yield Cell("paired difference", n, "costs that grow, exponential", one_by_one(grown))


def independents() -> Iterator[Cell]:
    """Rates from 5 to 95 %; numbers of n and 1.5 n cases."""
    for n in GRID:

        def counted(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            before, after = generator.uniform(0.05, 0.95, 2)
            sides = (int(generator.binomial(n, before)), n), (int(generator.binomial(n, after)), n)
            return ours.independent_proportion_difference(baseline=sides[0], candidate=sides[1]), after - before

        yield Cell("unpaired difference", n, "pass rates", one_by_one(counted))
        for kind in ("normal", "score, Beta(4, 1)", "exponential", "lognormal 1"):

            def numbers(generator: Generator, n: int = n, kind: str = kind) -> tuple[ours.Estimate, float]:
                draw = KINDS[kind][0]
                before, after = draw(generator, (n,)), draw(generator, (n + n // 2,))
                return ours.independent_difference(before, candidate=after)[0], 0.0

            yield Cell("unpaired difference", n, kind, one_by_one(numbers))


def reliabilities() -> Iterator[Cell]:
    """Cases' chances as those of repeated pass rates."""
    for n in GRID:
        for tries, k in ((3, 2), (3, 3), (8, 2), (8, 4), (8, 8)):
            for kind in ("pass^k", "pass@k"):

                def once(
                    generator: Generator, n: int = n, tries: int = tries, k: int = k, kind: str = kind
                ) -> tuple[ours.Estimate, float]:
                    passed, a, b = repeated(generator, n, tries)
                    trials = [(each, tries) for each in passed.tolist()]
                    if kind == "pass^k":
                        return ours.pass_hat_k(trials, k=k), math.prod((a + i) / (a + b + i) for i in range(k))
                    return ours.pass_at_k(trials, k=k), 1 - math.prod((b + i) / (a + b + i) for i in range(k))

                yield Cell(kind, n, f"k={k} of {tries}", one_by_one(once))
    for n, sources in SHARED:

        def shared(generator: Generator, n: int = n, sources: int = sources) -> tuple[ours.Estimate, float]:
            groups, _, listed = sources_of(n, sources)
            chances, a, b = generator.beta(3, 1.5, sources)[groups], 3.0, 1.5
            trials = [(each, 3) for each in generator.binomial(3, chances).tolist()]
            return ours.pass_hat_k(trials, k=2, clusters=listed), a * (a + 1) / ((a + b) * (a + b + 1))

        yield Cell("pass^k", n, f"k=2 of 3, {sources} sources", one_by_one(shared))


def ratios() -> Iterator[Cell]:
    """Dollars for each success; a pass costs less than a failure. Rates from 30 to 90 %."""
    for n in GRID:

        def once(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate = generator.uniform(0.3, 0.9)
            passed = (generator.random(n) < rate).astype(float)
            cost = generator.gamma(4, 0.01, n) * (1.5 - passed)
            return ours.ratio_of_means(cost, denominators=passed, method="studentised"), 0.04 * (1.5 - rate) / rate

        yield Cell("cost per success", n, "", one_by_one(once))
    for n, sources in SHARED:

        def shared(generator: Generator, n: int = n, sources: int = sources) -> tuple[ours.Estimate, float]:
            groups, _, listed = sources_of(n, sources)
            rate = generator.uniform(0.4, 0.9)
            passed = (generator.random(n) < generator.beta(5 * rate, 5 * (1 - rate), sources)[groups]).astype(float)
            cost = generator.gamma(4, 0.01, n) * (1.5 - passed)
            return ours.ratio_of_means(cost, denominators=passed, clusters=listed, method="studentised"), 0.04 * (
                1.5 - rate
            ) / rate

        yield Cell("cost per success", n, f"{sources} sources", one_by_one(shared))


def _judge(generator: Generator) -> tuple[float, float, float]:
    """A rate from 10 to 90 %, and a judge who catches 75 to 98 % and passes 3 to 40 % of the bad."""
    return generator.uniform(0.1, 0.9), generator.uniform(0.75, 0.98), generator.uniform(0.03, 0.4)


def _judged(generator: Generator, n: int, rate: float, tpr: float, fpr: float) -> tuple[Reals, Reals]:
    human = generator.random(n) < rate
    judged = generator.random(n) < np.where(human, tpr, fpr)
    return human.astype(float), judged.astype(float)


def corrections() -> Iterator[Cell]:
    """Labels, and ten times as many verdicts (Rogan-Gladen: labels from elsewhere, 35 to 65 % of them good)."""
    for n in GRID:

        def shares(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            told = _judge(generator)
            human, judged = _judged(generator, 10 * n, *told)
            return ppi_mean(human[:n], judged[:n], judged[n:]).estimate, told[0]

        def numbers(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            human = generator.beta(4, 2, 10 * n)
            judged = human + generator.uniform(0.05, 0.4) * generator.normal(size=10 * n) + 0.1
            return ppi_mean(human[:n], judged[:n], judged[n:]).estimate, 2 / 3

        def weighed(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            told = _judge(generator)
            human, judged = _judged(generator, 10 * n, *told)
            chance = np.where(judged == 1, 0.07, 0.14)  # failures are looked at more often
            chosen = generator.random(10 * n) < chance * n / chance.sum()
            given = (chance * n / chance.sum())[chosen]
            return ppi_mean(human[chosen], judged[chosen], judged[~chosen], probabilities=given).estimate, told[0]

        def differences(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate, tpr, fpr = _judge(generator)
            rates = rate, rate + generator.uniform(0, 0.1)
            hard = generator.random(10 * n)  # what is hard for one version is hard for the other
            human = [(0.7 * hard + 0.3 * generator.random(10 * n) < each).astype(float) for each in rates]
            judged = [(generator.random(10 * n) < np.where(each == 1, tpr, fpr)).astype(float) for each in human]
            truth = np.diff([_of_sum(each) for each in rates])[0]
            y, f = (np.stack(each, axis=1) for each in (human, judged))
            return ppi_difference(y[:n].tolist(), f[:n].tolist(), f[n:].tolist()).estimate, float(truth)

        def elsewhere(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate, tpr, fpr = _judge(generator)
            passed = int(generator.binomial(10 * n, rate * tpr + (1 - rate) * fpr))
            good = int(generator.binomial(n, generator.uniform(0.35, 0.65)))
            caught = int(generator.binomial(good, tpr)), good
            cleared = int(generator.binomial(n - good, 1 - fpr)), n - good
            return rogan_gladen(passed, n=10 * n, caught=caught, cleared=cleared).estimate, rate

        def both_elsewhere(generator: Generator, n: int = n) -> tuple[ours.Estimate, float]:
            rate, tpr, fpr = _judge(generator)
            gain = generator.uniform(0, 0.1)
            human = generator.random((10 * n, 2)) < [rate, rate + gain]
            judged = (generator.random((10 * n, 2)) < np.where(human, tpr, fpr)).astype(float)
            good = int(generator.binomial(n, generator.uniform(0.35, 0.65)))
            caught = int(generator.binomial(good, tpr)), good
            cleared = int(generator.binomial(n - good, 1 - fpr)), n - good
            return rogan_gladen_difference(judged.tolist(), caught=caught, cleared=cleared).estimate, gain

        yield Cell("PPI++", n, "pass rates", one_by_one(shares))
        yield Cell("PPI++", n, "numbers", one_by_one(numbers))
        yield Cell("PPI++", n, "pass rates, unequal chances", one_by_one(weighed))
        yield Cell("PPI++", n, "paired differences", one_by_one(differences))
        yield Cell("Rogan-Gladen", n, "pass rates", one_by_one(elsewhere))
        yield Cell("Rogan-Gladen", n, "paired differences", one_by_one(both_elsewhere))


def _of_sum(limit: float) -> float:
    """P(0.7 U + 0.3 V < limit) of two uniform numbers."""
    limit = min(1.0, limit)
    if limit <= 0.3:
        return limit**2 / (2 * 0.3 * 0.7)
    if limit <= 0.7:
        return (limit - 0.15) / 0.7
    return 1 - (1 - limit) ** 2 / (2 * 0.3 * 0.7)


FAMILIES = (
    rates,
    shared_rates,
    means,
    shared_means,
    pairs,
    changes,
    independents,
    reliabilities,
    ratios,
    corrections,
)


def cells() -> list[Cell]:
    """The whole grid."""
    return [cell for family in FAMILIES for cell in family()]
