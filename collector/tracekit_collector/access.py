"""Who may come in: tokens at the doors and the API, and what a project's token does to what it writes.

As long as no token was ever made, everyone may do everything: that is for a door on loopback. With the first token,
every request needs one, as `Authorization: Bearer tk_…`.
"""

from __future__ import annotations

import datetime
import hmac
import ipaddress
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from tracekit import attributes as names
from tracekit.errors import StoreError, TracekitError
from tracekit_collector.catalog import Catalog
from tracekit_collector.catalog.roles import RIGHTS, ROLES, Right, Scope, needed
from tracekit_collector.catalog.tokens import Token, digest
from tracekit_collector.dialects import installed
from tracekit_collector.processors import _match

FRESH_SECONDS = 2.0
"""How long a token that was revoked may still be taken by a running collector."""

_NO_TOKEN = "0" * 64


class AccessError(TracekitError):
    """The request is not allowed.

    Args:
        message: What was wrong and what to do.
        status: 401 where no valid token came, 403 where it does not allow this.
    """

    def __init__(self, message: str, *, status: Literal[401, 403]) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Grant:
    """What the sender of a request may.

    Args:
        project: The one project that it is confined to; `None` for all.
        rights: What it may, of `roles.RIGHTS`.
        actor: How the audit log names the sender; `None` where nobody asked who it is.
        who: The sender in a message.
    """

    project: str | None = None
    rights: frozenset[Right] = frozenset(RIGHTS)
    actor: str | None = None
    who: str = "the request"


OPEN = Grant()
"""What everybody may as long as no token was ever made."""


class Access:
    """Says who may do what in a store; safe to share between threads.

    Args:
        catalog: Where the tokens are.

    Example:
        >>> import tempfile, pathlib
        >>> catalog = Catalog.in_folder(pathlib.Path(tempfile.mkdtemp()))
        >>> access = Access(catalog)
        >>> access.authorise(None, "write") is None  # no token was ever made
        True
        >>> token, _ = catalog.tokens.create("ci", project="library")
        >>> Access(catalog).authorise(f"Bearer {token}", "write")
        'library'
        >>> catalog.close()
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._mutex = threading.Lock()
        self._known: dict[str, Token] = {}
        self._read_at: float | None = None

    @property
    def required(self) -> bool:
        """Whether requests need a token: one was made, be it revoked or expired by now."""
        return bool(self._tokens())

    def authorise(self, header: str | None, kind: Scope) -> str | None:
        """The project that a request is confined to, `None` for all; see `admit` for what may be wrong with it."""
        return self.admit(header, kind).project

    def admit(self, header: str | None, kind: Scope) -> Grant:
        """Let a request in, or not.

        Args:
            header: The value of its `Authorization` header, or metadata; `None` where it has none.
            kind: What it wants: `write`, `read` or `admin`.

        Returns:
            What it may do.

        Raises:
            AccessError: It may not; `status` is 401 or 403.
            StoreError: The tokens cannot be read, and none were read before.
        """
        tokens = self._tokens()
        if not tokens:
            return OPEN
        given = _bearer(header)
        if given is None:
            raise AccessError("a token is needed; send `Authorization: Bearer tk_…`", status=401)
        found = tokens.get(given[3:15])
        # Compared also where no token has this id, so that the time taken does not tell which ids there are.
        same = hmac.compare_digest(digest(given), _NO_TOKEN if found is None else found.digest)
        if found is None or not same:
            raise AccessError("the token is not known; `tracekit tokens create` makes one", status=401)
        if found.state != "active":
            raise AccessError(f"the token {found.id} is {found.state}; `tracekit tokens create` makes one", status=401)
        right = needed(kind)
        if right not in found.rights:
            why = f"to {kind}, only to {', '.join(found.scopes)}"
            if found.role:
                takers = " or ".join(role for role, allowed in ROLES.items() if right in allowed)
                why = f"to {right}: its role is {found.role}, and that takes {takers}"
            raise AccessError(f"the token {found.id} does not allow {why}", status=403)
        who = f"the token {found.id}" if found.principal is None else f"{found.principal} (token {found.id})"
        return Grant(found.project, found.rights, found.actor, who)

    def _tokens(self) -> dict[str, Token]:
        with self._mutex:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at > FRESH_SECONDS:
                try:
                    self._known = {token.id: token for token in self._catalog.tokens.list()}
                except StoreError:
                    if self._read_at is None:
                        raise
                    # A catalog that is away for a moment neither opens the door nor shuts everybody out.
                self._read_at = now
            return self._known


def confine(request: Any, project: str) -> bool:
    """Put all of a request into one project, whatever it says itself.

    Args:
        request: A decoded request to export spans, log records or metrics; it is changed.
        project: The project of the token that it came with.

    Returns:
        Whether anything changed.
    """
    keys = _project_keys()
    changed = False
    for outer in (
        *getattr(request, "resource_spans", ()),
        *getattr(request, "resource_logs", ()),
        *getattr(request, "resource_metrics", ()),
    ):
        pairs = outer.resource.attributes
        said = [pair.value.string_value for pair in pairs if pair.key in keys]
        if said == [project] and any(pair.key == names.PROJECT for pair in pairs):
            continue
        _match.without(pairs, keys)
        pairs.add(key=names.PROJECT).value.string_value = project
        changed = True
    for _, _, found in _match.groups(request):
        for item in found:
            if _match.without(item.attributes, keys):
                changed = True
    return changed


@lru_cache
def _project_keys() -> frozenset[str]:
    """Every attribute that some dialect reads a project from."""
    keys = {names.PROJECT}
    for dialect in installed():
        for table in (dialect.keys, dialect.resource):
            keys.update(key.name for key in table.get("project", ()))
    return frozenset(keys)


def _bearer(header: str | None) -> str | None:
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith("tk_") and len(token) < 200 else None


def expiry(days: float | None) -> datetime.datetime | None:
    """The moment so many days from now, UTC."""
    if days is None:
        return None
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return now + datetime.timedelta(days=days)


def is_loopback(host: str) -> bool:
    """Whether an address that is listened on can be reached from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
