"""Runs: tracked executions with their parameters, judges, metrics and what they read."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit.inbox import ulid
from tracekit_collector.catalog.agents import Agents, AgentVersion
from tracekit_collector.catalog.tables import AGENTS, METRICS, RUNS, VERSIONS

Transaction = Callable[[], AbstractContextManager[Connection]]
STATUSES = ("running", "finished", "failed")


@dataclass(frozen=True)
class RunRecord:
    """A run as the catalog has it.

    Args:
        id: A ULID.
        name: What the user calls it; the newest run of a name is what the name stands for.
        kind: `eval` or `import`.
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
                newest = select(RUNS).where(RUNS.c.name == ref).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
                row = connection.execute(newest.limit(1)).first()
            if row is None and len(ref) >= 4:
                near = connection.execute(select(RUNS).where(RUNS.c.id.startswith(ref.upper(), autoescape=True))).all()
                row = near[0] if len(near) == 1 else None
            if row is None:
                raise NotFoundError(f"there is no run {ref!r}; `tracekit runs list` shows the known ones")
            return self._record(connection, row)

    def list(self, limit: int | None = None) -> Sequence[RunRecord]:
        """The runs, newest first."""
        with self._reading() as connection:
            query = select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc()).limit(limit)
            return [self._record(connection, row) for row in connection.execute(query).all()]

    def rows(self) -> Sequence[dict[str, object]]:
        """What the view `runs` shows of each run, oldest first: no parameters, no metrics."""
        query = (
            select(
                RUNS.c.id.label("run_id"),
                *(RUNS.c[name] for name in ("name", "kind", "status", "created_at", "finished_at")),
                AGENTS.c.name.label("agent_name"),
                VERSIONS.c.label.label("agent_version"),
                VERSIONS.c.number.label("version_number"),
            )
            .outerjoin(VERSIONS, VERSIONS.c.id == RUNS.c.version_id)
            .outerjoin(AGENTS, AGENTS.c.id == VERSIONS.c.agent_id)
            .order_by(RUNS.c.created_at, RUNS.c.id)
        )
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _record(self, connection: Connection, row: Row[Any]) -> RunRecord:
        found = connection.execute(select(METRICS).where(METRICS.c.run_id == row.id).order_by(METRICS.c.position))
        metrics = {
            each.name: {"value": each.value, "low": each.low, "high": each.high, **each.detail} for each in found
        }
        version = None if row.version_id is None else self._agents.by_id(connection, row.version_id)
        return RunRecord(
            id=row.id,
            name=row.name,
            kind=row.kind,
            status=row.status,
            created_at=row.created_at,
            finished_at=row.finished_at,
            agent_version=version,
            parameters=row.parameters,
            judges=row.judges,
            selection=row.selection,
            code=row.code,
            environment=row.environment,
            lake_versions=row.lake_versions,
            metrics=metrics,
            summary=row.summary,
        )


def _metric(run_id: str, place: int, name: str, detail: Mapping[str, object]) -> dict[str, object]:
    apart = {key: detail.get(key) for key in ("value", "low", "high")}
    rest = {key: value for key, value in detail.items() if key not in apart}
    return {"run_id": run_id, "name": name, "position": place, **apart, "detail": rest}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
