"""What the agent did, step by step, against what it should have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.matching import Matcher
from tracekit_evaluators.score import Evidence, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject
from tracekit_evaluators.trajectory import (
    Fit,
    Reference,
    Step,
    Wanted,
    best_pairs,
    counted,
    edit_distance,
    equal,
    fits,
    in_partial_order,
    longest_common,
    most_pairs,
    patterns,
    reference_of,
    steps_of,
    weight,
)

STATED = ("trajectory", "expected_actions", "tool_calls", "tool_names", "tools")
_NEEDS = ("tool calls", "expected.trajectory")
Patterns = list[str] | str | None
Stated = list[object] | Mapping[str, object] | None


@dataclass(frozen=True)
class _Compared:
    """What was done beside what is expected, without the tools that do not count."""

    steps: Sequence[Step]
    reference: Reference
    fit: Fit

    @property
    def sizes(self) -> tuple[int, int]:
        return len(self.steps), len(self.reference.steps)

    def score(self, value: float | bool) -> Score:  # noqa: FBT001 - a verdict is one
        """The verdict, with what is missing and what is too much."""
        n, m = self.sizes
        pairs = most_pairs(n, m, self.fit)
        missing = [_shown(self.reference.steps[j]) for j in range(m) if j not in pairs]
        used = set(pairs.values())
        extra = [self.steps[i] for i in range(n) if i not in used]
        words = [f"missing: {', '.join(missing[:10])}"] if missing else []
        words += [f"not expected: {', '.join(step.tool for step in extra[:10])}"] if extra else []
        if not words and value is False:
            words = ["in another order"]
        return Score(
            value,
            explanation="; ".join(words) or None,
            evidence=[Evidence(step.span_id, step.tool) for step in extra[:10]],
        )


def _comparing(expected: Stated, match: object, only: Patterns, ignore: Patterns) -> Callable[[Subject], _Compared]:
    matcher = Matcher(match)
    within, left_out = patterns(only), patterns(ignore)

    def compared(subject: Subject) -> _Compared:
        whole = reference_of(subject.expect(*STATED) if expected is None else expected)
        steps = [step for step in steps_of(subject) if counted(step.tool, within, left_out)]
        reference = whole
        if within or left_out:
            kept = [j for j, step in enumerate(whole.steps) if counted(step.tool, within, left_out)]
            place = {j: new for new, j in enumerate(kept)}
            order = tuple((place[a], place[b]) for a, b in whole.order if a in place and b in place)
            if whole.total:
                order = tuple((new, new + 1) for new in range(len(kept) - 1))
            reference = Reference(tuple(whole.steps[j] for j in kept), order, whole.total)
        return _Compared(steps, reference, fits(steps, reference.steps, matcher))

    return compared


@judge(needs=_NEEDS, values="{0,1}")
def traj_exact(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether the tool calls are the expected ones, in their order, without any others.

    Args:
        expected: The expected steps of every case, as `trajectory.reference_of` reads them; the case's `trajectory`,
            `expected_actions`, `tool_calls`, `tool_names` or `tools` when not given.
        match: How arguments are compared where a step states some, as `matching.Matcher` takes it.
        only: Names or patterns of the tools that count; all when not given.
        ignore: Names or patterns of tools that do not count.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> Score:
        both = compared(subject)
        return both.score(equal(*both.sizes, both.fit))

    return call


@judge(needs=_NEEDS, values="{0,1}, [0,1]")
def traj_in_order(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether the expected steps were done in their order, others between them allowed.

    Besides it says `traj_in_order.share`: of the expected steps, the share that was done in order (the longest common
    subsequence over expected).

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> dict[str, Score]:
        both = compared(subject)
        n, m = both.sizes
        done = longest_common(n, m, both.fit)
        return {"traj_in_order": both.score(done == m), "traj_in_order.share": Score(done / m if m else 1.0)}

    return call


@judge(needs=_NEEDS, values="{0,1}")
def traj_any_order(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether the expected steps were done, each as often as expected, in any order, others besides allowed.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    return _by_matching(_comparing(expected, match, only, ignore), lambda pairs, _, m: pairs == m)


@judge(needs=_NEEDS, values="{0,1}")
def traj_superset(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether what was done holds all that is expected: the same as `traj_any_order`.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    return _by_matching(_comparing(expected, match, only, ignore), lambda pairs, _, m: pairs == m)


@judge(needs=_NEEDS, values="{0,1}")
def traj_unordered(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether the steps are the expected ones in any order, each as often, without any others.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    return _by_matching(_comparing(expected, match, only, ignore), lambda pairs, n, m: pairs == n == m)


@judge(needs=_NEEDS, values="{0,1}")
def traj_subset(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Whether nothing was done that is not expected, or more often than expected.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    return _by_matching(_comparing(expected, match, only, ignore), lambda pairs, n, _: pairs == n)


def _by_matching(compared: Callable[[Subject], _Compared], holds: Callable[[int, int, int], bool]) -> Call:
    def call(subject: Subject) -> Score:
        both = compared(subject)
        return both.score(holds(len(most_pairs(*both.sizes, both.fit)), *both.sizes))

    return call


@judge(needs=_NEEDS, values="[0,1] each")
def traj_f1(*, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None) -> Call:
    """F1 of the steps, with `traj_f1.precision` and `traj_f1.recall`: as multisets, in any order.

    A step too many costs precision. Where nothing is expected and nothing was done, F1 is 1; a share of nothing is not
    applicable.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> dict[str, Score]:
        both = compared(subject)
        n, m = both.sizes
        pairs = len(most_pairs(n, m, both.fit))
        return {
            "traj_f1": both.score(2 * pairs / (n + m) if n + m else 1.0),
            "traj_f1.precision": Score(pairs / n) if n else unscored(NotApplicable("no tool was called")),
            "traj_f1.recall": Score(pairs / m) if m else unscored(NotApplicable("no step is expected")),
        }

    return call


