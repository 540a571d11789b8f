"""What an agent spent for nothing: caches that were missed, retries, errors, growing contexts, tokens nobody used."""

from __future__ import annotations

import re
from builtins import max as greatest
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text, canonical
from tracekit_evaluators.trajectory import Step, steps_of

if TYPE_CHECKING:
    from tracekit_collector.trace import ModelCall, Span

_LIMITED = re.compile(r"(?i)\b429\b|rate[\s_-]?limit|too many requests|quota exceeded|resource[\s_]?exhausted|throttl")
_STATUS_CODES = ("http.response.status_code", "http.status_code", "error.code")


@judge(needs=("usage",), values="[0,1]")
def cache_hit_rate(subject: Subject) -> Score:
    """Share of the input tokens that the providers' caches held: cached / input."""
    calls = [each for each in subject.model_calls if each.cached_tokens is not None and each.input_tokens]
    if not calls:
        raise MissingInput("no model call says how many of its input tokens were cached")
    cached = sum(each.cached_tokens or 0 for each in calls)
    given = sum(each.input_tokens or 0 for each in calls)
    return Score(min(1.0, cached / given), explanation=f"{cached:,} of {given:,} input tokens")


@judge(direction="minimize", values="count ≥ 0")
def retries(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Model and tool calls that repeat, with the same input, one that had just failed.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("retries", max)

    def call(subject: Subject) -> Score:
        found = _retried_tools(steps_of(subject)) + _retried_models(subject.model_calls)
        score = limited(len(found), limit, "retries")
        return Score(score.value, passed=score.passed, explanation=score.explanation, evidence=found[:10])

    return call


def _retried_tools(steps: Sequence[Step]) -> list[Evidence]:
    failed: set[tuple[str, str]] = set()
    found: list[Evidence] = []
    for step in steps:
        if step.key in failed:
            found.append(Evidence(step.span_id, step.tool))
        (failed.add if step.failed else failed.discard)(step.key)
    return found


def _retried_models(calls: Sequence[ModelCall]) -> list[Evidence]:
    found: list[Evidence] = []
    for before, after in pairwise(calls):
        if before.status == "error" and before.input_messages == after.input_messages:
            found.append(Evidence(after.span_id, after.model or after.model_requested or "model"))
    return found


@judge(direction="minimize", values="count ≥ 0")
def rate_limit_hits(*, max: int | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Failed steps that say that a rate limit or a quota was hit: HTTP 429 or words to that effect.

    Args:
        max: The most that passes; without it nothing passes or fails.
    """
    limit = limit_of("rate_limit_hits", max)

    def call(subject: Subject) -> Score:
        spans = [span for span in subject.trace.spans if span.failed and span.same_as is None]
        told = {span.span_id: words for span in spans if (words := _limited(span)) is not None}
        # An error goes up through the spans above it: the deepest one counts.
        above = {span.parent_span_id for span in spans if span.span_id in told}
        found = [Evidence(span_id, words[:500]) for span_id, words in told.items() if span_id not in above]
        score = limited(len(found), limit, "times a limit was hit")
        return Score(score.value, passed=score.passed, explanation=score.explanation, evidence=found[:10])

    return call


def _limited(span: Span) -> str | None:
    for told in (span.error_message, span.error_type):
        if told and _LIMITED.search(told):
            return told
    attributes = span.attributes
    return "429" if any(str(attributes.get(key)) == "429" for key in _STATUS_CODES) else None


@judge(direction="minimize", needs=("steps",), values="[0,1]")
def step_error_rate(subject: Subject) -> Score:
    """Share of the model and tool calls that failed; the rate of failed traces is the mean of `error`."""
    outcomes = [(call.status == "error", call.span_id) for call in subject.model_calls]
    outcomes += [(step.failed, step.span_id or "") for step in steps_of(subject) if step.status is not None]
    if not outcomes:
        raise NotApplicable("the trace shows neither model nor tool calls")
    failed = [span_id for bad, span_id in outcomes if bad]
    names = {span.span_id: span.name for span in subject.trace.spans}
    return Score(
        len(failed) / len(outcomes),
        explanation=f"{len(failed)} of {len(outcomes)} calls failed",
        evidence=[Evidence(span_id, names[span_id]) for span_id in failed[:10] if span_id in names],
    )


@judge(direction="minimize", needs=("usage",), values="tokens per call, ratio ≥ 0")
def context_growth(*, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes in a spec
    """Input tokens that each model call has more than the one before, on average: (last − first) / (calls − 1).

    Besides it says `context_growth.ratio`: the largest input over the first one. Not applicable with fewer than two
    calls that say how many input tokens they had.

    Args:
        max: The most that passes, in tokens per call; without it nothing passes or fails.
    """
    limit = limit_of("context_growth", max)

    def call(subject: Subject) -> dict[str, Score]:
        sizes = [each.input_tokens for each in subject.model_calls if each.input_tokens]
        if subject.model_calls and not sizes:
            raise MissingInput("no model call says how many input tokens it had")
        if len(sizes) < 2:
            raise NotApplicable("there are fewer than two model calls")
        return {
            "context_growth": limited((sizes[-1] - sizes[0]) / (len(sizes) - 1), limit, "tokens per call"),
            "context_growth.ratio": Score(greatest(sizes) / sizes[0]),
        }

    return call


@judge(direction="minimize", needs=("usage", "messages"), values="[0,1]")
def wasted_tokens(subject: Subject) -> Score:
    """Share of the tokens that went into model calls whose answer nothing later used.

    An answer is used where a later model call was shown it, a tool that it asked for was called, or the trace's output
    holds it. A failed call's answer is not used. Calls that do not say their tokens or their answer do not count.
    """
    calls = [each for each in subject.model_calls if each.input_tokens is not None or each.output_tokens is not None]
    if not calls:
        raise MissingInput("no model call says how many tokens it used")
    judged = [each for each in calls if each.status == "error" or each.output_messages]
    total = sum(_tokens(each) for each in judged)
    if not total:
        raise MissingInput("no model call shows its answer")
    called = {each.id for each in subject.tool_calls if each.id and each.status is not None}
    names = {(step.tool, step.key[1]) for step in steps_of(subject) if step.status is not None}
    # What was shown to later calls, gathered from the last call backwards.
    shown = subject.trace.output or ""
    wasted: list[ModelCall] = []
    counting = {id(each) for each in judged}
    for each in reversed(subject.model_calls):
        if id(each) in counting and (each.status == "error" or not _used(each, shown, called, names)):
            wasted.append(each)
        shown += "\n" + "\n".join(map(_all_text, each.input_messages))
    spent = sum(map(_tokens, wasted))
    found = [Evidence(each.span_id, each.model or "model") for each in reversed(wasted)]
    return Score(spent / total, explanation=f"{spent:,} of {total:,} tokens", evidence=found[:10])


def _tokens(call: ModelCall) -> int:
    return (call.input_tokens or 0) + (call.output_tokens or 0)


def _parts(message: Mapping[str, object]) -> list[Mapping[str, object]]:
    parts = message.get("parts")
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _used(call: ModelCall, shown: str, called: set[str], names: set[tuple[str, str]]) -> bool:
    for part in (part for message in call.output_messages for part in _parts(message)):
        if part.get("type") == "tool_call":
            key = (str(part.get("name")), canonical(part.get("arguments")))
            if part.get("id") in called or key in names or (part.get("id") and str(part["id"]) in shown):
                return True
        elif part.get("type") == "text" and str(part.get("content") or "").strip() in shown:
            return True
    return False


def _all_text(message: Mapping[str, object]) -> str:
    return "\n".join(f"{part.get('id', '')} {as_text(part.get('content', ''))}" for part in _parts(message))
