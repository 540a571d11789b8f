"""Finds where serialized protobuf goes wrong, for the message that its sender gets."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_MAX_DEPTH = 100


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """What is wrong, at which byte, and in which field."""


def fault_in(data: bytes, descriptor: Descriptor) -> str:
    """Say where a message that cannot be parsed breaks.

    Args:
        data: What its parser refused.
        descriptor: What it should have been.

    Returns:
        The first fault with its byte and field, or a general word where this looks sound.

    Example:
        >>> from opentelemetry.proto.common.v1.common_pb2 import KeyValue
        >>> fault_in(bytes([10, 5, 65]), KeyValue.DESCRIPTOR)
        'key needs 5 bytes at byte 2, and 1 are left'
    """
    try:
        _walk(data, 0, len(data), descriptor, "", 1)
    except _Broken as error:
        return str(error)
    return "it is not what protobuf can parse"


def _walk(data: bytes, position: int, end: int, descriptor: Descriptor, path: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _Broken(f"{path[:200]} is nested more than {_MAX_DEPTH} messages deep at byte {position}")
    counts: dict[int, int] = {}
    while position < end:
        start = position
        tag, position = _varint(data, position, end, path)
        number, wire = tag >> 3, tag & 7
        field = descriptor.fields_by_number.get(number)
        inner = _name(path, number, field, counts)
        if number == 0 or wire in (6, 7, _GROUP_END):
            raise _Broken(f"{path or descriptor.name} has no sound field at byte {start}")
        if wire == _VARINT:
            _, position = _varint(data, position, end, inner)
        elif wire in (_FIXED64, _FIXED32):
            position = _skip(position, 8 if wire == _FIXED64 else 4, end, inner)
        elif wire == _GROUP:
            raise _Broken(f"{inner} is a group at byte {start}, which OTLP has none of")
        else:
            size, position = _varint(data, position, end, inner)
            after = _skip(position, size, end, inner)
            _check_content(data, position, after, field, inner, depth)
            position = after


def _check_content(data: bytes, start: int, end: int, field: FieldDescriptor | None, path: str, depth: int) -> None:
    if field is None:
        return
    if field.message_type is not None:
        _walk(data, start, end, field.message_type, path, depth + 1)
    elif field.type == FieldDescriptor.TYPE_STRING:
        try:
            data[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Broken(f"{path} is not UTF-8 at byte {start + error.start}") from None


def _name(path: str, number: int, field: FieldDescriptor | None, counts: dict[int, int]) -> str:
    name = f"field {number}" if field is None else field.name
    if field is not None and field.is_repeated:
        name += f"[{counts.get(number, 0)}]"
        counts[number] = counts.get(number, 0) + 1
    return f"{path}.{name}" if path else name


def _varint(data: bytes, position: int, end: int, path: str) -> tuple[int, int]:
    value = 0
    start = position
    for shift in range(0, 70, 7):
        if position >= end:
            raise _Broken(f"{path or 'the message'} ends within a number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Broken(f"{path or 'the message'} has an endless number at byte {start}")


def _skip(position: int, size: int, end: int, path: str) -> int:
    if position + size > end:
        raise _Broken(f"{path} needs {size} bytes at byte {position}, and {end - position} are left")
    return position + size


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number and where it ends; past `end` where it is cut off or endless."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return 0, end + 1
