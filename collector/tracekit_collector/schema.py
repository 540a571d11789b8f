"""The lake's tables, column by column.

`SCHEMA_VERSION` stands in every row. A column is only ever added. Since version 2 `input` and `output` may refer to
another column of their row (see `folding`); the views put the text back.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

_TIME = pa.timestamp("us")  # UTC, without a zone: a zoned time needs pytz on its way from DuckDB to Python
_TEXT = pa.string()
_INT = pa.int64()
_REAL = pa.float64()

SPANS = pa.schema(
    [
        ("date", pa.date32()),  # UTC date of start_time: the partition
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("parent_span_id", _TEXT),  # null on a root
        ("name", _TEXT),
        ("kind", _TEXT),  # internal | server | client | producer | consumer | unspecified
        ("step", _TEXT),
        ("start_time", _TIME),
        ("start_ns", _INT),
        ("duration_ns", _INT),
        ("status", _TEXT),  # unset | ok | error
        ("status_message", _TEXT),
        ("error_type", _TEXT),
        ("service_name", _TEXT),
        ("project", _TEXT),
        ("environment", _TEXT),
        ("agent_name", _TEXT),
        ("agent_version", _TEXT),
        ("session_id", _TEXT),
        ("user_id", _TEXT),
        ("case_id", _TEXT),
        ("repeat", pa.int32()),
        ("run_id", _TEXT),
        ("input", _TEXT),
        ("output", _TEXT),
        ("input_messages", _TEXT),
        ("output_messages", _TEXT),
        ("system_instructions", _TEXT),
        ("tool_definitions", _TEXT),
        ("provider", _TEXT),
        ("model_requested", _TEXT),
        ("model", _TEXT),
        ("input_tokens", _INT),
        ("output_tokens", _INT),
        ("cached_tokens", _INT),
        ("cache_write_tokens", _INT),
        ("reasoning_tokens", _INT),
        ("cost_usd", _REAL),
        ("cost_source", _TEXT),
        ("response_id", _TEXT),
        ("finish_reasons", pa.list_(_TEXT)),
        ("ttft_ms", _REAL),
        ("tool_name", _TEXT),
        ("tool_call_id", _TEXT),
        ("tool_arguments", _TEXT),
        ("tool_result", _TEXT),
        ("documents", _TEXT),  # JSON list of {id, content, score, metadata}
        ("prompt_name", _TEXT),
        ("prompt_version", _TEXT),
        ("attributes", _TEXT),
        ("events", _TEXT),
        ("links", _TEXT),
        ("resource", _TEXT),
        ("scope", _TEXT),
        ("trace_state", _TEXT),
        ("flags", _INT),
        ("dropped", _TEXT),  # JSON object of the dropped_*_count fields that are not 0
        ("dialect", _TEXT),
        ("normaliser_version", pa.int32()),
        ("received_at", _TIME),
        ("schema_version", pa.int32()),
    ]
)

LOGS = pa.schema(
    [
        ("date", pa.date32()),  # UTC date of time
        ("log_id", _TEXT),  # digest of the request, and the record's place in it
        ("time", _TIME),
        ("time_ns", _INT),
        ("observed_ns", _INT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("event_name", _TEXT),
        ("severity_number", pa.int32()),
        ("severity_text", _TEXT),
        ("body", _TEXT),  # typed JSON
        ("service_name", _TEXT),
        ("project", _TEXT),
        ("session_id", _TEXT),
        ("attributes", _TEXT),
        ("resource", _TEXT),
        ("scope", _TEXT),
        ("flags", _INT),
        ("dropped", _TEXT),
        ("received_at", _TIME),
        ("schema_version", pa.int32()),
    ]
)

INFERENCES = pa.schema(
    [
        ("date", pa.date32()),
        ("request_id", _TEXT),
        ("time", _TIME),
        ("agent_name", _TEXT),
        ("agent_version", _TEXT),
        ("endpoint", _TEXT),
        ("status_code", pa.int32()),
        ("latency_ms", _REAL),
        ("ttft_ms", _REAL),
        ("request", _TEXT),
        ("response", _TEXT),
        ("provider", _TEXT),
        ("model", _TEXT),
        ("input_tokens", _INT),
        ("output_tokens", _INT),
        ("cost_usd", _REAL),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("user_id", _TEXT),
        ("session_id", _TEXT),
        ("project", _TEXT),
        ("metadata", _TEXT),
        ("received_at", _TIME),
        ("schema_version", pa.int32()),
    ]
)

SCORES = pa.schema(
    [
        ("date", pa.date32()),
        ("score_id", _TEXT),
        ("time", _TIME),
        ("run_id", _TEXT),
        ("target", _TEXT),  # trace | span | session
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("session_id", _TEXT),
        ("case_id", _TEXT),
        ("repeat", pa.int32()),
        ("sample", pa.int32()),  # which of several independent verdicts on one target, from 0
        ("judge", _TEXT),
        ("judge_version", _TEXT),
        ("judge_digest", _TEXT),
        ("source", _TEXT),  # code | llm | human | environment | user
        ("annotator", _TEXT),
        ("name", _TEXT),
        ("value_type", _TEXT),  # number | bool | label | text
        ("value", _REAL),  # a number, or a bool as 0 and 1; null unless scored
        ("label", _TEXT),  # a label or text
        ("passed", pa.bool_()),
        ("direction", _TEXT),  # maximize | minimize | neutral
        ("status", _TEXT),
        ("explanation", _TEXT),
        ("evidence", _TEXT),  # JSON list of {span_id, quote}
        ("input_tokens", _INT),
        ("output_tokens", _INT),
        ("cost_usd", _REAL),
        ("latency_ms", _REAL),
        ("inclusion_probability", _REAL),
        ("supersedes", _TEXT),
        ("metadata", _TEXT),
        ("schema_version", pa.int32()),
    ]
)

METRICS = pa.schema(
    [
        ("date", pa.date32()),  # UTC date of time
        ("metric_id", _TEXT),  # digest of the request, and the point's place in it
        ("time", _TIME),
        ("time_ns", _INT),
        ("start_ns", _INT),
        ("name", _TEXT),
        ("unit", _TEXT),
        ("description", _TEXT),
        ("kind", _TEXT),  # gauge | sum | histogram | exponential_histogram | summary
        ("temporality", _TEXT),  # delta | cumulative
        ("monotonic", pa.bool_()),
        ("value", _REAL),  # of a gauge or sum
        ("count", _INT),
        ("sum", _REAL),
        ("min", _REAL),
        ("max", _REAL),
        ("buckets", _TEXT),  # JSON: bounds and counts, scale and offsets, or quantiles, as the kind has them
        ("attributes", _TEXT),
        ("service_name", _TEXT),
        ("project", _TEXT),
        ("resource", _TEXT),
        ("scope", _TEXT),
        ("flags", _INT),
        ("received_at", _TIME),
        ("schema_version", pa.int32()),
    ]
)

POINTS = pa.schema(
    [
        ("date", pa.date32()),  # UTC date of time
        ("run_id", _TEXT),
        ("name", _TEXT),
        ("step", _INT),
        ("value", _REAL),  # NaN and infinities are themselves; null where it is unknown
        ("time", _TIME),
        ("time_ns", _INT),
        ("writer", _TEXT),  # the process's part in the run that said it
        ("place", _INT),  # which of the writer's points it is, from 0
        ("received_at", _TIME),
        ("schema_version", pa.int32()),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "spans": SPANS,
    "logs": LOGS,
    "inferences": INFERENCES,
    "scores": SCORES,
    "metrics": METRICS,
    "points": POINTS,
}

# By what rows are sorted.
TIMES: dict[str, str] = {
    "spans": "start_ns",
    "logs": "time_ns",
    "inferences": "time",
    "scores": "time",
    "metrics": "time_ns",
    "points": "time_ns",
}

# What makes a row itself: a second row with the same key replaces the first.
KEYS: dict[str, tuple[str, ...]] = {
    "spans": ("trace_id", "span_id"),
    "logs": ("log_id",),
    "inferences": ("request_id",),
    "scores": ("score_id",),
    "metrics": ("metric_id",),
    "points": ("writer", "place"),
}
