"""The checks of a gate that need no test of a difference, and those of budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tracekit_evaluators.gate_policy import MEASURES, STATISTICS, Policy, ScoreRule
from tracekit_evaluators.gate_result import FAIL, INCONCLUSIVE, PASS, Check
from tracekit_evaluators.paired_scores import PairedScore
from tracekit_evaluators.pairing import MEASURES as NAMES
from tracekit_evaluators.pairing import Pairing, RunRows, case_name
from tracekit_evaluators.statistics import margin_test
from tracekit_evaluators.summary import Row, estimate_of, status, trial
from tracekit_evaluators.verdict import amount, figure, interval

_MOST_CASES = 20


def coverage_check(rule: ScoreRule, run: RunRows) -> Check:
    """Whether enough of a score has a value; a run without it fails."""
    asked = f"{rule.name}: scored in at least {rule.min_coverage:.0%}"
    metric = run.metrics.get(rule.name)
    if metric is None:
        return Check(asked, "coverage", FAIL, "the run has no such score")
    if metric.get("kind") == "reliability":
        return Check(asked, "coverage", PASS, "it follows from another score")
    share = metric.get("coverage")
    covered = share if isinstance(share, float) else 0.0
    missing = metric.get("missing")
    counts = missing.items() if isinstance(missing, Mapping) else ()
    why = ", ".join(f"{count} {name}" for name, count in counts if name != "not_applicable")
    said = f"{covered:.1%} have a value" + (f" ({why})" if why else "")
    held = covered >= rule.min_coverage
    figures = {"coverage": share, "min_coverage": rule.min_coverage, "missing": missing}
    return Check(asked, "coverage", PASS if held else FAIL, said, figures)


def calibration_check(rule: ScoreRule, told: Callable[[str], Mapping[str, object] | None]) -> list[Check]:
    """Whether a score's judge agrees with people well enough; nothing known, or out of date, fails."""
    if not rule.min_calibration:
        return []
    wanted = ", ".join(f"{name} ≥ {figure(limit)}" for name, limit in rule.min_calibration.items())
    asked = f"{rule.name}: calibrated ({wanted})"
    found = told(rule.name)
    if found is None:
        return [Check(asked, "calibration", FAIL, "its judge was never calibrated; see `tracekit judges calibrate`")]
    values = {name: found.get(name) for name in rule.min_calibration}
    said = ", ".join(f"{name} {figure(_number(value))}" for name, value in values.items())
    if found.get("expired"):
        return [Check(asked, "calibration", FAIL, f"the judge has changed since it was calibrated ({said})", values)]
    held = all(
        (number := _number(values[name])) is not None and number >= limit
        for name, limit in rule.min_calibration.items()
    )
    return [Check(asked, "calibration", PASS if held else FAIL, said, values)]


def case_checks(policy: Policy, pairing: Pairing) -> list[Check]:
    """Whether both runs tried the same cases, as far as the policy asks."""
    both, removed, added = pairing.keys()
    total = len(both) + len(removed) + len(added)
    share = len(both) / total if total else 0.0
    by = {"case": "by case id", "input": "by equal input", "none": "by nothing"}[pairing.by]
    said = f"{len(both)} of {total} cases are in both, paired {by}"
    held = share >= policy.min_pairing and pairing.by != "none"
    figures = {"pairing_rate": share, "min_pairing": policy.min_pairing}
    checks = [
        Check(f"cases: at least {policy.min_pairing:.0%} in both", "pairing", PASS if held else FAIL, said, figures)
    ]
    for what, keys, rule in (("removed", removed, policy.removed), ("added", added, policy.added)):
        if rule == "fail":
            names = tuple(case_name(key) for key in keys)
            told = f"{len(names)} {what}" + (f": {', '.join(names[:5])}" if names else "")
            verdict = FAIL if names else PASS
            checks.append(Check(f"cases: none {what}", "cases", verdict, told, {what: len(names)}, names[:_MOST_CASES]))
    return checks


