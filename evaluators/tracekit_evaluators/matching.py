"""How alike the arguments of a tool call are to those that were expected, by a rule for each tool and key."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

from tracekit.errors import UsageError

Rule = object
Likeness = Callable[[object, object], float]
MODES = ("exact", "ignore", "subset", "superset", "regex", "numeric", "schema", "text")


class Matcher:
    """Tells how alike two sets of arguments are, in [0,1].

    Args:
        rules: One rule for all tools, or a mapping of tool names or patterns to rules; `*` stands for all others,
            which are compared by `exact` where nothing says how. A rule is a mode, a function of what was said and
            what was expected that returns a bool or a number in [0,1], the `package.module:function` of one, or a
            mapping of argument names to such rules (and `*` for the rest).

    Modes:
        `exact`: equal values under equal keys; of both sides' keys, the share that are. `ignore`: always alike.
        `subset`: what was said is within what was expected; `superset`: the other way round. `regex`: what was
        expected are patterns. `numeric`: numbers within a relative tolerance of 1e-6, or as `{"numeric": 0.01}` says.
        `schema`: what was expected are JSON Schemas. `text`: equal but for case, spaces and punctuation.

    Raises:
        UsageError: A rule is none of these.

    Example:
        >>> Matcher({"search": {"query": "text", "*": "ignore"}})("search", {"query": "A b", "k": 3}, {"query": "a B"})
        1.0
        >>> Matcher()("book", {"seat": "1A", "meal": "x"}, {"seat": "1A"})
        0.5
    """

    def __init__(self, rules: Rule = None) -> None:
        given = rules if isinstance(rules, Mapping) else {"*": "exact" if rules is None else rules}
        self._by_tool = {str(tool): _of_arguments(rule) for tool, rule in given.items()}
        self._patterns = [(tool, rule) for tool, rule in self._by_tool.items() if tool != "*" and "*" in tool]

    def __call__(self, tool: str, said: object, wanted: object) -> float:
        """How alike the arguments said and wanted are; 1.0 where nothing is wanted of them (`None`)."""
        if wanted is None:
            return 1.0
        rule = self._by_tool.get(tool)
        if rule is None:
            rule = next((rule for pattern, rule in self._patterns if fnmatchcase(tool, pattern)), None)
        found = (rule or self._by_tool.get("*") or _exact)(said, wanted)
        return min(1.0, max(0.0, float(found)))


def _of_arguments(rule: Rule) -> Likeness:
    if isinstance(rule, Mapping) and not (set(rule) <= {"numeric"} and len(rule) == 1):
        return _by_key({str(key): _of_value(inner) for key, inner in rule.items()})
    if isinstance(rule, str) and rule in _WHOLE:
        return _WHOLE[rule]
    each = _of_value(rule)
    # A function is given all of the arguments; a mode for values goes through them key by key.
    return each if callable(rule) or (isinstance(rule, str) and ":" in rule) else _by_key({"*": each})


def _of_value(rule: Rule) -> Likeness:
    if callable(rule):
        function: Callable[[object, object], Any] = rule
        return lambda said, wanted: float(function(said, wanted))
    if isinstance(rule, Mapping) and set(rule) == {"numeric"} and isinstance(rule["numeric"], (int, float)):
        tolerance = float(rule["numeric"])
        return lambda said, wanted: float(_near(said, wanted, tolerance))
    if isinstance(rule, str):
        if rule in _VALUES:
            return _VALUES[rule]
        if ":" in rule:
            return _of_value(_imported(rule))
    raise UsageError(
        f"{rule!r} is no way to compare arguments; one of {', '.join(MODES)}, "
        '{"numeric": tolerance}, a function or package.module:function'
    )


def _imported(name: str) -> object:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"arguments cannot be compared by {name}: {error}") from None


def _by_key(rules: Mapping[str, Likeness]) -> Likeness:
    rest = rules.get("*", _exact_value)

    def likeness(said: object, wanted: object) -> float:
        if not isinstance(said, Mapping) or not isinstance(wanted, Mapping):
            return rest(said, wanted)
        keys = dict.fromkeys([*wanted, *said])
        counted = [key for key in keys if rules.get(str(key), rest) is not _ignored]
        alike = [rules.get(str(key), rest)(said[key], wanted[key]) for key in counted if key in said and key in wanted]
        return math.fsum(alike) / len(counted) if counted else 1.0

    return likeness


def _share(part: Mapping[object, object], whole: Mapping[object, object]) -> float:
    held = sum(1 for key, value in part.items() if key in whole and same(value, whole[key]))
    return held / len(part) if part else 1.0


def _exact(said: object, wanted: object) -> float:
    if isinstance(said, Mapping) and isinstance(wanted, Mapping):
        keys = len(said.keys() | wanted.keys())
        held = sum(1 for key, value in wanted.items() if key in said and same(said[key], value))
        return held / keys if keys else 1.0
    if said is None and wanted == {}:
        return 1.0
    return float(same(said, wanted))


def _exact_value(said: object, wanted: object) -> float:
    return float(same(said, wanted))


def _ignored(said: object, wanted: object) -> float:
    del said, wanted
    return 1.0


def _subset(said: object, wanted: object) -> float:
    if isinstance(said, Mapping) and isinstance(wanted, Mapping):
        return _share(said, wanted)
    if isinstance(said, list) and isinstance(wanted, list):
        return sum(1 for item in said if any(same(item, each) for each in wanted)) / len(said) if said else 1.0
    return float(same(said, wanted))


def _superset(said: object, wanted: object) -> float:
    return _subset(wanted, said)


def _regex(said: object, wanted: object) -> float:
    try:
        return float(re.search(str(wanted), said if isinstance(said, str) else str(said)) is not None)
    except re.error as error:
        raise UsageError(f"the expected argument {wanted!r} is no regular expression: {error}") from None


def _numeric(said: object, wanted: object) -> float:
    return float(_near(said, wanted, 1e-6))


def _near(said: object, wanted: object, tolerance: float) -> bool:
    a, b = _number(said), _number(wanted)
    if a is None or b is None:
        return same(said, wanted)
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12)


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float, str)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def _schema(said: object, wanted: object) -> float:
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - heavy, and rarely needed
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    if not isinstance(wanted, Mapping):
        raise UsageError(f"the expected argument {wanted!r:.100} is no JSON Schema")
    kind = validator_for(wanted)
    try:
        kind.check_schema(dict(wanted))
    except SchemaError as error:
        raise UsageError(f"the expected arguments are no JSON Schema: {error.message[:200]}") from None
    return float(kind(dict(wanted), registry=Registry()).is_valid(cast("Any", said)))


def _text(said: object, wanted: object) -> float:
    return float(plain(str(said)) == plain(str(wanted)))


_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """A text's words in lower case with one space between: case, spaces and punctuation do not count.

    Example:
        >>> plain("  Hello, World!")
        'hello world'
    """
    return " ".join(_WORD.findall(text.casefold()))


def same(a: object, b: object) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not.

    Example:
        >>> same([1, {"a": 2.0}], [1.0, {"a": 2}]), same(1, True)
        (True, False)
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


_WHOLE: dict[str, Likeness] = {
    "exact": _exact,
    "ignore": _ignored,
    "subset": _subset,
    "superset": _superset,
    "schema": _schema,
}
_VALUES: dict[str, Likeness] = {
    "exact": _exact_value,
    "ignore": _ignored,
    "subset": _subset,
    "superset": _superset,
    "regex": _regex,
    "numeric": _numeric,
    "schema": _schema,
    "text": _text,
}
