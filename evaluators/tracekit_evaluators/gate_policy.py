"""The policy of a gate: a YAML file that says what must not become worse, by how much, and what else must hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracekit.errors import UsageError

MEASURES: dict[str, tuple[str, float]] = {
    "cost_usd": ("cost_usd", 1.0),
    "latency_s": ("duration_ms", 1e-3),
    "input_tokens": ("input_tokens", 1.0),
    "output_tokens": ("output_tokens", 1.0),
    "model_calls": ("model_calls", 1.0),
    "tool_calls": ("tool_calls", 1.0),
}
STATISTICS = ("mean", "p50", "p95", "p99", "max", "total")

EXAMPLE = """\
# What a new version must not make worse. `tracekit gate RUN --baseline main --policy gate.yaml`
version: 1

alpha: 0.05          # how often a gate may be wrong: FAIL without a loss, or PASS with a loss beyond a margin
min_cases: 20        # fewer cases in both runs: INCONCLUSIVE
min_coverage: 0.95   # a smaller share of scores that have a value: FAIL
min_pairing: 0.9     # a smaller share of cases that both runs tried: FAIL

scores:
  correct:           # PASS once it is certain that it fell by less than two points
    margin: 0.02
  helpful:
    margin: 0.05
    # min_calibration: {kappa: 0.6}   # the judge must agree with people at least so well
  # polite: {test: superiority}       # PASS only once it is certain that it rose
  # safe: {at_least: 0.99}            # whatever the baseline does

golden:              # these must pass every time, beside the cases that the dataset calls golden
  tag: golden
  # cases: [refund-1, refund-2]
  # scores: [correct]

budgets:             # of the new version's traces
  cost_usd: {mean: 0.05, increase: 0.10}    # increase: at most ten per cent above the baseline
  latency_s: {p95: 20}

cases:               # cases that only one run has
  added: allow
  removed: fail
