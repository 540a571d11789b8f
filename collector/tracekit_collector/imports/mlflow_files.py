"""MLflow's store of files, `mlruns`: a folder an experiment, a folder a run, a file a parameter, tag or series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from tracekit.errors import UsageError
from tracekit_collector.imports.mlflow_database import read_spans
from tracekit_collector.imports.mlflow_kinds import (
    RUN_STATUSES,
    Experiment,
    LoggedModel,
    MlflowRun,
    MlflowTrace,
    ModelVersion,
    RegisteredModel,
    local_files,
    local_path,
)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INNER = {"models", "traces", "tags", "datasets", ".trash"}


def is_file_store(folder: Path) -> bool:
    """Whether a folder is an `mlruns`: one of the folders in it is an experiment."""
    return folder.is_dir() and any("experiment_id" in _meta(each) for each in _folders(folder))


class Files:
    """An `mlruns`.

    Args:
        folder: The folder.
        served: The folder of a tracking server's artifacts.
    """

    def __init__(self, folder: Path, *, served: Path | None = None) -> None:
        self._folder = folder
        self._served = served

    def experiments(self) -> Sequence[Experiment]:
        """All experiments, those in `.trash` too."""
        return [Experiment(each.name, str(meta["name"]), deleted) for each, meta, deleted in self._experiments()]

    def runs(self, experiment: Experiment) -> Iterator[MlflowRun]:
        """The runs of an experiment, oldest first."""
        folder = self._of(experiment)
        found = [(each, meta) for each in _folders(folder) if "run_id" in (meta := _meta(each))]
        for each, meta in sorted(found, key=lambda pair: (pair[1].get("start_time") or 0, pair[0].name)):
            yield MlflowRun(
                id=str(meta["run_id"]),
                name=str(meta.get("run_name") or ""),
                status=RUN_STATUSES.get(meta.get("status", 1), "RUNNING"),
                start_ms=int(meta.get("start_time") or 0),
                end_ms=meta.get("end_time"),
                user=meta.get("user_id"),
                artifact_uri=self._place(str(meta.get("artifact_uri") or ""), each / "artifacts"),
                deleted=meta.get("lifecycle_stage") == "deleted",
                params=_texts(each / "params"),
                tags=_texts(each / "tags"),
                metrics=sorted(_series(each / "metrics"), key=lambda point: (point[0], point[2], point[3])),
            )

    def traces(self, experiment: Experiment) -> Iterator[MlflowTrace]:
        """The traces of an experiment."""
        for each in sorted(_folders(self._of(experiment) / "traces")):
            info = _yaml(each / "trace_info.yaml")
            yield MlflowTrace(
                id=each.name,
                metadata=_texts(each / "request_metadata"),
                tags=_texts(each / "tags"),
                spans=read_spans(each / "artifacts"),
                assessments=[_yaml(path) for path in sorted((each / "assessments").glob("*.yaml"))],
                client_request_id=info.get("client_request_id"),
            )

    def registered(self) -> Sequence[RegisteredModel]:
        """The registered models, by name."""
        found = []
        for each in sorted(_folders(self._folder / "models")):
            meta = _meta(each)
            versions = [_version(path) for path in _folders(each) if path.name.startswith("version-")]
            aliases = {name: int(number) for name, number in _texts(each / "aliases").items() if number.isdecimal()}
            tags = _texts(each / "tags")
            text = str(meta.get("description") or "")
            found.append(RegisteredModel(str(meta.get("name") or each.name), text, tags, aliases, versions))
        return found

    def logged(self, experiment: Experiment) -> Sequence[LoggedModel]:
        """The logged models of an experiment, oldest first."""
        folders = _folders(self._of(experiment) / "models")
        pairs = [(each, meta) for each in folders if "model_id" in (meta := _meta(each))]
        return [
            LoggedModel(
                id=str(meta["model_id"]),
                name=str(meta.get("name") or meta["model_id"]),
                created_ms=int(meta.get("creation_timestamp") or 0),
                run_id=meta.get("source_run_id"),
                params=_texts(each / "params"),
                tags=_texts(each / "tags"),
                artifact_uri=self._place(str(meta.get("artifact_location") or ""), each / "artifacts"),
                kind=meta.get("model_type"),
            )
            for each, meta in sorted(pairs, key=lambda pair: (pair[1].get("creation_timestamp") or 0, pair[0].name))
            if meta.get("lifecycle_stage") != "deleted"
        ]

    def artifacts(self, uri: str, *, run_id: str | None) -> Iterator[tuple[str, BinaryIO]]:
        """The files at an artifact URI."""
        del run_id  # a server needs it
        return local_files(local_path(uri, served=self._served))

    def others(self) -> Mapping[str, int]:
        """Datasets that runs used, and models that they took in or gave out."""
        kinds = {"datasets": "datasets", "inputs": "inputs", "outputs": "outputs"}
        counts = {
            kind: sum(1 for _ in self._folder.glob(f"*/{'' if kind == 'datasets' else '*/'}{name}/*"))
            for kind, name in kinds.items()
        }
        return {kind: count for kind, count in counts.items() if count}

    def _experiments(self) -> Iterator[tuple[Path, dict[str, Any], bool]]:
        for folder, deleted in ((self._folder, False), (self._folder / ".trash", True)):
            for each in sorted(_folders(folder)):
                meta = _meta(each)
                if "experiment_id" in meta and "name" in meta:
                    yield each, meta, deleted or meta.get("lifecycle_stage") == "deleted"
                elif folder == self._folder and each.name not in _INNER:
                    raise UsageError(f"{each} has no meta.yaml of an experiment; move it away, or restore the file")

    def _of(self, experiment: Experiment) -> Path:
        folder = self._folder / experiment.id
        return folder if folder.is_dir() else self._folder / ".trash" / experiment.id

    def _place(self, uri: str, beside: Path) -> str:
        """Where artifacts are: beside what they belong to, also where the store was moved since."""
        return str(beside) if beside.is_dir() else uri


def _version(folder: Path) -> ModelVersion:
    meta = _meta(folder)
    return ModelVersion(
        number=int(meta.get("version") or folder.name.removeprefix("version-")),
        created_ms=int(meta.get("creation_timestamp") or 0),
        source=str(meta.get("source") or ""),
        run_id=meta.get("run_id"),
        description=str(meta.get("description") or ""),
        tags=_texts(folder / "tags"),
        deleted=meta.get("current_stage") == "Deleted_Internal",
    )


def _folders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir()]
    except OSError:
        return []


def _meta(folder: Path) -> dict[str, Any]:
    return _yaml(folder / "meta.yaml")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_bytes(), _LOADER)  # noqa: S506 - a safe loader, in C where it is there
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {error}; restore it, or move it away") from error
    return found if isinstance(found, dict) else {}


def _texts(folder: Path) -> dict[str, str]:
    """A folder of files, each a value; a name with a slash is a file in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _series(folder: Path) -> Iterator[tuple[str, float, int, int]]:
    for name, text in _texts(folder).items():
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words:
                continue
            try:
                yield name, float(words[1]), int(words[2]) if len(words) > 2 else 0, int(words[0])
            except (IndexError, ValueError):
                raise UsageError(f"{folder / name}, line {number}, is no point of a series: {line[:80]!r}") from None
