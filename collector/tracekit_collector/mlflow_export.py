"""A store's runs, traces and scores to an MLflow tracking server, by its REST API and its OTLP endpoint.

Each project is an experiment. A run carries its id here in the tag `tracekit.run.id`, an assessment its score's in its
metadata, so that what the server has already is not sent again; spans have ids of their own.
"""

from __future__ import annotations

import datetime
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from tracekit.errors import UsageError
from tracekit_collector.catalog import RunRecord
from tracekit_collector.export import requests
from tracekit_collector.imports.foreign import as_json
from tracekit_collector.imports.mlflow_client import Client
from tracekit_collector.imports.tally import Tally
from tracekit_collector.query import literal
from tracekit_collector.store import Store

__all__ = ["export_to_mlflow"]

_UNNAMED = "tracekit"
_RUN_TAG, _DONE_TAG = "tracekit.run.id", "tracekit.run.exported"
_UNFIT = re.compile(r"[^/\w.\- :]")
_LONGEST_NAME, _LONGEST_PARAMETER, _LONGEST_TAG = 250, 6_000, 8_000
_STATUSES = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED"}
_SOURCES = {"human": "HUMAN", "user": "HUMAN", "llm": "LLM_JUDGE", "code": "CODE", "environment": "CODE"}
_POINTS_AT_ONCE, _PAIRS_AT_ONCE, _TRACES_AT_ONCE = 1_000, 100, 100

Done = Callable[[int], object]


def export_to_mlflow(
    store: Store,
    url: str,
    *,
    where: str | None = None,
    since: datetime.datetime | None = None,
    project: str | None = None,
    done: Done = lambda _n: None,
) -> Tally:
    """Send runs, traces and scores to an MLflow tracking server; what it has already stays as it is.

    Args:
        store: The store.
        url: The server's URL; who asks is told as for `imports.mlflow_client.Client`.
        where: A condition in SQL over the view `traces`: only these traces.
        since: Only runs and traces that began at or after this, in UTC.
        project: Only those of this project.
        done: Called with a number of runs and requests as they are taken.

    Returns:
        What there was, what the server did not have, and what was left out and why.

    Raises:
        UsageError: The server cannot be reached or refuses; sending again goes on where this ended.
    """
    store.settle()
    return _Export(store, Client(url), done).send(where, since, project)


