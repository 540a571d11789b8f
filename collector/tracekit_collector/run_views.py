"""The views of runs: each with what it was started with and what came out, as JSON and as rows."""

from __future__ import annotations

# A number that JSON cannot write is a text there.
_VALUE = "CASE WHEN isfinite(value) THEN to_json(value) ELSE to_json(value::VARCHAR) END"

# The last value of a series is the one of the highest step; where there are no steps, the newest.
LAST = "arg_max_null(value, struct_pack(s := coalesce(step, -9223372036854775808), t := time_ns, p := place))"

# Name to query, in the order in which they can be defined; `run_rows` and `metric_rows` are the catalog's.
RUN_VIEWS: dict[str, str] = {
    "run_metrics": f"""
SELECT run_id, name, {LAST} AS value, NULL::DOUBLE AS low, NULL::DOUBLE AS high, count(*) AS n,
  min(value) AS min, max(value) AS max, max(step) AS last_step, max(time) AS last_time
FROM lake_points GROUP BY run_id, name
UNION ALL
SELECT run_id, name, value, low, high, n, NULL, NULL, NULL, NULL FROM metric_rows""",  # noqa: S608 - our own names
    "run_params": """
SELECT run_id, key AS name, json_extract_string(parameters, '$."' || replace(key, '"', '\\"') || '"') AS value
FROM (SELECT run_id, parameters, unnest(json_keys(parameters)) AS key FROM run_rows)""",
    "runs": f"""
SELECT run_rows.*, coalesce(told.metrics, '{{}}') AS metrics
FROM run_rows LEFT JOIN (
  SELECT run_id, json_group_object(name, {_VALUE})::VARCHAR AS metrics FROM run_metrics GROUP BY run_id
) told USING (run_id)
ORDER BY created_at, run_id""",  # noqa: S608 - as above
}
