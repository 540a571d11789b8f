"""Statistics of two runs, of clusters, ratios, plans and bettors, against oracles and hand-worked numbers."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from tracekit.errors import UsageError
from tracekit_evaluators import statistics as ours
from tracekit_evaluators.statistics.paired import tango_p

CLOSE = 1e-9
MODULES = ("cases", "clusters", "heaped", "noninferiority", "paired", "power", "ratios", "sequential")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"tracekit_evaluators.statistics.{name}")).failed == 0


@pytest.mark.parametrize(("gained", "lost", "n", "difference"), [(1, 7, 21, -0.1), (12, 3, 60, 0.3), (0, 0, 20, -0.05)])
def test_tango_maximises_the_likelihood_under_the_difference(gained: int, lost: int, n: int, difference: float) -> None:
    """The closed form against a numerical maximum of the constrained likelihood."""

    def loss(q: float) -> float:
        shares = (q + difference, q, 1 - 2 * q - difference)
        counts = (gained, lost, n - gained - lost)
        return -sum(count * math.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    q = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    wanted = (gained - lost - n * difference) / math.sqrt(n * (2 * q + difference * (1 - difference)))
    found = ours.tango_z(gained=gained, lost=lost, n=n, difference=difference)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_tango_interval_is_what_its_test_does_not_reject() -> None:
    found = ours.tango_difference(gained=12, lost=3, n=60)
    assert tango_p(gained=12, lost=3, n=60, difference=found.low) == pytest.approx(0.025, abs=CLOSE)
    assert tango_p(gained=12, lost=3, n=60, difference=found.high) == pytest.approx(0.975, abs=CLOSE)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_tango_mirrors_when_the_runs_change_places(gained: int, lost: int, same: int) -> None:
    n = gained + lost + same
    one, other = (ours.tango_difference(gained=a, lost=b, n=n) for a, b in ((gained, lost), (lost, gained)))
    if n:
        assert -1 <= one.low <= one.value <= one.high <= 1
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(1, 7), (12, 3), (5, 5), (0, 4)])
def test_mid_p_is_the_exact_one_less_half_of_what_was_seen_on_either_side(gained: int, lost: int) -> None:
    n = gained + lost
    point = stats.binom.pmf(min(gained, lost), n, 0.5)
    wanted = 1 - point / 2 if gained == lost else 2 * stats.binom.cdf(min(gained, lost), n, 0.5) - point
    assert ours.mcnemar_mid_p(gained=gained, lost=lost).value == pytest.approx(wanted, abs=CLOSE)


def test_ratio_by_the_delta_method_by_hand() -> None:
    above, below = np.array([1.0, 2.0, 4.0, 3.0]), np.array([1.0, 1.0, 2.0, 1.0])
    rest = above - 2.0 * below
    half = stats.t.ppf(0.975, 3) * rest.std(ddof=1) / 2 / below.mean()
    found = ours.ratio_of_means(above, denominators=below, method="delta")
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half), abs=CLOSE)


def test_fieller_holds_exactly_the_ratios_that_a_t_test_does_not_reject() -> None:
    generator = np.random.default_rng(3)
    below = generator.uniform(0.5, 1.5, 30)
    above = 2 * below + generator.normal(0, 0.5, 30)
    found = ours.ratio_of_means(above, denominators=below)
    for end in (found.low, found.high):
        assert stats.ttest_1samp(above - end * below, 0).pvalue == pytest.approx(0.05, abs=1e-9)


def test_a_ratio_has_no_interval_where_its_denominator_could_be_nothing() -> None:
    found = ours.ratio_of_means([1.0] * 5, denominators=[0, 0, 0, 0, 1])
    assert (found.value, found.low) == (5.0, None)
    assert found.method.startswith("the denominator is not clearly different from 0")
    assert ours.ratio_of_means([1.0], denominators=[0.0]).value is None


def test_ten_clusters_with_a_long_tail_are_warned_of_twenty_are_not() -> None:
    for count, warned in ((10, True), (20, False)):
        groups = [i // 3 for i in range(3 * count)]
        values = [100.0 if i < 3 else float(i % 5) for i in range(3 * count)]
        assert (ours.clustered_mean(values, clusters=groups).warning is not None) is warned


def test_a_few_clusters_are_warned_of() -> None:
    groups = [i // 5 for i in range(30)]
    values = [float(i % 7 + 3 * (i // 5)) for i in range(30)]
    found = ours.clustered_mean(values, clusters=groups)
    assert found.method == "clustered Student t (6 clusters)"
    assert found.warning is not None
    assert found == ours.clustered_mean(values, clusters=groups)
    assert found.design_effect == pytest.approx(found.n / found.effective_n)
    assert ours.clustered_mean(values, clusters=list(range(30))).warning is None


def test_skewed_clusters_are_drawn_whole() -> None:
    groups = [i // 3 for i in range(60)]
    values = [100.0 if i < 3 else float(i % 5) for i in range(60)]
    found = ours.clustered_mean(values, clusters=groups)
    assert found.method == "cluster bootstrap-t (20 clusters, 4999 resamples, seed 0)"
    assert found.high - found.value > found.value - found.low
    order = np.random.default_rng(1).permutation(60)
    again = ours.clustered_mean([values[i] for i in order], clusters=[groups[i] for i in order])
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


def test_cases_alike_within_their_source_count_as_one() -> None:
    groups = [i // 4 for i in range(80)]
    rate = ours.proportion_of_cases([[float(i // 4 % 2)] for i in range(80)], clusters=groups)
    assert rate.design_effect == pytest.approx(79 * 20 / 19 / 20, rel=0.02)
    assert (rate.n, rate.clusters) == (80, 20)
    assert rate.high - rate.low > 1.7 * (ours.wilson_interval(40, n=80).high - 0.5)


def test_skewed_numbers_are_bootstrapped_even_ones_not() -> None:
    skewed = ours.mean_of_cases([[float(i**4)] for i in range(40)])
    assert skewed.method == "bootstrap-t (4999 resamples, seed 0)"
    assert ours.mean_of_cases([[float(i)] for i in range(40)]).method == "Student t"


def test_a_million_cases_take_no_time_and_three_are_enough() -> None:
    many = np.random.default_rng(1).integers(0, 2, 1_000_000).astype(float)
    found = ours.proportion_of_cases(many[:, None].tolist())
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 1000, rel=0.01)
    assert ours.mean_of_cases([[1.0], [2.0], [4.0]]).low < 1
    assert ours.proportion_of_cases([[1], [1], [0]]).low == pytest.approx(0.2077, abs=1e-4)


def test_the_design_of_a_comparison_as_published() -> None:
    """Detectable differences at a discordant rate of 0.2, in points."""
    spread = ours.binary_spread(0.2)
    found = [round(100 * ours.detectable(spread / math.sqrt(n)), 1) for n in (50, 100, 200, 500, 1000)]
    assert found == [17.7, 12.5, 8.9, 5.6, 4.0]


@given(st.floats(0.05, 1), st.floats(0.01, 0.5), st.sampled_from([1, 2]))
@settings(deadline=None)
def test_as_many_cases_as_needed_reach_the_power(spread: float, difference: float, sides: int) -> None:
    n = ours.cases_needed(spread, difference=difference, sides=sides)
    assert n is not None
    assert ours.power_of(n, spread=spread, difference=difference, sides=sides) >= 0.8 - 1e-9
    if n > 3:
        assert ours.power_of(n - 1, spread=spread, difference=difference, sides=sides) < 0.8 + 1e-9


def test_power_equals_statsmodels() -> None:
    from statsmodels.stats.power import normal_power

    ours_ = ours.power_of(100, spread=2.0, difference=0.5, sides=1)
    assert ours_ == pytest.approx(normal_power(0.25, 100, 0.05, alternative="larger"), abs=CLOSE)


def test_a_share_of_pairs_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="share of pairs"):
        ours.binary_spread(0.1, difference=0.2)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_bettor_step_by_step_is_the_bettor_at_once(values: list[float]) -> None:
    process = ours.EProcess(mean=-0.05, low=-1.0, high=1.0)
    for value in values:
        process.add(value)
    assert process.wealth == pytest.approx(float(ours.e_values(values, mean=-0.05, low=-1.0, high=1.0)[-1]), rel=1e-9)
    assert process.wealth >= 0


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60), st.floats(0, 0.3))
@settings(max_examples=80, deadline=None)
def test_a_margin_test_never_says_both(differences: list[float], margin: float) -> None:
    for yes_no in (True, False):
        found = ours.margin_test(differences, margin=margin, yes_no=yes_no)
        if found.no_worse is not None and found.worse is not None:
            assert 0 <= found.no_worse <= 1 + 1e-12
            assert 0 <= found.worse <= 1 + 1e-12
            assert found.no_worse + found.worse >= 1 - 1e-9 or margin == 0 or not yes_no


def test_equal_differences_bound_what_was_not_seen() -> None:
    few = ours.margin_test([0.0] * 20, margin=0.05, yes_no=False)
    many = ours.margin_test([0.0] * 100, margin=0.05, yes_no=False)
    assert (few.no_worse, many.no_worse) == pytest.approx((0.95**20, 0.95**100))
    assert many.estimate.low == pytest.approx(-(1 - 0.05**0.01))


def test_between_and_within_cases_by_hand() -> None:
    found = ours.repeats_of_cases([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    assert (found.within, found.between) == (pytest.approx(1 / 9), pytest.approx(0.25 - 1 / 36))
    assert found.advice == "more cases would help more than more repeats"
    assert ours.repeats_of_cases([[1], [0]]) is None
