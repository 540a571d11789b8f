"""The comparison of two runs as data: what differs, how surely, and in which cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracekit_evaluators.slices import Slice
from tracekit_evaluators.statistics import EffectSizes, Estimate, PValue
from tracekit_evaluators.verdict import sentence

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord


@dataclass(frozen=True)
class CaseChange:
    """One case in which the two runs differ on one score.

    Args:
        case: The case's id, or the beginning of its input's digest where it has none.
        key: What paired it: `case:ID` or `input:DIGEST`.
        score: The score's name.
        baseline: The mean over the baseline's repeats, or the label.
        candidate: The same of the candidate.
        difference: candidate - baseline; `None` between labels.
        input: What was asked, as the trace has it.
        baseline_traces: The baseline's traces of this case.
        candidate_traces: The candidate's traces.
        baseline_explanation: What the baseline's judge said, of its worst repeat.
        candidate_explanation: What the candidate's judge said, of its worst repeat.
    """

    case: str
    key: str
    score: str
    baseline: float | str
    candidate: float | str
    difference: float | None
    input: str | None = None
    baseline_traces: tuple[str, ...] = ()
    candidate_traces: tuple[str, ...] = ()
    baseline_explanation: str | None = None
    candidate_explanation: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The change as JSON takes it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class ScoreDifference:
    """How one score (or one measure of the traces) differs between two runs.

    Args:
        name: The score's name.
        kind: `bool`, `number` or `label`.
        direction: `maximize`, `minimize` or `neutral`.
        baseline: The baseline's mean over the cases compared.
        candidate: The candidate's.
        estimate: candidate - baseline with its 95 % interval.
        p: The p-value, its test named.
        p_adjusted: The p-value after Holm's correction over all scores compared.
        verdict: `better`, `worse`, `higher`, `lower` (a neutral score), `no clear difference` or `not tested`.
        pairs: How many cases were compared; 0 when the runs could not be paired.
        effect: Cohen's d_z of the paired differences, where they vary.
        regressed: Cases that became worse, the worst first.
        improved: Cases that became better, the most improved first.
        only_baseline: Cases that only the baseline has a score for.
        only_candidate: Cases that only the candidate has a score for.
        baseline_metric: The baseline's whole metric, as `summarise` gives it.
        candidate_metric: The candidate's.
        effects: How large the difference is: d_z, odds of gained to lost, probability of superiority.
        p_mid: McNemar's mid-p, where its exact test is the p-value.
        clusters: What cases share (`by`, `count`, `design_effect`, `effective_n`), where they share something.
        detectable: The smallest difference that so many cases show in 80 % of repetitions.
        cases_needed: How many cases would show the difference that was seen; `None` where there is none to show.
        flaky: Cases that sometimes pass and sometimes fail within one run.
        corrected: What people would say, where a calibration of the judge counts: `baseline`, `candidate` and
            `difference`, each as far as it can be had, with its interval and method.
    """

    name: str
    kind: str
    direction: str
    baseline: float | None
    candidate: float | None
    estimate: Estimate
    p: PValue
    pairs: int
    p_adjusted: float | None = None
    verdict: str = "not tested"
    effect: float | None = None
    regressed: tuple[CaseChange, ...] = ()
    improved: tuple[CaseChange, ...] = ()
    only_baseline: tuple[str, ...] = ()
    only_candidate: tuple[str, ...] = ()
    baseline_metric: Mapping[str, object] = field(default_factory=dict)
    candidate_metric: Mapping[str, object] = field(default_factory=dict)
    effects: EffectSizes | None = None
    p_mid: float | None = None
    clusters: Mapping[str, object] | None = None
    detectable: float | None = None
    cases_needed: int | None = None
    flaky: tuple[str, ...] = ()
    corrected: Mapping[str, Mapping[str, object]] | None = None

    @property
    def more_cases(self) -> int | None:
        """How many more cases would settle it, were the true difference the one that was seen; `None` once it is."""
        if self.verdict != "no clear difference" or self.cases_needed is None:
            return None
        return max(0, self.cases_needed - self.estimate.n) or None

    @property
    def marks_cases(self) -> bool:
        """Whether a case that changed on this score counts as regressed or improved.

        Numbers of which less is better (seconds, dollars, tokens) differ in every case, and neutral ones say nothing.
        """
        return self.direction == "maximize" or (self.direction == "minimize" and self.kind != "number")

    def to_dict(self) -> dict[str, object]:
        """The difference as JSON takes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "direction": self.direction,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "difference": self.estimate.value,
            "low": self.estimate.low,
            "high": self.estimate.high,
            "method": self.estimate.method,
            "p": self.p.value,
            "test": self.p.test,
            "p_adjusted": self.p_adjusted,
            "p_mid": self.p_mid,
            "effect_size": self.effect,
            "odds": None if self.effects is None else self.effects.odds,
            "superiority": None if self.effects is None else self.effects.superiority,
            "clusters": None if self.clusters is None else dict(self.clusters),
            "detectable": self.detectable,
            "more_cases": self.more_cases,
            "flaky": list(self.flaky),
            "corrected": None
            if self.corrected is None
            else {side: dict(told) for side, told in self.corrected.items()},
            "verdict": self.verdict,
            "pairs": self.pairs,
            "regressed": [change.to_dict() for change in self.regressed],
            "improved": [change.to_dict() for change in self.improved],
            "only_baseline": list(self.only_baseline),
            "only_candidate": list(self.only_candidate),
            "baseline_metric": dict(self.baseline_metric),
            "candidate_metric": dict(self.candidate_metric),
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs compared.

    Args:
        baseline: The run that is compared with.
        candidate: The run that is judged.
        paired_by: `case`, `input` or `none`.
        paired: Cases that both runs have.
        only_baseline: Cases that only the baseline has.
        only_candidate: Cases that only the candidate has.
        scores: One difference for each score name that both runs have, in order of name.
        measures: The same for latency, cost and tokens of the traces.
        missing_scores: Score names that only one of the runs has.
        notes: What a reader should know before trusting the numbers.
        slices: The scores by tag, model, tool and length.
    """

    baseline: RunRecord
    candidate: RunRecord
    paired_by: str
    paired: tuple[str, ...]
    only_baseline: tuple[str, ...]
    only_candidate: tuple[str, ...]
    scores: tuple[ScoreDifference, ...]
    measures: tuple[ScoreDifference, ...]
    missing_scores: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()

    @property
    def pairing_rate(self) -> float | None:
        """Which share of all cases both runs have; `None` where there are none."""
        total = len(self.paired) + len(self.only_baseline) + len(self.only_candidate)
        return len(self.paired) / total if total else None

    @property
    def sentence(self) -> str:
        """The comparison in a sentence or two."""
        return sentence(self)

    def to_dict(self) -> dict[str, object]:
        """The comparison as JSON takes it."""
        return {
            "baseline": _run_facts(self.baseline),
            "candidate": _run_facts(self.candidate),
            "sentence": self.sentence,
            "paired_by": self.paired_by,
            "paired": len(self.paired),
            "pairing_rate": self.pairing_rate,
            "only_baseline": list(self.only_baseline),
            "only_candidate": list(self.only_candidate),
            "scores": [each.to_dict() for each in self.scores],
            "measures": [each.to_dict() for each in self.measures],
            "missing_scores": list(self.missing_scores),
            "notes": list(self.notes),
            "slices": [each.to_dict() for each in self.slices],
        }


def _run_facts(run: RunRecord) -> dict[str, object]:
    return {
        "id": run.id,
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "agent_version": None if run.agent_version is None else run.agent_version.ref,
        "created_at": run.created_at.isoformat() + "Z",
    }
