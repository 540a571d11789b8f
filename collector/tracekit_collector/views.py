"""The SQL text of the views that people query: the rules of `tracekit_collector.trace`, set-wise.

They read `lake_spans`, `lake_logs`, `lake_inferences` and `lake_scores`; what log records tell comes in through
`tracekit_collector.log_views`. Where one statement over all traces can say the same as `Trace`, it does, and a test
holds the two equal on every recorded payload; `Trace` alone does what takes a whole trace in hand: tool calls that only
messages show, a duplicate further up than the parent span or told by time and usage alone, a span that holds several
calls, whole messages out of log records, and an error's message and cause out of its exception event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tracekit_collector import log_views
from tracekit_collector.log_views import TOLD, steps_sql

_FAILED = "(status = 'error' OR (status <> 'ok' AND error_type IS NOT NULL))"
_END = "start_ns + coalesce(duration_ns, 0)"

# Parentless spans before all others, then by start; an integer, because a composite key costs ten times as much.
_ROOT_FIRST = "CASE WHEN parent_span_id IS NULL THEN start_ns // 2 ELSE start_ns // 2 + 4611686018427387904 END"

# A root says which agent it was before an agent's own span does.
_NAMES_AGENT = (
    "CASE WHEN parent_span_id IS NULL THEN 0 WHEN step = 'agent' THEN 1 ELSE 2 END * 3000000000000000000"
    " + start_ns // 4"
)
# An id that pydantic-ai made up loses to one that somebody set.
_NAMES_SESSION = (
    f"CASE WHEN dialect IN ('pydantic_ai', 'pydantic-ai') THEN 4611686018427387904 ELSE 0 END + {_ROOT_FIRST} // 4"
)

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")

# Of several spans that describe one call, the one that says most comes first.
_SAYS_MOST = (
    "(CASE WHEN output_messages IS NULL THEN 4 ELSE 0 END + CASE WHEN input_messages IS NULL THEN 2 ELSE 0 END"
    " + CASE WHEN input_tokens IS NULL THEN 1 ELSE 0 END) * 1000000000000000000 + start_ns // 16"
)

# A model span without an answer, usage and error is no call where another beside or below it has them.
_SILENT = (
    f"(input_tokens IS NULL AND output_tokens IS NULL AND output IS NULL AND output_messages IS NULL AND NOT {_FAILED})"
)

# What tells one model or tool call from another, and what it took: all that a trace adds up.
_DESCRIBED: tuple[str, ...] = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "step",
    "kind",
    "start_ns",
    "status",
    "error_type",
)
_DESCRIBED += ("response_id", "input_messages", "output_messages", "output", *_TOKENS, "cost_usd", "cost_source")
_DESCRIBED += ("tool_name", "tool_call_id")

_OF_TOOLS = """inside.trace_id, inside.span_id, inside.start_time, inside.start_ns, inside.duration_ns,
  inside.duration_ns / 1e6 AS duration_ms, inside.tool_name, inside.tool_call_id, inside.tool_arguments,
  inside.tool_result, CASE WHEN inside.failed THEN 'error' ELSE 'ok' END AS status, inside.error_type,
  inside.status_message, inside.agent_name, inside.agent_version, inside.session_id, inside.user_id, inside.project,
  inside.environment, inside.service_name, inside.run_id"""

# What a trace is told by without its calls: a condition of `traces` or a list that names nothing else costs one pass.
_OF_SPANS = {
    "start_time": "min(start_time)",
    "start_ns": "min(start_ns)",
    "spans": "count(*)",
    "session_id": f"arg_min(session_id, {_NAMES_SESSION})",
    **{
        name: f"arg_min({name}, {_ROOT_FIRST})"
        for name in ("project", "environment", "service_name", "user_id", "case_id", "run_id")
    },
    **{
        name: f"arg_min(struct_pack(n := agent_name, v := agent_version), {_NAMES_AGENT}) "
        f"FILTER (agent_name IS NOT NULL).{part}"
        for name, part in (("agent_name", "n"), ("agent_version", "v"))
    },
}

SLACK_NS = 60 * 10**9  # a child may seem to begin this much before its root, when clocks differ


def llm_calls_sql(source: str = "steps", *, brief: bool = False) -> str:
    """One row for each real model call in `source`, a relation with the columns of `spans`.

    Args:
        source: Its name.
        brief: Only what is added up for a trace: planning takes as long as there are columns.
    """
    first: tuple[str, ...] = (
        "name",
        "provider",
        "model_requested",
        "model",
        "response_id",
        "finish_reasons",
        "ttft_ms",
    )
    first += ("duration_ns", "input", "output", "input_messages", "output_messages", "system_instructions")
    first += (
        "agent_name",
        "agent_version",
        "session_id",
        "user_id",
        "project",
        "environment",
        "service_name",
        "run_id",
    )
    once: tuple[str, ...] = ("arg_min(span_id, says_most) AS span_id", "min(start_time) AS start_time")
    once += ("arg_min(error_type, start_ns) FILTER (failed) AS error_type",)
    once += tuple(f"arg_min({name}, says_most) AS {name}" for name in first)
    told = "" if brief else ",\n    ".join(once) + ","
    counted = ", ".join(f"max({name}) AS {name}" for name in _TOKENS)
    counted += f", coalesce(max(cost_usd) FILTER ({TOLD}), max(cost_usd)) AS cost_usd"
    counted += f", coalesce(arg_max(cost_source, cost_usd) FILTER ({TOLD}), arg_max(cost_source, cost_usd))"
    counted += " AS cost_source"
    rest = "* EXCLUDE (failed)"
    if not brief:
        rest = "trace_id, span_id, start_time, start_ns, "
        rest += "* EXCLUDE (trace_id, span_id, start_time, start_ns, failed, duration_ns)"
        rest += ", duration_ns, duration_ns / 1e6 AS duration_ms"
    return f"""
