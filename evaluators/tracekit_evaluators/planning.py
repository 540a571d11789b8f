"""How many cases a question needs: from a pilot, or from what one expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.paired_scores import PairedScores
from tracekit_evaluators.pairing import pair, read_run
from tracekit_evaluators.statistics import binary_spread, cases_needed, power_of, repeats_of_cases
from tracekit_evaluators.statistics.power import reach

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

SHARES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20)
_PARTS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0)  # of a standard deviation, where the score is no share


@dataclass(frozen=True)
class Pilot:
    """What is known of how much a pair of tries differs.

    Args:
        spread: The standard deviation of a pair's difference, sources that cases share reckoned in.
        kind: `bool` where the score passes or fails, else `number`.
        said: Where it comes from.
        within: The variance of one try within its case, where repeats tell it.
        repeats: How often each case was tried.
    """

    spread: float
    kind: str
    said: str
    within: float | None = None
    repeats: float = 1.0

    def repeated(self, repeats: int | None) -> float:
        """The spread were each case tried so often: repeats take away the noise of tries, nothing else.

        Raises:
            UsageError: The pilot does not tell the noise of tries.
        """
        if repeats is None:
            return self.spread
        if self.within is None:
            raise UsageError("only a pilot with repeats tells what more repeats would help; leave out --repeats")
        between = max(0.0, self.spread**2 - 2 * self.within / self.repeats)
        return math.sqrt(between + 2 * self.within / repeats)


@dataclass(frozen=True)
class Need:
    """How many cases one question needs.

    Args:
        difference: The true difference, or how far it lies from the margin.
        cases: How many cases find it with the wanted power; `None` where no sensible number does.
        power: The power that the given number of cases has, where one is given.
    """

    difference: float
    cases: int | None
    power: float | None


def pilot_of(store: Store, run: RunRecord, *, score: str | None = None, baseline: RunRecord | None = None) -> Pilot:
    """What a run, or better two, tell of how much a pair differs.

    Two runs tell it as it is. One tells what two versions would differ by if they had nothing in common, √2 times the
    spread of its cases: more than they will, so that the answer is cautious.

    Args:
        store: Where they are.
        run: A run.
        score: Which score; may be left out where there is one.
        baseline: Another run of the same cases.

    Raises:
        UsageError: There is no such score, or too few cases.
    """
    candidate = read_run(store, run)
    names = [name for name, group in candidate.groups.items() if group.kind in {"bool", "number"}]
    if score is None and len(names) != 1:
        raise UsageError(f"{run.name} has the scores {', '.join(names) or 'none that can be planned for'}; name one")
    name = score or names[0]
    if name not in candidate.groups:
        raise UsageError(f"{run.name} has no score {name}; it has {', '.join(names)}")
    group = candidate.groups[name]
    if baseline is None:
        kept = [[value for value in case if value is not None] for case in group.values()]
        means = [math.fsum(case) / len(case) for case in kept if case]
        parts = repeats_of_cases(kept)
        said = f"{name} of {run.name}, as if the versions had nothing in common"
        spread = math.sqrt(2) * _deviation(means)
    else:
        before = read_run(store, baseline)
        found = PairedScores(before, candidate, pair(before, candidate)).scores.get(name)
        if found is None or len(found.keys) < 2:
            raise UsageError(f"{run.name} and {baseline.name} have fewer than two cases of {name} in common")
        parts = repeats_of_cases([values for side in (found.left, found.right) for values in side.values.values()])
        said = f"{name} of {run.name} and {baseline.name}, {len(found.keys)} pairs"
        spread = _deviation(found.differences)
        if found.clusters is not None:
            said += f" in {found.clusters.count} clusters by {found.clusters.by}"
            spread *= math.sqrt(max(1.0, _design_effect(found.differences, found.clusters.of)))
    within = None if parts is None else parts.within
    return Pilot(spread, group.kind, said, within, 1.0 if parts is None else parts.repeats)


def pilot_from(*, discordant: float | None = None, spread: float | None = None, rate: float | None = None) -> Pilot:
    """What one expects, in place of a pilot.

    Args:
        discordant: Which share of pairs will differ.
        spread: The standard deviation of a pair's difference.
        rate: The pass rate, of two versions that have nothing in common.
    """
    given = [each for each in (discordant, spread, rate) if each is not None]
    if len(given) != 1:
        raise UsageError("say one of: a pilot run, --discordant, --spread or --rate")
    if discordant is not None:
        return Pilot(binary_spread(discordant), "bool", f"{discordant:.0%} of pairs differ")
    if rate is not None:
        if not 0 <= rate <= 1:
            raise UsageError(f"a pass rate lies between 0 and 1, not {rate:g}")
        said = f"{rate:.0%} pass in either version, and which ones has nothing in common"
        return Pilot(math.sqrt(2 * rate * (1 - rate)), "bool", said)
    if spread is None or not 0 < spread < math.inf:
        raise UsageError(f"a spread is above 0, not {spread}")
    return Pilot(spread, "number", f"a pair's difference has the standard deviation {spread:g}")


def needs(
    pilot: Pilot,
    *,
    differences: Sequence[float] = (),
    cases: int | None = None,
    repeats: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: int = 2,
) -> list[Need]:
    """How many cases find each difference.

    Args:
        pilot: How much a pair differs.
        differences: The true differences; usual ones where none are given.
        cases: A number of cases whose power is asked.
        repeats: How often each case is going to be tried.
        alpha: Significance level.
        power: The wanted probability to find it.
        sides: 1 for non-inferiority and superiority, 2 for any difference.
    """
    spread = pilot.repeated(repeats)
    usual = SHARES if pilot.kind == "bool" else tuple(part * spread for part in _PARTS)
    found = []
    for difference in differences or usual:
        if not difference:
            raise UsageError("a difference of 0 cannot be found; say how large it is")
        needed = cases_needed(spread, difference=difference, alpha=alpha, power=power, sides=sides)
        reached = None
        if cases is not None:
            reached = power_of(cases, spread=spread, difference=difference, alpha=alpha, sides=sides)
        found.append(Need(difference, needed, reached))
    return found


def detectable_with(cases: int, spread: float, *, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> float:
    """The smallest difference that so many cases find."""
    if cases < 2:
        raise UsageError(f"a question needs at least 2 cases, not {cases}")
    return reach(alpha=alpha, power=power, sides=sides) * spread / math.sqrt(cases)


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:
        raise UsageError("a pilot needs at least two cases")
    mean = math.fsum(values) / len(values)
    found = math.sqrt(math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1))
    # That nothing differed among n does not say that nothing will: as if one more pair had, one way.
    return found or 1 / math.sqrt(len(values) + 2)


def _design_effect(values: Sequence[float], clusters: Sequence[str]) -> float:
    from tracekit_evaluators.statistics import clustered_mean  # noqa: PLC0415 - only where cases share something

    return clustered_mean(values, clusters=clusters).design_effect or 1.0
