"""Bias probes: the same subject twice, changed only in what should not matter, and what the judge makes of it.

A judge that scores an answer higher because it is longer, better dressed, praised or first measures that too. Each
probe asks the judge about pairs of subjects and tests the paired difference; together they are corrected for looking
several times. `stability` asks the same thing again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._plan import Asked, planned
from tracekit_evaluators.asking import Desk, desk
from tracekit_evaluators.budget import Budget
from tracekit_evaluators.cache import Cache
from tracekit_evaluators.calibration.edits import EDITS, with_output
from tracekit_evaluators.calibration.record import run_name
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.runner import _blocking
from tracekit_evaluators.score import Score, unscored
from tracekit_evaluators.statistics import (
    Estimate,
    holm,
    mcnemar_exact_p,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    sign_flip_p,
    wilson_interval,
)
from tracekit_evaluators.statistics.distributions import normal_quantile
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.runner import JudgeSource

KIND = "probe"
PROBES = (*EDITS, "position", "stability")
LEVEL = 0.05
Value = float | str
Pair = tuple[Value, Value]


@dataclass(frozen=True)
class Probe:
    """What one probe found.

    Args:
        name: `verbosity`, `format`, `authority`, `anchoring`, `instruction`, `position` or `stability`.
        shift: By how much the change moves the score towards better (`position`: towards what stands first), with its
            interval; `None` where verdicts are words, and for `stability`.
        moved: On which share of the subjects the verdict changed at all.
        p: p-value of the shift, corrected over all probes; `None` where there is nothing to test.
        failed: On how many subjects the judge gave no verdict.
    """

    name: str
    shift: Estimate | None
    moved: Estimate
    p: float | None
    failed: int

    @property
    def found(self) -> bool:
        """Whether there is a bias: a shift that chance does not explain, at 5 % over all probes together."""
        return self.p is not None and self.p < LEVEL

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON takes it."""
        shift = None if self.shift is None else self.shift.to_dict()
        told = {"name": self.name, "shift": shift, "moved": self.moved.to_dict(), "p": self.p, "failed": self.failed}
        return {**told, "found": self.found}