@judge(needs=_NEEDS, values="[0,1]")
def traj_edit_similarity(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """How little the steps would have to be edited to be the expected ones: 1 − edit distance / the longer length.

    A step too many or too few costs 1, another tool 1, other arguments 1 − their likeness.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> Score:
        both = compared(subject)
        n, m = both.sizes
        return both.score(1 - edit_distance(n, m, both.fit) / max(n, m) if n or m else 1.0)

    return call


@judge(needs=_NEEDS, values="[0,1]")
def traj_partial_order(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """Share of the required precedences that were respected × recall of the expected steps.

    Of precedences, those count whose two steps were both done. A list of steps is the order in which it is written.

    Args:
        expected: As of `traj_exact`; `{"steps": [...], "order": [["find", "book"], ...]}` states a partial order.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> Score:
        both = compared(subject)
        kept, recall = in_partial_order(len(both.steps), both.reference, both.fit)
        words = f"{kept:.0%} of the precedences, {recall:.0%} of the steps"
        return Score(kept * recall, explanation=words, metadata={"order": kept, "recall": recall})

    return call


@judge(needs=_NEEDS, values="[0,1]")
def tool_correctness(
    *,
    expected: Stated = None,
    match: object = None,
    only: Patterns = None,
    ignore: Patterns = None,
    extra_counts: bool = True,
) -> Call:
    """How well the tool calls do for the expected ones: the best pairing's likeness over the longer length.

    Calls and expected calls are paired so that the likeness of their arguments adds up to most (an optimal assignment);
    another tool is not alike at all.

    Args:
        expected: As of `traj_exact`.
        match: As of `traj_exact`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.
        extra_counts: Whether calls too many lower it; otherwise it is divided by the expected calls alone.
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> Score:
        both = compared(subject)
        n, m = both.sizes
        longer = max(n, m) if extra_counts else m
        return both.score(weight(best_pairs(n, m, both.fit), both.fit) / longer if longer else 1.0)

    return call


@judge(needs=_NEEDS, values="[0,1]")
def tool_args_match(
    *, expected: Stated = None, match: object = None, only: Patterns = None, ignore: Patterns = None
) -> Call:
    """How alike the arguments are to the expected ones: the mean over expected calls whose tool was called.

    Not applicable where no expected call states arguments or none of their tools was called.

    Args:
        expected: As of `traj_exact`.
        match: A rule for all tools, or by tool and by argument: `exact`, `ignore`, `subset`, `superset`, `regex`,
            `numeric`, `schema`, `text`, a function; see `matching.Matcher`.
        only: As of `traj_exact`.
        ignore: As of `traj_exact`.

    Example:
        >>> tool_args_match(match={"pay": {"amount": {"numeric": 0.01}, "note": "ignore"}}).name
        'tool_args_match'
    """
    compared = _comparing(expected, match, only, ignore)

    def call(subject: Subject) -> Score:
        both = compared(subject)
        stating = [j for j, step in enumerate(both.reference.steps) if step.arguments is not None]
        if not stating:
            raise NotApplicable("no expected call states arguments")
        called = {step.tool for step in both.steps}
        counting = [j for j in stating if both.reference.steps[j].tool in called]
        if not counting:
            raise NotApplicable("none of the expected tools was called")
        pairs = best_pairs(*both.sizes, both.fit)
        alike = {j: both.fit(pairs[j], j) if j in pairs else 0.0 for j in counting}
        worst = [j for j in counting if alike[j] < 1]
        words = [f"{both.reference.steps[j].tool}: {alike[j]:.0%} alike" for j in worst[:10]]
        found = [both.steps[pairs[j]] for j in worst if j in pairs]
        return Score(
            sum(alike.values()) / len(counting),
            explanation="; ".join(words) or None,
            evidence=[Evidence(step.span_id, step.tool) for step in found[:10]],
        )

    return call


def _shown(step: Wanted) -> str:
    return step.tool if step.agent is None else f"{step.tool} by {step.agent}"
