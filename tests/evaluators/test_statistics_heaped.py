"""Means of numbers most of which are one and the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_evaluators import statistics as ours
from tracekit_evaluators.statistics.heaped import Heap, heap_of, heaped_difference, heaped_mean, heaped_p
from tracekit_evaluators.statistics.paired import tango_end

TENTHS = st.lists(st.integers(0, 10).map(lambda each: each / 10), min_size=1, max_size=12)


def heaped(gaps: list[float], *, at: float = 1.0, alike: int = 20) -> np.ndarray:
    return np.array([at] * alike + [at - each for each in gaps])


def standing(values: np.ndarray) -> Heap:
    found = heap_of(values)
    assert found is not None
    return found


def test_a_heap_is_what_half_of_five_numbers_or_more_are() -> None:
    found = heap_of(np.array([1.0, 0.5, 1.0, 1.0, 1.25]))
    assert found is not None
    assert (found.value, found.above.tolist(), found.below.tolist(), found.n) == (1.0, [0.25], [0.5], 5)
    assert heap_of(np.array([1.0, 1.0, 0.0, 1.0])) is None  # four are too few
    assert heap_of(np.array([1.0, 1.0, 0.0, 0.2, 0.4, 0.6])) is None
    assert heap_of(np.ones(9)) is None  # nothing differs
    assert heap_of(np.array([1.0] * 9 + [1e300])) is None  # too large to calculate with


def test_what_sums_of_tenths_differ_by_does_not_differ() -> None:
    assert heap_of(np.array([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3])) is None
    found = heap_of(np.array([0.1 + 0.2, 0.3, 0.3, 0.3, 0.8]))
    assert found is not None
    assert found.above.tolist() == [0.5]


def test_the_end_near_the_heap_is_wilsons_of_a_share_where_gaps_are_of_one_size() -> None:
    """17 of 20 cases have 1, three 0.5: half a point times Wilson's lower end for 3 of 20."""
    found = ours.mean_of_cases([[each] for each in heaped([0.5] * 3, alike=17)])
    assert found.high == pytest.approx(1 - 0.5 * ours.wilson_interval(3, n=20).low, abs=1e-12)
    assert found.low < 1 - 0.5 * ours.wilson_interval(3, n=20).high
    assert (found.value, found.method) == (0.925, "Wilson on the 3 of 20 that differ")


def test_many_gaps_of_one_size_are_counted_as_wilson_counts_them() -> None:
    found = heaped_mean(standing(heaped([0.5] * 900, alike=2100)))
    wilson = ours.wilson_interval(900, n=3000)
    assert found.high == pytest.approx(1 - 0.5 * wilson.low, abs=1e-12)
    assert found.low == pytest.approx(1 - 0.5 * wilson.high, rel=1e-4)


@given(TENTHS)
def test_scores_turned_over_have_their_interval_turned_over(gaps: list[float]) -> None:
    heap, turned = heap_of(heaped(gaps)), heap_of(-heaped(gaps))
    if heap is None or turned is None:
        assert heap is turned
        return
    one, other = heaped_mean(heap), heaped_mean(turned)
    assert one.low is not None
    assert one.high is not None
    assert (one.low, one.high) == pytest.approx((-(other.high or 0), -(other.low or 0)), abs=1e-9)
    assert one.low <= (one.value or 0) <= one.high <= 1.0


@given(st.lists(st.integers(-10, 10).map(lambda each: each / 10), min_size=1, max_size=12), st.floats(0.1, 1000))
def test_the_interval_of_differences_knows_no_unit_and_no_order(gaps: list[float], unit: float) -> None:
    values = heaped(gaps, at=0.0)
    heap, other = heap_of(values), heap_of(np.random.default_rng(0).permutation(values) * unit)
    if heap is None or other is None:
        assert heap is other
        return
    one, two = heaped_difference(heap), heaped_difference(other)
    assert one.low is not None
    assert one.high is not None
    assert (one.low * unit, one.high * unit) == pytest.approx((two.low, two.high), rel=1e-9, abs=1e-9 * unit)
    assert one.low <= (one.value or 0) <= one.high


def test_differences_of_one_size_each_way_have_tangos_interval_nearly() -> None:
    values = [1.0] * 60 + [-1.0] * 40 + [0.0] * 400
    found, tango = ours.paired_difference(values), ours.tango_difference(gained=60, lost=40, n=500)
    assert (found.low, found.high) == pytest.approx((tango.low, tango.high), abs=1e-3)
    assert found.method == "paired Tango on the 100 of 500 that differ"


def test_where_no_pair_is_lost_the_lower_end_is_tangos_own() -> None:
    found = ours.paired_difference([0.5] * 4 + [0.0] * 36)
    assert found.low == pytest.approx(0.5 * tango_end(gained=4, lost=0, n=40, z=1.959963984540054), abs=1e-9)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_one_sided_tests_reject_what_lies_outside_of_the_interval(level: float) -> None:
    heap = standing(heaped([0.2, -0.4, 0.9, 0.5, -0.1], at=0.0))
    found = heaped_difference(heap, level=level)
    assert found.low is not None
    assert found.high is not None
    assert heaped_p(heap, difference=found.low)[0] == pytest.approx((1 - level) / 2, abs=1e-6)
    assert heaped_p(heap, difference=found.high)[1] == pytest.approx((1 - level) / 2, abs=1e-6)
    assert heaped_p(heap, difference=-50.0) == (0.0, 1.0)
    assert heaped_p(heap, difference=50.0) == (1.0, 0.0)


def test_a_gate_of_scores_of_which_few_differ_is_not_sure_after_three_losses() -> None:
    """A mean loss of 0.09 is within 0.2 by Student's t; three losses that were seen do not carry that."""
    losses = [-0.9, -0.9, -0.1] + [0.0] * 18
    found = ours.margin_test(losses, margin=0.2, yes_no=False)
    assert found.estimate.method == "Tango on the 3 of 21 that differ"
    assert found.no_worse is not None
    assert found.no_worse > 0.05
    assert found.estimate.low is not None
    assert found.estimate.low < -0.2


def test_values_that_share_sources_count_as_fewer() -> None:
    values = [0.2 if i % 20 < 5 else 1.0 for i in range(200)]
    alone = ours.mean_of_cases([[each] for each in values])
    shared = ours.clustered_mean(values, clusters=[i // 5 for i in range(200)])
    assert shared.method == "Wilson on the 50 of 200 that differ (40 clusters)"
    assert shared.clusters == 40
    assert shared.high - shared.low > 1.8 * (alone.high - alone.low)


def test_costs_that_are_mostly_nothing_reach_as_far_as_a_bootstrap() -> None:
    values = [0.0] * 30 + [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5, 3.0, 9.0]
    found = ours.mean_of_cases([[each] for each in values])
    assert found.method == "Wilson on the 10 of 40 that differ, and bootstrap-t (4999 resamples, seed 0)"
    assert found.high - found.value > 2 * (found.value - found.low)
