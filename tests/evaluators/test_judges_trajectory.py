"""Judges of the steps that an agent took, by literal verdicts, by properties, and on recorded traces."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Case, MissingInput, NotApplicable, Score, Subject, load_judge
from tracekit_evaluators.matching import Matcher, same
from tracekit_evaluators.score import Unscored
from tracekit_evaluators.trajectory import (
    Step,
    Wanted,
    best_pairs,
    edit_distance,
    equal,
    fits,
    in_partial_order,
    longest_common,
    most_pairs,
    reference_of,
    weight,
)


def judged(spec: object, subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def one(spec: object, subject: Subject) -> Score:
    return next(iter(judged(spec, subject).values()))


CALLED = [("read", {"id": 1}, None), ("book", {"seat": "1A", "meal": "veg"}, None), ("pay", {"amount": 10}, None)]


@pytest.mark.parametrize(
    ("name", "expected", "value"),
    [
        ("traj_exact", ["read", "book", "pay"], True),
        ("traj_exact", ["book", "read", "pay"], False),
        ("traj_exact", [{"name": "read", "arguments": {"id": 1}}, "book", "pay"], True),
        ("traj_exact", [{"name": "read", "arguments": {"id": 2}}, "book", "pay"], False),
        ("traj_in_order", ["read", "pay"], True),
        ("traj_in_order", ["pay", "read"], False),
        ("traj_any_order", ["pay", "read"], True),
        ("traj_any_order", ["pay", "pay"], False),
        ("traj_superset", ["pay"], True),
        ("traj_subset", ["read", "book", "pay", "cancel"], True),
        ("traj_subset", ["read", "book"], False),
        ("traj_unordered", ["pay", "book", "read"], True),
        ("traj_unordered", ["pay", "book"], False),
        ("traj_f1", ["read", "book", "cancel"], pytest.approx(2 / 3)),
        ("traj_edit_similarity", ["read", "pay"], pytest.approx(2 / 3)),
        ("traj_edit_similarity", [{"tool": "read"}, {"tool": "book", "args": {"seat": "1A"}}, "pay"], 1 - 0.5 / 3),
        ("traj_partial_order", {"steps": ["pay", "read"], "order": [["read", "pay"]]}, 1.0),
        ("traj_partial_order", {"steps": ["pay", "read"], "order": [["pay", "read"]]}, 0.0),
        ("traj_partial_order", {"steps": ["pay", "read", "fly"], "order": [["read", "pay"]]}, pytest.approx(2 / 3)),
        ("traj_partial_order", [{"id": "p", "tool": "pay", "after": "b"}, {"id": "b", "tool": "book"}], 1.0),
        ("tool_correctness", ["read", "book"], pytest.approx(2 / 3)),
        ("tool_correctness", [{"name": "book", "arguments": {"seat": "1A", "meal": "meat"}}], pytest.approx(0.5 / 3)),
    ],
)
def test_trajectories_by_reference(name: str, expected: object, value: object, subject) -> None:
    assert one(name, subject(tools=CALLED, expected={"trajectory": expected})).value == value


def test_shares_beside_the_verdicts(subject) -> None:
    scores = judged("traj_in_order", subject(tools=CALLED, expected={"trajectory": ["read", "fly", "pay"]}))
    assert scores["traj_in_order.share"].value == pytest.approx(2 / 3)
    scores = judged("traj_f1", subject(tools=CALLED, expected={"trajectory": ["read"]}))
    assert (scores["traj_f1.precision"].value, scores["traj_f1.recall"].value) == (pytest.approx(1 / 3), 1.0)
    assert scores["traj_f1"].explanation == "not expected: book, pay"
    assert one("tool_correctness?extra_counts=false", subject(tools=CALLED, expected={"tools": ["read"]})).value == 1.0
    nothing = judged("traj_f1", subject(expected={"tools": []}))
    assert (nothing["traj_f1"].value, nothing["traj_f1.recall"].status) == (1.0, "not_applicable")


def test_tools_that_do_not_count_are_left_out_of_reference_and_order(subject) -> None:
    traced = subject(tools=CALLED, expected={"trajectory": ["book", "read", "pay"]})
    assert one("traj_exact", traced).explanation == "in another order"
    assert one("traj_exact?ignore=re*", traced).value is True
    assert one("traj_partial_order?ignore=re*", traced).value == 1.0


def test_a_reference_that_cannot_be_read_is_no_zero(subject) -> None:
    with pytest.raises(MissingInput, match=r"a tool's name or an object"):
        one("traj_exact", subject(tools=CALLED, expected={"trajectory": [1]}))
    with pytest.raises(MissingInput, match="no expectations"):
        one("traj_exact", subject(tools=CALLED))
    with pytest.raises(UsageError, match="names fly, which is no expected step"):
        reference_of({"steps": ["a"], "order": [["a", "fly"]]})
    with pytest.raises(UsageError, match="round in a circle"):
        reference_of({"steps": ["a", "b"], "order": [["a", "b"], ["b", "a"]]})


@pytest.mark.parametrize(
    ("rules", "said", "wanted", "value"),
    [
        (None, {"a": 1, "b": 2}, {"a": 1, "b": 2.0}, 1.0),
        (None, {"a": 1, "b": True}, {"a": 1, "b": 1}, 0.5),
        ("ignore", {"a": 1}, {"b": 2}, 1.0),
        ("subset", {"a": 1}, {"a": 1, "b": 2}, 1.0),
        ("subset", {"a": 1, "c": 3}, {"a": 1, "b": 2}, 0.5),
        ("superset", {"a": 1, "c": 3}, {"a": 1}, 1.0),
        ("regex", {"city": "New York"}, {"city": "^New"}, 1.0),
        ({"*": {"numeric": 0.01}}, {"x": 100.5}, {"x": 100}, 1.0),
        ("numeric", {"x": "100"}, {"x": 100}, 1.0),
        ("schema", {"x": 3}, {"required": ["x"], "properties": {"x": {"minimum": 5}}}, 0.0),
        ("text", {"q": "Hello, World!"}, {"q": "hello world"}, 1.0),
        ({"t": {"q": "ignore", "*": "exact"}}, {"q": "x", "k": 1}, {"q": "y", "k": 1}, 1.0),
        ({"t": {"q": "superset"}}, {"q": [1, 2]}, {"q": [1]}, 1.0),
        ({"o*": "ignore"}, {"q": 1}, {"q": 2}, 0.0),
        ({"t*": "ignore"}, {"q": 1}, {"q": 2}, 1.0),
        ({"t": "operator:eq"}, {"q": 1}, {"q": 1}, 1.0),
        ({"t": lambda said, wanted: said["q"] > wanted["q"]}, {"q": 2}, {"q": 1}, 1.0),
        (None, None, {}, 1.0),
        (None, {"anything": 1}, None, 1.0),
    ],
)
def test_ways_to_compare_arguments(rules: object, said: object, wanted: object, value: float) -> None:
    assert Matcher(rules)("t", said, wanted) == value


@pytest.mark.parametrize("rules", ["fuzzy", {"t": 3}, {"t": {"q": "nowhere:at_all"}}])
def test_a_rule_that_is_none_is_refused(rules: object) -> None:
    with pytest.raises(UsageError, match=r"cannot be compared|no way to compare"):
        Matcher(rules)


def test_tool_args_match_is_the_mean_over_expected_calls(subject) -> None:
    expected = [{"name": "read", "arguments": {"id": 1}}, {"name": "book", "arguments": {"seat": "1A", "meal": "fish"}}]
    score = one("tool_args_match", subject(tools=CALLED, expected={"trajectory": expected}))
    assert (score.value, score.explanation) == (0.75, "book: 50% alike")
    match = {"book": {"meal": "ignore"}}
    assert (
        one({"use": "tool_args_match", "match": match}, subject(tools=CALLED, expected={"tools": expected})).value
        == 1.0
    )
    with pytest.raises(NotApplicable, match="states arguments"):
        one("tool_args_match", subject(tools=CALLED, expected={"tools": ["read"]}))


def test_constraints(subject) -> None:
    constraints = {
        "require": ["pay"],
        "forbid": ["delete_*"],
        "order": [["read", "book", "pay"]],
        "at_most": {"*": 2},
        "at_least": {"read": 1},
    }
    score = one("traj_constraints", subject(tools=CALLED, expected={"constraints": constraints}))
    assert score.value == pytest.approx(5 / 6)
    assert (score.passed, score.explanation) == (False, "* was called 3 times, at most 2 are allowed")
    with pytest.raises(UsageError, match="not 'never'"):
        load_judge({"use": "traj_constraints", "constraints": {"never": ["x"]}})


def test_path_optimality_and_graph_paths(subject, tree) -> None:
    assert one("path_optimality?shortest=2", subject(tools=CALLED)).value == pytest.approx(2 / 3)
    assert one("path_optimality", subject(tools=CALLED, expected={"tools": ["a", "b", "c", "d"]})).value == 1.0
    nodes = [{"step": "agent", "name": "graph", "took": 9}, {"step": "chain", "name": "plan"}]
    nodes += [{"step": "chain", "name": "act"}, {"step": "chain", "name": "plan"}]
    scores = judged("graph_trajectory", tree(*nodes, expected={"nodes": ["plan", "act", "end"]}))
    assert (scores["graph_trajectory"].value, scores["graph_trajectory"].explanation) == (False, "plan → act → plan")
    assert scores["graph_trajectory.share"].value == pytest.approx(2 / 3)


steps = st.lists(st.builds(lambda tool, n: Step(tool, {"n": n}), st.sampled_from("abc"), st.integers(0, 2)), max_size=5)


def wanted(steps: list[Step]) -> list[Wanted]:
    return [Wanted(step.tool, step.arguments) for step in steps]


def partly(tool: str, said: object, expected: object) -> float:
    return 1.0 if same(said, expected) else 0.4


@settings(deadline=None)
@given(steps)
def test_a_trajectory_is_like_itself(actual: list[Step]) -> None:
    n, fit = len(actual), fits(actual, wanted(actual), Matcher())
    assert equal(n, n, fit)
    assert longest_common(n, n, fit) == len(most_pairs(n, n, fit)) == n
    assert (edit_distance(n, n, fit), weight(best_pairs(n, n, fit), fit)) == (0.0, float(n))


@settings(deadline=None)
@given(steps, steps, st.randoms())
def test_order_does_not_matter_where_none_is_asked_for(actual: list[Step], expected: list[Step], random) -> None:
    shuffled = list(actual)
    random.shuffle(shuffled)
    n, m = len(actual), len(expected)
    a, b = fits(actual, wanted(expected), partly), fits(shuffled, wanted(expected), partly)
    assert len(most_pairs(n, m, a)) == len(most_pairs(n, m, b))
    assert weight(best_pairs(n, m, a), a) == pytest.approx(weight(best_pairs(n, m, b), b))


@settings(deadline=None)
@given(steps, steps)
def test_the_optimal_pairing_is_that_of_brute_force_and_no_worse_than_a_greedy_one(
    actual: list[Step], expected: list[Step]
) -> None:
    n, m, fit = len(actual), len(expected), fits(actual, wanted(expected), partly)
    found = weight(best_pairs(n, m, fit), fit)
    places = [*range(n), *[None] * m]
    best = max(
        math.fsum(fit(i, j) for j, i in enumerate(chosen) if i is not None)
        for chosen in set(itertools.permutations(places, m))
    )
    assert found == pytest.approx(best)
    greedy, free = 0.0, set(range(n))
    for j in range(m):
        if free:
            i = max(free, key=lambda i: fit(i, j))
            greedy += fit(i, j)
            free.discard(i)
    assert found >= greedy - 1e-9


@settings(deadline=None)
@given(steps, steps, st.sampled_from("abcx"))
def test_one_call_more_never_helps_precision_nor_hurts_recall(
    actual: list[Step], expected: list[Step], tool: str
) -> None:
    more = [*actual, Step(tool, {"n": 9})]
    n, m = len(actual), len(expected)
    pairs = len(most_pairs(n, m, fits(actual, wanted(expected), Matcher())))
    fit = fits(more, wanted(expected), Matcher())
    assert len(most_pairs(n + 1, m, fit)) == pairs
    before = weight(best_pairs(n, m, fit), fit) / max(n, m, 1)
    if n >= m:
        assert weight(best_pairs(n + 1, m, fit), fit) / (n + 1) <= before + 1e-9


@settings(deadline=None)
@given(steps, steps)
def test_the_edit_distance_is_between_the_bounds_of_its_parts(actual: list[Step], expected: list[Step]) -> None:
    n, m, fit = len(actual), len(expected), fits(actual, wanted(expected), Matcher())
    distance = edit_distance(n, m, fit)
    assert abs(n - m) <= distance + 1e-9
    assert distance <= max(n, m)
    assert distance <= n + m - 2 * longest_common(n, m, fit) + 1e-9


@settings(deadline=None)
@given(steps, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4))
def test_a_trajectory_keeps_every_partial_order_that_it_is_made_of(actual: list[Step], pairs: list) -> None:
    order = [(a, b) for a, b in pairs if a < b < len(actual)]
    items = [{"id": i, "tool": step.tool, "arguments": step.arguments} for i, step in enumerate(actual)]
    reference = reference_of({"steps": items, "order": [[str(a), str(b)] for a, b in order]})
    kept, recall = in_partial_order(len(actual), reference, fits(actual, reference.steps, Matcher()))
    assert recall == 1.0
    if len({step.key for step in actual}) == len(actual):
        assert kept == 1.0


BOOKING = ["book_*", "cancel_*", "update_*", "send_*"]


def test_taubench_airline_steps_go_with_the_reward(shared: Path, tmp_path: Path, capsys) -> None:
    """All 200 traces against their expected actions; prints how each judge goes with the environment's reward."""
    from tracekit.cli import main
    from tracekit_collector.store import Store

    data = shared / "data" / "taubench_airline"
    assert main(["ingest", *map(str, sorted(data.glob("*.gz"))), "--store", str(tmp_path / "S")]) == 0
    capsys.readouterr()
    rewards = {row["trace_id"]: row for row in map(json.loads, (data / "scores.jsonl").read_text().splitlines())}
    with Store.open(tmp_path / "S") as store:
        traces = list(store.traces(store.trace_ids()))
    assert len(traces) == 200
    names = ["exact", "in_order", "any_order", "unordered", "subset", "superset", "f1", "edit_similarity"]
    specs = [*(f"traj_{name}" for name in [*names, "partial_order"]), "tool_correctness"]
    judges = [load_judge({"use": name, "only": BOOKING}) for name in specs]
    judges += [load_judge(name) for name in ("tool_success", "error_recovery", "redundant_calls", "loop")]
    judges += [load_judge({"use": "tool_arg_grounding", "ignore": ["think", "calculate"]})]
    found: dict[str, list[tuple[float, float]]] = {}
    for trace in traces:
        row = rewards[trace.trace_id]
        subject = Subject(trace, Case(expected={"expected_actions": row["metadata"]["expected_actions"]}))
        for judge in judges:
            try:
                scores = judge.scores(judge.call(subject))
            except Unscored:
                continue
            for name, score in scores.items():
                if score.value is not None:
                    found.setdefault(name, []).append((float(score.value), row["value"]))
    correlation = {name: statistics.correlation(*zip(*pairs, strict=True)) for name, pairs in found.items()}
    with capsys.disabled():
        print()
        for name, r in sorted(correlation.items(), key=lambda item: -item[1]):
            print(f"  {name:24} n {len(found[name]):3}  r {r:+.2f}")
    assert all(len(found[name]) == 200 for name in specs)
    assert correlation["traj_unordered"] > 0.7
    assert correlation["traj_exact"] > 0.7
    assert correlation["tool_correctness"] > 0.6
    assert correlation["traj_in_order"] > 0.4
