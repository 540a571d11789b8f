"""Agreement statistics against independent implementations, and where they refuse."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.agreement import (
    Ratings,
    accuracy,
    cohen_kappa,
    constant_baseline,
    gwet_ac1,
    pabak,
)
from tracekit_evaluators.calibration.alpha import krippendorff_alpha
from tracekit_evaluators.calibration.confusion import Confusion, combined_rates, confusion
from tracekit_evaluators.calibration.correlation import intraclass_correlation, kendall, spearman
from tracekit_evaluators.calibration.panels import (
    dawid_skene,
    error_correlations,
    independent_judges,
    log_odds_weight,
)
from tracekit_evaluators.calibration.probabilities import (
    brier,
    cross_fitted,
    expected_calibration_error,
    isotonic,
    platt,
    reliability_table,
)

_spec = importlib.util.spec_from_file_location("agreement_oracles", Path(__file__).with_name("agreement_oracles.py"))
assert _spec is not None
assert _spec.loader is not None
oracles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracles)
RECORDED = json.loads(Path(__file__).with_name("agreement_oracles.json").read_text(encoding="utf-8"))

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60)


def tables(seed: int, k: int = 3, n: int = 80) -> tuple[list[int], list[int]]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, k, n)
    other = np.where(generator.random(n) < 0.6, truth, generator.integers(0, k, n))
    return [int(each) for each in truth], [int(each) for each in other]


@pytest.mark.parametrize("seed", range(3))
def test_kappas_are_those_of_statsmodels_and_sklearn(seed: int) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    sklearn = pytest.importorskip("sklearn.metrics")
    one, two = tables(seed)
    ratings = Ratings(one, two)
    found = inter_rater.cohens_kappa(ratings.table(), return_results=False)
    assert cohen_kappa(ratings).value == pytest.approx(float(found), abs=1e-9)
    for weights in ("linear", "quadratic"):
        theirs = sklearn.cohen_kappa_score(one, two, weights=weights)
        assert cohen_kappa(ratings, weights=weights).value == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", sorted(oracles.TABLES))
def test_agreement_is_what_irrcac_says_to_a_billionth(name: str) -> None:
    """Its answers are recorded; `agreement_oracles` says how they were made."""
    one, two = oracles.table(name)
    theirs, ratings = RECORDED["agreement"][name], Ratings(one, two)
    pairs = list(zip(one, two, strict=True))
    found = {
        "gwet identity": gwet_ac1(ratings),
        "conger identity": cohen_kappa(ratings),
        "conger linear": cohen_kappa(ratings, weights="linear"),
        "conger quadratic": cohen_kappa(ratings, weights="quadratic"),
        "krippendorff identity": krippendorff_alpha(pairs),
        "krippendorff quadratic": krippendorff_alpha(pairs, measurement="interval"),
    }
    if len({*one, *two}) == 2:
        found["bp identity"] = pabak(ratings)
    assert {key: each.value for key, each in found.items()} == pytest.approx(
        {key: theirs[key] for key in found}, abs=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_that_of_the_package_krippendorff(seed: int) -> None:
    import krippendorff

    one, two = tables(seed)
    generator = np.random.default_rng(seed)
    matrix = np.array([one, two, tables(seed + 100)[0]], dtype=float)
    matrix[generator.random(matrix.shape) < 0.25] = np.nan
    units = [[None if math.isnan(value) else float(value) for value in column] for column in matrix.T]
    for measurement in ("nominal", "ordinal", "interval"):
        found = krippendorff.alpha(reliability_data=matrix, level_of_measurement=measurement)
        assert krippendorff_alpha(units, measurement=measurement).value == pytest.approx(found, abs=1e-9)


def test_krippendorffs_own_example_with_missing_values() -> None:
    raters = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [list(column) for column in zip(*raters, strict=True)]
    found = [krippendorff_alpha(units, measurement=each).value for each in ("nominal", "ordinal", "interval")]
    assert [round(value, 3) for value in found] == [0.743, 0.815, 0.849]


@pytest.mark.parametrize("seed", range(3))
def test_rates_of_a_yes_or_no_judge_are_those_of_sklearn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    one, two = ([value == 1 for value in side] for side in tables(seed, k=2))
    found = combined_rates(one, two)
    assert found["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(two, one), abs=1e-9)
    assert found["mcc"].value == pytest.approx(metrics.matthews_corrcoef(two, one), abs=1e-9)
    assert found["f1"].value == pytest.approx(metrics.f1_score(two, one), abs=1e-9)
    assert all(each.low < each.value < each.high for each in found.values())
    rates = confusion(one, two).rates()
    assert rates["tpr"].value == pytest.approx(metrics.recall_score(two, one))
    assert rates["precision"].value == pytest.approx(metrics.precision_score(two, one))


def test_agreement_of_91_percent_may_be_little() -> None:
    """A judge that catches 3 of 10 failures where 90 % are good."""
    table = Confusion(tp=88, fp=7, fn=2, tn=3)
    judged = [True] * 95 + [False] * 5
    human = [True] * 88 + [False] * 7 + [True] * 2 + [False] * 3
    assert confusion(judged, human) == table
    ratings = Ratings(judged, human)
    assert accuracy(ratings).value == 0.91
    assert round(cohen_kappa(ratings).value, 2) == 0.36
    assert round(combined_rates(judged, human)["balanced_accuracy"].value, 2) == 0.64
    assert constant_baseline(ratings) == (True, 0.9)
    assert round(pabak(ratings).value, 2) == 0.82
    assert (table.prevalence, round(table.youden, 3)) == (0.9, 0.278)


@given(labels)
@settings(max_examples=40, deadline=None)
def test_agreement_knows_no_order_of_items_or_raters(pairs: list[tuple[int, int]]) -> None:
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    for statistic in (cohen_kappa, gwet_ac1, accuracy):
        there = statistic(Ratings(one, two)).value
        back = statistic(Ratings(two[::-1], one[::-1])).value
        assert there == back or there == pytest.approx(back, abs=1e-12)
        assert there is None or there <= 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40).filter(lambda each: len(set(each)) > 1))
@settings(max_examples=20, deadline=None)
def test_a_rater_agrees_perfectly_with_itself(said: list[int]) -> None:
    ratings = Ratings(said, said)
    assert cohen_kappa(ratings).value == pytest.approx(1.0)
    assert gwet_ac1(ratings).value == pytest.approx(1.0)
    assert krippendorff_alpha([[each, each] for each in said], measurement="ordinal").value == pytest.approx(1.0)


def test_full_agreement_of_few_is_no_certainty() -> None:
    few, many = (Ratings([0, 1] * n, [0, 1] * n) for n in (5, 50))
    assert (cohen_kappa(few).value, round(cohen_kappa(few).low, 3)) == (1.0, 0.383)
    assert round(cohen_kappa(many).low, 3) == 0.928
    assert cohen_kappa(many).method == "Clopper-Pearson, rescaled: all agree"
    assert round(gwet_ac1(many).low, 3) == 0.928


def test_kappa_is_undefined_rather_than_0_where_labels_do_not_vary() -> None:
    found = cohen_kappa(Ratings([1, 1, 1], [1, 1, 1]))
    assert (found.value, found.method) == (None, "kappa is undefined here: the labels do not vary")
    assert cohen_kappa(Ratings([], [])).method == "no items"
    assert krippendorff_alpha([[1, None]]).method == "no item was rated twice"


def test_a_seed_decides_the_interval_and_clusters_widen_it() -> None:
    one, two = tables(1, k=2, n=40)
    plain = cohen_kappa(Ratings(one, two))
    assert plain == cohen_kappa(Ratings(one, two))
    assert plain.method == "BCa bootstrap over items (2000 resamples, seed 0)"
    fivefold = Ratings(one * 5, two * 5, clusters=list(range(40)) * 5)
    clustered, naive = cohen_kappa(fivefold), cohen_kappa(Ratings(one * 5, two * 5))
    assert clustered.high - clustered.low > 1.8 * (naive.high - naive.low)
    assert clustered.clusters == 40


def test_the_bootstrap_interval_of_kappa_holds_the_truth() -> None:
    truth = np.array([[0.42, 0.08], [0.10, 0.40]])
    expected = (truth * np.outer(truth.sum(1), truth.sum(0)) * 0).sum() + float(
        np.outer(truth.sum(1), truth.sum(0)).trace()
    )
    kappa = (float(truth.trace()) - expected) / (1 - expected)
    generator = np.random.default_rng(5)
    held, rounds = 0, 300
    for _ in range(rounds):
        cells = generator.choice(4, size=80, p=truth.ravel())
        found = cohen_kappa(Ratings([int(each) for each in cells // 2], [int(each) for each in cells % 2]))
        held += found.low <= kappa <= found.high
    assert 0.91 <= held / rounds <= 0.98


def test_correlations_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(2)
    one = generator.integers(0, 8, 700).astype(float)
    two = one + generator.integers(-3, 4, 700)
    assert spearman(one, two).value == pytest.approx(stats.spearmanr(one, two).statistic, abs=1e-9)
    assert kendall(one, two).value == pytest.approx(stats.kendalltau(one, two).statistic, abs=1e-9)
    assert spearman([1, 1, 1], [1, 2, 3]).value is None
    assert kendall([], []).method == "no items"


def test_the_intraclass_correlation_is_shrout_and_fleiss_own() -> None:
    rows = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert round(intraclass_correlation(rows).value, 2) == 0.29
    with pytest.raises(UsageError, match="every rater's number"):
        intraclass_correlation([[1, 2], [1]])


def test_probabilities_are_scored_and_mended_as_sklearn_does() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    regression = pytest.importorskip("sklearn.isotonic")
    generator = np.random.default_rng(3)
    said = generator.random(400)
    came = generator.random(400) < said**3  # overconfident
    p, y = said.tolist(), came.tolist()
    assert brier(p, y).value == pytest.approx(metrics.brier_score_loss(y, p), abs=1e-12)
    theirs = regression.IsotonicRegression().fit(said, came)
    assert isotonic(p, y)(said) == pytest.approx(theirs.predict(said), abs=1e-9)
    before = expected_calibration_error(p, y)
    assert 0.2 < before < 0.3
    for method in ("isotonic", "platt"):
        mended = cross_fitted(p, y, method=method)
        assert expected_calibration_error(mended, y) < before / 2
        assert brier(mended, y).value < brier(p, y).value
    assert sum(each.n for each in reliability_table(p, y)) == 400
    assert float(platt([0.1, 0.9], [False, True])(np.array([0.9]))[0]) < 0.9  # two labels prove little


@pytest.mark.parametrize(
    ("p", "y", "match"),
    [([1.2], [True], "between 0 and 1"), ([0.5], [], "1 outcomes"), ([float("nan")], [True], "NaN")],
)
def test_what_is_no_probability_is_refused(p: list[float], y: list[bool], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        brier(p, y)


def test_a_panel_of_copies_is_one_judge() -> None:
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 2, 400)

    def judge(right: float) -> list[int]:
        return [int(each) for each in np.where(generator.random(400) < right, truth, 1 - truth)]

    first = judge(0.8)
    gold = [int(each) for each in truth]
    assert error_correlations({"a": first, "b": first}, gold) == {("a", "b"): 1.0}
    assert independent_judges({"a": first, "b": first, "c": first}, gold) == 1.0
    assert independent_judges({"a": first, "b": judge(0.8), "c": judge(0.8)}, gold) > 2.4


def test_dawid_and_skene_find_the_good_judge_without_labels() -> None:
    generator = np.random.default_rng(6)
    truth = generator.integers(0, 2, 500)
    accuracies = {"good": 0.95, "fair": 0.75, "poor": 0.6, "absent": 0.75}
    votes = {}
    for name, right in accuracies.items():
        said = np.where(generator.random(500) < right, truth, 1 - truth)
        votes[name] = [int(each) if name != "absent" or place % 2 else None for place, each in enumerate(said)]
    found = dawid_skene(votes)
    for name, right in accuracies.items():
        assert found.accuracy[name] == pytest.approx(right, abs=0.07)
    hits = np.mean([one == two for one, two in zip(found.verdicts, truth, strict=True)])
    assert hits > 0.94
    assert log_odds_weight(0.95, 0.95, labels=500) > 2 * log_odds_weight(0.75, 0.75, labels=500)
    assert log_odds_weight(0.4, 0.5, labels=500) == 0.0
    with pytest.raises(UsageError, match="at least three"):
        dawid_skene({"a": [1], "b": [1]})
