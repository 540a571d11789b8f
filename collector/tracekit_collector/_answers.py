"""What the JSON API answers: one function an address, from a store and the request's values to plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector._parameters import Parameter, Values
from tracekit_collector.query import literal
from tracekit_collector.schema import TABLES
from tracekit_collector.store import Store

SECONDS = 30.0
MOST_ROWS = 10_000

_ID = "[0-9a-fA-F]{1,32}"
_WHOLE_ID = "[0-9a-fA-F]{32}"
_PROMPT = r"[A-Za-z0-9][A-Za-z0-9._/-]*(@[^@\x00]+)?"
_RUN = "[A-Za-z0-9 ._@:+-]+"
_PAIR = r"[^=\x00]+=[^\x00]*"
_CURSOR = "[0-9]{1,19}-[0-9a-f]{16,32}"

Answer = Callable[[Store, Values, "str | None"], dict[str, object]]


@dataclass(frozen=True)
class Endpoint:
    """One address of the API.

    Args:
        path: After `/api/v1`.
        name: Of the operation.
        about: What it tells, in one sentence.
        answer: Makes the answer, given the store, the values, and the project that the asker is confined to.
        parameters: What it takes.
        told: The names of what its answer has.
        whole: Whether its answer cannot be confined to a project; then only a token for all projects may ask.
    """

    path: str
    name: str
    about: str
    answer: Answer
    parameters: tuple[Parameter, ...] = ()
    told: tuple[str, ...] = ()
    whole: bool = False


_LIMIT = Parameter("limit", "At most so many.", "integer", least=1, most=1_000, default=50)
_AFTER = Parameter("cursor", "Go on behind an earlier answer: its `next`.", pattern=_CURSOR)
_SINCE = Parameter("since", "Only what began at this time or after.", "time")
_UNTIL = Parameter("until", "Only what began at this time or before.", "time")
_EQUAL = {
    "project": "project",
    "agent": "agent_name",
    "agent_version": "agent_version",
    "session": "session_id",
    "user": "user_id",
    "name": "name",
    "environment": "environment",
    "service": "service_name",
    "run": "run_id",
    "case": "case_id",
}


def traces(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The newest traces that meet all conditions."""
    if project is not None and values["where"] is not None:
        raise UsageError("`where` can read all projects, so a token for one project cannot use it")
    equal = {column: str(values[name]) for name, column in _EQUAL.items() if values[name] is not None}
    if project is not None:
        if equal.get("project", project) != project:
            return {"traces": [], "next": None}
        equal["project"] = project
    limit = _number(values["limit"])
    cursor = _cursor(values["cursor"])
    until = values["until"]
    if isinstance(until, int):
        cursor = min(cursor or (until, ""), (until, ""), key=lambda each: each[0])
    found = store.find(
        where=None if values["where"] is None else str(values["where"]),
        equal=equal,
        errors=bool(values["errors"]),
        since=cast("int | None", values["since"]),
        before=cursor,
        limit=limit,
        settle=False,
        seconds=SECONDS,
    ).dicts()
    following = f"{found[-1]['start_ns']}-{found[-1]['trace_id']}" if len(found) == limit else None
    return {"traces": found, "next": following}


