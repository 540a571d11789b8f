"""Agents, their numbered versions, and the aliases that move between versions."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from tracekit.agent_version import AgentVersionInfo
from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.promotions import AliasMove, Promotions, standing
from tracekit_collector.catalog.tables import AGENTS, ALIASES, VERSIONS
from tracekit_collector.catalog.versions import (
    AgentVersion,
    agent_key,
    check_lengths,
    first_version,
    now,
    select_versions,
    told,
    version_named,
    version_of,
    version_with_key,
)
from tracekit_collector.catalog.webhooks import announce

Transaction = Callable[[], AbstractContextManager[Connection]]


class Agents:
    """The registry of agents in a catalog.

    What a version consists of never changes once it has a digest; descriptions and tags are free to change.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading
        self.promotions = Promotions(transaction, reading)

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
        entry_point: str | None = None,
        tools: Sequence[Mapping[str, object]] | None = None,
        models: Sequence[str] | None = None,
        python: str | None = None,
        signature: Mapping[str, object] | None = None,
        seen_at: datetime.datetime | None = None,
    ) -> AgentVersion:
        """Register a version, or find the one that has this digest, which may have been deleted.

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
            entry_point: What is called to run it, `module:callable`.
            tools: Definitions of its tools.
            models: Names of its models.
            python: The Python that it runs on.
            signature: JSON schemas of `input` and `output`.
            seen_at: When it was registered, UTC; now when not given.

        Raises:
            UsageError: A name, label, digest, entry point or Python version is longer than can be kept.
        """
        at = seen_at or now()
        check_lengths(label=label, digest=digest, entry_point=entry_point, python=python)
        facts = {
            "code": dict(code),
            "parameters": dict(parameters),
            "prompts": dict(prompts),
            "dependencies": dict(dependencies),
            "entry_point": entry_point,
            "tools": None if tools is None else [dict(each) for each in tools],
            "models": None if models is None else list(models),
            "python": python,
            "signature": None if signature is None else dict(signature),
        }

        def add(connection: Connection) -> AgentVersion:
            agent = agent_key(connection, name, at)
            mine = select_versions().where(VERSIONS.c.agent_id == agent)
            known = first_version(connection, mine.where(VERSIONS.c.digest == digest))
            if known is not None:
                return known
            named = None if label is None else first_version(connection, mine.where(VERSIONS.c.label == label))
            row = {"digest": digest, "source": "registered", **told(facts)}
            if named is not None and named.digest is None:
                connection.execute(update(VERSIONS).where(VERSIONS.c.id == named.id).values(**row))
                version = version_with_key(connection, named.id)
            else:
                version = _add(connection, agent, at, {"label": label if named is None else None, **row})
            note(connection, "version.register", version.ref, {"label": version.label, "digest": digest})
            announce(connection, "version.registered", _named(version))
            return version

        return attempted(self._transaction, add)

    def register_described(self, found: AgentVersionInfo) -> AgentVersion:
        """Register what `tracekit.agent_version.describe` found; see `register`.

        Raises:
            UsageError: This version was deleted, or a part of it is longer than can be kept.
        """
        version = self.register(
            found.name,
            label=found.label,
            digest=found.digest,
            code=found.code,
            parameters=found.parameters,
            prompts=found.prompts,
            dependencies=found.dependencies,
            entry_point=found.entry_point,
            tools=found.tools,
            models=found.models,
            python=found.python,
            signature=found.signature,
        )
        if version.deleted_at is not None:
            ref = version.ref
            raise UsageError(f"this is {ref}, which was deleted; `tracekit agents restore {ref}` brings it back")
        return version

    def see(self, name: str, label: str | None, *, seen_at: datetime.datetime | None = None) -> AgentVersion:
        """The version that a trace names, taken down as `seen` if the catalog does not know it.

        Args:
            name: The agent.
            label: The version as the trace gives it: a label, a number or a digest; `None` where it gives none.
            seen_at: When it was seen, UTC; now when not given.
        """
        at = seen_at or now()
        check_lengths(label=label)

        def add(connection: Connection) -> AgentVersion:
            agent = agent_key(connection, name, at)
            known = version_named(connection, agent, label)
            if known is not None:
                return known
            empty: dict[str, object] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
            version = _add(connection, agent, at, {"label": label, "digest": None, "source": "seen", **empty})
            note(connection, "version.see", version.ref, {"label": label})
            return version

        return attempted(self._transaction, add)

    def find(self, name: str, label: str | None) -> AgentVersion | None:
        """The version that a trace names by label, number or digest; `None` where the catalog has none."""
        with self._reading() as connection:
            agent = connection.scalar(select(AGENTS.c.id).where(AGENTS.c.name == name))
            return None if agent is None else version_named(connection, agent, label)

    def by_id(self, connection: Connection, key: int) -> AgentVersion:
        """The version with this key, read in a transaction that is already open."""
        return version_with_key(connection, key)

    def list(self, *, deleted: bool = False) -> Sequence[AgentVersion]:
        """Every version of every agent, by name and number; those that were deleted only where asked for."""
        return self._versions(select_versions(), deleted=deleted)

    def rows(self) -> Sequence[dict[str, object]]:
        """What the view `agents` shows of each version, by name and number; traces may name deleted ones."""
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

    def versions(self, name: str, *, deleted: bool = False) -> Sequence[AgentVersion]:
        """The versions of one agent, by number; those that were deleted only where asked for.

        Raises:
            NotFoundError: There is no such agent.
        """
        found = self._versions(select_versions().where(AGENTS.c.name == name), deleted=deleted)
        if not found:
            raise NotFoundError(f"there is no agent {name!r}; `tracekit agents list` shows the known ones")
        return found

    def resolve(self, ref: str, *, deleted: bool = False) -> AgentVersion:
        """The version that `name`, `name@number`, `name@alias`, `name@label` or `name@digest` stands for.

        An alias wins over a label, a label over a number, a number over a digest's beginning (eight characters or
        more). A bare name is the agent's newest version.

        Args:
            ref: What stands for it.
            deleted: Whether a version that was deleted counts.

        Raises:
            NotFoundError: Nothing has that name.
        """
        name, _, wanted = ref.partition("@")
        with self._reading() as connection:
            mine = select_versions().where(AGENTS.c.name == name)
            alive = mine if deleted else mine.where(VERSIONS.c.deleted_at.is_(None))
            if not wanted:
                row = connection.execute(alive.order_by(VERSIONS.c.number.desc()).limit(1)).first()
                found = None if row is None else version_of(row)
            else:
                found = _meant(connection, alive, wanted)
            gone = _meant(connection, mine, wanted) if found is None and wanted else None
        if found is not None:
            return found
        if gone is not None:
            raise NotFoundError(f"{gone.ref} was deleted; `tracekit agents restore {gone.ref}` brings it back")
        numbers = [str(each.number) for each in self.versions(name)]
        known = ", ".join(numbers + sorted(self.aliases(name)))
        raise NotFoundError(f"agent {name!r} has no version, alias or label {wanted!r}; it has {known}")

    def set_alias(
        self,
        name: str,
        alias: str,
        version: AgentVersion,
        *,
        why: str | None = None,
        evidence: Mapping[str, object] | None = None,
        force: bool = False,
    ) -> None:
        """Make `name@alias` stand for a version from now on, and take the move down; see `Promotions.move`.

        Raises:
            UsageError: The alias could be read as a number, the version is another agent's or was deleted, or the
                alias has a policy that the evidence does not meet.
        """
        if version.agent != name:
            raise UsageError(f"{version.ref} is no version of {name!r}")
        self.promotions.move(alias, version, why=why, evidence=evidence, force=force)

    def aliases(self, name: str) -> dict[str, AgentVersion]:
        """The versions that an agent's aliases stand for."""
        return self.promotions.aliases(name)

    def history(self, name: str, alias: str | None = None) -> Sequence[AliasMove]:
        """The moves of an agent's aliases, newest first; see `Promotions.history`."""
        return self.promotions.history(name, alias)

    def set_package(self, version: AgentVersion, package: str) -> AgentVersion:
        """Say which artifact holds a version packaged; a version has one package for good.

        Args:
            version: The version.
            package: The artifact's SHA-256, 64 hex digits.

        Raises:
            UsageError: It has another package already.
        """
        with self._transaction() as connection:
            agent_key(connection, version.agent, now())
            held = version_with_key(connection, version.id)
            if held.package is not None and held.package != package:
                raise UsageError(
                    f"{version.ref} is packaged as {held.package[:12]} already; register what changed as a new version"
                )
            if held.package is None:
                connection.execute(update(VERSIONS).where(VERSIONS.c.id == version.id).values(package=package))
                note(connection, "version.package", version.ref, {"package": package})
            return version_with_key(connection, version.id)

    def describe(self, ref: str, text: str) -> None:
        """Say in Markdown what an agent (`bot`) or a version (`bot@3`) is; replaces what was said.

        Raises:
            NotFoundError: There is no such agent or version.
        """
        self._change(ref, "describe", lambda _old: {"description": text})

    def description(self, name: str) -> tuple[str, dict[str, str]]:
        """What is said about an agent as a whole: its description and tags.

        Raises:
            NotFoundError: There is no such agent.
        """
        with self._reading() as connection:
            row = connection.execute(select(AGENTS.c.description, AGENTS.c.tags).where(AGENTS.c.name == name)).first()
        if row is None:
            raise NotFoundError(f"there is no agent {name!r}; `tracekit agents list` shows the known ones")
        return row.description, row.tags

    def tag(self, ref: str, *, add: Mapping[str, str] | None = None, remove: Sequence[str] = ()) -> dict[str, str]:
        """Change the tags of an agent (`bot`) or a version (`bot@3`); returns those that it has then.

        Args:
            ref: What is tagged.
            add: Values by key.
            remove: Keys; one that is not there is no fault.

        Raises:
            NotFoundError: There is no such agent or version.
        """

        def changed(old: Mapping[str, str]) -> dict[str, object]:
            return {"tags": {key: value for key, value in {**old, **(add or {})}.items() if key not in remove}}

        return dict(self._change(ref, "tag", changed)["tags"])

    def delete(self, version: AgentVersion, *, why: str | None = None) -> None:
        """Mark a version as deleted: it cannot be meant any more, what came from it still names it.

        Raises:
            UsageError: An alias stands for it.
        """
        self._mark(version, deleted=True, why=why)

    def restore(self, version: AgentVersion, *, why: str | None = None) -> None:
        """Take back that a version was deleted."""
        self._mark(version, deleted=False, why=why)

    def _mark(self, version: AgentVersion, *, deleted: bool, why: str | None) -> None:
        at = now()
        with self._transaction() as connection:
            agent = agent_key(connection, version.agent, at)
            held = version_with_key(connection, version.id)
            if (held.deleted_at is not None) == deleted:
                return
            names = standing(connection, agent, version.id) if deleted else []
            if names:
                raise UsageError(
                    f"{version.ref} is {', '.join(f'{version.agent}@{name}' for name in names)}; "
                    "move or remove the alias first"
                )
            values = {"deleted_at": at if deleted else None}
            connection.execute(update(VERSIONS).where(VERSIONS.c.id == version.id).values(**values))
            details = {"label": version.label, "digest": version.digest, **({} if why is None else {"why": why})}
            note(connection, "version.delete" if deleted else "version.restore", version.ref, details)
            announce(connection, "version.deleted" if deleted else "version.restored", {**_named(version), "why": why})

    def _change(
        self, ref: str, act: str, changed: Callable[[Mapping[str, str]], Mapping[str, object]]
    ) -> dict[str, Any]:
        name, at_, _ = ref.partition("@")
        version = self.resolve(ref) if at_ else None
        table, kind = (AGENTS, "agent") if version is None else (VERSIONS, "version")
        where: ColumnElement[bool] = AGENTS.c.name == name if version is None else VERSIONS.c.id == version.id
        with self._transaction() as connection:
            row = connection.execute(select(table.c.tags).where(where).with_for_update()).first()
            if row is None:
                raise NotFoundError(f"there is no agent {name!r}; `tracekit agents list` shows the known ones")
            values = dict(changed(row.tags))
            connection.execute(update(table).where(where).values(**values))
            note(connection, f"{kind}.{act}", ref if version is None else version.ref, values)
        return values

    def _versions(self, query: Select[Any], *, deleted: bool) -> Sequence[AgentVersion]:
        if not deleted:
            query = query.where(VERSIONS.c.deleted_at.is_(None))
        with self._reading() as connection:
            return [version_of(row) for row in connection.execute(query.order_by(AGENTS.c.name, VERSIONS.c.number))]


