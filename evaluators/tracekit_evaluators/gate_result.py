"""What a gate says: PASS, FAIL or INCONCLUSIVE, check by check, with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracekit_evaluators.verdict import run_words

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"
EXIT_CODES = {PASS: 0, FAIL: 1, INCONCLUSIVE: 3}


@dataclass(frozen=True)
class Check:
    """One thing that a policy asks.

    Args:
        name: What is asked, such as `correct: at most 2 pt worse`.
        kind: `score`, `level`, `coverage`, `calibration`, `golden`, `budget`, `cases`, `pairing` or `judge`.
        verdict: `PASS`, `FAIL` or `INCONCLUSIVE`.
        said: What was found, as a sentence.
        figures: The numbers behind it: value, low, high, margin, p, p_adjusted, n, method, more_cases and so on.
        cases: The cases that it is about, the worst first.
    """

    name: str
    kind: str
    verdict: str
    said: str
    figures: Mapping[str, object] = field(default_factory=dict)
    cases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The check as JSON takes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "verdict": self.verdict,
            "said": self.said,
            "figures": dict(self.figures),
            "cases": list(self.cases),
        }


@dataclass(frozen=True)
class GateResult:
    """A gate's verdict.

    Args:
        candidate: The run that was judged.
        baseline: The run that it was compared with; `None` where the policy asks nothing relative.
        checks: What was asked and found.
        policy: The policy's digest.
        sequential: How far judging went, where it could stop early: `judged`, `cases`, `seed`.
    """

    candidate: RunRecord
    baseline: RunRecord | None
    checks: tuple[Check, ...]
    policy: str
    sequential: Mapping[str, object] | None = None

    @property
    def verdict(self) -> str:
        """FAIL if a check fails, else INCONCLUSIVE if one is, else PASS."""
        found = {check.verdict for check in self.checks}
        return FAIL if FAIL in found else INCONCLUSIVE if INCONCLUSIVE in found else PASS

    @property
    def exit_code(self) -> int:
        """0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE."""
        return EXIT_CODES[self.verdict]

    @property
    def more_cases(self) -> int | None:
        """How many more cases would settle what is inconclusive, if differences are as seen; `None` if unknown."""
        found = [check.figures.get("more_cases") for check in self.checks if check.verdict == INCONCLUSIVE]
        known = [each for each in found if isinstance(each, int)]
        return max(known) if known and len(known) == len(found) else None

    @property
    def sentence(self) -> str:
        """The verdict in a sentence or two."""
        against = "" if self.baseline is None else f" against {run_words(self.baseline)}"
        deciding = [check for check in self.checks if check.verdict == self.verdict]
        if self.verdict == PASS:
            n = len(self.checks)
            rest = "its one check holds" if n == 1 else f"all {n} checks hold"
        else:
            rest = f"{deciding[0].name}: {deciding[0].said}"
            rest += f"; {len(deciding) - 1} more" if len(deciding) > 1 else ""
        more = ""
        if self.verdict == INCONCLUSIVE and self.more_cases:
            more = f" About {self.more_cases:,} more cases would settle it, if the difference is as it seems."
        return f"{self.verdict}: {run_words(self.candidate)}{against}: {rest}.{more}"

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON takes it."""
        runs = {"candidate": self.candidate, "baseline": self.baseline}
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            **{
                side: None if run is None else {"id": run.id, "name": run.name, "agent_version": _ref(run)}
                for side, run in runs.items()
            },
            "policy": self.policy,
            "more_cases": self.more_cases,
            "sequential": None if self.sequential is None else dict(self.sequential),
            "checks": [check.to_dict() for check in self.checks],
        }


def _ref(run: RunRecord) -> str | None:
    return None if run.agent_version is None else run.agent_version.ref
