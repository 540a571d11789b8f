"""OTLP's typed values as JSON text and back, without losing a type.

The text is plain JSON where JSON can say it: a string, a bool, an integer without and a double always with a
point or exponent, null for an unset value, an array, an object for a key-value list. Four escapes, each an object
whose first key starts with `$`, say the rest:

    {"$bytes": "aGk="}                    bytes, in base64
    {"$double": "NaN"}                    also "Infinity" and "-Infinity"
    {"$kv": [["key", value], ...]}        a key-value list with a key twice or a key that starts with `$`
    {"$ref": "input", "$path": [...]}     a text that stands in a column of the same row (see `folding`)

A user's own key that starts with `$` is always written through `$kv`, so an object with such a key is an escape.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracekit.errors import DecodeError

MAX_DEPTH = 64  # what protobuf's own parser lets through is less than this; orjson stops at 254

_ESCAPES = frozenset({"$bytes", "$double", "$kv", "$ref"})
_PLAIN = frozenset({str, int, bool, type(None)})  # what JSON says without loss, whatever the value
_ORDINARY: set[str] = set()  # keys that were seen and do not start with `$`
_MOST_ORDINARY = 20_000


def python_value(value: AnyValue, depth: int = 0) -> object:
    """An OTLP value as Python: str, bool, int, float, bytes, list, dict, or None when unset.

    Args:
        value: The value.
        depth: How deep it stands in another value.

    Returns:
        The value; of a key that a key-value list holds twice, the last.

    Raises:
        DecodeError: The value is nested more than `MAX_DEPTH` levels deep.
    """
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [python_value(item, _deeper(depth)) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: python_value(item.value, _deeper(depth)) for item in value.kvlist_value.values}
    scalar: object = getattr(value, kind)
    return scalar


def python_attributes(attributes: Iterable[KeyValue]) -> dict[str, object]:
    """A list of attributes as a dict; of a key that stands twice, the last wins."""
    found: dict[str, object] = {}
    for item in attributes:
        value = item.value
        # Most values are texts or numbers, and asking for these costs less than asking for the kind.
        found[item.key] = value.string_value or value.int_value or python_value(value)
    return found


def read_attributes(attributes: Iterable[KeyValue]) -> tuple[dict[str, object], list[int]]:
    """As `python_attributes`; and the places of those that plain JSON cannot say."""
    found: dict[str, object] = {}
    special: list[int] = []
    for place, item in enumerate(attributes):
        value = item.value
        plain = value.string_value or value.int_value
        if plain:
            found[item.key] = plain
            continue
        read = python_value(value)
        found[item.key] = read
        if type(read) not in _PLAIN and not _says_itself(read):
            special.append(place)
    return found, special


def attributes_text(
    attributes: Sequence[KeyValue],
    known: Mapping[str, object] | None = None,
    references: Mapping[str, Mapping[str, object]] | None = None,
    special: Sequence[int] | None = None,
) -> str:
    """A list of attributes as typed JSON text.

    Args:
        attributes: The attributes, as OTLP has them.
        known: `python_attributes(attributes)`, where the caller has it already.
        references: Escapes to write in place of a key's value (see `folding.references`).
        special: What `read_attributes` said with `known`.

    Raises:
        DecodeError: A value is nested too deep.
    """
    return attributes_json(attributes, known, references, special).decode()


def attributes_json(
    attributes: Sequence[KeyValue],
    known: Mapping[str, object] | None = None,
    references: Mapping[str, Mapping[str, object]] | None = None,
    special: Sequence[int] | None = None,
) -> bytes:
    """As `attributes_text`, in UTF-8."""
    values = python_attributes(attributes) if known is None else known
    if len(values) != len(attributes) or not (_ORDINARY.issuperset(values) or _all_ordinary(values)):
        return orjson.dumps(_typed_list(attributes, 0))
    if special is None:
        special = [
            place
            for place, value in enumerate(values.values())
            if type(value) not in _PLAIN and not _says_itself(value)
        ]
    if not special and not references:
        return orjson.dumps(values)
    typed = dict(values)
    for place in special:
        item = attributes[place]
        typed[item.key] = _typed(item.value, 0)
    if references:
        typed.update(references)
    return orjson.dumps(typed)


def value_text(value: AnyValue) -> str:
    """One value as typed JSON text.

    Example:
        >>> value_text(AnyValue(double_value=1))
        '1.0'
    """
    return orjson.dumps(_typed(value, 0)).decode()


def plain_text(value: object) -> str:
    """A Python value (as `python_value` gives it) as JSON text for columns: bytes in base64, NaN as null."""
    return orjson.dumps(value, default=_display, option=orjson.OPT_NON_STR_KEYS).decode()


def attributes_of(text: str | bytes, into: Any) -> None:
    """Append the attributes that a typed JSON text holds to a repeated `KeyValue` field.

    Args:
        text: What `attributes_text` wrote, unfolded.
        into: The field, for example `span.attributes`.

    Raises:
        DecodeError: The text is not typed JSON.
    """
    for key, value in _pairs(loaded(text)):
        item = into.add(key=key)
        _fill(value, item.value)


def value_of(text: str | bytes, into: AnyValue) -> None:
    """Set an `AnyValue` to what a typed JSON text says; raises DecodeError where it is none."""
    _fill(loaded(text), into)


def attributes_from_text(text: str | bytes) -> dict[str, object]:
    """The attributes of a typed JSON text as Python values, as `python_attributes` gives them."""
    return {key: python_of(value) for key, value in _pairs(loaded(text))}


def python_of(typed: object) -> object:
    """The Python value of a typed JSON value that was parsed from text."""
    if isinstance(typed, list):
        return [python_of(item) for item in typed]
    if not isinstance(typed, dict):
        return typed
    escape = next(iter(typed), "")
    if escape == "$bytes":
        return _bytes(typed["$bytes"])
    if escape == "$double":
        return _double(typed["$double"])
    return {key: python_of(value) for key, value in _pairs(typed)}


def events_text(span: Span) -> str | None:
    """A span's events as a JSON list, None when it has none.

    Each is {name, time_ns, attributes, dropped_attributes_count}, the last two where they are there.
    """
    if not span.events:
        return None
    found = []
    for event in span.events:
        entry: dict[str, object] = {"name": event.name, "time_ns": event.time_unix_nano}
        if event.attributes:
            entry["attributes"] = orjson.Fragment(attributes_json(event.attributes))
        if event.dropped_attributes_count:
            entry["dropped_attributes_count"] = event.dropped_attributes_count
        found.append(entry)
    return orjson.dumps(found).decode()


def events_of(text: str | bytes | None, into: Any) -> None:
    """Append the events of a JSON list to a span's `events`."""
    for entry in _entries(text):
        event = into.add(name=entry.get("name", ""), time_unix_nano=entry.get("time_ns", 0))
        event.dropped_attributes_count = entry.get("dropped_attributes_count", 0)
        _fill_attributes(entry, event.attributes)


