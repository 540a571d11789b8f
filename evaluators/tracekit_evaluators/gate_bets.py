"""What a sequential gate bets on: for each thing that its policy asks a pair of bettors, one for it and one against.

A claim is "the mean of these bounded numbers is above a limit". The bettor for it gains where it holds, the one against
where it does not (`statistics.sequential`); neither can be expected to gain where it is wrong, whenever one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tracekit.errors import UsageError
from tracekit_evaluators.gate_policy import MEASURES, Policy, ScoreRule
from tracekit_evaluators.gate_result import FAIL, INCONCLUSIVE, PASS, Check
from tracekit_evaluators.paired_scores import PairedScore, PairedScores, Side, values_by_case
from tracekit_evaluators.pairing import MEASURES as NAMES
from tracekit_evaluators.pairing import Pairing, RunRows
from tracekit_evaluators.statistics import EProcess
from tracekit_evaluators.verdict import amount, figure

Values = Mapping[str, float]


@dataclass
class Claim:
    """That the mean of these numbers is above a limit, with what speaks for it and against it so far.

    Args:
        limit: The limit.
        low: The least that a number can be.
        high: The most that one can be.
    """

    limit: float
    low: float
    high: float
    holds: EProcess = field(init=False)
    fails: EProcess = field(init=False)
    total: float = 0.0
    cases: int = 0

    def __post_init__(self) -> None:
        self.holds = EProcess(mean=self.limit, low=self.low, high=self.high)
        self.fails = EProcess(mean=-self.limit, low=-self.high, high=-self.low)

    def take(self, numbers: Sequence[float], *, largest: int) -> None:
        """Bet on a source's cases at once, weighted so that each case counts the same."""
        if numbers:
            mean = sum(numbers) / len(numbers)
            self.holds.add(mean, weight=len(numbers) / largest)
            self.fails.add(-mean, weight=len(numbers) / largest)
            self.total += sum(numbers)
            self.cases += len(numbers)

    def verdict(self, alpha: float, tests: int) -> str:
        """PASS once the bettor for it holds 1/alpha, FAIL once the one against it holds tests/alpha."""
        if self.fails.best >= tests / alpha:
            return FAIL
        return PASS if self.holds.best >= 1 / alpha else INCONCLUSIVE


@dataclass
class Wager:
    """One thing that the policy asks, and how its numbers are had.

    Args:
        name: The score or measure.
        kind: What the check is called: `score`, `level` or `budget`.
        asked: What is asked, given the kind of the score.
        make: The claim, once a case of it is known.
        numbers: The numbers by case key.
        shown: What a mean number stands for: its own size and the limit's, as people read it.
        figures: What else the check keeps.
    """

    name: str
    kind: str
    asked: Callable[[str], str]
    make: Callable[[Book], Claim]
    numbers: Callable[[Book], Values]
    shown: Callable[[float, Book], str]
    figures: Mapping[str, object]
    claim: Claim | None = None

    def take(self, book: Book, group: Sequence[Sequence[str]], largest: int) -> None:
        """Bet on the cases of these sources."""
        numbers = self.numbers(book)
        if not numbers:
            return
        if self.claim is None:
            self.claim = self.make(book)
        for unit in group:
            self.claim.take([numbers[key] for key in unit if key in numbers], largest=largest)

    def verdict(self, alpha: float, tests: int) -> str:
        """What the bets say so far."""
        return INCONCLUSIVE if self.claim is None else self.claim.verdict(alpha, tests)

    def check(self, book: Book, alpha: float, tests: int) -> Check:
        """The same as a check of the gate."""
        asked, claim = self.asked(book.kind(self.name)), self.claim
        if claim is None or not claim.cases:
            return Check(asked, self.kind, INCONCLUSIVE, "no case that it is asked of was scored")
        verdict, mean = claim.verdict(alpha, tests), claim.total / claim.cases
        held = claim.fails.best if verdict == FAIL else claim.holds.best
        needed = (tests if verdict == FAIL else 1) / alpha
        said = f"{self.shown(mean, book)} over {claim.cases} cases (e-value {figure(held)}, {figure(needed)} needed)"
        figures = {
            "score": self.name,
            "value": book.sign(self.name) * mean if self.kind == "score" else mean,
            "n": claim.cases,
            **self.figures,
            "alpha": alpha,
            "e_no_worse": claim.holds.best,
            "e_worse": claim.fails.best,
            "needed": needed,
            "method": "betting e-processes",
        }
        return Check(asked, self.kind, verdict, said, figures)


class Book:
    """What has been scored so far, as bets need it.

    Args:
        baseline: The run to compare with.
        candidate: The run that is judged, as far as it has been.
        pairing: Which case is which.
    """

    def __init__(self, baseline: RunRows, candidate: RunRows, pairing: Pairing) -> None:
        self._candidate, self._pairing = candidate, pairing
        self._paired = PairedScores(baseline, candidate, pairing)

    def paired(self, name: str) -> PairedScore | None:
        """A score of both runs."""
        return self._paired.scores.get(name)

    def measure(self, name: str) -> PairedScore | None:
        """What the traces of both took, by its name in a policy."""
        column = MEASURES[name][0]
        named = (each for each, (of, _) in NAMES.items() if of == column)
        return next((self._paired.measures[each] for each in named if each in self._paired.measures), None)

    def own(self, name: str) -> Values:
        """The candidate's score of each case, whether or not the baseline has it."""
        group = self._candidate.groups.get(name)
        side = Side() if group is None else values_by_case(group, self._pairing.candidate)
        return {key: side.mean(key) for key in side.values}

    def kind(self, name: str) -> str:
        """`bool`, `number` or what else the candidate's score is."""
        group = self._candidate.groups.get(name)
        return "number" if group is None else group.kind

    def sign(self, name: str) -> float:
        """-1 where less of the candidate's score is better."""
        group = self._candidate.groups.get(name)
        return -1.0 if group is not None and group.direction == "minimize" else 1.0


