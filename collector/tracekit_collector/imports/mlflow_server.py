"""An MLflow tracking server, read by its REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from tracekit.errors import UsageError
from tracekit_collector.imports.mlflow_client import Client
from tracekit_collector.imports.mlflow_kinds import (
    Experiment,
    LoggedModel,
    MlflowRun,
    MlflowTrace,
    ModelVersion,
    RegisteredModel,
)

_PAGE = 500


class Server:
    """A tracking server as a source.

    Args:
        url: The server's URL.

    Raises:
        UsageError: It cannot be reached, or is no MLflow server.
    """

    def __init__(self, url: str) -> None:
        self._client = Client(url)
        self._models: dict[str, str] = {}  # artifact URI -> id of the logged model
        try:
            self._client.post("2.0/mlflow/experiments/search", {"max_results": 1})
        except LookupError as error:
            raise UsageError(f"{url} is no MLflow tracking server: {error}") from error

    def experiments(self) -> Sequence[Experiment]:
        """All experiments, deleted ones too."""
        asked = {"max_results": _PAGE, "view_type": "ALL"}
        found = [
            Experiment(str(each["experiment_id"]), str(each["name"]), each.get("lifecycle_stage") == "deleted")
            for each in self._client.pages("2.0/mlflow/experiments/search", "experiments", asked)
        ]
        return sorted(found, key=lambda each: (len(each.id), each.id))

    def runs(self, experiment: Experiment) -> Iterator[MlflowRun]:
        """The runs of an experiment, deleted ones too, oldest first."""
        asked = {
            "experiment_ids": [experiment.id],
            "max_results": _PAGE,
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        }
        for each in self._client.pages("2.0/mlflow/runs/search", "runs", asked):
            info, data = each["info"], each.get("data") or {}
            run = str(info.get("run_id") or info["run_uuid"])
            deleted = info.get("lifecycle_stage") == "deleted"
            series = sorted({str(metric["key"]) for metric in data.get("metrics") or ()})
            yield MlflowRun(
                id=run,
                name=str(info.get("run_name") or ""),
                status=str(info.get("status") or "RUNNING"),
                start_ms=int(info.get("start_time") or 0),
                end_ms=int(info["end_time"]) if info.get("end_time") else None,
                user=info.get("user_id"),
                artifact_uri=str(info.get("artifact_uri") or ""),
                deleted=deleted,
                params=_pairs(data.get("params")),
                tags=_pairs(data.get("tags")),
                metrics=[] if deleted else [point for name in series for point in self._series(run, name)],
            )

    def traces(self, experiment: Experiment) -> Iterator[MlflowTrace]:
        """The traces of an experiment, with their spans."""
        location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment.id}}
        asked = {"locations": [location], "max_results": 100, "order_by": ["timestamp_ms ASC"]}
        try:
            for each in self._client.pages("3.0/mlflow/traces/search", "traces", asked):
                trace = str(each.get("trace_id") or each.get("request_id"))
                yield MlflowTrace(
                    id=trace,
                    metadata=each.get("trace_metadata") or {},
                    tags=each.get("tags") or {},
                    spans=self._spans(trace),
                    assessments=each.get("assessments") or (),
                    client_request_id=each.get("client_request_id"),
                )
        except LookupError:
            return  # a server before MLflow 3 has no such question

    def registered(self) -> Sequence[RegisteredModel]:
        """The registered models by name; its API tells no deleted versions, and leaves prompts out."""
        versions: dict[str, list[ModelVersion]] = {}
        for each in self._client.pages("2.0/mlflow/model-versions/search", "model_versions", max_results=_PAGE):
            versions.setdefault(str(each["name"]), []).append(
                ModelVersion(
                    number=int(each["version"]),
                    created_ms=int(each.get("creation_timestamp") or 0),
                    source=str(each.get("source") or ""),
                    run_id=each.get("run_id") or None,
                    description=str(each.get("description") or ""),
                    tags=_pairs(each.get("tags")),
                )
            )
        return [
            RegisteredModel(
                str(each["name"]),
                str(each.get("description") or ""),
                _pairs(each.get("tags")),
                {alias["alias"]: int(alias["version"]) for alias in each.get("aliases") or ()},
                versions.get(str(each["name"]), []),
            )
            for each in self._client.pages("2.0/mlflow/registered-models/search", "registered_models", max_results=100)
        ]

    def logged(self, experiment: Experiment) -> Sequence[LoggedModel]:
        """The logged models of an experiment, oldest first."""
        found: list[LoggedModel] = []
        asked = {"experiment_ids": [experiment.id], "max_results": 50}
        try:
            for each in self._client.pages("2.0/mlflow/logged-models/search", "models", asked):
                info = each["info"]
                uri = str(info.get("artifact_uri") or "")
                self._models[uri] = str(info["model_id"])
                found.append(
                    LoggedModel(
                        id=str(info["model_id"]),
                        name=str(info.get("name") or info["model_id"]),
                        created_ms=int(info.get("creation_timestamp_ms") or 0),
                        run_id=info.get("source_run_id") or None,
                        params=_pairs((each.get("data") or {}).get("params")),
                        tags=_pairs(info.get("tags")),
                        artifact_uri=uri,
                        kind=info.get("model_type") or None,
                    )
                )
        except LookupError:
            return []  # a server before MLflow 3 has none
        return sorted(found, key=lambda each: (each.created_ms, each.id))

    def artifacts(self, uri: str, *, run_id: str | None) -> Iterator[tuple[str, BinaryIO]]:
        """The files of a run, or of the logged model with that artifact URI, as the server sends them."""
        if run_id is not None:
            return self._files("2.0/mlflow/artifacts/list", "/get-artifact", {"run_id": run_id}, "")
        model = self._models.get(uri)
        if model is None:
            raise LookupError("kept where the server does not say")
        listing, sending = (
            f"2.0/mlflow/logged-models/{model}/artifacts/directories",
            (f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files"),
        )
        return self._files(listing, sending, {}, "")

    def others(self) -> Mapping[str, int]:
        """Nothing: the API has no count of what else a server holds."""
        return {}

    def _series(self, run: str, name: str) -> list[tuple[str, float, int, int]]:
        asked: dict[str, Any] = {"run_id": run, "metric_key": name, "max_results": 25_000}
        points = [
            (name, float(each["value"]), int(each.get("step") or 0), int(each.get("timestamp") or 0))
            for each in self._client.pages("2.0/mlflow/metrics/get-history", "metrics", None, **asked)
        ]
        return sorted(points, key=lambda point: (point[2], point[3], point[1]))

    def _spans(self, trace: str) -> list[Mapping[str, object]] | None:
        try:
            with self._client.open("/ajax-api/2.0/mlflow/get-trace-artifact", request_id=trace) as file:
                told: Any = json.loads(file.read())
        except (LookupError, UsageError, ValueError):
            return None
        spans = told.get("spans") if isinstance(told, dict) else None
        return [each for each in spans if isinstance(each, dict)] if isinstance(spans, list) else None

    def _files(
        self, listing: str, sending: str, asked: Mapping[str, object], folder: str
    ) -> Iterator[tuple[str, BinaryIO]]:
        more = {"path": folder} if folder else {}
        if "/logged-models/" in listing:
            more = {"artifact_directory_path": folder} if folder else {}
        which = "artifact_file_path" if "/logged-models/" in listing else "path"
        for each in self._client.pages(listing, "files", None, **{**asked, **more}):
            path = str(each["path"])
            if each.get("is_dir"):
                yield from self._files(listing, sending, asked, path)
            else:
                yield path, self._client.open(sending, **asked, **{which: path})


def _pairs(told: object) -> dict[str, str]:
    if not isinstance(told, list):
        return {}
    return {str(each["key"]): str(each.get("value") or "") for each in told if isinstance(each, dict) and "key" in each}
