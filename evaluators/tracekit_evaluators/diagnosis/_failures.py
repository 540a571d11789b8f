"""Detectors of steps that failed: by status and exception, or by a tool's result that is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.errors import error_in, meaning
from tracekit_evaluators.diagnosis.finding import Finding, found
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.taxonomy import Severity

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, ToolCall

_STATUS_KEYS = ("http.response.status_code", "http.status_code", "rpc.grpc.status_code")


def failed_spans(material: Material) -> Iterator[Finding]:
    """Spans that say that they failed, each error where it began and not where it passed through."""
    for span in material.trace.spans:
        if not span.failed or span.same_as is not None or not _began_here(span, material):
            continue
        place, kind = _told(span, material)
        if place is None:
            continue
        text = material.texts(span.span_id)[place]
        sense = meaning(text, kind)
        words = (place, sense.begin, sense.end) if place != "error_type" else (place, 0, len(text))
        explanation = f"{span.name} failed" + (f" with {kind}" if kind else "")
        yield found(
            sense.code,
            material,
            span.span_id,
            words,
            explanation=explanation,
            confidence=sense.sure,
            severity=_mended(span, material),
        )


def error_results(material: Material) -> Iterator[Finding]:
    """Tool calls whose result is an error though their span does not say so."""
    for call in material.trace.tool_calls:
        place = failed_result(call, material)
        if place is None:
            continue
        span_id, field, begin, end, kind = place
        text = material.texts(span_id)[field]
        sense = meaning(text[begin:end], kind)
        words = (field, begin + sense.begin, begin + sense.end)
        severity: Severity | None = "low" if _later_success(call, material) else None
        yield found(
            sense.code,
            material,
            span_id,
            words,
            explanation=f"{call.name or 'a tool'} returned an error as its result",
            confidence=min(sense.sure, 0.9),
            severity=severity,
        )


def failed_result(call: ToolCall, material: Material) -> tuple[str, str, int, int, str | None] | None:
    """Where a call that counts as done returned an error: span, field, begin, end, type; `None` where it did not."""
    span = None if call.span_id is None else material.spans.get(call.span_id)
    if call.status != "ok" or (span is not None and span.failed):
        return None
    place = material.result_place(call)
    if place is None:
        return None
    span_id, field, text = place
    own = text if field != "input_messages" else str(call.result)
    words = error_in(own)
    if words is None:
        return None
    shift = text.find(own) if field == "input_messages" else 0
    return (span_id, field, shift + words[0], shift + words[1], words[2]) if shift >= 0 else None


def went_well(call: ToolCall, material: Material) -> bool:
    """Whether a call succeeded: no error in its status and none in its result."""
    return call.status == "ok" and failed_result(call, material) is None


def _began_here(span: Span, material: Material) -> bool:
    """Whether no span below failed by the same error."""
    own = span.error_message or ""
    waiting = list(material.children.get(span.span_id, ()))
    seen = {span.span_id}
    while waiting:
        child = waiting.pop()
        if child.span_id in seen:
            continue
        seen.add(child.span_id)
        waiting.extend(material.children.get(child.span_id, ()))
        if child.failed:
            theirs = child.error_message or ""
            same_type = child.error_type == span.error_type
            if not own or (not theirs and same_type) or (theirs and (theirs in own or own in theirs)):
                return False
    return True


def _told(span: Span, material: Material) -> tuple[str | None, str | None]:
    """The field that says most of the error, and the error's type."""
    texts = material.texts(span.span_id)
    kind = span.error_type
    if kind is None:
        attributes = span.attributes if "status_code" in str(span.row.get("attributes")) else {}
        kind = next((str(attributes[key]) for key in _STATUS_KEYS if attributes.get(key)), None)
    for name in ("error", "status_message", "tool_result", "output"):
        if texts.get(name, "").strip():
            return name, kind
    return ("error_type" if "error_type" in texts else None), kind


def _mended(span: Span, material: Material) -> Severity | None:
    """`low` for the failure of a call that was made good by a later one."""
    trace = material.trace
    if span.step == "tool":
        own = next((call for call in trace.tool_calls if call.span_id == span.span_id), None)
        return "low" if own is not None and _later_success(own, material) else None
    if span.step == "llm":
        later = [call for call in trace.model_calls if call.start_ns > span.start_ns and call.status == "ok"]
        return "low" if later else None
    return None


def _later_success(call: ToolCall, material: Material) -> bool:
    return any(
        other.name == call.name and other.start_ns > call.start_ns and went_well(other, material)
        for other in material.trace.tool_calls
    )
