"""What an MLflow store holds, in whichever form it is kept: the shapes that its readers give."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from tracekit.errors import DecodeError
from tracekit_collector.imports.foreign import ForeignEvent, ForeignSpan, span_id_of, trace_id_of

_STATUSES = {"OK": "ok", "ERROR": "error", "UNSET": "unset"}
RUN_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


@dataclass(frozen=True)
class Experiment:
    """An experiment: its id and name, and whether it was deleted."""

    id: str
    name: str
    deleted: bool = False


@dataclass(frozen=True)
class MlflowRun:
    """A run; times in milliseconds since 1970, metrics as (name, value, step, time)."""

    id: str
    name: str
    status: str
    start_ms: int
    end_ms: int | None
    user: str | None
    artifact_uri: str
    deleted: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, float, int, int]]


@dataclass(frozen=True)
class MlflowTrace:
    """A trace: spans as MLflow writes them, `None` where they cannot be read, and assessments as its API has them."""

    id: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    spans: Sequence[Mapping[str, object]] | None
    assessments: Sequence[Mapping[str, object]] = ()
    client_request_id: str | None = None


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model."""

    number: int
    created_ms: int
    source: str
    run_id: str | None
    description: str
    tags: Mapping[str, str]
    deleted: bool = False


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model with its versions, by number, and what its aliases stand for."""

    name: str
    description: str
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    versions: Sequence[ModelVersion]

    @property
    def is_prompt(self) -> bool:
        """Whether it is a prompt, which MLflow keeps among its models."""
        return self.tags.get("mlflow.prompt.is_prompt") == "true"


@dataclass(frozen=True)
class LoggedModel:
    """A model that a run logged."""

    id: str
    name: str
    created_ms: int
    run_id: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    artifact_uri: str
    kind: str | None = None


class Source(Protocol):
    """An MLflow store that can be read."""

    def experiments(self) -> Sequence[Experiment]:
        """All experiments, deleted ones too."""

    def runs(self, experiment: Experiment) -> Iterator[MlflowRun]:
        """The runs of an experiment, deleted ones too."""

    def traces(self, experiment: Experiment) -> Iterator[MlflowTrace]:
        """The traces of an experiment."""

    def registered(self) -> Sequence[RegisteredModel]:
        """The registered models, prompts too."""

    def logged(self, experiment: Experiment) -> Sequence[LoggedModel]:
        """The models that the runs of an experiment logged."""

    def artifacts(self, uri: str, *, run_id: str | None) -> Iterator[tuple[str, BinaryIO]]:
        """The files at an artifact URI: each with its path there; the caller closes them.

        Raises:
            LookupError: They cannot be reached; says why.
        """

    def others(self) -> Mapping[str, int]:
        """What the store holds besides, counted by name."""


def local_path(uri: str, *, served: Path | None) -> Path:
    """Where the files of an artifact URI lie on this machine.

    Args:
        uri: A path, a `file:` URI, or an `mlflow-artifacts:` URI of a server's own folder.
        served: That folder.

    Raises:
        LookupError: They lie elsewhere, or are not there.
    """
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        found = Path(unquote(urlsplit(uri).path) if scheme else uri)
    elif scheme == "mlflow-artifacts":
        if served is None:
            raise LookupError("kept by a tracking server; name its folder with --artifacts")
        found = served.joinpath(*(part for part in unquote(urlsplit(uri).path).split("/") if part not in ("", "..")))
    else:
        raise LookupError(f"kept in {scheme}, which is not read; import from the tracking server instead")
    if not found.is_dir():
        raise LookupError("the folder of artifacts is not there")
    return found


def local_files(folder: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The files in a folder, each with its path there; links that lead out of it are left alone."""
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.resolve().is_relative_to(inside):
            yield path.relative_to(folder).as_posix(), path.open("rb")


def span_of(told: Mapping[str, object], trace: str) -> ForeignSpan:
    """A span as MLflow writes it, in the form of version 3 or of version 2.

    Args:
        told: The span's JSON.
        trace: MLflow's id of its trace.

    Raises:
        DecodeError: It is no span.
    """
    try:
        if "context" in told:
            return _span_of_version_2(told, trace)
        status = _mapping(told.get("status"))
        return ForeignSpan(
            trace_id_of(trace),
            _id(told["span_id"]),
            _id(told["parent_span_id"]) if told.get("parent_span_id") else "",
            str(told.get("name") or ""),
            _whole(told["start_time_unix_nano"]),
            _whole(told.get("end_time_unix_nano") or 0),
            _attributes(told),
            _STATUSES.get(str(status.get("code", "")).removeprefix("STATUS_CODE_"), "unset"),
            str(status.get("message") or ""),
            [_event(each, "time_unix_nano") for each in _list(told.get("events"))],
            [
                (trace_id_of(str(link["trace_id"])), span_id_of(str(link["span_id"])))
                for link in _list(told.get("links"))
                if "trace_id" in link and "span_id" in link
            ],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"a span of the trace {trace} cannot be read: {error!r}") from error


def _span_of_version_2(told: Mapping[str, object], trace: str) -> ForeignSpan:
    return ForeignSpan(
        trace_id_of(trace),
        span_id_of(str(_mapping(told["context"])["span_id"]).removeprefix("0x")),
        span_id_of(str(told["parent_id"]).removeprefix("0x")) if told.get("parent_id") else "",
        str(told.get("name") or ""),
        _whole(told["start_time"]),
        _whole(told.get("end_time") or 0),
        _attributes(told),
        _STATUSES.get(str(told.get("status_code") or ""), "unset"),
        str(told.get("status_message") or ""),
        [_event(each, "timestamp") for each in _list(told.get("events"))],
    )


def _event(told: Mapping[str, object], time: str) -> ForeignEvent:
    return ForeignEvent(str(told.get("name") or ""), _whole(told.get(time) or 0), _mapping(told.get("attributes")))


def _attributes(told: Mapping[str, object]) -> dict[str, object]:
    return dict(_mapping(told.get("attributes")))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _whole(value: object) -> int:
    if isinstance(value, (int, str)):
        return int(value)
    raise TypeError(f"{value!r} is no time")


def _id(value: object) -> str:
    """An id as base64 of its eight bytes, or in hex."""
    text = str(value)
    if len(text) == 12:
        try:
            return base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            pass
    return span_id_of(text.removeprefix("0x"))
