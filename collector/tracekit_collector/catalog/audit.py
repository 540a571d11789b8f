"""The audit log: who did what to a store, of the acts that change who may do what, or what is kept."""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from tracekit.inbox import ulid
from tracekit_collector.catalog.tables import AUDIT

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Act:
    """One administrative act.

    Args:
        id: A ULID; acts sort by it.
        at: When, UTC.
        actor: The user of the machine, or `token:<id>`; `None` where the system knows no name.
        act: What was done: `token.create`, `token.revoke`, `alias.move`, `retention`, `delete`, …
        target: To what.
        details: What else is worth knowing; never a secret.
    """

    id: str
    at: datetime.datetime
    actor: str | None
    act: str
    target: str
    details: dict[str, object]


class Audit:
    """The audit log of a catalog; rows are only ever added.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def record(
        self, act: str, target: str, details: Mapping[str, object] | None = None, *, actor: str | None = None
    ) -> None:
        """Take an act down.

        Args:
            act: What is done: a noun and a verb, `token.revoke`.
            target: To what.
            details: What else is worth knowing; never a secret.
            actor: Who; the machine's user when not given.
        """
        with self._transaction() as connection:
            note(connection, act, target, details, actor=actor)

    def list(self, *, act: str | None = None, limit: int | None = None) -> Sequence[Act]:
        """The acts, newest first.

        Args:
            act: Only those of this kind.
            limit: At most so many.
        """
        query = select(AUDIT).order_by(AUDIT.c.at.desc(), AUDIT.c.id.desc()).limit(limit)
        if act is not None:
            query = query.where(AUDIT.c.act == act)
        with self._reading() as connection:
            return [
                Act(row.id, row.at, row.actor, row.act, row.target, row.details) for row in connection.execute(query)
            ]


def note(
    connection: Connection,
    act: str,
    target: str,
    details: Mapping[str, object] | None = None,
    *,
    actor: str | None = None,
) -> None:
    """Take an act down in the transaction that does it, so that neither is there without the other."""
    at = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    values = {"id": ulid(), "at": at, "actor": actor or user(), "act": act, "target": target[:400]}
    connection.execute(insert(AUDIT).values(**values, details=dict(details or {})))


def user() -> str | None:
    """The machine's user; `None` where it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
