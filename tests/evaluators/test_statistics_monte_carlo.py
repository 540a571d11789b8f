"""Monte Carlo: intervals hold the truth, and tests and gates err, as often as they promise and no oftener."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from tracekit_evaluators import statistics as ours
from tracekit_evaluators.statistics.differences import flips_as_large

_path = Path(__file__).parents[2] / "benchmarks" / "_coverage.py"
_spec = importlib.util.spec_from_file_location("tracekit_coverage_grid", _path)
assert _spec is not None
assert _spec.loader is not None
grid = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = grid  # dataclasses look their module up
_spec.loader.exec_module(grid)

FEW = "only 6 clusters: the interval is unsure of itself; more sources would help more than more cases"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def allowed(level: float, rounds: int) -> float:
    """The level and two Monte Carlo errors."""
    return level + 2 * math.sqrt(level * (1 - level) / rounds)


GRID = grid.GRID
ROUNDS = 2000  # a true 95 % is four Monte Carlo errors inside of 93 to 97 %


@pytest.mark.parametrize("family", grid.FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("n", GRID)
def test_every_default_interval_holds_the_truth_in_93_to_97_of_100(family: Callable[[], Iterator[Any]], n: int) -> None:
    """The seed of each place of the grid is its name; `benchmarks/coverage.py` prints the whole of it."""
    outside = {}
    for cell in family():
        if cell.n == n:
            rounds = 3 * ROUNDS if cell.quick else ROUNDS
            inside, told = cell.held(rounds)
            assert told >= 0.8 * rounds, (cell.name, told)
            if not 0.93 <= inside / told <= 0.97:
                outside[cell.name] = inside / told
    assert not outside


def test_pass_rates_on_average_over_all_rates_from_5_to_95() -> None:
    """Exact: at a single rate no interval of a count can hold to 95 % (see the docs)."""
    for n in GRID:
        passed, rates = np.arange(n + 1), np.linspace(0.05, 0.95, 91)
        found = [ours.wilson_interval(k, n=n) for k in range(n + 1)]
        inside = np.array([[each.low <= rate <= each.high for each in found] for rate in rates])
        chances = binom.pmf(passed[None, :], n, rates[:, None])
        assert 0.93 <= float((inside * chances).sum(axis=1).mean()) <= 0.97


@pytest.mark.parametrize("size", [5, 12])
def test_six_sources_are_warned_of_and_measured(size: int) -> None:
    """Below ten sources nothing is promised: normal means are still held, rates cautiously, and each says so."""
    generator = np.random.default_rng(size)
    groups = np.repeat(np.arange(6), size)
    listed = groups.tolist()
    means = rates = 0
    for _ in range(ROUNDS):
        values = generator.normal(size=6)[groups] + generator.normal(size=len(groups))
        mean = ours.clustered_mean(values, clusters=listed)
        means += mean.low <= 0.0 <= mean.high
        rate, alike = generator.uniform(0.1, 0.9), generator.uniform(0.05, 0.5)
        weight = (1 - alike) / alike
        chances = generator.beta(rate * weight, (1 - rate) * weight, 6)[groups]
        share = ours.proportion_of_cases((generator.random(len(groups)) < chances)[:, None].tolist(), clusters=listed)
        rates += share.low <= rate <= share.high
        if share.method.startswith("Wilson"):
            assert mean.warning == share.warning == FEW
    assert 0.93 <= means / ROUNDS <= 0.97
    assert 0.93 <= rates / ROUNDS <= 0.98


@pytest.mark.parametrize("n", GRID)
def test_tests_of_no_difference_err_no_oftener_than_they_say(n: int) -> None:
    """McNemar exactly, over pairs of which a fifth differs; Welch by drawing."""
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
    generator = np.random.default_rng(n)
    welch = 0
    for sides in generator.exponential(size=(2000, 2, n)):
        welch += ours.independent_difference(sides[0], candidate=sides[1])[1].value <= 0.05
    assert welch / 2000 <= allowed(0.05, 2000)


@pytest.mark.parametrize("n", GRID)
def test_fishers_test_errs_no_oftener_than_it_says(n: int) -> None:
    generator, rounds = np.random.default_rng(n), ROUNDS
    raised = 0
    seen: dict[tuple[int, int], bool] = {}
    for _ in range(rounds):
        rate = generator.uniform(0.05, 0.95)
        sides = int(generator.binomial(n, rate)), int(generator.binomial(n, rate))
        if sides not in seen:
            p = ours.fisher_exact_p(baseline=(sides[0], n), candidate=(sides[1], n)).value
            seen[sides] = p is not None and p <= 0.05
        raised += seen[sides]
    assert raised / rounds <= allowed(0.05, rounds)


@pytest.mark.parametrize("n", GRID)
@pytest.mark.parametrize("kind", ["numbers", "skewed costs", "repeats", "sources"])
def test_sign_flips_as_they_ship_err_no_oftener_than_they_say(n: int, kind: str) -> None:
    """9,999 draws of seed 0 for every sample; done for all samples at once, a few are compared with `sign_flip_p`."""
    generator, rounds = np.random.default_rng(n + len(kind)), ROUNDS
    groups = np.repeat(np.arange(n // 2), 2)[:n]
    if kind == "numbers":
        drawn = generator.normal(size=(rounds, n)) + generator.laplace(size=(rounds, n))
    elif kind == "skewed costs":
        sides = generator.lognormal(0, 1, size=(2, rounds, n)) * generator.lognormal(0, 0.5, size=(rounds, n))
        drawn = sides[1] - sides[0]
    elif kind == "repeats":
        tried = generator.binomial(3, generator.beta(3, 1, (rounds, n)), (2, rounds, n)) / 3
        drawn = tried[1] - tried[0]
    else:
        drawn = generator.normal(size=(rounds, n // 2))[:, groups] + generator.normal(size=(rounds, n))
    given = groups.tolist() if kind == "sources" else None
    sums = drawn if given is None else drawn[:, ::2] + drawn[:, 1::2]
    moved = [np.sort(row[row != 0]) for row in sums]
    raised = 0
    p = np.full(rounds, np.nan)
    for size in {len(row) for row in moved}:
        places = [place for place, row in enumerate(moved) if len(row) == size]
        if size <= 16:
            for place in places:
                p[place] = ours.sign_flip_p(drawn[place], clusters=given).value
            continue
        rows = np.stack([moved[place] for place in places])
        seen = np.abs(rows.sum(axis=1)) - 1e-12 * np.abs(rows).sum(axis=1)
        p[places] = (1 + flips_as_large(rows, seen=seen)) / 10_000
    for place in range(0, rounds, rounds // 3):
        assert ours.sign_flip_p(drawn[place], clusters=given).value == pytest.approx(p[place], abs=1e-12)
    raised = int(np.count_nonzero(p <= 0.05))
    assert raised / rounds <= allowed(0.05, rounds)


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


@pytest.mark.parametrize("n", GRID)
def test_a_gate_of_scores_that_seldom_differ_errs_no_oftener_than_alpha(n: int) -> None:
    """Of a tenth to a half of the cases each loses or gains up to 1; the margin is the true loss."""
    generator = np.random.default_rng(n)
    rounds, passed, failed, tested = 2000, 0, 0, 0
    for _ in range(rounds):
        share, lost = generator.uniform(max(0.1, 3 / n), 0.5), generator.uniform(0.5, 1)
        by = generator.random(n) * np.where(generator.random(n) < lost, -1.0, 1.0)
        values = np.where(generator.random(n) < share, by, 0.0)
        if values.any():
            found = ours.margin_test(values.tolist(), margin=share * (2 * lost - 1) / 2, yes_no=False)
            tested += 1
            passed += found.no_worse <= 0.05
            failed += found.worse <= 0.05
    assert max(passed, failed) / tested <= allowed(0.05, tested)


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
