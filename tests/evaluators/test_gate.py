"""The gate: PASS, FAIL or INCONCLUSIVE by a policy, honest about what a number of cases can tell."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tracekit.errors import UsageError
from tracekit_evaluators.gate import gate_rows
from tracekit_evaluators.gate_bets import Claim
from tracekit_evaluators.gate_formats import as_github, as_json, as_junit, as_markdown, as_text
from tracekit_evaluators.gate_policy import EXAMPLE, policy_of, read_policy
from tracekit_evaluators.gate_result import GateResult
from tracekit_evaluators.gate_sequential import sequential_gate_rows
from tracekit_evaluators.pairing import RunRows
from tracekit_evaluators.statistics import e_values

_spec = importlib.util.spec_from_file_location("compare_material", Path(__file__).with_name("test_compare.py"))
assert _spec is not None
assert _spec.loader is not None
material = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(material)
run, record = material.run, material.record


def policy(**more: object) -> object:
    return policy_of({"version": 1, "scores": {"ok": {"margin": 0.05}}, **more})


def sides(gained: int, lost: int, same: int) -> tuple[RunRows, RunRows]:
    return tuple(material.yes_no(name, gained, lost, same, after=after) for name, after in (("a", False), ("b", True)))


def gated(gained: int, lost: int, same: int, **more: object) -> GateResult:
    before, after = sides(gained, lost, same)
    return gate_rows(after, baseline=before, policy=policy(**more))


def verdicts(result: GateResult) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}


def test_equal_versions_pass_with_enough_cases() -> None:
    found = gated(5, 5, 190)
    assert (found.verdict, found.exit_code) == ("PASS", 0)
    assert found.sentence == "PASS: b against a: all 4 checks hold."
    assert verdicts(found) == {
        "ok: scored in at least 95%": "PASS",
        "cases: at least 90% in both": "PASS",
        "cases: none removed": "PASS",
        "ok: at most 5.0 pt worse": "PASS",
    }


def test_a_clear_loss_fails_and_names_the_cases() -> None:
    found = gated(2, 40, 158)
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    check = found.checks[0]
    assert (check.name, check.figures["regressed"], len(check.cases)) == ("ok: at most 5.0 pt worse", 40, 20)
    assert check.cases[:2] == ("l0", "l1")
    assert check.said.startswith("−19.0 pt over 200 cases (90% interval ")


def test_few_cases_are_inconclusive_and_it_says_how_many_more_would_settle_it() -> None:
    found = gated(3, 3, 24)
    assert (found.verdict, found.exit_code) == ("INCONCLUSIVE", 3)
    assert found.more_cases is not None
    assert 300 < found.more_cases < 800
    assert "more cases would settle it" in found.sentence


def test_fewer_cases_than_the_policy_wants_are_inconclusive_whatever_they_say() -> None:
    assert verdicts(gated(0, 0, 10, scores={"ok": {"margin": 0.9}}))["ok: at most 90.0 pt worse"] == "INCONCLUSIVE"


def test_superiority_passes_only_what_is_better() -> None:
    better = {"scores": {"ok": {"test": "superiority"}}}
    assert gated(20, 2, 100, **better).verdict == "PASS"
    assert gated(5, 5, 100, **better).verdict == "INCONCLUSIVE"
    assert gated(2, 20, 100, **better).verdict == "FAIL"


def test_less_is_better_where_the_score_says_so() -> None:
    before = run("a", {str(i): [2.0 + i % 5 / 10] for i in range(40)}, direction="minimize")
    after = run("b", {str(i): [3.0 + i % 3 / 10] for i in range(40)}, direction="minimize")
    rule = policy(scores={"ok": {"margin": 0.2}})
    assert gate_rows(after, baseline=before, policy=rule).verdict == "FAIL"
    assert gate_rows(before, baseline=after, policy=rule).verdict == "PASS"


def test_missing_scores_fail_closed() -> None:
    before, after = sides(0, 0, 100)
    broken = tuple(
        {**row, "status": "judge_error", "value": None} if n < 10 else row for n, row in enumerate(after.rows)
    )
    found = gate_rows(RunRows(after.run, broken, after.traces), baseline=before, policy=policy())
    assert found.verdict == "FAIL"
    assert found.checks[0].said == "90.0% have a value (10 judge_error)"


def test_a_score_that_the_run_has_not_fails() -> None:
    before, after = sides(0, 0, 30)
    found = gate_rows(after, baseline=before, policy=policy(scores={"kind": {"margin": 0.1}}))
    assert found.verdict == "FAIL"
    assert found.checks[0].said == "the run has no such score"


def test_removed_cases_fail_and_added_ones_may_come() -> None:
    before = run("a", {str(i): [True] for i in range(100)})
    after = run("b", {str(i): [True] for i in range(2, 105)})
    found = gate_rows(after, baseline=before, policy=policy())
    assert verdicts(found)["cases: none removed"] == "FAIL"
    assert found.checks[0].cases == ("0", "1")
    allowed = policy(cases={"removed": "allow", "added": "fail"})
    assert verdicts(gate_rows(after, baseline=before, policy=allowed))["cases: none added"] == "FAIL"


def test_golden_cases_must_pass_every_time_and_be_there() -> None:
    cases: dict[str, list[object]] = {str(i): [True, True] for i in range(60)}
    before = run("a", cases)
    flaky = run("b", {**cases, "7": [True, False]})
    found = gate_rows(flaky, baseline=before, policy=policy(golden={"cases": [7, 8]}))
    assert verdicts(found)["ok: golden cases pass"] == "FAIL"
    assert found.checks[0].said == "1 of 2 passed every time; not 7"
    marked = RunRows(flaky.run, flaky.rows, flaky.traces, {"7": {"golden": True}, "8": {"tags": ["must"]}})
    assert verdicts(gate_rows(marked, baseline=before, policy=policy()))["ok: golden cases pass"] == "FAIL"
    tagged = gate_rows(
        RunRows(before.run, before.rows, before.traces, {"8": {"tags": ["must"]}}),
        baseline=before,
        policy=policy(golden={"tag": "must"}),
    )
    assert verdicts(tagged)["ok: golden cases pass"] == "PASS"
    nobody = gate_rows(flaky, baseline=before, policy=policy(golden={"tag": "must"}))
    assert verdicts(nobody)["golden cases pass"] == "FAIL"
    absent = gate_rows(flaky, baseline=before, policy=policy(golden={"cases": ["gone"]}))
    assert verdicts(absent)["ok: golden cases pass"] == "FAIL"


def test_budgets_of_latency_and_of_unknown_cost() -> None:
    cases: dict[str, list[object]] = {str(i): [True] for i in range(60)}
    before, after = run("a", cases, seconds=1.0), run("b", cases, seconds=1.5)
    budgets = {"latency_s": {"p95": 2.0, "mean": 1.2, "increase": 0.2}, "cost_usd": {"mean": 1}}
    found = gate_rows(after, baseline=before, policy=policy(budgets=budgets))
    assert verdicts(found) == {
        "cost_usd: within its budget": "FAIL",
        "latency_s: mean at most 1.200": "FAIL",
        "latency_s: at most 20% above the baseline": "FAIL",
        "ok: scored in at least 95%": "PASS",
        "cases: at least 90% in both": "PASS",
        "cases: none removed": "PASS",
        "ok: at most 5.0 pt worse": "PASS",  # sixty pairs of which none differs
        "latency_s: p95 at most 2.000": "PASS",
    }


def test_a_floor_is_held_by_the_interval() -> None:
    after = run("b", {str(i): [i % 10 != 0] for i in range(200)})
    at = {limit: gate_rows(after, policy=policy(scores={"ok": {"at_least": limit}})) for limit in (0.8, 0.89, 0.99)}
    assert {limit: found.verdict for limit, found in at.items()} == {0.8: "PASS", 0.89: "INCONCLUSIVE", 0.99: "FAIL"}


def test_a_judge_that_was_never_calibrated_fails_where_the_policy_asks_for_it() -> None:
    before, after = sides(0, 0, 100)
    rule = policy(scores={"ok": {"margin": 0.05, "min_calibration": {"kappa": 0.6}}})
    told = {"none": None, "good": {"kappa": 0.7}, "weak": {"kappa": 0.5}, "old": {"kappa": 0.7, "expired": True}}
    found = {
        name: gate_rows(after, baseline=before, policy=rule, calibrations=lambda _, has=has: has).verdict
        for name, has in told.items()
    }
    assert found == {"none": "FAIL", "good": "PASS", "weak": "FAIL", "old": "FAIL"}


def test_another_judge_for_the_baseline_is_inconclusive() -> None:
    before, after = sides(0, 0, 100)
    judged = [
        RunRows(side.run, tuple({**row, "judge_digest": digest} for row in side.rows), side.traces)
        for side, digest in ((before, "1"), (after, "2"))
    ]
    assert gate_rows(judged[1], baseline=judged[0], policy=policy()).verdict == "INCONCLUSIVE"
    allowed = policy(allow_judge_change=True)
    assert gate_rows(judged[1], baseline=judged[0], policy=allowed).verdict == "PASS"


def test_a_policy_that_compares_needs_a_baseline() -> None:
    with pytest.raises(UsageError, match="name one with --baseline"):
        gate_rows(sides(0, 0, 5)[1], policy=policy())


# Policies


def test_the_example_is_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(EXAMPLE)
    found = read_policy(path)
    assert [(rule.name, rule.margin) for rule in found.scores] == [("correct", 0.02), ("helpful", 0.05)]
    assert found.budgets == {"cost_usd": {"mean": 0.05, "increase": 0.10}, "latency_s": {"p95": 20}}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ([], "the file: \\[\\] is not of type 'object'"),
        ({"version": 2}, "version: 1 was expected"),
        ({"version": 1}, "it asks nothing"),
        ({"version": 1, "scores": {"ok": {"margin": -1}}}, "scores.ok.margin: -1 is less than the minimum of 0"),
        ({"version": 1, "scores": {"ok": {"margni": 1}}}, "scores.ok: .*'margni' was unexpected"),
        ({"version": 1, "scores": {"ok": {"min_coverage": 1}}}, "scores.ok: say what must hold"),
        ({"version": 1, "alpha": 0.7, "golden": {"tag": "x"}}, "alpha: 0.7 is greater"),
        ({"version": 1, "budgets": {"dollars": {"mean": 1}}}, "budgets: .*'dollars' was unexpected"),
        ({"version": 1, "scores": {"ok": {"margin": 0.1, "test": "superiority"}}}, "superiority has none"),
    ],
)
def test_a_wrong_policy_says_what_is_wrong_and_where(data: object, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        policy_of(data)


def test_a_policy_that_is_no_yaml_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(UsageError, match="is no YAML"):
        read_policy(tmp_path / "bad.yaml")
    with pytest.raises(UsageError, match="cannot read the policy"):
        read_policy(tmp_path / "none.yaml")


# Formats


def test_every_format_tells_the_verdict() -> None:
    found = gated(2, 40, 158)
    assert json.loads(as_json(found))["verdict"] == "FAIL"
    suite = ElementTree.fromstring(as_junit(found).encode())
    assert suite.attrib == {"tests": "4", "failures": "1", "skipped": "0"}
    assert "## ❌ tracekit gate: FAIL" in as_markdown(found)
    assert as_github(found).startswith("::error title=tracekit gate FAIL::FAIL: b against a")
    assert "  FAIL          ok: at most 5.0 pt worse" in as_text(found)


def test_hostile_names_are_only_text() -> None:
    evil = "x\n::error::no\x1b[2J<script>|[a](b)\ufffe"
    before, after = (
        run(name, {evil: [ok], **{str(i): [ok] for i in range(30)}}) for name, ok in (("a", True), ("b", False))
    )
    found = gate_rows(after, baseline=before, policy=policy(scores={"ok": {"margin": 0.05}}, golden={"cases": [evil]}))
    ElementTree.fromstring(as_junit(found).encode())
    assert "<script>" not in as_markdown(found)
    assert not any(line.startswith("::error::") for line in as_github(found).splitlines())
    assert "\x1b" not in as_github(found) + as_markdown(found) + as_json(found)


# Honesty


def random_sides(generator: np.random.Generator, n: int, drop: float, names: int = 1) -> tuple[RunRows, RunRows]:
    rows: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for name in range(names):
        before = generator.random(n) < 0.8
        moved = generator.random(n)
        after = np.where(before, moved > 0.1 + drop / 0.8, moved < 0.4)
        for side, values in zip(rows, (before, after), strict=True):
            side += [
                {
                    "name": f"ok{name}",
                    "value_type": "bool",
                    "value": float(value),
                    "status": "scored",
                    "case_id": str(case),
                }
                for case, value in enumerate(values)
            ]
    return RunRows(record("a"), tuple(rows[0]), {}), RunRows(record("b"), tuple(rows[1]), {})


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_thousand_gates_of_equal_versions_fail_no_oftener_than_alpha() -> None:
    """With a margin of nothing, and three scores of which each could raise a false alarm."""
    generator = np.random.default_rng(1)
    rule = policy_of({"version": 1, "scores": {f"ok{n}": {"margin": 0.0} for n in range(3)}})
    failed = 0
    for _ in range(1000):
        before, after = random_sides(generator, 30, 0.0, names=3)
        failed += gate_rows(after, baseline=before, policy=rule).verdict == "FAIL"
    assert failed <= 50


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_loss_of_ten_points_at_two_hundred_cases_never_passes_more_than_alpha() -> None:
    generator = np.random.default_rng(2)
    found = []
    for _ in range(200):
        before, after = random_sides(generator, 200, 0.10)
        found.append(gate_rows(after, baseline=before, policy=policy(scores={"ok0": {"margin": 0.02}})).verdict)
    assert found.count("PASS") <= 10
    assert found.count("FAIL") > 100


# Judging until it is certain


def sequential(before: RunRows, after: RunRows, seed: int = 0, **more: object) -> tuple[GateResult, list[int]]:
    asked: list[int] = []
    seen: set[str] = set()

    def judge(ids: object) -> RunRows:
        asked.append(len(ids))
        seen.update(ids)
        return RunRows(after.run, tuple(row for row in after.rows if row["trace_id"] in seen), after.traces)

    planned = RunRows(
        after.run, tuple({"trace_id": row["trace_id"], "case_id": row["case_id"]} for row in after.rows), after.traces
    )
    return sequential_gate_rows(before, planned, judge=judge, policy=policy(**more), seed=seed), asked


def test_a_clear_loss_is_seen_long_before_the_last_case() -> None:
    before, after = sides(5, 150, 345)
    found, asked = sequential(before, after)
    assert found.verdict == "FAIL"
    assert set(asked) == {20}
    assert found.sequential == {"judged": sum(asked), "cases": 500, "seed": 0, "batch": 20}
    assert sum(asked) <= 200
    again, _ = sequential(before, after)
    assert again.to_dict() == found.to_dict()


def test_equal_versions_pass_early_where_the_margin_allows() -> None:
    found, asked = sequential(*sides(2, 2, 496), scores={"ok": {"margin": 0.1}})
    assert found.verdict == "PASS"
    assert sum(asked) < 300
    assert verdicts(found)["ok: at most 10.0 pt worse"] == "PASS"


def test_what_stays_uncertain_is_inconclusive_after_the_last_case() -> None:
    found, asked = sequential(*sides(3, 3, 44))
    assert (found.verdict, sum(asked)) == ("INCONCLUSIVE", 50)


def test_a_golden_case_that_fails_ends_it_at_once() -> None:
    found, asked = sequential(*sides(5, 150, 345), golden={"cases": ["l3"]})
    assert (found.verdict, asked) == ("FAIL", [1])


def test_a_floor_and_a_ceiling_are_certain_early_or_stay_open() -> None:
    before, after = sides(0, 40, 460)  # 92 % pass
    levels = {
        name: sequential(before, after, scores={"ok": rule})
        for name, rule in (
            ("low", {"at_least": 0.8}),
            ("near", {"at_least": 0.92}),
            ("high", {"at_least": 0.99}),
            ("ceiling", {"at_most": 0.8}),
        )
    }
    told = {name: found.verdict for name, (found, _) in levels.items()}
    assert told == {"low": "PASS", "near": "INCONCLUSIVE", "high": "FAIL", "ceiling": "FAIL"}
    judged = {name: sum(asked) for name, (_, asked) in levels.items()}
    assert judged["low"] < 150
    assert judged["near"] == 500
    assert max(judged["high"], judged["ceiling"]) < 200
    check = next(each for each in levels["low"][0].checks if each.kind == "level")
    assert check.name == "ok: at least 80.0 %"
    assert check.figures["method"] == "betting e-processes"


def test_a_floor_counts_cases_that_the_baseline_has_not() -> None:
    before = run("a", {str(i): [True] for i in range(60)})
    after = run("b", {str(i): [i < 60] for i in range(300)})
    found, asked = sequential(before, after, scores={"ok": {"at_least": 0.5}}, min_pairing=0)
    assert found.verdict == "FAIL"
    assert sum(asked) < 200


def test_an_increase_is_certain_early_where_its_most_is_known() -> None:
    cases: dict[str, list[object]] = {str(i): [True] for i in range(400)}
    before, same, slow = (run(name, cases, seconds=took) for name, took in (("a", 2.0), ("b", 2.0), ("c", 3.0)))
    budget = {"scores": {}, "budgets": {"latency_s": {"increase": 0.2, "max": 5}}}
    found = {name: sequential(before, side, **budget) for name, side in (("same", same), ("slow", slow))}
    assert {name: each.verdict for name, (each, _) in found.items()} == {"same": "PASS", "slow": "FAIL"}
    assert max(sum(asked) for _, asked in found.values()) < 200
    assert "beside the limit over" in next(each.said for each in found["slow"][0].checks if each.verdict == "FAIL")


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"scores": {}, "golden": {"tag": "x"}}, "needs a score with a margin"),
        ({"scores": {"ok": {"at_least": 1}}}, "is at an end of what it can be, 0 to 1"),
        ({"scores": {"ok": {"margin": 1.5}}}, "is as wide as the score can differ"),
        ({"budgets": {"cost_usd": {"increase": 0.1}}}, "give cost_usd a `max` too"),
    ],
)
def test_what_no_bet_can_be_made_on_is_refused(more: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        sequential(*sides(0, 0, 40), **more)


def test_a_claim_holds_what_the_e_process_of_its_numbers_holds() -> None:
    values = np.random.default_rng(9).random(40)
    claim = Claim(0.4, 0.0, 1.0)
    for value in values:
        claim.take([float(value)], largest=1)
    held = (e_values(values, mean=0.4, low=0.0, high=1.0), e_values(-values, mean=-0.4, low=-1.0, high=0.0))
    assert claim.holds.wealth == pytest.approx(held[0][-1])
    assert claim.fails.wealth == pytest.approx(held[1][-1])
    assert (claim.holds.best, claim.fails.best) == pytest.approx(tuple(max(1.0, each.max()) for each in held))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_looking_thirty_times_at_a_floor_a_ceiling_or_an_increase_errs_no_oftener_than_alpha() -> None:
    """The truth lies at the limit, where both PASS and FAIL are errors; a z-test would err in over a fifth."""
    generator = np.random.default_rng(8)
    rounds = 1000
    draws = {
        "rates at 0.9": (lambda: (generator.random(300) < 0.9).astype(float), 0.9, 0.0, 1.0),
        "stars at 4": (lambda: generator.choice([1.0, 3.0, 4.0, 5.0], 300, p=[0.1, 0.1, 0.3, 0.5]), 4.1, 1.0, 5.0),
        "times a fifth above": (
            lambda: 1.2 * generator.gamma(4, 0.5, 300) - np.minimum(generator.gamma(4, 0.6, 300), 20),
            0.0,
            -20.0,
            1.2 * 20,
        ),
    }
    for name, (draw, limit, low, high) in draws.items():
        wrong = {"PASS": 0, "FAIL": 0}
        for _ in range(rounds):
            values = draw()
            holds = e_values(values, mean=limit, low=low, high=high)[9::10]
            fails = e_values(-values, mean=-limit, low=-high, high=-low)[9::10]
            wrong["PASS"] += bool((holds >= 20).any())
            wrong["FAIL"] += bool((fails >= 20).any())
        assert max(wrong.values()) / rounds <= 0.05, name


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_sequential_gate_of_versions_at_the_margin_errs_no_oftener_than_alpha() -> None:
    generator = np.random.default_rng(3)
    wrong = 0
    for _ in range(100):
        before, after = random_sides(generator, 120, 0.05)
        traces = [tuple({**row, "trace_id": f"{row['case_id']}"} for row in side.rows) for side in (before, after)]
        left, right = (RunRows(side.run, rows, {}) for side, rows in zip((before, after), traces, strict=True))
        found, _ = sequential(left, right, scores={"ok0": {"margin": 0.05}})
        wrong += found.verdict != "INCONCLUSIVE"
    assert wrong <= 10  # PASS or FAIL, each with at most alpha
