"""The built-in code judges, by literal verdicts."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, judges, load_judge
from tracekit_evaluators.judges.tool_names import MODES
from tracekit_evaluators.listing import LISTED, judge_rows

MODULES = [f"tracekit_evaluators.judges.{each.name}" for each in pkgutil.iter_modules(judges.__path__)]
MODULES += ["tracekit_evaluators.score", "tracekit_evaluators.subject", "tracekit_evaluators.judge"]


def judged(spec: str, subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built(subject))


def one(spec: str, subject) -> Score:
    return next(iter(judged(spec, subject).values()))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(
    ("spec", "output", "expected", "value"),
    [
        ("exact_match", "Paris", {"output": "Paris"}, True),
        ("exact_match", " Paris\n", {"output": "Paris"}, True),
        ("exact_match?ignore_space=false", " Paris", {"output": "Paris"}, False),
        ("exact_match", "paris", {"output": "Paris"}, False),
        ("exact_match?ignore_case=true", "PARIS", {"output": "Paris"}, True),
        ("exact_match?ignore_punctuation=true", "Paris!", {"output": "Paris."}, True),
        ("exact_match", "ﬁne", {"output": "fine"}, True),
        ("exact_match", '{"b": 2, "a": [1]}', {"output": {"a": [1], "b": 2}}, True),
        ("exact_match", "42", {"output": 42}, True),
        ("exact_match", "false", {"output": False}, True),
        ("exact_match", "B", {"outputs": ["A", "B"]}, True),
        ("exact_match?expected=Rome", "Rome", None, True),
        ('contains?all=["a","b"]', "a b", None, True),
        ('contains?all=["a","b"]', "a", None, False),
        ('contains?any=["a","b"]', "b", None, True),
        ('contains?any=["a","b"]', "c", None, False),
        ("contains?any=sorry&negate=true", "no problem", None, True),
        ("contains?any=SORRY&negate=true&ignore_case=true", "so sorry", None, False),
        ("contains?all=42", "it is 42", None, True),
        ('contains?all=a&any=["b","c"]', "a c", None, True),
        ('contains?all=a&any=["b","c"]', "a", None, False),
        ("contains", "x y", {"contains": ["x", "y"]}, True),
        (r"regex?pattern=\d{3}", "call 911", None, True),
        (r"regex?pattern=\d{3}&full=true", "call 911", None, False),
        ("regex?pattern=error&negate=true", "all fine", None, True),
        ("regex?pattern=OK&ignore_case=true", "ok", None, True),
        ('json_schema?schema={"type":"object","required":["a"]}', '{"a": 1}', None, True),
        ('json_schema?schema={"type":"object","required":["a"]}', "{}", None, False),
        ('json_schema?schema={"type":"object"}', "not json", None, False),
        ("json_schema", "[1]", {"json_schema": {"type": "array"}}, True),
    ],
)
def test_judges_of_the_output(spec: str, output: str, expected: object, value: bool, subject) -> None:
    score = one(spec, subject(output, expected=expected))
    assert (score.value, score.passed, score.status) == (value, value, "scored")


@pytest.mark.parametrize("spec", ["exact_match", "contains?any=a", "regex?pattern=a", "json_schema?schema={}"])
def test_without_an_output_nothing_is_scored(spec: str, subject) -> None:
    with pytest.raises(MissingInput, match="no output"):
        one(spec, subject(None, input=None, expected={"output": "x"}))


@pytest.mark.parametrize("spec", ["exact_match", "contains", "json_schema", "tool_names", "retrieved"])
def test_without_expectations_nothing_is_scored(spec: str, subject) -> None:
    with pytest.raises(MissingInput, match="the case has no expectations"):
        one(spec, subject())
    with pytest.raises(MissingInput, match="the case expects colour, but"):
        one(spec, subject(expected={"colour": "red"}))


def test_a_schema_says_where_the_output_breaks_it(subject) -> None:
    spec = 'json_schema?schema={"properties":{"n":{"type":"integer"}}}'
    assert one(spec, subject('{"n": "x"}')).explanation == "$.n: 'x' is not of type 'integer'"


def test_a_schema_that_refers_elsewhere_is_not_fetched(subject) -> None:
    with pytest.raises(UsageError, match=r"refers to 'http://127.0.0.1:9/x.json', which it does not hold"):
        one('json_schema?schema={"$ref":"http://127.0.0.1:9/x.json"}', subject("{}"))


def test_a_limit_draws_the_line_between_pass_and_fail(subject) -> None:
    traced = subject(duration_ns=2_500_000_000, cost_usd=0.02, input_tokens=100, output_tokens=20)
    assert one("latency", traced) == Score(2.5, direction="minimize")
    assert one("latency?max=2.5", traced).passed is True
    assert one("latency?max=2", traced).passed is False
    assert one("latency?max=2", traced).explanation == "2.5 s, over the limit of 2"
    assert (one("cost", traced).value, one("cost?max=0.01", traced).passed) == (0.02, False)
    assert (one("tokens", traced).value, one("tokens?kind=input", traced).value) == (120.0, 100.0)
    assert one("tokens?kind=output&max=20", traced).passed is True


def test_unknown_cost_tokens_and_duration_are_missing_not_zero(subject) -> None:
    for spec in ("cost", "tokens", "tokens?kind=cached"):
        with pytest.raises(MissingInput):
            one(spec, subject())
    with pytest.raises(MissingInput, match="how many output tokens"):
        one("tokens", subject(input_tokens=5))
    with pytest.raises(MissingInput, match="no duration"):
        one("latency", subject(duration_ns=None))


def test_steps_counts_each_step_once(subject) -> None:
    traced = subject(tools=[("a", {}, None), ("b", {}, None)])
    assert one("steps", traced).value == 3.0
    assert one("steps?kind=tool&max=1", traced) == Score(
        2.0, passed=False, direction="minimize", explanation="2 tool steps, over the limit of 1"
    )
    assert one("steps?kind=llm", traced).value == 0.0


def test_tool_success_is_the_share_of_calls_that_worked(subject) -> None:
    score = one(
        "tool_success", subject(tools=[("a", {}, None), ("b", {}, "no such user"), ("a", {}, None), ("c", {}, None)])
    )
    assert (score.value, score.passed) == (0.75, False)
    assert score.explanation == "3 of 4 tool calls worked"
    assert score.evidence == [Evidence("0000000000000002", "no such user")]
    assert one("tool_success", subject(tools=[("a", {}, None)])).passed is True
    with pytest.raises(NotApplicable, match="no tool was called"):
        one("tool_success", subject())


def test_error_is_about_the_whole_trace(subject) -> None:
    assert one("error", subject()) == Score(False, passed=True, direction="minimize")
    failed = one("error", subject(None, status="error", status_message="boom", error_type="ValueError"))
    assert (failed.value, failed.passed, failed.explanation) == (True, False, "ValueError: boom")
    assert failed.evidence == [Evidence("00" * 8, "boom")]


def test_loop_finds_equal_calls(subject) -> None:
    calls = [
        ("find", {"a": 1, "b": 2}, None),
        ("find", {"b": 2, "a": 1}, None),
        ("get", {}, None),
        ("find", {"a": 1, "b": 2}, None),
    ]
    scores = judged("loop", subject(tools=calls))
    assert (scores["loop"].value, scores["loop"].passed) == (True, False)
    assert scores["loop"].explanation == "find was called 3 times with the same arguments"
    assert scores["loop.repeated"].value == 0.5
    assert judged("loop?times=4", subject(tools=calls))["loop"].value is False
    assert judged("loop", subject(tools=[("find", {"a": n}, None) for n in range(9)]))["loop.repeated"].value == 0.0
    with pytest.raises(NotApplicable):
        judged("loop", subject())


CALLED = [("read", {}, None), ("book", {}, None), ("pay", {}, None)]


@pytest.mark.parametrize(
    ("mode", "expected", "value"),
    [
        ("exact", ["read", "book", "pay"], True),
        ("exact", ["book", "read", "pay"], False),
        ("unordered", ["pay", "book", "read"], True),
        ("unordered", ["pay", "book", "read", "read"], False),
        ("unordered", ["pay", "book"], False),
        ("in_order", ["read", "pay"], True),
        ("in_order", ["pay", "read"], False),
        ("in_order", ["read", "read"], False),
        ("any_order", ["pay", "read"], True),
        ("any_order", ["pay", "pay"], False),
        ("superset", ["pay"], True),
        ("subset", ["read", "book", "pay", "cancel"], True),
        ("subset", ["read", "book"], False),
        ("in_order", [], True),
        ("subset", [], False),
    ],
)
def test_modes_of_tool_names(mode: str, expected: list[str], value: bool, subject) -> None:
    assert (
        judged(f"tool_names?mode={mode}", subject(tools=CALLED, expected={"tools": expected}))["tool_names"].value
        is value
    )


def test_tool_names_counts_what_is_missing_and_what_is_extra(subject) -> None:
    scores = judged("tool_names", subject(tools=CALLED, expected={"expected_actions": ["book", "book", "cancel"]}))
    assert scores["tool_names"].value is False
    assert scores["tool_names"].explanation == "missing: book, cancel; not expected: pay, read"
    assert scores["tool_names"].metadata == {"expected": ["book", "book", "cancel"], "actual": ["read", "book", "pay"]}
    assert scores["tool_names.precision"].value == pytest.approx(1 / 3)
    assert scores["tool_names.recall"].value == pytest.approx(1 / 3)
    assert scores["tool_names.f1"].value == pytest.approx(1 / 3)


def test_tools_that_do_not_count_are_left_out_on_both_sides(subject) -> None:
    traced = subject(tools=CALLED, expected={"tool_names": ["book", "pay", "read"]})
    assert judged('tool_names?ignore=["re*"]', traced)["tool_names"].metadata["actual"] == ["book", "pay"]
    assert judged("tool_names?only=book", traced)["tool_names"].metadata == {"expected": ["book"], "actual": ["book"]}


def test_of_nothing_there_is_no_share(subject) -> None:
    scores = judged("tool_names", subject(expected={"tools": []}))
    assert (scores["tool_names"].value, scores["tool_names.f1"].value) == (True, 1.0)
    assert (scores["tool_names.precision"].status, scores["tool_names.recall"].status) == ("not_applicable",) * 2


def test_expected_tools_may_be_objects_with_names_and_nothing_else(subject) -> None:
    assert (
        judged("tool_names", subject(tools=CALLED[:1], expected={"tools": [{"name": "read"}]}))["tool_names"].value
        is True
    )
    with pytest.raises(MissingInput, match="no list of names"):
        judged("tool_names", subject(expected={"tools": [1]}))


names = st.lists(st.sampled_from("abcd"), max_size=6)


@given(names)
def test_every_mode_accepts_the_same_calls(actual: list[str]) -> None:
    assert all(holds(actual, actual) for holds in MODES.values())


@given(names, names)
def test_modes_imply_one_another(actual: list[str], expected: list[str]) -> None:
    """Exact implies every other; unordered is any_order and subset; in_order implies any_order."""
    holds = {name: mode(actual, expected) for name, mode in MODES.items()}
    assert not holds["exact"] or all(holds.values())
    assert holds["unordered"] == (holds["any_order"] and holds["subset"])
    assert not holds["in_order"] or holds["any_order"]
    assert holds["any_order"] == MODES["subset"](expected, actual)


DOCUMENTS = [{"id": "x"}, {"id": "y"}, {"id": "x"}, {"id": "z"}]


@pytest.mark.parametrize(
    ("spec", "expected", "hit", "rank", "recall"),
    [
        ("retrieved", "y", True, 0.5, 1.0),
        ("retrieved", ["y", "z"], True, 0.5, 1.0),
        ("retrieved", ["z"], True, pytest.approx(1 / 3), 1.0),
        ("retrieved?k=1", ["y"], False, 0.0, 0.0),
        ("retrieved?k=2", ["z", "x"], True, 1.0, 0.5),
        ("retrieved", ["nowhere"], False, 0.0, 0.0),
    ],
)
def test_retrieval_by_ids(spec: str, expected: object, hit: bool, rank: float, recall: float, subject) -> None:
    scores = judged(spec, subject(documents=DOCUMENTS, expected={"documents": expected}))
    assert scores["retrieved"].value is hit
    assert scores["retrieved.reciprocal_rank"].value == rank
    assert scores["retrieved.recall"].value == recall


def test_what_retrieved_nothing_found_nothing(subject) -> None:
    assert judged("retrieved", subject(expected={"document_ids": ["x"]}))["retrieved"].value is False


def test_the_listing_names_every_judge_with_what_it_needs() -> None:
    rows = {row["name"]: row for row in judge_rows()}
    assert set(rows) >= {"exact_match", "contains", "regex", "json_schema", "latency", "cost", "tokens", "steps"}
    assert set(rows) >= {"tool_success", "tool_names", "error", "loop", "retrieved", "rubric"}
    assert rows["latency"] == {
        "name": "latency",
        "says": "Seconds from the trace's start to its end.",
        "values": "seconds ≥ 0",
        "direction": "minimize",
        "needs": "duration",
        "kind": "code",
        "subject": "trace",
        "parameters": "max=None",
    }
    assert all(set(row) == set(LISTED) and row["says"] for row in rows.values())
    json.dumps(list(rows.values()))
