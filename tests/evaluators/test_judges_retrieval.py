"""Judges of retrieval, against literal values and scikit-learn."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.judges.retrieval import average_precision, entities, ndcg_at, precision_at, recall_at


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


DOCUMENTS = [{"id": "x"}, {"id": "y"}, {"id": "x"}, {"id": "z"}]


def test_graded_documents_with_holes(subject) -> None:
    traced = subject(documents=DOCUMENTS, expected={"documents": {"y": 3, "w": 1, "z": 0}})
    scores = judged("retrieval", traced)
    values = {name.removeprefix("retrieval."): score.value for name, score in scores.items()}
    assert values == {
        "retrieval": pytest.approx((3 / 1.5849625) / (3 + 1 / 1.5849625)),
        "precision": pytest.approx(1 / 3),
        "recall": 0.5,
        "hit": True,
        "reciprocal_rank": 0.5,
        "average_precision": 0.25,
        "fidelity": 0.75,
        "holes": pytest.approx(1 / 3),
    }
    assert scores["retrieval"].explanation == "1 of 3 retrieved documents have no label"
    assert scores["retrieval.holes"].direction == "minimize"


def test_only_the_first_k_count(subject) -> None:
    scores = judged("retrieval?k=1", subject(documents=DOCUMENTS, expected={"documents": ["y"]}))
    assert (scores["retrieval"].value, scores["retrieval.hit"].value) == (0.0, False)
    assert scores["retrieval.holes"].status == "not_applicable"
    scores = judged("retrieval?k=5", subject(documents=DOCUMENTS, expected={"documents": ["y", "x"]}))
    assert (scores["retrieval"].value, scores["retrieval.precision"].value) == (1.0, 0.4)


def test_what_retrieved_nothing_found_nothing_and_what_is_unknown_is_not_zero(subject) -> None:
    assert judged("retrieval", subject(expected={"document_ids": ["x"]}))["retrieval"].value == 0.0
    with pytest.raises(MissingInput, match="have no ids"):
        judged("retrieval", subject(documents=[{"content": "x"}], expected={"documents": ["x"]}))
    with pytest.raises(NotApplicable, match="no relevant document"):
        judged("retrieval", subject(documents=DOCUMENTS, expected={"documents": {"x": 0}}))
    with pytest.raises(MissingInput, match="is no number"):
        judged("retrieval", subject(documents=DOCUMENTS, expected={"documents": {"x": "high"}}))
    with pytest.raises(UsageError, match="above 0"):
        load_judge("retrieval?least=0")


ids = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=2, max_size=8)
grades = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1)


@settings(deadline=None)
@given(ids, grades, st.integers(1, 8))
def test_ndcg_and_average_precision_are_those_of_scikit_learn(ranked: list[str], graded: dict, k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    # scikit-learn knows no relevant document that was not retrieved.
    graded = {each: graded.get(each, 0) for each in ranked}
    assume(any(graded.values()))
    truth = [[graded[each] for each in ranked]]
    scores = [[-place for place in range(len(ranked))]]
    assert ndcg_at(ranked, graded, k) == pytest.approx(metrics.ndcg_score(truth, scores, k=k))
    binary = [int(value > 0) for value in truth[0]]
    wanted = metrics.average_precision_score(binary, scores[0])
    assert average_precision(ranked, graded, len(ranked)) == pytest.approx(wanted)
    assert precision_at(ranked, graded, len(ranked)) == pytest.approx(sum(binary) / len(binary))


@given(ids, grades, st.integers(1, 7))
def test_more_places_never_lower_recall_and_all_are_shares(ranked: list[str], graded: dict, k: int) -> None:
    assume(any(graded.values()))
    assert recall_at(ranked, graded, k) <= recall_at(ranked, graded, k + 1)
    for measure in (precision_at, recall_at, average_precision, ndcg_at):
        assert 0 <= measure(ranked, graded, k) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Marie Curie won it in 1903.", ["1903", "Marie Curie"]),
        ("Paris is the capital.", []),
        ("Call +49 or mail ann@example.org", ["49", "ann@example.org"]),
        ('He said "never again" to NATO.', ["never again", "NATO"]),
        ("nothing here", []),
    ],
)
def test_entities_by_rules(text: str, found: list[str]) -> None:
    assert entities(text) == found


def test_entities_of_the_answer_in_the_context(subject) -> None:
    documents = [{"id": "1", "content": "In 1903 the prize went to Marie  Curie, of $1,000.00"}]
    traced = subject(
        documents=documents, expected={"output": "It was Marie Curie in 1903, with Pierre Curie, for $1000"}
    )
    score = judged("context_entity_recall", traced)["context_entity_recall"]
    assert (score.value, score.explanation) == (0.75, "not in the context: Pierre Curie")
    given_ = judged("context_entity_recall", subject(documents=documents, expected={"entities": ["1903"]}))
    assert given_["context_entity_recall"].value == 1.0
    with pytest.raises(NotApplicable):
        judged("context_entity_recall", subject(documents=documents, expected={"output": "yes"}))
    with pytest.raises(MissingInput, match="no retrieved documents"):
        judged("context_entity_recall", subject(expected={"output": "in 1903"}))