def trace(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """One trace, put together from its spans and log records."""
    found = store.trace(str(values["trace_id"]), settle=False)
    if project is not None and found.project != project:
        raise NotFoundError(f"there is no trace {values['trace_id']!r}")
    return found.to_dict()


def spans(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The newest spans that meet all conditions, with all their columns."""
    conditions = ["true"]
    for name, column in _SPAN_EQUAL.items():
        if values[name] is not None:
            conditions.append(f"{column} = {literal(str(values[name]))}")
    if project is not None:
        conditions.append(f"project = {literal(project)}")
    if values["attribute"] is not None:
        key, _, text = str(values["attribute"]).partition("=")
        path = literal('$."' + key.replace('"', "") + '"')
        conditions.append(f"json_extract_string(attributes, {path}) = {literal(text)}")
    conditions += [f"start_ns >= {values['since']}"] if values["since"] is not None else []
    conditions += [f"start_ns <= {values['until']}"] if values["until"] is not None else []
    cursor, limit = _cursor(values["cursor"]), _number(values["limit"])
    if cursor is not None:
        at, span_id = cursor[0], literal(cursor[1])
        conditions.append(f"(start_ns < {at} OR (start_ns = {at} AND span_id > {span_id}))")
    # The keys first and the wide columns after: sorting whole rows would read every one of them.
    keys = store.sql(
        f"SELECT span_id, start_ns FROM lake_spans WHERE {' AND '.join(conditions)} "  # noqa: S608 - our own names, and literals
        f"ORDER BY start_ns DESC, span_id LIMIT {limit}",
        settle=False,
        seconds=SECONDS,
    ).fetchall()
    if not keys:
        return {"spans": [], "next": None}
    ids = ", ".join(literal(str(span_id)) for span_id, _ in keys)
    bounds = f"start_ns BETWEEN {keys[-1][1]} AND {keys[0][1]} AND span_id IN ({ids})"
    found = store.sql(
        f"SELECT * FROM spans WHERE {bounds} AND {' AND '.join(conditions)} "  # noqa: S608 - our own names, and literals
        f"ORDER BY start_ns DESC, span_id LIMIT {limit}",
        settle=False,
        seconds=SECONDS,
    ).dicts()
    following = f"{keys[-1][1]}-{keys[-1][0]}" if len(keys) == limit else None
    return {"spans": found, "next": following}


def sessions(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The sessions that were heard of last, and what their traces add up to."""
    wanted = "" if project is None else f" AND project = {literal(project)}"
    newest = store.sql(
        "SELECT session_id, max(start_ns) AS heard FROM lake_spans "  # noqa: S608 - our own names, and literals
        f"WHERE session_id IS NOT NULL{wanted} GROUP BY ALL "
        f"ORDER BY heard DESC, session_id LIMIT {_number(values['limit'])}",
        settle=False,
        seconds=SECONDS,
    ).fetchall()
    ids = [str(session_id) for session_id, _ in newest]
    if not ids:
        return {"sessions": []}
    among = f"session_id IN ({', '.join(map(literal, ids))}){wanted}"
    rows = store.find(where=among, limit=None, settle=False, seconds=SECONDS).dicts()
    by_session: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_session.setdefault(str(row["session_id"]), []).append(row)
    return {"sessions": [_session(each, by_session[each]) for each in ids if each in by_session]}


def scores(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The newest scores that meet all conditions."""
    conditions = [f"{name} = {literal(str(values[name]))}" for name in _SCORE_EQUAL if values[name] is not None]
    if project is not None:
        conditions.append(f"trace_id IN (SELECT trace_id FROM lake_spans WHERE project = {literal(project)})")  # noqa: S608 - our own names, and literals
    where = " AND ".join(conditions) or "true"
    query = f"SELECT * FROM lake_scores WHERE {where} ORDER BY time DESC, score_id LIMIT {_number(values['limit'])}"  # noqa: S608 - our own names, and literals
    return {"scores": store.sql(query, settle=False, seconds=SECONDS).dicts()}


def agents(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """Every version of every agent."""
    del values, project
    return {"agents": store.sql("SELECT * FROM agents", settle=False).dicts()}


def prompts(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The newest version of every prompt."""
    del values, project
    return {"prompts": [each.to_dict() for each in store.catalog.prompts.list()]}


def prompt(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """One version of a prompt; who is confined to a project sees those whose tag `project` names it."""
    ref = str(values["ref"])
    found = store.catalog.prompts.resolve(ref)
    if project is not None and found.tags.get("project") != project:
        raise NotFoundError(f"there is no prompt {ref!r} in the project {project!r}")
    return found.to_dict()


def runs(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """The newest evaluations."""
    del project
    query = f"SELECT * FROM runs ORDER BY created_at DESC, run_id LIMIT {_number(values['limit'])}"  # noqa: S608 - our own names, and literals
    return {"runs": store.sql(query, settle=False).dicts()}


def run(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """One evaluation, with its parameters and metrics."""
    del project
    return asdict(store.catalog.runs.find(str(values["run_id"])))


def stats(store: Store, values: Values, project: str | None) -> dict[str, object]:
    """How much the store holds, and what waits to be settled."""
    del values, project
    tables: dict[str, object] = {}
    for table in TABLES:
        size, files = store.lake.size(table)
        ((rows,),) = store.sql(f"SELECT count(*) FROM lake_{table}", settle=False).fetchall()  # noqa: S608 - our own names, and literals
        tables[table] = {"rows": rows, "bytes": size, "files": files, "version": store.lake.version(table)}
    quarantined = len(store.settler.quarantined())
    return {"tables": tables, "inbox": {"bytes": store.settler.backlog_bytes(), "quarantined": quarantined}}


def sql(store: Store, body: Mapping[str, object]) -> dict[str, object]:
    """The rows of one query that only reads."""
    limit = _number(body.get("limit", 1_000))
    parameters = cast("Sequence[object]", body.get("parameters", []))
    found = store.sql(str(body["query"]), parameters, settle=False, seconds=SECONDS, rows=limit + 1)
    rows = found.fetchall()
    return {"columns": found.columns, "rows": rows[:limit], "truncated": len(rows) > limit}


def _session(session_id: str, rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    first, last = min(rows, key=_start), max(rows, key=_start)
    told = {name: first[name] for name in ("user_id", "agent_name", "project")}
    sums: dict[str, object] = {}
    for name in ("model_calls", "tool_calls", "input_tokens", "output_tokens", "cost_usd"):
        known = [cast("float", row[name]) for row in rows if row[name] is not None]
        sums[name] = sum(known) if known else None  # nobody told: that is not 0
    errors = sum(row["status"] == "error" for row in rows)
    times = {"start_time": first["start_time"], "last_time": last["start_time"]}
    return {"session_id": session_id, **told, "traces": len(rows), "errors": errors, **times, **sums}


def _start(row: Mapping[str, object]) -> int:
    return _number(row["start_ns"])


def _number(value: object) -> int:
    return cast("int", value)  # the parameter's kind saw to it


def _cursor(value: object) -> tuple[int, str] | None:
    if value is None:
        return None
    at, _, key = str(value).partition("-")
    return min(int(at), 2**63 - 1), key


_SPAN_EQUAL = {
    "trace_id": "trace_id",
    "project": "project",
    "session": "session_id",
    "step": "step",
    "status": "status",
    "name": "name",
    "model": "model",
    "tool": "tool_name",
}
_SCORE_EQUAL = ("trace_id", "run_id", "name", "judge")

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "/traces",
        "traces",
        "The newest traces that meet all conditions.",
        traces,
        (
            _LIMIT,
            _AFTER,
            _SINCE,
            _UNTIL,
            Parameter("errors", "Only traces that failed.", "boolean", default=False),
            *(Parameter(name, f"Only where `{column}` is this.") for name, column in _EQUAL.items()),
            Parameter("where", "A condition in SQL over the view `traces`.", longest=10_000),
        ),
        ("traces", "next"),
    ),
    Endpoint(
        "/traces/{trace_id}",
        "trace",
        "One trace: what `tracekit trace ID --format json` prints.",
        trace,
        (Parameter("trace_id", "Its id, or the beginning of it.", pattern=_ID, in_path=True),),
        ("trace_id", "spans"),
    ),
    Endpoint(
        "/spans",
        "spans",
        "The newest spans that meet all conditions, with the columns of the view `spans`.",
        spans,
        (
            _LIMIT,
            _AFTER,
            _SINCE,
            _UNTIL,
            *(Parameter(name, f"Only where `{column}` is this.") for name, column in _SPAN_EQUAL.items()),
            Parameter("attribute", "Only where an attribute has a value, as text: `key=value`.", pattern=_PAIR),
        ),
        ("spans", "next"),
    ),
    Endpoint("/sessions", "sessions", "The sessions that were heard of last.", sessions, (_LIMIT,), ("sessions",)),
    Endpoint(
        "/scores",
        "scores",
        "The newest scores that meet all conditions.",
        scores,
        (_LIMIT, *(Parameter(name, f"Only where `{name}` is this.") for name in _SCORE_EQUAL)),
        ("scores",),
    ),
    Endpoint("/agents", "agents", "Every version of every agent.", agents, (), ("agents",), whole=True),
    Endpoint("/prompts", "prompts", "The newest version of every prompt.", prompts, (), ("prompts",), whole=True),
    Endpoint(
        "/prompt",
        "prompt",
        "One version of a prompt.",
        prompt,
        (Parameter("ref", "`name@number`, `name@alias` or `name`.", pattern=_PROMPT, longest=401, required=True),),
        ("name", "number", "digest", "content"),
    ),
    Endpoint("/runs", "runs", "The newest evaluations.", runs, (_LIMIT,), ("runs",), whole=True),
    Endpoint(
        "/runs/{run_id}",
        "run",
        "One evaluation, with its parameters and metrics.",
        run,
        (Parameter("run_id", "Its name, its id, or the beginning of it.", pattern=_RUN, longest=200, in_path=True),),
        ("id", "name", "status"),
        whole=True,
    ),
    Endpoint("/stats", "stats", "How much the store holds.", stats, (), ("tables", "inbox"), whole=True),
)
