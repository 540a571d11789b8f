"""The digest of a judge's code: its own source, and what it uses of its module."""

from __future__ import annotations

import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType

_SIMPLE = (str, bytes, int, float, bool, type(None))


def code_digest(code: Callable[..., object]) -> str:
    """SHA-256, in hex, over a function's or class's source and all that it names in its own module.

    Functions, classes, constants and compiled patterns of the same module that it names count as its own, as do the
    values that it closes over; what it imports from elsewhere does not.

    Args:
        code: A function, a class, or an object that can be called.
    """
    parts = sorted(set(_parts(code, set())))
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).hexdigest()


def _parts(code: object, seen: set[int]) -> Iterator[str]:
    code = inspect.unwrap(code) if isinstance(code, FunctionType) else code
    if id(code) in seen:
        return
    seen.add(id(code))
    if isinstance(code, type):
        yield _source(code)
        for member in vars(code).values():
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(function, FunctionType):
                yield from _parts(function, seen)
    elif isinstance(code, FunctionType):
        yield _source(code)
        for cell in code.__closure__ or ():
            yield from _constant("closure", _contents(cell), code.__module__, seen)
        for name in sorted(_names(code.__code__)):
            if name in code.__globals__:
                yield from _constant(name, code.__globals__[name], code.__module__, seen)
    else:
        yield from _parts(type(code), seen)


def _constant(name: str, value: object, module: str, seen: set[int]) -> Iterator[str]:
    if isinstance(value, re.Pattern):
        yield f"{name}={value.pattern!r}/{value.flags}"
    elif isinstance(value, (FunctionType, type)):
        if value.__module__ == module:
            yield from _parts(value, seen)
    elif isinstance(value, _SIMPLE):
        yield f"{name}={value!r}"
    elif isinstance(value, (tuple, list)) and all(isinstance(item, _SIMPLE) for item in value):
        yield f"{name}={list(value)!r}"
    elif isinstance(value, (set, frozenset)) and all(isinstance(item, _SIMPLE) for item in value):
        yield f"{name}={sorted(map(repr, value))!r}"
    elif isinstance(value, dict) and all(isinstance(item, _SIMPLE) for pair in value.items() for item in pair):
        yield f"{name}={sorted((repr(key), repr(item)) for key, item in value.items())!r}"


def _source(code: FunctionType | type) -> str:
    try:
        return textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        # Typed at a prompt or made by exec: the compiled form is what there is.
        if isinstance(code, FunctionType):
            return f"{code.__qualname__}:{code.__code__.co_code.hex()}:{_readable(code.__code__.co_consts)}"
        return f"{code.__module__}.{code.__qualname__}"


def _readable(constants: tuple[object, ...]) -> str:
    # A nested code object's repr holds a memory address.
    return repr([item.co_code.hex() if isinstance(item, CodeType) else item for item in constants])


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _contents(cell: object) -> object:
    try:
        return cell.cell_contents  # type: ignore[attr-defined]  # closures hold cells, which have no public type
    except ValueError:
        return None