class _Export:
    def __init__(self, store: Store, client: Client, done: Done) -> None:
        self._store, self._client, self._done = store, client, done
        self._tally = Tally()
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}  # our id -> the server's

    def send(self, where: str | None, since: datetime.datetime | None, project: str | None) -> Tally:
        for record in reversed(self._store.catalog.runs.list()):
            if (project is None or record.project == project) and (since is None or record.created_at >= since):
                self._send_run(record)
                self._done(1)
        projects = [project] if project is not None else self._projects()
        for name in projects:
            self._send_traces(name, where, since)
        return self._tally

    def _projects(self) -> list[str | None]:
        rows = self._store.sql("SELECT DISTINCT project FROM traces ORDER BY 1", settle=False)
        return [None if row["project"] is None else str(row["project"]) for row in rows]

    def _experiment(self, project: str | None) -> str:
        name = project or _UNNAMED
        if name not in self._experiments:
            try:
                told = self._client.get("2.0/mlflow/experiments/get-by-name", experiment_name=name)["experiment"]
                if told.get("lifecycle_stage") == "deleted":
                    raise UsageError(f"the server's experiment {name!r} was deleted; restore it there first")
                self._experiments[name] = str(told["experiment_id"])
            except LookupError:
                made = self._client.post("2.0/mlflow/experiments/create", {"name": name})
                self._experiments[name] = str(made["experiment_id"])
        return self._experiments[name]

    def _send_run(self, record: RunRecord) -> None:
        experiment = self._experiment(record.project)
        held = self._held(record, experiment)
        if held is not None and held[1]:
            self._runs[record.id] = held[0]
            self._tally.count("runs", known=True)
            return
        run_id, root = (held[0], held[2]) if held is not None else self._create(record, experiment)
        self._runs[record.id] = run_id
        self._batches(run_id, "params", self._parameters(record))
        self._batches(run_id, "tags", self._tags(record))
        points = self._points(record)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            body = {"run_id": run_id, "metrics": points[start : start + _POINTS_AT_ONCE]}
            self._client.post("2.0/mlflow/runs/log-batch", body)
        self._tally.count("points", len(points))
        self._send_artifacts(record, root)
        ended: dict[str, object] = {"run_id": run_id, "status": _STATUSES[record.status]}
        if record.finished_at is not None:
            ended["end_time"] = _milliseconds(record.finished_at)
        self._client.post("2.0/mlflow/runs/update", ended)
        if record.status != "running":  # one that goes on is looked at again
            self._client.post("2.0/mlflow/runs/set-tag", {"run_id": run_id, "key": _DONE_TAG, "value": "true"})
        self._tally.count("runs")

    def _held(self, record: RunRecord, experiment: str) -> tuple[str, bool, str] | None:
        """The server's id of a run, whether it is there whole, and where its artifacts go."""
        origin = record.environment.get("mlflow_run_id")
        if origin:
            try:
                told = self._client.get("2.0/mlflow/runs/get", run_id=origin)["run"]
                return str(told["info"]["run_id"]), True, ""
            except (LookupError, UsageError):
                pass  # it came from another server
        asked = {"experiment_ids": [experiment], "filter": f"tags.`{_RUN_TAG}` = '{record.id}'", "max_results": 1}
        found = self._client.post("2.0/mlflow/runs/search", asked).get("runs") or []
        if not found:
            return None
        info = found[0]["info"]
        whole = any(tag["key"] == _DONE_TAG for tag in found[0].get("data", {}).get("tags") or ())
        return str(info["run_id"]), whole, str(info.get("artifact_uri") or "")

    def _create(self, record: RunRecord, experiment: str) -> tuple[str, str]:
        body = {
            "experiment_id": experiment,
            "run_name": record.name,
            "start_time": _milliseconds(record.created_at),
            "tags": [{"key": _RUN_TAG, "value": record.id}],
        }
        info = self._client.post("2.0/mlflow/runs/create", body)["run"]["info"]
        return str(info["run_id"]), str(info.get("artifact_uri") or "")

    def _parameters(self, record: RunRecord) -> dict[str, str]:
        return self._pairs("parameters", record.parameters, _LONGEST_PARAMETER)

    def _tags(self, record: RunRecord) -> dict[str, str]:
        told: dict[str, object] = {"tracekit.run.kind": record.kind, **record.tags}
        parent = self._runs.get(record.parent_id or "")
        if parent is not None:
            told["mlflow.parentRunId"] = parent
        for key, name in (("commit", "mlflow.source.git.commit"), ("branch", "mlflow.source.git.branch")):
            if record.code.get(key):
                told.setdefault(name, record.code[key])
        if record.command:
            told.setdefault("mlflow.source.name", record.command)
        if record.agent_version is not None:
            told["tracekit.agent.version"] = record.agent_version.ref
        return self._pairs("tags", told, _LONGEST_TAG)

    def _pairs(self, kind: str, told: Mapping[str, object], longest: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, value in told.items():
            text = value if isinstance(value, str) else as_json(value)
            if len(text) > longest:
                self._tally.note(f"{kind[:-1]} {key!r} was cut: MLflow takes {longest} characters")
            found[_fit(key)] = text[:longest]
        self._tally.count(kind, len(found))
        return found

    def _batches(self, run_id: str, kind: str, pairs: Mapping[str, str]) -> None:
        listed = [{"key": key, "value": value} for key, value in pairs.items()]
        for start in range(0, len(listed), _PAIRS_AT_ONCE):
            body = {"run_id": run_id, kind: listed[start : start + _PAIRS_AT_ONCE]}
            self._client.post("2.0/mlflow/runs/log-batch", body)

    def _points(self, record: RunRecord) -> list[dict[str, object]]:
        query = "SELECT name, value, step, time_ns FROM points WHERE run_id = ? ORDER BY name, step, time_ns, place"
        found: list[dict[str, object]] = []
        for row in self._store.sql(query, [record.id], settle=False):
            if row["value"] is None:
                self._tally.skip("points", "its value is unknown")
            else:
                at = int(str(row["time_ns"])) // 1_000_000
                found.append(_point(str(row["name"]), float(str(row["value"])), at, int(str(row["step"] or 0))))
        at = _milliseconds(record.finished_at or record.created_at)
        for name, metric in record.metrics.items():
            for part in ("value", "low", "high"):
                value = metric.get(part)
                if isinstance(value, (int, float)):
                    found.append(_point(name if part == "value" else f"{name}.{part}", float(value), at, 0))
        return found

    def _send_artifacts(self, record: RunRecord, root: str) -> None:
        if not record.artifacts:
            return
        if urlsplit(root).scheme != "mlflow-artifacts":
            self._tally.skip("artifacts", "the server takes none: it does not serve artifacts", len(record.artifacts))
            return
        folder = "/api/2.0/mlflow-artifacts/artifacts/" + urlsplit(root).path.strip("/")
        for name, told in record.artifacts.items():
            path = self._store.artifacts / str(told.get("sha256"))
            if not path.is_file():
                self._tally.skip("artifacts", "its content is not in the store")
                continue
            place = "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
            kind = str(told.get("mime_type") or "application/octet-stream")
            self._client.send(f"{folder}/{quote(place)}", path.read_bytes(), kind, method="PUT")
            self._tally.count("artifacts")

    def _send_traces(self, project: str | None, where: str | None, since: datetime.datetime | None) -> None:
        own = "project IS NULL" if project is None else f"project = {literal(project)}"
        condition = own if where is None else f"({where}) AND {own}"
        when = "" if since is None else f" AND start_time >= {literal(since.isoformat())}::TIMESTAMP"
        query = f"SELECT trace_id, run_id FROM traces WHERE {condition}{when}"  # noqa: S608 - `where` is the user's own SQL, on a read-only engine
        runs = {str(row["trace_id"]): row["run_id"] for row in self._store.sql(query, settle=False)}
        if not runs:
            return
        experiment = self._experiment(project)
        headers = {"x-mlflow-experiment-id": experiment}
        held = self._held_traces(list(runs))
        for signal, body, rows in requests(self._store, where=condition, since=since):
            if signal != "traces":
                self._tally.skip("log records", "MLflow takes none", rows)
                continue
            try:
                self._client.send("/v1/traces", body, "application/x-protobuf", headers=headers)
            except LookupError:
                raise UsageError(f"{self._client.url} takes no OTLP; it needs MLflow 3.6 or newer") from None
            self._done(1)
        self._tally.count("traces", len(held), known=True)
        self._tally.count("traces", len(runs) - len(held))
        self._link(runs)
        for trace_id in runs:
            self._send_scores(trace_id)

    def _held_traces(self, trace_ids: list[str]) -> set[str]:
        """Which traces the server has already; they are sent all the same, for they may have grown."""
        found: set[str] = set()
        for start in range(0, len(trace_ids), _TRACES_AT_ONCE):
            asked = [f"tr-{trace_id}" for trace_id in trace_ids[start : start + _TRACES_AT_ONCE]]
            try:
                told = self._client.post("3.0/mlflow/traces/batchGetInfos", {"trace_ids": asked})
            except LookupError:  # an older server does not tell
                return set()
            found |= {str(each["trace_id"]).removeprefix("tr-") for each in told.get("trace_infos") or ()}
        return found

    def _link(self, runs: Mapping[str, object]) -> None:
        """Say on the server which run traces belong to."""
        by_run: dict[str, list[str]] = {}
        for trace_id, run in runs.items():
            there = self._runs.get(str(run))
            if there is not None:
                by_run.setdefault(there, []).append(f"tr-{trace_id}")
        for run, traces in by_run.items():
            for start in range(0, len(traces), _TRACES_AT_ONCE):
                body = {"run_id": run, "trace_ids": traces[start : start + _TRACES_AT_ONCE]}
                self._client.post("2.0/mlflow/traces/link-to-run", body)

    def _send_scores(self, trace_id: str) -> None:
        query = (
            "SELECT * FROM scores WHERE trace_id = ? AND target <> 'session' AND score_id NOT IN "
            "(SELECT supersedes FROM scores WHERE trace_id = ? AND supersedes IS NOT NULL) ORDER BY time, score_id"
        )
        scores = self._store.sql(query, [trace_id, trace_id], settle=False).dicts()
        if not scores:
            return
        place = f"3.0/mlflow/traces/tr-{trace_id}"
        told = self._client.get(place).get("trace") or {}
        there = _ids(told.get("trace_info", {}).get("assessments") or ())
        for score in scores:
            assessment = _assessment(score)
            origin = assessment["metadata"].get("assessment_id")
            known = str(score["score_id"]) in there or origin in there
            self._tally.count("scores", known=known)
            if not known:
                self._client.post(f"{place}/assessments", {"assessment": assessment})


def _ids(assessments: Iterable[Mapping[str, Any]]) -> set[str]:
    """The ids by which a score is known: the server's, and ours."""
    found = set()
    for each in assessments:
        found |= {str(each.get("assessment_id")), str((each.get("metadata") or {}).get("tracekit.score_id"))}
    return found - {"None"}


def _assessment(score: Mapping[str, Any]) -> dict[str, Any]:
    given = json.loads(score["metadata"]) if score.get("metadata") else {}
    more = {key: value if isinstance(value, str) else as_json(value) for key, value in given.items()}
    value: object = score["value"]
    if score["value_type"] == "bool" and value is not None:
        value = bool(value)
    elif value is None:
        value = score["label"]
    elif score["label"]:
        more["label"] = score["label"]
    at = score["time"].isoformat(timespec="milliseconds") + "Z"
    told: dict[str, Any] = {
        "assessment_name": score["name"],
        "trace_id": f"tr-{score['trace_id']}",
        "source": {
            "source_type": _SOURCES.get(score["source"], "CODE"),
            "source_id": score["annotator"] or score["judge"] or "tracekit",
        },
        "create_time": at,
        "last_update_time": at,
        "metadata": {**more, "tracekit.score_id": score["score_id"]},
        "valid": True,
    }
    if score["span_id"]:
        told["span_id"] = score["span_id"]
    if score["status"] == "scored":
        told["feedback"] = {"value": value}
        if score["explanation"]:
            told["rationale"] = score["explanation"]
    else:
        told["feedback"] = {"error": {"error_code": score["status"], "error_message": score["explanation"] or ""}}
    if given.get("kind") == "expectation":
        told["expectation"] = told.pop("feedback")
        if not isinstance(value, (str, float, bool)) or str(value)[:1] in ("{", "["):
            told["expectation"] = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": str(value)}}
    return told


def _point(name: str, value: float, at: int, step: int) -> dict[str, object]:
    number: object = value
    if not math.isfinite(value):
        number = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {"key": _fit(name), "value": number, "timestamp": at, "step": step}


def _fit(name: str) -> str:
    """A name with the characters that MLflow takes.

    Example:
        >>> _fit("p@5"), _fit("../x"), _fit("eval/f1")
        ('p_5', '.._x', 'eval/f1')
    """
    found = _UNFIT.sub("_", name)[:_LONGEST_NAME] or "_"
    if posixpath.normpath(found) != found or found.startswith(("/", "..")) or found == ".":
        found = found.replace("/", "_")
        found = "_" + found[1:] if found in (".", "..") else found
    return found


def _milliseconds(moment: datetime.datetime) -> int:
    since = moment - datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - a store keeps UTC without a zone
    return since // datetime.timedelta(milliseconds=1)
