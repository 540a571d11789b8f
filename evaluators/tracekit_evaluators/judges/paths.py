"""Constraints on the path that the agent took, the nodes that it went through, and how long it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges.trajectory import STATED
from tracekit_evaluators.score import MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject
from tracekit_evaluators.trajectory import (
    Step,
    Wanted,
    counted,
    equal,
    fits,
    like,
    longest_common,
    patterns,
    reference_of,
    steps_of,
)


@judge(needs=("tool calls", "expected.constraints"), values="[0,1]")
def traj_constraints(*, constraints: Mapping[str, object] | None = None) -> Call:
    """Share of the constraints on the trajectory that hold; passes when all do.

    Args:
        constraints: `require` and `forbid` (tools or patterns), `order` (lists of tools, each to come before the next
            where both were called), `at_most` and `at_least` (calls by tool or pattern, `*` for all); the case's
            `constraints` when not given.

    Raises:
        UsageError: There is no such constraint.

    Example:
        >>> traj_constraints(constraints={"forbid": ["delete_*"], "at_most": {"*": 10}}).name
        'traj_constraints'
    """
    if constraints is not None:
        _checks(constraints, [])

    def call(subject: Subject) -> Score:
        stated = subject.expect("constraints") if constraints is None else constraints
        if not isinstance(stated, Mapping):
            raise MissingInput(f"the case's constraints are no object: {stated!r:.100}")
        checks = _checks(stated, [step.tool for step in steps_of(subject)])
        if not checks:
            raise NotApplicable("no constraint is stated")
        broken = [words for words, holds in checks if not holds]
        return Score(1 - len(broken) / len(checks), passed=not broken, explanation="; ".join(broken) or None)

    return call


def _checks(constraints: Mapping[str, object], tools: Sequence[str]) -> list[tuple[str, bool]]:
    unknown = sorted(set(constraints) - {"require", "forbid", "order", "at_most", "at_least"})
    if unknown:
        raise UsageError(f"traj_constraints knows require, forbid, order, at_most and at_least, not {unknown[0]!r}")
    found: list[tuple[str, bool]] = []
    for word, told in (("require", "was not called"), ("forbid", "was called")):
        for each in _listed(constraints.get(word)):
            called = any(like(tool, [str(each)]) for tool in tools)
            found.append((f"{each} {told}", called is (word == "require")))
    for chain in _listed(constraints.get("order")):
        names = _listed(chain)
        for before, after in pairwise(names):
            firsts = [i for i, tool in enumerate(tools) if like(tool, [str(before)])]
            lasts = [i for i, tool in enumerate(tools) if like(tool, [str(after)])]
            holds = not lasts or not firsts or firsts[0] < lasts[0]
            found.append((f"{after} was called before {before}", holds))
    for word in ("at_most", "at_least"):
        limits = constraints.get(word) or {}
        if not isinstance(limits, Mapping):
            raise UsageError(f"{word} is a mapping of tools to numbers, not {limits!r:.100}")
        for tool, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise UsageError(f"{word} of {tool} is a whole number, not {limit!r}")
            count = sum(1 for name in tools if like(name, [str(tool)]))
            holds = count <= limit if word == "at_most" else count >= limit
            found.append((f"{tool} was called {count} times, {word.replace('_', ' ')} {limit} are allowed", holds))
    return found


def _listed(given: object) -> list[object]:
    return list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]


@judge(needs=("steps", "expected.nodes"), values="{0,1}, [0,1]")
def graph_trajectory(*, expected: list[str] | None = None, steps: list[str] | str | None = None) -> Call:
    """Whether the nodes of a graph framework were gone through as expected, one after the other.

    Besides it says `graph_trajectory.share`: the longest common subsequence over the longer path.

    Args:
        expected: The names of the nodes in order; the case's `nodes` when not given.
        steps: The step kinds of the spans that are nodes; `chain`, `task` and `agent` when not given.
    """
    kinds = frozenset(patterns(steps) or ("chain", "task", "agent"))

    def call(subject: Subject) -> dict[str, Score]:
        stated = subject.expect("nodes") if expected is None else expected
        wanted = [Wanted(str(each)) for each in _listed(stated)]
        spans = [span for span in subject.trace.spans if span.step in kinds and span.depth > 0 and not span.same_as]
        path = [Step(span.name, span_id=span.span_id) for span in sorted(spans, key=lambda span: span.start_ns)]
        if not path:
            raise MissingInput("the trace shows no nodes of a graph")
        fit = fits(path, wanted, lambda *_: 1.0)
        longer = max(len(path), len(wanted))
        words = " → ".join(step.tool for step in path)
        return {
            "graph_trajectory": Score(equal(len(path), len(wanted), fit), explanation=words[:2000]),
            "graph_trajectory.share": Score(longest_common(len(path), len(wanted), fit) / longer),
        }

    return call


@judge(needs=("tool calls", "expected.shortest"), values="[0,1]")
def path_optimality(
    *, shortest: int | None = None, only: list[str] | str | None = None, ignore: list[str] | str | None = None
) -> Call:
    """How near the trajectory's length is to the shortest known one that succeeds: shortest / length, at most 1.

    Says nothing of success by itself: read it beside a score that does.

    Args:
        shortest: The shortest length, in tool calls; the case's `shortest` (a number or the steps), else the length of
            its `trajectory` or `expected_actions`, when not given.
        only: Names or patterns of the tools that count; all when not given.
        ignore: Names or patterns of tools that do not count.
    """
    within, left_out = patterns(only), patterns(ignore)

    def call(subject: Subject) -> Score:
        stated: object = subject.expect("shortest", *STATED) if shortest is None else shortest
        if isinstance(stated, int) and not isinstance(stated, bool):
            least = stated
        else:
            least = sum(1 for step in reference_of(stated).steps if counted(step.tool, within, left_out))
        length = sum(1 for step in steps_of(subject) if counted(step.tool, within, left_out))
        if length == 0:
            if least:
                raise NotApplicable("no tool was called")
            return Score(1.0)
        return Score(min(1.0, least / length), explanation=f"{length} tool calls, {least} would do")

    return call
