"""Monte Carlo: intervals hold the truth, and tests and gates err, as often as they promise and no oftener."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multinomial

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


@pytest.mark.parametrize("n", [20, 100, 500])
def test_pass_rates(n: int) -> None:
    """The true rate is another each time: at a single one a count of few cases cannot meet 95 %."""
    generator = np.random.default_rng(n)

    def once() -> tuple[ours.Estimate, float]:
        rate = float(generator.uniform(0.5, 0.95))
        return ours.proportion_of_cases((generator.random((n, 1)) < rate).astype(float).tolist()), rate

    assert 0.93 <= held(800, once) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_pass_rates_of_repeated_cases(n: int) -> None:
    generator = np.random.default_rng(n + 1)

    def once() -> tuple[ours.Estimate, float]:
        chances = generator.beta(3, 1, (n, 1))
        return ours.proportion_of_cases((generator.random((n, 4)) < chances).astype(float).tolist()), 0.75

    assert 0.93 <= held(600, once) <= 0.975


@pytest.mark.parametrize("sources", [6, 12, 40])
def test_means_of_cases_that_share_sources_of_unequal_size(sources: int) -> None:
    generator = np.random.default_rng(sources)
    sizes = generator.integers(2, 9, sources)
    groups = np.repeat(np.arange(sources), sizes)

    def once() -> tuple[ours.Estimate, float]:
        values = generator.normal(size=sources)[groups] + generator.normal(size=len(groups))
        return ours.mean_of_cases(values[:, None].tolist(), clusters=groups.tolist()), 0.0

    assert 0.93 <= held(300 if sources < 10 else 800, once) <= 0.98


@pytest.mark.parametrize("sources", [6, 15, 50])
def test_pass_rates_of_cases_that_share_sources(sources: int) -> None:
    generator = np.random.default_rng(sources + 7)
    groups = np.repeat(np.arange(sources), 6)

    def once() -> tuple[ours.Estimate, float]:
        chances = generator.beta(2.8, 1.2, sources)[groups]
        passed = (generator.random(len(groups)) < chances).astype(float)
        return ours.proportion_of_cases(passed[:, None].tolist(), clusters=groups.tolist()), 0.7

    assert 0.93 <= held(800, once) <= 0.98


@pytest.mark.parametrize("n", [20, 60, 200])
def test_means_of_skewed_numbers(n: int) -> None:
    """Student's t alone would hold 91 % at n = 20."""
    generator = np.random.default_rng(n + 2)

    def once() -> tuple[ours.Estimate, float]:
        return ours.mean_of_cases(generator.exponential(size=(n, 1)).tolist()), 1.0

    assert 0.92 <= held(500, once) <= 0.975


@pytest.mark.parametrize("n", [20, 100, 500])
def test_differences_of_paired_pass_rates(n: int) -> None:
    generator = np.random.default_rng(n + 3)

    def once() -> tuple[ours.Estimate, float]:
        gained, lost, _ = generator.multinomial(n, [0.15, 0.10, 0.75])
        return ours.tango_difference(gained=int(gained), lost=int(lost), n=n), 0.05

    assert 0.935 <= held(800, once) <= 0.975


def test_cost_per_success() -> None:
    generator = np.random.default_rng(4)

    def once() -> tuple[ours.Estimate, float]:
        passed = (generator.random(80) < 0.6).astype(float)
        cost = generator.gamma(4, 0.01, 80) * (1.5 - passed)
        return ours.ratio_of_means(cost.tolist(), denominators=passed.tolist()), 0.04 * (0.6 * 0.5 + 0.4 * 1.5) / 0.6

    assert 0.93 <= held(800, once) <= 0.97


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
    rounds, passed, failed = (300 if sources < 10 else 2000), 0, 0
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
