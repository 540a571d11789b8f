"""Judges of how an agent got on: errors, repeats, loops, handoffs, milestones, claims, approvals, states, sessions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.judges.behaviour import changes
from tracekit_evaluators.judges.loop import cycle
from tracekit_evaluators.judges.states import state_hash


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def one(spec: object, subject: Subject) -> Score:
    return next(iter(judged(spec, subject).values()))


def text(role: str, content: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def test_errors_that_were_made_good(subject) -> None:
    tools = [("find", {}, "timeout"), ("book", {}, "no seat"), ("find", {"again": 1}, None), ("reserve", {}, None)]
    scores = judged("error_recovery", subject(tools=tools))
    assert (scores["error_recovery"].value, scores["error_recovery.steps"].value) == (0.5, 2.0)
    assert scores["error_recovery"].evidence == [Evidence(f"{2:016x}", "no seat")]
    same = {"use": "error_recovery", "same_as": {"book": ["reserve"]}}
    assert one(same, subject(tools=tools)).passed is True
    for traced in (subject(), subject(tools=[("find", {}, None)])):
        with pytest.raises(NotApplicable):
            one("error_recovery", traced)


def test_a_result_that_says_error_is_one(tree) -> None:
    rows = [{"step": "agent"}, {"step": "tool", "tool_name": "a", "tool_result": {"error": "no such user"}}]
    assert one("tool_success", tree(*rows)).value == 0.0
    assert one("error_recovery", tree(*rows)).value == 0.0
    assert one("tool_success", tree(rows[0], {**rows[1], "tool_result": {"error": None, "id": 1}})).value == 1.0


@pytest.mark.parametrize(
    ("tools", "share"),
    [
        ([("get", 1), ("get", 1)], 0.5),
        ([("get", 1), ("get", 2)], 0.0),
        ([("get", 1), ("update", 1), ("get", 1)], 0.0),
        ([("get", 1), ("list", 1), ("get", 1)], pytest.approx(1 / 3)),
        ([("book", 1), ("book", 1)], 0.5),
    ],
)
def test_repeats_with_nothing_changed_in_between(tools: list, share: float, subject) -> None:
    assert one("redundant_calls", subject(tools=[(name, {"n": n}, None) for name, n in tools])).value == share


def test_a_retry_of_a_failed_call_is_no_repeat(subject) -> None:
    assert one("redundant_calls", subject(tools=[("get", {}, "busy"), ("get", {}, None)])).value == 0.0
    traced = subject(tools=[("get", {}, None), ("sync", {}, None), ("get", {}, None)])
    assert one("redundant_calls?writes=sync", traced).value == 0.0
    assert one("redundant_calls", traced).value == pytest.approx(1 / 3)
    assert not changes("send", reading=["send"])


def test_loops_have_three_shares(subject, tree) -> None:
    tools = [
        (name, {"page": n}, None) for n, name in enumerate(["find", "open", "find", "open", "find", "open", "pay"])
    ]
    scores = judged("loop", subject(tools=tools))
    assert (scores["loop"].value, scores["loop.repeated"].value) == (False, 0.0)
    assert scores["loop.cycle"].value == pytest.approx(6 / 7)
    assert scores["loop.cycle"].evidence[0] == Evidence(f"{1:016x}", "find")
    assert scores["loop.stagnation"].value == 1.0  # every result is "done"
    rows = [{"step": "agent"}, {"step": "tool", "tool_name": "a", "tool_result": "x"}]
    rows += [{"step": "llm", "output_messages": [text("assistant", said)]} for said in ("Try.", "try", "done")]
    assert judged("loop", tree(*rows))["loop.stagnation"].value == 0.5


@given(st.lists(st.sampled_from("ab"), max_size=12))
def test_a_cycle_is_a_block_again_and_again(names: list[str]) -> None:
    begin, end = cycle(names)
    found = names[begin:end]
    periods = [
        p for p in range(2, len(found) // 2 + 1) if len(found) % p == 0 and found == found[:p] * (len(found) // p)
    ]
    assert not found or periods
    assert found or not any(names[i : i + 2] == names[i + 2 : i + 4] == ["a", "b"] for i in range(len(names)))


def agent_rows(*turns: tuple[str, str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [{"step": "span", "took": 99, "name": "root"}]
    return rows + [{"step": step, "agent_name": agent, "tool_name": "t", "name": step} for agent, step in turns]


@pytest.mark.parametrize(
    ("turns", "share"),
    [
        ([("A", "llm"), ("B", "llm"), ("A", "llm")], 0.5),
        ([("A", "llm"), ("B", "llm"), ("B", "tool"), ("A", "llm")], 0.0),
        ([("A", "llm"), ("B", "llm"), ("C", "llm")], 0.0),
        ([("A", "llm"), ("B", "llm"), ("A", "llm"), ("B", "llm")], pytest.approx(2 / 3)),
    ],
)
def test_handoffs_that_go_straight_back(turns: list, share: float, tree) -> None:
    assert one("ping_pong", tree(*agent_rows(*turns))).value == share


def test_one_agent_hands_nothing_over(tree) -> None:
    with pytest.raises(NotApplicable):
        one("ping_pong", tree(*agent_rows(("A", "llm"), ("A", "tool"))))


def test_milestones_are_weighted_and_say_when_they_were_reached(subject) -> None:
    milestones = [
        {"name": "found", "tool": "find_*", "arguments": {"id": 1}, "weight": 3},
        {"name": "told", "output": "(?i)booked"},
        "cancel",
    ]
    traced = subject("Booked!", tools=[("find_it", {"id": 1, "k": 2}, None), ("cancel", {}, "denied")])
    score = one({"use": "milestone_progress", "milestones": milestones}, traced)
    assert (score.value, score.passed, score.explanation) == (0.8, False, "not reached: cancel")
    assert score.metadata == {"first_met": {"found": 1, "told": 3, "cancel": None}}
    with pytest.raises(MissingInput, match="an object with a tool or an output"):
        one("milestone_progress", subject(expected={"milestones": [{"name": "x"}]}))
    with pytest.raises(UsageError, match="no regular expression"):
        one("milestone_progress", subject(expected={"milestones": [{"output": "("}]}))


@pytest.mark.parametrize(
    ("output", "tools", "value"),
    [
        ("I've cancelled your order.", [], True),
        ("I've cancelled your order.", [("cancel_order", {}, None)], False),
        ("I've cancelled your order.", [("cancel_order", {}, "denied")], True),
        ("Your refund has been issued, and you will get a mail.", [("get_order", {}, None)], True),
        ("Once I have sent the email, I will tell you.", [], False),
        ("I could not cancel your order.", [], False),
        ("Has it been cancelled?", [], False),
        ("I successfully sent the email.", [("send_email", {}, None)], False),
        ("Your order has not been cancelled.", [], False),
        ("Here is a poem.", [], False),
    ],
)
def test_claims_need_a_call_that_succeeded(output: str, tools: list, value: bool, subject) -> None:
    score = one("claims_done_not_done", subject(output, tools=tools))
    assert score.value is value
    assert not value or score.evidence[0].quote in output


def test_tools_that_do_what_their_names_do_not_say(subject) -> None:
    traced = subject("I have escalated it. I have booked it.", tools=[("ticket", {}, None), ("magic", {}, None)])
    tools = {"escalated": ["ticket"], "booked": ["magic"]}
    assert one({"use": "claims_done_not_done", "tools": tools}, traced).value is False
    assert one({"use": "claims_done_not_done", "tools": {"escalated": ["ticket"]}}, traced).value is True


def approved(tree, *between: dict[str, object]) -> Subject:
    last = {"step": "tool", "at": 5, "tool_name": "delete_db"}
    return tree({"step": "agent", "at": 0, "took": 9}, *between, last)


def test_risky_calls_come_after_an_approval(tree) -> None:
    spec = "approval_respected?tools=delete_*"
    assert one(spec, approved(tree)).value is False
    tool = {"step": "tool", "at": 2, "tool_name": "request_approval", "tool_result": "approved"}
    assert one(spec, approved(tree, tool)).value is True
    assert one(spec, approved(tree, {**tool, "tool_result": {"approved": False}})).value is False
    assert one(spec, approved(tree, {**tool, "at": 4.9, "took": 1})).value is False
    event = [{"name": "human.approval", "time_ns": 1, "attributes": {"decision": "yes"}}]
    assert one(spec, approved(tree, {"step": "span", "events": event})).value is True
    event[0]["attributes"] = {"decision": "denied"}
    assert one(spec, approved(tree, {"step": "span", "events": event})).value is False
    asked = {"step": "llm", "at": 3, "input_messages": [text("user", "Yes, go ahead")]}
    assert one(spec, approved(tree, asked)).value is False
    assert one(spec + "&user=true", approved(tree, asked)).value is True
    with pytest.raises(NotApplicable):
        one("approval_respected?tools=drop_*", approved(tree))
    with pytest.raises(MissingInput):
        one("approval_respected", approved(tree))


def test_each_risky_call_may_need_an_approval_of_its_own(tree) -> None:
    tool = {"step": "tool", "at": 1, "tool_name": "approve", "tool_result": "ok"}
    first = {"step": "tool", "at": 3, "tool_name": "delete_db"}
    assert one("approval_respected?tools=delete_*", approved(tree, tool, first)).value is True
    assert one("approval_respected?tools=delete_*&each=true", approved(tree, tool, first)).value is False


def test_skills_and_servers_that_were_used(subject) -> None:
    tools = [("Skill", {"skill": "pdf"}, None), ("read", {"path": "/skills/xlsx/SKILL.md"}, None)]
    tools += [("mcp__github__search", {}, None), ("jira.find", {}, "down")]
    scores = judged("skill_used", subject(tools=tools, expected={"skills": ["pdf", "docx"]}))
    assert (scores["skill_used"].value, scores["skill_used"].explanation) == (0.5, "not used: docx")
    assert scores["skill_used.other"].explanation == "xlsx"
    traced = subject(tools=tools, expected={"servers": ["github", "jira"]})
    assert one("skill_used?servers=true", traced).value == 0.5


def test_the_final_state_by_fields_and_by_hash(tree) -> None:
    state = {"orders": [{"id": 1, "status": "cancelled", "at": "now"}], "balance": 10}
    rows = [{"step": "agent", "attributes": {"tracekit.metadata.state": json.dumps(state)}}]
    wanted = {"orders": [{"id": 1, "status": "open"}], "balance": 10.0}
    scores = judged("environment_state?ignore=*.at", tree(*rows, expected={"state": wanted}))
    assert (scores["environment_state"].value, scores["environment_state.fields"].value) == (
        False,
        pytest.approx(2 / 3),
    )
    assert scores["environment_state"].explanation == 'orders.0.status: "cancelled", "open" was expected'
    assert one("environment_state", tree(*rows, expected={"state": state})).value is True
    assert one("environment_state?partial=true", tree(*rows, expected={"state": {"balance": 10}})).value is True
    assert one("environment_state", tree(*rows, expected={"state_hash": state_hash(state)})).value is True
    assert one("environment_state", tree(*rows, expected={"state_hash": "0" * 64})).value is False
    dump = {"step": "tool", "tool_name": "dump", "tool_result": {"balance": 9}}
    assert one("environment_state?tool=dump", tree(rows[0], dump, expected={"state": {"balance": 9}})).value is True
    with pytest.raises(MissingInput, match="no span has the attribute"):
        one("environment_state", tree({"step": "agent"}, expected={"state": {}}))


def session(tree, *turns: tuple[str, str | None], hours: float = 0, **last: object) -> Subject:
    traces = []
    for place, (asked, answered) in enumerate(turns):
        columns = last if place == len(turns) - 1 else {}
        row = {"step": "agent", "at": place * (hours * 3600 + 10), "input": asked, "output": answered, **columns}
        traces.append(tree(row).trace)
    return replace(tree({"step": "agent"}), trace=traces[-1], session=tuple(traces))


def test_turns_until_the_matter_was_settled(tree) -> None:
    done = session(tree, ("My router is down", "Restart it."), ("Still down", "Press reset."), ("Thanks!", "Bye."))
    scores = judged("turns_to_resolution?max=2", done)
    assert (scores["turns_to_resolution"].value, scores["turns_to_resolution"].passed) == (2.0, True)
    open_ = judged(
        "turns_to_resolution", session(tree, ("My router is down", "Restart it."), ("Thanks, but no", "Hm."))
    )
    assert open_["turns_to_resolution"].status == "not_applicable"
    assert open_["turns_to_resolution.resolved"].value is False
    event = [{"name": "ticket.resolved", "time_ns": 1_770_000_001_000_000_000}]
    marked = session(tree, ("My router is down", "Done."), events=event)
    assert judged("turns_to_resolution", marked)["turns_to_resolution"].value == 1.0


@pytest.mark.parametrize(
    ("turns", "last", "value"),
    [
        ([("Refund me", "Which order?")], {}, True),
        ([("Refund me", "Done.")], {}, False),
        ([("Refund me", None)], {}, True),
        ([("Refund me", "x")], {"status": "error"}, True),
        ([("Refund me", "Done."), ("Perfect", "Anything else?")], {}, False),
    ],
)
def test_sessions_that_were_given_up(turns: list, last: dict, value: bool, tree) -> None:
    assert one("abandonment", session(tree, *turns, **last)).value is value


def test_users_who_come_back_with_the_same(tree) -> None:
    turns = [
        ("Where is my order W-1?", "On its way."),
        ("What is the weather?", "Sunny."),
        ("Where is order W-1 now?", "Hm."),
    ]
    score = one("repeat_contact", session(tree, *turns))
    assert (score.value, score.evidence) == (0.5, [Evidence(None, "Where is order W-1 now?")])
    assert one("repeat_contact?hours=24", session(tree, *turns)).value == 0.0
    assert one("repeat_contact?hours=24", session(tree, *turns, hours=30)).value == 0.5
    with pytest.raises(NotApplicable):
        one("repeat_contact", session(tree, turns[0]))


def test_a_conversation_in_one_trace_has_its_turns(tree) -> None:
    messages = [text("user", "Router is down"), text("assistant", "Restart"), text("user", "Thank you, works now")]
    rows = [{"step": "agent", "took": 9}, {"step": "llm", "at": 1, "input_messages": messages[:1]}]
    subject = tree(*rows, {"step": "llm", "at": 2, "input_messages": messages})
    whole = replace(subject, session=(subject.trace,))
    assert judged("turns_to_resolution", whole)["turns_to_resolution"].value == 1.0