WITH model_spans AS (
  SELECT *, {_FAILED} AS failed, {_SAYS_MOST} AS says_most FROM {source} WHERE step = 'llm'
), quiet AS MATERIALIZED (
  SELECT trace_id, span_id, parent_span_id FROM {source} WHERE step = 'llm' AND {_SILENT}
), beside AS (
  SELECT DISTINCT trace_id, parent_span_id FROM {source}
  WHERE step = 'llm' AND NOT {_SILENT} AND parent_span_id IS NOT NULL AND trace_id IN (SELECT trace_id FROM quiet)
), left_out AS (
  SELECT quiet.trace_id, span_id FROM quiet JOIN beside
    ON beside.trace_id = quiet.trace_id AND beside.parent_span_id = quiet.parent_span_id
  UNION
  SELECT quiet.trace_id, span_id FROM quiet JOIN beside
    ON beside.trace_id = quiet.trace_id AND beside.parent_span_id = quiet.span_id
), places AS (
  SELECT trace_id, span_id, response_id FROM {source} above WHERE step = 'llm' AND NOT EXISTS (
    SELECT 1 FROM left_out WHERE left_out.trace_id = above.trace_id AND left_out.span_id = above.span_id)
), keyed AS (
  SELECT inside.*, coalesce(outside.response_id, outside.span_id, inside.response_id, inside.span_id) AS call
  FROM model_spans inside LEFT JOIN places outside
    ON outside.trace_id = inside.trace_id AND outside.span_id = inside.parent_span_id
  ANTI JOIN left_out ON left_out.trace_id = inside.trace_id AND left_out.span_id = inside.span_id
), calls AS (
  SELECT trace_id, min(start_ns) AS start_ns, arg_min(failed, start_ns) AS failed, {told}
    {counted}
  FROM keyed GROUP BY trace_id, call
)
SELECT {rest},
  CASE WHEN failed THEN 'error' ELSE 'ok' END AS status
FROM calls"""  # noqa: S608 - made of our own names


def tool_calls_sql(source: str = "steps", *, brief: bool = False) -> str:
    """One row for each tool call that a span of `source` describes.

    A span inside one of the same tool is the same call, also where MCP's transport lies between. Calls that only
    messages show are in `Trace` alone.

    Args:
        source: Its name.
        brief: As for `llm_calls_sql`.
    """
    status = "CASE WHEN inside.failed THEN 'error' ELSE 'ok' END AS status"
    told = f"inside.trace_id, inside.start_ns, inside.tool_name, {status}" if brief else _OF_TOOLS
    return f"""
