"""MLflow's SQLite store, read as it is: the file is opened for reading only, and checked before anything is taken."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from tracekit.errors import UsageError
from tracekit_collector.imports.mlflow_kinds import (
    Experiment,
    LoggedModel,
    MlflowRun,
    MlflowTrace,
    ModelVersion,
    RegisteredModel,
    local_files,
    local_path,
)

_NEEDED = {
    "experiments": {"experiment_id", "name", "lifecycle_stage"},
    "runs": {
        "run_uuid",
        "name",
        "status",
        "start_time",
        "end_time",
        "lifecycle_stage",
        "artifact_uri",
        "experiment_id",
    },
    "params": {"key", "value", "run_uuid"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "tags": {"key", "value", "run_uuid"},
}
# Tables that an older MLflow did not have; where they are there, they have at least these columns.
_OPTIONAL = {
    "trace_info": {"request_id", "experiment_id", "timestamp_ms"},
    "trace_tags": {"key", "value", "request_id"},
    "trace_request_metadata": {"key", "value", "request_id"},
    "spans": {"trace_id", "span_id", "content", "start_time_unix_nano"},
    "assessments": {"assessment_id", "trace_id", "name", "assessment_type", "value", "created_timestamp"},
    "registered_models": {"name"},
    "registered_model_tags": {"key", "value", "name"},
    "registered_model_aliases": {"alias", "version", "name"},
    "model_versions": {"name", "version", "creation_time", "source", "run_id", "current_stage"},
    "model_version_tags": {"key", "value", "name", "version"},
    "logged_models": {"model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms"},
    "logged_model_params": {"model_id", "param_key", "param_value"},
    "logged_model_tags": {"model_id", "tag_key", "tag_value"},
}
# What MLflow works out from the tables above, or keeps for itself.
_INNER = re.compile(
    r"alembic_version|latest_metrics|trace_metrics|span_metrics|sql(ite)?_.*|workspaces|.*_leases|job_locks|experiment_tags"
)
_USAGE = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COST = ("input_cost", "output_cost", "total_cost")


class Database:
    """An `mlflow.db`.

    Args:
        path: The file.
        served: The folder of a tracking server's artifacts; `mlartifacts` beside the file when not given.

    Raises:
        UsageError: It is no MLflow database, is damaged, or is of a version that is not known.
    """

    def __init__(self, path: Path, *, served: Path | None = None) -> None:
        self._path = path
        beside = path.parent / "mlartifacts"
        self._served = served or (beside if beside.is_dir() else None)
        try:
            with path.open("rb") as file:
                head = file.read(16)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
        if head != b"SQLite format 3\0":
            raise UsageError(f"{path} is no SQLite database; give an mlflow.db, a folder mlruns, or a server's URL")
        try:
            self._open = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
            self._open.row_factory = sqlite3.Row
            told = self._open.execute("PRAGMA quick_check(1)").fetchone()[0]
            if told != "ok":
                raise UsageError(f"{path} is damaged ({told}); copy it again, while no server writes to it")
            self._columns = self._read_columns()
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{path} is damaged ({error}); copy it again, while no server writes to it") from error
        self._check()

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def experiments(self) -> Sequence[Experiment]:
        """All experiments."""
        rows = self._rows("SELECT experiment_id, name, lifecycle_stage FROM experiments ORDER BY experiment_id")
        return [Experiment(str(row[0]), str(row[1]), row[2] == "deleted") for row in rows]

    def runs(self, experiment: Experiment) -> Iterator[MlflowRun]:
        """The runs of an experiment, oldest first."""
        query = "SELECT * FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid"
        for row in self._rows(query, experiment.id):
            run = row["run_uuid"]
            yield MlflowRun(
                id=run,
                name=row["name"] or "",
                status=row["status"] or "RUNNING",
                start_ms=row["start_time"] or 0,
                end_ms=row["end_time"],
                user=dict(row).get("user_id"),
                artifact_uri=row["artifact_uri"] or "",
                deleted=row["lifecycle_stage"] == "deleted",
                params=self._pairs("params", "run_uuid", run),
                tags=self._pairs("tags", "run_uuid", run),
                metrics=[
                    (each["key"], float("nan") if each["is_nan"] else each["value"], each["step"], each["timestamp"])
                    for each in self._rows(
                        "SELECT * FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp, value", run
                    )
                ],
            )

    def traces(self, experiment: Experiment) -> Iterator[MlflowTrace]:
        """The traces of an experiment, oldest first."""
        if "trace_info" not in self._columns:
            return
        query = "SELECT * FROM trace_info WHERE experiment_id = ? ORDER BY timestamp_ms, request_id"
        for row in self._rows(query, experiment.id):
            trace = row["request_id"]
            tags, metadata = _of_columns(dict(row))
            tags |= self._pairs("trace_tags", "request_id", trace)
            yield MlflowTrace(
                id=trace,
                metadata={**metadata, **self._pairs("trace_request_metadata", "request_id", trace)},
                tags=tags,
                spans=self._spans(trace) or self._spans_of_file(tags.get("mlflow.artifactLocation")),
                assessments=[_assessment(dict(each)) for each in self._of("assessments", "trace_id", trace)],
                client_request_id=dict(row).get("client_request_id"),
            )

    def registered(self) -> Sequence[RegisteredModel]:
        """The registered models by name, with their versions by number."""
        found = []
        for row in self._all("registered_models", "name"):
            name = row["name"]
            found.append(
                RegisteredModel(
                    name,
                    dict(row).get("description") or "",
                    self._pairs("registered_model_tags", "name", name),
                    {
                        each["alias"]: int(each["version"])
                        for each in self._of("registered_model_aliases", "name", name)
                    },
                    [self._version(dict(each)) for each in self._of("model_versions", "name", name)],
                )
            )
        return found

    def logged(self, experiment: Experiment) -> Sequence[LoggedModel]:
        """The logged models of an experiment, oldest first."""
        models = [dict(row) for row in self._of("logged_models", "experiment_id", experiment.id)]
        return [
            LoggedModel(
                id=row["model_id"],
                name=row["name"],
                created_ms=row["creation_timestamp_ms"],
                run_id=row.get("source_run_id"),
                params=self._pairs("logged_model_params", "model_id", row["model_id"], "param_"),
                tags=self._pairs("logged_model_tags", "model_id", row["model_id"], "tag_"),
                artifact_uri=row["artifact_location"] or "",
                kind=row.get("model_type"),
            )
            for row in sorted(models, key=lambda each: (each["creation_timestamp_ms"], each["model_id"]))
            if row.get("lifecycle_stage") != "deleted"
        ]

    def artifacts(self, uri: str, *, run_id: str | None) -> Iterator[tuple[str, BinaryIO]]:
        """The files at an artifact URI."""
        del run_id  # a server needs it
        return local_files(local_path(uri, served=self._served))

    def others(self) -> Mapping[str, int]:
        """The rows of every table that is not read."""
        unread = [name for name in self._columns if name not in {**_NEEDED, **_OPTIONAL} and not _INNER.fullmatch(name)]
        counts = {name: self._rows(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in unread}  # noqa: S608 - names that the file's own schema gives
        return {name: count for name, count in counts.items() if count}

    def _version(self, row: dict[str, Any]) -> ModelVersion:
        tags = self._rows(
            "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ? ORDER BY key",
            row["name"],
            row["version"],
        )
        return ModelVersion(
            number=int(row["version"]),
            created_ms=row["creation_time"] or 0,
            source=row["source"] or "",
            run_id=row["run_id"],
            description=row.get("description") or "",
            tags={each["key"]: each["value"] or "" for each in tags},
            deleted=row["current_stage"] == "Deleted_Internal",
        )

    def _spans(self, trace: str) -> list[Mapping[str, object]]:
        rows = self._of("spans", "trace_id", trace)
        try:
            return [json.loads(row["content"]) for row in rows]
        except (TypeError, ValueError):  # moved to an archive, which the artifacts may hold
            return []

    def _spans_of_file(self, location: str | None) -> list[Mapping[str, object]] | None:
        try:
            return read_spans(local_path(location or "", served=self._served))
        except LookupError:
            return None

    def _pairs(self, table: str, column: str, value: object, prefix: str = "") -> dict[str, str]:
        return {row[prefix + "key"]: row[prefix + "value"] or "" for row in self._of(table, column, value)}

    def _all(self, table: str, order: str) -> sqlite3.Cursor | tuple[()]:
        return self._rows(f"SELECT * FROM {table} ORDER BY {order}") if table in self._columns else ()  # noqa: S608 - our own names

    def _of(self, table: str, column: str, value: object) -> list[sqlite3.Row]:
        if table not in self._columns:
            return []
        return self._rows(f"SELECT * FROM {table} WHERE {column} = ? ORDER BY rowid", value).fetchall()  # noqa: S608 - our own names

    def _rows(self, query: str, *parameters: object) -> sqlite3.Cursor:
        try:
            return self._open.execute(query, parameters)
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"cannot read {self._path}: {error}; copy it again, while no server writes to it"
            ) from error

    def _read_columns(self) -> dict[str, set[str]]:
        tables = [row[0] for row in self._open.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        query = "SELECT name FROM pragma_table_info(?)"
        return {table: {row[0] for row in self._open.execute(query, (table,))} for table in tables}

    def _check(self) -> None:
        if "experiments" not in self._columns or "runs" not in self._columns:
            raise UsageError(f"{self._path} is no MLflow database: it has no table `experiments` and `runs`")
        lacking = [
            f"{table}.{column}"
            for table, columns in {**_NEEDED, **{t: c for t, c in _OPTIONAL.items() if t in self._columns}}.items()
            for column in sorted(columns - self._columns.get(table, set()))
        ]
        if lacking:
            version = next(iter(self._all("alembic_version", "1")), ["unknown"])[0]
            raise UsageError(
                f"{self._path} has MLflow's schema {version}, which lacks {', '.join(lacking[:5])}; upgrade it with "
                "`mlflow db upgrade`, or import from the tracking server's URL"
            )


def read_spans(folder: Path) -> list[Mapping[str, object]] | None:
    """The spans in a trace's `traces.json`; `None` where there is none that can be read."""
    try:
        told = json.loads((folder / "traces.json").read_bytes())
    except (OSError, ValueError):
        return None
    spans = told.get("spans") if isinstance(told, dict) else None
    return [each for each in spans if isinstance(each, dict)] if isinstance(spans, list) else None


