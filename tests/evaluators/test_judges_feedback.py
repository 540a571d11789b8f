"""What people said, as scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import MissingInput, evaluate, import_scores, load_judge


def verdict(subject, spec: str, **earlier: object):
    judge = load_judge(spec)
    found = judge.scores(judge(replace(subject, earlier=earlier)))
    return {name: score.value for name, score in found.items()}


@pytest.mark.parametrize(
    ("spec", "earlier", "value"),
    [
        ("thumb", {"thumb": 1.0}, True),
        ("thumb", {"thumb": "down"}, False),
        ("thumb", {"thumb": -1.0}, False),
        ("thumb?of=liked", {"liked": "yes"}, True),
        ("stars", {"stars": 4.0}, 4.0),
        ("acceptance", {"accepted": 0.0}, False),
        ("acceptance", {"final": " an answer\n"}, True),
        ("acceptance", {"final": "another"}, False),
        ("override", {"overridden": 1.0}, True),
        ("override", {"final": "an answer"}, False),
        ("override", {"final": "another"}, True),
    ],
)
def test_literal_values(subject, spec, earlier, value) -> None:
    assert list(verdict(subject(), spec, **earlier).values()) == [value]


def test_edits_between_draft_and_final(subject) -> None:
    told = verdict(subject("kitten"), "draft_edits", final="sitting")
    assert told == {"draft_edits": pytest.approx(3 / 7), "draft_edits.characters": 3.0}
    assert verdict(subject("same"), "draft_edits", final="same")["draft_edits"] == 0.0
    expected = subject("ab", expected={"final": "abcd"})
    assert verdict(expected, "draft_edits")["draft_edits"] == 0.5


@given(first=st.text(max_size=12), second=st.text(max_size=12))
def test_edits_are_symmetric_and_within_bounds(first: str, second: str) -> None:
    from tracekit_evaluators.texts.edits import distance

    assert distance(first, second) == distance(second, first)
    assert abs(len(first) - len(second)) <= distance(first, second) <= max(len(first), len(second))


@pytest.mark.parametrize("spec", ["thumb", "stars", "acceptance", "override", "draft_edits"])
def test_nobody_spoke_is_never_a_zero(subject, spec) -> None:
    with pytest.raises(MissingInput):
        verdict(subject(), spec)


@pytest.mark.parametrize(("spec", "earlier"), [("thumb", {"thumb": "sideways"}), ("stars", {"stars": 9.0})])
def test_what_cannot_be_read_is_said(subject, spec, earlier) -> None:
    with pytest.raises(UsageError):
        verdict(subject(), spec, **earlier)


def test_the_thumb_rate_of_a_run_has_an_interval(store, record) -> None:
    ids = [record(f"t{n}", case=f"c{n}") for n in range(4)]
    lines = [{"trace_id": each, "name": "thumb", "value": n < 3} for n, each in enumerate(ids)]
    Path("s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_scores(store, "s.jsonl", run="people")
    metric = evaluate(store, judges=["thumb"]).metrics["thumb"]
    assert (metric["value"], metric["n"], metric["method"].split()[0]) == (0.75, 4, "Wilson")
