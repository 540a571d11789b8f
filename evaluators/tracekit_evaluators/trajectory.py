"""Trajectories: what an agent did, step by step, and how that compares with what it should have done.

A trajectory is the list of its tool calls. A reference is a list of steps (their order counts where a judge says so),
a partial order (`{"steps": [...], "order": [["find", "book"], ...]}`, or steps that name those they come `after`), or
constraints (`{"require": [...], "forbid": [...], "order": [...], "at_most": {...}}`). All comparisons are pure
functions of two lengths and of how well step i does for expected step j.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.score import MissingInput
from tracekit_evaluators.subject import Subject, canonical

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

Fit = Callable[[int, int], float]
_ALIKE = 1 - 1e-9
_SHOWN_ERROR = ("error:", "traceback (most recent call last)", "exception:")


@dataclass(frozen=True)
class Step:
    """A tool call as one step of a trajectory.

    Args:
        tool: The tool.
        arguments: What it was called with, decoded.
        agent: Which agent called it; `None` where the trace does not say.
        status: `ok` or `error`; `None` where nothing shows how it ended.
        span_id: Its span; `None` where only messages show it.
        result: What it gave back.
        start_ns: When it began.
        duration_ns: How long it took.
        message: What its error says.
    """

    tool: str
    arguments: object = None
    agent: str | None = None
    status: str | None = None
    span_id: str | None = None
    result: object = None
    start_ns: int = 0
    duration_ns: int | None = None
    message: str | None = None

    @cached_property
    def key(self) -> tuple[str, str]:
        """The tool and its arguments in canonical form: equal for equal calls."""
        return self.tool, canonical(self.arguments)

    @cached_property
    def failed(self) -> bool:
        """Whether it ended in an error, or gave back one."""
        return self.status == "error" or is_error(self.result)


@dataclass(frozen=True)
class Wanted:
    """A step that is expected.

    Args:
        tool: The tool.
        arguments: What it should be called with; `None` where that does not matter.
        agent: Who should call it; `None` where that does not matter.
        label: What an order calls it.
    """

    tool: str
    arguments: object = None
    agent: str | None = None
    label: str = ""


@dataclass(frozen=True)
class Reference:
    """What is expected of a trajectory.

    Args:
        steps: The expected steps.
        order: Pairs of places in `steps`, of which the first must come before the second.
        total: Whether the steps are to come in the order in which they are listed.
    """

    steps: tuple[Wanted, ...]
    order: tuple[tuple[int, int], ...] = ()
    total: bool = True


@dataclass
class _Last:
    """The steps of the trace that was asked for last: many judges ask for the same."""

    found: tuple[Trace, tuple[Step, ...]] | None = field(default=None)


_LAST = _Last()


def steps_of(subject: Subject) -> Sequence[Step]:
    """The tool calls of a subject that have a name, in order.

    Args:
        subject: What is judged.
    """
    if subject.span is None and not subject.session:
        last = _LAST.found
        if last is not None and last[0] is subject.trace:
            return last[1]
        steps = _steps(subject.trace)
        _LAST.found = (subject.trace, steps)
        return steps
    if subject.session:
        return [step for trace in subject.session for step in _steps(trace)]
    own = None if subject.span is None else subject.span.span_id
    return [step for step in _steps(subject.trace) if step.span_id == own]


def agents_of(trace: Trace) -> dict[str, str]:
    """The name of the agent that each span belongs to: its own, else that of the span above.

    Args:
        trace: The trace.
    """
    found: dict[str, str] = {}
    for span in trace.spans:  # parents stand before their children
        name = span.agent_name or (span.name if span.step == "agent" else None)
        above = found.get(span.parent_span_id or "")
        if name or above:
            found[span.span_id] = name or above or ""
    return found


def is_error(result: object) -> bool:
    """Whether what a tool gave back says that it failed.

    Example:
        >>> is_error({"error": "no such user"}), is_error("Error: no seats"), is_error({"error": None})
        (True, True, False)
    """
    if isinstance(result, str):
        begin = result[:40].lstrip().lower()
        if begin.startswith(_SHOWN_ERROR):
            return True
        if begin[:1] != "{" or not any(word in result for word in ('"error"', '"isError"', '"is_error"')):
            return False
        from tracekit_collector.messages import decoded  # noqa: PLC0415 - where JSON says so only

        result = decoded(result)
    if isinstance(result, Mapping):
        return bool(result.get("error")) or result.get("isError") is True or result.get("is_error") is True
    return False


def reference_of(stated: object) -> Reference:
    """A reference from what a case states.

    Args:
        stated: Steps, each a tool's name or an object with `tool` or `name`, and maybe `arguments` (or `args`),
            `agent`, `id` and `after`; or an object with `steps` and `order`.

    Raises:
        MissingInput: It is none of these.
        UsageError: Its order names a step that is not there, or goes round in a circle.

    Example:
        >>> reference_of({"steps": ["find", "book"], "order": [["find", "book"]]}).order
        ((0, 1),)
    """
    listed, order = stated, None
    if isinstance(stated, Mapping) and "steps" in stated:
        listed, order = stated["steps"], stated.get("order", [])
    items = listed if isinstance(listed, (list, tuple)) else [listed]
    steps = tuple(_wanted(item) for item in items)
    edges: list[tuple[str, str]] = []
    for step, item in zip(steps, items, strict=True):
        after = item.get("after") if isinstance(item, Mapping) else None
        if after is not None:
            edges += [(str(each), step.label) for each in (after if isinstance(after, list) else [after])]
            order = order or []
    if order is None:
        return Reference(steps, tuple((place, place + 1) for place in range(len(steps) - 1)))
    edges += _pairs(order)
    places = {step.label: place for place, step in reversed(list(enumerate(steps)))}
    unknown = sorted({label for pair in edges for label in pair if label not in places})
    if unknown:
        raise UsageError(f"the expected order names {', '.join(unknown)}, which is no expected step")
    found = tuple((places[before], places[after]) for before, after in edges)
    _sorted_places(len(steps), found)
    return Reference(steps, found, total=False)


def _pairs(order: object) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for chain in order if isinstance(order, (list, tuple)) else [order]:
        if not isinstance(chain, (list, tuple)) or len(chain) < 2:
            raise UsageError(f"an expected order is a list of lists of steps, not {chain!r:.100}")
        pairs += pairwise(map(str, chain))
    return pairs


def fits(steps: Sequence[Step], wanted: Sequence[Wanted], likeness: Callable[[str, object, object], float]) -> Fit:
    """How well step i does for expected step j: 0 for another tool or agent, else how alike their arguments are.

    Args:
        steps: What was done.
        wanted: What is expected.
        likeness: Compares arguments (see `matching.Matcher`).
    """
    memo: dict[tuple[int, int], float] = {}

    def fit(i: int, j: int) -> float:
        found = memo.get((i, j))
        if found is None:
            step, want = steps[i], wanted[j]
            other = step.tool != want.tool or (want.agent is not None and step.agent != want.agent)
            found = memo[i, j] = 0.0 if other else likeness(step.tool, step.arguments, want.arguments)
        return found

    return fit


def equal(n: int, m: int, fit: Fit) -> bool:
    """Whether the two are the same, step by step."""
    return n == m and all(fit(place, place) >= _ALIKE for place in range(n))


def longest_common(n: int, m: int, fit: Fit) -> int:
    """How many expected steps were done in their order, at most (the longest common subsequence)."""
    row = [0] * (m + 1)
    for i in range(n):
        before = 0
        for j in range(m):
            above = row[j + 1]
            row[j + 1] = before + 1 if fit(i, j) >= _ALIKE else max(above, row[j])
            before = above
    return row[m]


def most_pairs(n: int, m: int, fit: Fit) -> dict[int, int]:
    """The largest matching of expected steps with steps that do for them, as the step for each (Kuhn 1955)."""
    by_step: dict[int, int] = {}

    def place(j: int, tried: set[int]) -> bool:
        for i in range(n):
            if i in tried or fit(i, j) < _ALIKE:
                continue
            tried.add(i)
            if i not in by_step or place(by_step[i], tried):
                by_step[i] = j
                return True
        return False

    for j in range(m):
        place(j, set())
    return {j: i for i, j in by_step.items()}


def best_pairs(n: int, m: int, fit: Fit) -> dict[int, int]:
    """The pairing of steps with expected steps whose fits add up to most; the step for each expected one.

    Solved exactly (the Hungarian method, by scipy); of equally good pairings, the one that keeps places.
    """
    if n == 0 or m == 0:
        return {}
    if n == m and equal(n, m, fit):
        return {place: place for place in range(n)}
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - heavy, and needed here only

    near = 1e-7 / (n + m)
    gains = [[fit(i, j) - near * abs(i - j) for j in range(m)] for i in range(n)]
    rows, columns = linear_sum_assignment(gains, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {j: i for i, j in pairs if fit(i, j) > 0}


def weight(pairs: Mapping[int, int], fit: Fit) -> float:
    """What the fits of a pairing add up to."""
    return math.fsum(fit(i, j) for j, i in pairs.items())


def edit_distance(n: int, m: int, fit: Fit) -> float:
    """The least cost of turning one into the other: 1 for a step too many or too few, 1 − fit for another one."""
    row = [float(j) for j in range(m + 1)]
    for i in range(n):
        before, row[0] = row[0], i + 1.0
        for j in range(m):
            above = row[j + 1]
            row[j + 1] = min(before + 1 - fit(i, j), above + 1, row[j] + 1)
            before = above
    return row[m]


def in_partial_order(n: int, reference: Reference, fit: Fit) -> tuple[float, float]:
    """How far a partial order was kept: the share of its pairs that were respected, and the recall of its steps.

    Of pairs, those count whose steps were both done; without any, none was broken. Where several steps do for an
    expected one, the better is kept of two ways to choose: each as early as its order allows, and the largest matching.
    """
    m = len(reference.steps)
    if m == 0:
        return 1.0, 1.0
    chosen = [_earliest(n, reference, fit), most_pairs(n, m, fit)]
    chosen = [pairs for pairs in chosen if len(pairs) == max(map(len, chosen))]
    return max(((_kept(pairs, reference.order), len(pairs) / m) for pairs in chosen), key=lambda pair: pair[0])


def _kept(pairs: Mapping[int, int], order: Sequence[tuple[int, int]]) -> float:
    asked = [(a, b) for a, b in order if a in pairs and b in pairs]
    return sum(1 for a, b in asked if pairs[a] < pairs[b]) / len(asked) if asked else 1.0


def _earliest(n: int, reference: Reference, fit: Fit) -> dict[int, int]:
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for j in _sorted_places(len(reference.steps), reference.order):
        least = max((pairs[a] for a, b in reference.order if b == j and a in pairs), default=-1)
        free = [i for i in range(n) if i not in taken and fit(i, j) >= _ALIKE]
        if free:
            pairs[j] = next((i for i in free if i > least), free[0])
            taken.add(pairs[j])
    return pairs


def _sorted_places(m: int, order: Sequence[tuple[int, int]]) -> list[int]:
    """Places of expected steps so that none stands before one that it comes after."""
    waiting = {j: {a for a, b in order if b == j} for j in range(m)}
    found: list[int] = []
    while waiting:
        ready = next((j for j, before in waiting.items() if not before - set(found)), None)
        if ready is None:
            raise UsageError("the expected order goes round in a circle")
        found.append(ready)
        del waiting[ready]
    return found


def counted(name: str, only: Sequence[str], ignore: Sequence[str]) -> bool:
    """Whether a tool counts: it is like one of `only` (all when empty) and like none of `ignore`.

    Example:
        >>> counted("get_user", [], ["get_*"]), counted("book", ["book"], [])
        (False, True)
    """
    return (not only or like(name, only)) and not like(name, ignore)


def like(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of these or like one of these patterns (`get_*`)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def patterns(given: Sequence[str] | str | None) -> list[str]:
    """Names or patterns as a list, from one, several or none."""
    return [given] if isinstance(given, str) else list(given or ())


def _steps(trace: Trace) -> tuple[Step, ...]:
    agents = agents_of(trace)
    return tuple(
        Step(
            tool=call.name,
            arguments=call.arguments,
            agent=agents.get(call.span_id or "", trace.agent_name),
            status=call.status,
            span_id=call.span_id,
            result=call.result,
            start_ns=call.start_ns,
            duration_ns=call.duration_ns,
            message=(call.error or {}).get("message"),
        )
        for call in trace.tool_calls
        if call.name
    )


def _wanted(item: object) -> Wanted:
    if isinstance(item, str):
        return Wanted(item, label=item)
    if isinstance(item, Mapping):
        tool = item.get("tool", item.get("name"))
        if isinstance(tool, str):
            given = (item[key] for key in ("arguments", "args", "kwargs") if item.get(key) is not None)
            agent = item.get("agent")
            label = str(item.get("id", tool))
            return Wanted(tool, next(given, None), agent if isinstance(agent, str) else None, label)
    raise MissingInput(f"an expected step is a tool's name or an object with a name, not {item!r:.200}")