def wagers_of(policy: Policy) -> list[Wager]:
    """What a policy's scores and budgets ask that can be bet on.

    Raises:
        UsageError: An increase has no `max` beside it, without which no bet is possible, or nothing can be bet on.
    """
    found: list[Wager] = []
    for rule in policy.scores:
        found += [_relative(rule)] if rule.relative else []
        found += [_level(rule, 1.0, rule.at_least, "at least")] if rule.at_least is not None else []
        found += [_level(rule, -1.0, rule.at_most, "at most")] if rule.at_most is not None else []
    for name, limits in policy.budgets.items():
        if "increase" in limits:
            if not limits.get("max"):
                raise UsageError(
                    f"budgets.{name}.increase: to stop judging early it must be known what one case can take at most; "
                    f"give {name} a `max` too, or gate without --sequential"
                )
            found.append(_increase(name, limits["increase"], limits["max"]))
    if not found:
        raise UsageError("a sequential gate needs a score with a margin, test, at_least or at_most, or an increase")
    return found


def _relative(rule: ScoreRule) -> Wager:
    margin = rule.margin or 0.0

    def asked(kind: str) -> str:
        wanted = "better than the baseline" if rule.superior else f"at most {amount(margin, kind=kind)} worse"
        return f"{rule.name}: {wanted.replace(' %', ' pt')}"

    def make(book: Book) -> Claim:
        low, high = _range(rule, book)
        reach = high - low
        if margin >= reach:
            raise UsageError(f"the margin {margin:g} of {rule.name} is as wide as the score can differ")
        return Claim(-margin, -reach, reach)

    def numbers(book: Book) -> Values:
        score = book.paired(rule.name)
        if score is None:
            return {}
        return {key: score.sign * each for key, each in zip(score.keys, score.differences, strict=True)}

    def shown(mean: float, book: Book) -> str:
        return amount(book.sign(rule.name) * mean, kind=book.kind(rule.name), signed=True)

    return Wager(rule.name, "score", asked, make, numbers, shown, {"margin": rule.margin})


def _level(rule: ScoreRule, sign: float, limit: float | None, word: str) -> Wager:
    bound = limit or 0.0

    def make(book: Book) -> Claim:
        low, high = _range(rule, book)
        if not low < bound < high:
            raise UsageError(
                f"{rule.name}: {word} {bound:g} is at an end of what it can be, {low:g} to {high:g}, which no number "
                "of cases can show; name the cases that must pass as golden"
            )
        ends = sorted((sign * low, sign * high))
        return Claim(sign * bound, ends[0], ends[1])

    return Wager(
        rule.name,
        "level",
        lambda kind: f"{rule.name}: {word} {amount(bound, kind=kind)}",
        make,
        lambda book: {key: sign * value for key, value in book.own(rule.name).items()},
        lambda mean, book: amount(sign * mean, kind=book.kind(rule.name)),
        {"at_least": rule.at_least, "at_most": rule.at_most},
    )


def _increase(name: str, increase: float, most: float) -> Wager:
    """(1 + increase)·before - after is above 0 in the mean; a case that takes more than `most` fails anyhow."""

    def numbers(book: Book) -> Values:
        score = book.measure(name)
        if score is None:
            return {}
        sides = zip(score.keys, score.left.means(score.keys), score.right.means(score.keys), strict=True)
        return {key: (1 + increase) * before - min(after, most) for key, before, after in sides}

    def make(book: Book) -> Claim:
        score = book.measure(name)
        before = max(_finite(score), default=0.0)
        if not before > 0:
            raise UsageError(f"budgets.{name}.increase: the baseline took nothing, so nothing is an increase of it")
        return Claim(0.0, -most, (1 + increase) * before)

    def shown(mean: float, book: Book) -> str:
        del book
        return f"{figure(-mean, signed=True)} beside the limit"

    return Wager(
        name,
        "budget",
        lambda kind: f"{name}: at most {increase:.0%} above the baseline" if kind else name,
        make,
        numbers,
        shown,
        {"limit": increase},
    )


def _finite(score: PairedScore | None) -> Iterable[float]:
    """All of the baseline's values, judged or not: what it can be is known beforehand."""
    return () if score is None else (value for values in score.left.values.values() for value in values)


def _range(rule: ScoreRule, book: Book) -> tuple[float, float]:
    if rule.range is not None:
        return rule.range
    score = book.paired(rule.name)
    if book.kind(rule.name) == "bool" or (score is not None and score.yes_no):
        return 0.0, 1.0
    raise UsageError(f"{rule.name} is a number: say what it can be, as `range: [0, 1]` in the policy")
