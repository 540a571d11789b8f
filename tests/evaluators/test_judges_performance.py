"""Judges of time and tokens."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Evidence, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.intervals import covered, critical_path, gaps, merged


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def one(spec: object, subject: Subject) -> Score:
    return next(iter(judged(spec, subject).values()))


def text(role: str, content: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


@pytest.fixture
def busy(tree) -> Subject:
    """10 s: a model for 2 s, two tools side by side for 3 and 5 s, 1 s of nothing, a model for 2 s."""
    return tree(
        {"step": "agent", "name": "agent", "at": 0, "took": 10},
        {"step": "llm", "name": "first", "at": 0, "took": 2, "ttft_ms": 400.0},
        {"step": "tool", "name": "short", "tool_name": "short", "at": 2, "took": 3},
        {"step": "tool", "name": "long", "tool_name": "long", "at": 2, "took": 5},
        {"step": "llm", "name": "last", "at": 8, "took": 2, "ttft_ms": 900.0},
    )


def test_where_the_time_went(busy: Subject) -> None:
    assert one("parallelism", busy).value == pytest.approx(1.2)
    assert one("tool_wait_share", busy).value == 0.5
    gap = judged("queue_gap?max=2", busy)
    assert (gap["queue_gap"].value, gap["queue_gap"].passed, gap["queue_gap.longest"].value) == (1.0, True, 1.0)
    path = judged("critical_path_share", busy)
    assert {name: score.value for name, score in path.items()} == {
        "critical_path_share": 0.9,
        "critical_path_share.llm": 0.4,
        "critical_path_share.tool": 0.5,
        "critical_path_share.retriever": 0.0,
    }
    assert path["critical_path_share"].evidence[0] == Evidence(f"{3:016x}", "long")
    assert [piece.span.name for piece in critical_path(busy.trace)] == ["first", "long", "agent", "last"]


def test_time_to_the_first_chunk(busy: Subject, tree) -> None:
    assert [one(f"ttft?which={which}", busy).value for which in ("first", "last", "mean", "max")] == [
        0.4,
        0.9,
        0.65,
        0.9,
    ]
    assert one("ttft?max=0.5", busy).passed is False
    with pytest.raises(MissingInput, match="first chunk"):
        one("ttft", tree({"step": "llm"}))
    with pytest.raises(UsageError, match="no choice"):
        load_judge("ttft?which=median")


def test_without_steps_or_duration_there_is_nothing_to_measure(tree) -> None:
    for spec in ("parallelism", "queue_gap", "tool_wait_share"):
        with pytest.raises(NotApplicable):
            one(spec, tree({"step": "agent"}))
        with pytest.raises(MissingInput):
            one(spec, tree({"step": "agent", "duration_ns": None}))


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda pair: (pair[0], sum(pair))), max_size=10)


@given(spans)
def test_covered_time_and_gaps_are_the_whole(intervals: list) -> None:
    assert covered(intervals) == len({point for start, end in intervals for point in range(start, end)})
    assert covered(intervals) + sum(end - start for start, end in gaps(intervals, 0, 80)) == 80
    assert merged(merged(intervals)) == merged(intervals)


@given(spans)
def test_the_critical_path_covers_the_root_once(intervals: list) -> None:
    from tracekit_collector.trace import assemble

    base = {"trace_id": "ab" * 16, "name": "s", "kind": "internal", "status": "ok", "step": "tool"}
    rows = [{**base, "span_id": "00" * 8, "parent_span_id": None, "start_ns": 0, "duration_ns": 60, "step": "agent"}]
    for place, (start, end) in enumerate(intervals, start=1):
        times = {"start_ns": start, "duration_ns": end - start}
        rows.append({**base, **times, "span_id": f"{place:016x}", "parent_span_id": f"{place // 2:016x}"})
    pieces = critical_path(assemble(rows))
    assert sum(piece.end_ns - piece.start_ns for piece in pieces) == 60
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(pieces))


def test_caches_retries_limits_and_errors(tree) -> None:
    asked = [text("user", "hi")]
    traced = tree(
        {"step": "agent", "took": 20},
        {"step": "llm", "status": "error", "status_message": "429 Too Many Requests", "input_messages": asked},
        {"step": "llm", "input_tokens": 100, "cached_tokens": 25, "output_tokens": 5, "input_messages": asked},
        {"step": "llm", "input_tokens": 300, "cached_tokens": 75, "output_tokens": 5},
        {"step": "tool", "tool_name": "a", "status": "error", "tool_arguments": {"x": 1}},
        {"step": "tool", "tool_name": "a", "tool_arguments": {"x": 1}},
    )
    assert one("cache_hit_rate", traced).value == 0.25
    assert one("retries?max=2", traced) == Score(
        2.0,
        passed=True,
        direction="minimize",
        explanation="2 retries, within the limit of 2",
        evidence=[Evidence(f"{5:016x}", "a"), Evidence(f"{2:016x}", "model")],
    )
    assert one("rate_limit_hits", traced).evidence == [Evidence(f"{1:016x}", "429 Too Many Requests")]
    assert one("step_error_rate", traced).value == 0.4
    growth = judged("context_growth", traced)
    assert (growth["context_growth"].value, growth["context_growth.ratio"].value) == (200.0, 3.0)
    for spec in ("cache_hit_rate", "wasted_tokens"):
        with pytest.raises(MissingInput):
            one(spec, tree({"step": "llm"}))
    with pytest.raises(NotApplicable):
        one("context_growth", tree({"step": "llm", "input_tokens": 3}))


def test_tokens_of_answers_that_nothing_used(tree) -> None:
    call = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": {"q": 1}}]}
    tokens = {"input_tokens": 90, "output_tokens": 10}
    rows = [
        {"step": "agent", "took": 20, "output": "The answer is 42."},
        {"step": "llm", **tokens, "output_messages": [call]},
        {"step": "tool", "tool_name": "find", "tool_call_id": "c1", "tool_arguments": {"q": 1}, "tool_result": "42"},
        {"step": "llm", **tokens, "output_messages": [text("assistant", "A draft that nobody reads")]},
        {"step": "llm", **tokens, "output_messages": [text("assistant", "The answer is 42.")]},
    ]
    score = one("wasted_tokens", tree(*rows))
    assert score.value == pytest.approx(1 / 3)
    assert score.evidence == [Evidence(f"{3:016x}", "model")]
    rows[4]["input_messages"] = [text("assistant", "A draft that nobody reads")]
    assert one("wasted_tokens", tree(*rows)).value == 0.0


def test_judging_is_quick(tree) -> None:
    """A typical trace, 15 steps: each of these takes well under a millisecond of CPU time."""
    rows: list[dict[str, object]] = [{"step": "agent", "took": 99, "input": "book a flight", "output": "Booked."}]
    for place in range(7):
        rows.append(
            {"step": "llm", "input_messages": [text("user", "book a flight " * 20)], "input_tokens": 100 + place}
        )
        rows.append(
            {"step": "tool", "tool_name": f"t{place % 3}", "tool_arguments": {"a": place}, "tool_result": "ok " * 50}
        )
    expected = {"trajectory": [f"t{place % 3}" for place in range(6)]}
    names = [
        "traj_exact",
        "traj_f1",
        "traj_edit_similarity",
        "tool_correctness",
        "loop",
        "redundant_calls",
        "queue_gap",
    ]
    judges = [load_judge(name) for name in [*names, "critical_path_share", "step_error_rate", "code_injection"]]
    subjects = [tree(*rows, expected=expected) for _ in range(30)]
    for judge in judges:
        judge.call(subjects[0])
    began = time.process_time()
    for subject in subjects:
        for judge in judges:
            judge.call(subject)
    assert (time.process_time() - began) / (len(subjects) * len(judges)) < 0.001
