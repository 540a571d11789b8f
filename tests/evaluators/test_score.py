"""Verdicts of every form become scores of one form; what went wrong is never a value."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.score import STATUSES, TimedOut, detail_columns, named_scores, unscored, value_columns


def only(verdict: object, direction: str = "maximize") -> Score:
    scores = named_scores(verdict, name="it", direction=direction)
    assert list(scores) == ["it"]
    return scores["it"]


def test_a_bool_says_whether_it_passed() -> None:
    assert (only(True).value, only(True).passed) == (True, True)
    assert (only(False).value, only(False).passed) == (False, False)


def test_a_bool_that_should_be_false_passes_when_it_is() -> None:
    assert only(True, "minimize").passed is False
    assert only(False, "minimize").passed is True
    assert only(True, "neutral").passed is None


def test_numbers_and_labels_pass_nothing_by_themselves() -> None:
    assert (only(3).value, only(3).passed) == (3.0, None)
    assert (only(0.25).value, only("polite").value) == (0.25, "polite")


def test_numpy_scalars_are_numbers() -> None:
    assert only(np.float64(0.5)).value == 0.5
    assert only(np.bool_(True)).value is True


def test_a_mapping_gives_each_name_its_score() -> None:
    scores = named_scores({"a": True, "b": Score(0.5, explanation="half")}, name="it", direction="minimize")
    assert scores["a"] == Score(True, passed=False, direction="minimize")
    assert scores["b"] == Score(0.5, explanation="half", direction="minimize")


def test_a_score_keeps_its_own_direction_and_passed() -> None:
    assert only(Score(True, direction="minimize")).passed is False
    assert only(Score(True, passed=False)).passed is False


@pytest.mark.parametrize(
    "verdict", [None, [1], b"x", {}, {"": 1}, {1: True}, math.nan, math.inf, {"a": None}, object()]
)
def test_what_is_no_verdict_is_refused(verdict: object) -> None:
    with pytest.raises(UsageError):
        named_scores(verdict, name="it", direction="maximize")


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "scored"])
def test_only_scored_has_a_value(status: str) -> None:
    assert Score(status=status).value is None
    with pytest.raises(UsageError, match="cannot have the value 0"):
        Score(0, status=status)
    with pytest.raises(UsageError, match="cannot have no value"):
        Score()


def test_what_a_judge_raises_becomes_a_status_with_its_words() -> None:
    assert unscored(MissingInput("no output")) == Score(status="missing_input", explanation="no output")
    assert unscored(NotApplicable("no tools")).status == "not_applicable"
    assert unscored(TimedOut("60 s")).status == "timeout"
    assert unscored(TimeoutError("slow")).status == "timeout"
    assert unscored(ZeroDivisionError("by zero")) == Score(
        status="judge_error", explanation="ZeroDivisionError: by zero"
    )


def test_a_bool_is_kept_as_0_and_1_and_a_label_as_text() -> None:
    assert value_columns(Score(True)) == {"value_type": "bool", "value": 1.0, "label": None}
    assert value_columns(Score(2.5)) == {"value_type": "number", "value": 2.5, "label": None}
    assert value_columns(Score("ok")) == {"value_type": "label", "value": None, "label": "ok"}
    assert value_columns(Score(status="timeout")) == {"value_type": None, "value": None, "label": None}


@pytest.mark.parametrize(
    "fields",
    [
        {"passed": 1},
        {"explanation": ["no"]},
        {"evidence": "quote"},
        {"evidence": ["quote"]},
        {"input_tokens": 1.5},
        {"metadata": [1]},
    ],
)
def test_a_score_of_wrong_types_is_refused_where_it_is_made(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="a score's"):
        Score(1.0, **fields)


def test_numpy_scalars_inside_a_score_become_plain() -> None:
    score = Score(np.float64(0.5), passed=np.bool_(True))
    assert (type(score.value), score.passed) == (float, True)


def test_metadata_that_json_cannot_hold_is_kept_as_text() -> None:
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert json.loads(str(detail_columns(Score(1.0, metadata={"x": math.nan}))["metadata"])) == {"x": None}
    assert "self" in str(detail_columns(Score(1.0, metadata=circle))["metadata"])
    assert "(1, 2)" in str(detail_columns(Score(1.0, metadata={(1, 2): 3}))["metadata"])


def test_evidence_is_kept_word_for_word() -> None:
    columns = detail_columns(Score(1.0, evidence=[Evidence("ab" * 8, 'he said "no"')], metadata={"k": {1, 2}}))
    assert json.loads(str(columns["evidence"])) == [{"span_id": "abababababababab", "quote": 'he said "no"'}]
    assert json.loads(str(columns["metadata"])) == {"k": "{1, 2}"}


@given(st.text(alphabet=st.characters(codec=None)), st.dictionaries(st.text(), st.floats() | st.text()))
def test_any_text_can_be_kept(text: str, metadata: dict[str, object]) -> None:
    columns = detail_columns(Score(text or "x", explanation=text, evidence=[Evidence(None, text)], metadata=metadata))
    for value in columns.values():
        if value is not None:
            assert str(value).encode().decode() == value
    if metadata:
        json.loads(str(columns["metadata"]), parse_constant=pytest.fail)