def links_text(span: Span) -> str | None:
    """A span's links as a JSON list, None when it has none.

    Each is {trace_id, span_id, trace_state, attributes, flags, dropped_attributes_count}, ids in hex.
    """
    if not span.links:
        return None
    found = []
    for link in span.links:
        entry: dict[str, object] = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
        if link.trace_state:
            entry["trace_state"] = link.trace_state
        if link.attributes:
            entry["attributes"] = orjson.Fragment(attributes_json(link.attributes))
        if link.flags:
            entry["flags"] = link.flags
        if link.dropped_attributes_count:
            entry["dropped_attributes_count"] = link.dropped_attributes_count
        found.append(entry)
    return orjson.dumps(found).decode()


def links_of(text: str | bytes | None, into: Any) -> None:
    """Append the links of a JSON list to a span's `links`."""
    for entry in _entries(text):
        link = into.add(trace_id=bytes.fromhex(entry["trace_id"]), span_id=bytes.fromhex(entry["span_id"]))
        link.trace_state = entry.get("trace_state", "")
        link.flags = entry.get("flags", 0)
        link.dropped_attributes_count = entry.get("dropped_attributes_count", 0)
        _fill_attributes(entry, link.attributes)


def resource_text(resource: Resource, schema_url: str = "") -> str:
    """A resource as JSON: attributes, schema_url, dropped_attributes_count, entity_refs, where they are there."""
    entry = _described(resource, schema_url)
    if resource.entity_refs:
        entry["entity_refs"] = [
            {
                "schema_url": ref.schema_url,
                "type": ref.type,
                "id_keys": list(ref.id_keys),
                "description_keys": list(ref.description_keys),
            }
            for ref in resource.entity_refs
        ]
    return orjson.dumps(entry).decode()


def resource_of(text: str | bytes | None, into: Resource) -> str:
    """Fill a resource from its JSON and return its schema URL ("" when it has none)."""
    entry = _entry(text)
    _fill_attributes(entry, into.attributes)
    into.dropped_attributes_count = entry.get("dropped_attributes_count", 0)
    for ref in entry.get("entity_refs", ()):
        into.entity_refs.add(**ref)
    return str(entry.get("schema_url", ""))


def scope_text(scope: InstrumentationScope, schema_url: str = "") -> str:
    """A scope as JSON: name, version, attributes, schema_url, dropped_attributes_count, where they are there."""
    entry: dict[str, object] = {}
    if scope.name:
        entry["name"] = scope.name
    if scope.version:
        entry["version"] = scope.version
    entry.update(_described(scope, schema_url))
    return orjson.dumps(entry).decode()


