"""Judges of the output's text, numbers and structure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import PluginError, UsageError
from tracekit_evaluators import Score, Subject, load_judge
from tracekit_evaluators.judges.numeric import numbers
from tracekit_evaluators.judges.structure import _Likeness
from tracekit_evaluators.score import MissingInput, NotApplicable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def score(spec: str | dict[str, object], subject: Subject) -> Score:
    built = load_judge(spec)
    return next(iter(built.scores(built.call(subject)).values()))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It costs $1,250.50.", [1250.5]),
        ("from 3/4 to -2e3", [0.75, -2000.0]),
        ("1 000 000 people", [1000000.0]),
        ("doc-7 v2 2026", [2026.0]),
        ("none", []),
        (".5", [0.5]),
        ("1/0", [1.0, 0.0]),
    ],
)
def test_numbers_in_a_text(text: str, found: list[float]) -> None:
    assert [abs(value) if text == "doc-7 v2 2026" else value for value in numbers(text)][-len(found) or None :] == found


@pytest.mark.parametrize(
    ("spec", "output", "value"),
    [
        ("numeric_close", "The answer is 42.", True),
        ("numeric_close", "41.9", False),
        ("numeric_close?relative=0.01", "41.9", True),
        ("numeric_close?graded=true", "14", 0.5),
        ("numeric_close?take=first", "42 or 7", True),
        ("numeric_close?take=only", "42 or 7", False),
        ("numeric_close", "no idea", False),
    ],
)
def test_a_number_is_compared_within_a_tolerance(spec: str, output: str, value: object, subject) -> None:
    assert score(spec, subject(output, expected={"output": 42})).value == value


@pytest.mark.parametrize(
    ("spec", "output", "value"),
    [
        ("starts_with?text=Yes", "  Yes, it is", True),
        ("starts_with?text=yes&ignore_case=true", "Yes", True),
        ("starts_with?text=No&negate=true", "Yes", True),
        ("length?most=3", "one two three", True),
        ("length?most=3", "one two three four", False),
        ("length?least=2&unit=sentences", "One. Two!", True),
        ("length?most=5&unit=characters", "123456", False),
        ("length?most=1&unit=lines", "a\nb", False),
        ("placeholder", "def f():\n    # ... rest unchanged", True),
        ("placeholder", "// your code here", True),
        ("placeholder", "The rest of the day is yours.", False),
        ("language_match?language=de", "Das ist nicht der Plan, den ich für den Kunden gesucht habe.", True),
        ("language_match?language=fr", "The plan is not for the customer that you have.", False),
        ("parses", '{"a": 1}', True),
        ("parses", '```json\n{"a": 1}\n```', True),
        ("parses?fenced=false", '```json\n{"a": 1}\n```', False),
        ("parses", "[1,", False),
        ("parses?format=xml", "<a><b/></a>", True),
        ("parses?format=xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', False),
        ("parses?format=html", "<p>x<br></p>", True),
        ("parses?format=html", "<p>x</b>", False),
        ("parses?format=python", "x = 1", True),
        ("parses?format=python", "x = ", False),
        ("parses?format=csv", "a,b\n1,2", True),
        ("parses?format=csv", "a,b\n1", False),
        ("parses?format=jsonl", '{"a":1}\n{"a":2}', True),
        ("contains_json", 'Here: {"a": [1]} ok', True),
        ("contains_json", "nothing {here", False),
    ],
)
def test_a_predicate_on_the_text(spec: str, output: str, value: object, subject) -> None:
    assert score(spec, subject(output)).value is value


def test_reading_ease_is_a_number_and_nothing_without_words(subject) -> None:
    assert score("readability", subject("The cat sat on the mat.")).value == pytest.approx(116.145)
    assert score("readability?least=60", subject("The cat sat on the mat.")).passed is True
    with pytest.raises(NotApplicable):
        score("readability", subject("12 34"))


def test_a_language_that_cannot_be_told_is_not_judged(subject) -> None:
    with pytest.raises(NotApplicable):
        score("language_match?language=en", subject("ok"))
    with pytest.raises(MissingInput):
        score("language_match", subject("The plan is not for the customer.", input="?"))


@pytest.mark.parametrize(
    ("spec", "said", "wanted", "value"),
    [
        ("json_diff", {"a": 1, "b": "x"}, {"a": 1, "b": "x"}, 1.0),
        ("json_diff", {"a": 1, "b": "y"}, {"a": 1, "b": "x"}, 0.5),
        ("json_diff", {"a": 1}, {"a": 1, "b": "x"}, 0.5),
        ("json_diff", {"a": 1, "c": 2}, {"a": 1}, 0.5),
        ("json_diff?ignore=c", {"a": 1, "c": 2}, {"a": 1}, 1.0),
        ("json_diff", [1, 2], [2, 1], 0.0),
        ("json_diff?ordered=false", [1, 2], [2, 1], 1.0),
        ("json_diff", [1], [1, 2], 0.5),
        ("json_diff?tolerance=0.1", {"a": 1.05}, {"a": 1}, 1.0),
        ("json_diff", {"a": True}, {"a": 1}, 0.0),
    ],
)
def test_how_much_of_the_expected_json_is_there(spec, said, wanted, value, subject) -> None:
    wanted_spec: str | dict[str, object] = spec
    if "ignore" in spec:
        wanted_spec = {"use": "json_diff", "ignore": ["c"]}
    assert score(wanted_spec, subject(json.dumps(said), expected={"output": wanted})).value == value


def test_weights_say_how_much_a_key_counts(subject) -> None:
    spec = {"use": "json_diff", "weights": {"a": 3}}
    found = score(spec, subject('{"a": 1, "b": 0}', expected={"output": {"a": 1, "b": 1}}))
    assert (found.value, found.explanation) == (0.75, "$.b: 0, 1 was expected")


@settings(deadline=None)  # the first one imports scipy
@given(json_values, json_values)
def test_likeness_is_between_0_and_1_and_1_for_the_same(a: object, b: object) -> None:
    for ordered in (True, False):
        likeness = _Likeness(frozenset(), {}, ordered, 1e-9, [])
        assert likeness.of(a, a, "$") == 1.0
        assert 0.0 <= likeness.of(a, b, "$") <= 1.0
    assert (
        _Likeness(frozenset(), {}, False, 1e-9, []).of(a, b, "$")
        >= _Likeness(frozenset(), {}, True, 1e-9, []).of(a, b, "$") - 1e-12
    )


def test_fields_are_counted_as_extraction_is(subject) -> None:
    built = load_judge("fields")
    said, wanted = {"name": "Ada", "tags": ["x", "y"], "age": 3}, {"name": "Ada", "tags": ["y", "z"]}
    scores = built.scores(built.call(subject(json.dumps(said), expected={"output": wanted})))
    assert {name: found.value for name, found in scores.items()} == {
        "fields.precision": 0.5,
        "fields.recall": 2 / 3,
        "fields.f1": 4 / 7,
    }


def test_faulty_parameters_are_told_at_once() -> None:
    for spec in ("length", "length?most=3&unit=feet", "parses?format=exe", "numeric_close?relative=-1", "placeholder"):
        if spec == "placeholder":
            with pytest.raises((UsageError, PluginError)):
                load_judge({"use": spec, "patterns": ["("]})
        else:
            with pytest.raises((UsageError, PluginError)):
                load_judge(spec)