WITH tool_spans AS (SELECT *, {_FAILED} AS failed FROM {source} WHERE step = 'tool'
), served AS (
  SELECT trace_id, span_id, parent_span_id, tool_name FROM {source} WHERE step = 'tool' AND kind = 'server'
), carried AS (
  SELECT served.trace_id, served.span_id, served.tool_name, carrier.parent_span_id FROM served JOIN {source} carrier
    ON carrier.trace_id = served.trace_id AND carrier.span_id = served.parent_span_id
  WHERE coalesce(carrier.step, 'span') NOT IN ('tool', 'agent', 'llm')
), left_out AS (
  SELECT carried.trace_id, carried.span_id FROM carried JOIN {source} asking
    ON asking.trace_id = carried.trace_id AND asking.span_id = carried.parent_span_id
  WHERE asking.step = 'tool' AND asking.tool_name IS NOT DISTINCT FROM carried.tool_name
)
SELECT {told}
FROM tool_spans inside LEFT JOIN tool_spans outside
  ON outside.trace_id = inside.trace_id AND outside.span_id = inside.parent_span_id
  AND CASE WHEN outside.tool_call_id IS NOT NULL AND inside.tool_call_id IS NOT NULL
      THEN outside.tool_call_id = inside.tool_call_id
      ELSE outside.tool_name IS NOT DISTINCT FROM inside.tool_name END
  ANTI JOIN left_out ON left_out.trace_id = inside.trace_id AND left_out.span_id = inside.span_id
WHERE outside.span_id IS NULL"""  # noqa: S608 - made of our own names


def traces_sql(source: str = "lake_spans", *, filled: bool = False) -> str:
    """One row for each trace in `source`, a relation with the columns of `spans`.

    Args:
        source: Its name.
        filled: Whether it has what log records tell already.
    """
    first = ("project", "environment", "service_name", "session_id", "user_id", "case_id", "repeat", "run_id")
    told = ",\n    ".join(f"arg_min({name}, root_first) AS {name}" for name in first if name != "session_id")
    told += ",\n    arg_min(session_id, names_session) AS session_id"
    above = ",\n    ".join(
        f"max({name}) FILTER (step NOT IN ('llm', 'embedding', 'reranker')) AS above_{name}" for name in _TOKENS
    )
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in _TOKENS)
    usage = ",\n  ".join(f"coalesce(calls.{name}, above_{name}) AS {name}" for name in _TOKENS)
    paid = "('embedding', 'reranker', 'retriever', 'tool', 'guardrail', 'evaluator')"
    return f"""
