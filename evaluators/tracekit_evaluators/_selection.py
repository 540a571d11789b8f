"""Which traces a run reads, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError
from tracekit_evaluators._ids import TraceIds, once
from tracekit_evaluators._stretches import quoted, stretches, those

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_AT_ONCE = 20_000
_COLUMNS = "trace_id, agent_name, agent_version"
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
    return selected(store, found, limit=limit, tidy=True)[0]


def selected(store: Store, found: str | None, *, limit: int | None, tidy: bool = False) -> tuple[Sequence[str], Makers]:
    """The ids of the traces that a condition picks, newest first, and who made them.

    Args:
        store: Where they are; what waits in its inbox is settled first.
        found: The condition.
        limit: At most so many.
        tidy: Whether small files are joined then; whoever carries a run out does so meanwhile.

    Raises:
        NotFoundError: It picks none.
    """
    store.settle(tidy=tidy)
    counted: Counter[Maker] = Counter()
    # One that has a span settled meanwhile may begin in two stretches.
    ids = once(TraceIds.of(_ids(_made(store, found, limit), counted)))
    if not ids:
        asked = (found or "").replace(_NOT_JUDGING, "").removeprefix(" AND ").strip()
        what = f"no trace in {store.location} matches {asked}" if asked else f"{store.location} holds no traces"
        raise NotFoundError(f"{what}; `tracekit traces` shows what is there")
    return ids, _told(store, counted)


def makers(store: Store, ids: Collection[str]) -> Makers:
    """Who made these traces."""
    counted: Counter[Maker] = Counter()
    for page in those(store, ids, _COLUMNS):
        counted += _counted(page)
    return _told(store, counted)


def _made(store: Store, found: str | None, limit: int | None) -> Iterator[pa.Table]:
    """The ids and makers of these traces, newest first, some thousands at a time."""
    if limit is None:
        tables: Iterable[pa.Table] = stretches(store, found, _COLUMNS)
    else:
        tables = [store.find(where=found, limit=limit, columns=_COLUMNS, settle=False).to_arrow()]
    for table in tables:
        yield from (table.slice(start, _AT_ONCE) for start in range(0, table.num_rows, _AT_ONCE))


def _ids(pages: Iterable[pa.Table], counted: Counter[Maker]) -> Iterator[str]:
    for page in pages:
        counted.update(_counted(page))
        yield from map(str, page.column("trace_id").to_pylist())


def _counted(table: pa.Table) -> Counter[Maker]:
    rows = table.group_by(["agent_name", "agent_version"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(_text(row["agent_name"]), _text(row["agent_version"])): row["count_all"] for row in rows})


def _told(store: Store, counted: Counter[Maker]) -> Makers:
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
        return f"agent_name = {quoted(name)}"
    wanted = store.catalog.agents.resolve(ref)
    seen = store.sql("SELECT DISTINCT agent_version FROM traces WHERE agent_name = ?", [name], settle=False)
    labels = [_text(row[0]) for row in seen.fetchall()]
    known = {label: store.catalog.agents.find(name, label) for label in labels}
    matching = [label for label, version in known.items() if version is not None and version.id == wanted.id]
    named = ", ".join(quoted(label) for label in matching if label is not None)
    parts = [f"agent_version IN ({named})"] if named else []
    parts += ["agent_version IS NULL"] if None in matching else []
    if not parts:
        raise NotFoundError(f"no trace in {store.location} is of {wanted.ref}; `tracekit traces` shows what is there")
    return f"(agent_name = {quoted(name)} AND ({' OR '.join(parts)}))"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
