"""OTLP/JSON to what a protobuf message is built from, by the messages' own descriptors.

Takes what SDKs send: ids in hexadecimal (base64 of the right length too, as protobuf's own JSON has them), whole
numbers as numbers or strings, enumerations as numbers or names, lowerCamelCase and snake_case keys, base64 of
either alphabet with or without padding, null as absent. Keys that the schema does not know are left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tracekit.errors import DecodeError

MAX_DEPTH = 96  # messages within messages; protobuf's own parser stops at 100

_LONGEST_PATH = 200
_IDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_SURROGATES = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?\d{1,20}\Z", re.ASCII)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}

Scalar = Callable[[Any], object]


@dataclass(frozen=True)
class Misfit:
    """An item that was left out because it does not fit its message.

    Args:
        where: The way to what is wrong, from the array that holds the item on: `[3].startTimeUnixNano`.
        reason: What is wrong.
        item: The item, as it came.
    """

    where: str
    reason: str
    item: object


@dataclass(frozen=True)
class _Field:
    name: str
    repeated: bool
    lenient: bool
    shape: Shape | None  # of a message
    scalar: Scalar


Shape = dict[str, _Field]


class _Fault(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with a value, and the way to it from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def at(self, step: str) -> _Fault:
        self.path.append(step)
        return self

    def where(self) -> str:
        whole = "".join(reversed(self.path)).lstrip(".")
        return whole if len(whole) <= _LONGEST_PATH else whole[:_LONGEST_PATH] + "…"


def parse_json(body: bytes) -> object:
    """JSON text as Python; lone surrogates and NaN are let through as JavaScript and Python write them.

    Args:
        body: UTF-8, a byte order mark allowed.

    Raises:
        DecodeError: It is no JSON; the message says where.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        try:
            return json.loads(body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DecodeError(f"this is no JSON: not UTF-8 at byte {error.start}") from None
        except RecursionError:
            raise DecodeError("this JSON is nested too deeply") from None
        except ValueError:
            raise DecodeError(f"this is no JSON: {strict}") from None


class JsonReader:
    """Reads JSON values as the fields of a message.

    Args:
        descriptor: The message's descriptor.
        lenient: Full names of the repeated fields whose bad items are left out rather than refuse the whole.

    Example:
        >>> from opentelemetry.proto.common.v1.common_pb2 import KeyValue
        >>> JsonReader(KeyValue.DESCRIPTOR).read({"key": "n", "value": {"intValue": "7"}})
        ({'key': 'n', 'value': {'int_value': 7}}, [])
    """

    def __init__(self, descriptor: Descriptor, *, lenient: frozenset[str] = frozenset()) -> None:
        self._lenient = lenient
        self._shapes: dict[str, Shape] = {}
        self._shape = self._shape_of(descriptor)
        self._root = descriptor.name

    def read(self, value: object) -> tuple[dict[str, object], list[Misfit]]:
        """Arguments for the message's class, and what was left out.

        Args:
            value: Parsed JSON.

        Raises:
            DecodeError: The value does not fit the message; says where.
        """
        misfits: list[Misfit] = []
        try:
            return _message(self._shape, value, 1, misfits), misfits
        except _Fault as fault:
            raise DecodeError(f"{fault.where() or self._root} {fault.reason}") from None

    def _shape_of(self, descriptor: Descriptor) -> Shape:
        known = self._shapes.get(descriptor.full_name)
        if known is not None:
            return known
        shape: Shape = {}
        self._shapes[descriptor.full_name] = shape
        for field in descriptor.fields:
            inner = self._shape_of(field.message_type) if field.message_type is not None else None
            lenient = field.full_name in self._lenient
            entry = _Field(field.name, field.is_repeated, lenient, inner, _scalar(field))
            shape[field.name] = shape[field.json_name] = entry
        return shape


def _message(shape: Shape, value: Any, depth: int, misfits: list[Misfit]) -> dict[str, object]:
    if type(value) is not dict:
        raise _Fault(f"must be an object, not {_kind(value)}")
    if depth > MAX_DEPTH:
        raise _Fault(f"is nested more than {MAX_DEPTH} messages deep")
    out: dict[str, object] = {}
    for key, item in value.items():
        field = shape.get(key)
        if field is None or item is None:
            continue
        try:
            if field.repeated:
                out[field.name] = _items(field, item, depth, misfits)
            elif field.shape is not None:
                out[field.name] = _message(field.shape, item, depth + 1, misfits)
            else:
                out[field.name] = field.scalar(item)
        except _Fault as fault:
            raise fault.at(f".{key}") from None
    return out


def _items(field: _Field, items: Any, depth: int, misfits: list[Misfit]) -> list[object]:
    if type(items) is not list:
        raise _Fault(f"must be an array, not {_kind(items)}")
    out: list[object] = []
    for index, item in enumerate(items):
        try:
            if field.shape is not None:
                out.append(_message(field.shape, item, depth + 1, misfits))
            else:
                out.append(field.scalar(item))
        except _Fault as fault:
            fault.at(f"[{index}]")
            if not field.lenient:
                raise
            misfits.append(Misfit(fault.where(), fault.reason, item))
    return out


def _scalar(field: FieldDescriptor) -> Scalar:
    kind = field.cpp_type
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _id_reader(_IDS[field.name]) if field.name in _IDS else _bytes
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _string
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _real
    if field.enum_type is not None:
        names = {name: value.number for name, value in field.enum_type.values_by_name.items()}
        return _whole_reader(kind, names)
    return _string if kind == FieldDescriptor.CPPTYPE_MESSAGE else _whole_reader(kind, {})


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _Fault(f"must be a string, not {_kind(value)}")
    return value if value.isascii() else _SURROGATES.sub("\ufffd", value)


def _bool(value: Any) -> bool:
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    raise _Fault(f"must be true or false, not {_shown(value)}")


def _real(value: Any) -> float:
    if type(value) in (int, float, str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise _Fault(f"must be a number, not {_shown(value)}")


def _whole_reader(kind: int, names: dict[str, int]) -> Scalar:
    low, high = _RANGES[kind]

    def read(value: Any) -> int:
        number = value
        if type(value) is str:
            number = names.get(value)
            if number is None and _WHOLE.match(value):
                number = int(value)
        elif type(value) is float and value.is_integer():
            number = int(value)
        if type(number) is not int:
            raise _Fault(f"must be a whole number, not {_shown(value)}")
        if not low <= number <= high:
            raise _Fault(f"is {_shown(value)}, outside {low} to {high}")
        return number

    return read


def _bytes(value: Any) -> bytes:
    if type(value) is str:
        text = value.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise _Fault(f"must be base64, not {_shown(value)}")


def _id_reader(size: int) -> Scalar:
    base64_length = (size + 2) // 3 * 4

    def read(value: Any) -> bytes:
        if type(value) is str:
            try:
                if len(value) == base64_length and value.endswith("="):
                    return base64.b64decode(value, validate=True)
                return bytes.fromhex(value) if value.isalnum() or not value else _no_id(value, size)
            except ValueError:
                pass
        return _no_id(value, size)

    return read


def _no_id(value: object, size: int) -> bytes:
    raise _Fault(f"must be {2 * size} hexadecimal digits, not {_shown(value)}")


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a number")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else _kind(value)
    quoted = f"{text[:40]!a}" if isinstance(value, str) else text[:40]
    return quoted + ("…" if len(text) > 40 else "")
