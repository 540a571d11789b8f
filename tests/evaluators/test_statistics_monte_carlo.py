"""Monte Carlo: intervals hold the truth, and tests and gates err, as often as they promise and no oftener."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from tracekit_evaluators import statistics as ours

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def allowed(level: float, rounds: int) -> float:
    """The level and two Monte Carlo errors."""
    return level + 2 * math.sqrt(level * (1 - level) / rounds)


def held(rounds: int, made: object) -> float:
    """In which share of rounds the interval that `made` gives holds what it says is true."""
    found = 0
    for _ in range(rounds):
        estimate, truth = made()  # type: ignore[operator]
        found += estimate.low is not None and estimate.low <= truth <= estimate.high
    return found / rounds


GRID = (20, 50, 100, 200, 500)


def covers(share: float) -> bool:
    """Whether a 95 % interval held the truth in 93 to 97 % of the repetitions."""
    return 0.93 <= share <= 0.97


@pytest.mark.parametrize("n", GRID)
def test_pass_rates(n: int) -> None:
    """Exact, over rates from 5 to 95 %: at a single rate no interval of a count can hold to 95 % (see the docs)."""
    passed, rates = np.arange(n + 1), np.linspace(0.05, 0.95, 91)
    found = [ours.proportion_of_cases([[1]] * k + [[0]] * (n - k)) for k in range(n + 1)]
    inside = np.array([[each.low <= rate <= each.high for each in found] for rate in rates])
    chances = binom.pmf(passed[None, :], n, rates[:, None])
    assert covers(float((inside * chances).sum(axis=1).mean()))


@pytest.mark.parametrize("n", GRID)
@pytest.mark.parametrize("repeats", [3, 8])
def test_pass_rates_of_repeated_cases(n: int, repeats: int) -> None:
    generator = np.random.default_rng(n + repeats)

    def once() -> tuple[ours.Estimate, float]:
        passed = generator.binomial(repeats, generator.beta(3, 1, n))
        return ours.proportion_of_cases([[1] * k + [0] * (repeats - k) for k in passed.tolist()]), 0.75

    assert covers(held(1000 if n <= 100 else 1500, once))


SOURCES = (10, 20, 50, 100)


def shared(sources: int, most: int = 9) -> tuple[np.ndarray, list[int]]:
    """Sources of unequal size: for each case its source."""
    sizes = np.random.default_rng(sources).integers(1, most, sources)
    groups = np.repeat(np.arange(sources), sizes)
    return groups, groups.tolist()


@pytest.mark.parametrize("sources", [6, *SOURCES])
def test_means_of_cases_that_share_sources_of_unequal_size(sources: int) -> None:
    generator = np.random.default_rng(sources)
    groups, listed = shared(sources)

    def once() -> tuple[ours.Estimate, float]:
        values = generator.normal(size=sources)[groups] + generator.normal(size=len(groups))
        return ours.clustered_mean(values, clusters=listed), 0.0

    assert covers(held(1500, once))


@pytest.mark.parametrize("sources", [20, 50, 100])
def test_skewed_means_of_cases_that_share_sources(sources: int) -> None:
    """Student's t alone would hold 92 % with twenty sources; with ten no method known to us holds 93 %."""
    generator = np.random.default_rng(sources + 1)
    groups, listed = shared(sources)

    def once() -> tuple[ours.Estimate, float]:
        values = generator.exponential(size=sources)[groups] + generator.exponential(size=len(groups))
        return ours.clustered_mean(values, clusters=listed), 2.0

    assert covers(held(700, once))


@pytest.mark.parametrize("sources", SOURCES)
def test_pass_rates_of_cases_that_share_sources(sources: int) -> None:
    generator = np.random.default_rng(sources + 7)
    groups, listed = shared(sources, most=12)

    def once() -> tuple[ours.Estimate, float]:
        chances = generator.beta(2.8, 1.2, sources)[groups]
        passed = (generator.random(len(groups)) < chances).astype(float)
        return ours.proportion_of_cases(passed[:, None].tolist(), clusters=listed), 0.7

    assert covers(held(1000, once))


@pytest.mark.parametrize("sources", [6, *SOURCES])
def test_paired_differences_of_cases_that_share_sources(sources: int) -> None:
    generator = np.random.default_rng(sources + 9)
    groups, listed = shared(sources)

    def once() -> tuple[ours.Estimate, float]:
        gained = generator.random(len(groups)) < generator.beta(2, 8, sources)[groups]
        lost = ~gained & (generator.random(len(groups)) < 0.125)
        return ours.paired_difference(gained.astype(float) - lost, clusters=listed), 0.2 - 0.8 * 0.125

    assert covers(held(800, once))


