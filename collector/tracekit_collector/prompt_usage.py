"""Which traces and agents used a registered prompt, by version."""

from __future__ import annotations

from typing import Any

from tracekit.prompts import split_ref
from tracekit_collector.store import Store


def usage(store: Store, ref: str, *, limit: int = 20) -> dict[str, Any]:
    """Who used a prompt, and the newest traces that did; the store is not settled for it.

    Args:
        store: The store.
        ref: `name@number` or `name@alias`; a bare name is all of its versions, and what is not registered too.
        limit: At most so many traces.

    Returns:
        `prompt`; `used`, a row for each version and agent; and `traces`, newest first.

    Raises:
        NotFoundError: There is no such version.
    """
    name, wanted = split_ref(ref)
    where, values = "prompt_name = ?", [name]
    if wanted:
        version = store.catalog.prompts.resolve(ref)
        ref = version.ref
        where, values = f"{where} AND prompt_version = ?", [name, str(version.number)]
    used = store.sql(
        "SELECT * FROM (SELECT nullif(prompt_version, '') AS version, "  # noqa: S608 - our own names
        "agent_name || coalesce('@' || agent_version, '') AS agent, count(DISTINCT trace_id) AS traces, "
        "count(*) AS spans, min(start_time) AS first, max(start_time) AS last "
        f"FROM lake_spans WHERE {where} GROUP BY ALL) ORDER BY TRY_CAST(version AS BIGINT) DESC NULLS LAST, agent",
        values,
        settle=False,
    )
    traces = store.sql(
        "SELECT trace_id, arg_max(nullif(prompt_version, ''), start_ns) AS version, "  # noqa: S608 - as above
        "min(agent_name || coalesce('@' || agent_version, '')) AS agent, min(start_time) AS start_time, "
        "count(*) FILTER (step = 'llm') AS calls "
        f"FROM lake_spans WHERE {where} GROUP BY trace_id ORDER BY start_time DESC, trace_id LIMIT ?",
        [*values, max(0, limit)],
        settle=False,
    )
    return {"prompt": ref, "used": used.dicts(), "traces": traces.dicts()}
