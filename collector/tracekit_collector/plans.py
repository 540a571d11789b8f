"""All dialects' ranked keys as one index, and what of it is there for spans of one shape: their plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tracekit_collector.dialects import Dialect, Key, Lift, Shape
from tracekit_collector.fields import EMPTY, READERS, Reader

_EMPTY_RANK = 1000  # added for a payload that says nothing: it wins only where nothing else is there
_PAYLOADS = frozenset({"input", "output", "tool_arguments", "tool_result"})


# A field that an attribute may hold, or an attribute that may hold a field; with the rank, and the reader.
Place = tuple[str, int, Reader]


class Index(NamedTuple):
    """The keys of all dialects, by attribute."""

    places: dict[str, tuple[Place, ...]]
    resource: dict[str, tuple[Place, ...]]
    steps: dict[str, tuple[tuple[int, Mapping[str, str]], ...]]
    lifts: tuple[Lift, ...]


class Plan(NamedTuple):
    """How spans of one shape are read: what of the index is there at all, in the order of ranks.

    Args:
        steps: (key, what its values mean, what any other value means).
        step_ranks: (key, rank, what its values mean).
        single: Of fields that are no payload: (field, ((key, reader), ...)).
        payloads: (field, places) of payloads, where an empty one gives way.
        ranked: (field, places) of all fields.
        lifts: Those that are asked of every span.
        with_events: And of one that has events.
        dialect: The label.
    """

    steps: tuple[tuple[str, Mapping[str, str], str | None], ...]
    step_ranks: tuple[tuple[str, int, Mapping[str, str]], ...]
    single: tuple[tuple[str, tuple[tuple[str, Reader], ...]], ...]
    payloads: tuple[tuple[str, tuple[Place, ...]], ...]
    ranked: tuple[tuple[str, tuple[Place, ...]], ...]
    lifts: tuple[Lift, ...]
    with_events: tuple[Lift, ...]
    dialect: str | None


def index_of(dialects: Iterable[Dialect]) -> Index:
    """Turn the dialects' ranked keys, field by field, into one look-up by attribute.

    Args:
        dialects: All that are installed.

    Raises:
        KeyError: A dialect names a field that is no derived column.
    """
    places: dict[str, list[Place]] = {}
    resource: dict[str, list[Place]] = {}
    steps: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    lifts: list[Lift] = []
    for dialect in dialects:
        for table, into in ((dialect.keys, places), (dialect.resource, resource)):
            for field, keys in table.items():
                for key in keys:
                    into.setdefault(key.name, []).append(_place(field, key))
        for (key_name, rank), meanings in dialect.steps.items():
            steps.setdefault(key_name, []).append((rank, meanings))
        lifts += dialect.lifts
    return Index(
        {key: tuple(found) for key, found in places.items()},
        {key: tuple(found) for key, found in resource.items()},
        {key: tuple(found) for key, found in steps.items()},
        tuple(sorted(lifts, key=lambda lift: lift.rank)),
    )


def plan_of(index: Index, dialects: Iterable[Dialect], shape: Shape) -> Plan:
    """How the spans of a shape are read."""
    by_field: dict[str, list[Place]] = {}
    steps: list[tuple[int, str, Mapping[str, str]]] = []
    for key in shape.keys:
        for field, rank, read in index.places.get(key, ()):
            by_field.setdefault(field, []).append((key, rank, read))
        steps += [(rank, key, meanings) for rank, meanings in index.steps.get(key, ())]
    steps.sort(key=lambda step: step[:2])
    ranked = tuple(
        (field, tuple(sorted(places, key=lambda place: (place[1], place[0])))) for field, places in by_field.items()
    )
    lifts = tuple(lift for lift in index.lifts if lift.on(shape))
    return Plan(
        tuple((key, meanings, meanings.get("*")) for _, key, meanings in steps),
        tuple((key, rank, meanings) for rank, key, meanings in steps),
        tuple(
            (field, tuple((key, read) for key, _, read in places)) for field, places in ranked if field not in _PAYLOADS
        ),
        tuple((field, places) for field, places in ranked if field in _PAYLOADS),
        ranked,
        tuple(lift for lift in lifts if not lift.events),
        lifts,
        next((dialect.name for dialect in dialects if dialect.recognises(shape)), None),
    )


def _place(field: str, key: Key) -> Place:
    return (field, key.rank, key.read or READERS[field])


Best = dict[str, tuple[int, object]]


def offer(best: Best, field: str, rank: int, value: object) -> None:
    """Keep a field's value if it is filled and none of a lower rank is held."""
    if value is None:
        return
    if field in _PAYLOADS and value in EMPTY:
        rank += _EMPTY_RANK
    held = best.get(field)
    if held is None or rank < held[0]:
        best[field] = (rank, value)