def scope_of(text: str | bytes | None, into: InstrumentationScope) -> str:
    """Fill a scope from its JSON and return its schema URL ("" when it has none)."""
    entry = _entry(text)
    into.name = entry.get("name", "")
    into.version = entry.get("version", "")
    into.dropped_attributes_count = entry.get("dropped_attributes_count", 0)
    _fill_attributes(entry, into.attributes)
    return str(entry.get("schema_url", ""))


def loaded(text: str | bytes) -> Any:
    """Parse JSON, with a DecodeError that shows where it broke."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"stored text is not JSON: {error}") from error


def _all_ordinary(keys: Iterable[str]) -> bool:
    if any(key[:1] == "$" for key in keys):
        return False
    if len(_ORDINARY) < _MOST_ORDINARY:
        _ORDINARY.update(keys)
    return True


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise DecodeError(f"a value is nested more than {MAX_DEPTH} levels deep")
    return depth + 1


def _says_itself(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, list) and all(type(item) in _PLAIN for item in value)


def _typed(value: AnyValue, depth: int) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_typed(item, _deeper(depth)) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _typed_list(value.kvlist_value.values, depth)
    if kind == "bytes_value":
        return {"$bytes": base64.b64encode(value.bytes_value).decode()}
    if kind == "double_value" and not math.isfinite(value.double_value):
        number = value.double_value
        return {"$double": "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"}
    scalar: object = getattr(value, kind)
    return scalar


def _typed_list(items: Sequence[KeyValue], depth: int) -> dict[str, object]:
    pairs = [(item.key, _typed(item.value, _deeper(depth))) for item in items]
    found = dict(pairs)
    if len(found) != len(pairs) or any(key.startswith("$") for key in found):
        return {"$kv": pairs}
    return found


def _pairs(typed: object) -> Iterable[tuple[str, object]]:
    if not isinstance(typed, dict):
        raise DecodeError(f"stored attributes are a {type(typed).__name__}, not an object")
    if "$kv" in typed:
        return [(str(key), value) for key, value in typed["$kv"]]
    return typed.items()


def _fill(typed: object, into: AnyValue) -> None:
    kind = type(typed)
    if kind is str:
        into.string_value = typed  # type: ignore[assignment]  # kind says what it is, here and below
    elif kind is bool:
        into.bool_value = typed  # type: ignore[assignment]
    elif kind is int:
        into.int_value = typed  # type: ignore[assignment]
    elif kind is float:
        into.double_value = typed  # type: ignore[assignment]
    elif isinstance(typed, list):
        into.array_value.SetInParent()
        for item in typed:
            _fill(item, into.array_value.values.add())
    elif isinstance(typed, dict):
        _fill_object(typed, into)
    else:
        into.SetInParent()


def _fill_object(typed: dict[str, Any], into: AnyValue) -> None:
    escape = next(iter(typed), "")
    if escape == "$bytes":
        into.bytes_value = _bytes(typed["$bytes"])
    elif escape == "$double":
        into.double_value = _double(typed["$double"])
    elif escape == "$ref":
        raise DecodeError(f"a stored value refers to the column {typed['$ref']}; unfold the attributes first")
    elif escape.startswith("$") and escape not in _ESCAPES:
        raise DecodeError(f"a stored value has the escape {escape}, which this version does not know")
    else:
        into.kvlist_value.SetInParent()
        for key, value in _pairs(typed):
            _fill(value, into.kvlist_value.values.add(key=key).value)


def _bytes(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise DecodeError(f"stored bytes are not base64: {error}") from error


def _double(text: object) -> float:
    try:
        return float(str(text))
    except ValueError as error:
        raise DecodeError(f"stored double {text!r} is no number") from error


def _display(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _described(described: Resource | InstrumentationScope, schema_url: str) -> dict[str, object]:
    entry: dict[str, object] = {}
    if described.attributes:
        entry["attributes"] = orjson.Fragment(attributes_json(described.attributes))
    if schema_url:
        entry["schema_url"] = schema_url
    if described.dropped_attributes_count:
        entry["dropped_attributes_count"] = described.dropped_attributes_count
    return entry


def _fill_attributes(entry: Mapping[str, Any], into: Any) -> None:
    for key, value in _pairs(entry.get("attributes", {})):
        _fill(value, into.add(key=key).value)


def _entry(text: str | bytes | None) -> dict[str, Any]:
    found = loaded(text) if text else {}
    if not isinstance(found, dict):
        raise DecodeError(f"a stored resource or scope is a {type(found).__name__}, not an object")
    return found


def _entries(text: str | bytes | None) -> list[dict[str, Any]]:
    found = loaded(text) if text else []
    if not isinstance(found, list):
        raise DecodeError(f"a stored list of events or links is a {type(found).__name__}")
    return found
