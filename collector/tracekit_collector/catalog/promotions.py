"""Aliases: which version a name such as `production` stands for, who moved it, why, and what must hold before."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, Row, delete, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog.audit import note, user
from tracekit_collector.catalog.tables import AGENTS, ALIAS_MOVES, ALIAS_POLICIES, ALIASES, VERSIONS
from tracekit_collector.catalog.versions import (
    AgentVersion,
    agent_key,
    now,
    select_versions,
    version_of,
    version_with_key,
)
from tracekit_collector.catalog.webhooks import announce

if TYPE_CHECKING:
    from tracekit_collector.store import Store

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias.

    Args:
        alias: The alias.
        version: The version that it stood for from then on; where it was removed, the one that it had stood for.
        at: When, UTC.
        by: Who; `None` where nobody knows.
        why: The reason that was given.
        evidence: What spoke for it: a gate's verdict, policy and runs.
        removed: Whether the alias went.
    """

    alias: str
    version: AgentVersion
    at: datetime.datetime
    by: str | None
    why: str | None
    evidence: dict[str, object] | None
    removed: bool


@dataclass(frozen=True)
class AliasPolicy:
    """What must hold before an alias may move.

    Args:
        agent: The agent's name.
        alias: The alias.
        gate: The plugin of the group `tracekit.gates` that judges by it.
        policy: The policy, as that plugin reads it.
        digest: The policy's digest.
        at: Since when, UTC.
        by: Who set it; `None` where nobody knows.
    """

    agent: str
    alias: str
    gate: str
    policy: dict[str, object]
    digest: str
    at: datetime.datetime
    by: str | None


class Gate(Protocol):
    """A plugin of the group `tracekit.gates`: reads policies, and judges versions by them."""

    def read(self, path: str) -> tuple[dict[str, object], str]:
        """A policy's plain values and its digest, out of a file."""

    def judge(
        self,
        store: Store,
        version: AgentVersion,
        policy: Mapping[str, object],
        *,
        run: str | None,
        baseline: str | None,
        standing: AgentVersion | None,
    ) -> dict[str, object]:
        """The evidence for or against a version.

        Args:
            store: Where its runs are.
            version: The version.
            policy: The policy's plain values.
            run: The run that speaks for it; its newest when not given.
            baseline: What to compare with; the policy's word, else `standing`, when not given.
            standing: The version that the alias stands for now.

        Returns:
            `verdict` (PASS, FAIL or INCONCLUSIVE), `exit_code`, `sentence`, `policy` (its digest), `run`, `baseline`
            and `checks`.
        """


