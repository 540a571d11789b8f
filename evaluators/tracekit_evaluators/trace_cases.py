"""Cases out of traces: what was asked, and what is to be expected, as the trace or people's scores tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators._selection import condition, trace_ids
from tracekit_evaluators.subject import input_digest

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

SOURCES = ("output", "tool_names", "tool_calls", "documents", "score:NAME")
_AT_ONCE = 256


@dataclass(frozen=True)
class Taken:
    """Cases that traces gave.

    Args:
        rows: The cases.
        same: Traces that tried a case that a newer one gave already.
        without: Traces without an input.
        unexpected: Cases for which some expectation was not told.
    """

    rows: list[dict[str, object]]
    same: int = 0
    without: int = 0
    unexpected: int = 0


def cases_from_traces(
    store: Store,
    *,
    where: str | None = None,
    agent: str | None = None,
    limit: int | None = None,
    expect: Sequence[str] = (),
    tags: Sequence[str] = (),
    split: str | None = None,
) -> Taken:
    """The cases that stored traces tried, the newest trace of each.

    Args:
        store: Where the traces are.
        where: A condition in SQL over the view `traces`.
        agent: Only traces of an agent, or of a version of it.
        limit: The most traces to read, the newest ones.
        expect: What is expected, each as `NAME=SOURCE`, or `SOURCE` where the two are the same. A source is `output`,
            `tool_names`, `tool_calls` or `documents` of the trace, or `score:NAME`: the newest score of that name by a
            person or a user.
        tags: Words for each case.
        split: The split of each case.

    Returns:
        The cases with `case_id`, `input`, `expected`, and the trace in `metadata`.

    Raises:
        UsageError: A source is none of these.
        NotFoundError: No trace matches, or none has an input.
    """
    wanted = [_source(each) for each in expect]
    ids = trace_ids(store, condition(store, where=where, agent=agent), limit=limit)
    rows: dict[str, dict[str, object]] = {}
    same = without = unexpected = 0
    for start in range(0, len(ids), _AT_ONCE):
        batch = ids[start : start + _AT_ONCE]
        told = _scores(store, batch, [source.partition(":")[2] for _, source in wanted if source.startswith("score:")])
        for trace in store.traces(batch):
            if trace.input is None:
                without += 1
                continue
            case = input_digest(trace.input)[:16] if trace.case_id is None else trace.case_id
            if case in rows:
                same += 1
                continue
            expected = {
                name: value
                for name, source in wanted
                if (value := _told(trace, source, told.get(trace.trace_id, {}))) is not None
            }
            unexpected += len(expected) < len(wanted)
            row: dict[str, object] = {"case_id": case, "input": _decoded(trace.input)}
            row.update({"expected": expected} if expected else {})
            row.update({"tags": list(tags)} if tags else {})
            row.update({"splits": [split]} if split else {})
            rows[case] = {**row, "metadata": {"trace_id": trace.trace_id}}
    if not rows:
        raise NotFoundError(f"none of {len(ids)} traces has an input, so they give no cases")
    return Taken(list(rows.values()), same, without, unexpected)


def _source(said: str) -> tuple[str, str]:
    name, equals, source = said.partition("=")
    if not equals:
        name, source = said.removeprefix("score:"), said
    known = source in SOURCES or (source.startswith("score:") and len(source) > len("score:"))
    if not known or not name.strip() or source == "score:NAME":
        raise UsageError(f"{said!r} names nothing to expect; write NAME=SOURCE with one of {', '.join(SOURCES)}")
    return name, source


def _told(trace: Trace, source: str, scores: Mapping[str, object]) -> object:
    if source == "output":
        return trace.output
    if source == "tool_names":
        return [call.name for call in trace.tool_calls]
    if source == "tool_calls":
        return [{"name": call.name, "arguments": call.arguments} for call in trace.tool_calls]
    if source == "documents":
        return [document.id for document in trace.documents]
    return scores.get(source.partition(":")[2])


def _scores(store: Store, ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, object]]:
    """People's newest scores of these names, by trace."""
    if not names:
        return {}
    query = (
        "SELECT trace_id, name, arg_max_null(value, time), arg_max_null(label, time), arg_max(value_type, time) "
        "FROM scores WHERE status = 'scored' AND source IN ('human', 'user') AND span_id IS NULL "
        "AND name IN (SELECT unnest(?::VARCHAR[])) AND trace_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY 1, 2"
    )
    found: dict[str, dict[str, object]] = {}
    for trace_id, name, value, label, kind in store.sql(query, [list(names), list(ids)], settle=False).fetchall():
        plain = label if value is None else bool(value) if kind == "bool" else value
        found.setdefault(str(trace_id), {})[str(name)] = plain
    return found


def _decoded(text: str) -> object:
    """An input as a task takes it: arguments by name where the trace has them so."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list)) else text
