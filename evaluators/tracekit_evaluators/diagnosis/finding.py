"""Findings: one thing that went wrong in one span, with the words that show it; verified, merged, put in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.taxonomy import SEVERITIES, Severity, code_of

if TYPE_CHECKING:
    from tracekit_evaluators.diagnosis.material import Material

_QUOTE = 300


@dataclass(frozen=True)
class Finding:
    """One thing that went wrong.

    Args:
        code: What, as the taxonomy names it.
        span_id: The span that it happened in.
        quote: The words that show it, as they stand in the span.
        field: Which text of the span they stand in: `error`, `output`, `tool_arguments`, …
        offset: Where in that text they begin, in characters.
        severity: `low`, `medium` or `high`.
        confidence: How sure the finder is, in [0,1].
        explanation: Why, in a sentence.
        found_by: `code` for a detector, `model` for a model.
        root_cause_of: The keys of findings that came of this one.
    """

    code: str
    span_id: str
    quote: str
    field: str = "output"
    offset: int = 0
    severity: Severity = "medium"
    confidence: float = 1.0
    explanation: str = ""
    found_by: str = "code"
    root_cause_of: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What names the finding within its trace: `code@span_id`."""
        return f"{self.code}@{self.span_id}"

    def to_dict(self) -> dict[str, object]:
        """The finding as plain JSON values."""
        return {**asdict(self), "root_cause_of": list(self.root_cause_of)}


def found(
    code: str,
    material: Material,
    span_id: str,
    place: tuple[str, int, int],
    *,
    explanation: str = "",
    confidence: float = 1.0,
    severity: Severity | None = None,
) -> Finding:
    """A finding of a detector, its quote cut out of the span's text.

    Args:
        code: What.
        material: The trace's texts.
        span_id: Where.
        place: The field, and where in it the words begin and end; at most 300 characters are quoted.
        explanation: Why.
        confidence: How sure.
        severity: The code's own when not given.
    """
    field, begin, end = place
    quote = material.texts(span_id)[field][begin : min(end, begin + _QUOTE)]
    grade = code_of(code).severity if severity is None else severity
    return Finding(code, span_id, quote, field, begin, grade, confidence, explanation)


def verified(findings: Iterable[Finding], material: Material) -> list[Finding]:
    """The findings whose quote stands in their span word for word, each at the place where it does.

    Only an empty answer may be quoted with nothing, and only where nothing stands.
    """
    kept = []
    for each in findings:
        texts = material.texts(each.span_id)
        if not each.quote:
            if each.code == "empty_answer" and not texts.get(each.field, "").strip():
                kept.append(each)
            continue
        if texts.get(each.field, "")[each.offset : each.offset + len(each.quote)] == each.quote:
            kept.append(each)
            continue
        names = [each.field, *texts] if each.field in texts else list(texts)
        place = next(((name, texts[name].find(each.quote)) for name in names if each.quote in texts[name]), None)
        if place is not None:
            kept.append(replace(each, field=place[0], offset=place[1]))
    return kept


def merged(findings: Sequence[Finding], order: Mapping[str, int]) -> list[Finding]:
    """One finding for each code and span, in the order of the spans: a detector's before a model's, the surer first.

    Args:
        findings: From any number of finders.
        order: The place of each span in its trace.
    """
    best: dict[str, Finding] = {}
    for each in findings:
        before = best.get(each.key)
        if before is None or _rank(each) > _rank(before):
            best[each.key] = each
    return sorted(best.values(), key=lambda each: (order.get(each.span_id, len(order)), each.code))


def _rank(finding: Finding) -> tuple[bool, float, int]:
    return (finding.found_by == "code", finding.confidence, SEVERITIES.index(finding.severity))
