"""Judges of a session's turns, and of several tries at a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_collector.trace import assemble
from tracekit_evaluators import Case, Score, Subject, evaluate, judge, load_judge
from tracekit_evaluators.score import MissingInput, NotApplicable

SECOND = 1_000_000_000
START = 1_770_000_000 * SECOND


def session(*turns: Mapping[str, object], expected: Mapping[str, object] | None = None) -> Subject:
    """A session of turns: `at` and `took` in seconds, ids of `documents`, and columns of the root."""
    traces = []
    for place, given_turn in enumerate(turns):
        told = dict(given_turn)
        begin, took = START + int(told.pop("at", place * 10) * SECOND), told.pop("took", 1)
        ids: Sequence[str] = told.pop("documents", ())
        base = {
            "trace_id": f"{place + 1:032x}",
            "kind": "internal",
            "status": "ok",
            "start_ns": begin,
            "session_id": "s",
        }
        lasted = None if took is None else int(took * SECOND)
        root = {"span_id": "00" * 8, "parent_span_id": None, "name": "agent", "step": "agent", "duration_ns": lasted}
        rows = [{**base, **root, "input": "q", "output": f"answer {place}", **told}]
        if ids:
            found = json.dumps([{"id": each} for each in ids])
            child = {"span_id": "ff" * 8, "parent_span_id": "00" * 8, "name": "search", "step": "retriever"}
            rows.append({**base, **child, "duration_ns": 1, "documents": found})
        traces.append(assemble(rows))
    return Subject(traces[-1], Case(expected=expected), session=tuple(traces))


def scores(spec: str, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def test_a_turns_latency_is_how_long_its_answer_took() -> None:
    found = scores("turn_latency?max=2", session({"took": 1}, {"took": 3}, {"took": 2}))
    assert {name: each.value for name, each in found.items()} == {"turn_latency": 2.0, "turn_latency.worst": 3.0}
    assert found["turn_latency.worst"].passed is False
    with pytest.raises(UsageError):
        load_judge("turn_latency?max=soon")


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_turns_says_nothing_of_their_latency(waits: list[int], chance) -> None:
    mixed = list(waits)
    chance.shuffle(mixed)
    values = [
        [each.value for each in scores("turn_latency", session(*({"took": wait} for wait in some))).values()]
        for some in (waits, mixed, [*waits, max(waits) + 1])
    ]
    assert values[0] == pytest.approx(values[1])
    assert values[2][0] > values[0][0] - 1e-12


def test_an_interrupted_turn_is_told_by_times_attributes_and_events() -> None:
    smooth = session({"at": 0}, {"at": 5}, {"at": 9})
    assert scores("turn_interruptions", smooth)["turn_interruptions"].value == 0.0
    early = session({"at": 0, "took": 6}, {"at": 5}, {"at": 9})
    found = scores("turn_interruptions", early)["turn_interruptions"]
    assert (found.value, found.evidence[0].quote) == (pytest.approx(1 / 3), "answer 0")
    marked = {"attributes": json.dumps({"turn.was_interrupted": True})}
    assert scores("turn_interruptions", session({}, marked))["turn_interruptions"].value == 0.5
    quiet = {"attributes": json.dumps({"turn.was_interrupted": False})}
    assert scores("turn_interruptions", session({}, quiet))["turn_interruptions"].value == 0.0
    event = {"events": json.dumps([{"name": "user_interrupted", "time_ns": START, "attributes": {}}])}
    assert scores("turn_interruptions", session(event))["turn_interruptions"].value == 1.0
    with pytest.raises(NotApplicable):
        scores("turn_interruptions", session({}))


def test_each_turn_is_held_to_the_documents_that_it_needed() -> None:
    turns = ({"documents": ["a", "x"]}, {"documents": ["b"]}, {})
    found = scores("turn_retrieval", session(*turns, expected={"turn_documents": [["a"], ["b", "c"], []]}))
    assert {name: each.value for name, each in found.items()} == {
        "turn_retrieval": 0.75,
        "turn_retrieval.worst": 0.5,
        "turn_retrieval.precision": 0.75,
    }
    none = scores("turn_retrieval", session({}, expected={"turn_documents": [["a"]]}))
    assert {name: each.value for name, each in none.items()} == {"turn_retrieval": 0.0, "turn_retrieval.worst": 0.0}
    cut = scores("turn_retrieval?k=1", session({"documents": ["x", "a"]}, expected={"turn_documents": [["a"]]}))
    assert cut["turn_retrieval"].value == 0.0
    with pytest.raises(NotApplicable):
        scores("turn_retrieval", session({}, expected={"turn_documents": [[]]}))
    with pytest.raises(MissingInput, match="2 turns, not 1"):
        scores("turn_retrieval", session({}, {}, expected={"turn_documents": [["a"]]}))


@judge
def worth(subject: Subject) -> float:
    return float(len(subject.output_text))


def _best(store, record, outputs: Mapping[str, Sequence[str | None]], spec: str) -> dict[str, dict[str, tuple]]:
    for case, tries in outputs.items():
        for place, output in enumerate(tries):
            record(f"{case}{place}", case=case, repeat=place, output=output)
    evaluate(store, judges=[worth], progress=False)
    run = evaluate(store, judges=[spec], progress=False)
    found: dict[str, dict[str, tuple]] = {}
    for row in run.scores():
        found.setdefault(row["name"], {})[f"{row['case_id']}{row['repeat']}"] = (row["status"], row["value"])
    return found


def test_the_best_of_several_tries_is_chosen_by_a_score_that_stands(store, record) -> None:
    outputs = {"a": ["xx", "xxxx", "xxxx"], "b": ["x"], "c": [None, "x"]}
    found = _best(store, record, outputs, "select_best?by=worth")
    assert sum(value for _, value in found["select_best"].values() if value is not None) == 2
    best = [key for key, (_, value) in found["select_best"].items() if value == 1]
    assert {key[0] for key in best} == {"a", "c"}
    assert found["select_best"]["b0"] == ("not_applicable", None)
    assert found["select_best"]["c0"] == ("missing_input", None)
    assert found["select_best"]["a0"] == ("scored", 0.0)
    (a,) = (key for key in best if key[0] == "a")
    assert found["select_best.value"] == {a: ("scored", 4.0), "c1": ("scored", 1.0)}
    assert found["select_best.gain"][a] == ("scored", pytest.approx(4 - 10 / 3))


def test_the_least_is_the_best_where_less_is_better(store, record) -> None:
    found = _best(store, record, {"a": ["xxx", "x"]}, "select_best?by=worth&direction=minimize")
    assert found["select_best"] == {"a0": ("scored", 0.0), "a1": ("scored", 1.0)}
    assert found["select_best.gain"]["a1"] == ("scored", 1.0)


def test_one_subject_is_no_selection(subject: Callable[..., Subject]) -> None:
    with pytest.raises(UsageError, match="evaluate"):
        load_judge("select_best?by=worth").call(subject())
    with pytest.raises(UsageError, match="minimize"):
        load_judge("select_best?by=worth&direction=neutral")