WITH whole AS NOT MATERIALIZED ({f"SELECT * FROM {source}" if filled else steps_sql(source)}
), rows AS (
  SELECT *, {_FAILED} AS failed, {_ROOT_FIRST} AS root_first, {_NAMES_AGENT} AS names_agent,
    {_NAMES_SESSION} AS names_session FROM whole
), base AS (
  SELECT trace_id, arg_min(name, root_first) AS name,
    arg_min(struct_pack(n := agent_name, v := agent_version), names_agent) FILTER (agent_name IS NOT NULL) AS agent,
    {told},
    min(start_time) AS start_time, min(start_ns) AS start_ns,
    arg_min_null(CASE WHEN parent_span_id IS NULL THEN duration_ns END, root_first) AS root_ns,
    max({_END}) FILTER (duration_ns IS NOT NULL) - min(start_ns) AS spanned_ns,
    arg_min(failed, root_first) AS root_failed,
    arg_min_null(error_type, root_first) AS root_error,
    arg_min_null(status_message, root_first) AS root_message,
    arg_max(error_type, start_ns) FILTER (failed) AS last_error,
    arg_max(status_message, start_ns) FILTER (failed) AS last_message,
    arg_min_null(input, root_first) AS root_input,
    arg_min(input, start_ns) FILTER (step = 'llm') AS first_input,
    arg_min(input, start_ns) FILTER (step IN ('agent', 'chain', 'task', 'span')) AS other_input,
    arg_min_null(output, root_first) AS root_output,
    arg_max(output, start_ns) FILTER (
      step = 'llm' AND NOT failed AND NOT starts_with(output, '[{{"name":')  -- calls of tools are no last words
    ) AS last_output,
    arg_min(output, start_ns) FILTER (step IN ('agent', 'chain', 'task', 'span')) AS other_output,
    count(*) AS spans, count(*) FILTER (failed) AS errors,
    sum(cost_usd) FILTER (step IN {paid}) AS paid_usd, max(cost_usd) FILTER (step <> 'llm') AS above_usd,
    coalesce(bool_or({TOLD}) FILTER (step IN {paid} AND cost_usd IS NOT NULL), false) AS paid_told,
    max(cost_usd) FILTER (step <> 'llm' AND step NOT IN {paid} AND {TOLD}) AS told_usd,
    {above}
  FROM rows GROUP BY trace_id
), described AS NOT MATERIALIZED (SELECT {", ".join(_DESCRIBED)} FROM whole
), model_calls AS ({llm_calls_sql("described", brief=True)}
), calls AS (
  SELECT trace_id, count(*) AS model_calls, arg_max(status, start_ns) = 'error' AS failed,
    sum(cost_usd) AS cost_usd, coalesce(bool_or({TOLD}) FILTER (cost_usd IS NOT NULL), false) AS told, {sums}
  FROM model_calls GROUP BY trace_id
), used_tools AS ({tool_calls_sql("described", brief=True)}
), last_of_tool AS (
  SELECT trace_id, tool_name, count(*) AS times, arg_max(status, start_ns) = 'error' AS failed
  FROM used_tools GROUP BY trace_id, tool_name
), tools AS (
  SELECT trace_id, sum(times)::BIGINT AS tool_calls, bool_or(failed) AS failed FROM last_of_tool GROUP BY trace_id
), judged AS (
  SELECT base.*, model_calls, tool_calls, calls.cost_usd AS calls_usd,
    paid_told OR coalesce(calls.told, false) AS told,
    root_failed OR coalesce(calls.failed, false) OR coalesce(tools.failed, false) AS failed,
  {usage}
  FROM base LEFT JOIN calls USING (trace_id) LEFT JOIN tools USING (trace_id)
)
SELECT trace_id, name, agent.n AS agent_name, agent.v AS agent_version, project, environment, service_name,
  session_id, user_id, case_id, repeat, run_id, start_time, start_ns,
  coalesce(root_ns, spanned_ns) / 1e6 AS duration_ms,
  CASE WHEN failed THEN 'error' ELSE 'ok' END AS status,
  CASE WHEN failed THEN coalesce(last_error, root_error) END AS error_type,
  CASE WHEN failed THEN coalesce(root_message, last_message) END AS error_message,
  coalesce(root_input, first_input, other_input) AS input,
  coalesce(root_output, last_output, other_output) AS output,
  spans, errors, coalesce(model_calls, 0) AS model_calls, coalesce(tool_calls, 0) AS tool_calls,
  {", ".join(_TOKENS)},
  CASE WHEN told_usd IS NOT NULL AND NOT told THEN told_usd
    WHEN calls_usd IS NULL AND paid_usd IS NULL THEN above_usd
    ELSE coalesce(calls_usd, 0) + coalesce(paid_usd, 0) END AS cost_usd
FROM judged"""  # noqa: S608 - made of our own names


def brief_traces_sql(source: str, words: Collection[str]) -> str:
    """One row for each trace in `source`, with those columns of `traces` alone that these words name.

    Args:
        source: A relation with the columns of `spans`, and with what log records tell.
        words: In lower case; those that name no column that spans tell are passed over.
    """
    told = ["trace_id", *(f"{how} AS {name}" for name, how in _OF_SPANS.items() if name in words)]
    return f"SELECT {', '.join(told)}, bool_or(parent_span_id IS NULL) AS _rooted FROM {source} GROUP BY trace_id"  # noqa: S608 - made of our own names


_SESSIONS = """
SELECT session_id, arg_min(user_id, start_ns) AS user_id, arg_min(agent_name, start_ns) AS agent_name,
  arg_min(project, start_ns) AS project, count(*) AS traces, count(*) FILTER (status = 'error') AS errors,
  min(start_time) AS start_time, max(start_time) AS last_time,
  sum(model_calls)::BIGINT AS model_calls, sum(tool_calls)::BIGINT AS tool_calls,
  sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens, sum(cost_usd) AS cost_usd
FROM traces WHERE session_id IS NOT NULL GROUP BY session_id"""

_INFERENCES = """
SELECT 'agent' AS target, request_id, time, agent_name, agent_version, endpoint, status_code, latency_ms, ttft_ms,
  request, response, provider, model, input_tokens, output_tokens, cost_usd, trace_id, span_id, user_id, session_id,
  project, metadata
