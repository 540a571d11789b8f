"""PPI++ and Rogan-Gladen: what they say, how often their intervals hold the truth, and when they refuse."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.corrections import (
    Corrected,
    ppi_difference,
    ppi_mean,
    rogan_gladen,
    rogan_gladen_difference,
)

_spec = importlib.util.spec_from_file_location("agreement_oracles", Path(__file__).with_name("agreement_oracles.py"))
assert _spec is not None
assert _spec.loader is not None
oracles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracles)
RECORDED = json.loads(Path(__file__).with_name("agreement_oracles.json").read_text(encoding="utf-8"))
Reals = np.ndarray


def drawn(
    generator: np.random.Generator, n: int, rate: float = 0.7, tpr: float = 0.92, fpr: float = 0.25
) -> tuple[Reals, Reals]:
    """People's labels and a judge's verdicts."""
    human = generator.random(n) < rate
    judged = np.where(human, generator.random(n) < tpr, generator.random(n) < fpr)
    return human.astype(float), judged.astype(float)


def rates(human: Reals, judged: Reals) -> dict[str, tuple[int, int]]:
    yes = human == 1
    return {
        "caught": (int(judged[yes].sum()), int(yes.sum())),
        "cleared": (int((1 - judged[~yes]).sum()), int((~yes).sum())),
    }


def held(
    rounds: int, truth: float, once: Callable[[np.random.Generator], Corrected], seed: int = 1
) -> tuple[float, float, float]:
    """Share of corrected and of naive intervals that hold the truth, and the mean width of the corrected ones."""
    generator = np.random.default_rng(seed)
    inside, naive, width = 0, 0, 0.0
    for _ in range(rounds):
        found = once(generator)
        assert found.estimate.low is not None, found.estimate.method
        inside += found.estimate.low <= truth <= found.estimate.high
        naive += found.naive.low <= truth <= found.naive.high
        width += (found.estimate.high - found.estimate.low) / rounds
    return inside / rounds, naive / rounds, width


@pytest.mark.parametrize("kind", ["yes or no", "numbers"])
@pytest.mark.parametrize("name", sorted(oracles.SAMPLES))
def test_ppi_is_that_of_ppi_python_to_a_thousandth(name: str, kind: str) -> None:
    """Its answers are recorded; `agreement_oracles` says how they were made. Below 100 labels ours are not normal."""
    human, judged, rest = oracles.sample(name, yes_no=kind == "yes or no")
    value, low, high = RECORDED["ppi"][f"{name}, {kind}"]
    found = ppi_mean(human, judged, rest).estimate
    assert found.value == pytest.approx(value, abs=1e-3)
    if len(human) >= 100:
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    else:
        # Student's are wider than normal ends; Wilson's of a share away from 1/2 may be a little narrower.
        narrowest = 0.98 if kind == "yes or no" else 1.0
        assert narrowest * (high - low) < found.high - found.low < 1.15 * (high - low)


def test_ppi_holds_the_truth_where_the_judges_own_interval_does_not() -> None:
    def once(generator: np.random.Generator) -> Corrected:
        human, judged = drawn(generator, 2000)
        return ppi_mean(human[:100], judged[:100], judged[100:])

    corrected, naive, width = held(600, 0.7, once)
    assert 0.92 <= corrected <= 0.97
    assert naive < 0.65
    assert 0.12 < width < 0.15  # a hundred labels alone: 0.18


def test_rogan_gladen_holds_the_truth_with_labels_from_elsewhere() -> None:
    def once(generator: np.random.Generator) -> Corrected:
        _, judged = drawn(generator, 2000)
        elsewhere = rates(*drawn(generator, 100, rate=0.5))
        return rogan_gladen(int(judged.sum()), n=2000, **elsewhere)

    corrected, naive, _ = held(600, 0.7, once)
    assert 0.93 <= corrected <= 0.99
    assert naive < 0.65


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 30, 50, 100, 300, 500])
@pytest.mark.parametrize("rate", [0.5, 0.7])
def test_ppi_covers_for_every_number_of_labels(n: int, rate: float) -> None:
    def once(generator: np.random.Generator) -> Corrected:
        human, judged = drawn(generator, 2000, rate)
        return ppi_mean(human[:n], judged[:n], judged[n:])

    corrected, _, _ = held(2000, rate, once, seed=n)
    assert 0.925 <= corrected <= (0.99 if n < 30 else 0.975)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50, 100])
def test_a_good_judge_is_not_taken_for_a_perfect_one(n: int) -> None:
    """Right on 97 of 100, it is often right on all of the few labels that there are."""

    def once(generator: np.random.Generator) -> Corrected:
        human, judged = drawn(generator, 2000, 0.7, 0.97, 0.03)
        return ppi_mean(human[:n], judged[:n], judged[n:])

    corrected, _, _ = held(1000, 0.7, once)
    assert 0.93 <= corrected <= 1.0


@pytest.mark.slow
def test_rogan_gladen_covers_by_both_methods() -> None:
    for method in ("delta", "bootstrap"):

        def once(generator: np.random.Generator, method: str = method) -> Corrected:
            human, judged = drawn(generator, 2000)
            return rogan_gladen(int(judged.sum()), n=2000, method=method, **rates(human[:100], judged[:100]))

        corrected, _, width = held(1500, 0.7, once)
        assert 0.94 <= corrected <= 0.99
        assert 0.19 < width < 0.26


@pytest.mark.slow
def test_unequal_chances_of_being_labelled_are_weighted_away() -> None:
    def once(generator: np.random.Generator, weighted: bool = True) -> Corrected:
        human, judged = drawn(generator, 1500)
        chance = np.where(judged == 1, 0.05, 0.25)  # failures are looked at more often
        chosen = generator.random(1500) < chance
        given = chance[chosen] if weighted else None
        return ppi_mean(human[chosen], judged[chosen], judged[~chosen], probabilities=given)

    corrected, _, _ = held(1000, 0.7, once)
    assert 0.92 <= corrected <= 0.98
    unweighted, _, _ = held(300, 0.7, lambda generator: once(generator, weighted=False))
    assert unweighted < 0.85


@pytest.mark.slow
def test_repeats_of_a_case_are_one_case() -> None:
    def once(generator: np.random.Generator) -> Corrected:
        hard = np.repeat(generator.random(300) < 0.7, 4)  # all four tries end alike
        judged = np.where(hard, generator.random(1200) < 0.92, generator.random(1200) < 0.25).astype(float)
        cases = [int(each) for each in np.repeat(np.arange(300), 4)]
        return ppi_mean(hard[:240].astype(float), judged[:240], judged[240:], clusters=cases)

    corrected, _, _ = held(800, 0.7, once)
    assert 0.91 <= corrected <= 0.98


def test_differences_of_versions_are_corrected_where_the_judge_favours_one() -> None:
    """Both versions are equally good; the judge passes a fifth of the candidate's failures for their length."""

    def once(generator: np.random.Generator) -> Corrected:
        human = generator.random((1000, 2)) < 0.7
        judged = human.copy()
        judged[:, 1] |= generator.random(1000) < 0.3
        pairs = [(float(a), float(b)) for a, b in human[:100]]
        seen = [(float(a), float(b)) for a, b in judged]
        return ppi_difference(pairs, seen[:100], seen[100:])

    corrected, naive, _ = held(400, 0.0, once)
    assert 0.91 <= corrected <= 0.98
    assert naive < 0.1


