"""Statistics against oracles: scipy, statsmodels, hand-worked numbers."""

from __future__ import annotations

import doctest
import importlib
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import statistics as ours
from tracekit_evaluators.statistics.clusters import degrees_of_freedom, spread

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scipy.linalg
    import scipy.stats
    import statsmodels.api as sm
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

CLOSE = 1e-9
MODULES = (
    "bootstrap",
    "differences",
    "distributions",
    "estimate",
    "intervals",
    "missing",
    "multiplicity",
    "repeats",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"tracekit_evaluators.statistics.{name}")
    assert doctest.testmod(module).failed == 0


# One run


@pytest.mark.parametrize(("passed", "n"), [(1, 3), (7, 10), (84, 200), (999, 1_000_000)])
def test_wilson_equals_statsmodels(passed: int, n: int) -> None:
    found = ours.wilson_interval(passed, n=n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(passed, n, method="wilson"), abs=CLOSE)


@pytest.mark.parametrize(("passed", "n"), [(0, 1), (0, 30), (30, 30), (7, 10)])
def test_clopper_pearson_equals_statsmodels(passed: int, n: int) -> None:
    found = ours.clopper_pearson_interval(passed, n=n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(passed, n, method="beta"), abs=CLOSE)


def test_all_or_none_passing_switches_wilson_to_clopper_pearson() -> None:
    found = ours.wilson_interval(3, n=3)
    assert (found.value, found.high, found.method) == (1.0, 1.0, "Clopper-Pearson")
    assert found.low == pytest.approx(0.2924017738, abs=1e-9)


def test_mean_interval_equals_scipy() -> None:
    values = np.random.default_rng(1).normal(3, 2, 37)
    found = ours.mean_interval(values)
    low, high = scipy.stats.t.interval(0.95, 36, loc=values.mean(), scale=scipy.stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=CLOSE)


def test_clustered_mean_equals_statsmodels_where_clusters_are_of_one_size() -> None:
    generator = np.random.default_rng(2)
    clusters = np.repeat(np.arange(12), 7)
    values = generator.normal(0, 1, 84) + clusters * 0.3
    fit = sm.OLS(values, np.ones(84)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, use_t=True
    )
    found = ours.clustered_mean(values, clusters=clusters.tolist())
    assert found.standard_error == pytest.approx(float(fit.bse[0]) * math.sqrt(12 / 11), abs=CLOSE)
    half = scipy.stats.t.ppf(0.975, 11) * found.standard_error
    assert found.high == pytest.approx(values.mean() + half, abs=CLOSE)


@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
def test_clusters_of_unequal_size_get_the_error_and_degrees_of_the_whole_matrices(alike: float) -> None:
    """CR2 and its degrees of freedom as Bell and McCaffrey write them, with n × n matrices."""
    generator = np.random.default_rng(3)
    codes = np.repeat(np.arange(8), [1, 1, 2, 3, 5, 8, 13, 21])
    n, values = len(codes), generator.normal(size=len(codes))
    hat = np.full((n, n), 1 / n)
    error, columns = 0.0, []
    for cluster in range(8):
        inside = codes == cluster
        size = int(inside.sum())
        adjusted = np.real(scipy.linalg.inv(scipy.linalg.sqrtm(np.eye(size) - hat[np.ix_(inside, inside)])))
        error += float(np.sum(adjusted @ (values - values.mean())[inside])) ** 2 / n**2
        columns.append((np.eye(n) - hat)[:, inside] @ adjusted @ np.ones(size) / n)
    omega = (1 - alike) * np.eye(n) + alike * (codes[:, None] == codes[None, :])
    roots = np.linalg.eigvalsh(np.array(columns) @ omega @ np.array(columns).T)
    found = spread(values, codes, 8)
    assert found.standard_error == pytest.approx(math.sqrt(error), abs=CLOSE)
    degrees = degrees_of_freedom(np.bincount(codes).astype(float), alike)
    assert degrees == pytest.approx(max(1.0, float(roots.sum() ** 2 / np.square(roots).sum())), abs=1e-6)
    assert degrees < 6


