"""Spans to serialized OTLP requests, redacted on the way.

A span is written straight into bytes, because building a message for each attribute takes as long as making the span
did, and the thread that does it shares the interpreter with the code that is traced. What most spans say alike is
written once and remembered: resources, scopes, names, and short attributes, together with what redaction made of them.
A span with events, links or something else that is rare goes through OpenTelemetry's own encoder.

The field numbers are those of opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
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
_REMOTE_LINK = b"\x35\x00\x03\x00\x00"
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_FRAMES = 256  # providers come and go in tests, and hardly elsewhere


_Shape = tuple[Any, Any, Any, tuple[str, ...], int]
_SHAPES = 1 << 10  # more than a program has steps; what comes after waits as a full row
_shapes: list[_Shape] = []
_shape_of: dict[tuple[int, int, str, tuple[str, ...]], _Shape] = {}
_latest: dict[str, _Shape] = {}
_adding = threading.Lock()


def taken(span: ReadableSpan) -> Any:
    """An ended span as it waits for delivery: a tuple of what is to be said of it.

    In a burst tens of thousands wait, so it is as small as it can be: what a step's spans have in common (resource,
    scope, kind and the attributes' names) is kept once, and the tuple begins with its number. Numbers and texts alone
    the garbage collector looks at once, and no more. What a tuple has no place for waits as the span that it is.

    Args:
        span: An ended span of the OpenTelemetry SDK.
    """
    # The public properties copy, or lock for each attribute.
    try:
        events, links, bounded = span._events, span._links, span._attributes  # noqa: SLF001
        trace_id, span_id, _, _, trace_state, _ = span._context  # type: ignore[misc]  # noqa: SLF001
        if (
            events._dq  # type: ignore[attr-defined]  # noqa: SLF001
            or links._dq  # type: ignore[attr-defined]  # noqa: SLF001
            or bounded.dropped  # type: ignore[union-attr]
            or events.dropped  # type: ignore[attr-defined]
            or links.dropped  # type: ignore[attr-defined]
            or trace_state
        ):
            return span
        attributes = bounded._dict  # type: ignore[union-attr]  # noqa: SLF001
        name, parent, status = span._name, span._parent, span._status  # noqa: SLF001
        shape = _latest.get(name)
        if (
            shape is None
            or shape[3] != tuple(attributes)
            or shape[0] is not span._resource  # noqa: SLF001
            or shape[1] is not span._instrumentation_scope  # noqa: SLF001
            or shape[2] is not span._kind  # noqa: SLF001
        ):
            shape = _shape(span, tuple(attributes))
            if shape is None:
                return _full(span)
        return (  # noqa: RUF005 - twice as quick as unpacking the values
            shape[4],
            trace_id,
            span_id,
            None if parent is None else parent[1],
            parent is not None and parent[2],
            name,
            span._start_time,  # noqa: SLF001
            span._end_time,  # noqa: SLF001
            status._status_code._value_,  # noqa: SLF001
            status._description,  # noqa: SLF001
        ) + tuple(attributes.values())
    except (AttributeError, TypeError, ValueError):  # another SDK's span, or a newer one
        return span


def _shape(span: ReadableSpan, keys: tuple[str, ...]) -> _Shape | None:
    """What spans like this one have in common; `None` where there are enough such. What it holds keeps its id."""
    resource, scope, kind = span._resource, span._instrumentation_scope, span._kind  # noqa: SLF001
    key = id(resource), id(scope), kind._name_, keys
    found = _shape_of.get(key)
    if found is None:
        if len(_shapes) >= _SHAPES:
            return None
        with _adding:
            found = resource, scope, kind, keys, len(_shapes)
            _shapes.append(found)
        _shape_of[key] = found
    if span._name in _latest or len(_latest) < _SHAPES:  # noqa: SLF001
        _latest[span._name] = found  # noqa: SLF001
    return found


def _full(span: Any) -> tuple[Any, ...]:
    """An ended span as a tuple that says all by itself."""
    return (
        *(span.resource, span.instrumentation_scope, span.context.trace_id, span.context.span_id, span.parent),
        *(span.name, span.kind, span.start_time, span.end_time, span._attributes._dict, span.status),  # noqa: SLF001
    )


def _after_fork() -> None:
    global _adding  # noqa: PLW0603 - a thread that is not in the child may have held the parent's
    _adding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
            items: Ended spans of the OpenTelemetry SDK, as `taken` gives them; such a tuple may go on with links to
                other traces' spans, each a trace id, a span id and texts by name.

        Raises:
            Exception: A span holds what OTLP cannot say.
        """
        if self._remembered > _REMEMBERED_BYTES:
            self._attributes, self._names, self._remembered = {}, {}, 0
        groups: dict[int, tuple[Any, dict[int, tuple[Any, list[bytes]]]]] = {}
        for item in items:
            if type(item) is not tuple:
                resource, scope, content = item.resource, item.instrumentation_scope, self._odd_span(item)
            elif type(item[0]) is int:
                resource, scope, content = self._packed(item)
            else:
                resource, scope, content = item[0], item[1], self._full(item)
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

    def _packed(self, row: tuple[Any, ...]) -> tuple[Any, Any, bytes]:
        number, trace_id, span_id, parent, is_remote, name, start, end, code, description, *values = row
        resource, scope, kind, keys, _ = _shapes[number]
        head = trace_id, span_id, parent, is_remote, name, kind, start, end
        parts = self._span(*head, zip(keys, values))  # noqa: B905 - what follows the values are links
        if len(values) > len(keys):
            parts += map(self._link, values[len(keys) :])
        if code:
            parts.append(self._status(code, description))
        return resource, scope, b"".join(parts)

    def _full(self, row: tuple[Any, ...]) -> bytes:
        _, _, trace_id, span_id, parent, name, kind, start, end, attributes, status, *links = row
        above, is_remote = (None, False) if parent is None else (parent[1], parent[2])
        parts = self._span(trace_id, span_id, above, is_remote, name, kind, start, end, attributes.items())
        parts += map(self._link, links)
        if status is not None and status.status_code.value:
            parts.append(self._status(status.status_code.value, status.description))
        return b"".join(parts)

    def _span(
        self,
        trace_id: int,
        span_id: int,
        parent: int | None,
        is_remote: bool,  # noqa: FBT001 - one of a span's fields, in their order
        name: str,
        kind: Any,
        start: int | None,
        end: int | None,
        attributes: Iterable[tuple[str, Any]],
    ) -> list[bytes]:
        parts = [
            b"\x0a\x10",
            trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            span_id.to_bytes(8, "big"),
            self._names.get(name) or self._name(name),
            b"\x30",
            _SIZES[kind._value_ + 1],
            _times(b"\x39", start or 0, b"\x41", end or 0),
        ]
        if parent is None:
            parts.append(_LOCAL)
        else:
            parts += (b"\x22\x08", parent.to_bytes(8, "big"), _REMOTE if is_remote else _LOCAL)
        known = self._attributes
        for pair in attributes:
            try:
                found = known.get(pair)
            except TypeError:  # a list or mapping cannot be looked up
                found = None
            parts.append(found or self._attribute(*pair))
        return parts

    def _link(self, link: tuple[int, int, Mapping[str, str]]) -> bytes:
        trace_id, span_id, attributes = link
        parts = [b"\x0a\x10", trace_id.to_bytes(16, "big"), b"\x12\x08", span_id.to_bytes(8, "big")]
        parts += (b"\x22" + self._attribute(*pair)[1:] for pair in attributes.items())
        return _field(b"\x6a", b"".join([*parts, _REMOTE_LINK]))

    def _name(self, name: str) -> bytes:
        said = name if self._redactor is None else self._redactor.text(name)
        found = _field(b"\x2a", _bytes(said))
        if len(found) <= _SHORT and self._pure:
            self._names[name] = found
            self._remembered += len(found)
        return found

    def _status(self, code: int, description: str | None) -> bytes:
        content = b""
        if description:
            content = _field(
                b"\x12", _bytes(description if self._redactor is None else self._redactor.text(description))
            )
        return _field(b"\x7a", content + b"\x18" + _SIZES[code])

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
