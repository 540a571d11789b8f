"""The texts of a trace's spans, and how its steps hang together: what is read, and what quotes stand in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tracekit_collector import messages
from tracekit_evaluators.score import clean
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, ToolCall, Trace

FIELDS = ("error", "error_type", "status_message", "tool_arguments", "tool_result", "output", "input", "documents")


class Material:
    """A trace, ready to be searched.

    Args:
        trace: What is diagnosed.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.spans: dict[str, Span] = {span.span_id: span for span in trace.spans}
        self.order: dict[str, int] = {span.span_id: place for place, span in enumerate(_in_time(trace.spans))}
        self._texts: dict[str, dict[str, str]] = {}

    def texts(self, span_id: str) -> Mapping[str, str]:
        """The texts of a span by field; only those that it has."""
        if span_id not in self._texts:
            span = self.spans.get(span_id)
            self._texts[span_id] = {} if span is None else dict(_texts(span))
        return self._texts[span_id]

    @cached_property
    def root(self) -> Span:
        """The span that speaks for the trace."""
        tops = [span for span in self.trace.spans if span.depth == 0]
        whole = [span for span in tops if not span.parent_span_id] or tops or list(self.trace.spans)
        return min(whole, key=lambda span: (span.start_ns, -(span.duration_ns or 0), span.span_id))

    @cached_property
    def last_model_span(self) -> str | None:
        """The span of the model call that answered last."""
        return self.trace.model_calls[-1].span_id if self.trace.model_calls else None

    @cached_property
    def offered(self) -> dict[str, dict[str, Any]]:
        """The definitions of tools that any span of the trace shows, by name."""
        return {
            each["name"]: each
            for span in self.trace.spans
            for each in span.offered
            if isinstance(each.get("name"), str)
        }

    @cached_property
    def children(self) -> dict[str, list[Span]]:
        """The spans right below a span, in order."""
        below: dict[str, list[Span]] = {}
        for span in self.trace.spans:
            if span.parent_span_id is not None:
                below.setdefault(span.parent_span_id, []).append(span)
        return below

    def result_place(self, call: ToolCall) -> tuple[str, str, str] | None:
        """Where a call's result stands: the span, the field and the text; a call without a span has it in messages."""
        if call.span_id is not None:
            for name in ("tool_result", "output"):
                text = self.texts(call.span_id).get(name)
                if text is not None:
                    return call.span_id, name, text
        if call.result is None:
            return None
        result = clean(as_text(call.result))
        for each in self.trace.model_calls:
            if each.start_ns >= call.start_ns:
                text = self.texts(each.span_id).get("input_messages", "")
                if result and result in text:
                    return each.span_id, "input_messages", text
        return None

    def parent(self, span_id: str) -> Span | None:
        """The span above, where the trace has it."""
        span = self.spans.get(span_id)
        return None if span is None or span.parent_span_id is None else self.spans.get(span.parent_span_id)

    def above(self, span_id: str) -> Iterator[Span]:
        """The spans above, the nearest first."""
        seen = {span_id}
        span = self.parent(span_id)
        while span is not None and span.span_id not in seen:
            seen.add(span.span_id)
            yield span
            span = self.parent(span.span_id)


def _in_time(spans: Sequence[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: (span.start_ns, span.depth))


def _texts(span: Span) -> Iterator[tuple[str, str]]:
    row = span.row
    told: dict[str, object] = {
        "error": span.error_message,
        "error_type": span.error_type,
        "output": span.output,
        "input": span.input,
    }
    told |= {name: row.get(name) for name in ("status_message", "tool_arguments", "tool_result", "documents")}
    for name in FIELDS:
        value = told.get(name)
        if isinstance(value, str):
            yield name, clean(value)
    reasons = row.get("finish_reasons")
    if isinstance(reasons, (list, tuple)) and reasons:
        yield "finish_reasons", ", ".join(str(each) for each in reasons)
    for name in ("output_messages", "input_messages"):
        text = row.get(name)
        if isinstance(text, str):
            yield name, clean(_words(text))


def _words(text: str) -> str:
    """What messages say, part by part, as plain text."""
    listed = messages.decoded(text)
    lines = []
    for message in listed if isinstance(listed, list) else ():
        parts = message.get("parts") if isinstance(message, dict) else None
        lines += [_part(part) for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict)]
    return "\n".join(line for line in lines if line)


def _part(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind == "tool_call":
        return f"{part.get('name')}({as_text(part.get('arguments'))})"
    if kind == "tool_call_response":
        return as_text(part.get("response", part.get("result")))
    content = part.get("content")
    return content if isinstance(content, str) else ""
