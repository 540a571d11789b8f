"""What is shown of objects that JSON does not know: as one text, or as named parts."""

from __future__ import annotations

import base64
import dataclasses
import os
import types
from collections.abc import Callable
from typing import Any

_BYTES_SHOWN = 48
_ROWS_SHOWN = 5
_NUMBERS_SHOWN = 32


def qualified_name(kind: type) -> str:
    """A class's module and name, without the module for built-in ones."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def type_name(value: object) -> str:
    """The name of a value's class, whatever the class does."""
    try:
        return str(type(value).__qualname__)
    except Exception:  # noqa: BLE001 - a metaclass can refuse even this
        return "object"


def _function_name(value: object) -> str:
    return f"<function {getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}>"


_WRITERS: tuple[tuple[tuple[type, ...], Callable[[Any], str]], ...] = (
    ((os.PathLike,), os.fsdecode),
    ((complex,), str),
    ((type,), lambda value: f"<class {qualified_name(value)}>"),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), _function_name),
    ((types.ModuleType,), lambda value: f"<module {value.__name__}>"),
)

# By name, so that nobody pays for importing what nobody uses.
_WRITTEN_AS_TEXT = frozenset(
    {
        ("datetime", "date"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
    }
)


def written(value: object) -> str | None:
    """The text of an object that is best told as one; `None` for others."""
    if not _WRITTEN_AS_TEXT.isdisjoint((base.__module__, base.__qualname__) for base in type(value).__mro__):
        return str(value.isoformat() if hasattr(value, "isoformat") else value)
    return next((write(value) for kinds, write in _WRITERS if isinstance(value, kinds)), None)


def fields(value: object) -> object:
    """The named parts of an object that has some: exceptions, dataclasses, attrs, pydantic, numpy, pandas."""
    if isinstance(value, BaseException):
        return {"type": qualified_name(type(value)), "message": str(value)}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    kind = type(value)
    attrs = getattr(kind, "__attrs_attrs__", None)
    if attrs is not None:
        return {field.name: getattr(value, field.name, None) for field in attrs}
    dump = getattr(kind, "model_dump", None)
    if callable(dump):
        return dump(value)
    package = str(kind.__module__).partition(".")[0]
    if package == "numpy":
        return _numpy(value)
    if package in {"pandas", "polars"}:
        return _table(value)
    return None


def bytes_preview(value: bytes | bytearray | memoryview) -> dict[str, object]:
    """The size and the first bytes."""
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    head = bytes(value[:_BYTES_SHOWN]) if not isinstance(value, memoryview) else value.tobytes()[:_BYTES_SHOWN]
    shown = {"type": "bytes", "size": size, "base64": base64.b64encode(head).decode()}
    if size > _BYTES_SHOWN:
        shown["base64"] = f"{shown['base64']}…[truncated: {size - _BYTES_SHOWN} more bytes]"
    return shown


def _numpy(value: Any) -> object:
    if hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "ravel"):
        if value.shape == ():
            return value.item()
        shown: dict[str, object] = {"type": type(value).__name__, "dtype": str(value.dtype)}
        whole = value.size <= _NUMBERS_SHOWN
        head = value.tolist() if whole else value.ravel()[:_NUMBERS_SHOWN].tolist()
        return {**shown, "shape": list(value.shape), "values" if whole else "first values": head}
    return None


def _table(value: Any) -> dict[str, object] | None:
    if not (hasattr(value, "head") and hasattr(value, "shape")):
        return None
    shown: dict[str, object] = {"type": type(value).__name__, "shape": list(value.shape)}
    head = value.head(_ROWS_SHOWN)
    if hasattr(head, "to_dicts"):
        return {**shown, "first rows": head.to_dicts()}
    if hasattr(value, "columns"):
        return {**shown, "columns": list(value.columns), "first rows": head.to_dict("records")}
    return {**shown, "first values": head.to_list() if hasattr(head, "to_list") else head.tolist()}