def _of_columns(row: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Tags and metadata that newer versions of MLflow keep in columns of the trace itself."""
    tags = {"mlflow.traceName": row["trace_name"]} if row.get("trace_name") else {}
    metadata = {"mlflow.trace.session": row["session_id"]} if row.get("session_id") else {}
    usage = {name: row.get(name) for name in _USAGE if row.get(name) is not None}
    cost = {name: row.get(name) for name in _COST if row.get(name) is not None}
    for key, told in (("mlflow.trace.tokenUsage", usage), ("mlflow.trace.cost", cost)):
        if told:
            metadata[key] = json.dumps(told)
    return tags, metadata


def _assessment(row: dict[str, Any]) -> dict[str, object]:
    """A row as the REST API tells it."""
    told: dict[str, object] = {
        "assessment_id": row["assessment_id"],
        "assessment_name": row["name"],
        "source": {"source_type": row.get("source_type"), "source_id": row.get("source_id")},
        "time_ms": row.get("last_updated_timestamp") or row["created_timestamp"],
        "span_id": row.get("span_id"),
        "rationale": row.get("rationale"),
        "run_id": row.get("run_id"),
        "overrides": row.get("overrides"),
        "valid": bool(row.get("valid", True)),
        "metadata": _json(row.get("assessment_metadata")),
    }
    told[row["assessment_type"]] = {"value": _json(row["value"]), "error": _json(row.get("error"))}
    return told


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
