"""How a JSON input becomes the arguments of a callable, and what its annotations say of input and output."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from tracekit._definitions import annotations_of, schema_of, tool_definition
from tracekit.errors import UsageError

_AWAITED = (collections.abc.Awaitable, collections.abc.Coroutine)
_STREAMED = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
    collections.abc.Iterator,
    collections.abc.Generator,
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Arguments:
    """Makes a callable's arguments of one input.

    Args:
        function: The callable; one that tells nobody its parameters gets the input as its only argument.

    Example:
        >>> def answer(question: str, limit: int = 3): ...
        >>> Arguments(answer).bound("Why?"), Arguments(answer).bound({"question": "Why?", "limit": 1})
        ((['Why?'], {}), ([], {'question': 'Why?', 'limit': 1}))
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        told = inspect.unwrap(function)
        self._hints = annotations_of(told)
        try:
            found = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            found = [inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)]
        self._open = any(each.kind is each.VAR_KEYWORD for each in found)
        named = [each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        self._named = {each.name: each for each in named if each.kind is not each.POSITIONAL_ONLY}
        self._needed = [each.name for each in named if each.default is each.empty]
        self._none = not found
        if not named and len(found) == 1 and not self._open:  # *args alone
            named = found
        takes = [each for each in named if each.name in self._needed] if len(named) > 1 else named
        lone = len(takes) == 1 and takes[0].kind is not inspect.Parameter.KEYWORD_ONLY
        self._whole = takes[0].name if lone else None
        self._alone = lone and len(named) == 1 and not self._open

    def bound(self, given: object) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for an input, by position and by name.

        Raises:
            UsageError: It has no names where the callable needs several.
        """
        if self._none:
            return [], {}
        if self._whole is not None and not self._by_name(given):
            return [converted(self._hints.get(self._whole), given)], {}
        if not isinstance(given, Mapping):
            needed = ", ".join(self._needed or self._named)
            raise UsageError(f"the input must be an object with {needed}, not a {type(given).__name__}")
        return [], {str(key): converted(self._hints.get(str(key)), value) for key, value in given.items()}

    def schema(self) -> dict[str, object]:
        """The JSON schema of the input; `{}` where nothing is known."""
        if self._none:
            return {}
        by_name: dict[str, object] = dict(_parameters(self._function))
        if self._whole is None:
            return by_name
        whole = schema_of(self._hints.get(self._whole, Any))
        if self._alone or not whole or self._takes_mapping():
            return whole
        return {"anyOf": [whole, by_name]}

    def output_schema(self) -> dict[str, object]:
        """The JSON schema of the output, of what is yielded put together; `{}` where nothing is known."""
        hint = self._hints.get("return")
        if "return" not in self._hints:
            return {}
        while get_origin(hint) in _AWAITED:
            hint = get_args(hint)[-1]
        if get_origin(hint) in _STREAMED:
            item = schema_of(get_args(hint)[0])
            return item if item.get("type") == "string" else {"type": "array", **({"items": item} if item else {})}
        return {"type": "array"} if hint in _STREAMED else schema_of(hint)

    def _by_name(self, given: object) -> bool:
        if self._alone or not isinstance(given, Mapping) or self._takes_mapping():
            return False
        return set(self._needed) <= set(given) and (self._open or set(given) <= set(self._named))

    def _takes_mapping(self) -> bool:
        """Whether the one argument that is needed may well be an object itself."""
        hint = self._hints.get(self._whole or "")
        if hint is None or hint is Any:
            return False
        kind = schema_of(hint).get("type")
        return kind == "object" or kind is None or (isinstance(kind, list) and "object" in kind)


def converted(annotation: Any, value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    """A JSON value as what an annotation asks for, where that is a model, a dataclass, an enum, or a list of them.

    Args:
        annotation: A parameter's annotation.
        value: The value as JSON has it; itself where the annotation asks for nothing that is known here.

    Raises:
        ValueError: The value is none of the annotation's.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return converted(arguments[0], value)
    if origin in (Union, types.UnionType):
        kinds = [each for each in arguments if each is not type(None)]
        return converted(kinds[0], value) if len(kinds) == 1 and value is not None else value
    if isinstance(value, list) and origin in (list, collections.abc.Sequence) and arguments:
        return [converted(arguments[0], item) for item in value]
    if isinstance(value, Mapping) and origin in _MAPPINGS and arguments:
        return {key: converted(arguments[1], item) for key, item in value.items()}
    if not isinstance(annotation, type):
        return value
    if callable(getattr(annotation, "model_validate", None)):
        return annotation.model_validate(value)  # type: ignore[attr-defined]  # pydantic's, known by its shape
    if issubclass(annotation, enum.Enum):
        return annotation(value)
    if dataclasses.is_dataclass(annotation) and isinstance(value, Mapping):
        return _dataclass(annotation, value)
    return value


def _dataclass(kind: type[Any], value: Mapping[Any, Any]) -> Any:
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):  # a name that only type checkers know
        hints = {}
    try:
        return kind(**{str(key): converted(hints.get(str(key)), item) for key, item in value.items()})
    except TypeError as error:
        raise ValueError(f"the input is no {kind.__name__}: {error}") from None


def _parameters(function: Callable[..., Any]) -> Mapping[str, object]:
    found = tool_definition(function)["parameters"]
    return found if isinstance(found, Mapping) else {}
