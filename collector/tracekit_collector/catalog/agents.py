"""Agents, their numbered versions, and the aliases that move between versions."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit_collector.catalog.audit import note, user
from tracekit_collector.catalog.tables import AGENTS, ALIAS_MOVES, ALIASES, VERSIONS

Transaction = Callable[[], AbstractContextManager[Connection]]
_ATTEMPTS = 10


@dataclass(frozen=True)
class AgentVersion:
    """One immutable state of an agent.

    Args:
        id: Its key in the catalog.
        agent: The agent's name.
        number: 1, 2, 3 … in the order of first sight, dense per agent.
        label: The version's name as spans carry it; `None` where only the digest is known.
        digest: SHA-256 over code, parameters, prompts and dependencies; `None` where it was only seen in a trace.
        source: `registered` by someone, or `seen` in a trace that named it.
        code: Git commit, branch, dirty flag and the like.
        parameters: What the agent was configured with.
        prompts: Prompt texts by name.
        dependencies: Versions by distribution.
        created_at: When the catalog first had it, UTC.
    """

    id: int
    agent: str
    number: int
    label: str | None
    digest: str | None
    source: str
    code: dict[str, object]
    parameters: dict[str, object]
    prompts: dict[str, object]
    dependencies: dict[str, object]
    created_at: datetime.datetime

    @property
    def ref(self) -> str:
        """The version as one writes it: `name@number`."""
        return f"{self.agent}@{self.number}"


class Agents:
    """The registry of agents in a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def register(
        self,
        name: str,
        *,
        digest: str,
        label: str | None = None,
        code: Mapping[str, object],
        parameters: Mapping[str, object],
        prompts: Mapping[str, object],
        dependencies: Mapping[str, object],
        seen_at: datetime.datetime | None = None,
    ) -> AgentVersion:
        """Register a version, or find the one that has this digest.

        A version that was only seen in traces under the same label becomes registered. A label that already names
        another digest is left with that one: the new version goes by its number and digest.

        Args:
            name: The agent.
            digest: What makes the version itself.
            label: What spans call it.
            code: Where its source stands.
            parameters: What it was configured with.
            prompts: Prompt texts by name.
            dependencies: Versions by distribution.
            seen_at: When it was registered, UTC; now when not given.
        """
        now = seen_at or _now()
        facts = {
            "code": dict(code),
            "parameters": dict(parameters),
            "prompts": dict(prompts),
            "dependencies": dict(dependencies),
        }

        def add(connection: Connection) -> AgentVersion:
            agent = _agent_id(connection, name, now)
            known = _one(connection, _versions().where(VERSIONS.c.agent_id == agent, VERSIONS.c.digest == digest))
            if known is not None:
                return known
            named = None
            if label is not None:
                named = _one(connection, _versions().where(VERSIONS.c.agent_id == agent, VERSIONS.c.label == label))
            if named is not None and named.digest is None:
                changed = {"digest": digest, "source": "registered", **facts}
                connection.execute(update(VERSIONS).where(VERSIONS.c.id == named.id).values(**changed))
                return _only(connection, named.id)
            free_label = label if named is None else None
            row = {"label": free_label, "digest": digest, "source": "registered", **facts}
            return _add(connection, agent, now, row)

        return self._added(add)

    def see(self, name: str, label: str | None, *, seen_at: datetime.datetime | None = None) -> AgentVersion:
        """The version that a trace names, taken down as `seen` if the catalog does not know it.

        Args:
            name: The agent.
            label: The version as the trace gives it: a label, a number or a digest; `None` where it gives none.
            seen_at: When it was seen, UTC; now when not given.
        """
        now = seen_at or _now()

        def add(connection: Connection) -> AgentVersion:
            agent = _agent_id(connection, name, now)
            known = _matching(connection, agent, label)
            if known is not None:
                return known
            empty: dict[str, object] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
            return _add(connection, agent, now, {"label": label, "digest": None, "source": "seen", **empty})

        return self._added(add)

    def find(self, name: str, label: str | None) -> AgentVersion | None:
        """The version that a trace names by label, number or digest; `None` where the catalog has none."""
        with self._reading() as connection:
            agent = connection.scalar(select(AGENTS.c.id).where(AGENTS.c.name == name))
            return None if agent is None else _matching(connection, agent, label)

    def by_id(self, connection: Connection, key: int) -> AgentVersion:
        """The version with this key, read in a transaction that is already open."""
        return _only(connection, key)

    def list(self) -> Sequence[AgentVersion]:
        """Every version of every agent, by name and number."""
        with self._reading() as connection:
            rows = connection.execute(_versions().order_by(AGENTS.c.name, VERSIONS.c.number))
            return [_version(row) for row in rows]

    def rows(self) -> Sequence[dict[str, object]]:
        """What the view `agents` shows of each version, by name and number."""
        query = (
            select(
                AGENTS.c.name.label("agent_name"),
                VERSIONS.c.number.label("version_number"),
                VERSIONS.c.label.label("agent_version"),
                *(VERSIONS.c[name] for name in ("digest", "source", "created_at")),
            )
            .join(AGENTS, AGENTS.c.id == VERSIONS.c.agent_id)
            .order_by(AGENTS.c.name, VERSIONS.c.number)
        )
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def versions(self, name: str) -> Sequence[AgentVersion]:
        """The versions of one agent, by number.

        Raises:
            NotFoundError: There is no such agent.
        """
        with self._reading() as connection:
            rows = connection.execute(_versions().where(AGENTS.c.name == name).order_by(VERSIONS.c.number))
            found = [_version(row) for row in rows]
        if not found:
            raise NotFoundError(f"there is no agent {name!r}; `tracekit agents list` shows the known ones")
        return found

    def resolve(self, ref: str) -> AgentVersion:
        """The version that `name`, `name@number`, `name@alias`, `name@label` or `name@digest` stands for.

        An alias wins over a label, a label over a number, a number over a digest's beginning (eight characters or
        more). A bare name is the agent's newest version.

        Raises:
            NotFoundError: Nothing has that name.
        """
        name, _, wanted = ref.partition("@")
        versions = self.versions(name)
        if not wanted:
            return versions[-1]
        aliases = self.aliases(name)
        if wanted in aliases:
            return aliases[wanted]
        for version in versions:
            if version.label == wanted:
                return version
        for version in versions:
            if str(version.number) == wanted:
                return version
        near = [each for each in versions if each.digest and len(wanted) >= 8 and each.digest.startswith(wanted)]
        if len(near) == 1:
            return near[0]
        known = ", ".join([str(each.number) for each in versions] + sorted(aliases))
        raise NotFoundError(f"agent {name!r} has no version, alias or label {wanted!r}; it has {known}")

    def set_alias(self, name: str, alias: str, version: AgentVersion) -> None:
        """Make `name@alias` stand for a version from now on, and take the move down.

        Raises:
            UsageError: The alias could be read as a number, or the version is another agent's.
        """
        if not alias or alias.isdigit() or "@" in alias:
            raise UsageError(f"{alias!r} cannot be an alias: it must not be empty, a number, or hold '@'")
        if version.agent != name:
            raise UsageError(f"{version.ref} is no version of {name!r}")
        now = _now()
        with self._transaction() as connection:
            agent = _agent_id(connection, name, now)
            key = {"agent_id": agent, "name": alias}
            connection.execute(delete(ALIASES).where(ALIASES.c.agent_id == agent, ALIASES.c.name == alias))
            connection.execute(insert(ALIASES).values(**key, version_id=version.id, moved_at=now))
            moved = {**key, "version_id": version.id, "moved_at": now, "moved_by": user()}
            connection.execute(insert(ALIAS_MOVES).values(**moved))
            note(connection, "alias.move", f"{name}@{alias}", {"version": version.number, "label": version.label})

    def aliases(self, name: str) -> dict[str, AgentVersion]:
        """The versions that an agent's aliases stand for."""
        with self._reading() as connection:
            query = (
                _versions(ALIASES.c.name.label("alias"))
                .join(ALIASES, ALIASES.c.version_id == VERSIONS.c.id)
                .where(AGENTS.c.name == name)
                .order_by(ALIASES.c.name)
            )
            return {row.alias: _version(row) for row in connection.execute(query)}

    def _added(self, add: Callable[[Connection], AgentVersion]) -> AgentVersion:
        # On PostgreSQL two processes may reach for the same number; whoever comes second looks again.
        for attempt in range(_ATTEMPTS):
            try:
                with self._transaction() as connection:
                    return add(connection)
            except StoreError as error:
                if attempt == _ATTEMPTS - 1 or not isinstance(error.__cause__, IntegrityError):
                    raise
        raise StoreError("the catalog kept changing under a registration; try again")


