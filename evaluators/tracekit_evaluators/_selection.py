"""Which traces a run reads, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError
from tracekit_evaluators._ids import TraceIds

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_AT_ONCE = 20_000
_COUNTED = 100_000  # each time, all traces are put together
# Traces of judging itself, which nobody means when asking for traces to judge.
_NOT_JUDGING = "trace_id NOT IN (SELECT trace_id FROM spans WHERE step = 'evaluator' AND parent_span_id IS NULL)"
Maker = tuple[str | None, str | None]


@dataclass(frozen=True)
class Makers:
    """Who made a run's traces.

    Args:
        version: The one agent version that made them all; `None` where there are several, or none is known.
        counts: Traces by version, as `name@number`; `unknown` where a trace names no agent.
    """

    version: AgentVersion | None
    counts: dict[str, int]


def condition(store: Store, *, where: str | None, agent: str | None) -> str:
    """The user's filter and the agent's, as one condition over the view `traces`.

    Args:
        store: Whose catalog knows the agent.
        where: A condition in SQL.
        agent: `name`, for all of its versions, or `name@version` as `tracekit agents` shows them.

    Raises:
        NotFoundError: There is no such agent or version.
    """
    parts = [_NOT_JUDGING]
    if where and where.strip():
        parts.append(f"({where}\n)")
    if agent:
        parts.append(_of_agent(store, agent))
    return " AND ".join(parts)


def trace_ids(store: Store, found: str | None, *, limit: int | None) -> Sequence[str]:
    """The ids of the traces that a condition picks, newest first.

    Raises:
        NotFoundError: It picks none.
    """
    column = store.find(where=found, limit=limit, columns="trace_id").to_arrow().column("trace_id")
    pages = (column.slice(start, _AT_ONCE).to_pylist() for start in range(0, len(column), _AT_ONCE))
    ids = TraceIds.of(str(each) for page in pages for each in page)
    if not ids:
        asked = (found or "").replace(_NOT_JUDGING, "").removeprefix(" AND ").strip()
        what = f"no trace in {store.location} matches {asked}" if asked else f"{store.location} holds no traces"
        raise NotFoundError(f"{what}; `tracekit traces` shows what is there")
    return ids


def makers(store: Store, ids: Collection[str]) -> Makers:
    """Who made these traces."""
    counted: Counter[Maker] = Counter()
    query = (
        "SELECT agent_name, agent_version, count(*) FROM traces "
        "WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY ALL"
    )
    for batch in _batches(ids if isinstance(ids, Sequence) else list(ids)):
        for name, label, count in store.sql(query, [batch], settle=False).fetchall():
            maker = (_text(name), _text(label))
            counted[maker] += count if isinstance(count, int) else 0
    versions: dict[str, AgentVersion] = {}
    counts: Counter[str] = Counter()
    for (name, label), count in counted.items():
        version = None if name is None else store.catalog.agents.find(name, label)
        ref = "unknown" if version is None else version.ref
        counts[ref] += count
        if version is not None:
            versions[ref] = version
    only = next(iter(versions.values())) if len(versions) == 1 and len(counts) == 1 else None
    return Makers(only, dict(sorted(counts.items())))


def _of_agent(store: Store, ref: str) -> str:
    store.settle()
    name, at, _ = ref.partition("@")
    if not at:
        store.catalog.agents.versions(name)
        return f"agent_name = {_quoted(name)}"
    wanted = store.catalog.agents.resolve(ref)
    seen = store.sql("SELECT DISTINCT agent_version FROM traces WHERE agent_name = ?", [name], settle=False)
    labels = [_text(row[0]) for row in seen.fetchall()]
    known = {label: store.catalog.agents.find(name, label) for label in labels}
    matching = [label for label, version in known.items() if version is not None and version.id == wanted.id]
    named = ", ".join(_quoted(label) for label in matching if label is not None)
    parts = [f"agent_version IN ({named})"] if named else []
    parts += ["agent_version IS NULL"] if None in matching else []
    if not parts:
        raise NotFoundError(f"no trace in {store.location} is of {wanted.ref}; `tracekit traces` shows what is there")
    return f"(agent_name = {_quoted(name)} AND ({' OR '.join(parts)}))"


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _COUNTED):
        yield list(ids[start : start + _COUNTED])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
