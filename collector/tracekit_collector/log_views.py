"""The SQL of what log records tell, for many traces at once: the rules of `tracekit_collector.log_steps`, set-wise.

    agent_records   what each record of a coding agent tells, and of which trace
    loose_records   such records as they came, where they name no trace, each with the trace that it belongs to
    log_steps       steps that records alone tell, with columns of `spans`
    log_messages    what model content in records adds to the span that they stand on
    steps           `spans`, filled from records, and the steps that records alone tell
    log_content     columns that records of either kind add to a span that lacks them

They read `lake_logs` and `lake_spans`; where no record tells anything, they cost one look at the names of events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracekit import attributes as names_of
from tracekit_collector import content_events
from tracekit_collector.log_steps import CLAUDE, CODEX, EVENTS, NAMES, PROMPT, PROVIDERS, ROOTS, SEQUENCE, Event

_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_NUMBERS = dict.fromkeys((*_COUNTS,), "BIGINT") | {"cost_usd": "DOUBLE", "duration_ms": "DOUBLE"}
_TEXTS: tuple[str, ...] = (
    "model",
    "response_id",
    "status_message",
    "error_type",
    "input",
    "output",
    "tool_name",
    "tool_call_id",
)
_TEXTS += ("tool_arguments", "tool_result")
_HIDDEN = "('__REDACTED__', '<REDACTED>', '<elided>', '')"

_CLAUDE_NAMES = ", ".join(f"'{name}', 'claude_code.{name}'" for name in EVENTS[CLAUDE])

# Whether a payload said what a step costs; otherwise a price list did.
TOLD = "NOT coalesce(starts_with(cost_source, 'genai-prices'), false)"

# Records that may tell a step. What is cheap to ask comes first.
IS_AGENT_RECORD = (
    f"(event_name IN ({_CLAUDE_NAMES}) OR starts_with(event_name, 'codex.') OR starts_with(event_name, 'event '))"
    " AND (contains(scope, 'claude_code') OR contains(attributes, '\"codex.'))"
)

IS_LOOSE = f"trace_id IS NULL AND {IS_AGENT_RECORD}"


def _attribute(key: str) -> str:
    return f"json_extract_string(attributes, '$.\"{key}\"')"


def _each_event() -> list[tuple[str, str, Event]]:
    return [(writer, name, event) for writer, events in EVENTS.items() for name, event in events.items()]


def _column(column: str) -> str:
    """The SQL of a column: from the attribute that holds it in each kind of record."""
    cases = []
    for writer, name, event in _each_event():
        if column not in event.told:
            continue
        value = _attribute(event.told[column])
        if column in _NUMBERS:
            value = f"try_cast(try_cast({value} AS DOUBLE) AS {_NUMBERS[column]})"
            if column == "input_tokens":
                added = (f"coalesce(try_cast({_attribute(key)} AS BIGINT), 0)" for key in event.adds)
                value = " + ".join([value, *added])
        else:
            value = f"CASE WHEN {value} NOT IN {_HIDDEN} THEN {value} END"
        cases.append(f"WHEN writer = '{writer}' AND event = '{name}' THEN {value}")
    kind = _NUMBERS.get(column, "VARCHAR")
    return f"CASE {' '.join(cases)} END AS {column}" if cases else f"NULL::{kind} AS {column}"


def _records() -> str:
    kinds = " ".join(
        f"WHEN writer = '{writer}' AND event = '{name}' THEN '{e.kind}'" for writer, name, e in _each_event()
    )
    needs = " ".join(
        f"WHEN event = '{name}' THEN {_attribute(event.needs)} IS NOT NULL"
        for _, name, event in _each_event()
        if event.needs is not None
    )
    fails = ", ".join(f"'{name}'" for _, name, event in _each_event() if event.fails)
    columns = ",\n    ".join(_column(name) for name in (*_NUMBERS, *_TEXTS))
    own = f"session_id || coalesce('/' || {_attribute(PROMPT)}, '')"
    return f"""
