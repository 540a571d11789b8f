"""What stands in the tree of spans: which there are, how many, how deep, how long they took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tracekit.attributes import STEP_KINDS
from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of, limit_of, limited
from tracekit_evaluators.matching import same
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject
from tracekit_evaluators.trajectory import agents_of

if TYPE_CHECKING:
    from tracekit_collector.trace import Span

_STATUSES = ("ok", "error", "unset")


@judge(values="{0,1}")
def span_query(
    *,
    name: str | None = None,
    step: str | None = None,
    status: str | None = None,
    attributes: Mapping[str, object] | None = None,
    under: str | None = None,
    min_seconds: float | None = None,
    max_seconds: float | None = None,
    least: int = 1,
    most: int | None = None,
) -> Call:
    """Whether the trace has as many spans of some kind as it should: at least one, when nothing else is said.

    Args:
        name: Their name, or a pattern (`search*`).
        step: Their step kind.
        status: `ok`, `error` or `unset`; a failed span is an `error` however it says so.
        attributes: Attributes that they have, with the values; a text may be a pattern, `null` stands for any value.
        under: The name or pattern of a span somewhere above them.
        min_seconds: They took at least so long.
        max_seconds: They took at most so long.
        least: The fewest that pass, from 0.
        most: The most that pass; no limit when not given.

    Raises:
        UsageError: The step kind, status or a number is none.

    Example:
        >>> span_query(step="tool", name="delete_*", least=0, most=0).name
        'span_query'
    """
    if step is not None and step not in STEP_KINDS:
        raise UsageError(f"span_query has no step kind {step!r}; one of {', '.join(STEP_KINDS)}")
    if status is not None and status not in _STATUSES:
        raise UsageError(f"span_query has no status {status!r}; one of {', '.join(_STATUSES)}")
    fewest = count_of("span_query", "least", least, at_least=0)
    limit = limit_of("span_query", most)
    wanted = dict(attributes or {})

    def holds(span: Span, above: Mapping[str, Span]) -> bool:
        if name is not None and not fnmatchcase(span.name, name):
            return False
        if step is not None and span.step != step:
            return False
        if status is not None and ("error" if span.failed else span.status) != status:
            return False
        if not _lasts(span, min_seconds, max_seconds):
            return False
        if under is not None and not _is_under(span, under, above):
            return False
        return not wanted or _has(span.attributes, wanted)

    def call(subject: Subject) -> Score:
        spans = [span for span in subject.trace.spans if span.same_as is None]
        above = {span.span_id: span for span in subject.trace.spans} if under is not None else {}
        found = [span for span in spans if holds(span, above)]
        fits = len(found) >= fewest and (limit is None or len(found) <= limit)
        return Score(
            fits,
            explanation=f"{len(found)} such spans",
            evidence=[Evidence(span.span_id, span.name) for span in found[:10]],
            metadata={"count": len(found)},
        )

    return call


def _lasts(span: Span, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    if span.duration_ns is None:
        return False
    seconds = span.duration_ns / 1e9
    return (least is None or seconds >= least) and (most is None or seconds <= most)


def _is_under(span: Span, name: str, above: Mapping[str, Span]) -> bool:
    seen: set[str] = set()
    parent = above.get(span.parent_span_id or "")
    while parent is not None and parent.span_id not in seen:
        if fnmatchcase(parent.name, name):
            return True
        seen.add(parent.span_id)
        parent = above.get(parent.parent_span_id or "")
    return False


def _has(attributes: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    for key, value in wanted.items():
        if key not in attributes:
            return False
        found = attributes[key]
        if value is None or same(found, value):
            continue
        if not (isinstance(value, str) and isinstance(found, str) and fnmatchcase(found, value)):
            return False
    return True


@judge(direction="minimize", values="count ≥ 0")
def error_spans(*, step: str | None = None, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes
    """Spans that failed.

    Args:
        step: The step kind to count; all when not given.
        max: The most that passes; without it nothing passes or fails.

    Raises:
        UsageError: There is no such step kind, or max is no number.
    """
    if step is not None and step not in STEP_KINDS:
        raise UsageError(f"error_spans has no step kind {step!r}; one of {', '.join(STEP_KINDS)}")
    limit = limit_of("error_spans", max)

    def call(subject: Subject) -> Score:
        spans = [span for span in subject.trace.spans if span.failed and span.same_as is None]
        found = [span for span in spans if step is None or span.step == step]
        score = limited(len(found), limit, "failed spans")
        told = [Evidence(span.span_id, (span.error_message or span.error_type or span.name)[:500]) for span in found]
        return Score(score.value, passed=score.passed, explanation=score.explanation, evidence=told[:10])

    return call


@judge(direction="minimize", needs=("duration",), values="seconds ≥ 0")
def span_duration(
    *,
    step: str | None = None,
    name: str | None = None,
    percentile: float = 95,
    max: float | None = None,  # noqa: A002 - the word that one writes
) -> Call:
    """Seconds that spans of a kind took, at a percentile of those in the trace (linear between two).

    Args:
        step: Their step kind; all but plain spans when neither it nor a name is given.
        name: Their name, or a pattern.
        percentile: Which one, in [0, 100].
        max: The most that passes, in seconds; without it nothing passes or fails.

    Raises:
        UsageError: The percentile, step kind or max is none.

    Example:
        >>> span_duration(step="llm", percentile=50).parameters["percentile"]
        50
    """
    if not 0 <= percentile <= 100:
        raise UsageError(f"span_duration needs a percentile from 0 to 100, not {percentile!r}")
    if step is not None and step not in STEP_KINDS:
        raise UsageError(f"span_duration has no step kind {step!r}; one of {', '.join(STEP_KINDS)}")
    limit = limit_of("span_duration", max)

    def call(subject: Subject) -> Score:
        plain = step is None and name is None
        spans = [span for span in subject.trace.spans if span.same_as is None and not (plain and span.step == "span")]
        spans = [span for span in spans if step is None or span.step == step]
        spans = [span for span in spans if name is None or fnmatchcase(span.name, name)]
        if not spans:
            raise NotApplicable("the trace has no such span")
        known = [span for span in spans if span.duration_ns is not None]
        if not known:
            raise MissingInput("such spans have no duration")
        value = at_percentile([(span.duration_ns or 0) / 1e9 for span in known], percentile)
        score = limited(value, limit, "s")
        slowest = sorted(known, key=lambda span: -(span.duration_ns or 0))[:3]
        told = [Evidence(span.span_id, span.name) for span in slowest]
        return Score(score.value, passed=score.passed, explanation=score.explanation, evidence=told)

    return call


def at_percentile(values: Sequence[float], percentile: float) -> float:
    """A percentile of numbers, linear between the two next to it.

    Example:
        >>> at_percentile([1.0, 2.0, 4.0], 75)
        3.0
    """
    ranked = sorted(values)
    place = (len(ranked) - 1) * percentile / 100
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


@judge(direction="minimize", values="count ≥ 0")
def tool_calls(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Tool calls that the agent made.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("tool_calls", max)
    return lambda subject: limited(len(subject.tool_calls), limit, "tool calls")


@judge(direction="minimize", values="count ≥ 0")
def model_calls(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Model calls that the agent made.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("model_calls", max)
    return lambda subject: limited(len(subject.model_calls), limit, "model calls")


@judge(direction="minimize", values="count ≥ 1")
def depth(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Levels of the tree of spans: 1 for a lone one.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("depth", max)

    def call(subject: Subject) -> Score:
        deepest = 0
        for span in subject.trace.spans:
            if span.same_as is None and span.depth >= deepest:
                deepest = span.depth + 1
        return limited(deepest, limit, "levels")

    return call


@judge(direction="minimize", values="count ≥ 0")
def agents(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Different agents that had a part in the trace, by name.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("agents", max)

    def call(subject: Subject) -> Score:
        names = sorted(set(agents_of(subject.trace).values()))
        score = limited(len(names), limit, "agents")
        return Score(score.value, passed=score.passed, explanation=", ".join(names) or None)

    return call
