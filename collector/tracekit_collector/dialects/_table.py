"""The ranked keys of all installed dialects as Markdown, for `docs/dialects.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tracekit_collector import fields
from tracekit_collector.dialects import Dialect

Row = tuple[int, str, str, str]  # rank, key, dialect, reader


def keys_table(dialects: Iterable[Dialect]) -> str:
    """Field to its keys, the winning one first, each with its rank, its dialect and what reads it.

    Args:
        dialects: For example `installed()`.
    """
    rows: dict[str, list[Row]] = {}
    for dialect in dialects:
        for place, table in (("", dialect.keys), (" (resource)", dialect.resource)):
            for field, keys in table.items():
                for key in keys:
                    reader = key.read or fields.READERS[field]
                    name = getattr(reader, "__name__", "").lstrip("_")
                    rows.setdefault(field, []).append((key.rank, f"`{key.name}`{place}", dialect.name, name))
    lines = ["| field | rank | key | dialect | reader |", "|---|--:|---|---|---|"]
    for field in fields.READERS:
        for place_in, (rank, key_name, dialect_name, reader_name) in enumerate(sorted(rows.get(field, []))):
            shown = f"`{field}`" if place_in == 0 else ""
            lines.append(f"| {shown} | {rank} | {key_name} | {dialect_name} | {reader_name} |")
    return "\n".join(lines) + "\n"


def steps_table(dialects: Iterable[Dialect]) -> str:
    """The keys that say a span's step kind, the winning one first, with what their values mean."""
    rows: list[tuple[int, str, str, Mapping[str, str]]] = [
        (rank, key, dialect.name, meanings) for dialect in dialects for (key, rank), meanings in dialect.steps.items()
    ]
    lines = ["| rank | key | dialect | values |", "|--:|---|---|---|"]
    for rank, key, name, meanings in sorted(rows, key=lambda row: row[:3]):
        by_step: dict[str, list[str]] = {}
        for value, step in meanings.items():
            by_step.setdefault(step, []).append("any other" if value == "*" else f"`{value}`")
        told = "; ".join(f"**{step}**: {', '.join(values)}" for step, values in by_step.items())
        lines.append(f"| {rank} | `{key}` | {name} | {told} |")
    return "\n".join(lines) + "\n"
