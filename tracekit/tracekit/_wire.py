"""Spans to serialized OTLP requests, redacted on the way.

A span is written straight into bytes, because building a message for each attribute takes as long as making the span
did, and the thread that does it shares the interpreter with the code that is traced. What most spans say alike is
written once and remembered: resources, scopes, names, and short attributes, together with what redaction made of them.
A span with events, links or something else that is rare goes through OpenTelemetry's own encoder.

The field numbers are those of opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from tracekit._redacted import redact_request
from tracekit.redaction import Redactor

_SHORT = 512
_REMEMBERED_BYTES = 1 << 20
_times = struct.Struct("<cQcQ").pack
_double = struct.Struct("<d").pack
_UINT64 = (1 << 64) - 1
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_FRAMES = 256  # providers come and go in tests, and hardly elsewhere


def taken(span: ReadableSpan) -> Any:
    """An ended span as it waits for delivery: a tuple of what is to be said of it.

    A tuple with a dict of texts is one thing for the garbage collector to look at again and again where a span is ten,
    and in a burst tens of thousands wait. What a tuple has no place for waits as the span that it is.

    Args:
        span: An ended span of the OpenTelemetry SDK.
    """
    # The public properties copy, or lock for each attribute.
    try:
        context, attributes = span._context, span._attributes._dict  # type: ignore[union-attr]  # noqa: SLF001
        events, links = span._events, span._links  # noqa: SLF001
        dropped = any(each.dropped for each in (span._attributes, events, links))  # type: ignore[union-attr]  # noqa: SLF001
    except AttributeError:  # another SDK's span, or a newer one
        return span
    if dropped or events or links or context is None or context.trace_state:
        return span
    return (
        span.resource,
        span.instrumentation_scope,
        context.trace_id,
        context.span_id,
        span.parent,
        span.name,
        span.kind,
        span.start_time,
        span.end_time,
        attributes,
        span.status,
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_SIZES = tuple(map(_varint, range(1 << 11)))


def _size(number: int) -> bytes:
    return _SIZES[number] if number < len(_SIZES) else _varint(number)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _size(len(content)) + content


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


class SpanEncoder:
    """Makes serialized requests of spans.

    Args:
        redactor: What to redact; `None` for nothing.
    """

    def __init__(self, redactor: Redactor | None) -> None:
        self._redactor = redactor
        self._pure = redactor is None or redactor.pure
        self._attributes: dict[tuple[str, str], bytes] = {}
        self._names: dict[str, bytes] = {}
        self._remembered = 0
        self._frames: dict[tuple[int, int], tuple[Any, Any, bytes, bytes]] = {}
        self._clean: set[str] = set()

    def request(self, items: Sequence[Any]) -> bytes:
        """One request for spans, each under its resource and scope.

        Args:
            items: Ended spans of the OpenTelemetry SDK, as `taken` gives them.

        Raises:
            Exception: A span holds what OTLP cannot say.
        """
        if self._remembered > _REMEMBERED_BYTES:
            self._attributes, self._names, self._remembered = {}, {}, 0
        groups: dict[int, tuple[Any, dict[int, tuple[Any, list[bytes]]]]] = {}
        for item in items:
            if type(item) is tuple:
                resource, scope, content = item[0], item[1], self._span(item)
            else:
                resource, scope, content = item.resource, item.instrumentation_scope, self._odd_span(item)
            _, scopes = groups.get(id(resource)) or groups.setdefault(id(resource), (resource, {}))
            _, found = scopes.get(id(scope)) or scopes.setdefault(id(scope), (scope, []))
            found += (b"\x12", _size(len(content)), content)
        self._clean.clear()
        return b"".join(self._resource_spans(resource, scopes) for resource, scopes in groups.values())

    def _resource_spans(self, resource: Any, scopes: Mapping[int, tuple[Any, list[bytes]]]) -> bytes:
        parts: list[bytes] = []
        for scope, found in scopes.values():
            outer, inner = self._frame(resource, scope)
            content = b"".join([inner, *found])
            parts += (b"\x12", _size(len(content)), content)
        content = b"".join([outer, *parts])
        return _field(b"\x0a", content)

    def _frame(self, resource: Any, scope: Any) -> tuple[bytes, bytes]:
        """What stands around spans: their resource's and their scope's part of a request."""
        key = id(resource), id(scope)
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) > _FRAMES:
                self._frames.clear()
            framed = ReadableSpan(
                "", SpanContext(1, 1, is_remote=False), resource=resource, instrumentation_scope=scope
            )
            outer = self._by_messages(framed).resource_spans[0]
            inner = outer.scope_spans[0]
            del inner.spans[:]
            scope_part = inner.SerializeToString()
            del outer.scope_spans[:]
            # Held too, so that no other resource or scope can come to have its id.
            found = self._frames[key] = (resource, scope, outer.SerializeToString(), scope_part)
        return found[2], found[3]

    def _by_messages(self, span: Any) -> Any:
        request = encode_spans([span])
        if self._redactor is not None:
            redact_request(request, self._redactor)
        return request

    def _odd_span(self, span: Any) -> bytes:
        content: bytes = self._by_messages(span).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
        return content

    def _span(self, row: tuple[Any, ...]) -> bytes:
        _, _, trace_id, span_id, parent, name, kind, start, end, attributes, status = row
        parts = [
            b"\x0a\x10",
            trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            span_id.to_bytes(8, "big"),
            self._names.get(name) or self._name(name),
            b"\x30",
            _SIZES[kind.value + 1],
            _times(b"\x39", start or 0, b"\x41", end or 0),
        ]
        if parent is None:
            parts.append(_LOCAL)
        else:
            parts += (b"\x22\x08", parent[1].to_bytes(8, "big"), _REMOTE if parent[2] else _LOCAL)
        known = self._attributes
        for pair in attributes.items():
            try:
                found = known.get(pair)
            except TypeError:  # a list or mapping cannot be looked up
                found = None
            parts.append(found or self._attribute(*pair))
        if status is not None and status.status_code.value:
            parts.append(self._status(status))
        return b"".join(parts)

    def _name(self, name: str) -> bytes:
        said = name if self._redactor is None else self._redactor.text(name)
        found = _field(b"\x2a", _bytes(said))
        if len(found) <= _SHORT and self._pure:
            self._names[name] = found
            self._remembered += len(found)
        return found

    def _status(self, status: Any) -> bytes:
        content = b""
        if status.description:
            text = status.description
            content = _field(b"\x12", _bytes(text if self._redactor is None else self._redactor.text(text)))
        return _field(b"\x7a", content + b"\x18" + _SIZES[status.status_code.value])

    def _attribute(self, key: str, value: Any) -> bytes:
        redactor = self._redactor
        if type(value) is str:
            if redactor is None or (value in self._clean and redactor.key(key) is None):
                text = _bytes(value)
            else:
                seen = redactor.value(key, value)
                if seen is value and self._pure:
                    self._clean.add(value)  # what a step was given and what it said often stand there twice
                text = _bytes(seen)
            content = b"\x0a" + _size(len(text)) + text
        else:
            content = _any_value(value if redactor is None else redactor.value(key, value))
        named = _field(b"\x0a", _bytes(key)) + b"\x12" + _size(len(content)) + content
        found = b"\x4a" + _size(len(named)) + named
        if len(found) <= _SHORT and self._pure and type(value) is str:
            self._attributes[key, value] = found
            self._remembered += len(found)
        return found


def _any_value(value: Any) -> bytes:  # noqa: PLR0911 - one for each kind
    """The content of an AnyValue; what OTLP has no kind for is said as text."""
    if isinstance(value, str):
        return _field(b"\x0a", _bytes(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return b"\x18" + _varint(value & _UINT64)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if value is None:
        return b""
    if isinstance(value, bytes):
        return _field(b"\x3a", value)
    if isinstance(value, Mapping):
        pairs = (_field(b"\x0a", _bytes(str(key))) + _field(b"\x12", _any_value(item)) for key, item in value.items())
        return _field(b"\x32", b"".join(_field(b"\x0a", pair) for pair in pairs))
    if isinstance(value, Sequence):
        return _field(b"\x2a", b"".join(_field(b"\x0a", _any_value(item)) for item in value))
    return _field(b"\x0a", _bytes(str(value)))
