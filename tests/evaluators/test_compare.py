"""Two runs side by side."""

from __future__ import annotations

import datetime
import doctest
import json

import pytest

from tracekit_collector.catalog import RunRecord
from tracekit_evaluators import pairing, verdict
from tracekit_evaluators.compare import compare_rows
from tracekit_evaluators.pairing import RunRows, natural

MOMENT = datetime.datetime(2026, 3, 4, 5, 6, 7)


def record(name: str) -> RunRecord:
    return RunRecord(
        id=f"01{name.upper():0<24}",
        name=name,
        kind="eval",
        status="finished",
        created_at=MOMENT,
        finished_at=MOMENT,
        agent_version=None,
        parameters={},
        judges=[],
        selection={},
        code={},
        environment={},
        lake_versions={},
        metrics={},
        summary={},
    )


def run(
    name: str,
    values: dict[str, list[object]],
    *,
    score: str = "ok",
    case_ids: bool = True,
    direction: str = "maximize",
    seconds: float = 1.0,
) -> RunRows:
    """A run in which each case has these values, one trace for each; the case's name is its input."""
    rows, traces = [], {}
    for case, repeats in values.items():
        for repeat, value in enumerate(repeats):
            trace = f"{name}-{case}-{repeat}"
            rows.append(
                {
                    "name": score,
                    "value_type": "bool"
                    if isinstance(value, bool)
                    else "label"
                    if isinstance(value, str)
                    else "number",
                    "value": None if isinstance(value, str) else float(value),
                    "label": value if isinstance(value, str) else None,
                    "status": "scored",
                    "case_id": case if case_ids else None,
                    "repeat": repeat,
                    "trace_id": trace,
                    "direction": direction,
                    "explanation": f"{name} says {value}",
                }
            )
            traces[trace] = {"trace_id": trace, "input": json.dumps({"q": case}), "duration_ms": seconds * 1e3}
    return RunRows(record(name), tuple(rows), traces)


def flags(passed: int, failed: int) -> list[bool]:
    return [True] * passed + [False] * failed


def yes_no(name: str, gained: int, lost: int, same: int, *, after: bool) -> RunRows:
    cases = {f"g{i}": [after] for i in range(gained)}
    cases |= {f"l{i}": [not after] for i in range(lost)}
    cases |= {f"s{i}": [True] for i in range(same)}
    return run(name, cases)


@pytest.mark.parametrize("module", [pairing, verdict])
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0


def test_passes_and_failures_are_compared_by_mcnemar() -> None:
    found = compare_rows(yes_no("a", 12, 2, 20, after=False), yes_no("b", 12, 2, 20, after=True))
    score = found.scores[0]
    assert (found.paired_by, found.pairing_rate, score.pairs) == ("case", 1.0, 34)
    assert score.estimate.value == pytest.approx(10 / 34)
    assert (score.estimate.method, score.p.test) == ("Tango score, paired", "McNemar, exact")
    assert score.p.value == pytest.approx(0.0129, abs=1e-4)
    assert score.verdict == "better"
    assert [change.case for change in score.regressed] == ["l0", "l1"]
    assert len(score.improved) == 12
    assert score.regressed[0].baseline_explanation == "a says True"
    assert score.regressed[0].candidate_explanation == "b says False"
    assert found.sentence == (
        "b is better than a on ok (+29.4 pt, 95 % interval +8.9 to +48.2 pt, p = 0.013). "
        "34 of 34 cases are in both, paired by case id."
    )


def test_repeats_are_averaged_within_cases_and_tested_by_permutation() -> None:
    before = run("a", {str(i): flags(1, 3) for i in range(12)})
    after = run("b", {str(i): flags(3, 1) for i in range(11)} | {"11": flags(1, 3)})
    score = compare_rows(before, after).scores[0]
    assert score.estimate.value == pytest.approx(0.5 * 11 / 12)
    assert (score.estimate.method, score.p.test) == (
        "paired Tango on the 1 of 12 that differ",
        "sign-flip permutation, exact",
    )
    assert score.p.value == pytest.approx(2 / 2**11)


def test_lower_is_better_turns_the_words_around() -> None:
    before = run("a", {str(i): [1.0 + i % 3] for i in range(20)}, direction="minimize")
    after = run("b", {str(i): [2.0 + i % 4] for i in range(20)}, direction="minimize")
    score = compare_rows(before, after).scores[0]
    assert score.verdict == "worse"
    assert score.regressed[0].difference == 4.0
    assert all(change.difference < 0 for change in score.improved)


