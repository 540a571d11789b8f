"""Dialects: how the many writers of GenAI spans say what a step did, and the door through which a new one comes.

A dialect is one module with a factory under the entry-point group `tracekit.dialects` that returns a `Dialect`. It says
which attribute keys hold which field, each with a rank, and lifts what no single key can say (flattened messages,
wrapped payloads). Several dialects may stand on one span: every field takes the filled value of the lowest rank,
whoever offers it. Ranks in use: 0-9 our own keys and corrections, 10-49 keys that say the field, 50-69 what must be
lifted from something else, 70-99 last resorts. The ranks of all dialects stand in one order, which `docs/dialects.md`
shows field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from tracekit import plugins
from tracekit.errors import PluginError

GROUP = "tracekit.dialects"
NOTHING = object()  # from a lift: what looser keys say about this field is not what the field means


@dataclass(slots=True)
class Event:
    """A span event: its name, time (ns since 1970) and attributes as Python values."""

    name: str
    time_ns: int
    attributes: dict[str, object]


@dataclass(slots=True)
class RawSpan:
    """One span as it came, its values decoded to Python (str, bool, int, float, bytes, list, dict, None).

    Args:
        name: The span's name.
        kind: OTel's kind: internal, server, client, producer, consumer or unspecified.
        attributes: Of a key that came twice, the last value.
        events: In the order they came.
        resource: The resource's attributes.
        scope_name: The instrumentation scope's name.
        scope_version: And version.
        status: unset, ok or error.
        status_message: OTel's status description.
    """

    name: str
    kind: str = "internal"
    attributes: dict[str, object] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    resource: dict[str, object] = field(default_factory=dict)
    scope_name: str = ""
    scope_version: str = ""
    status: str = "unset"
    status_message: str = ""


class Shape(NamedTuple):
    """What spans of one writer and one sort have in common: their scope and the keys of their attributes."""

    scope_name: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute that may hold a field.

    Args:
        name: The attribute's key.
        rank: The lower wins among filled values.
        read: Turns the attribute's value into the field's; the field's own reader when not given.
    """

    name: str
    rank: int
    read: Callable[[object], object] | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """By what a span is known for a dialect's: any one of these.

    Args:
        keys: Attribute keys that it has.
        prefixes: Of such a key.
        scopes: Beginnings of its scope's name.
        every: Every span is meant.
    """

    keys: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    every: bool = False

    def __call__(self, shape: Shape) -> bool:
        """Whether spans of this shape are meant."""
        return (
            self.every
            or not self.keys.isdisjoint(shape.keys)
            or bool(self.scopes and shape.scope_name.startswith(self.scopes))
            or bool(self.prefixes and any(key.startswith(self.prefixes) for key in shape.keys))
        )


@dataclass(frozen=True, slots=True)
class Lift:
    """Fields that several attributes, a part of one, an event or the name of a span tell.

    Args:
        rank: The rank of everything that it returns; a `step` of a rank below 10 wins, be it vague or not.
        on: The spans that it is called for.
        read: Takes the span and returns fields; absent or None means no word about the field, `NOTHING` that no key
            of a higher rank is to be believed.
        events: It reads span events, so a span without any is left out.
    """

    rank: int
    on: Callable[[Shape], bool]
    read: Callable[[RawSpan], Mapping[str, object]]
    events: bool = False


@dataclass(frozen=True)
class Dialect:
    """What one family of writers says, and where.

    Args:
        name: What the column `dialect` shows.
        rank: Who names a span that several recognise: the lowest.
        recognises: Whether spans of a shape are of this dialect; for the label only.
        keys: Field to the keys that may hold it. Fields are the derived columns of `spans`.
        steps: Attribute key and rank to what its values (lower case) mean as a step kind; what `*` means holds for
            every other value.
        resource: Field to the resource attributes that may hold it.
        lifts: What takes more than a key.
    """

    name: str
    rank: int
    recognises: Callable[[Shape], bool]
    keys: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    steps: Mapping[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)
    resource: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    lifts: tuple[Lift, ...] = ()


def marks(*keys: str, prefixes: Iterable[str] = (), scopes: Iterable[str] = ()) -> Marks:
    """Spans that have one of the keys, a key with one of the prefixes, or a scope whose name begins so."""
    return Marks(frozenset(keys), tuple(prefixes), tuple(scopes))


def named(rank: int, on: Callable[[Shape], bool], steps: Mapping[str, str]) -> Lift:
    """The step kind by a span's name.

    Args:
        rank: As of a key.
        on: The spans that it is asked for.
        steps: Name to step; one that ends in `*` stands for every name that begins so, the first that fits.
    """
    exact = {name: step for name, step in steps.items() if name[-1:] != "*"}
    begun = [(name[:-1], step) for name, step in steps.items() if name[-1:] == "*"]

    def read(span: RawSpan) -> Mapping[str, object]:
        found = exact.get(span.name)
        found = found or next((step for start, step in begun if span.name.startswith(start)), None)
        return {"step": found}

    return Lift(rank, on, read)


def ranked(first: int, *names: str) -> tuple[Key, ...]:
    """Keys with ranks that count up from `first`.

    Example:
        >>> [key.rank for key in ranked(10, "a", "b")]
        [10, 11]
    """
    return tuple(Key(name, first + place) for place, name in enumerate(names))


@lru_cache
def installed() -> tuple[Dialect, ...]:
    """Every installed dialect, by rank and name.

    Raises:
        PluginError: An entry point of the group does not give a `Dialect`.
    """
    found = []
    for point in plugins.points(GROUP):
        dialect = plugins.load(GROUP, point.name)
        if not isinstance(dialect, Dialect):
            raise PluginError(f"the dialect {point.name!r} ({point.value}) gives a {type(dialect).__name__}")
        found.append(dialect)
    return tuple(sorted(found, key=lambda dialect: (dialect.rank, dialect.name)))
