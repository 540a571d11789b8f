"""Judges of the tree of spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.judges.spans import at_percentile


def one(spec: object, subject: Subject) -> Score:
    built = load_judge(spec)
    return next(iter(built.scores(built.call(subject)).values()))


@pytest.fixture
def traced(tree) -> Subject:
    return tree(
        {"step": "agent", "name": "desk", "agent_name": "desk", "took": 9},
        {"step": "chain", "name": "plan", "took": 4},
        {"step": "llm", "name": "chat", "parent_span_id": f"{1:016x}", "took": 2, "attributes": {"temperature": 0.5}},
        {"step": "tool", "name": "search_web", "tool_name": "search_web", "took": 1, "attributes": {"region": "eu-1"}},
        {"step": "tool", "name": "book", "tool_name": "book", "took": 3, "status": "error", "status_message": "full"},
    )


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"name": "search*"}, True),
        ({"name": "search*", "most": 0, "least": 0}, False),
        ({"step": "tool", "least": 3}, False),
        ({"step": "tool", "status": "error"}, True),
        ({"step": "llm", "under": "plan"}, True),
        ({"step": "tool", "under": "plan"}, False),
        ({"under": "desk", "least": 4, "most": 4}, True),
        ({"attributes": {"region": "eu-*"}}, True),
        ({"attributes": {"temperature": 0.5, "region": None}}, False),
        ({"attributes": {"temperature": None}}, True),
        ({"min_seconds": 3, "step": "tool"}, True),
        ({"max_seconds": 0.5}, False),
    ],
)
def test_spans_of_a_kind_are_there(parameters: dict, value: bool, traced: Subject) -> None:
    assert one({"use": "span_query", **parameters}, traced).value is value


def test_a_query_that_makes_no_sense_is_refused() -> None:
    for spec in (
        "span_query?step=magic",
        "span_query?status=fine",
        "error_spans?step=x",
        "span_duration?percentile=101",
    ):
        with pytest.raises(UsageError):
            load_judge(spec)


def test_a_circle_of_parents_ends(tree) -> None:
    rows = [{"step": "agent", "parent_span_id": f"{1:016x}"}, {"step": "llm", "parent_span_id": f"{0:016x}"}]
    assert one({"use": "span_query", "under": "nowhere"}, tree(*rows)).value is False


def test_counts(traced: Subject) -> None:
    assert one("error_spans?max=0", traced).passed is False
    assert one("error_spans", traced).evidence == [Evidence(f"{4:016x}", "full")]
    assert one("error_spans?step=llm", traced).value == 0.0
    assert (one("tool_calls", traced).value, one("model_calls?max=1", traced).passed) == (2.0, True)
    assert (one("depth", traced).value, one("depth?max=2", traced).passed) == (3.0, False)
    assert (one("agents", traced).value, one("agents", traced).explanation) == (1.0, "desk")


def test_durations_at_a_percentile(traced: Subject, tree) -> None:
    assert one("span_duration?step=tool&percentile=50", traced).value == 2.0
    assert one("span_duration?step=tool&percentile=100&max=2", traced).passed is False
    assert one("span_duration?name=search*", traced).value == 1.0
    with pytest.raises(NotApplicable):
        one("span_duration?step=embedding", traced)
    with pytest.raises(MissingInput):
        one("span_duration?step=llm", tree({"step": "agent"}, {"step": "llm", "duration_ns": None}))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], percentile: float) -> None:
    numpy = pytest.importorskip("numpy")
    assert at_percentile(values, percentile) == pytest.approx(float(numpy.percentile(values, percentile)))