def probe(
    store: Store,
    judge: JudgeSource,
    *,
    probes: Sequence[str] | None = None,
    where: str | None = None,
    agent: str | None = None,
    dataset: str | None = None,
    expected_from: str | None = None,
    against: str | None = None,
    limit: int = 30,
    repeats: int = 3,
    budget: Budget | None = None,
    cache: bool = True,
    concurrency: int = 8,
) -> RunRecord:
    """Ask a judge about changed copies of stored traces, and keep what its biases are as a run of the kind `probe`.

    Args:
        store: An open store.
        judge: A spec, a judge or a function.
        probes: Which of `PROBES`; those that make sense for the judge when not given.
        where: A condition in SQL over the view `traces`.
        agent: An agent, or a version of it.
        dataset: Cases, for judges that need expectations.
        expected_from: A run whose scores' metadata are the expectations.
        against: For judges that compare two tries: the run or agent of the other ones.
        limit: The most traces.
        repeats: How often `stability` asks.
        budget: What may be spent on models.
        cache: Whether answers are kept in the store and used again.
        concurrency: The most judges that wait at once.

    Raises:
        UsageError: A probe is unknown or makes no sense for the judge.
        NotFoundError: No trace matches.
    """
    loaded = load(judge)
    plan = planned(store, [loaded], Asked(where, agent, dataset, None, expected_from, against, None, limit, None))
    subjects = [subject for subject, _ in plan.targets(store).of(plan.ids)]
    begun = store.catalog.runs.create(
        run_name(loaded.name, loaded.digest, loaded.name, KIND),
        kind=KIND,
        parameters={"judge": loaded.name, "judge_digest": loaded.digest, "repeats": repeats},
        judges=[loaded.record()],
        selection=plan.selection,
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    lent = Desk(Cache(store.location / "judge-cache.db") if cache else None, budget or Budget())
    try:
        with desk(lent):
            found = probe_subjects(loaded, subjects, probes=probes, repeats=repeats, concurrency=concurrency)
    except BaseException:
        store.catalog.runs.update(begun.id, status="failed")
        raise
    finally:
        if lent.cache is not None:
            lent.cache.close()
    metrics = {each.name: dict((each.shift or each.moved).to_dict()) for each in found}
    summary: dict[str, object] = {"probes": [each.to_dict() for each in found], "subjects": len(subjects)}
    return store.catalog.runs.update(begun.id, status="finished", metrics=metrics, summary=summary)


def probe_subjects(
    judge: Judge,
    subjects: Sequence[Subject],
    *,
    probes: Sequence[str] | None = None,
    repeats: int = 3,
    concurrency: int = 8,
) -> list[Probe]:
    """The same on subjects in memory, with nothing kept.

    Args:
        judge: Who is probed.
        subjects: What it judges; thirty tell a shift of a fifth of the scale.
        probes: Which of `PROBES`; those that make sense for the judge when not given.
        repeats: How often `stability` asks, at least twice.
        concurrency: The most judges that wait at once.

    Raises:
        UsageError: A probe is unknown or makes no sense for the judge, or nothing can be judged.
    """
    names = _chosen(judge, probes)
    if repeats < 2:
        raise UsageError(f"stability asks at least twice, not {repeats} times")
    usable = [subject for subject in subjects if subject.output is not None]
    if not usable:
        raise UsageError(f"none of the {len(subjects)} subjects has an output to change")
    asked = {name: [_asked(name, subject, repeats) for subject in usable] for name in names}
    flat = [each for name in names for several in asked[name] for each in several]
    answers = iter(_blocking(lambda: _judged(judge, flat, concurrency)))
    found = []
    for name in names:
        values = [[next(answers) for _ in several] for several in asked[name]]
        found.append(_probe(judge, name, values))
    adjusted = holm([each.p for each in found])
    return [replace(each, p=p) for each, p in zip(found, adjusted, strict=True)]


def _chosen(judge: Judge, probes: Sequence[str] | None) -> list[str]:
    pairs = judge.declared.subject == "pair"
    sensible = [name for name in PROBES if name != "position" or pairs]
    if probes is None:
        return sensible
    unknown = [name for name in probes if name not in PROBES]
    if unknown:
        raise UsageError(f"there is no probe {', '.join(unknown)}; there are {', '.join(PROBES)}")
    if "position" in probes and not pairs:
        raise UsageError(f"{judge.name} judges one answer at a time: it has no first and second position")
    return list(dict.fromkeys(probes))


def _asked(name: str, subject: Subject, repeats: int) -> list[Subject]:
    """What the judge is asked about for one subject: two that should score alike, or the same several times."""
    if name == "stability":
        return [replace(subject, sample=sample) for sample in range(repeats)]
    if name == "position":
        if subject.other is None:
            return [subject]
        return [subject, replace(subject.other, case=subject.case, other=replace(subject, other=None))]
    one, two = EDITS[name]
    return [with_output(subject, edit(subject.output_text)) for edit in (one, two)]


async def _judged(judge: Judge, subjects: Sequence[Subject], concurrency: int) -> list[Score]:
    room = asyncio.Semaphore(concurrency)

    async def one(subject: Subject) -> Score:
        async with room:
            try:
                if judge.declared.subject == "pair" and subject.other is None:
                    return Score(status="missing_input")
                verdict = judge(subject)
                if inspect.isawaitable(verdict):
                    waiting: Awaitable[object] = verdict
                    verdict = await waiting
                scores = judge.scores(verdict)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a judge raises costs its score alone
                return unscored(error)
            return scores.get(judge.name) or next(iter(scores.values()))

    try:
        return list(await asyncio.gather(*(one(subject) for subject in subjects)))
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(judge.call, "aclose", None)
        if close is not None:
            await close()


def _probe(judge: Judge, name: str, answers: Sequence[Sequence[Score]]) -> Probe:
    values = [[_value(judge, score) for score in several] for several in answers]
    known = [[value for value in several if value is not None] for several in values]
    whole = [found for found, several in zip(known, values, strict=True) if len(found) == len(several) > 1]
    failed = len(values) - len(whole)
    if name == "position":
        return _position(answers, values, failed)
    moved = wilson_interval(sum(len(set(found)) > 1 for found in whole), n=len(whole))
    if name == "stability":
        return Probe(name, None, moved, None, failed)
    pairs = [(found[0], found[1]) for found in whole]
    shift, p = _shift(pairs)
    return Probe(name, shift, moved, p, failed)


def _shift(pairs: Sequence[Pair]) -> tuple[Estimate | None, float | None]:
    numbers = [(one, two) for one, two in pairs if isinstance(one, float) and isinstance(two, float)]
    if len(numbers) < len(pairs) or not pairs:
        return None, None
    if all(value in (0.0, 1.0) for pair in numbers for value in pair):
        gained, lost = sum(two > one for one, two in numbers), sum(two < one for one, two in numbers)
        found = paired_proportion_difference(gained=gained, lost=lost, n=len(numbers))
        return found, mcnemar_exact_p(gained=gained, lost=lost).value
    differences = [two - one for one, two in numbers]
    return paired_difference(differences), sign_flip_p(differences).value


def _position(answers: Sequence[Sequence[Score]], values: Sequence[Sequence[Value | None]], failed: int) -> Probe:
    """Whether what stands first wins more often; a judge that asks in both orders itself tells both in its metadata."""
    first, second, flips, n = 0, 0, 0, 0
    for scores, several in zip(answers, values, strict=True):
        orders = scores[0].metadata.get("orders")
        if isinstance(orders, Sequence) and len(orders) == 2:
            said = [{"one": 1.0, "two": 0.0, "tie": 0.5}.get(str(each)) for each in orders]
            # The second order is told in terms of the first: turned back, it says who won by place.
            both = [said[0], None if said[1] is None else 1 - said[1]]
        else:
            both = [value if isinstance(value, float) else None for value in several]
        if len(both) < 2 or both[0] is None or both[1] is None:
            continue
        n += 1
        flips += both[0] + both[1] != 1.0
        first += both[0] + both[1] > 1.0
        second += both[0] + both[1] < 1.0
    shift = paired_proportion_difference(gained=first, lost=second, n=n)
    p = mcnemar_exact_p(gained=first, lost=second).value
    return Probe("position", shift, wilson_interval(flips, n=n), p, min(failed, len(answers) - n))


def _value(judge: Judge, score: Score) -> Value | None:
    """A score as a number that is higher where it is better, or as the word that it is."""
    if score.status != "scored" or score.value is None:
        return None
    if isinstance(score.value, str):
        return score.value
    down = (score.direction or judge.declared.direction) == "minimize"
    value = float(score.value)
    return (1 - value if value in (0.0, 1.0) else -value) if down else value


def self_preference(
    items: Sequence[tuple[float, float, str]], *, own: str, level: float = 0.95
) -> tuple[Estimate, dict[str, Mapping[str, object]]]:
    """By how much a judge scores its own family's answers higher than others' that people value the same.

    Within each value of people's, the mean of the judge's scores of its own family less that of the others; weighted by
    how many can be compared, n₁·n₂/(n₁+n₂), as by N. Mantel and W. Haenszel.

    Args:
        items: For each answer the judge's score, people's score, and the family of the model that wrote it.
        own: The judge's own family.
        level: Confidence level of the normal interval.

    Returns:
        The difference, and by family the mean of the judge's score less people's.

    Raises:
        UsageError: No answer is of the family, or all are.

    Example:
        >>> found, _ = self_preference([(1, 1, "a"), (1, 0, "a"), (1, 1, "b"), (0, 0, "b")] * 10, own="a")
        >>> found.value
        0.5
    """
    families = sorted({family for _, _, family in items})
    if own not in families or len(families) < 2:
        raise UsageError(f"the answers are of {', '.join(families) or 'no family'}; {own!r} and another are needed")
    strata: dict[float, tuple[list[float], list[float]]] = {}
    for judged, human, family in items:
        strata.setdefault(human, ([], []))[family != own].append(judged)
    total, below, variance, n = 0.0, 0.0, 0.0, 0
    for mine, others in strata.values():
        if not mine or not others:
            continue
        weight = len(mine) * len(others) / (len(mine) + len(others))
        one, two = mean_interval(mine), mean_interval(others)
        total += weight * ((one.value or 0.0) - (two.value or 0.0))
        variance += weight**2 * ((one.standard_error or 0.0) ** 2 + (two.standard_error or 0.0) ** 2)
        below += weight
        n += len(mine) + len(others)
    residuals: dict[str, Mapping[str, object]] = {
        family: mean_interval([judged - human for judged, human, each in items if each == family]).to_dict()
        for family in families
    }
    if not below:
        return Estimate(None, None, None, 0, "no two answers of equal human score are of both families"), residuals
    value, error = total / below, variance**0.5 / below
    half = normal_quantile(0.5 + level / 2) * error
    ends = (None, None) if error == 0 else (value - half, value + half)
    return Estimate(value, ends[0], ends[1], n, f"stratified by human score ({len(strata)} values)", error), residuals