def test_an_erring_judge_pulls_differences_towards_0_and_rogan_gladen_takes_that_back() -> None:
    generator = np.random.default_rng(3)
    one, seen_one = drawn(generator, 20_000, rate=0.6)
    two, seen_two = drawn(generator, 20_000, rate=0.8)
    found = rogan_gladen_difference(list(zip(seen_one, seen_two, strict=True)), caught=(920, 1000), cleared=(750, 1000))
    assert found.naive.value == pytest.approx(0.134, abs=0.01)
    assert found.estimate.low < float(two.mean() - one.mean()) < found.estimate.high


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=15, max_size=50),
    st.lists(st.floats(0, 1), max_size=50),
)
@settings(max_examples=60, deadline=None)
def test_ppi_stays_finite_and_inside_its_own_interval(pairs: list[tuple[float, float]], rest: list[float]) -> None:
    found = ppi_mean([a for a, _ in pairs], [b for _, b in pairs], rest)
    estimate = found.estimate
    assert estimate.value is not None
    if estimate.low is not None:
        assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
    assert found.weight is None or 0 <= found.weight <= 1


def test_a_judge_without_any_worth_costs_nothing() -> None:
    generator = np.random.default_rng(7)
    human = (generator.random(200) < 0.5).astype(float)
    noise = generator.random(2000)
    found = ppi_mean(human, noise[:200], noise[200:])
    assert found.effective_n == pytest.approx(200, rel=0.1)
    perfect = ppi_mean(human, human, np.tile(human, 9))
    assert perfect.weight == pytest.approx(0.9, abs=1e-3)
    assert perfect.labels_saved > 500


def test_a_perfect_judge_makes_labels_count_tenfold_where_all_is_labelled_they_stand_alone() -> None:
    human = [1.0, 0.0] * 20
    found = ppi_mean(human, [0.0] * 40, [])
    assert (found.estimate.value, found.weight) == (0.5, 0.0)
    assert found.estimate.method == "Student t, all items are labelled"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"caught": (30, 50), "cleared": (20, 50)}, "Youden's J is 0.00"),
        ({"caught": (10, 50), "cleared": (10, 50)}, "cannot be told from a coin"),
        ({"caught": (9, 10), "cleared": (3, 4)}, "4 say no"),
        ({"caught": (6, 6), "cleared": (6, 6)}, "15 together"),
    ],
)
def test_what_cannot_be_corrected_is_refused_with_the_reason(counts: dict[str, tuple[int, int]], why: str) -> None:
    found = rogan_gladen(50, n=100, **counts)
    assert (found.estimate.value, found.estimate.low) == (None, None)
    assert why in found.estimate.method
    assert found.naive.value == 0.5


def test_fourteen_labels_are_too_few_and_twenty_carry_a_warning() -> None:
    human = [1.0, 0.0] * 10
    few = ppi_mean(human[:14], human[:14], human)
    assert few.estimate.value is None
    assert few.estimate.method.startswith("14 labels are too few")
    assert ppi_mean(human, [1.0] * 20, human).estimate.warning == "only 20 labels: the interval may be too narrow"


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="2 labels need 2 verdicts"):
        ppi_mean([1, 0], [1], [])
    with pytest.raises(UsageError, match="probability"):
        ppi_mean([1.0, 0.0] * 10, [1.0] * 20, [], probabilities=[0.0] * 20)
    with pytest.raises(UsageError, match="7 of 5"):
        rogan_gladen(7, n=5, caught=(1, 2), cleared=(1, 2))
    with pytest.raises(UsageError, match="is no method"):
        rogan_gladen(1, n=5, caught=(1, 2), cleared=(1, 2), method="wald")
