"""A large payload is stored once: an attribute whose text also stands in a derived column refers to it.

    {"$ref": "input"}                                    the column's whole text
    {"$ref": "input_messages", "$path": [0, "parts", 0, "content"]}   a text inside the column's JSON

Only texts of a span's own attributes are folded, of `MIN_LENGTH` characters or more. `unfold` undoes it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tracekit.errors import DecodeError
from tracekit_collector.anyvalue import loaded

MIN_LENGTH = 256

# The columns that hold payloads; those of messages are JSON, in which single texts are found too.
WHOLE = (
    "input_messages",
    "output_messages",
    "system_instructions",
    "tool_definitions",
    "documents",
    "tool_arguments",
    "tool_result",
    "input",
    "output",
)
_INSIDE = ("input_messages", "output_messages", "documents", "tool_definitions")


def references(attributes: Mapping[str, object], columns: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The attributes whose text stands in a column, each with the escape to store in its place.

    Args:
        attributes: A span's attributes as Python values.
        columns: Its derived columns.
    """
    large = {key: value for key, value in attributes.items() if isinstance(value, str) and len(value) >= MIN_LENGTH}
    if not large:
        return {}
    wholes = {columns[name]: name for name in WHOLE if columns.get(name)}
    found: dict[str, dict[str, object]] = {}
    rest: dict[str, str] = {}
    for key, value in large.items():
        name = wholes.get(value)
        if name is None:
            rest[key] = value
        else:
            found[key] = {"$ref": name}
    if rest:
        inside = _texts_inside(columns)
        for key, value in rest.items():
            place = inside.get(value)
            if place is not None:
                found[key] = {"$ref": place[0], "$path": place[1]}
    return found


def unfold(attributes: str, columns: Mapping[str, object]) -> str:
    """Stored attributes with every reference replaced by the text that it refers to.

    Args:
        attributes: The column `attributes`.
        columns: The row that it stands in.

    Raises:
        DecodeError: A reference points at nothing in the row.
    """
    if '"$ref"' not in attributes:
        return attributes
    typed = loaded(attributes)
    if not isinstance(typed, dict) or "$kv" in typed:
        return attributes  # such lists are never folded
    parsed: dict[str, Any] = {}
    for key, value in typed.items():
        if isinstance(value, dict) and "$ref" in value:
            typed[key] = _resolved(value, columns, parsed)
    return orjson.dumps(typed).decode()


def _resolved(reference: Mapping[str, Any], columns: Mapping[str, object], parsed: dict[str, Any]) -> str:
    name = reference["$ref"]
    found: Any = columns.get(name)
    if "$path" in reference and isinstance(found, str):
        if name not in parsed:
            parsed[name] = loaded(found)
        found = parsed[name]
        for step in reference["$path"]:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                found = None
                break
    if not isinstance(found, str):
        raise DecodeError(f"a stored attribute refers to {reference}, which the row does not hold")
    return found


def _texts_inside(columns: Mapping[str, object]) -> dict[str, tuple[str, list[str | int]]]:
    found: dict[str, tuple[str, list[str | int]]] = {}
    for name in _INSIDE:
        text = columns.get(name)
        if isinstance(text, str) and len(text) >= MIN_LENGTH:
            for path, leaf in _leaves(loaded(text), []):
                found.setdefault(leaf, (name, path))
    return found


def _leaves(value: object, path: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    if isinstance(value, str):
        if len(value) >= MIN_LENGTH:
            yield path, value
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _leaves(item, [*path, place])
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, [*path, key])
