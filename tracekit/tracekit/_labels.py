"""Tags and metadata on every span inside a block."""

from __future__ import annotations

from types import TracebackType

from opentelemetry import context as otel_context

from tracekit import _content
from tracekit import attributes as names
from tracekit._capture import clean_text
from tracekit._identity import Scope, facts


class Tags:
    """A block whose spans carry some tags besides those of the blocks around it; use it with `with` or `async with`."""

    __slots__ = ("_scopes", "_tags")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._tags = tuple(clean_text(str(tag)) for tag in tags)
        self._scopes: list[Scope] = []

    def __enter__(self) -> tuple[str, ...]:
        around = facts(otel_context.get_current()).get(names.TAGS, ())
        kept = tuple(str(tag) for tag in around) if isinstance(around, (list, tuple)) else ()
        together = tuple(dict.fromkeys((*kept, *self._tags)))
        scope = Scope("", {names.TAGS: together})
        scope.__enter__()
        self._scopes.append(scope)
        return together

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scopes:
            self._scopes.pop().__exit__(kind, error, trace)

    async def __aenter__(self) -> tuple[str, ...]:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def tags(*values: str) -> Tags:
    """Put tags on every span inside the block, besides those of the blocks around it.

    Args:
        values: The tags.

    Returns:
        A block to be used with `with` or `async with`; it gives all the tags that are in force.

    Example:
        >>> with tags("beta"), tags("night") as all_of_them:
        ...     all_of_them
        ('beta', 'night')
    """
    return Tags(values)


def metadata(**values: object) -> Scope:
    """Put facts of your own on every span inside the block, as `tracekit.metadata.<keyword>`.

    Args:
        values: The facts; `None` is unknown, and sets nothing.

    Returns:
        A block to be used with `with` or `async with`.

    Example:
        >>> import tracekit
        >>> with metadata(shelf=3), tracekit.span("look") as step:
        ...     step.set(row=1)
    """
    return Scope("", _content.facts({"metadata": values}))
