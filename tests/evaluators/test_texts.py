"""Measures of texts against other people's: rapidfuzz, sacrebleu, rouge-score, jiwer; and what holds of any text."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracekit_evaluators.texts import edits, overlap, reading

letters = st.text(alphabet="abcde ", max_size=30)
pieces = ["the", "a", "cat", "sat", "on", "mat", ",", ".", "refund", "30", "3.5", "days'", "Plan", "-"]
sentences = st.lists(st.sampled_from(pieces), max_size=14).map(" ".join)


@settings(deadline=None)
@given(letters, letters)
def test_edits_are_rapidfuzz(a: str, b: str) -> None:
    rapidfuzz = pytest.importorskip("rapidfuzz")
    assert edits.distance(a, b) == rapidfuzz.distance.Levenshtein.distance(a, b)
    assert edits.ratio(a, b) == pytest.approx(rapidfuzz.distance.Levenshtein.normalized_similarity(a, b))
    assert edits.common(a, b) == rapidfuzz.distance.LCSseq.similarity(a, b)
    assert edits.jaro_winkler(a, b) == pytest.approx(rapidfuzz.distance.JaroWinkler.similarity(a, b))


@settings(deadline=None)
@given(sentences, sentences)
def test_error_rates_are_jiwers(said: str, wanted: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    ours, theirs = overlap.words(said), overlap.words(wanted)
    assume(theirs)
    assert edits.error_rate(ours, theirs) == pytest.approx(jiwer.wer(" ".join(theirs), " ".join(ours)))
    a, b = "".join(ours), "".join(theirs)
    assert edits.error_rate(a, b) == pytest.approx(jiwer.cer(b, a))


@settings(deadline=None)  # the first one imports the oracle
@given(sentences, st.lists(sentences, min_size=1, max_size=3))
def test_bleu_and_chrf_are_sacrebleu(said: str, wanted: list[str]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    assert overlap.bleu(said, wanted) == pytest.approx(sacrebleu.sentence_bleu(said, wanted).score / 100, abs=1e-9)
    assert overlap.chrf(said, wanted) == pytest.approx(sacrebleu.sentence_chrf(said, wanted).score / 100, abs=1e-9)


@settings(deadline=None)
@given(sentences, sentences)
def test_rouge_is_rouge_score(said: str, wanted: str) -> None:
    rouge = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = rouge.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(wanted, said)
    assert overlap.rouge_n(said, wanted, size=1) == pytest.approx(theirs["rouge1"].fmeasure)
    assert overlap.rouge_n(said, wanted, size=2) == pytest.approx(theirs["rouge2"].fmeasure)
    assert overlap.rouge_l(said, wanted) == pytest.approx(theirs["rougeL"].fmeasure)


@given(sentences, sentences)
def test_every_likeness_is_between_0_and_1_and_1_for_the_same(a: str, b: str) -> None:
    alike = {
        "ratio": edits.ratio,
        "common": edits.common_ratio,
        "jaro_winkler": edits.jaro_winkler,
        "token_f1": overlap.token_f1,
        "jaccard": overlap.jaccard,
        "meteor": overlap.meteor,
        "gleu": lambda x, y: overlap.gleu(x, [y]),
        "chrf": lambda x, y: overlap.chrf(x, [y]),
        "bleu": lambda x, y: overlap.bleu(x, [y]),
    }
    for name, measure in alike.items():
        assert 0 <= measure(a, b) <= 1 + 1e-12, name
        if a.strip(" ,.'-") and name != "meteor":
            assert measure(a, a) == pytest.approx(1), name


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_a_distance_is_one(a: list[str], b: list[str]) -> None:
    assert edits.distance(a, b) == edits.distance(b, a)
    assert (edits.distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edits.distance(a, b) <= max(len(a), len(b))


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [("the 30 days.", "30 days", 1.0), ("a", "the", 1.0), ("yes", "no", 0.0), ("b c", "b d", 0.5)],
)
def test_answers_are_compared_as_squad_does(said: str, wanted: str, value: float) -> None:
    assert overlap.token_f1(said, wanted) == value


def test_matches_that_are_scattered_cost_meteor() -> None:
    assert overlap.meteor("the cat sat on the mat", "the cat sat on the mat") == pytest.approx(0.9976851852)
    assert overlap.meteor("on the mat sat the cat", "the cat sat on the mat") == pytest.approx(0.9375)
    assert overlap.meteor("dogs", "the cat") == 0.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The refund window is thirty days, and it is for all of the plans.", "en"),
        ("Die Frist für die Rückgabe ist dreißig Tage, und sie gilt auch für den Plan.", "de"),
        ("Le délai de remboursement est de trente jours pour les clients qui sont dans le plan.", "fr"),
        ("El plazo de reembolso es de treinta días para los clientes que no están en el plan.", "es"),
        ("返金期間は三十日です。", "ja"),
        ("退款期限为三十天。", "zh"),
        ("환불 기간은 30일입니다.", "ko"),
        ("Срок возврата составляет тридцать дней.", "ru"),
        ("12 345", None),
        ("ok", None),
    ],
)
def test_the_language_of_a_text(text: str, code: str | None) -> None:
    assert reading.language(text) == code


def test_reading_ease_of_a_known_sentence() -> None:
    """206.835 - 1.015 × 6 - 84.6 × 6/6."""
    ease = reading.flesch("The cat sat on the mat.")
    assert ease == pytest.approx(116.145)
    assert reading.flesch("...") is None