@pytest.mark.parametrize("n", GRID)
@pytest.mark.parametrize("kind", ["normal", "exponential", "stars"])
def test_means_of_numbers(n: int, kind: str) -> None:
    """Student's t alone would hold 91 % of twenty exponential numbers."""
    generator = np.random.default_rng(n + len(kind))
    draws = {
        "normal": (lambda: generator.normal(size=n), 0.0),
        "exponential": (lambda: generator.exponential(size=n), 1.0),
        "stars": (lambda: generator.choice([1.0, 2, 3, 4, 5], n, p=[0.05, 0.05, 0.1, 0.3, 0.5]), 4.15),
    }
    draw, truth = draws[kind]
    rounds = 1500 if kind == "normal" else 400
    assert covers(held(rounds, lambda: (ours.mean_of_cases(draw()[:, None].tolist()), truth)))


@pytest.mark.parametrize("n", [20, 50, 100])
def test_differences_of_paired_pass_rates(n: int) -> None:
    """Exact, over five pairs of gained and lost."""
    total, truths = 0.0, [(0.15, 0.10), (0.10, 0.10), (0.20, 0.05), (0.05, 0.15), (0.30, 0.20)]
    found = {
        (up, down): ours.tango_difference(gained=up, lost=down, n=n)
        for up in range(n + 1)
        for down in range(n + 1 - up)
        if max(up, down) <= 0.3 * n + 5 * math.sqrt(0.21 * n)
    }
    for gained, lost in truths:
        for (up, down), each in found.items():
            chance = binom.pmf(up, n, gained) * binom.pmf(down, n - up, lost / (1 - gained))
            total += chance * (each.low <= gained - lost <= each.high)
    assert covers(total / len(truths))


@pytest.mark.parametrize("n", [20, 60])
def test_differences_of_unpaired_pass_rates(n: int) -> None:
    """Exact, over four pairs of rates."""
    truths = [(0.8, 0.8), (0.7, 0.8), (0.5, 0.6), (0.9, 0.95)]
    ends = {
        (a, b): ours.independent_proportion_difference(baseline=(a, n), candidate=(b, n))
        for a in range(n + 1)
        for b in range(n + 1)
        if max(binom.pmf(a, n, p) * binom.pmf(b, n, q) for p, q in truths) > 1e-7
    }
    total = sum(
        binom.pmf(a, n, p) * binom.pmf(b, n, q) * (each.low <= q - p <= each.high)
        for (a, b), each in ends.items()
        for p, q in truths
    )
    assert covers(total / len(truths))


@pytest.mark.parametrize("n", GRID)
@pytest.mark.parametrize("repeats", [1, 3])
def test_paired_differences_of_repeated_cases(n: int, repeats: int) -> None:
    generator = np.random.default_rng(n * repeats)

    def once() -> tuple[ours.Estimate, float]:
        before = generator.beta(3, 2, n)
        after = before + 0.1 * (1 - before)
        tried = [generator.binomial(repeats, each) / repeats for each in (before, after)]
        return ours.paired_difference(tried[1] - tried[0]), 0.1 * 0.4

    assert covers(held(1500, once))