def test_mean_of_cases_is_the_clustered_mean_when_repeats_are_balanced() -> None:
    cases = np.random.default_rng(3).normal(size=(20, 4))
    by_case = ours.mean_of_cases(cases.tolist())
    by_row = ours.clustered_mean(cases.ravel(), clusters=[row for row in range(20) for _ in range(4)])
    assert (by_case.value, by_case.low, by_case.high) == pytest.approx(
        (by_row.value, by_row.low, by_row.high), abs=CLOSE
    )


@pytest.mark.parametrize(
    ("values", "value", "reason"),
    [
        ([], None, "no scores"),
        ([0.5], 0.5, "one value has no spread to make an interval from"),
        ([0.1, 0.1, 0.1], 0.1, "all values are equal: no spread to make an interval from"),
    ],
)
def test_too_little_data_gives_no_interval_and_says_why(values: list[float], value: float | None, reason: str) -> None:
    found = ours.mean_interval(values)
    assert (found.value, found.low, found.high, found.method) == (value, None, None, reason)


def test_nan_is_refused_because_an_unscored_case_is_not_a_number() -> None:
    with pytest.raises(UsageError, match="leave out what was not scored"):
        ours.mean_interval([1.0, math.nan])


def test_repeated_trials_widen_the_interval_of_a_pass_rate() -> None:
    alike = ours.proportion_of_cases([[1, 1, 1, 1]] * 10 + [[0, 0, 0, 0]] * 10)
    mixed = ours.proportion_of_cases([[1, 0, 1, 0]] * 20)
    assert alike.value == mixed.value == 0.5
    assert alike.high - alike.low > mixed.high - mixed.low
    assert (mixed.low, mixed.high) == pytest.approx(proportion_confint(40, 80, method="wilson"), abs=CLOSE)


def test_every_case_passing_every_time_counts_cases_not_trials() -> None:
    found = ours.proportion_of_cases([[1, 1, 1]] * 5)
    assert found.low == pytest.approx(proportion_confint(5, 5, method="beta")[0], abs=CLOSE)


# Repeats


def test_pass_hat_k_and_pass_at_k_by_hand() -> None:
    trials = ours.trials_of([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], []])
    assert trials == [(4, 4), (2, 4), (1, 4)]
    hat = [ours.pass_hat_k(trials, k=k).value for k in (1, 2, 3, 4)]
    assert hat == pytest.approx([7 / 12, (1 + 1 / 6) / 3, 1 / 3, 1 / 3])
    at = [ours.pass_at_k(trials, k=k).value for k in (1, 2, 3, 4)]
    assert at == pytest.approx([7 / 12, (1 + 5 / 6 + 1 / 2) / 3, (1 + 1 + 3 / 4) / 3, 1.0])


def test_pass_hat_k_refuses_a_k_that_a_case_cannot_answer() -> None:
    with pytest.raises(UsageError, match="1 of 2 cases have fewer than 3 trials"):
        ours.pass_hat_k([(3, 3), (2, 2)], k=3)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)).map(lambda t: (min(t), t[1])), min_size=1),
)
@settings(max_examples=50, deadline=None)
def test_pass_hat_k_falls_and_pass_at_k_rises_with_k(trials: list[tuple[int, int]]) -> None:
    most = min(n for _, n in trials)
    hat = [ours.pass_hat_k(trials, k=k) for k in range(1, most + 1)]
    at = [ours.pass_at_k(trials, k=k) for k in range(1, most + 1)]
    assert hat[0].value == pytest.approx(at[0].value)
    for lower, higher in zip(hat[1:], hat, strict=False):
        assert lower.value <= higher.value + 1e-12
    for lower, higher in itertools.pairwise(at):
        assert lower.value <= higher.value + 1e-12
    for found in (*hat, *at):
        assert found.low is None or 0 <= found.low <= found.value + 1e-12 <= found.high + 2e-12 <= 1 + 3e-12


def test_bootstrap_equals_scipy() -> None:
    values = np.sort(np.random.default_rng(4).exponential(size=40))
    found = ours.bca_interval(values, seed=7, resamples=1000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=1000, method="BCa", rng=np.random.default_rng(7), vectorized=True
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_same_seed_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=30)
    whole = ours.bca_interval(values)
    monkeypatch.setattr("tracekit_evaluators.statistics.bootstrap._CELLS", 1000)
    assert ours.bca_interval(values) == whole


