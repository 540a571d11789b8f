"""Judges of likeness: what they give, what they need, and where a line may be drawn."""

from __future__ import annotations

import pytest

from tracekit_evaluators import Score, load_judge
from tracekit_evaluators.score import MissingInput


def score(spec: str, subject) -> Score:
    built = load_judge(spec)
    return next(iter(built.scores(built.call(subject)).values()))


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("levenshtein", 0.8),
        ("lcs", 0.8888888888888888),
        ("jaro_winkler", 0.9588888888888889),
        ("token_f1", 0.0),
        ("token_jaccard", 0.0),
        ("rouge_1", 0.0),
        ("chrf", 0.2897619),
        ("character_error_rate", 0.25),
        ("word_error_rate", 1.0),
    ],
)
def test_a_word_that_has_one_letter_too_many(spec: str, value: float, subject) -> None:
    found = score(spec, subject("walks", expected={"output": "walk"}))
    if spec in {"jaro_winkler", "chrf"}:
        assert 0 < found.value < 1  # held to other people's programs in the tests of the measures
    else:
        assert found.value == pytest.approx(value)


def test_the_best_of_several_expected_outputs_counts(subject) -> None:
    assert score("token_f1", subject("30 days", expected={"outputs": ["a month", "30 days"]})).value == 1.0


def test_a_line_may_be_drawn(subject) -> None:
    near = subject("the cat sat", expected={"output": "the cat sat down"})
    assert score("rouge_l?at_least=0.8", near).passed is True
    assert score("rouge_l?at_least=0.9", near).passed is False
    assert score("rouge_l", near).passed is None
    assert score("word_error_rate?at_least=0.3", near).passed is True
    assert score("word_error_rate?at_least=0.2", near).passed is False


def test_nothing_to_compare_with_is_a_missing_input_and_never_0(subject) -> None:
    with pytest.raises(MissingInput):
        score("bleu", subject("text"))
    with pytest.raises(MissingInput):
        score("character_error_rate", subject("text", expected={"output": ""}))
    with pytest.raises(MissingInput):
        score("bleu", subject(None, expected={"output": "x"}))
