"""Tokens: who may write, read and administer, and in which project.

A token is `tk_<id>_<secret>`. The id is no secret: it finds the row, and is what lists and the audit log show. The
secret is 256 random bits, of which the catalog keeps the SHA-256 alone: there is no dictionary of such secrets to try,
so a slow hash, made for passwords that people choose, would cost every request time and gain nothing.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog import principals
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.roles import ROLES, Right, rights, scopes_of
from tracekit_collector.catalog.tables import PRINCIPALS, TOKENS

Transaction = Callable[[], AbstractContextManager[Connection]]

SCOPES = ("write", "read", "admin")


@dataclass(frozen=True)
class Token:
    """A token as the catalog has it: everything but the secret.

    Args:
        id: Its beginning, which is no secret.
        digest: SHA-256 of the whole token, in hex.
        name: What it is for, in its maker's words.
        scopes: What it allows, of `SCOPES`; `admin` allows all.
        project: The one project that it is for; `None` for all.
        created_at: UTC.
        expires_at: When it ends by itself, UTC; `None` for never.
        revoked_at: When it was revoked, UTC.
        principal: The person or service that acts with it; `None` for a token of before there were any.
        role: One of `roles.ROLES`; `None` where the scopes say all.
        disabled_at: When its principal was disabled, UTC.
    """

    id: str
    digest: str
    name: str
    scopes: tuple[str, ...]
    project: str | None
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None
    principal: str | None = None
    role: str | None = None
    disabled_at: datetime.datetime | None = None

    @property
    def state(self) -> str:
        """`active`, `expired`, `revoked`, or `disabled` where its principal is."""
        if self.revoked_at is not None:
            return "revoked"
        if self.disabled_at is not None:
            return "disabled"
        return "expired" if self.expires_at is not None and self.expires_at <= _now() else "active"

    @property
    def rights(self) -> frozenset[Right]:
        """What it allows."""
        return rights(self.role, self.scopes)

    @property
    def actor(self) -> str:
        """How the audit log names who acts with it."""
        return f"token:{self.id}" if self.principal is None else f"principal:{self.principal}"


class Tokens:
    """The tokens of a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[str] = ("write",),
        project: str | None = None,
        expires_at: datetime.datetime | None = None,
        role: str | None = None,
        principal: str | None = None,
        kind: principals.Kind = "person",
    ) -> tuple[str, Token]:
        """Make a token, and take that down in the audit log.

        Args:
            name: What it is for.
            scopes: Of `write`, `read` and `admin`; not looked at where there is a role.
            project: The one project that it is for; all when not given.
            expires_at: When it ends by itself, UTC.
            role: One of `roles.ROLES`.
            principal: Who acts with it; made where there is none of that name.
            kind: What a principal that is made is: `person` or `service`.

        Returns:
            The token itself, which nothing can tell again, and its row.

        Raises:
            UsageError: The name is empty, a scope or the role is unknown, an admin token is tied to a project, or
                the principal is disabled.
        """
        if role is not None and role not in ROLES:
            raise UsageError(f"a token's role is one of {', '.join(ROLES)}, not {role!r}")
        asked = set(scopes) if role is None else set(scopes_of(role))
        wanted = tuple(scope for scope in SCOPES if scope in asked)
        unknown = sorted(asked - set(SCOPES))
        if not name.strip():
            raise UsageError("a token needs a name that says what it is for")
        if unknown or not wanted:
            said = ", ".join(unknown) or "none"
            raise UsageError(f"a token's scopes are of {', '.join(SCOPES)}, not {said}")
        if project is not None and (not project.strip() or "admin" in wanted):
            raise UsageError("an admin token is for all projects; leave --project or the scope admin out")
        key = secrets.token_hex(6)
        token = f"tk_{key}_{secrets.token_urlsafe(32)}"
        row = {
            "id": key,
            "digest": digest(token),
            "name": name,
            "scopes": list(wanted),
            "project": project,
            "created_at": _now(),
            "expires_at": expires_at,
            "principal": principal,
            "role": role,
        }
        details: dict[str, object] = {"name": name, "scopes": list(wanted), "project": project}
        details |= {key: value for key, value in {"principal": principal, "role": role}.items() if value is not None}
        if principal is not None:
            attempted(self._transaction, lambda connection: principals.ensure(connection, principal, kind))
        with self._transaction() as connection:
            connection.execute(insert(TOKENS).values(**row))
            note(connection, "token.create", f"token {key}", details)
        return token, self.find(key)

    def revoke(self, key: str) -> Token:
        """End a token for good, and take that down in the audit log; one that is revoked stays as it is.

        Args:
            key: The token's id, or its name where only one active token has it.

        Raises:
            NotFoundError: There is no such token.
        """
        found = self.find(key)
        if found.revoked_at is not None:
            return found
        with self._transaction() as connection:
            connection.execute(update(TOKENS).where(TOKENS.c.id == found.id).values(revoked_at=_now()))
            note(connection, "token.revoke", f"token {found.id}", {"name": found.name})
        return self.find(found.id)

    def find(self, key: str) -> Token:
        """The token with this id, or the one active token of this name.

        Raises:
            NotFoundError: There is none, or several active ones have the name.
        """
        with self._reading() as connection:
            row = connection.execute(_tokens().where(TOKENS.c.id == key)).first()
            if row is not None:
                return _token(row)
            named = [_token(row) for row in connection.execute(_tokens().where(TOKENS.c.name == key))]
        active = [token for token in named if token.revoked_at is None]
        if len(active) > 1:
            raise NotFoundError(f"several tokens are called {key!r}: {', '.join(token.id for token in active)}")
        if not active:
            raise NotFoundError(f"there is no token {key!r}; `tracekit tokens list` shows the known ones")
        return active[0]

    def list(self) -> Sequence[Token]:
        """Every token that was ever made, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(_tokens().order_by(TOKENS.c.created_at, TOKENS.c.id))
            return [_token(row) for row in rows]

    def any(self) -> bool:
        """Whether a token was ever made; revoked ones count, so that revoking the last one opens no door."""
        with self._reading() as connection:
            return bool(connection.scalar(select(func.count()).select_from(TOKENS)))


def digest(token: str) -> str:
    """What the catalog keeps of a token: SHA-256 in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _tokens() -> Select[Any]:
    joined = TOKENS.c.principal == PRINCIPALS.c.name
    return select(TOKENS, PRINCIPALS.c.disabled_at).outerjoin(PRINCIPALS, joined)


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        digest=row.digest,
        name=row.name,
        scopes=tuple(row.scopes),
        project=row.project,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        principal=row.principal,
        role=row.role,
        disabled_at=row.disabled_at,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