# Two runs


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (12, 3), (3, 12), (5, 5), (200, 150)])
def test_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    expected = mcnemar([[10, gained], [lost, 20]], exact=True).pvalue
    assert ours.mcnemar_exact_p(gained=gained, lost=lost).value == pytest.approx(min(1, expected), abs=CLOSE)


def test_exact_sign_flip_equals_scipy() -> None:
    differences = np.array([0.5, -0.25, 1.0, 0.75, 0.0, 0.25, -0.5, 1.25])
    theirs = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    found = ours.sign_flip_p(differences)
    assert (found.value, found.test) == (pytest.approx(theirs, abs=CLOSE), "sign-flip permutation, exact")


def test_drawn_sign_flip_is_close_to_the_t_test() -> None:
    differences = np.random.default_rng(6).normal(0.25, 1, 80)
    found = ours.sign_flip_p(differences)
    assert found.test == "sign-flip permutation (9999 draws, seed 0)"
    assert found.value == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert found == ours.sign_flip_p(differences)


def test_many_differences_are_tested_by_t() -> None:
    differences = np.random.default_rng(6).normal(0.05, 1, 3000)
    found = ours.sign_flip_p(differences)
    assert found.value == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=CLOSE)


def test_whole_clusters_flip_together() -> None:
    assert ours.sign_flip_p([1.0] * 6, clusters=list("aabbcc")).value == 0.25


def test_sign_flip_of_binary_differences_is_mcnemar() -> None:
    differences = [1.0] * 9 + [-1.0] * 3 + [0.0] * 20
    assert ours.sign_flip_p(differences).value == pytest.approx(ours.mcnemar_exact_p(gained=9, lost=3).value, abs=CLOSE)


def test_paired_difference_equals_scipy() -> None:
    generator = np.random.default_rng(8)
    before, after = generator.normal(size=(2, 25))
    theirs = scipy.stats.ttest_rel(after, before).confidence_interval()
    found = ours.paired_difference(after - before)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=CLOSE)


def test_welch_equals_scipy() -> None:
    generator = np.random.default_rng(9)
    before, after = generator.normal(size=30), generator.normal(0.4, 2, 45)
    theirs = scipy.stats.ttest_ind(after, before, equal_var=False)
    interval = theirs.confidence_interval()
    found, p = ours.independent_difference(before, candidate=after)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=CLOSE)
    assert p.value == pytest.approx(theirs.pvalue, abs=CLOSE)


@pytest.mark.parametrize(("before", "after"), [((48, 80), (56, 70)), ((0, 10), (3, 9)), ((5, 5), (7, 7))])
def test_newcombe_equals_statsmodels(before: tuple[int, int], after: tuple[int, int]) -> None:
    found = ours.independent_proportion_difference(baseline=before, candidate=after)
    theirs = confint_proportions_2indep(*after, *before, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(theirs, abs=CLOSE)


def test_effect_size_is_the_mean_over_the_spread() -> None:
    assert ours.paired_effect_size([1.0, 2.0, 3.0]) == pytest.approx(2.0)
    assert ours.paired_effect_size([1.0, 1.0]) is None


def test_no_pairs_and_one_pair_are_answers_too() -> None:
    assert ours.paired_difference([]).method == "no pairs"
    assert ours.sign_flip_p([]).value is None
    assert ours.paired_difference([0.2]).low is None
    assert ours.sign_flip_p([0.2]).value == 1.0
    assert ours.paired_proportion_difference(gained=0, lost=0, n=0).value is None
    assert ours.independent_difference([], candidate=[1.0])[0].value is None
    assert ours.independent_difference([1.0, 1.0], candidate=[1.0, 1.0])[1].value is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
def test_adjusted_p_values_equal_statsmodels(p_values: list[float | None]) -> None:
    known = [p for p in p_values if p is not None]
    for mine, method in ((ours.holm, "holm"), (ours.benjamini_hochberg, "fdr_bh")):
        found = mine(p_values)
        assert [p is None for p in found] == [p is None for p in p_values]
        expected = multipletests(known, method=method)[1].tolist() if known else []
        assert [p for p in found if p is not None] == pytest.approx(expected, abs=CLOSE)


# What was not scored


def test_coverage_counts_what_could_have_been_scored() -> None:
    found = ours.coverage(["scored", "scored", "timeout", "not_applicable", "judge_error", "timeout"])
    assert (found.scored, found.eligible, found.share) == (2, 5, 0.4)
    assert found.missing == {"judge_error": 1, "not_applicable": 1, "timeout": 2}
    assert ours.coverage([]).share is None


@given(st.lists(st.lists(st.one_of(st.none(), st.sampled_from([0.0, 1.0])), min_size=1, max_size=4), min_size=1))
def test_bounds_hold_whatever_the_missing_scores_are(cases: list[list[float | None]]) -> None:
    low, high = ours.worst_case_bounds(cases)
    for fill in (0.0, 0.25, 1.0):
        filled = ours.mean_of_cases([[fill if value is None else value for value in case] for case in cases])
        assert low - 1e-12 <= filled.value <= high + 1e-12


# Whatever comes in


FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


@given(FINITE)
@settings(deadline=None)
def test_no_statistic_answers_nan(values: list[float]) -> None:
    estimates = [
        ours.mean_interval(values),
        ours.clustered_mean(values, clusters=[index % 3 for index in range(len(values))]),
        ours.paired_difference(values),
        ours.bca_interval(values, resamples=50),
        ours.independent_difference(values, candidate=values[:5])[0],
    ]
    for found in estimates:
        for number in (found.value, found.low, found.high, found.standard_error):
            assert number is None or math.isfinite(number)
        assert found.method
        assert found.low is None or found.low <= found.high
    p = ours.sign_flip_p(values, resamples=50).value
    assert p is None or 0 < p <= 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.floats(-1e3, 1e3))
