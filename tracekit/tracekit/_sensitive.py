"""The keys that redaction knows, how keys are compared, and how a text is told quickly that holds none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

SENSITIVE = (
    "password",
    "passwords",
    "password hash",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "secrets",
    "token",
    "api key",
    "api keys",
    "apikey",
    "access key",
    "secret key",
    "private key",
    "signing key",
    "encryption key",
    "session key",
    "ssh key",
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "bearer",
    "jwt",
    "connection string",
    "cvv",
    "cvc",
)
"""Keys whose values are secret, whatever stands before them."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
_KEY_LENGTH = 256
_RARE = "@=/_-."
_KEY_ENDS = ('"', "'", "=", " =")
_COMMON = frozenset({"key", "keys", "token", "string", "name", "hash", "id"})


def words(key: str) -> tuple[str, ...]:
    """A key's words in lower case, without numbers: how keys are compared.

    Example:
        >>> words("X-ApiKey2"), words("OPENAI_API_KEY")
        (('x', 'api', 'key'), ('openai', 'api', 'key'))
    """
    return tuple(word.lower() for word in _WORDS.findall(key[-_KEY_LENGTH:]))


def key_hints(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What a text with one of the keys must hold: its last word, with what ends a key where it is a common word."""
    hints: set[str] = set()
    for name in names:
        last = name[-1]
        hints.update([f"{last}{end}" for end in _KEY_ENDS] if last in _COMMON else [last])
    return tuple(hints)


def gates(hints: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The hints by a rare character that they hold: looking for one character is much the quickest."""
    found: dict[str, list[str]] = {}
    for hint in hints:
        found.setdefault(next((character for character in hint if character in _RARE), ""), []).append(hint)
    return tuple((gate, tuple(held)) for gate, held in found.items())


def shortest(hints: Iterable[str]) -> tuple[str, ...]:
    """The hints without those that hold another one."""
    found = set(hints)
    return tuple(sorted(hint for hint in found if not any(other in hint for other in found - {hint})))
