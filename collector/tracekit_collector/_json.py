"""What stands in a text: JSON, JSON in JSON, Python's own notation of a value, or JSON that was cut off."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

import orjson

_DEEPEST = 254  # levels that orjson writes: text that is nested deeper stays text
_LONGEST_REPR = 200_000  # characters of Python's own notation that are worth reading
_LONGEST_CUT = 2_000_000  # characters of JSON that was cut off
_ROUNDS = 3
_PYTHON = re.compile(r"'|\b(?:None|True|False)\b")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s"\[\]{},:]+', re.DOTALL)
_CLOSERS = {"{": "}", "[": "]"}


def decoded(value: object) -> Any:
    """What a JSON text holds, through at most three layers of quoting; anything else as it is.

    Only objects, arrays and quoted texts are taken for JSON: `30` and `true` stay texts. What is no JSON but a dict or
    list in Python's notation is read as that.

    Example:
        >>> decoded('{"a": 1}'), decoded('"plain"'), decoded("30"), decoded("{'a': None}")
        ({'a': 1}, 'plain', '30', {'a': None})
    """
    for _ in range(_ROUNDS):
        if type(value) is not str:
            return value
        first = value[:1]
        if first not in '{["' or not first:
            if not first.isspace():
                return value
            first = value.lstrip()[:1]
            if first not in '{["' or not first:
                return value
        try:
            found = orjson.loads(value)
            if len(value) > 2 * _DEEPEST and value.count("[") + value.count("{") > _DEEPEST:
                orjson.dumps(found)  # refuses what is nested deeper
        except orjson.JSONDecodeError:
            return value if first == '"' else _python(value)
        except (orjson.JSONEncodeError, RecursionError):
            return value
        value = found
    return value


def _python(text: str) -> Any:
    """A dict or list in Python's notation; the text itself where it is none."""
    if len(text) > _LONGEST_REPR or text.rstrip()[-1:] not in ("}", "]") or not _PYTHON.search(text):
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python will one day refuse
            found = ast.literal_eval(text.strip())
            orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS)  # what is no JSON at all stays text
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, (dict, list)) else text


def salvaged(text: str) -> Any:
    """What can be read of a JSON object or array that was cut off; None where nothing can.

    Example:
        >>> salvaged('[{"role": "user", "content": "How lo')
        [{'role': 'user', 'content': 'How lo'}]
    """
    if len(text) > _LONGEST_CUT or text.lstrip()[:1] not in ("{", "["):
        return None
    open_: list[str] = []
    whole: tuple[int, str] | None = None  # the end of the last whole member, and what closes all that is open there
    end = 0
    for token in _TOKEN.finditer(text):
        if text[end : token.start()].strip():
            break
        end = token.end()
        sign = token[0]
        if sign in _CLOSERS:
            open_.append(_CLOSERS[sign])
            whole = (end, "".join(reversed(open_)))
        elif sign in ("}", "]"):
            if not open_ or open_.pop() != sign:
                return None
            whole = (end, "".join(reversed(open_)))
        elif sign == ",":
            whole = (token.start(), "".join(reversed(open_)))
        if len(open_) > _DEEPEST:
            return None
    rest = text[end:].lstrip()
    if rest[:1] == '"':  # cut inside a text: what is there of it is kept
        partial = re.sub(r"\\(?:u[0-9a-fA-F]{0,3})?$", "", rest) + '"'
        found = _loaded(text[:end] + partial + "".join(reversed(open_)))
        if found is not None:
            return found
    return None if whole is None else _loaded(text[: whole[0]] + whole[1])


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
