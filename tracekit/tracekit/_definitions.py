"""What a tool is, told to a model: name, description and a JSON Schema of its parameters, from its signature.

Types come from the annotations, descriptions from the docstring or from `Annotated[…, "text"]`. What is not known is
left open, never guessed.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, Union, get_args, get_origin

from tracekit import _docstrings
from tracekit._capture import plain, to_json

Schema = dict[str, object]

_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
    dict: {"type": "object"},
}
_BY_NAME: dict[tuple[str, str], Schema] = {
    ("datetime", "datetime"): {"type": "string", "format": "date-time"},
    ("datetime", "date"): {"type": "string", "format": "date"},
    ("datetime", "time"): {"type": "string", "format": "time"},
    ("datetime", "timedelta"): {"type": "string", "format": "duration"},
    ("decimal", "Decimal"): {"type": "string"},
    ("pathlib", "Path"): {"type": "string"},
    ("uuid", "UUID"): {"type": "string", "format": "uuid"},
}
_ARRAYS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_DEEPEST = 8
_RECEIVERS = ("self", "cls")


def tool_definition(function: Callable[..., Any], *, name: str | None = None) -> dict[str, object]:
    """A function as the definition of a tool, as models are given them.

    Args:
        function: The function, decorated or not.
        name: The tool's name; the function's when not given.

    Returns:
        `type`, `name`, `description` where there is a docstring, and `parameters`, a JSON Schema.

    Example:
        >>> def search(query: str, limit: int = 5) -> list[str]:
        ...     '''Search the shop.'''
        >>> tool_definition(search)["parameters"]["required"]
        ['query']
    """
    told = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    definition: dict[str, object] = {
        "type": "function",
        "name": name or getattr(told, "__name__", None) or type(told).__name__,
    }
    docstring = (inspect.getdoc(told) or "") if inspect.isroutine(told) or type(told).__doc__ else ""
    if docstring:
        definition["description"] = _docstrings.summary(docstring)
    definition["parameters"] = _parameters(function, told, _docstrings.described(docstring))
    return definition


def definition_text(function: Callable[..., Any], name: str) -> str:
    """The definitions that a tool's span carries, as JSON: its own, with its name alone where more cannot be told."""
    try:
        return to_json([tool_definition(function, name=name)])
    except Exception:  # noqa: BLE001 - annotations are the user's code, and may raise
        return to_json([{"type": "function", "name": name}])


def schema_of(annotation: Any) -> Schema:
    """The JSON Schema of an annotation; `{}` where it says nothing that JSON Schema could.

    Example:
        >>> schema_of(list[int])
        {'type': 'array', 'items': {'type': 'integer'}}
    """
    return _schema(annotation, 0) if annotation is not None else {"type": "null"}


def annotations_of(function: Any) -> dict[str, Any]:
    """The annotations of a function, or of what is called of an object, resolved as far as they can be."""
    return _hints(function)


def _parameters(function: Callable[..., Any], told: Any, described: Mapping[str, str]) -> Schema:
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables written in C tell nobody their parameters
        return {"type": "object"}
    hints = _hints(told)
    properties: Schema = {}
    required: list[str] = []
    is_open = False
    for at, item in enumerate(found):
        if at == 0 and item.name in _RECEIVERS:
            continue
        if item.kind is item.VAR_POSITIONAL:
            continue
        if item.kind is item.VAR_KEYWORD:
            is_open = True
            continue
        annotation = hints.get(item.name, item.annotation)
        schema = dict(_schema(annotation, 0)) if annotation is not item.empty else {}
        if item.name in described and "description" not in schema:
            schema["description"] = described[item.name]
        if item.default is item.empty:
            required.append(item.name)
        elif item.default is not None:
            schema["default"] = plain(item.default, limit=4_096)
        properties[item.name] = schema
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if not is_open:
        schema["additionalProperties"] = False
    return schema


def _hints(told: Any) -> dict[str, Any]:
    called = told if inspect.isroutine(told) else type(told).__call__
    try:
        return typing.get_type_hints(called, include_extras=True)
    except Exception:  # noqa: BLE001 - a name that only type checkers know
        hints: dict[str, Any] = {}
        for name, annotation in getattr(called, "__annotations__", {}).items():
            with suppress(Exception):
                scope = getattr(called, "__globals__", {})
                hints[name] = eval(annotation, scope) if isinstance(annotation, str) else annotation  # noqa: S307 - the function's own annotation
        return hints


