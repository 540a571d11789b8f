"""Judges of what tools were called with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.grounding import words_of

SCHEMA = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "unit": {"enum": ["C"]}}}
TOOLS = [{"type": "function", "name": "weather", "parameters": SCHEMA}, {"type": "function", "name": "bare"}]


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def one(spec: object, subject: Subject) -> Score:
    return next(iter(judged(spec, subject).values()))


def call_of(tree, name: str, arguments: object, *, offered: object = TOOLS) -> Subject:
    rows = [{"step": "agent", "input": "Weather in Rome?"}, {"step": "llm", "tool_definitions": offered}]
    rows += [{"step": "tool", "tool_name": name, "tool_arguments": json.dumps(arguments)}]
    subject = tree(*rows)
    return replace(subject, span=subject.trace.spans[-1])


def test_arguments_are_valid_by_the_recorded_schema(tree) -> None:
    assert one("tool_args_schema_valid", call_of(tree, "weather", {"city": "Rome"})).value is True
    score = one("tool_args_schema_valid", call_of(tree, "weather", {"city": 3}))
    assert (score.value, score.explanation) == (False, "$.city: 3 is not of type 'string'")
    assert score.evidence == [Evidence(f"{2:016x}", '{"city": 3}')]
    with pytest.raises(MissingInput, match="no definition of climate"):
        one("tool_args_schema_valid", call_of(tree, "climate", {}))
    with pytest.raises(MissingInput, match="no schema of its arguments"):
        one("tool_args_schema_valid", call_of(tree, "bare", {}))
    broken = [{"name": "weather", "parameters": {"type": "nonsense"}}]
    with pytest.raises(MissingInput, match="the schema of weather is none"):
        one("tool_args_schema_valid", call_of(tree, "weather", {}, offered=broken))
    elsewhere = [{"name": "weather", "parameters": {"$ref": "http://127.0.0.1:9/x.json"}}]
    with pytest.raises(MissingInput, match="which it does not hold"):
        one("tool_args_schema_valid", call_of(tree, "weather", {}, offered=elsewhere))


def test_a_called_tool_was_offered(tree) -> None:
    assert one("tool_exists", call_of(tree, "bare", {})).value is True
    score = one("tool_exists", call_of(tree, "climate", {}))
    assert (score.value, score.explanation) == (False, "climate was not offered; there were bare, weather")
    assert one('tool_exists?tools=["climate"]', call_of(tree, "climate", {})).value is True
    with pytest.raises(MissingInput, match="which tools were offered"):
        one("tool_exists", call_of(tree, "bare", {}, offered=None))


def test_tools_that_may_be_called(subject) -> None:
    traced = subject(tools=[("read_file", {}, None), ("delete_file", {}, None)], expected={"role": "guest"})
    scores = judged("tool_permission?deny=delete_*", traced)
    assert (scores["tool_permission"].value, scores["tool_permission.outside"].value) == (False, 0.5)
    assert scores["tool_permission"].evidence == [Evidence(f"{2:016x}", "delete_file")]
    assert one('tool_permission?allow=["read_*","delete_*"]', traced).value is True
    roles = {"use": "tool_permission", "roles": {"guest": ["read_*"], "admin": ["*"]}}
    assert one(roles, traced).value is False
    assert one(roles, subject(tools=[("x", {}, None)], expected={"role": "admin"})).value is True
    with pytest.raises(MissingInput, match="not the role 'ghost'"):
        one(roles, subject(tools=[("x", {}, None)], expected={"role": "ghost"}))
    assert one("tool_permission", subject(tools=[("x", {}, None)], expected={"allowed_tools": []})).value is False
    assert one("tool_permission", subject(tools=[("x", {}, None)], expected={"denied_tools": ["y"]})).value is True
    with pytest.raises(MissingInput, match="no expectations"):
        one("tool_permission", subject(tools=[("x", {}, None)]))


def test_argument_values_stand_in_what_was_told_before(tree) -> None:
    rows = [
        {"step": "agent", "at": 0, "took": 9, "input": "Refund order #W-100 of Ann, $1,250.50 please"},
        {"step": "tool", "at": 1, "tool_name": "find", "tool_arguments": {"name": "ann", "limit": 5}},
        {"step": "tool", "at": 2, "tool_name": "refund", "tool_arguments": {"user": "u_77", "amount": 1250.5}},
        {"step": "tool", "at": 4, "tool_name": "close", "tool_arguments": {"order": "W-100", "user": "u_78"}},
    ]
    rows[1]["tool_result"] = {"id": "u_77"}
    score = one("tool_arg_grounding", tree(*rows))
    assert (score.value, score.evidence) == (0.8, [Evidence(f"{3:016x}", "u_78")])
    assert score.explanation == "4 of 5 values were told; not: close.user = 'u_78'"
    assert one("tool_arg_grounding?ignore_arguments=user", tree(*rows)).value == 1.0
    rows[1]["at"], rows[1]["took"] = 2.5, 1  # the id is told only after it was used
    assert one("tool_arg_grounding?only=refund", tree(*rows)).value == 0.5


def test_an_agents_own_words_are_not_told_and_enums_do_not_count(tree) -> None:
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "I take order 4711"}]}]
    rows = [
        {"step": "agent", "at": 0, "took": 9, "input": "Cancel it"},
        {"step": "llm", "at": 1, "input_messages": said, "tool_definitions": TOOLS},
        {"step": "tool", "at": 2, "tool_name": "weather", "tool_arguments": {"unit": "C", "city": "4711", "on": True}},
    ]
    assert one("tool_arg_grounding", tree(*rows)).value == 0.0
    said[0]["role"] = "user"
    assert one("tool_arg_grounding", tree(*rows)).value == 1.0
    with pytest.raises(NotApplicable, match="no argument holds a value"):
        one("tool_arg_grounding?ignore_arguments=city", tree(*rows))


@given(st.text(max_size=30))
def test_any_text_holds_its_own_words(text: str) -> None:
    assert words_of(text).strip() in words_of(f"before, {text}, after")
