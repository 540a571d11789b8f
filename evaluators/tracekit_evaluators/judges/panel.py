"""Several judges on one question: a panel that votes, and a cascade that stops as soon as one is sure."""

from __future__ import annotations

import asyncio
import inspect
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Spent
from tracekit_evaluators.judge import Call, Judge, judge, load
from tracekit_evaluators.models import Request
from tracekit_evaluators.score import BudgetExceeded, Score, unscored
from tracekit_evaluators.subject import Subject

_FAMILIES = {
    "claude": "claude",
    "command": "command",
    "deepseek": "deepseek",
    "gemini": "gemini",
    "gemma": "gemini",
    "gpt": "gpt",
    "grok": "grok",
    "llama": "llama",
    "ministral": "mistral",
    "mistral": "mistral",
    "mixtral": "mistral",
    "nova": "nova",
    "o1": "gpt",
    "o3": "gpt",
    "o4": "gpt",
    "phi": "phi",
    "qwen": "qwen",
    "smollm": "smollm",
}
_SETTLES = ("any", "pass", "fail", "sure")


@judge(source="llm", values="as its judge")
def panel(*, member: str, models: list[object], parameters: dict[str, object] | None = None) -> Call:
    """What several models say when they judge the same: the majority of verdicts, or the median of numbers.

    A member without a verdict abstains and still counts: a majority is more than half of all members. Where there is
    none, nobody knows. Members of one family tend to err alike, so the families are recorded.

    Args:
        member: The judge that every member is: a name, as in a spec.
        models: The members: model names, specs, or `{"model": …, "base_url": …}`.
        parameters: The judge's parameters, the same for all.

    Raises:
        UsageError: There are fewer than two members.
        PluginError: There is no such judge, or it takes no model.
    """
    if len(models) < 2 or isinstance(models, str):
        raise UsageError(f"a panel needs at least two models, not {models!r:.100}")
    members = []
    for each in models:
        own = dict(each) if isinstance(each, Mapping) and "model" in each else {"model": each}
        members.append(load({"use": member, **(parameters or {}), **own}))
    return _Panel(tuple(members))


@judge(source="llm", values="as its judges")
def cascade(*, stages: list[object]) -> Call:
    """The first sure verdict among judges that are asked one after the other, the cheap ones first.

    Args:
        stages: Judges' specs in order, or `{"judge": spec, "settles": when}`, where `when` is `any` (every verdict, the
            default), `pass` or `fail` (a verdict that passes, or that does not), or `sure` (a number outside `between`,
            which is `[0.25, 0.75]` when not given). The last stage settles always.

    Raises:
        UsageError: There are fewer than two stages, or one settles by an unknown word.
        PluginError: There is no such judge.
    """
    if len(stages) < 2 or isinstance(stages, str):
        raise UsageError(f"a cascade needs at least two stages, not {stages!r:.100}")
    return _Cascade(tuple(_stage(each) for each in stages))


@dataclass(frozen=True)
class _Panel:
    members: tuple[Judge, ...]

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The members' digests."""
        return {"members": [member.digest for member in self.members], "families": self._families()}

    def requests(self, subject: Subject) -> list[Request]:
        """What all members would be asked."""
        return [request for member in self.members for request in asked_by(member, subject)]

    async def aclose(self) -> None:
        """Free the models' connections."""
        await freed(self.members)

    async def __call__(self, subject: Subject) -> Score:
        """The majority, or the median."""
        scores = await asyncio.gather(*(verdict_of(member, subject) for member in self.members))
        return Spent.on(scores).onto(self._decided(scores))

    def _decided(self, scores: Sequence[Score]) -> Score:
        votes = [score.value if score.status == "scored" else score.status for score in scores]
        given = [score for score in scores if score.status == "scored"]
        families = self._families()
        told: dict[str, object] = {"votes": votes, "abstained": len(scores) - len(given), "families": families}
        note = "" if len(set(families)) > 1 else "; all members are of one family, which counts as one judge"
        most = len(scores) / 2
        words = f"{len(given)} of {len(scores)} members have a verdict{note}"
        if len(given) <= most:
            statuses = Counter(score.status for score in scores if score.status != "scored")
            return Score(status=statuses.most_common(1)[0][0], explanation=words, metadata=told)
        if all(isinstance(score.value, (int, float)) and not isinstance(score.value, bool) for score in given):
            numbers = [float(score.value) for score in given if score.value is not None]
            return Score(statistics.median(numbers), explanation=words, metadata=told)
        value, count = Counter(score.value for score in given).most_common(1)[0]
        if count <= most:
            words = f"no verdict has the majority of {len(scores)} members{note}"
            return Score(status="missing_input", explanation=words, metadata=told)
        behind = next(score for score in given if score.value == value)
        words = f"{count} of {len(scores)} members say so{note}. {behind.explanation or ''}".strip()
        return Score(value, explanation=words, evidence=behind.evidence, metadata=told, passed=behind.passed)

    def _families(self) -> list[str]:
        return [family(member) for member in self.members]