class Promotions:
    """The aliases of agents, their history, and the policies of aliases.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def move(
        self,
        alias: str,
        version: AgentVersion,
        *,
        why: str | None = None,
        evidence: Mapping[str, object] | None = None,
        force: bool = False,
    ) -> AgentVersion | None:
        """Make `name@alias` stand for a version from now on; to where it stands already is no move.

        Args:
            alias: The alias.
            version: The version.
            why: The reason.
            evidence: What speaks for it; where the alias has a policy, the verdict of a gate by that policy.
            force: Move it against its policy; takes a reason.

        Returns:
            The version that it stood for before.

        Raises:
            UsageError: The alias could be read as a number, the version was deleted, or the policy is not met.
        """
        check_alias(alias)
        if force and not (why or "").strip():
            raise UsageError("moving an alias against its policy takes a reason; say it with --why")
        at = now()
        with self._transaction() as connection:
            agent = agent_key(connection, version.agent, at)
            current = version_with_key(connection, version.id)
            if current.deleted_at is not None:
                raise UsageError(f"{version.ref} was deleted; `tracekit agents restore {version.ref}` brings it back")
            held = _standing(connection, agent, alias)
            if held is not None and held.id == version.id and why is None and evidence is None:
                return held
            policy = _policy(connection, agent, alias)
            forced = policy is not None and not _meets(policy, evidence)
            if policy is not None and forced and not force:
                raise UsageError(
                    f"{version.agent}@{alias} has a policy; `tracekit agents promote {version.ref} {alias}` asks its"
                    " gate, --force --why moves it without"
                )
            _stand(connection, agent, alias, version.id, at)
            key = {"agent_id": agent, "name": alias, "version_id": version.id, "moved_at": at, "moved_by": user()}
            more = {"why": why, **({} if evidence is None else {"evidence": dict(evidence)})}
            connection.execute(insert(ALIAS_MOVES).values(**key, **more))
            details = {"version": version.number, "label": version.label, **_said(why, evidence, forced=forced)}
            note(connection, "alias.move", f"{version.agent}@{alias}", details)
            told = _told(alias, version, by=key["moved_by"], why=why, evidence=evidence)
            announce(connection, "alias.moved", {**told, "previous": held and held.ref, "forced": forced})
            return held

    def remove(self, name: str, alias: str, *, why: str | None = None, force: bool = False) -> AgentVersion:
        """Let an alias stand for nothing; its history stays.

        Args:
            name: The agent.
            alias: The alias.
            why: The reason.
            force: Remove it though it has a policy; takes a reason.

        Returns:
            The version that it stood for.

        Raises:
            NotFoundError: There is no such alias.
            UsageError: It has a policy, and this is not forced with a reason.
        """
        at = now()
        with self._transaction() as connection:
            agent = _known_agent(connection, name)
            held = _standing(connection, agent, alias)
            if held is None:
                raise NotFoundError(f"agent {name!r} has no alias {alias!r}")
            if _policy(connection, agent, alias) is not None and not (force and (why or "").strip()):
                raise UsageError(f"{name}@{alias} has a policy; removing it takes --force and a reason, --why")
            connection.execute(delete(ALIASES).where(ALIASES.c.agent_id == agent, ALIASES.c.name == alias))
            key = {"agent_id": agent, "name": alias, "version_id": held.id, "moved_at": at, "moved_by": user()}
            connection.execute(insert(ALIAS_MOVES).values(**key, why=why, removed=True))
            note(connection, "alias.remove", f"{name}@{alias}", {"version": held.number, **_said(why, None)})
            announce(connection, "alias.removed", _told(alias, held, by=key["moved_by"], why=why))
            return held

    def refuse(self, alias: str, version: AgentVersion, evidence: Mapping[str, object]) -> None:
        """Take down that a gate did not let a version pass."""
        with self._transaction() as connection:
            details = {"version": version.number, **_said(None, evidence)}
            note(connection, "promotion.refuse", f"{version.agent}@{alias}", details)
            announce(connection, "promotion.refused", _told(alias, version, by=user(), evidence=evidence))

    def aliases(self, name: str) -> dict[str, AgentVersion]:
        """The versions that an agent's aliases stand for."""
        query = (
            select_versions(ALIASES.c.name.label("alias"))
            .join(ALIASES, ALIASES.c.version_id == VERSIONS.c.id)
            .where(AGENTS.c.name == name)
            .order_by(ALIASES.c.name)
        )
        with self._reading() as connection:
            return {row.alias: version_of(row) for row in connection.execute(query)}

    def history(self, name: str, alias: str | None = None) -> Sequence[AliasMove]:
        """The moves of an agent's aliases, newest first.

        Args:
            name: The agent.
            alias: Only this one's.

        Raises:
            NotFoundError: There is no such agent.
        """
        columns = (ALIAS_MOVES.c[each] for each in ("moved_at", "moved_by", "why", "evidence", "removed"))
        query = (
            select_versions(ALIAS_MOVES.c.name.label("alias"), *columns)
            .join(ALIAS_MOVES, ALIAS_MOVES.c.version_id == VERSIONS.c.id)
            .where(AGENTS.c.name == name)
            .order_by(ALIAS_MOVES.c.id.desc())
        )
        if alias is not None:
            query = query.where(ALIAS_MOVES.c.name == alias)
        with self._reading() as connection:
            _known_agent(connection, name)
            return [
                AliasMove(row.alias, version_of(row), row.moved_at, row.moved_by, row.why, row.evidence, row.removed)
                for row in connection.execute(query)
            ]

    def set_policy(
        self, name: str, alias: str, policy: Mapping[str, object], *, digest: str, gate: str = "policy"
    ) -> AliasPolicy:
        """Let an alias move only where a gate by this policy says PASS; replaces the policy that it had.

        Args:
            name: The agent.
            alias: The alias; it need not stand for anything yet.
            policy: The policy's plain values.
            digest: Its digest.
            gate: The plugin of the group `tracekit.gates` that judges by it.

        Raises:
            NotFoundError: There is no such agent.
            UsageError: That cannot be an alias.
        """
        check_alias(alias)
        with self._transaction() as connection:
            agent = _known_agent(connection, name)
            key = (ALIAS_POLICIES.c.agent_id == agent) & (ALIAS_POLICIES.c.name == alias)
            at, by = now(), user()
            values = {"gate": gate, "policy": dict(policy), "digest": digest, "set_at": at, "set_by": by}
            if not connection.execute(update(ALIAS_POLICIES).where(key).values(**values)).rowcount:
                connection.execute(insert(ALIAS_POLICIES).values(agent_id=agent, name=alias, **values))
            note(connection, "policy.set", f"{name}@{alias}", {"gate": gate, "digest": digest})
        return AliasPolicy(name, alias, gate, dict(policy), digest, at, by)

    def drop_policy(self, name: str, alias: str, *, why: str) -> None:
        """Let an alias move freely again.

        Raises:
            NotFoundError: There is no such agent, or the alias has no policy.
            UsageError: No reason is given.
        """
        if not why.strip():
            raise UsageError("dropping a policy takes a reason; say it with --why")
        with self._transaction() as connection:
            agent = _known_agent(connection, name)
            found = _policy(connection, agent, alias)
            if found is None:
                raise NotFoundError(f"{name}@{alias} has no policy")
            key = (ALIAS_POLICIES.c.agent_id == agent) & (ALIAS_POLICIES.c.name == alias)
            connection.execute(delete(ALIAS_POLICIES).where(key))
            note(connection, "policy.drop", f"{name}@{alias}", {"digest": found.digest, "why": why})

    def policies(self, name: str) -> dict[str, AliasPolicy]:
        """The policies of an agent's aliases.

        Raises:
            NotFoundError: There is no such agent.
        """
        with self._reading() as connection:
            agent = _known_agent(connection, name)
            rows = connection.execute(select(ALIAS_POLICIES).where(ALIAS_POLICIES.c.agent_id == agent))
            return {row.name: _policy_of(name, row) for row in sorted(rows, key=lambda row: str(row.name))}