def judge_check(name: str, baseline: RunRows, candidate: RunRows) -> Check | None:
    """Whether one version of the judge scored both runs; `None` where it did or nobody knows."""
    digests = [
        {row["judge_digest"] for row in run.rows if row.get("name") == name and row.get("judge_digest") is not None}
        for run in (baseline, candidate)
    ]
    if not digests[0] or not digests[1] or digests[0] == digests[1]:
        return None
    said = (
        "another version of its judge scored the baseline, so a difference may be the judge's; "
        "judge the baseline again or set allow_judge_change"
    )
    return Check(f"{name}: the same judge", "judge", INCONCLUSIVE, said)


def level_check(rule: ScoreRule, run: RunRows, *, alpha: float, tests: int) -> Check:
    """Whether a score's mean is certainly on the right side of a fixed bound."""
    metric, group = run.metrics.get(rule.name), run.groups.get(rule.name)
    kind = str(metric.get("kind")) if metric else "number"
    limits = [("at least", rule.at_least), ("at most", rule.at_most)]
    asked = f"{rule.name}: " + " and ".join(f"{word} {amount(at, kind=kind)}" for word, at in limits if at is not None)
    if metric is None:
        return Check(asked, "level", FAIL, "the run has no such score")
    ends = [(_number(metric.get("low")), _number(metric.get("high")))] * 2
    method = str(metric.get("method"))
    if group is not None:
        found = [estimate_of(group, run.facts, level=1 - 2 * alpha / share) for share in (1, max(1, tests))]
        ends, method = [(each.low, each.high) for each in found], found[0].method
    value = _number(metric.get("value"))
    (low, high), (sure_low, sure_high) = ends
    verdict = INCONCLUSIVE
    if value is not None and low is not None and high is not None and sure_low is not None and sure_high is not None:
        at_least = -math.inf if rule.at_least is None else rule.at_least
        at_most = math.inf if rule.at_most is None else rule.at_most
        if low >= at_least and high <= at_most:
            verdict = PASS
        elif sure_high < at_least or sure_low > at_most:
            verdict = FAIL
    said = f"{amount(value, kind=kind)} ({1 - 2 * alpha:.0%} interval {interval(low, high, kind=kind) or 'unknown'})"
    figures = {"score": rule.name, "value": value, "low": low, "high": high, "n": metric.get("n"), "method": method}
    return Check(asked, "level", verdict, said, {**figures, "at_least": rule.at_least, "at_most": rule.at_most})


def golden_of(policy: Policy, run: RunRows) -> set[str]:
    """Ids of the cases that must always pass: those that the policy names, and those that the dataset calls golden."""
    wanted = set(policy.golden_cases)
    for case, row in run.cases.items():
        tags = row.get("tags")
        tagged = isinstance(tags, list) and policy.golden_tag is not None and policy.golden_tag in tags
        if row.get("golden") is True or tagged:
            wanted.add(case)
    return wanted


def golden_checks(policy: Policy, run: RunRows) -> list[Check]:
    """Whether the golden cases passed every time; one that is missing fails."""
    wanted = golden_of(policy, run)
    asked = policy.golden_tag is not None or policy.golden_cases
    if not wanted:
        if not asked:
            return []
        said = f"no case has the tag {policy.golden_tag}, so none was seen to pass"
        return [Check("golden cases pass", "golden", FAIL, said)]
    names = policy.golden_scores or tuple(rule.name for rule in policy.scores if _passes_or_fails(run, rule.name))
    if not names:
        return [
            Check("golden cases pass", "golden", FAIL, "no gated score passes or fails; name some in golden.scores")
        ]
    checks = []
    for name in names:
        group = run.groups.get(name)
        rows: Mapping[str, Sequence[Row]] = {} if group is None else group.cases
        direction = "maximize" if group is None else group.direction
        failed = sorted(case for case in wanted if not _all_passed(rows.get(f"case:{case}", ()), direction))
        said = f"{len(wanted) - len(failed)} of {len(wanted)} passed every time"
        said += f"; not {', '.join(failed[:5])}" if failed else ""
        verdict = FAIL if failed else PASS
        checks.append(
            Check(f"{name}: golden cases pass", "golden", verdict, said, {"golden": len(wanted)}, tuple(failed))
        )
    return checks