def _schema(annotation: Any, depth: int) -> Schema:
    """The JSON Schema of an annotation; `{}` where it says nothing that JSON Schema could."""
    if depth > _DEEPEST:
        return {}
    with suppress(TypeError):  # not everything that annotates can be looked up
        if annotation in _SIMPLE:
            return dict(_SIMPLE[annotation])
    origin = get_origin(annotation)
    if origin is not None:
        return _generic(annotation, origin, get_args(annotation), depth)
    if isinstance(annotation, typing.NewType):
        return _schema(annotation.__supertype__, depth + 1)
    if isinstance(annotation, type):
        return _class(annotation, depth)
    return {}


def _generic(annotation: Any, origin: Any, arguments: tuple[Any, ...], depth: int) -> Schema:
    if hasattr(annotation, "__metadata__"):
        return _annotated(arguments[0], annotation.__metadata__, depth)
    if origin is Literal:
        return _choices(list(arguments))
    if origin in (Union, types.UnionType):
        return _union(arguments, depth)
    if getattr(origin, "__name__", "") in ("Required", "NotRequired", "ReadOnly"):
        return _schema(arguments[0], depth + 1)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [_schema(item, depth + 1) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is tuple or origin in _ARRAYS:
        unique: Schema = {"uniqueItems": True} if origin in (set, frozenset, collections.abc.Set) else {}
        return {"type": "array", **_said("items", _schema(arguments[0], depth + 1)), **unique}
    if origin in _OBJECTS:
        return {"type": "object", **_said("additionalProperties", _schema(arguments[1], depth + 1))}
    return _schema(origin, depth + 1)


def _said(key: str, schema: Schema) -> Schema:
    return {key: schema} if schema else {}


def _annotated(annotation: Any, metadata: tuple[Any, ...], depth: int) -> Schema:
    schema = _schema(annotation, depth + 1)
    for item in metadata:
        text = (
            item
            if isinstance(item, str)
            else getattr(item, "description", None) or getattr(item, "documentation", None)
        )
        if isinstance(text, str):
            schema["description"] = text
    return schema


def _union(arguments: tuple[Any, ...], depth: int) -> Schema:
    schemas = [_schema(item, depth + 1) for item in arguments]
    if not all(schemas):
        return {}
    simple = [schema["type"] for schema in schemas if list(schema) == ["type"]]
    if len(simple) == len(schemas):
        return {"type": simple}
    return {"anyOf": schemas}


def _choices(values: list[object]) -> Schema:
    kinds = {type(value) for value in values}
    typed = dict(_SIMPLE[kinds.pop()]) if len(kinds) == 1 and kinds <= {str, int, float, bool} else {}
    return {**typed, "enum": values}


def _class(kind: type[Any], depth: int) -> Schema:
    if issubclass(kind, enum.Enum):
        return _choices([item.value for item in kind])
    dumped = getattr(kind, "model_json_schema", None)
    if callable(dumped):
        return dict(dumped())
    named = next(
        (found for base in kind.__mro__ if (found := _BY_NAME.get((base.__module__, base.__qualname__)))), None
    )
    if named is not None:
        return dict(named)
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        needed = [
            field.name
            for field in dataclasses.fields(kind)
            if field.default is missing and field.default_factory is missing
        ]
        return _object(kind, [field.name for field in dataclasses.fields(kind)], needed, depth)
    if hasattr(kind, "__required_keys__"):  # a TypedDict
        return _object(kind, list(kind.__annotations__), sorted(kind.__required_keys__), depth)
    return next((dict(_SIMPLE[base]) for base in kind.__mro__ if base in _SIMPLE), {})


def _object(kind: type[Any], keys: list[str], required: list[str], depth: int) -> Schema:
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - a name that only type checkers know
        hints = {}
    schema: Schema = {
        "type": "object",
        "properties": {key: _schema(hints.get(key), depth + 1) for key in keys if key in hints},
    }
    return {**schema, "required": required} if required else schema
