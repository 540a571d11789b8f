"""An exporter of somebody else's that is given redacted spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from tracekit.redaction import DEFAULT, Redactor, redactor


class RedactingExporter(SpanExporter):
    """Redacts spans, then gives them to another exporter; the spans that others see stay as they are.

    Args:
        exporter: Who sends the redacted spans.
        rules: What is redacted, as for `tracekit.redaction.redactor`.

    Raises:
        SettingError: A rule is none.

    Example:
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> exporter = RedactingExporter(InMemorySpanExporter(), "keys,email")
    """

    def __init__(self, exporter: SpanExporter, rules: Any = DEFAULT) -> None:
        self._exporter = exporter
        self._redactor = redactor(rules)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans as they may be seen."""
        rules = self._redactor
        return self._exporter.export(spans if rules is None else [_redacted(span, rules) for span in spans])

    def shutdown(self) -> None:
        """End the other exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Let the other exporter deliver what it has."""
        return self._exporter.force_flush(timeout_millis)


def _redacted(span: ReadableSpan, rules: Redactor) -> ReadableSpan:
    resource = Resource(_attributes(span.resource.attributes, rules), span.resource.schema_url)
    events = [
        Event(rules.text(event.name), _attributes(event.attributes, rules), event.timestamp) for event in span.events
    ]
    message = span.status.description
    return ReadableSpan(
        name=rules.text(span.name),
        context=span.context,
        parent=span.parent,
        resource=resource,
        attributes=_attributes(span.attributes, rules),
        events=events,
        links=[Link(link.context, _attributes(link.attributes, rules)) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code, None if message is None else rules.text(message)),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(found: Mapping[str, Any] | None, rules: Redactor) -> dict[str, Any]:
    return rules.attributes(found or {})