WITH named AS (
  SELECT *, CASE WHEN contains(scope, 'claude_code') THEN '{CLAUDE}' ELSE '{CODEX}' END AS writer,
    regexp_replace(coalesce({_attribute("event.name")}, event_name), '^claude_code\\.', '') AS event
  FROM lake_logs WHERE {IS_AGENT_RECORD}
), told AS (
  SELECT log_id, trace_id AS own_trace_id, span_id, session_id, service_name, project, time_ns, writer,
    coalesce(try_cast({_attribute(SEQUENCE)} AS BIGINT), 0) AS sequence, {_attribute("user.id")} AS user_id,
    CASE {kinds} END AS told_kind, CASE {needs} ELSE true END AS tells, md5({own}) AS lone_id,
    event IN ({fails}) OR lower(coalesce({_attribute("success")}, '')) = 'false' AS failed,
    {columns}
  FROM named
), spanned AS (
  SELECT trace_id, max(session_id) AS session_id FROM lake_spans
  WHERE session_id IN (SELECT session_id FROM told WHERE own_trace_id IS NULL) GROUP BY trace_id
), begun AS (
  SELECT trace_id, any_value(spanned.session_id) AS session_id, min(start_ns) AS first_ns
  FROM lake_spans JOIN spanned USING (trace_id) GROUP BY trace_id
), joined AS (
  SELECT told.*, begun.trace_id AS begun_id FROM told ASOF LEFT JOIN begun
    ON told.session_id = begun.session_id AND told.time_ns >= begun.first_ns
  WHERE told_kind IS NOT NULL AND tells
), earliest AS (SELECT session_id, arg_min(trace_id, first_ns) AS earliest_id FROM begun GROUP BY session_id)
SELECT joined.*, coalesce(own_trace_id, begun_id, earliest_id, lone_id) AS trace_id
FROM joined LEFT JOIN earliest USING (session_id)"""  # noqa: S608 - made of our own names


def _steps() -> str:
    names = " ".join(f"WHEN '{writer}' THEN '{name}'" for writer, name in NAMES.items())
    roots = " ".join(f"WHEN '{writer}' THEN '{name}'" for writer, name in ROOTS.items())
    providers = " ".join(f"WHEN '{writer}' THEN '{name}'" for writer, name in PROVIDERS.items())
    columns = ", ".join((*_COUNTS, "cost_usd", *_TEXTS))
    return f"""