def _versions(*more: Any) -> Select[Any]:
    return select(VERSIONS, AGENTS.c.name.label("agent"), *more).join(AGENTS, AGENTS.c.id == VERSIONS.c.agent_id)


def _agent_id(connection: Connection, name: str, now: datetime.datetime) -> int:
    if not name.strip() or "@" in name:
        raise UsageError(f"{name!r} cannot be an agent's name: it must not be empty or hold '@'")
    found = connection.scalar(select(AGENTS.c.id).where(AGENTS.c.name == name))
    if found is None:
        added = insert(AGENTS).values(name=name, created_at=now).returning(AGENTS.c.id)
        found = connection.execute(added).scalar_one()
    # PostgreSQL lets one registration at a time past this row, so that each number goes to one version.
    connection.execute(select(AGENTS.c.id).where(AGENTS.c.id == found).with_for_update())
    return int(found)


def _add(connection: Connection, agent: int, now: datetime.datetime, row: Mapping[str, object]) -> AgentVersion:
    last = connection.scalar(select(func.max(VERSIONS.c.number)).where(VERSIONS.c.agent_id == agent)) or 0
    values = {"agent_id": agent, "number": last + 1, "created_at": now, **row}
    key = connection.execute(insert(VERSIONS).values(**values).returning(VERSIONS.c.id)).scalar_one()
    return _only(connection, int(key))


def _matching(connection: Connection, agent: int, label: str | None) -> AgentVersion | None:
    # Label before digest before number: a label is what a sender chose to call it.
    if label is None:
        return _one(connection, _versions().where(VERSIONS.c.agent_id == agent, VERSIONS.c.label.is_(None)))
    found = _one(connection, _versions().where(VERSIONS.c.agent_id == agent, VERSIONS.c.label == label))
    if found is None:
        found = _one(connection, _versions().where(VERSIONS.c.agent_id == agent, VERSIONS.c.digest == label))
    return found


def _one(connection: Connection, query: Select[Any]) -> AgentVersion | None:
    row = connection.execute(query.order_by(VERSIONS.c.number).limit(1)).first()
    return None if row is None else _version(row)


def _only(connection: Connection, key: int) -> AgentVersion:
    return _version(connection.execute(_versions().where(VERSIONS.c.id == key)).one())


def _version(row: Row[Any]) -> AgentVersion:
    return AgentVersion(
        id=row.id,
        agent=row.agent,
        number=row.number,
        label=row.label,
        digest=row.digest,
        source=row.source,
        code=row.code,
        parameters=row.parameters,
        prompts=row.prompts,
        dependencies=row.dependencies,
        created_at=row.created_at,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
