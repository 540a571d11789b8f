"""What a run's rows become as metrics."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit_evaluators import summary
from tracekit_evaluators._weights import weighted_mean
from tracekit_evaluators.clustering import Facts
from tracekit_evaluators.summary import summarise


def rows(name: str, values: list[object], **columns: object) -> list[dict[str, object]]:
    """Rows of one bool score, one case each; a value that is a word is a status."""
    return [
        {
            "name": name,
            "value_type": "bool" if isinstance(value, bool) else "number",
            "value": None if isinstance(value, str) else float(value),
            "status": value if isinstance(value, str) else "scored",
            "case_id": str(index),
            **columns,
        }
        for index, value in enumerate(values)
    ]


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(summary).failed == 0


def test_taubench_airline_gives_the_published_pass_hat_k(shared: Path) -> None:
    lines = (shared / "data" / "taubench_airline" / "scores.jsonl").read_text().splitlines()
    metrics = summarise([{"status": "scored", "value_type": "number", **json.loads(line)} for line in lines])
    reward = metrics["reward"]
    assert (reward["value"], reward["mean"]) == (pytest.approx(0.42), pytest.approx(0.42))
    assert reward["n"] == reward["cases"] == 50
    assert (reward["scores"], reward["repeats"], reward["coverage"], reward["kind"]) == (200, [4, 4], 1.0, "bool")
    assert reward["low"] < 0.42 < reward["high"]
    found = [metrics[f"pass^{k}"]["value"] for k in (1, 2, 3, 4)]
    assert found == pytest.approx([0.42, 0.2733333333, 0.22, 0.20], abs=1e-9)
    for k in (1, 2, 3, 4):
        assert metrics[f"pass^{k}"]["low"] < metrics[f"pass^{k}"]["value"] < metrics[f"pass^{k}"]["high"]
    assert metrics["pass^1"]["method"] == "Wilson on the effective number of trials (50 cases)"
    assert "pass^5" not in metrics


def test_a_bool_score_without_repeats_is_a_share_without_pass_hat_k() -> None:
    metrics = summarise(rows("ok", [True, True, False, True]))
    assert list(metrics) == ["ok"]
    assert (metrics["ok"]["value"], metrics["ok"]["method"], metrics["ok"]["direction"]) == (0.75, "Wilson", "maximize")


def test_two_repeated_bool_scores_prefix_their_pass_hat_k() -> None:
    twice = rows("a", [True, False]) + rows("a", [True, True]) + rows("b", [True]) + rows("b", [True])
    assert sorted(summarise(twice)) == ["a", "a.pass^1", "a.pass^2", "b", "b.pass^1", "b.pass^2"]


def test_k_stops_at_the_fewest_trials_and_says_which_cases_have_fewer() -> None:
    metrics = summarise(rows("ok", [True, True]) + rows("ok", [True, False]) + rows("ok", [True]))
    assert [key for key in metrics if "^" in key] == ["pass^1", "pass^2"]
    assert metrics["pass^2"]["trials"] == [2, 3]
    assert metrics["pass^2"]["cases_with_fewer_trials"] == 1


def test_what_was_not_scored_is_counted_and_never_a_zero() -> None:
    metric = summarise(rows("ok", [True, True, "judge_error", "not_applicable", "timeout"]))["ok"]
    assert metric["value"] == 1.0
    assert metric["missing"] == {"judge_error": 1, "not_applicable": 1, "timeout": 1}
    assert metric["coverage"] == 0.5
    assert metric["bounds"] == [0.5, 1.0]


def test_a_number_has_a_t_interval_and_no_bounds_when_some_are_missing() -> None:
    metric = summarise(rows("latency", [1.0, 2.0, 3.0, "judge_error"], direction="minimize"))["latency"]
    assert (metric["value"], metric["kind"], metric["direction"]) == (2.0, "number", "minimize")
    assert metric["method"] == "Student t"
    assert metric["bounds"] is None


def test_a_number_that_says_whether_it_passed_also_has_a_pass_rate() -> None:
    graded = [{**row, "passed": row["value"] > 0.5} for row in rows("quality", [0.2, 0.6, 0.9])]
    metric = summarise(graded)["quality"]
    assert (metric["kind"], metric["passed"]["value"]) == ("number", pytest.approx(2 / 3))


def test_zero_one_numbers_are_a_share_only_when_something_says_so() -> None:
    assert summarise(rows("n", [0.0, 1.0]))["n"]["kind"] == "number"
    assert summarise(rows("n", [0.0, 1.0], source="environment"))["n"]["kind"] == "bool"
    assert summarise(rows("n", [0.0, 1.0], passed=True))["n"]["kind"] == "bool"


def test_several_words_on_one_try_are_no_repeats() -> None:
    twice = [*rows("ok", [True, False], trace_id="a"), *rows("ok", [True, True], trace_id="a")]
    assert list(summarise(twice)) == ["ok"]


def test_pass_hat_k_counts_what_passed_when_lower_is_better() -> None:
    errors = rows("error", [True, False], direction="minimize") + rows("error", [False, False], direction="minimize")
    metrics = summarise(errors)
    assert metrics["error"]["value"] == 0.25
    assert metrics["pass^1"]["value"] == 0.75
    assert metrics["pass^2"]["value"] == 0.5


def test_labels_have_a_distribution_and_no_mean() -> None:
    labelled = [
        {"name": "tone", "value_type": "label", "value": None, "label": label, "status": "scored", "case_id": str(i)}
        for i, label in enumerate(["kind", "kind", "cold", "kind"])
    ]
    metric = summarise(labelled)["tone"]
    assert (metric["value"], metric["kind"], metric["method"]) == (None, "label", "labels have no mean")
    assert [(label, share["count"], share["value"]) for label, share in metric["distribution"].items()] == [
        ("kind", 3, 0.75),
        ("cold", 1, 0.25),
    ]


def test_a_superseded_row_does_not_count() -> None:
    old = {**rows("ok", [False])[0], "score_id": "1"}
    new = {**rows("ok", [True])[0], "score_id": "2", "supersedes": "1"}
    assert summarise([old, new])["ok"]["value"] == 1.0


def test_nothing_scored_and_no_rows_are_answers_too() -> None:
    assert summarise([]) == {}
    metric = summarise(rows("ok", ["judge_error"]))["ok"]
    assert (metric["value"], metric["coverage"], metric["kind"], metric["method"]) == (None, 0.0, "none", "no scores")


def test_a_value_that_is_not_finite_counts_as_unreadable() -> None:
    metric = summarise([{"name": "n", "value_type": "number", "value": math.nan, "status": "scored"}])["n"]
    assert (metric["value"], metric["missing"]) == (None, {"parse_error": 1})


VALUES = st.one_of(st.booleans(), st.floats(), st.sampled_from(["judge_error", "not_applicable"]))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.sampled_from("xyz")), VALUES), max_size=20))
@settings(deadline=None)
def test_metrics_are_json_whatever_the_rows(given_rows: list[tuple[str, str | None, object]]) -> None:
    made = [{**rows(name, [value])[0], "case_id": case} for name, case, value in given_rows]
    metrics = summarise(made)
    json.dumps(metrics, allow_nan=False)
    assert all({"value", "low", "high", "n", "mean", "method"} <= set(metric) for metric in metrics.values())


def test_cases_count_as_much_as_their_dataset_says() -> None:
    rows = [
        {"name": "ok", "case_id": case, "trace_id": f"{case}{at}", "status": "scored", "value_type": "bool", "value": v}
        for case, values in {"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}.items()
        for at, v in enumerate(values)
    ]
    weighted = Facts(cases={"a": {"weight": 3}, "b": {"weight": 1.0}, "c": {}})
    metric = summarise(rows, weighted)["ok"]
    assert metric["value"] == 0.7  # (3 x 1 + 1 x 0.5 + 1 x 0) / 5
    assert metric["weighted"] is True
    assert metric["method"] == "Wilson on 2.3 effective cases (weighted)"  # 5² / (9 + 1 + 1)
    assert summarise(rows, Facts())["ok"]["value"] == 0.5
    assert "weighted" not in summarise(rows, Facts(cases={"a": {"weight": 1}}))["ok"]
    numbers = [{**row, "name": "size", "value_type": "number", "value": 10 * row["value"]} for row in rows]
    size = summarise(numbers, weighted)["size"]
    assert (size["value"], size["method"]) == (7.0, "weighted mean, delta method")
    missing = [{**rows[0], "status": "judge_error", "value": None}, *rows[1:]]
    assert summarise(missing, weighted)["ok"]["bounds"] == [0.4, 0.7]


def test_a_weighted_mean_of_equal_numbers_is_not_taken_for_certain() -> None:
    found = weighted_mean([[0.1]] * 20, weights=[1.0, 2.0] * 10)
    assert (found.value, found.low, found.high) == (0.1, None, None)
    assert found.method == "all values are equal: no spread to make an interval from"


@pytest.mark.parametrize("share", [True, False])
def test_an_interval_of_a_weighted_mean_holds_the_truth_as_often_as_it_says(share: bool) -> None:
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(400):
        weights = generator.choice([1.0, 5.0], 120)
        chance = np.where(weights > 1, 0.8, 0.4)  # what counts more passes oftener: Σ w·p / Σ w = 0.7333 of 0.6
        values = (generator.random(120) < chance).astype(float) if share else generator.normal(chance, 0.3)
        found = weighted_mean([[value] for value in values], weights=weights.tolist(), share=share)
        held += found.low <= 2.2 / 3 <= found.high
    assert 0.92 <= held / 400 <= 0.985