WITH records AS (
  SELECT *, (coalesce(duration_ms, 0) * 1000000)::BIGINT AS took_ns FROM agent_records WHERE trace_id IS NOT NULL
), known AS (
  SELECT DISTINCT trace_id, step IN ('llm', 'tool') AS of_kind, CASE WHEN step IN ('llm', 'tool') THEN step END AS step
  FROM lake_spans WHERE trace_id IN (SELECT trace_id FROM records)
), alone AS (
  SELECT * FROM records WHERE trace_id NOT IN (SELECT trace_id FROM known)
), made AS (
  SELECT records.* FROM records LEFT JOIN known ON known.trace_id = records.trace_id AND known.step = told_kind
  WHERE told_kind IN ('llm', 'tool') AND known.trace_id IS NULL
), answers AS (
  SELECT said.trace_id, made.log_id, arg_min(said.output, said.time_ns) AS output
  FROM (SELECT trace_id, output, time_ns FROM records WHERE told_kind = 'said') said
  ASOF JOIN (SELECT trace_id, log_id, time_ns - took_ns AS start_ns FROM made WHERE told_kind = 'llm') made
    ON said.trace_id = made.trace_id AND said.time_ns >= made.start_ns
  GROUP BY ALL
), roots AS (
  SELECT trace_id, substr(md5(trace_id), 1, 16) AS span_id,
    min(CASE WHEN told_kind IN ('llm', 'tool') THEN time_ns - took_ns ELSE time_ns END) AS start_ns,
    max(time_ns) AS last_ns, any_value(writer) AS dialect,
    arg_min(session_id, time_ns) AS session_id, arg_min(user_id, time_ns) AS user_id,
    arg_min(service_name, time_ns) AS service_name, arg_min(project, time_ns) AS project,
    arg_min(input, struct_pack(t := time_ns, s := sequence)) FILTER (told_kind = 'ask') AS input,
    arg_max(output, struct_pack(t := time_ns, s := sequence)) FILTER (told_kind = 'said') AS output
  FROM alone GROUP BY trace_id
)
SELECT trace_id, span_id, NULL::VARCHAR AS parent_span_id, CASE dialect {roots} END AS name, 'internal' AS kind,
  'agent' AS step, make_timestamp(start_ns // 1000) AS start_time, start_ns, last_ns - start_ns AS duration_ns,
  'unset' AS status, session_id, user_id, service_name, project, input, output, dialect
FROM roots
UNION ALL BY NAME
SELECT made.trace_id, substr(md5(made.log_id), 1, 16) AS span_id, substr(md5(made.trace_id), 1, 16) AS parent_span_id,
  CASE told_kind WHEN 'llm' THEN CASE writer {names} END ELSE coalesce(tool_name, 'tool') END AS name,
  'internal' AS kind, told_kind AS step, make_timestamp((time_ns - took_ns) // 1000) AS start_time,
  time_ns - took_ns AS start_ns, took_ns AS duration_ns,
  CASE WHEN failed THEN 'error' ELSE 'unset' END AS status, session_id, user_id, service_name, project,
  CASE told_kind WHEN 'llm' THEN CASE writer {providers} END END AS provider, writer AS dialect,
  {columns.replace(" output,", " coalesce(made.output, answers.output) AS output,")}
FROM made LEFT JOIN answers USING (trace_id, log_id)"""  # noqa: S608 - made of our own names


def _texts(parts: str) -> str:
    """The texts of a JSON list of parts, each on its own line."""
    text = "part->>'content'"
    kept = f"list_filter(try_cast({parts} AS JSON[]), lambda part: part->>'type' = 'text')"
    return f"array_to_string(list_transform({kept}, lambda part: {text}), chr(10))"


def _words(content: str) -> str:
    """The text of a message's content: a text, or parts."""
    return (
        f"CASE json_type({content}) WHEN 'VARCHAR' THEN json_extract_string({content}, '$')"
        f" WHEN 'ARRAY' THEN {_texts(content)} END"
    )


def _messages() -> str:
    names = ", ".join(f"'{name}'" for name in sorted(content_events.NAMES))
    usage = {
        "input_tokens": names_of.INPUT_TOKENS,
        "output_tokens": names_of.OUTPUT_TOKENS,
        "cached_tokens": names_of.CACHED_TOKENS,
        "reasoning_tokens": names_of.REASONING_TOKENS,
    }
    counts = ", ".join(f"try_cast({_attribute(key)} AS BIGINT) AS {name}" for name, key in usage.items())
    most = ", ".join(f"max({name}) AS {name}" for name in usage)
    return f"""
WITH records AS (
  SELECT trace_id, span_id, time_ns, log_id, attributes, event_name = '{content_events.DETAILS}' AS whole,
    event_name = 'gen_ai.user.message' AS asked, event_name = '{content_events.CHOICE}' AS chosen,
    CASE WHEN starts_with(body, '"') THEN json_extract_string(body, '$') ELSE body END AS body
  FROM lake_logs WHERE event_name IN ({names}) AND trace_id IS NOT NULL AND span_id IS NOT NULL
), read AS (
  SELECT * EXCLUDE (attributes, body), CASE WHEN json_valid(body) THEN body::JSON END AS body,
    CASE WHEN whole THEN {_list(names_of.INPUT_MESSAGES)} END AS given,
    CASE WHEN whole THEN {_list(names_of.OUTPUT_MESSAGES)} END AS answered,
    CASE WHEN whole THEN {_attribute(names_of.USER)} END AS user_id,
    CASE WHEN whole THEN coalesce({_attribute(names_of.SESSION)}, {_attribute(names_of.CONVERSATION)})
      END AS session_id,
    CASE WHEN whole THEN {_attribute(names_of.RESPONSE_MODEL)} END AS model, {counts}
  FROM records
), worded AS (
  SELECT *,
    list_filter(list_transform(given, lambda message: CASE WHEN message->>'role' IN ('user', 'human')
      THEN {_texts("(message->'parts')")} END), lambda words: words <> '')[-1] AS question,
    array_to_string(list_filter(list_transform(answered, lambda message: {_texts("(message->'parts')")}),
      lambda words: words <> ''), chr(10)) AS answer,
    CASE WHEN asked THEN {_words("(body->'content')")} END AS told,
    CASE WHEN chosen THEN {_words("coalesce(body->'message'->'content', body->'content'->'parts', body->'content')")}
      END AS choice
  FROM read
)
SELECT trace_id, span_id, min(time_ns) AS time_ns, {most},
  max(user_id) AS user_id, max(session_id) AS session_id, max(model) AS model,
  coalesce(max(question) FILTER (question NOT IN {_HIDDEN}), arg_max(told, time_ns) FILTER (told NOT IN {_HIDDEN}))
    AS input,
  coalesce(max(answer) FILTER (answer NOT IN {_HIDDEN}),
    string_agg(choice, chr(10) ORDER BY time_ns, log_id) FILTER (choice NOT IN {_HIDDEN})) AS output
FROM worded GROUP BY trace_id, span_id"""  # noqa: S608 - made of our own names


def _list(key: str) -> str:
    """An attribute that holds a list, or the JSON text of one."""
    value = f"json_extract(attributes, '$.\"{key}\"')"
    text = f"json_extract_string(attributes, '$.\"{key}\"')"
    return (
        f"CASE json_type({value}) WHEN 'ARRAY' THEN try_cast({value} AS JSON[])"
        f" WHEN 'VARCHAR' THEN CASE WHEN json_valid({text}) THEN try_cast({text}::JSON AS JSON[]) END END"
    )


# Columns that records add where a span lacks them; besides, they may tell its cost.
FILLED = ("input", "output", "model", *_COUNTS, "user_id", "session_id", "tool_name", "tool_arguments", "tool_result")


def _content() -> str:
    first = ", ".join(f"arg_min({name}, time_ns) AS {name}" for name in (*FILLED, "cost_usd"))
    told = ", ".join(f"r.{name}" for name in (*FILLED, "cost_usd"))
    return f"""
WITH records AS (SELECT * FROM agent_records WHERE trace_id IS NOT NULL AND NOT failed
), models AS (
  SELECT trace_id, span_id, start_ns FROM lake_spans
  WHERE step = 'llm' AND trace_id IN (SELECT trace_id FROM records)
), added AS (
  SELECT r.trace_id, models.span_id, r.time_ns, {told} FROM records r ASOF JOIN models
    ON r.trace_id = models.trace_id AND r.time_ns >= models.start_ns WHERE r.told_kind IN ('llm', 'said')
  UNION ALL BY NAME
  SELECT r.trace_id, tools.span_id, r.time_ns, {told} FROM records r JOIN lake_spans tools
    ON tools.trace_id = r.trace_id AND tools.tool_call_id = r.tool_call_id AND tools.step = 'tool'
  WHERE r.told_kind = 'tool'
  UNION ALL BY NAME
  SELECT r.trace_id, r.span_id, r.time_ns, r.input FROM records r WHERE r.told_kind = 'ask'
  UNION ALL BY NAME
  SELECT * FROM log_messages
)
SELECT trace_id, span_id, {first} FROM added GROUP BY trace_id, span_id"""  # noqa: S608 - made of our own names


def steps_sql(source: str = "lake_spans", *, content: str = "log_content", alone: str = "log_steps") -> str:
    """The rows of `source`, filled from log records, and the steps that log records alone tell."""
    filled = ", ".join(f"coalesce(given.{name}, said.{name}) AS {name}" for name in FILLED)
    # A cost that a record tells wins over one from a price list.
    cost = f"CASE WHEN {TOLD.replace('cost_source', 'given.cost_source')}"
    cost += " THEN coalesce(given.cost_usd, said.cost_usd) ELSE coalesce(said.cost_usd, given.cost_usd) END AS cost_usd"
    source_of = "CASE WHEN said.cost_usd IS NULL THEN given.cost_source END AS cost_source"
    return f"""
SELECT given.* REPLACE ({filled}, {cost}, {source_of})
FROM {source} given LEFT JOIN {content} said ON said.trace_id = given.trace_id AND said.span_id = given.span_id
UNION ALL BY NAME SELECT * FROM {alone}"""  # noqa: S608 - made of our own names


VIEWS: dict[str, str] = {
    "agent_records": _records(),
    "log_steps": _steps(),
    "loose_records": """
SELECT lake_logs.* REPLACE (agent_records.trace_id AS trace_id)
FROM lake_logs JOIN agent_records USING (log_id) WHERE lake_logs.trace_id IS NULL""",
    "log_messages": _messages(),
    "log_content": _content(),
    "steps": steps_sql(),
}
_IS_CONTENT = f"event_name IN ({', '.join(repr(name) for name in sorted(content_events.NAMES))})"

Run = Callable[[str], Sequence[Sequence[object]]]


def views_for(run: Run | None) -> dict[str, str]:
    """The views as they must be for the log records that are there: empty ones where no record tells anything.

    Args:
        run: Runs a query and gives its rows as tuples; `None` where there is no record at all.
    """
    told = {
        condition: run is not None and bool(run(f"SELECT 1 FROM lake_logs WHERE {condition} LIMIT 1"))  # noqa: S608 - our own names
        for condition in (IS_AGENT_RECORD, _IS_CONTENT)
    }
    agents, content = told.values()
    needed = {
        "agent_records": agents,
        "loose_records": agents,
        "log_steps": agents,
        "log_messages": content,
        "log_content": agents or content,
    }
    if not any(told.values()):
        return {name: _without_rows(query) for name, query in VIEWS.items()} | {"steps": "SELECT * FROM lake_spans"}
    return {name: query if needed.get(name, True) else _without_rows(query) for name, query in VIEWS.items()}


def _without_rows(query: str) -> str:
    return f"SELECT * FROM ({query}) WHERE false"  # noqa: S608 - our own query
