"""The chain of the audit log: each row's digest is made over the digest before it and what the row itself says.

Whoever changes, moves or takes out a row has to make every digest after it anew, and then the last one is another. It
is enough to have the last number and digest somewhere else to see that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

START = "0" * 64
"""What stands for the digest before the first row."""

_SAID = ("number", "id", "at", "actor", "act", "target", "details")


def digest(previous: str, row: Mapping[str, object]) -> str:
    """The digest of one row of the audit log.

    Args:
        previous: The digest of the row before; `START` for the first.
        row: The row's columns: number, id, at (a datetime), actor, act, target, details.

    Returns:
        SHA-256, in hex, over the previous digest, a line feed and the row as JSON: keys sorted, no spaces, ASCII,
        `at` as ISO 8601 with microseconds.

    Example:
        >>> import datetime
        >>> row = {"number": 1, "id": "01", "at": datetime.datetime(2026, 1, 2), "actor": None}
        >>> digest(START, {**row, "act": "token.create", "target": "token a", "details": {}})[:8]
        'fdeca3e2'
    """
    said = {name: row[name] for name in _SAID}
    said["at"] = row["at"].isoformat(timespec="microseconds")  # type: ignore[attr-defined]  # a datetime
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
