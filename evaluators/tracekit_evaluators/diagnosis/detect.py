"""All that detectors find in a trace, without a model: verified, merged, with its causes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis import _claims, _failures, _flow, _tools
from tracekit_evaluators.diagnosis.causes import linked
from tracekit_evaluators.diagnosis.finding import Finding, merged, verified
from tracekit_evaluators.diagnosis.material import Material

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

DETECTORS: tuple[Callable[[Material], Iterator[Finding]], ...] = (
    _failures.failed_spans,
    _failures.error_results,
    _tools.tool_definitions,
    _tools.unknown_tools,
    _tools.tool_arguments,
    _tools.ungrounded_arguments,
    _flow.repetition,
    _flow.ping_pong,
    _flow.ignored_tool_error,
    _flow.empty_answer,
    _flow.truncated_answer,
    _flow.filtered_answer,
    _flow.step_limit,
    _flow.empty_retrieval,
    _flow.secret_exposed,
    _claims.claimed_action,
)
_SAYS_MORE = {
    "unknown_tool": ("not_found", "step_failed", "tool_arguments", "service_error"),
    "tool_arguments": ("step_failed", "formatting_error", "ungrounded_argument"),
    "formatting_error": ("step_failed", "tool_arguments"),
}


def detect(trace: Trace) -> list[Finding]:
    """What went wrong in a trace, as far as code can tell, in the order of its spans.

    Args:
        trace: What happened.

    Returns:
        Findings with codes of the taxonomy; empty where nothing was found.

    Example:
        >>> from tracekit_collector.trace import assemble
        >>> row = {"trace_id": "ab" * 16, "span_id": "00" * 8, "name": "fetch", "step": "tool", "start_ns": 1}
        >>> row |= {"status": "error", "status_message": "429 Too Many Requests", "tool_name": "fetch"}
        >>> [(each.code, each.quote) for each in detect(assemble([row]))]
        [('rate_limit', '429 Too Many Requests')]
    """
    material = Material(trace)
    return detected(material)


def detected(material: Material) -> list[Finding]:
    """As `detect`, of a trace that is ready to be searched."""
    raw = [each for detector in DETECTORS for each in detector(material)]
    return linked(_weeded(merged(verified(raw, material), material.order)), material)


def _weeded(findings: list[Finding]) -> list[Finding]:
    """The findings less those that say of a span, in other words, what another one says more exactly."""
    here: dict[str, set[str]] = {}
    for each in findings:
        here.setdefault(each.span_id, set()).add(each.code)
    return [
        each
        for each in findings
        if not any(each.code in _SAYS_MORE.get(code, ()) for code in here[each.span_id] if code != each.code)
    ]
