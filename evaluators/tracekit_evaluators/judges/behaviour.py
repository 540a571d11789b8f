"""How the agent got on: after errors, between agents, towards milestones, and whether it tells the truth about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.matching import Matcher
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.trajectory import Step, agents_of, like, patterns, steps_of

_WRITES = re.compile(
    r"(?:^|[_.\-\s/]|(?<=[a-z]))(?i:add|apply|approve|assign|book|buy|cancel|change|charge|close|commit|confirm|create|"
    r"delete|deploy|drop|edit|exchange|execute|insert|issue|merge|modify|move|open|order|patch|pay|place|post|publish|"
    r"purchase|push|put|refund|register|remove|rename|replace|reset|return|run|save|schedule|send|set|submit|transfer|"
    r"update|upload|write)(?![a-z])"
)

_READS = re.compile(
    r"(?i)(?:calculate|can|check|count|describe|estimate|fetch|find|get|grep|has|is|list|load|lookup|look|peek|preview|"
    r"query|read|retrieve|search|select|show|think|validate|verify|view)(?![a-z])"
)
_SPLIT = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@judge(needs=("tool calls",), values="[0,1]")
def error_recovery(*, same_as: Mapping[str, list[str]] | None = None) -> Call:
    """Of the tool calls that failed, the share after which the same intent succeeded.

    The same intent is a later call of the same tool, or of one that is said to do the same. Besides it says
    `error_recovery.steps`: how many calls that took, on average. Not applicable where no call failed.

    Args:
        same_as: For a tool, others (or patterns) that serve the same intent.
    """
    others = {tool: patterns(given) for tool, given in (same_as or {}).items()}

    def call(subject: Subject) -> dict[str, Score]:
        steps = steps_of(subject)
        failed = [place for place, step in enumerate(steps) if step.failed]
        if not failed:
            raise NotApplicable("no tool call failed" if steps else "no tool was called")
        took: list[int] = []
        left: list[Step] = []
        for place in failed:
            wanted = [steps[place].tool, *others.get(steps[place].tool, ())]
            later = range(place + 1, len(steps))
            found = next((i for i in later if not steps[i].failed and like(steps[i].tool, wanted)), None)
            if found is None:
                left.append(steps[place])
            else:
                took.append(found - place)
        none = unscored(NotApplicable("no failed call was made good"))
        return {
            "error_recovery": Score(
                len(took) / len(failed),
                passed=not left,
                explanation=f"{len(took)} of {len(failed)} failed calls were made good",
                evidence=[Evidence(step.span_id, (step.message or as_text(step.result))[:500]) for step in left[:10]],
            ),
            "error_recovery.steps": Score(sum(took) / len(took), direction="minimize") if took else none,
        }

    return call


@judge(direction="minimize", needs=("tool calls",), values="[0,1]")
def redundant_calls(*, writes: list[str] | str | None = None, reads: list[str] | str | None = None) -> Call:
    """Share of the tool calls that repeat a successful one, with nothing changed in between.

    The same tool with the same arguments counts as a repeat, unless a call that changes something came between the two,
    or the earlier one failed. Which calls change something is told by the tools' names (`create_…`, `send…`, …).

    Args:
        writes: Names or patterns of tools that change something, besides those whose names say so.
        reads: Names or patterns of tools that change nothing, whatever their names say.
    """
    writing, reading = patterns(writes), patterns(reads)

    def call(subject: Subject) -> Score:
        steps = steps_of(subject)
        if not steps:
            raise NotApplicable("no tool was called")
        done: set[tuple[str, str]] = set()
        found: list[Step] = []
        for step in steps:
            if step.key in done:
                found.append(step)
            elif changes(step.tool, writing, reading) and not step.failed:
                done.clear()
            if not step.failed:
                done.add(step.key)
        names = ", ".join(dict.fromkeys(step.tool for step in found))
        return Score(
            len(found) / len(steps),
            explanation=f"{len(found)} of {len(steps)} calls: {names}" if found else None,
            evidence=[Evidence(step.span_id, step.tool) for step in found[:10]],
        )

    return call


def changes(tool: str, writing: Sequence[str] = (), reading: Sequence[str] = ()) -> bool:
    """Whether a tool changes something, by what is said of it, else by its name.

    Example:
        >>> changes("get_order"), changes("cancel_order"), changes("sendEmail"), changes("settings")
        (False, True, True, False)
    """
    if like(tool, reading):
        return False
    name = _SPLIT.sub("_", tool)
    return like(tool, writing) or (_READS.match(name) is None and _WRITES.search(name) is not None)


@judge(direction="minimize", needs=("agents",), values="[0,1]")
def ping_pong(subject: Subject) -> Score:
    """Share of the handoffs between agents that go straight back, no tool having answered since the one before.

    A handoff is where the model and tool calls of one agent follow those of another. Not applicable where there is
    none.
    """
    owners = agents_of(subject.trace)
    work: list[tuple[int, str, str, str]] = []
    for span in subject.trace.spans:
        owner = owners.get(span.span_id)
        if owner is not None and span.same_as is None and span.step in ("llm", "tool"):
            result = span.step if not span.failed else "failed"
            work.append((span.start_ns, span.span_id, owner, result))
    work.sort(key=lambda each: each[0])
    handoffs: list[tuple[str, str, bool, str]] = []
    now, fresh = "", False
    for _, span_id, owner, result in work:
        if now and owner != now:
            handoffs.append((now, owner, fresh, span_id))
            fresh = False
        now = owner
        fresh = fresh or result == "tool"
    if not handoffs:
        raise NotApplicable("no agent hands over to another")
    back = [
        after
        for before, after in pairwise(handoffs)
        if before[0] == after[1] and before[1] == after[0] and not after[2]
    ]
    told = ", ".join(f"{giver} → {taker}" for giver, taker, _, _ in back[:5])
    return Score(
        len(back) / len(handoffs),
        explanation=f"{len(back)} of {len(handoffs)} handoffs" + (f": {told}" if told else ""),
        evidence=[Evidence(span_id, taker) for _, taker, _, span_id in back[:10]],
    )


@judge(needs=("expected.milestones",), values="[0,1]")
def milestone_progress(*, milestones: list[Mapping[str, object]] | None = None, match: object = None) -> Call:
    """Weighted share of the milestones that were reached; passes when all were.

    Args:
        milestones: Each with a `name`, a `weight` (1 when not given) and what must be there: a successful call of
            `tool` (a name or pattern), with `arguments`, whose `result` a regular expression finds; or an `output` that
            one finds; the case's `milestones` when not given. A text is a tool.
        match: How arguments are compared, as `matching.Matcher` takes it; what is stated must be within what was said
            when not given.
    """
    likeness = Matcher("superset" if match is None else match)

    def call(subject: Subject) -> Score:
        stated = subject.expect("milestones") if milestones is None else milestones
        items = [_milestone(each) for each in (stated if isinstance(stated, (list, tuple)) else [stated])]
        if not items:
            raise NotApplicable("no milestone is stated")
        steps = steps_of(subject)
        total = met = 0.0
        reached: dict[str, int | None] = {}
        evidence: list[Evidence] = []
        for place, item in enumerate(items, start=1):
            weight = item.get("weight", 1)
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
                raise UsageError(f"a milestone's weight is a number of at least 0, not {weight!r}")
            total += weight
            first = _first_met(item, steps, subject, likeness)
            name = str(item.get("name") or item.get("tool") or f"milestone {place}")
            reached[name] = first
            if first is not None:
                met += weight
                evidence += [Evidence(steps[first - 1].span_id, steps[first - 1].tool)] if first <= len(steps) else []
        missing = [name for name, first in reached.items() if first is None]
        return Score(
            met / total if total else 1.0,
            passed=not missing,
            explanation=f"not reached: {', '.join(missing)}" if missing else None,
            evidence=evidence[:10],
            metadata={"first_met": reached},
        )

    return call


def _milestone(item: object) -> Mapping[str, object]:
    if isinstance(item, str):
        return {"tool": item}
    if isinstance(item, Mapping) and (item.get("tool") or item.get("output")):
        return item
    raise MissingInput(f"a milestone is a tool's name or an object with a tool or an output, not {item!r:.200}")


def _first_met(item: Mapping[str, object], steps: Sequence[Step], subject: Subject, likeness: Matcher) -> int | None:
    """The number of the first call that meets a milestone; one more than there are calls where the output does."""
    try:
        if item.get("tool"):
            for place, step in enumerate(steps, start=1):
                if step.failed or not like(step.tool, [str(item["tool"])]):
                    continue
                if likeness(step.tool, step.arguments, item.get("arguments")) < 1:
                    continue
                if item.get("result") is None or re.search(str(item["result"]), as_text(step.result)):
                    return place
            return None
        return len(steps) + 1 if re.search(str(item["output"]), subject.output or "") else None
    except re.error as error:
        raise UsageError(f"a milestone's pattern is no regular expression: {error}") from None