FROM lake_inferences
UNION ALL
SELECT 'model', coalesce(response_id, span_id), start_time, agent_name, agent_version, NULL, NULL, duration_ms, ttft_ms,
  coalesce(input_messages, input), coalesce(output_messages, output), provider, coalesce(model, model_requested),
  input_tokens, output_tokens, cost_usd, trace_id, span_id, user_id, session_id, project, NULL
FROM llm_calls"""

# How probable it was that a trace is here, as samplers say it on its root; a trace without a row was not sampled.
_WEIGHTS = """
WITH said AS (
  SELECT trace_id, CASE WHEN starts_with(attributes, '{"$kv"')
      THEN TRY_CAST(regexp_extract(attributes, '\\["tracekit\\.sample\\.probability",([0-9.e+-]+)\\]', 1) AS DOUBLE)
      ELSE TRY_CAST(json_extract(attributes, '$."tracekit.sample.probability"') AS DOUBLE) END AS probability
  FROM lake_spans WHERE contains(attributes, '"tracekit.sample.probability"')
)
SELECT trace_id, min(probability) AS probability, 1 / min(probability) AS weight
FROM said WHERE probability > 0 AND probability <= 1 GROUP BY trace_id"""


def call_views(*, told: bool) -> dict[str, str]:
    """The views that put calls and traces together: over spans alone, or with what log records tell.

    Args:
        told: Whether any record tells something. What records tell is then worked out once for each query.
    """
    if not told:
        source, before, after = "lake_spans", "", ""
    else:
        source = "told_spans"
        whole = steps_sql("lake_spans", content="told_content", alone="told_alone")
        before = (
            "WITH told_content AS MATERIALIZED (SELECT * FROM log_content), "  # noqa: S608 - made of our own names
            "told_alone AS MATERIALIZED (SELECT * FROM log_steps), "
            f"told_spans AS NOT MATERIALIZED ({whole}) SELECT * FROM ("
        )
        after = ")"
    views = {
        "llm_calls": llm_calls_sql(source),
        "tool_calls": tool_calls_sql(source),
        "traces": traces_sql(source, filled=True),
    }
    return {name: f"{before}{query}{after}" for name, query in views.items()}


# Name to query, in the order in which they can be defined.
VIEWS: dict[str, str] = {
    "spans": "SELECT * FROM lake_spans",
    "logs": "SELECT * FROM lake_logs",
    "scores": "SELECT * FROM lake_scores",
    "metrics": "SELECT * FROM lake_metrics",
    "points": "SELECT * FROM lake_points",
    **log_views.VIEWS,
    **call_views(told=True),
    "sessions": _SESSIONS,
    "weights": _WEIGHTS,
    "inferences": _INFERENCES,
}

Run = Callable[[str], Sequence[Sequence[object]]]


def newest_traces_sql(limit: int, run: Run, *, offset: int = 0) -> str:
    """A query for the newest rows of `traces` that reads no more spans than it must.

    It asks first when the last so many roots began, which is quick, and then assembles only traces that have a span
    since then. Traces without a root are among them.

    Args:
        limit: How many traces.
        run: Runs a query and gives its rows as tuples.
        offset: How many newer ones to leave out.

    Returns:
        The query, newest first.
    """
    wanted = int(limit) + int(offset)
    newest = f"SELECT start_ns FROM lake_spans WHERE parent_span_id IS NULL ORDER BY start_ns DESC LIMIT {wanted}"  # noqa: S608 - a number
    roots = f"SELECT count(*), min(start_ns) FROM ({newest})"  # noqa: S608 - numbers
    count, first = run(roots)[0]
    tail = f"ORDER BY start_ns DESC, trace_id LIMIT {int(limit)} OFFSET {int(offset)}"
    if not isinstance(count, int) or count < wanted or not isinstance(first, int):
        return f"SELECT * FROM traces {tail}"  # noqa: S608 - numbers
    since = f"SELECT trace_id FROM lake_spans WHERE start_ns >= {first}"  # noqa: S608 - a number
    recent = f"SELECT * FROM lake_spans WHERE start_ns >= {first - SLACK_NS} AND trace_id IN ({since})"  # noqa: S608 - as above
    return f"WITH recent AS ({recent}), newest AS ({traces_sql('recent')}) SELECT * FROM newest {tail}"  # noqa: S608