"""

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_NUMBER = {"type": "number"}
_WORDS = {"type": "array", "items": {"type": ["string", "integer"]}}
_SCORE = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {
        "margin": {"type": "number", "minimum": 0},
        "test": {"enum": ["non_inferiority", "superiority"]},
        "at_least": _NUMBER,
        "at_most": _NUMBER,
        "min_coverage": _SHARE,
        "min_calibration": {"type": "object", "additionalProperties": _NUMBER, "minProperties": 1},
        "range": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
    },
}
_BUDGET = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {name: {"type": "number", "minimum": 0} for name in (*STATISTICS, "increase")},
}
_WHAT = {"enum": ["allow", "fail"]}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version"],
    "properties": {
        "version": {"const": 1},
        "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        "baseline": {"type": "string"},
        "min_cases": {"type": "integer", "minimum": 1},
        "min_coverage": _SHARE,
        "min_pairing": _SHARE,
        "allow_judge_change": {"type": "boolean"},
        "scores": {"type": "object", "additionalProperties": _SCORE},
        "golden": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"tag": {"type": "string"}, "cases": _WORDS, "scores": _WORDS},
        },
        "budgets": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(MEASURES, _BUDGET),
        },
        "cases": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"added": _WHAT, "removed": _WHAT},
        },
    },
}


@dataclass(frozen=True)
class ScoreRule:
    """What a gate asks of one score.

    Args:
        name: The score's name.
        margin: By how much it may be worse than the baseline, in the score's own unit; `None` where it is not compared.
        superior: Whether it must be better than the baseline.
        at_least: What its mean must not be below.
        at_most: What its mean must not be above.
        min_coverage: The least share of its scores that have a value.
        min_calibration: The least figures of its judge's calibration.
        range: The least and the most that it can be, where it is no share.
    """

    name: str
    margin: float | None = None
    superior: bool = False
    at_least: float | None = None
    at_most: float | None = None
    min_coverage: float = 0.95
    min_calibration: Mapping[str, float] = field(default_factory=dict)
    range: tuple[float, float] | None = None

    @property
    def relative(self) -> bool:
        """Whether it is compared with the baseline."""
        return self.margin is not None


@dataclass(frozen=True)
class Policy:
    """A gate's policy.

    Args:
        scores: What is asked of each score.
        alpha: The level of each one-sided test; the false alarms of all of them together.
        baseline: The run or alias to compare with where the command names none.
        min_cases: The least number of cases in both runs.
        min_coverage: The least share of scores that have a value.
        min_pairing: The least share of cases that both runs have.
        allow_judge_change: Whether the two runs may have been scored by different versions of a judge.
        golden_tag: The tag of cases that must always pass.
        golden_cases: Ids of cases that must always pass.
        golden_scores: By which scores; those that are gated and pass or fail where none is named.
        budgets: For each measure its limits by statistic, and `increase` over the baseline.
        added: `allow` or `fail` where the candidate has cases that the baseline has not.
        removed: The same for cases that it has no more.
        digest: SHA-256 of what was read.
    """

    scores: tuple[ScoreRule, ...] = ()
    alpha: float = 0.05
    baseline: str | None = None
    min_cases: int = 20
    min_coverage: float = 0.95
    min_pairing: float = 0.9
    allow_judge_change: bool = False
    golden_tag: str | None = None
    golden_cases: tuple[str, ...] = ()
    golden_scores: tuple[str, ...] = ()
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    added: str = "allow"
    removed: str = "fail"
    digest: str = ""


def read_policy(path: str | Path) -> Policy:
    """Read a policy's file.

    Raises:
        UsageError: It cannot be read or is no policy; the message names each fault and where it is.
    """
    import yaml  # noqa: PLC0415 - only who gates needs it

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the policy {path}: {reason}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"the policy {path} is no YAML: {said}") from error
    return policy_of(data, where=str(path))


def policy_of(data: object, *, where: str = "the policy") -> Policy:
    """A policy out of plain values.

    Args:
        data: What the file holds.
        where: What to call it in messages.

    Raises:
        UsageError: It is no policy.

    Example:
        >>> policy_of({"version": 1, "scores": {"ok": {"margin": 0.02}}}).scores[0].margin
        0.02
    """
    faults = _faults(data)
    if faults or not isinstance(data, Mapping):
        listed = "\n  ".join(faults)
        raise UsageError(f"{where} is no policy:\n  {listed}\n`tracekit gate --example` prints one that is")
    coverage = float(data.get("min_coverage", 0.95))
    golden = data.get("golden") or {}
    cases = data.get("cases") or {}
    return Policy(
        scores=tuple(_rule(str(name), rule, coverage) for name, rule in (data.get("scores") or {}).items()),
        alpha=float(data.get("alpha", 0.05)),
        baseline=data.get("baseline"),
        min_cases=int(data.get("min_cases", 20)),
        min_coverage=coverage,
        min_pairing=float(data.get("min_pairing", 0.9)),
        allow_judge_change=bool(data.get("allow_judge_change", False)),
        golden_tag=golden.get("tag"),
        golden_cases=tuple(str(each) for each in golden.get("cases", ())),
        golden_scores=tuple(str(each) for each in golden.get("scores", ())),
        budgets={str(name): dict(limits) for name, limits in (data.get("budgets") or {}).items()},
        added=str(cases.get("added", "allow")),
        removed=str(cases.get("removed", "fail")),
        digest=hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest(),
    )


def _rule(name: str, rule: Mapping[str, Any], coverage: float) -> ScoreRule:
    superior = rule.get("test") == "superiority"
    margin = 0.0 if superior else rule.get("margin", 0.0 if "test" in rule else None)
    bounds = rule.get("range")
    return ScoreRule(
        name,
        None if margin is None else float(margin),
        superior,
        rule.get("at_least"),
        rule.get("at_most"),
        float(rule.get("min_coverage", coverage)),
        dict(rule.get("min_calibration", {})),
        None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _faults(data: object) -> list[str]:
    import jsonschema  # noqa: PLC0415 - only who gates needs it

    found = sorted(
        jsonschema.Draft202012Validator(SCHEMA).iter_errors(data), key=lambda error: list(map(str, error.path))
    )
    faults = [f"{'.'.join(map(str, error.absolute_path)) or 'the file'}: {error.message}" for error in found]
    if faults or not isinstance(data, Mapping):
        return faults[:20]
    for name, rule in (data.get("scores") or {}).items():
        if not {"margin", "test", "at_least", "at_most"} & rule.keys():
            faults.append(f"scores.{name}: say what must hold: a margin, test: superiority, at_least or at_most")
        if rule.get("test") == "superiority" and "margin" in rule:
            faults.append(f"scores.{name}: a margin is for non-inferiority; superiority has none")
        low, high = rule.get("range", (0, 1))
        if low >= high:
            faults.append(f"scores.{name}.range: the first number must be below the second")
    if not data.get("scores") and not data.get("budgets") and not data.get("golden"):
        faults.append("the file: it asks nothing; name scores, golden cases or budgets")
    return faults
