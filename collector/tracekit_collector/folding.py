"""A large payload is stored once: an attribute whose text also stands in a derived column refers to it.

    {"$ref": "input"}                                    the column's whole text
    {"$ref": "input_messages", "$path": [0, "parts", 0, "content"]}   a text inside the column's JSON

Of attributes, texts of `MIN_LENGTH` characters or more are folded; `unfold` undoes it exactly.

What a span shows as `input` and `output` mostly stands in its messages or tool columns already. The lake's files hold
for such a text (from schema version 2 on) where it is, and the views put it back (`column_sql`):

    {"$ref":"tool_result"}                                  the column's whole text
    {"$ref":"output_messages","$from":57,"$length":312}     so many characters of the column, a JSON string's inside
    {"$text":"..."}                                         a text that would be taken for one of these
"""

from __future__ import annotations

import json
import re
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

# What is shown: the column that may hold the same, and the one that may hold it within its JSON.
SHOWN = {"input": ("tool_arguments", "input_messages"), "output": ("tool_result", "output_messages")}
FIRST_FOLDED = 2  # the schema version
_MIN_SHOWN = 96
_ESCAPED = '{"$'
_PIECE = re.compile(r'\{"\$ref":"(\w+)"(?:,"\$from":(\d+),"\$length":(\d+))?\}')


def references(attributes: Mapping[str, object], columns: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The attributes whose text stands in a column, each with the escape to store in its place.

    Args:
        attributes: A span's attributes as Python values.
        columns: Its derived columns.
    """
    large = [key for key, value in attributes.items() if type(value) is str and len(value) >= MIN_LENGTH]
    if not large:
        return {}
    get = columns.get
    # A text that looks like an escape is not referred to: whoever reads it could take it for one.
    held = [
        (name, text)
        for name in WHOLE
        if type(text := get(name)) is str and len(text) >= MIN_LENGTH and text[:3] != _ESCAPED
    ]
    found: dict[str, dict[str, object]] = {}
    rest: dict[str, str] = {}
    for key in large:
        value = attributes[key]
        for name, text in held:
            if text is value or text == value:
                found[key] = {"$ref": name}
                break
        else:
            rest[key] = str(value)
    if rest and held:
        inside = _texts_inside(columns)
        for key, value in rest.items():
            place = inside.get(value)
            if place is not None:
                found[key] = {"$ref": place[0], "$path": place[1]}
    return found


def fold(columns: dict[str, Any]) -> None:
    """Put references in the place of what is shown as `input` and `output`, where another column holds the same.

    Args:
        columns: Derived columns of `spans`; changed in place.
    """
    for name, (whole, within) in SHOWN.items():
        text = columns.get(name)
        if not isinstance(text, str):
            continue
        if len(text) < _MIN_SHOWN:
            if text.startswith(_ESCAPED):
                columns[name] = _as_text(text)
            continue
        if text == columns.get(whole):
            columns[name] = f'{{"$ref":"{whole}"}}'
            continue
        place = _place_within(text, columns.get(within))
        if place is not None:
            columns[name] = f'{{"$ref":"{within}","$from":{place[0]},"$length":{place[1]}}}'
        elif text.startswith(_ESCAPED):
            columns[name] = _as_text(text)


def shown(columns: Mapping[str, object], name: str) -> object:
    """The text of a column as it was before `fold`; any other column as it is."""
    text = columns.get(name)
    if name not in SHOWN or not isinstance(text, str) or not text.startswith(_ESCAPED):
        return text
    if text.startswith('{"$text":'):
        return loaded(text)["$text"]
    found = _PIECE.fullmatch(text)
    held = columns.get(found[1]) if found else None
    if found is None or not isinstance(held, str):
        return text
    if found[2] is None:
        return held
    start = int(found[2])
    return loaded(f'"{held[start : start + int(found[3])]}"')


def column_sql(name: str) -> str:
    """SQL for a column of `spans` in the lake's files, as it was before `fold`; DuckDB's dialect."""
    if name not in SHOWN:
        return name
    whole, within = SHOWN[name]
    start = f"""TRY_CAST(split_part(split_part({name}, '"$from":', 2), ',', 1) AS BIGINT)"""
    length = f"""TRY_CAST(rtrim(split_part({name}, '"$length":', 2), '}}') AS BIGINT)"""
    piece = f"""'"' || substring({within}, 1 + {start}, {length}) || '"'"""
    return f"""CASE WHEN schema_version >= {FIRST_FOLDED} AND starts_with({name}, '{_ESCAPED}') THEN coalesce(CASE
  WHEN {name} = '{{"$ref":"{whole}"}}' THEN {whole}
  WHEN starts_with({name}, '{{"$ref":"{within}",') THEN TRY(json_extract_string({piece}, '$'))
  WHEN starts_with({name}, '{{"$text":') THEN TRY(json_extract_string({name}, '$."$text"')) END, {name})
  ELSE {name} END AS {name}"""


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
    found: Any = shown(columns, name)
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


def _as_text(text: str) -> str:
    return f'{{"$text":{orjson.dumps(text).decode()}}}'


def _place_within(text: str, held: object) -> tuple[int, int] | None:
    if not isinstance(held, str) or len(held) < len(text):
        return None
    quoted = orjson.dumps(text)[1:-1].decode()
    at = held.find(quoted)
    if at < 0 and not text.isascii():
        quoted = json.dumps(text)[1:-1]  # a writer that escapes all but ASCII
        at = held.find(quoted)
    return None if at < 0 else (at, len(quoted))


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
