"""Principals: the people and services that act with tokens."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.tables import PRINCIPALS

Transaction = Callable[[], AbstractContextManager[Connection]]
Kind = Literal["person", "service"]

KINDS: tuple[Kind, ...] = ("person", "service")
_NAME = re.compile(r"[\w.@+-]{1,200}")


@dataclass(frozen=True)
class Principal:
    """A person or service that acts.

    Args:
        name: Its name, by which the audit log knows it.
        kind: `person` or `service`.
        created_at: UTC.
        disabled_at: When its tokens ceased to open anything, UTC.
    """

    name: str
    kind: str
    created_at: datetime.datetime
    disabled_at: datetime.datetime | None

    @property
    def state(self) -> str:
        """`active` or `disabled`."""
        return "active" if self.disabled_at is None else "disabled"


class Principals:
    """The principals of a catalog; none is ever removed, so that the audit log goes on meaning something.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def create(self, name: str, *, kind: Kind = "person") -> Principal:
        """Make a principal, or find the one of this name.

        Args:
            name: Letters, digits and `. _ - + @`.
            kind: `person` or `service`.

        Raises:
            UsageError: The name cannot be one, the kind is unknown, or the principal is disabled.
        """
        attempted(self._transaction, lambda connection: ensure(connection, name, kind))
        return self.find(name)

    def find(self, name: str) -> Principal:
        """The principal of this name.

        Raises:
            NotFoundError: There is none.
        """
        for each in self.list():
            if each.name == name:
                return each
        raise NotFoundError(f"there is no principal {name!r}; `tracekit tokens principals` shows the known ones")

    def list(self) -> Sequence[Principal]:
        """All of them, by name."""
        with self._reading() as connection:
            rows = connection.execute(select(PRINCIPALS).order_by(PRINCIPALS.c.name))
            return [Principal(**row) for row in rows.mappings()]

    def disable(self, name: str) -> Principal:
        """Have none of a principal's tokens open anything from now on.

        Raises:
            NotFoundError: There is no such principal.
        """
        return self._set(name, _now())

    def enable(self, name: str) -> Principal:
        """Have a disabled principal's tokens, those that are not revoked, open again what they did.

        Raises:
            NotFoundError: There is no such principal.
        """
        return self._set(name, None)

    def _set(self, name: str, moment: datetime.datetime | None) -> Principal:
        found = self.find(name)
        if (found.disabled_at is None) == (moment is None):
            return found
        with self._transaction() as connection:
            connection.execute(update(PRINCIPALS).where(PRINCIPALS.c.name == name).values(disabled_at=moment))
            note(connection, "principal.enable" if moment is None else "principal.disable", f"principal {name}")
        return self.find(name)


def ensure(connection: Connection, name: str, kind: Kind) -> None:
    """Have a principal be there, in a transaction that is already open.

    Raises:
        UsageError: The name cannot be one, the kind is unknown, or the principal is disabled.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} cannot be a principal's name: letters, digits and . _ - + @, 200 at most")
    if kind not in KINDS:
        raise UsageError(f"a principal is a {' or a '.join(KINDS)}, not a {kind}")
    found = connection.execute(select(PRINCIPALS).where(PRINCIPALS.c.name == name)).first()
    if found is not None:
        if found.disabled_at is not None:
            raise UsageError(f"the principal {name} is disabled; `tracekit tokens enable {name}` undoes that")
        return
    connection.execute(insert(PRINCIPALS).values(name=name, kind=kind, created_at=_now()))
    note(connection, "principal.create", f"principal {name}", {"kind": kind})


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
