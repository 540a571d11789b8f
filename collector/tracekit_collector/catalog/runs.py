"""Runs: tracked executions with their parameters, judges, metrics and what they read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit.inbox import ulid
from tracekit_collector.catalog.agents import Agents
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.tables import AGENTS, METRICS, RUNS, VERSIONS
from tracekit_collector.catalog.versions import AgentVersion
from tracekit_collector.run_news import RunNews, merged, status_of

Transaction = Callable[[], AbstractContextManager[Connection]]
STATUSES = ("running", "finished", "failed")


@dataclass(frozen=True)
class RunRecord:
    """A run as the catalog has it.

    Args:
        id: A ULID.
        name: What the user calls it; the newest run of a name is what the name stands for.
        kind: `eval`, `import`, or `run` for one that a program tracks.
        status: `running`, `finished` or `failed`.
        created_at: UTC.
        finished_at: UTC; `None` while it runs.
        agent_version: The one version that all its traces came from; `None` where there are several or none.
        parameters: What it was started with.
        judges: Name, version, digest and spec of each judge.
        selection: What it read: the filter, the dataset, how many traces.
        code: Git commit, branch, dirty flag of the working folder.
        environment: Python, platform, distributions.
        lake_versions: The Delta version of each lake table that it read.
        metrics: By name: value, low and high of the 95 % interval, n, method and more.
        summary: What else is worth saying: counts by status, coverage.
        parent_id: The run that it is part of.
        project: Whose it is.
        tags: Words to find it by.
        command: How its program was called.
        seed: What randomness was seeded with.
        error: Type and message of what ended it.
        artifacts: Digest, size and media type of its files, by name.
        deleted_at: When somebody deleted it; what it was part of still names it.
        stale: Whether it runs, but none of its processes says anything any more.
    """

    id: str
    name: str
    kind: str
    status: str
    created_at: datetime.datetime
    finished_at: datetime.datetime | None
    agent_version: AgentVersion | None
    parameters: dict[str, object]
    judges: list[dict[str, object]]
    selection: dict[str, object]
    code: dict[str, object]
    environment: dict[str, object]
    lake_versions: dict[str, int]
    metrics: dict[str, dict[str, object]]
    summary: dict[str, object]
    parent_id: str | None = None
    project: str | None = None
    tags: dict[str, object] = field(default_factory=dict)
    command: str | None = None
    seed: str | None = None
    error: dict[str, object] | None = None
    artifacts: dict[str, dict[str, object]] = field(default_factory=dict)
    deleted_at: datetime.datetime | None = None
    stale: bool = False


class Runs:
    """The runs in a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
        agents: The catalog's registry of agents.
    """

    def __init__(self, transaction: Transaction, reading: Transaction, agents: Agents) -> None:
        self._transaction = transaction
        self._reading = reading
        self._agents = agents

    def create(
        self,
        name: str,
        *,
        kind: str,
        agent_version: AgentVersion | None = None,
        parameters: Mapping[str, object] | None = None,
        judges: Sequence[Mapping[str, object]] = (),
        selection: Mapping[str, object] | None = None,
        code: Mapping[str, object] | None = None,
        environment: Mapping[str, object] | None = None,
        lake_versions: Mapping[str, int] | None = None,
    ) -> RunRecord:
        """Begin a run, whose status is then `running`.

        Args:
            name: What the user calls it; a name may be used again.
            kind: `eval` or `import`.
            agent_version: The version that its traces came from.
            parameters: What it is started with.
            judges: Name, version, digest and spec of each judge.
            selection: What it reads.
            code: Where the working folder's source stands.
            environment: Python, platform, distributions.
            lake_versions: The Delta version of each lake table that it reads.

        Raises:
            UsageError: The name is empty.
        """
        if not name.strip():
            raise UsageError("a run needs a name")
        key = ulid()
        values = {
            "id": key,
            "name": name,
            "kind": kind,
            "status": "running",
            "created_at": _now(),
            "version_id": None if agent_version is None else agent_version.id,
            "parameters": dict(parameters or {}),
            "judges": [dict(judge) for judge in judges],
            "selection": dict(selection or {}),
            "code": dict(code or {}),
            "environment": dict(environment or {}),
            "lake_versions": dict(lake_versions or {}),
            "summary": {},
        }
        with self._transaction() as connection:
            connection.execute(insert(RUNS).values(**values))
            note(connection, "run.create", key, {"name": name, "kind": kind})
        return self.find(key)

    def update(
        self,
        run_id: str,
        *,
        status: str | None = None,
        metrics: Mapping[str, Mapping[str, object]] | None = None,
        summary: Mapping[str, object] | None = None,
        agent_version: AgentVersion | None = None,
        lake_versions: Mapping[str, int] | None = None,
        selection: Mapping[str, object] | None = None,
        judges: Sequence[Mapping[str, object]] | None = None,
    ) -> RunRecord:
        """Change what is given, keep the rest; `finished` and `failed` set the time at which it ended.

        Args:
            run_id: The run's id.
            status: One of `STATUSES`.
            metrics: All of its metrics, replacing those it had.
            summary: Replaces the summary it had.
            agent_version: The version that its traces came from.
            lake_versions: The Delta versions that it read.
            selection: What it read.
            judges: All of its judges, replacing those it had.
        """
        given: dict[str, object] = {}
        if status is not None:
            if status not in STATUSES:
                raise UsageError(f"{status!r} is no status of a run; one of {', '.join(STATUSES)}")
            given.update(status=status, finished_at=None if status == "running" else _now())
        if agent_version is not None:
            given["version_id"] = agent_version.id
        told = {"summary": summary, "lake_versions": lake_versions, "selection": selection}
        if judges is not None:
            given["judges"] = [dict(judge) for judge in judges]
        for column, value in told.items():
            if value is not None:
                given[column] = dict(value)
        with self._transaction() as connection:
            if given:
                connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**given))
            if metrics is not None:
                connection.execute(delete(METRICS).where(METRICS.c.run_id == run_id))
                rows = [_metric(run_id, place, name, detail) for place, (name, detail) in enumerate(metrics.items())]
                if rows:
                    connection.execute(insert(METRICS), rows)
        return self.find(run_id)

    def find(self, ref: str) -> RunRecord:
        """The run with this id or unique beginning of an id, else the newest run of this name.

        Raises:
            NotFoundError: There is none, or several ids begin like this.
        """
        with self._reading() as connection:
            row = connection.execute(select(RUNS).where(RUNS.c.id == ref)).first()
            if row is None:
                kept = (RUNS.c.name == ref) & RUNS.c.deleted_at.is_(None)
                newest = select(RUNS).where(kept).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
                row = connection.execute(newest.limit(1)).first()
            if row is None and len(ref) >= 4:
                near = connection.execute(select(RUNS).where(RUNS.c.id.startswith(ref.upper(), autoescape=True))).all()
                row = near[0] if len(near) == 1 else None
            if row is None:
                raise NotFoundError(f"there is no run {ref!r}; `tracekit runs list` shows the known ones")
            return self._record(connection, row)

    def list(
        self,
        limit: int | None = None,
        *,
        kind: str | None = None,
        parent_id: str | None = None,
        deleted: bool = False,
    ) -> Sequence[RunRecord]:
        """The runs, newest first.

        Args:
            limit: At most so many.
            kind: Only those of this kind.
            parent_id: Only those that are part of this run.
            deleted: Those that were deleted, instead of those that were not.
        """
        gone = RUNS.c.deleted_at
        query = select(RUNS).where(gone.is_not(None) if deleted else gone.is_(None))
        for column, value in ((RUNS.c.kind, kind), (RUNS.c.parent_id, parent_id)):
            if value is not None:
                query = query.where(column == value)
        with self._reading() as connection:
            query = query.order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc()).limit(limit)
            return [self._record(connection, row) for row in connection.execute(query).all()]

    def take(self, news: Sequence[RunNews], *, agent_version: AgentVersion | None = None) -> None:
        """Take down what is new of one run, which is made where it is not known.

        Args:
            news: What records said of it, in order of time; the same once more changes nothing.
            agent_version: The version that it ran.
        """
        if not news:
            return
        key = news[0].run_id

        def put(connection: Connection) -> None:
            known = connection.execute(select(RUNS).where(RUNS.c.id == key).with_for_update()).mappings().first()
            row = None if known is None else dict(known)
            for each in news:
                row = merged(row, each)
            if agent_version is not None:
                row = {**(row or {}), "version_id": agent_version.id}
            if known is None:
                connection.execute(insert(RUNS).values(**(row or {})))
                details = {"name": (row or {}).get("name"), "kind": (row or {}).get("kind")}
                note(connection, "run.create", key, details, actor=news[0].actor)
            elif row != dict(known):
                connection.execute(update(RUNS).where(RUNS.c.id == key).values(**(row or {})))

        attempted(self._transaction, put)

    def tag(self, ref: str, tags: Mapping[str, object], *, actor: str | None = None) -> RunRecord:
        """Put tags on a run.

        Args:
            ref: As for `find`.
            tags: Values by name; `None` takes a tag away.
            actor: Who does it; the machine's user when not given.

        Raises:
            UsageError: A tag has no name.
            NotFoundError: There is no such run.
        """
        if not all(name.strip() for name in tags):
            raise UsageError("a tag needs a name; write it as NAME=VALUE")
        key = self.find(ref).id
        with self._transaction() as connection:
            known = connection.scalar(select(RUNS.c.tags).where(RUNS.c.id == key).with_for_update())
            values = {"tags": {**(known or {}), **tags}, "changed_at": _now()}
            connection.execute(update(RUNS).where(RUNS.c.id == key).values(**values))
            note(connection, "run.tag", key, {"tags": dict(tags)}, actor=actor)
        return self.find(key)

    def delete(self, ref: str, *, actor: str | None = None) -> RunRecord:
        """Mark a run as deleted: lists leave it out, what names it by its id still finds it.

        Args:
            ref: As for `find`.
            actor: Who does it; the machine's user when not given.
        """
        return self._mark(ref, "run.delete", _now(), actor)

    def restore(self, ref: str, *, actor: str | None = None) -> RunRecord:
        """Take back that a run was deleted.

        Args:
            ref: Its id or the beginning of it; a deleted run is not found by its name.
            actor: Who does it; the machine's user when not given.
        """
        return self._mark(ref, "run.restore", None, actor)

    def _mark(self, ref: str, act: str, deleted_at: datetime.datetime | None, actor: str | None) -> RunRecord:
        record = self.find(ref)
        if (record.deleted_at is None) != (deleted_at is None):
            with self._transaction() as connection:
                connection.execute(update(RUNS).where(RUNS.c.id == record.id).values(deleted_at=deleted_at))
                note(connection, act, record.id, {"name": record.name}, actor=actor)
        return self.find(record.id)

    def rows(self) -> Sequence[dict[str, object]]:
        """What the view `runs` shows of each run besides its metrics, oldest first."""
        plain = ("name", "kind", "status", "created_at", "finished_at", "parent_id", "project", "command", "seed")
        inner = ("parameters", "tags", "error", "artifacts", "code", "environment", "writers")
        query = (
            select(
                RUNS.c.id.label("run_id"),
                *(RUNS.c[name] for name in (*plain, *inner, "deleted_at")),
                AGENTS.c.name.label("agent_name"),
                VERSIONS.c.label.label("agent_version"),
                VERSIONS.c.number.label("version_number"),
            )
            .outerjoin(VERSIONS, VERSIONS.c.id == RUNS.c.version_id)
            .outerjoin(AGENTS, AGENTS.c.id == VERSIONS.c.agent_id)
            .order_by(RUNS.c.created_at, RUNS.c.id)
        )
        now = _now()
        with self._reading() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        for row in found:
            row["status"], row["finished_at"], row["stale"] = _standing(row, now)
            row["tags"] = _tags(row["tags"])
            del row["writers"]
            for name in inner[:-1]:
                row[name] = None if row[name] is None else json.dumps(row[name], ensure_ascii=False)
        return found

    def metric_rows(self) -> Sequence[dict[str, object]]:
        """The metrics that evaluations and imports gave, a row each."""
        query = select(METRICS).order_by(METRICS.c.run_id, METRICS.c.position)
        with self._reading() as connection:
            return [
                {
                    "run_id": row.run_id,
                    "name": row.name,
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                    "n": row.detail.get("n") if isinstance(row.detail.get("n"), int) else None,
                }
                for row in connection.execute(query)
            ]

    def _record(self, connection: Connection, row: Row[Any]) -> RunRecord:
        found = connection.execute(select(METRICS).where(METRICS.c.run_id == row.id).order_by(METRICS.c.position))
        metrics = {
            each.name: {"value": each.value, "low": each.low, "high": each.high, **each.detail} for each in found
        }
        version = None if row.version_id is None else self._agents.by_id(connection, row.version_id)
        status, finished_at, stale = _standing(dict(row._mapping), _now())  # noqa: SLF001 - SQLAlchemy's name for what is public
        return RunRecord(
            id=row.id,
            name=row.name,
            kind=row.kind,
            status=status,
            created_at=row.created_at,
            finished_at=finished_at,
            agent_version=version,
            parameters=row.parameters,
            judges=row.judges,
            selection=row.selection,
            code=row.code,
            environment=row.environment,
            lake_versions=row.lake_versions,
            metrics=metrics,
            summary=row.summary,
            parent_id=row.parent_id,
            project=row.project,
            tags=_tags(row.tags),
            command=row.command,
            seed=row.seed,
            error=row.error,
            artifacts=row.artifacts,
            deleted_at=row.deleted_at,
            stale=stale,
        )


def _standing(row: Mapping[str, Any], now: datetime.datetime) -> tuple[str, datetime.datetime | None, bool]:
    """Status, end and staleness: those of a run that a program tracks are told by its processes."""
    if row["kind"] == "run" and row["status"] == "running" and row["writers"]:
        return status_of(row["writers"], now=now)
    return row["status"], row["finished_at"], False


def _tags(tags: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in tags.items() if value is not None}


def _metric(run_id: str, place: int, name: str, detail: Mapping[str, object]) -> dict[str, object]:
    apart = {key: detail.get(key) for key in ("value", "low", "high")}
    rest = {key: value for key, value in detail.items() if key not in apart}
    return {"run_id": run_id, "name": name, "position": place, **apart, "detail": rest}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
