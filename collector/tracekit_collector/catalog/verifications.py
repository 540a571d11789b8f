"""Verifications: that a packaged version was built anew and answered its example, or did not; rows are only added."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from tracekit.inbox import ulid
from tracekit_collector.catalog.audit import note, user
from tracekit_collector.catalog.tables import VERIFICATIONS
from tracekit_collector.catalog.versions import AgentVersion, now

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Verification:
    """One verification of a version.

    Args:
        id: A ULID.
        at: When, UTC.
        actor: Who asked for it; `None` where the system knows no name.
        passed: Whether it answered its example with the same output.
        details: Where and how: Python, platform, package, seconds, differences.
    """

    id: str
    at: datetime.datetime
    actor: str | None
    passed: bool
    details: dict[str, object]


class Verifications:
    """The verifications of a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def add(self, version: AgentVersion, details: Mapping[str, object]) -> None:
        """Take one down.

        Args:
            version: What was verified.
            details: What it came to; `passed` says whether it did.
        """
        passed = bool(details["passed"])
        row = {"id": ulid(), "version_id": version.id, "at": now(), "actor": user()}
        with self._transaction() as connection:
            connection.execute(insert(VERIFICATIONS).values(**row, passed=passed, details=dict(details)))
            note(connection, "version.verify", version.ref, {"passed": passed, "package": details.get("package")})

    def list(self, version: AgentVersion) -> Sequence[Verification]:
        """Those of a version, newest first."""
        table = VERIFICATIONS.c
        query = select(table.id, table.at, table.actor, table.passed, table.details)
        with self._reading() as connection:
            rows = connection.execute(query.where(table.version_id == version.id).order_by(table.id.desc()))
            return [Verification(**row) for row in rows.mappings()]