def test_a_neutral_score_is_higher_not_better() -> None:
    before = run("a", {str(i): [1.0 + i % 2 / 10] for i in range(20)}, direction="neutral")
    after = run("b", {str(i): [2.0 + i % 3 / 10] for i in range(20)}, direction="neutral")
    assert compare_rows(before, after).scores[0].verdict == "higher"


def test_without_case_ids_equal_inputs_pair() -> None:
    before = run("a", {"x": [True], "y": [False], "only a": [True]}, case_ids=False)
    after = run("b", {"x": [True], "y": [True]}, case_ids=False)
    found = compare_rows(before, after)
    assert (found.paired_by, len(found.paired), len(found.only_baseline)) == ("input", 2, 1)
    assert found.scores[0].improved[0].input == '{"q": "y"}'
    assert found.pairing_rate == pytest.approx(2 / 3)


def test_runs_without_anything_in_common_are_independent_samples_and_say_so() -> None:
    before = run("a", {f"a{i}": [i % 2 == 0] for i in range(40)})
    after = run("b", {f"b{i}": [True] for i in range(40)})
    found = compare_rows(before, after)
    score = found.scores[0]
    assert (found.paired_by, score.pairs, score.p.test) == ("none", 0, "Fisher, exact, unpaired")
    assert (score.verdict, score.regressed) == ("better", ())
    assert "share no case and no input" in found.sentence


def test_many_scores_are_corrected_by_holm() -> None:
    gain = {"gained": 7, "lost": 0, "same": 20}  # p = 0.0156 alone
    before, after = yes_no("a", **gain, after=False), yes_no("b", **gain, after=True)
    alone = compare_rows(before, after).scores[0]
    assert (alone.verdict, alone.p_adjusted) == ("better", pytest.approx(0.015625))

    def many(side: RunRows) -> RunRows:
        rows = tuple({**row, "name": f"score {n}"} for n in range(4) for row in side.rows)
        return RunRows(side.run, rows, side.traces)

    four = compare_rows(many(before), many(after)).scores
    assert {each.p_adjusted for each in four} == {0.0625}
    assert {each.verdict for each in four} == {"no clear difference"}


def test_no_change_at_all_is_no_clear_difference_with_an_interval() -> None:
    score = compare_rows(yes_no("a", 0, 0, 10, after=True), yes_no("b", 0, 0, 10, after=True)).scores[0]
    assert (score.estimate.value, score.p.value, score.verdict) == (0.0, 1.0, "no clear difference")
    assert score.estimate.low < 0 < score.estimate.high


def test_runs_without_a_common_score_say_that_they_cannot_be_compared() -> None:
    found = compare_rows(run("a", {"x": [True]}, score="one"), run("b", {"x": [True]}, score="two"))
    assert found.scores == ()
    assert found.missing_scores == ("one", "two")
    assert "cannot be compared with a: they have no score in common" in found.sentence


def test_labels_are_not_tested_and_runs_of_the_same_traces_are_noted() -> None:
    side = run("a", {"x": ["kind"], "y": ["cold"]})
    found = compare_rows(side, RunRows(record("b"), side.rows, side.traces))
    assert found.scores[0].verdict == "not tested"
    assert found.notes == ("both runs judged the same traces, so a difference is the judges'",)


def test_latency_is_compared_too_and_less_is_better() -> None:
    cases = {str(i): [True] for i in range(8)}
    found = compare_rows(run("a", cases, seconds=2.0), run("b", cases, seconds=1.0))
    latency = {each.name: each for each in found.measures}["latency (s)"]
    assert (latency.estimate.value, latency.verdict) == (pytest.approx(-1.0), "better")
    assert [each.name for each in found.measures] == ["latency (s)"]


def test_the_comparison_is_json() -> None:
    found = compare_rows(yes_no("a", 3, 1, 5, after=False), yes_no("b", 3, 1, 5, after=True))
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["scores"][0]["regressed"][0]["case"] == "l0"


def test_cases_sort_by_the_numbers_in_their_names() -> None:
    assert natural(["case-10", "case-2", "b", "", "9" * 5000, "case-2a"]) == [
        "",
        "9" * 5000,
        "b",
        "case-2",
        "case-2a",
        "case-10",
    ]
