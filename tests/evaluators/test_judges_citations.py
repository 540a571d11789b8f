"""Judges of quotes and citations."""

from __future__ import annotations

import pytest

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.judges.citations import quotes_in


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


DOCUMENTS = [
    {"id": "doc-1", "content": "Refunds are paid within 30 days."},
    {"id": "doc-2", "content": "No refund for sale items, it's final."},
]


def test_quotes_stand_word_for_word_in_a_source(subject) -> None:
    output = (
        'It says "refunds are  paid within 30 days." and “all sales are final”, a "plan".\n> No refund for sale items'
    )
    score = judged("quoted_spans", subject(output, documents=DOCUMENTS))["quoted_spans"]
    assert (score.value, score.explanation) == (pytest.approx(2 / 3), "2 of 3 quotes stand in a source")
    assert score.evidence == [Evidence(None, "all sales are final")]
    with pytest.raises(NotApplicable, match="quotes nothing"):
        judged("quoted_spans", subject("No.", documents=DOCUMENTS))
    with pytest.raises(MissingInput, match="no source"):
        judged("quoted_spans", subject('He said "one two three"', input=None))


@pytest.mark.parametrize(
    ("text", "quotes"),
    [("it's fine", []), ("„eins zwei drei“", ["eins zwei drei"]), ("«un deux trois»", ["un deux trois"]), ('"a', [])],
)
def test_kinds_of_quotation_marks(text: str, quotes: list[str]) -> None:
    assert quotes_in(text) == quotes


@pytest.mark.parametrize(
    ("output", "valid", "share"),
    [
        ("Refunds take thirty days [doc-1]. Sale items are final [2].", True, 1.0),
        ("Refunds take thirty days [1, 2]. Sale items are really final.", True, 0.5),
        ("Refunds take thirty days [doc-9].", False, 1.0),
        ("Refunds take thirty days [3][doc-1].", False, 1.0),
    ],
)
def test_cited_ids_exist(output: str, valid: bool, share: float, subject) -> None:
    scores = judged("citations", subject(output, documents=DOCUMENTS))
    assert (scores["citations"].value, scores["citations.cited"].value) == (valid, share)


def test_cited_ids_against_those_that_should_be_cited(subject) -> None:
    traced = subject("It is so and so [doc-1, doc-2].", documents=DOCUMENTS, expected={"citations": ["doc-1"]})
    scores = judged("citations", traced)
    assert (scores["citations.precision"].value, scores["citations.recall"].value) == (0.5, 1.0)


def test_no_citation_is_no_wrong_one_and_links_and_boxes_are_none(subject) -> None:
    scores = judged("citations", subject("See [the page](https://x.org) and do it.\n- [x] done", documents=DOCUMENTS))
    assert scores["citations"].status == "not_applicable"
    assert scores["citations.cited"].value == 0.0
    assert judged("citations", subject("It is so and so [1]."))["citations"].status == "missing_input"
    own = judged(r"citations?pattern=\(source: (\w+-\d)\)", subject("It is so (source: doc-2).", documents=DOCUMENTS))
    assert own["citations"].value is True
    with pytest.raises(UsageError, match="no regular expression"):
        load_judge("citations?pattern=(")