def check_alias(alias: str) -> None:
    """Refuse what could be read as something else.

    Raises:
        UsageError: It is empty, blank, longer than 100 characters, a number, or holds `@`.
    """
    if not alias.strip() or alias.isdigit() or "@" in alias or len(alias) > 100:
        raise UsageError(f"{alias!r} cannot be an alias: it must not be empty, a number, longer than 100, or hold '@'")


def standing(connection: Connection, agent: int, version: int) -> Sequence[str]:
    """The aliases that stand for a version."""
    query = select(ALIASES.c.name).where(ALIASES.c.agent_id == agent, ALIASES.c.version_id == version)
    return sorted(connection.scalars(query))


def _standing(connection: Connection, agent: int, alias: str) -> AgentVersion | None:
    query = select(ALIASES.c.version_id).where(ALIASES.c.agent_id == agent, ALIASES.c.name == alias)
    found = connection.scalar(query)
    return None if found is None else version_with_key(connection, found)


def _stand(connection: Connection, agent: int, alias: str, version: int, at: datetime.datetime) -> None:
    mine = (ALIASES.c.agent_id == agent) & (ALIASES.c.name == alias)
    if not connection.execute(update(ALIASES).where(mine).values(version_id=version, moved_at=at)).rowcount:
        connection.execute(insert(ALIASES).values(agent_id=agent, name=alias, version_id=version, moved_at=at))


def _known_agent(connection: Connection, name: str) -> int:
    found = connection.scalar(select(AGENTS.c.id).where(AGENTS.c.name == name))
    if found is None:
        raise NotFoundError(f"there is no agent {name!r}; `tracekit agents list` shows the known ones")
    return int(found)


def _policy(connection: Connection, agent: int, alias: str) -> AliasPolicy | None:
    query = select(ALIAS_POLICIES).where(ALIAS_POLICIES.c.agent_id == agent, ALIAS_POLICIES.c.name == alias)
    row = connection.execute(query).first()
    return None if row is None else _policy_of("", row)


def _policy_of(name: str, row: Row[Any]) -> AliasPolicy:
    return AliasPolicy(name, row.name, row.gate, row.policy, row.digest, row.set_at, row.set_by)


def _meets(policy: AliasPolicy, evidence: Mapping[str, object] | None) -> bool:
    return evidence is not None and evidence.get("verdict") == "PASS" and evidence.get("policy") == policy.digest


def _said(why: str | None, evidence: Mapping[str, object] | None, *, forced: bool = False) -> dict[str, object]:
    found: dict[str, object] = {} if why is None else {"why": why}
    if evidence is not None:
        found.update({key: evidence[key] for key in ("verdict", "policy", "run", "baseline") if key in evidence})
    return {**found, "forced": True} if forced else found


def _told(
    alias: str,
    version: AgentVersion,
    *,
    by: object,
    why: str | None = None,
    evidence: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """What a message says of an alias: no contents of the version."""
    told = {"agent": version.agent, "alias": alias, "version": version.ref, "label": version.label}
    return {**told, "digest": version.digest, "by": by, "why": why, "evidence": evidence and dict(evidence)}