def _add(connection: Connection, agent: int, at: datetime.datetime, row: Mapping[str, object]) -> AgentVersion:
    last = connection.scalar(select(func.max(VERSIONS.c.number)).where(VERSIONS.c.agent_id == agent)) or 0
    values = {"agent_id": agent, "number": last + 1, "created_at": at, **row}
    key = connection.execute(insert(VERSIONS).values(**values).returning(VERSIONS.c.id)).scalar_one()
    return version_with_key(connection, int(key))


def _meant(connection: Connection, mine: Select[Any], wanted: str) -> AgentVersion | None:
    """The one of an agent's versions that an alias, label, number or beginning of a digest stands for."""
    by_alias = mine.join(ALIASES, ALIASES.c.version_id == VERSIONS.c.id).where(ALIASES.c.name == wanted)
    found = first_version(connection, by_alias) or first_version(connection, mine.where(VERSIONS.c.label == wanted))
    if found is None and wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        found = first_version(connection, mine.where(VERSIONS.c.number == int(wanted)))
    if found is None and len(wanted) >= 8:
        near = connection.execute(mine.where(VERSIONS.c.digest.startswith(wanted, autoescape=True)).limit(2)).all()
        found = version_of(near[0]) if len(near) == 1 else None
    return found


def _named(version: AgentVersion) -> dict[str, object]:
    """What a message says of a version: no contents."""
    names = ("agent", "number", "label", "digest", "entry_point")
    return {"version": version.ref, **{name: getattr(version, name) for name in names}}
