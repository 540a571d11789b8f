"""The audit log: who did what to a store, of the acts that change its catalog, who may do what, or what is kept.

Rows are only ever added, numbered densely and chained (see `chain`). They are written at the very end of the
transaction that does what they tell of: the one place where all writers meet is held for as short as can be, and taken
last, so that no two transactions wait for each other.
"""

from __future__ import annotations

import datetime
import getpass
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, text

from tracekit.errors import UsageError
from tracekit.inbox import ulid
from tracekit_collector.catalog import chain
from tracekit_collector.catalog.tables import AUDIT

Transaction = Callable[[], AbstractContextManager[Connection]]

_PENDING = "tracekit_acts"  # among what a connection carries with it
_LAST_IN_LINE = text("SELECT pg_advisory_xact_lock(7161301, 1)")
_FETCHED = 1_000
_ACTOR: ContextVar[str | None] = ContextVar("tracekit_actor", default=None)


@dataclass(frozen=True)
class Act:
    """One act.

    Args:
        id: A ULID.
        at: When, UTC.
        actor: `principal:<name>` or `token:<id>` where it came by a door or the API, else the user of the machine;
            `None` where the system knows no name.
        act: What was done: `token.create`, `alias.move`, `retention`, …
        target: To what.
        details: What else is worth knowing; never a secret.
        number: 1, 2, 3 … in the order of the acts.
        digest: Its link of the chain.
    """

    id: str
    at: datetime.datetime
    actor: str | None
    act: str
    target: str
    details: dict[str, object]
    number: int
    digest: str


@dataclass(frozen=True)
class Verified:
    """What reading the chain came to.

    Args:
        acts: How many acts were read.
        head: Number and digest of the last one, as `number:digest`; `0:000…` where there is none.
        fault: What is wrong with the first row that does not fit; `None` where all fit.
    """

    acts: int
    head: str
    fault: str | None


class Audit:
    """The audit log of a catalog.

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
            actor: Who; who acts now (see `user`) when not given.
        """
        with self._transaction() as connection:
            note(connection, act, target, details, actor=actor)

    def list(
        self,
        *,
        act: str | None = None,
        actor: str | None = None,
        target: str | None = None,
        since: datetime.datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Act]:
        """The acts, newest first.

        Args:
            act: Only those of this kind; `alias.` for all whose kind begins so.
            actor: Only those of this actor; a principal also by its bare name.
            target: Only those to this target.
            since: Only those at this time or after, UTC.
            limit: At most so many.
        """
        query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit)
        if act is not None:
            same = AUDIT.c.act.startswith(act, autoescape=True) if act.endswith(".") else AUDIT.c.act == act
            query = query.where(same)
        if actor is not None:
            query = query.where(AUDIT.c.actor.in_([actor, f"principal:{actor}"]))
        if target is not None:
            query = query.where(AUDIT.c.target == target)
        if since is not None:
            query = query.where(AUDIT.c.at >= since)
        with self._reading() as connection:
            return [Act(**row) for row in connection.execute(query).mappings()]

    def verify(self, *, head: str | None = None, done: Callable[[int], object] = lambda _count: None) -> Verified:
        """Read the whole log and make every digest anew.

        Args:
            head: A head that an earlier verification told, `number:digest`; it has to be in the chain still.
            done: Told now and then how many more rows were read.

        Raises:
            UsageError: `head` is none.
        """
        wanted = None if head is None else _parsed(head)
        number, previous, fault, met = 0, chain.START, None, wanted is None or wanted == (0, chain.START)
        query = select(AUDIT).order_by(AUDIT.c.number)
        with self._reading() as connection, connection.execution_options(yield_per=_FETCHED).execute(query) as rows:
            for row in rows.mappings():
                if row["number"] != number + 1:
                    fault = f"act {number + 1} is missing"
                    break
                if chain.digest(previous, dict(row)) != row["digest"]:
                    fault = f"act {number + 1} ({row['act']} {row['target']}) is not what was taken down, or one before"
                    break
                number, previous = number + 1, row["digest"]
                met = met or wanted == (number, previous)
                if number % _FETCHED == 0:
                    done(_FETCHED)
        if fault is None and not met:
            fault = f"the chain does not hold {head}: rows were taken from its end, or all of it was written anew"
        return Verified(number, f"{number}:{previous}", fault)


def note(
    connection: Connection,
    act: str,
    target: str,
    details: Mapping[str, object] | None = None,
    *,
    actor: str | None = None,
) -> None:
    """Take an act down in the transaction that does it, so that neither is there without the other."""
    said = json.loads(json.dumps(dict(details or {}), default=str))  # as it comes back, so that the digest is the same
    who = actor or user()
    values = {"id": ulid(), "actor": who and who[:200], "act": act, "target": target[:400], "details": said}
    connection.info.setdefault(_PENDING, []).append(values)


def forget(connection: Connection) -> None:
    """Begin a transaction without what an earlier one that was undone had noted."""
    connection.info.pop(_PENDING, None)


def write(connection: Connection) -> None:
    """Write what was noted, as the last thing in a transaction."""
    pending = connection.info.pop(_PENDING, None)
    if not pending:
        return
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(_LAST_IN_LINE)
    last = connection.execute(select(AUDIT.c.number, AUDIT.c.digest).order_by(AUDIT.c.number.desc()).limit(1)).first()
    number, previous = (0, chain.START) if last is None else (last.number, last.digest)
    for values in pending:
        number += 1
        values.update(number=number, at=datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None))
        previous = values["digest"] = chain.digest(previous, values)
    connection.execute(insert(AUDIT), pending)


@contextmanager
def acting(actor: str | None) -> Iterator[None]:
    """Have what happens inside be taken down as this actor's; as the machine's user's where it is `None`."""
    before = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(before)


def user() -> str | None:
    """Who acts now: whom `acting` names, else the machine's user; `None` where that has no name."""
    named = _ACTOR.get()
    if named is not None:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _parsed(head: str) -> tuple[int, str]:
    number, _, digest = head.partition(":")
    if not number.isdecimal() or len(digest) != len(chain.START):
        raise UsageError(f"{head!r} is no head of the audit log; `tracekit audit verify` tells one, as NUMBER:DIGEST")
    return int(number), digest.lower()