def budget_checks(
    policy: Policy, run: RunRows, measures: Mapping[str, PairedScore], *, increases: bool = True
) -> list[Check]:
    """Whether what the traces took stays within its limits; what is unknown fails."""
    checks: list[Check] = []
    for name, limits in policy.budgets.items():
        column, scale = MEASURES[name]
        values = [trace.get(column) for trace in run.traces.values()]
        known = np.array([float(value) * scale for value in values if isinstance(value, (int, float))])
        if not len(known) or len(known) < policy.min_coverage * len(values):
            said = f"it is known of {len(known)} of {len(values)} traces only"
            checks.append(Check(f"{name}: within its budget", "budget", FAIL, said, {"known": len(known)}))
            continue
        for statistic in (each for each in STATISTICS if each in limits):
            seen, limit = _statistic(known, statistic), limits[statistic]
            verdict = PASS if seen <= limit else FAIL
            said = f"{statistic} {figure(seen)} over {len(known)} traces"
            asked = f"{name}: {statistic} at most {figure(limit)}"
            checks.append(Check(asked, "budget", verdict, said, {"value": seen, "limit": limit, "n": len(known)}))
        if increases and "increase" in limits:
            checks.append(_increase(name, limits["increase"], measures, policy))
    return checks


def _increase(name: str, increase: float, measures: Mapping[str, PairedScore], policy: Policy) -> Check:
    asked = f"{name}: at most {increase:.0%} above the baseline"
    column = MEASURES[name][0]
    score = next((measures[each] for each, (of, _) in NAMES.items() if of == column and each in measures), None)
    if score is None or not score.keys:
        return Check(asked, "budget", INCONCLUSIVE, "no case of the baseline tells it")
    before, after = (np.array(side.means(score.keys)) for side in (score.left, score.right))
    room = (1 + increase) * before - after  # its mean is above 0 where the increase stays within its limit
    groups = None if score.clusters is None else score.clusters.of
    scale = float(max(before.max(), after.max()))
    found = margin_test(room.tolist(), margin=0.0, yes_no=False, alpha=policy.alpha, clusters=groups, scale=scale)
    seen = float(after.sum() / before.sum() - 1) if before.sum() else None
    verdict = INCONCLUSIVE
    if found.no_worse is not None and found.worse is not None:
        verdict = PASS if found.no_worse <= policy.alpha else FAIL if found.worse <= policy.alpha else INCONCLUSIVE
    said = f"{'unknown' if seen is None else f'{seen:+.1%}'} over {len(score.keys)} cases"
    figures = {"value": seen, "limit": increase, "n": len(score.keys), "p_no_worse": found.no_worse}
    return Check(asked, "budget", verdict, said, {**figures, "p_worse": found.worse, "method": found.estimate.method})


def _statistic(values: np.ndarray[tuple[int], np.dtype[np.float64]], name: str) -> float:
    if name.startswith("p"):
        return float(np.quantile(values, int(name[1:]) / 100))
    if name == "mean":
        return float(values.mean())
    return float(values.max() if name == "max" else values.sum())


def _passes_or_fails(run: RunRows, name: str) -> bool:
    group = run.groups.get(name)
    return group is None or group.kind in {"bool", "none"} or any(row.get("passed") is not None for row in group.rows)


def _all_passed(rows: Sequence[Row], direction: str) -> bool:
    tried = [row for row in rows if status(row) != "not_applicable"]
    return bool(tried) and all(trial(row, direction=direction) == 1.0 for row in tried)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
