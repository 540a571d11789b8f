"""What lineage counts in the lake: sums over columns of spans, scores and inference logs, never over whole traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from tracekit_collector.catalog import AgentVersion
from tracekit_collector.query import literal
from tracekit_collector.store import Store

_NEWEST = 5


@dataclass(frozen=True)
class Mine:
    """Whose rows are meant, as conditions in SQL.

    Args:
        spans: Over the columns of spans.
        inferences: Over those of inference logs.
        run_id: The run whose scores are meant besides those on its traces.
        trace_id: The one trace, where it is one.
    """

    spans: str
    inferences: str
    run_id: str | None = None
    trace_id: str | None = None


def of_version(store: Store, version: AgentVersion) -> Mine:
    """What names a version, as `Agents.find` reads names: its label, or its digest; nothing, where it has no label."""
    known = [each for each in (version.label, version.digest) if each is not None]
    named = f"agent_version IN ({', '.join(map(literal, known))})" if known else "false"
    nameless = store.catalog.agents.find(version.agent, None)
    if nameless is not None and nameless.id == version.id:
        named = f"({named} OR agent_version IS NULL)"
    where = f"agent_name = {literal(version.agent)} AND {named}"
    return Mine(where, where)


def of_run(run_id: str) -> Mine:
    """What a run made or judged."""
    mine = f"run_id = {literal(run_id)}"
    judged = f"SELECT trace_id FROM lake_scores WHERE {mine} AND trace_id IS NOT NULL"  # noqa: S608 - a literal
    made = f"SELECT trace_id FROM lake_spans WHERE {mine}"  # noqa: S608 - the same
    among = f"trace_id IN ({made} UNION {judged})"
    return Mine(among, among, run_id=run_id)


def of_trace(trace_id: str) -> Mine:
    """One trace."""
    where = f"trace_id = {literal(trace_id)}"
    return Mine(where, where, trace_id=trace_id)


def traces(store: Store, mine: Mine) -> dict[str, Any]:
    """How many traces and spans, when the first and last began, and the newest ones' ids."""
    query = (
        "SELECT count(DISTINCT trace_id) AS count, count(*) AS spans, min(start_time) AS first, "  # noqa: S608 - literals
        f"max(start_time) AS last FROM lake_spans WHERE {mine.spans}"
    )
    found = store.sql(query, settle=False).dicts()[0]
    newest = (
        "SELECT trace_id FROM lake_spans "  # noqa: S608 - the same
        f"WHERE {mine.spans} GROUP BY trace_id ORDER BY max(start_ns) DESC, trace_id LIMIT {_NEWEST}"
    )
    return {**found, "newest": [str(each) for (each,) in store.sql(newest, settle=False).fetchall()]}


def sessions(store: Store, mine: Mine) -> dict[str, Any]:
    """How many sessions, and those heard of last."""
    among = f"FROM lake_spans WHERE session_id IS NOT NULL AND {mine.spans}"
    total = store.sql(f"SELECT count(DISTINCT session_id) {among}", settle=False).fetchall()[0][0]
    newest = f"SELECT session_id {among} GROUP BY session_id ORDER BY max(start_ns) DESC, session_id LIMIT {_NEWEST}"
    return {"count": total, "newest": [str(each) for (each,) in store.sql(newest, settle=False).fetchall()]}


def by_run(store: Store, mine: Mine) -> dict[str, int]:
    """Traces by the run that they were made in."""
    query = (
        f"SELECT run_id, count(DISTINCT trace_id) FROM lake_spans WHERE run_id IS NOT NULL AND {mine.spans} GROUP BY 1"  # noqa: S608 - literals
    )
    return {str(run): cast("int", count) for run, count in store.sql(query, settle=False).fetchall()}


def makers(store: Store, mine: Mine) -> list[tuple[str, str | None, int]]:
    """Agent, label and how many traces, the most first."""
    query = (
        "SELECT agent_name, agent_version, count(DISTINCT trace_id) AS traces FROM lake_spans "  # noqa: S608 - literals
        f"WHERE agent_name IS NOT NULL AND {mine.spans} GROUP BY ALL ORDER BY traces DESC, agent_name, agent_version"
    )
    return cast("list[tuple[str, str | None, int]]", store.sql(query, settle=False).fetchall())


def prompts_used(store: Store, mine: Mine) -> list[dict[str, Any]]:
    """The prompts that spans name, with how many traces used each."""
    query = (
        "SELECT prompt_name AS name, nullif(prompt_version, '') AS version, "  # noqa: S608 - literals
        "count(DISTINCT trace_id) AS traces FROM lake_spans "
        f"WHERE prompt_name IS NOT NULL AND {mine.spans} GROUP BY ALL ORDER BY name, version"
    )
    return store.sql(query, settle=False).dicts()


def inferences(store: Store, mine: Mine) -> list[dict[str, Any]]:
    """Requests that were served, by endpoint: how many, how many failed, the first and last."""
    query = (
        "SELECT endpoint, count(*) AS count, count(*) FILTER (status_code >= 400) AS failed, "  # noqa: S608 - literals
        f"min(time) AS first, max(time) AS last FROM lake_inferences WHERE {mine.inferences} GROUP BY ALL "
        "ORDER BY endpoint"
    )
    return store.sql(query, settle=False).dicts()


def scores(store: Store, mine: Mine) -> list[dict[str, Any]]:
    """Scores on these traces by run, name and judge; of a run, those that name no trace too."""
    if mine.run_id is not None:
        among = f"run_id = {literal(mine.run_id)}"
    elif mine.trace_id is not None:
        among = f"trace_id = {literal(mine.trace_id)}"
    else:
        among = f"trace_id IN (SELECT trace_id FROM lake_spans WHERE {mine.spans})"  # noqa: S608 - literals
    query = (
        "SELECT run_id, name, judge, judge_digest, source, count(*) AS count, count(value) AS valued, "  # noqa: S608 - literals
        "sum(value) FILTER (isfinite(value)) AS total, max(time) AS last "
        f"FROM lake_scores WHERE {among} GROUP BY ALL ORDER BY name, judge, judge_digest, run_id"
    )
    return store.sql(query, settle=False).dicts()


def metrics(store: Store, run_id: str) -> dict[str, Any]:
    """A run's metrics: what an evaluation gave, or the last value of each series."""
    query = "SELECT name, value FROM run_metrics WHERE run_id = ? ORDER BY name"
    return {str(name): value for name, value in store.sql(query, [run_id], settle=False).fetchall()}


def summed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scores by name, judge and source over all runs, with the mean of those that are numbers."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("name", "judge", "judge_digest", "source"))
        entry = found.setdefault(key, {"count": 0, "valued": 0, "total": 0.0, "last": row["last"]})
        for name in ("count", "valued"):
            entry[name] += row[name]
        entry["total"] += row["total"] or 0.0
        entry["last"] = max(entry["last"], row["last"])
    return [
        dict(zip(("name", "judge", "judge_digest", "source"), key, strict=True))
        | {"count": each["count"], "mean": each["total"] / each["valued"] if each["valued"] else None}
        | {"last": each["last"]}
        for key, each in found.items()
    ]
