"""Redaction of an OTLP request, in place: attributes wherever they are, names, messages, bodies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracekit.redaction import Redactor


def redact_request(request: Any, redactor: Redactor) -> None:
    """Redact every text of a request to export spans or log records.

    Args:
        request: An ExportTraceServiceRequest or ExportLogsServiceRequest; it is changed.
        redactor: What to redact.
    """
    for resource_spans in getattr(request, "resource_spans", ()):
        _pairs(resource_spans.resource.attributes, redactor)
        for scope in resource_spans.scope_spans:
            _pairs(scope.scope.attributes, redactor)
            for span in scope.spans:
                _span(span, redactor)
    for resource_logs in getattr(request, "resource_logs", ()):
        _pairs(resource_logs.resource.attributes, redactor)
        for scope in resource_logs.scope_logs:
            _pairs(scope.scope.attributes, redactor)
            for record in scope.log_records:
                _pairs(record.attributes, redactor)
                if record.HasField("body"):
                    _value("", record.body, redactor)


def _span(span: Any, redactor: Redactor) -> None:
    span.name = redactor.text(span.name)
    if span.status.message:
        span.status.message = redactor.text(span.status.message)
    _pairs(span.attributes, redactor)
    for event in span.events:
        event.name = redactor.text(event.name)
        _pairs(event.attributes, redactor)
    for link in span.links:
        _pairs(link.attributes, redactor)


def _pairs(pairs: Iterable[Any], redactor: Redactor) -> None:
    judged, clean = redactor.known
    for pair in pairs:
        key, value = pair.key, pair.value
        text = value.string_value
        if text:
            if text in clean and judged.get(key, "") is None:
                continue  # as it is on most spans
            seen = redactor.value(key, text)
            if seen is not text and seen != text:
                value.string_value = seen
        else:
            _value(key, value, redactor)


def _value(key: str, value: Any, redactor: Redactor) -> None:
    """One AnyValue; a key that is sensitive hides it whole, whatever it holds."""
    kind = value.WhichOneof("value")
    if kind is None or kind == "bool_value":
        return
    if kind in {"string_value", "int_value", "double_value"}:
        before = getattr(value, kind)
        seen = redactor.value(key, before)
        if seen != before:
            value.string_value = str(seen)
    elif key and redactor.key(key) is not None:
        value.string_value = redactor.value(key, "…")
    elif kind == "array_value":
        for item in value.array_value.values:
            _value(key, item, redactor)
    elif kind == "kvlist_value":
        _pairs(value.kvlist_value.values, redactor)
