"""What came of what: which finding is the cause of which, and the root cause of all.

A finding is a cause of a later one where the later one is of a kind that follows from it, and its span lies in the way
from one to the other: the same tool, the same model, or the answer at the end. The root cause is the finding without a
cause from which most came; of equals the graver one, then the earliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracekit_evaluators.diagnosis.finding import Finding
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.taxonomy import SEVERITIES, code_of

_AT_THE_END = frozenset({"ignored_tool_error", "claimed_action", "empty_answer", "step_limit", "hallucination"})
_AT_THE_END |= {"premature_end", "goal_deviation", "no_verification", "truncated_answer"}
_SAME_STEP = frozenset({"repetition"})
_CAUSED_IN_CALL = frozenset({"tool_arguments", "not_found", "step_failed", "unknown_tool", "permission_denied"})
_CALLED_BADLY = frozenset(
    {"tool_arguments", "ungrounded_argument", "unknown_tool", "formatting_error", "tool_definition"}
)


def linked(findings: Sequence[Finding], material: Material) -> list[Finding]:
    """The findings, each with the keys of those that came of it.

    Args:
        findings: In the order of their spans.
        material: Their trace.
    """
    causes: dict[str, list[str]] = {each.key: [] for each in findings}
    for late in findings:
        earlier = [each for each in findings if each is not late and _precedes(each, late, material)]
        cause = next((each for each in earlier if _causes(each, late, material)), None)
        if cause is not None and cause.key not in _below(late.key, causes):
            causes[cause.key].append(late.key)
    return [replace(each, root_cause_of=tuple(causes[each.key])) for each in findings]


def root_cause(findings: Sequence[Finding]) -> Finding | None:
    """The finding that the others come from; `None` where nothing was found.

    Args:
        findings: Linked, in the order of their spans.
    """
    caused = {key for each in findings for key in each.root_cause_of}
    below = {each.key: list(each.root_cause_of) for each in findings}
    free = [each for each in findings if each.key not in caused] or list(findings)
    return max(
        enumerate(free),
        key=lambda pair: (len(_below(pair[1].key, below)), SEVERITIES.index(pair[1].severity), -pair[0]),
        default=(0, None),
    )[1]


def _precedes(early: Finding, late: Finding, material: Material) -> bool:
    if (early.code in _AT_THE_END) != (late.code in _AT_THE_END):
        return late.code in _AT_THE_END  # whatever span the answer stands in: it was given when all was done
    places = material.order
    first, second = places.get(early.span_id, 0), places.get(late.span_id, 0)
    if first != second:
        return first < second
    return early.code in _CALLED_BADLY and late.code not in _CALLED_BADLY


def _causes(early: Finding, late: Finding, material: Material) -> bool:
    if early.span_id == late.span_id:
        return late.code in _CAUSED_IN_CALL or code_of(late.code).group == "execution"
    if late.code in _AT_THE_END:
        return early.severity != "low" or early.code in ("repetition", "poor_retrieval")
    if late.code in _SAME_STEP or early.code == late.code:
        return _does(early.span_id, material) == _does(late.span_id, material)
    return False


def _does(span_id: str, material: Material) -> tuple[str, str | None]:
    span = material.spans.get(span_id)
    return ("", span_id) if span is None else (span.step, span.tool_name or span.model or span.name)


def _below(key: str, causes: dict[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(causes.get(key, ()))
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting.extend(causes.get(each, ()))
    return seen