@pytest.mark.parametrize("n", [20, 100, 500])
@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_unpaired_differences_of_numbers(n: int, kind: str) -> None:
    generator = np.random.default_rng(n + len(kind))

    def once() -> tuple[ours.Estimate, float]:
        sides = [getattr(generator, kind)(size=size) for size in (n, n + n // 2)]
        return ours.independent_difference(sides[0], candidate=sides[1])[0], 0.0

    assert covers(held(1500, once))


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("k", [2, 4])
def test_reliability_over_several_tries(n: int, k: int) -> None:
    generator = np.random.default_rng(n + k)
    truth = math.prod((3 + i) / (4 + i) for i in range(k))

    def once() -> tuple[ours.Estimate, float]:
        trials = [(int(passed), 5) for passed in generator.binomial(5, generator.beta(3, 1, n))]
        return ours.pass_hat_k(trials, k=k), truth

    assert covers(held(500, once))


@pytest.mark.parametrize("n", GRID)
def test_cost_per_success(n: int) -> None:
    generator = np.random.default_rng(n + 4)

    def once() -> tuple[ours.Estimate, float]:
        passed = (generator.random(n) < 0.6).astype(float)
        cost = generator.gamma(4, 0.01, n) * (1.5 - passed)
        return ours.ratio_of_means(cost.tolist(), denominators=passed.tolist()), 0.04 * (0.6 * 0.5 + 0.4 * 1.5) / 0.6

    assert covers(held(1500, once))


@pytest.mark.parametrize("n", GRID)
def test_tests_of_no_difference_err_no_oftener_than_they_say(n: int) -> None:
    """McNemar and Fisher exactly; sign-flips of numbers, of repeats and of whole sources by drawing."""
    table = {
        (up, down): ours.mcnemar_exact_p(gained=up, lost=down).value <= 0.05
        for up in range(n + 1)
        for down in range(n + 1 - up)
        if up + down <= 0.2 * n + 6 * math.sqrt(0.16 * n)
    }
    mcnemar = sum(
        binom.pmf(up + down, n, 0.2) * binom.pmf(up, up + down, 0.5) for (up, down), raised in table.items() if raised
    )
    assert mcnemar <= 0.05
    generator, rounds = np.random.default_rng(n), 500
    raised = {"numbers": 0, "repeats": 0, "sources": 0}
    groups = np.repeat(np.arange(max(10, n // 5)), 5)[:n].tolist()
    for again in range(rounds):  # drawn anew each time: fixed draws would err alike in every round
        plain = generator.normal(size=n) + generator.laplace(size=n)
        tried = generator.binomial(3, generator.beta(3, 1, n), (2, n)) / 3
        alike = generator.normal(size=n)[groups] + generator.normal(size=n)
        raised["numbers"] += ours.sign_flip_p(plain, resamples=199, seed=again).value <= 0.05
        raised["repeats"] += ours.sign_flip_p(tried[1] - tried[0], resamples=199, seed=again).value <= 0.05
        raised["sources"] += ours.sign_flip_p(alike, clusters=groups, resamples=199, seed=again).value <= 0.05
    assert max(raised.values()) / rounds <= allowed(0.05, rounds), raised
    welch = 0
    for sides in generator.exponential(size=(2000, 2, n)):
        welch += ours.independent_difference(sides[0], candidate=sides[1])[1].value <= 0.05
    assert welch / 2000 <= allowed(0.05, 2000)


@pytest.mark.parametrize(("n", "gained", "lost", "margin"), [(60, 0.1, 0.15, 0.05), (150, 0.1, 0.1, 0.0)])
def test_a_gate_of_pass_rates_errs_no_oftener_than_alpha(n: int, gained: float, lost: float, margin: float) -> None:
    """At a true loss of exactly the margin both PASS and FAIL are errors; their probability is added up, not drawn."""
    passes = fails = 0.0
    for up in range(n + 1):
        for down in range(n + 1 - up):
            chance = float(multinomial.pmf([up, down, n - up - down], n, [gained, lost, 1 - gained - lost]))
            if chance > 1e-7:
                differences = [1.0] * up + [-1.0] * down + [0.0] * (n - up - down)
                found = ours.margin_test(differences, margin=margin, yes_no=True)
                passes += chance * (found.no_worse <= 0.05)
                fails += chance * (found.worse <= 0.05)
    assert max(passes, fails) <= 0.0505


@pytest.mark.parametrize("sources", [8, 25])
def test_a_gate_of_numbers_that_share_sources_errs_no_oftener_than_alpha(sources: int) -> None:
    generator = np.random.default_rng(sources)
    groups = np.repeat(np.arange(sources), 4)
    rounds, passed, failed = 2000, 0, 0
    for _ in range(rounds):
        values = generator.normal(size=sources)[groups] + generator.normal(size=len(groups)) - 0.2
        found = ours.margin_test(values.tolist(), margin=0.2, yes_no=False, clusters=groups.tolist())
        passed += found.no_worse <= 0.05
        failed += found.worse <= 0.05
    assert max(passed, failed) / rounds <= allowed(0.05, rounds)


def test_looking_after_every_case_raises_no_false_alarm() -> None:
    """A z-test looked at thirty times would raise one in about a fifth of the runs."""
    generator = np.random.default_rng(5)
    rounds, alarms, naive = 1000, 0, 0
    for _ in range(rounds):
        values = generator.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.8, 0.1])
        wealth = ours.e_values(values, mean=0.0, low=-1.0, high=1.0)
        alarms += bool((wealth >= 20).any())
        looks = np.arange(10, 301, 10)
        means = np.cumsum(values)[looks - 1] / looks
        errors = np.array([values[:look].std(ddof=1) for look in looks]) / np.sqrt(looks)
        naive += bool((np.abs(means) > 1.96 * np.maximum(errors, 1e-9)).any())
    assert alarms / rounds <= allowed(0.05, rounds)
    assert naive / rounds > 0.12


def test_a_bettor_sees_a_loss_of_ten_points_after_few_cases() -> None:
    generator = np.random.default_rng(6)
    stops = []
    for _ in range(300):
        values = generator.choice([-1.0, 0.0, 1.0], 600, p=[0.15, 0.80, 0.05])
        wealth = ours.e_values(-values, mean=0.0, low=-1.0, high=1.0)
        over = np.flatnonzero(wealth >= 20)
        stops.append(int(over[0]) if len(over) else 600)
    assert np.mean(np.array(stops) < 600) > 0.95
    assert np.median(stops) < 200