def test_shifting_values_shifts_the_interval(values: list[float], shift: float) -> None:
    before, after = ours.mean_interval(values), ours.mean_interval([value + shift for value in values])
    assert after.value == pytest.approx(before.value + shift, abs=1e-6)
    if before.low is not None and after.low is not None:
        assert after.high - after.low == pytest.approx(before.high - before.low, rel=1e-6, abs=1e-6)


# Monte Carlo: coverage and false alarms within Monte Carlo error of what is promised


def test_intervals_hold_the_truth_as_often_as_they_promise() -> None:
    """Of 1500 repetitions at 95 %, 1415 ± 34 would be two Monte Carlo errors below 95 %."""
    generator = np.random.default_rng(10)
    held = {"wilson": 0, "repeats": 0, "clusters": 0}
    rounds = 1500
    for _ in range(rounds):
        flat = ours.wilson_interval(int(generator.binomial(40, 0.8)), n=40)
        held["wilson"] += flat.low <= 0.8 <= flat.high
        chances = generator.beta(2, 2, 50)  # cases differ; their mean chance is 0.5
        repeated = ours.proportion_of_cases((generator.random((4, 50)) < chances).T.astype(float).tolist())
        held["repeats"] += repeated.low <= 0.5 <= repeated.high
        values = generator.normal(size=(25, 1)) + generator.normal(size=(25, 4)) * 0.5
        grouped = ours.clustered_mean(values.ravel(), clusters=np.repeat(np.arange(25), 4).tolist())
        held["clusters"] += grouped.low <= 0 <= grouped.high
    shares = {name: count / rounds for name, count in held.items()}
    assert all(0.935 <= share <= 0.975 for share in shares.values()), shares


def test_tests_raise_false_alarms_no_oftener_than_they_promise() -> None:
    generator = np.random.default_rng(11)
    rounds, alarms = 1000, {"mcnemar": 0, "sign flip": 0, "interval": 0}
    for _ in range(rounds):
        before, after = generator.random((2, 60)) < 0.7
        gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
        alarms["mcnemar"] += ours.mcnemar_exact_p(gained=gained, lost=lost).value < 0.05
        found = ours.paired_proportion_difference(gained=gained, lost=lost, n=60)
        alarms["interval"] += not found.low <= 0 <= found.high
        alarms["sign flip"] += ours.sign_flip_p(generator.normal(size=12)).value < 0.05
    shares = {name: count / rounds for name, count in alarms.items()}
    assert all(share <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / rounds) for share in shares.values()), shares


def test_the_order_of_values_does_not_matter() -> None:
    values = np.random.default_rng(12).normal(0.2, 1, 40)
    turned = values[::-1].copy()
    assert ours.bca_interval(values) == ours.bca_interval(turned)
    assert ours.sign_flip_p(values) == ours.sign_flip_p(turned)
