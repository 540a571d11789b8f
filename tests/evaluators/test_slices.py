"""Slices of a comparison, clusters in it, and the paradox that a change of mix makes."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path

from tracekit_evaluators import clustering
from tracekit_evaluators.compare import compare_rows
from tracekit_evaluators.leaderboard import leaderboard_rows
from tracekit_evaluators.pairing import RunRows
from tracekit_evaluators.summary import summarise

_spec = importlib.util.spec_from_file_location("compare_material", Path(__file__).with_name("test_compare.py"))
assert _spec is not None
assert _spec.loader is not None
material = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(material)
run = material.run


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(clustering).failed == 0


def tagged(side: RunRows, tags: dict[str, list[str]]) -> RunRows:
    return RunRows(side.run, side.rows, side.traces, {case: {"tags": names} for case, names in tags.items()})


def test_a_slice_shows_where_the_loss_is() -> None:
    cases = [str(i) for i in range(60)]
    tags = {case: ["hard" if int(case) % 3 == 0 else "easy"] for case in cases}
    before = tagged(run("a", {case: [True] for case in cases}), tags)
    after = tagged(run("b", {case: [tags[case] == ["easy"]] for case in cases}), tags)
    found = {each.value: each for each in compare_rows(before, after).slices}
    assert (found["hard"].estimate.value, found["hard"].verdict, found["hard"].pairs) == (-1.0, "worse", 20)
    assert (found["easy"].estimate.value, found["easy"].verdict) == (0.0, "no clear difference")
    assert found["hard"].q is not None
    assert found["hard"].q < 0.001


def test_a_change_of_mix_that_turns_the_difference_round_is_flagged() -> None:
    """Each model rises, the whole falls, because the weak model answers more often now."""

    def side(name: str, strong: int, weak: int, passes: tuple[int, int]) -> RunRows:
        cases = {f"{name}s{i}": [i < passes[0]] for i in range(strong)} | {
            f"{name}w{i}": [i < passes[1]] for i in range(weak)
        }
        made = run(name, cases)
        models = {trace: ("strong" if f"-{name}s" in trace else "weak",) for trace in made.traces}
        return RunRows(made.run, made.rows, made.traces, models=models)

    found = compare_rows(side("a", 80, 20, (72, 8)), side("b", 20, 80, (19, 36)))
    assert [note for note in found.notes if "Simpson" in note] == [
        (
            "ok falls overall (−25.0 pt) and rises within every model (strong, weak): "
            "the mix has changed, not the quality (Simpson's paradox)"
        )
    ]


def test_cases_of_one_session_are_found_named_and_counted_together() -> None:
    rows = [
        {"name": "ok", "value_type": "bool", "value": float(i // 4 % 2), "status": "scored", "trace_id": f"t{i}"}
        for i in range(48)
    ]
    facts = clustering.Facts({f"t{i}": {"session_id": f"s{i // 4}", "user_id": "me"} for i in range(48)})
    metric = summarise(rows, facts)["ok"]
    shared = metric["clusters"]
    assert (shared["by"], shared["count"], shared["largest"]) == ("session", 12, 4)
    assert round(shared["design_effect"], 2) == 4.27
    assert round(shared["effective_n"], 1) == 11.2
    assert metric["method"] == "Wilson on the effective number of trials (12 clusters)"
    assert "clusters" not in summarise(rows)["ok"]


def test_five_users_are_warned_of_and_one_is_no_cluster() -> None:
    rows = [
        {"name": "n", "value_type": "number", "value": i % 7 / 2, "status": "scored", "trace_id": f"t{i}"}
        for i in range(40)
    ]
    five = clustering.Facts({f"t{i}": {"user_id": f"u{i % 5}"} for i in range(40)})
    assert summarise(rows, five)["n"]["warning"].startswith("only 5 clusters")
    one = clustering.Facts({f"t{i}": {"user_id": "u"} for i in range(40)})
    assert "warning" not in summarise(rows, one)["n"]


def test_cost_per_success_is_known_only_where_every_cost_is() -> None:
    rows = [
        {"name": "ok", "value_type": "bool", "value": float(i % 4 > 0), "status": "scored", "trace_id": f"t{i}"}
        for i in range(40)
    ]
    costs = {f"t{i}": {"cost_usd": 0.03} for i in range(40)}
    found = summarise(rows, clustering.Facts(costs))["ok"]["cost_per_success"]
    assert (round(found["value"], 6), found["method"]) == (0.04, "Fieller with bootstrap-t (4999 resamples, seed 0)")
    del costs["t7"]
    assert "cost_per_success" not in summarise(rows, clustering.Facts(costs))["ok"]


def test_the_frontier_holds_what_nothing_beats() -> None:
    def side(name: str, passed: int, cost: float) -> RunRows:
        made = run(name, {str(i): [i < passed] for i in range(30)})
        traces = {key: {**trace, "cost_usd": cost} for key, trace in made.traces.items()}
        return RunRows(made.run, made.rows, traces)

    found = leaderboard_rows([side("a", 20, 0.02), side("b", 28, 0.05), side("c", 18, 0.03), side("d", 10, 0.01)])
    assert [(each.run.name, each.on_frontier) for each in found.standings] == [
        ("b", True),
        ("a", True),
        ("c", False),
        ("d", True),
    ]


def test_a_comparison_says_what_it_could_have_seen() -> None:
    found = compare_rows(*(material.yes_no(name, 6, 4, 40, after=after) for name, after in (("a", False), ("b", True))))
    score = found.scores[0]
    assert score.verdict == "no clear difference"
    assert round(score.detectable, 3) == 0.19
    assert score.more_cases is not None
    assert 900 < score.more_cases < 1300
    assert (round(score.effects.odds, 2), score.flaky) == (1.44, ())
