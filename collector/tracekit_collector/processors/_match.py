"""Which spans and records a rule is about: patterns of names and attributes, as users write them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tracekit.errors import PluginError

Patterns = str | Sequence[str]


class Names:
    """Patterns of which one has to fit: `*`, `?` and `[…]` as in file names, case counting.

    Args:
        given: Patterns, as a list or with commas between.

    Example:
        >>> names = Names("GET /health*, ping")
        >>> names.fit("GET /healthz"), names.fit("pong")
        (True, False)
    """

    def __init__(self, given: Patterns) -> None:
        listed = (
            [part.strip() for part in given.split(",")] if isinstance(given, str) else [str(part) for part in given]
        )
        patterns = [part for part in listed if part]
        if not patterns:
            raise PluginError(f"the pattern {given!r} is empty; give a name, or * for any")
        self._known: dict[str, bool] = {}
        self._regex = re.compile("|".join(fnmatch.translate(part) for part in patterns))

    def fit(self, text: str) -> bool:
        """Whether one of the patterns fits the whole of a text."""
        found = self._known.get(text)
        if found is None:
            found = self._regex.match(text) is not None
            if len(self._known) < 10_000:  # names may come from hostile content
                self._known[text] = found
        return found


class Rule:
    """A condition over a span or log record, its scope and its resource; all that is given has to hold.

    Args:
        scope: Patterns of the instrumentation scope's name.
        name: Patterns of the span's name, or of the record's event name.
        attributes: By key, patterns of an attribute's value, on the item or its resource. Numbers and booleans are
            compared as text.

    Raises:
        PluginError: A pattern is empty.
    """

    def __init__(
        self,
        *,
        scope: Patterns | None = None,
        name: Patterns | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        self._scope = None if scope is None else Names(scope)
        self._name = None if name is None else Names(name)
        self._attributes = {key: Names(_patterns(value)) for key, value in (attributes or {}).items()}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked, so that everything fits."""
        return self._scope is None and self._name is None and not self._attributes

    def may_fit(self, scope: str) -> bool:
        """Whether items of this scope may fit at all."""
        return self._scope is None or self._scope.fit(scope)

    def fits(self, item: Any, scope: str, resource: Iterable[KeyValue]) -> bool:
        """Whether an item fits.

        Args:
            item: A span or log record.
            scope: Its scope's name.
            resource: Its resource's attributes.
        """
        if not self.may_fit(scope):
            return False
        if self._name is not None and not self._name.fit(name_of(item)):
            return False
        if not self._attributes:
            return True
        found = {pair.key: pair.value for pairs in (resource, item.attributes) for pair in pairs}
        return all(key in found and names.fit(as_text(found[key])) for key, names in self._attributes.items())


def name_of(item: Any) -> str:
    """A span's name, or a log record's event name."""
    name = getattr(item, "name", None)
    if name is not None:
        return str(name)
    if item.event_name:
        return str(item.event_name)
    return next((pair.value.string_value for pair in item.attributes if pair.key == "event.name"), "")


def as_text(value: AnyValue) -> str:
    """A simple value as a pattern sees it; empty for bytes, lists and mappings."""
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return str(getattr(value, kind)) if kind in ("string_value", "int_value", "double_value") else ""


def groups(batch: Any) -> Iterator[tuple[Any, str, Any]]:
    """The resource, the scope's name, and the repeated field of spans or records, of every scope in a batch."""
    for outer in getattr(batch, "resource_spans", ()):
        for scope in outer.scope_spans:
            yield outer.resource, scope.scope.name, scope.spans
    for outer in getattr(batch, "resource_logs", ()):
        for scope in outer.scope_logs:
            yield outer.resource, scope.scope.name, scope.log_records


def count(batch: Any) -> int:
    """How many spans or log records a batch holds."""
    return sum(len(found) for _, _, found in groups(batch))


def reduce(found: Any, drop: Callable[[Any], bool]) -> int:
    """Take what is to be dropped out of a repeated field; returns how many there were."""
    kept = [item for item in found if not drop(item)]
    dropped = len(found) - len(kept)
    if dropped:  # all at once: removing one at a time moves all that follow, each time
        del found[:]
        found.extend(kept)
    return dropped


def without(pairs: Any, keys: Collection[str]) -> int:
    """Take the attributes with these keys out of a repeated field; returns how many there were."""
    return reduce(pairs, lambda pair: pair.key in keys)


def prune(batch: Any) -> None:
    """Remove scopes and resources that hold nothing any more."""
    for outers, inner, leaf in (
        (getattr(batch, "resource_spans", None), "scope_spans", "spans"),
        (getattr(batch, "resource_logs", None), "scope_logs", "log_records"),
    ):
        if outers is None:
            continue
        for at in range(len(outers) - 1, -1, -1):
            scopes = getattr(outers[at], inner)
            for place in range(len(scopes) - 1, -1, -1):
                if not getattr(scopes[place], leaf):
                    del scopes[place]
            if not scopes:
                del outers[at]


def _patterns(value: object) -> Patterns:
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