@dataclass(frozen=True)
class _Stage:
    judge: Judge
    settles: str
    between: tuple[float, float]

    def settled(self, score: Score) -> bool:
        """Whether nobody further need be asked."""
        if score.status != "scored":
            return False
        if self.settles == "sure":
            number = score.value
            return not isinstance(number, (int, float)) or not self.between[0] <= number <= self.between[1]
        return self.settles == "any" or score.passed is (self.settles == "pass")


@dataclass(frozen=True)
class _Cascade:
    stages: tuple[_Stage, ...]

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The stages' digests."""
        return {"stages": [[stage.judge.digest, stage.settles, list(stage.between)] for stage in self.stages]}

    def requests(self, subject: Subject) -> list[Request]:
        """What would be asked if no stage settled it; fewer in truth."""
        return [request for stage in self.stages for request in asked_by(stage.judge, subject)]

    async def aclose(self) -> None:
        """Free the models' connections."""
        await freed([stage.judge for stage in self.stages])

    async def __call__(self, subject: Subject) -> Score:
        """The verdict of the stage that settled it."""
        passed_on: list[str] = []
        scores: list[Score] = []
        for place, stage in enumerate(self.stages, start=1):
            score = await verdict_of(stage.judge, subject)
            scores.append(score)
            if stage.settled(score) or place == len(self.stages):
                break
            passed_on.append(f"{stage.judge.name}: {score.value if score.status == 'scored' else score.status}")
        last = scores[-1]
        told = {"stage": len(scores), "decided_by": self.stages[len(scores) - 1].judge.name, "passed_on": passed_on}
        words = f"decided by stage {len(scores)}, {told['decided_by']}. {last.explanation or ''}".strip()
        settled = Score(
            last.value,
            status=last.status,
            passed=last.passed,
            explanation=words,
            evidence=last.evidence,
            direction=last.direction,
            metadata={**last.metadata, **told},
        )
        return Spent.on([_free(score, stage.judge) for score, stage in zip(scores, self.stages, strict=False)]).onto(
            settled
        )


async def verdict_of(member: Judge, subject: Subject) -> Score:
    """One judge's own score on a subject; what it raises is a score without a value.

    Raises:
        BudgetExceeded: Nothing is left to spend; that ends the whole verdict.
    """
    try:
        verdict = member(subject)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        scores = member.scores(verdict)
    except BudgetExceeded:
        raise
    except Exception as error:  # noqa: BLE001 - a member that fails abstains
        return unscored(error)
    return scores.get(member.name) or next(iter(scores.values()))


def asked_by(member: Judge, subject: Subject) -> list[Request]:
    """What a judge would ask of a model; nothing where it asks none or cannot say."""
    requests: Callable[[Subject], list[Request]] | None = getattr(member.call, "requests", None)
    return [] if requests is None else list(requests(subject))


async def freed(judges: Sequence[Judge]) -> None:
    """Close what judges hold."""
    for each in judges:
        close = getattr(each.call, "aclose", None)
        if close is not None:
            await close()


def family(member: Judge) -> str:
    """The family that a judge's model belongs to, by its name; the name itself where nobody knows."""
    model = member.fingerprint.get("model")
    name = str(model.get("model") if isinstance(model, Mapping) else member.name).lower()
    short = name.rpartition("/")[2]
    return next((known for start, known in _FAMILIES.items() if short.startswith(start)), short)


def _free(score: Score, member: Judge) -> Score | Spent:
    return score if member.declared.source == "llm" else Spent()


def _stage(given: Any) -> _Stage:
    said = dict(given) if isinstance(given, Mapping) and "judge" in given else {"judge": given}
    settles, between = said.get("settles", "any"), said.get("between", (0.25, 0.75))
    if settles not in _SETTLES:
        raise UsageError(f"a stage settles by one of {', '.join(_SETTLES)}, not {settles!r}")
    if not isinstance(between, (list, tuple)) or len(between) != 2:
        raise UsageError(f"between is two numbers, not {between!r}")
    return _Stage(load(said["judge"]), str(settles), (float(between[0]), float(between[1])))
