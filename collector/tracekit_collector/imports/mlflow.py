"""MLflow into a store: experiments are projects, runs are runs, traces traces, assessments scores, models agents.

What MLflow has, as it has it: parameters and tags are texts, series keep every step, spans keep their attributes. An
experiment's name becomes the project; a model's version keeps its number as its label.
"""

from __future__ import annotations

import datetime
import hashlib
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tracekit import attributes as names
from tracekit.errors import DecodeError, UsageError
from tracekit_collector.imports.delivery import Delivery, ForeignScore
from tracekit_collector.imports.foreign import as_json, real, run_id_of, run_request, span_id_of, trace_id_of
from tracekit_collector.imports.foreign import trace_request as request_of
from tracekit_collector.imports.mlflow_kinds import (
    Experiment,
    LoggedModel,
    MlflowRun,
    MlflowTrace,
    ModelVersion,
    RegisteredModel,
    Source,
    span_of,
)
from tracekit_collector.imports.mlflow_prompts import take_prompt
from tracekit_collector.imports.tally import Tally
from tracekit_collector.store import Store

_ENDED = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed"}
_SOURCES = {"HUMAN": "human", "LLM_JUDGE": "llm", "AI_JUDGE": "llm", "CODE": "code"}
_MODEL = re.compile(r"models:/(m-[0-9a-f]+)$")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*((?:[<>=!~]=?|===)[^;#\s]+)?")
_TRACES_AT_ONCE = 100
_ORIGIN = "imported_from"

Versions = Mapping[str, tuple[str, str]]  # a logged model's id -> agent and label


def source_of(place: str, *, artifacts: Path | None = None) -> Source:
    """The reader of an MLflow store.

    Args:
        place: An `mlflow.db`, a folder `mlruns` or one that holds either, or a tracking server's URL.
        artifacts: The folder in which a tracking server keeps artifacts, for a database that such a server wrote.

    Raises:
        UsageError: There is nothing of MLflow at that place.
    """
    if place.startswith(("http://", "https://")):
        from tracekit_collector.imports.mlflow_server import Server  # noqa: PLC0415 - needed for a URL alone

        return Server(place)
    from tracekit_collector.imports.mlflow_database import Database  # noqa: PLC0415 - needed for files alone
    from tracekit_collector.imports.mlflow_files import Files, is_file_store  # noqa: PLC0415 - as above

    path = Path(place.removeprefix("sqlite:///").removeprefix("file://"))
    if path.is_file():
        return Database(path, served=artifacts)
    if not path.is_dir():
        raise UsageError(f"there is no {path}; give an mlflow.db, a folder mlruns, or a tracking server's URL")
    if (path / "mlflow.db").is_file():
        return Database(path / "mlflow.db", served=artifacts)
    folder = next((each for each in (path, path / "mlruns") if is_file_store(each)), None)
    if folder is None:
        raise UsageError(f"the folder {path} holds neither an mlflow.db nor experiments of MLflow (`meta.yaml`)")
    return Files(folder, served=artifacts)


def import_mlflow(
    store: Store,
    source: Source,
    *,
    experiments: Sequence[str] = (),
    dry_run: bool = False,
    advance: Callable[[int], object] = lambda _n: None,
) -> Tally:
    """Take what an MLflow store holds into a store; the same once more adds nothing.

    Args:
        store: Where to.
        source: From `source_of`.
        experiments: Names of the experiments to take; all of them when not given. Models are taken in any case.
        dry_run: Whether to count only.
        advance: Called with a number of runs and traces as they are taken.

    Returns:
        What was read, what was new, and what was left out and why.

    Raises:
        UsageError: The source cannot be read, or has no such experiment.
        StoreError: The store cannot be written; the next import goes on where this one ended.
    """
    return _Import(store, source, dry_run=dry_run, advance=advance).take(experiments)


class _Import:
    def __init__(self, store: Store, source: Source, *, dry_run: bool, advance: Callable[[int], object]) -> None:
        self._store, self._source, self._dry, self._advance = store, source, dry_run, advance
        self._tally = Tally()
        self._delivery = Delivery(store, self._tally, dry=dry_run)
        self._models: dict[str, LoggedModel] = {}

    def take(self, wanted: Sequence[str]) -> Tally:
        known = self._source.experiments()
        lacking = sorted(set(wanted) - {each.name for each in known})
        if lacking:
            there = ", ".join(sorted(each.name for each in known))
            raise UsageError(f"there is no experiment {lacking[0]!r}; there are {there}")
        self._store.settle()
        picked = []
        for experiment in known:
            if wanted and experiment.name not in wanted:
                self._tally.skip("experiments", "not asked for")
            elif experiment.deleted:
                self._tally.skip("experiments", "deleted, with its runs and traces")
            else:
                picked.append(experiment)
        # A registered model may stand on one that an experiment logged which is not asked for.
        for experiment in known:
            if not experiment.deleted:
                self._models.update({model.id: model for model in self._source.logged(experiment)})
        registered = self._source.registered()
        versions = self._take_models(registered)
        for experiment in picked:
            for run in self._source.runs(experiment):
                self._take_run(experiment, run)
                self._advance(1)
            self._take_traces(experiment, versions)
        self._delivery.finish()
        for name, count in self._source.others().items():
            self._tally.skip(name, "tracekit has nothing of this kind", count)
        return self._tally

    def _take_run(self, experiment: Experiment, run: MlflowRun) -> None:
        if run.deleted:
            self._tally.skip("runs", "deleted")
            return
        run_id = run_id_of(run.id)
        files = self._artifacts(run.artifact_uri, run.id, "")
        for model in self._models.values():
            if model.run_id == run.id:
                files.update(self._artifacts(model.artifact_uri, run.id, f"models/{model.name}/", model.id))
        points = [(name, value, step, time_ms * 1_000_000) for name, value, step, time_ms in run.metrics]
        payload = run_request(run_id, _records(experiment, run, files), points, project=experiment.name)
        known = self._delivery.run(run_id, len(points), payload)
        self._tally.count("parameters", len(run.params), known=known)
        self._tally.count("tags", len(run.tags), known=known)

    def _artifacts(self, uri: str, run_id: str, prefix: str, model_id: str | None = None) -> dict[str, object]:
        found: dict[str, object] = {}
        if not uri:
            return found
        try:
            for name, file in self._source.artifacts(uri, run_id=None if model_id else run_id):
                with file:
                    told = self._delivery.artifact(name, file)
                kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                found[prefix + name] = {**told, "mime_type": kind}
        except LookupError as why:
            if "is not there" not in str(why):  # a run that logged no file has no folder
                self._tally.skip("artifacts", str(why))
        return found

    def _take_traces(self, experiment: Experiment, versions: Versions) -> None:
        waiting: list[tuple[str, int, bytes]] = []
        for trace in self._source.traces(experiment):
            self._advance(1)
            trace_id = trace_id_of(trace.id)
            if trace.spans:
                try:
                    waiting.append((trace_id, len(trace.spans), _trace_request(experiment, trace, versions)))
                except DecodeError as error:
                    self._tally.skip("traces", "a span cannot be read")
                    self._tally.note(str(error))
                    continue
            else:
                self._tally.skip("traces", "its spans cannot be reached")
            for told in trace.assessments:
                score = score_of(told, trace_id)
                if score is None:
                    self._tally.skip("scores", "neither feedback nor expectation, or no longer valid")
                else:
                    self._delivery.score(score)
            if len(waiting) >= _TRACES_AT_ONCE:
                self._delivery.traces(waiting)
                waiting.clear()
        if waiting:
            self._delivery.traces(waiting)

    def _take_models(self, registered: Sequence[RegisteredModel]) -> dict[str, tuple[str, str]]:
        """Register the models; returns which agent version each logged model is."""
        versions: dict[str, tuple[str, str]] = {}
        for model in registered:
            if model.is_prompt:
                take_prompt(self._store, model, self._tally, dry=self._dry)
                continue
            agent = _agent_name(model.name)
            if agent != model.name:
                self._tally.note(f"the model {model.name!r} is the agent {agent!r}: a name cannot hold '@'")
            for version in sorted(model.versions, key=lambda each: each.number):
                if version.deleted:
                    self._tally.skip("model versions", "deleted")
                    continue
                logged = self._models.get(_model_of(version) or "")
                self._register(agent, version, logged)
                if logged is not None:
                    versions.setdefault(logged.id, (agent, str(version.number)))
            self._describe(agent, model)
        for each in self._models.values():
            if each.id not in versions:
                agent = _agent_name(each.name)
                alone = ModelVersion(0, each.created_ms, f"models:/{each.id}", each.run_id, "", each.tags)
                self._register(agent, alone, each, label=each.id)
                versions[each.id] = (agent, each.id)
        return versions

    def _register(
        self, agent: str, version: ModelVersion, logged: LoggedModel | None, *, label: str | None = None
    ) -> None:
        agents = self._store.catalog.agents
        label = label or str(version.number)
        origin = [_ORIGIN, "mlflow", agent, label, version.created_ms, version.source]
        digest = hashlib.sha256(orjson.dumps(origin)).hexdigest()
        held = agents.find(agent, digest)
        known = held is not None and held.digest == digest
        self._tally.count("model versions", known=known)
        if self._dry or known:
            return
        files = {} if logged is None else self._small_files(logged)
        told: dict[str, object] = {_ORIGIN: "mlflow", "source": version.source, "model_id": logged and logged.id}
        run = version.run_id or (logged and logged.run_id)
        told |= {"mlflow_run_id": run, "run": run_id_of(run) if run else None, "type": logged and logged.kind}
        python = re.search(r"^python:\s*['\"]?([\d.]+)", files.get("python_env.yaml", ""), re.MULTILINE)
        made = agents.register(
            agent,
            label=label,
            digest=digest,
            code={key: value for key, value in told.items() if value is not None},
            parameters=dict(logged.params) if logged is not None else {},
            prompts={},
            dependencies=_requirements(files.get("requirements.txt", "")),
            python=python[1][:20] if python else None,
            seen_at=_moment(version.created_ms),
        )
        if version.description:
            agents.describe(made.ref, version.description)
        if version.tags:
            agents.tag(made.ref, add=version.tags)

    def _small_files(self, logged: LoggedModel) -> dict[str, str]:
        """The files of a logged model that say what it needs."""
        found: dict[str, str] = {}
        try:
            for name, file in self._source.artifacts(logged.artifact_uri, run_id=None):
                with file:
                    if name in ("requirements.txt", "python_env.yaml"):
                        found[name] = file.read(1 << 20).decode("utf-8", "replace")
        except LookupError:
            pass
        return found

    def _describe(self, agent: str, model: RegisteredModel) -> None:
        agents = self._store.catalog.agents
        for alias, number in sorted(model.aliases.items()):
            held = agents.find(agent, str(number))
            if held is None and not self._dry:
                self._tally.skip("aliases", "its version was deleted")
                continue
            now = None if self._dry and held is None else agents.aliases(agent).get(alias)
            known = now is not None and held is not None and now.id == held.id
            if not known and not self._dry and held is not None:
                try:
                    agents.set_alias(agent, alias, held, why="imported from MLflow")
                except UsageError:
                    self._tally.skip("aliases", "not possible here: a number, or guarded by a policy")
                    continue
            self._tally.count("aliases", known=known)
        if self._dry or not model.versions or all(each.deleted for each in model.versions):
            return
        text, tags = agents.description(agent)
        if model.description and not text:
            agents.describe(agent, model.description)
        new = {key: value for key, value in model.tags.items() if key not in tags}
        if new:
            agents.tag(agent, add=new)


def score_of(told: Mapping[str, Any], trace_id: str) -> ForeignScore | None:
    """An assessment as a score; `None` where it is none, or another one took its place.

    Args:
        told: The assessment, as the REST API tells it.
        trace_id: 32 hex digits.
    """
    kind = next((kind for kind in ("feedback", "expectation") if isinstance(told.get(kind), dict)), None)
    if kind is None or not told.get("valid", True):
        return None
    said = told[kind]
    value = said.get("value")
    serialized = said.get("serialized_value")
    if isinstance(serialized, dict):
        try:
            value = orjson.loads(serialized.get("value") or "null")
        except orjson.JSONDecodeError:
            value = serialized.get("value")
    error = said.get("error")
    given_source = told.get("source")
    source: Mapping[str, Any] = given_source if isinstance(given_source, dict) else {}
    given = told.get("metadata")
    more = {**(given if isinstance(given, dict) else {}), _ORIGIN: "mlflow", "assessment_id": told.get("assessment_id")}
    if kind == "expectation":
        more["kind"] = kind
    if told.get("overrides"):
        more["overrides"] = told["overrides"]
    run, span = told.get("run_id"), told.get("span_id")
    return ForeignScore(
        id=("mlflow", str(told.get("assessment_id"))),
        trace_id=trace_id,
        name=str(told.get("assessment_name") or "unnamed"),
        value=value,
        time=_moment(told["time_ms"]) if "time_ms" in told else _parsed(told.get("last_update_time")),
        source=_SOURCES.get(str(source.get("source_type"))),
        span_id=span_id_of(str(span)) if span else None,
        run_id=run_id_of(str(run)) if run else None,
        annotator=source.get("source_id") or None,
        explanation=told.get("rationale") or None,
        error=(error.get("error_message") or error.get("error_code") or "failed") if isinstance(error, dict) else None,
        metadata=more,
    )


def _records(
    experiment: Experiment, run: MlflowRun, files: Mapping[str, object]
) -> list[tuple[int, dict[str, object]]]:
    state = _ENDED.get(run.status, "open")
    start = run.start_ms * 1_000_000 or 1
    end = start if state == "open" else max(start, (run.end_ms or 0) * 1_000_000)
    writer = {"id": "mlflow", "host": "", "pid": None}
    parent = run.tags.get("mlflow.parentRunId")
    code = {
        "commit": run.tags.get("mlflow.source.git.commit"),
        "branch": run.tags.get("mlflow.source.git.branch"),
        "repository": run.tags.get("mlflow.source.git.repoURL"),
    }
    facts: dict[str, object] = {
        names.RUN_PARAMETERS: dict(run.params),
        names.RUN_TAGS: dict(run.tags),
        names.RUN_CODE: {key: value for key, value in code.items() if value},
        names.RUN_COMMAND: run.tags.get("mlflow.source.name"),
        names.RUN_ENVIRONMENT: {
            _ORIGIN: "mlflow",
            "mlflow_run_id": run.id,
            "mlflow_status": run.status,
            "mlflow_experiment_id": experiment.id,
            "user": run.user,
        },
        names.RUN_ARTIFACTS: dict(files),
        names.RUN_WRITER: {**writer, "state": state},
    }
    if run.status == "KILLED":
        facts[names.RUN_ERROR] = {"type": "KILLED", "message": "the run was killed"}
    began: dict[str, object] = {
        names.RUN_NAME: run.name or run.tags.get("mlflow.runName") or run.id,
        names.RUN_PARENT: run_id_of(parent) if parent else None,
        names.RUN_WRITER: {**writer, "state": "open"},
    }
    return [(start, began), (end, facts)]


def _trace_request(experiment: Experiment, trace: MlflowTrace, versions: Versions) -> bytes:
    spans = [span_of(told, trace.id) for told in trace.spans or ()]
    known = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id not in known] or spans[:1]
    more: dict[str, object] = {}
    for key, value in trace.metadata.items():
        if key in ("mlflow.trace.session", "mlflow.trace.user"):
            more[key] = as_json(value)  # on spans, MLflow's attributes are JSON
        else:
            more[key if key.startswith("mlflow.trace.") else names.METADATA_PREFIX + key] = value
    more |= {names.METADATA_PREFIX + key: value for key, value in trace.tags.items()}
    if trace.client_request_id:
        more[names.METADATA_PREFIX + "client_request_id"] = trace.client_request_id
    for root in roots:
        root.attributes = {**more, **root.attributes}
    run = trace.metadata.get("mlflow.sourceRun")
    agent, label = versions.get(trace.metadata.get("mlflow.modelId", ""), (None, None))
    resource = {
        names.PROJECT: experiment.name,
        names.RUN: run_id_of(run) if run else None,
        names.AGENT_NAME: agent,
        names.AGENT_VERSION: label,
    }
    return request_of(spans, resource=resource, scope="mlflow")


def _requirements(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for line in text.splitlines():
        read = _REQUIREMENT.match(line)
        if read is not None and not line.lstrip().startswith(("#", "-")):
            found[read[1]] = (read[2] or "").removeprefix("==")
    return found


def _model_of(version: ModelVersion) -> str | None:
    read = _MODEL.match(version.source)
    return read[1] if read else None


def _agent_name(name: str) -> str:
    return name.replace("@", "_")[:200] or "unnamed"


def _moment(ms: object) -> datetime.datetime:
    seconds = (real(ms) or 0.0) / 1000
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)  # noqa: DTZ001 - a store keeps UTC without a zone


def _parsed(text: object) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return _moment(0)
    return found.astimezone(datetime.timezone.utc).replace(tzinfo=None) if found.tzinfo else found
