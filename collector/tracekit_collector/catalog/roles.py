"""Roles: what the bearer of a token may do, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Literal

Right = Literal["read", "send", "judge", "promote", "administer"]
Scope = Literal["write", "read", "admin"]

RIGHTS: MappingProxyType[Right, str] = MappingProxyType(
    {
        "read": "ask the JSON API",
        "send": "send traces, logs, metrics, inference logs, agent versions, and feedback: scores whose source is "
        "`user`, `code` or `environment`",
        "judge": "send scores whose source is `human` or `llm`, and tracked runs",
        "promote": "move aliases",
        "administer": "all that belongs to the whole store",
    }
)
"""What there is to be allowed, in words."""

ROLES: MappingProxyType[str, frozenset[Right]] = MappingProxyType(
    {
        "reader": frozenset({"read"}),
        "writer": frozenset({"send"}),
        "evaluator": frozenset({"read", "send", "judge"}),
        "admin": frozenset(RIGHTS),
    }
)
"""The rights of each role."""

SCOPES: MappingProxyType[str, frozenset[Right]] = MappingProxyType(
    {
        "write": frozenset({"send", "judge", "promote"}),
        "read": frozenset({"read"}),
        "admin": frozenset(RIGHTS),
    }
)
"""The rights of each scope, for tokens without a role: `write` takes whatever a door takes."""

_SCOPE_OF: dict[Right, str] = {"send": "write", "judge": "write", "read": "read", "administer": "admin"}
_NEEDED: dict[str, Right] = {"write": "send", "read": "read", "admin": "administer"}


def rights(role: str | None, scopes: Iterable[str]) -> frozenset[Right]:
    """What a token allows: what its role does, or its scopes where it has no role.

    Example:
        >>> sorted(rights("evaluator", []))
        ['judge', 'read', 'send']
        >>> sorted(rights(None, ["write", "read"]))
        ['judge', 'promote', 'read', 'send']
    """
    if role is not None:
        return ROLES.get(role, frozenset())
    return frozenset().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))


def scopes_of(role: str) -> tuple[str, ...]:
    """The scopes that come nearest to a role, for those who know scopes only.

    Example:
        >>> scopes_of("evaluator")
        ('write', 'read')
    """
    if role == "admin":
        return ("admin",)
    found = {_SCOPE_OF[right] for right in ROLES[role]}
    return tuple(scope for scope in SCOPES if scope in found)


def needed(scope: Scope) -> Right:
    """The right that a request of this kind asks for at least."""
    return _NEEDED[scope]
