"""A function's parameters, worked out once, so that a call's arguments get their names quickly."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tracekit.errors import UsageError

_UNFILLED = object()
_RECEIVERS = frozenset({"self", "cls"})


class Parameters:
    """Names a call's arguments.

    Args:
        function: The function that is called.
        keep: The names to keep; `None` for all of them.
        drop: The names to leave out.

    Raises:
        UsageError: `keep` or `drop` names a parameter that the function does not have.

    Example:
        >>> def search(self, query, limit=5): ...
        >>> Parameters(search).named((None, "x"), {})
        {'query': 'x', 'limit': 5}
    """

    __slots__ = ("_blank", "_positional", "_rest", "_rest_by_name", "_rules", "_selects", "_skip")

    def __init__(
        self, function: Callable[..., Any], keep: Iterable[str] | None = None, drop: Iterable[str] = ()
    ) -> None:
        try:
            found = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # some callables written in C tell nobody their parameters
            found = [
                inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("keywords", inspect.Parameter.VAR_KEYWORD),
            ]
        positional = [item for item in found if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
        self._skip = 1 if positional and positional[0].name in _RECEIVERS else 0
        self._positional = tuple(item.name for item in positional[self._skip :])
        named = [item for item in found if item.kind is item.KEYWORD_ONLY or item in positional[self._skip :]]
        self._blank: dict[str, object] = {
            item.name: _UNFILLED if item.default is item.empty else item.default for item in named
        }
        self._rest = next((item.name for item in found if item.kind is item.VAR_POSITIONAL), None)
        self._rest_by_name = next((item.name for item in found if item.kind is item.VAR_KEYWORD), None)
        self._rules = (None if keep is None else frozenset(keep), frozenset(drop))
        unknown = sorted(((self._rules[0] or frozenset()) | self._rules[1]) - {item.name for item in found})
        if unknown:
            known = ", ".join(item.name for item in found) or "none"
            raise UsageError(f"capture names {', '.join(unknown)}, which is no parameter; there are: {known}")
        self._selects = keep is not None or bool(self._rules[1])

    def named(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments of a call by parameter name, in the order of the signature, defaults applied.

        Args:
            args: The positional arguments, the receiver of a method included.
            kwargs: The arguments by name.
        """
        values = self._blank.copy()
        if self._skip:
            args = args[1:]
        values.update(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional) and self._rest is not None:
            values[self._rest] = args[len(self._positional) :]
        if kwargs:
            if kwargs.keys() <= self._blank.keys():
                values.update(kwargs)
            else:
                values.update({key: value for key, value in kwargs.items() if key in self._blank})
                extra = {key: value for key, value in kwargs.items() if key not in self._blank}
                values[self._rest_by_name or "keywords"] = extra
        for name in [name for name, value in values.items() if value is _UNFILLED]:
            del values[name]  # the call is about to fail for want of it
        if self._selects:
            keep, drop = self._rules
            return {
                name: value for name, value in values.items() if (keep is None or name in keep) and name not in drop
            }
        return values
