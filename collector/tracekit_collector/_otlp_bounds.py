"""Bounds on what a request may hold: refused before it is parsed, or cut and counted afterwards.

A body of two bytes an item parses to a hundred times its size. A large body that looks like that is therefore counted
through before it is parsed.
"""

from __future__ import annotations

import zlib
from typing import Any

from google.protobuf.descriptor import Descriptor

from tracekit_collector._otlp_wire import read_varint
from tracekit_collector.encoding import TooLargeError

MAX_VALUES = 2_000_000
"""How many values a JSON request may hold."""

MAX_MESSAGES = 500_000
"""How many messages a protobuf request may hold; counting them takes longer than counting commas."""

MAX_ATTRIBUTES = 10_000
"""How many attributes, events or links an item keeps."""

_LOOKED_AT = 1 << 20  # smaller bodies cannot become large
_SAMPLE = 1 << 13
_DENSE = 20  # ordinary requests compress less than this


def check_json(body: bytes) -> None:
    """Refuse JSON that would become too many values.

    Raises:
        TooLargeError: It holds more than `MAX_VALUES`, as its commas and brackets tell.
    """
    if len(body) > _LOOKED_AT:
        values = body.count(b",") + body.count(b"{") + body.count(b"[")
        if values > MAX_VALUES:
            raise TooLargeError(_too_many(values, MAX_VALUES))


def check_protobuf(body: bytes, descriptor: Descriptor) -> None:
    """Refuse a message that would become too many messages.

    Args:
        body: A serialized message.
        descriptor: What it is.

    Raises:
        TooLargeError: It holds more than `MAX_MESSAGES`.
    """
    if len(body) > _LOOKED_AT and _is_dense(body):
        found = _count(body, descriptor)
        if found > MAX_MESSAGES:
            raise TooLargeError(_too_many(found, MAX_MESSAGES))


def cut_item(item: Any) -> str | None:
    """Cut a span or log record down to `MAX_ATTRIBUTES` of each, and count what goes in its `dropped_…_count`.

    Dropping the last ones keeps the item with its times, ids and status, as OpenTelemetry's own span limits do;
    refusing it would lose these too.

    Args:
        item: A span or log record.

    Returns:
        What was cut, or `None`.
    """
    cuts = []
    for name in ("attributes", "events", "links"):
        found: Any = getattr(item, name, ())
        over = len(found) - MAX_ATTRIBUTES
        if over > 0:
            del found[MAX_ATTRIBUTES:]
            dropped = f"dropped_{name}_count"
            setattr(item, dropped, min(getattr(item, dropped) + over, (1 << 32) - 1))
            cuts.append(f"{over} {name}")
    return f"lost {' and '.join(cuts)} over the limit of {MAX_ATTRIBUTES}" if cuts else None


def _too_many(values: int, limit: int) -> str:
    return f"the body holds {values} values or more and the limit is {limit}; send smaller batches"


def _is_dense(body: bytes) -> bool:
    """Whether a body may hold far more messages than bodies of its size do: many empty ones, or much of the same."""
    if body.count(0) > len(body) // 16:
        return True
    starts = (0, len(body) // 2, len(body) - _SAMPLE)
    return any(len(zlib.compress(body[start : start + _SAMPLE], 1)) * _DENSE < _SAMPLE for start in starts)


def _count(body: bytes, descriptor: Descriptor) -> int:
    """How many messages are in a message; stops past the limit, and at what the parser will refuse."""
    found = 0
    todo = [(0, len(body), descriptor)]
    while todo and found <= MAX_MESSAGES:
        position, end, shape = todo.pop()
        fields = shape.fields_by_number
        while position < end and found <= MAX_MESSAGES:
            tag, position = read_varint(body, position, end)
            wire = tag & 7
            if wire == 0:
                _, position = read_varint(body, position, end)
            elif wire == 2:
                size, position = read_varint(body, position, end)
                field = fields.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    found += 1
                    if 0 < size <= end - position:
                        todo.append((position, position + size, field.message_type))
                position += size
            elif wire in (1, 5):
                position += 8 if wire == 1 else 4
            else:
                break
    return found
