"""What an import read, what of it was new, and what was left out and why: nothing is dropped without a word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Kind:
    """The counts of one kind of thing.

    Args:
        read: How many there were.
        new: How many the store did not have.
        known: How many it had already.
        skipped: How many were left out, by reason.
    """

    read: int = 0
    new: int = 0
    known: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


class Tally:
    """Counts by kind, such as `runs` or `spans`, in the order in which kinds were first counted.

    Example:
        >>> tally = Tally()
        >>> tally.count("runs", known=False)
        >>> tally.skip("runs", "deleted")
        >>> tally.rows()
        [{'kind': 'runs', 'read': 2, 'new': 1, 'known': 0, 'skipped': 1, 'why': '1: deleted'}]
    """

    COLUMNS = ("kind", "read", "new", "known", "skipped", "why")

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.notes: Counter[str] = Counter()

    def count(self, kind: str, n: int = 1, *, known: bool = False) -> None:
        """Count what was read and is in the store then."""
        found = self.kinds.setdefault(kind, Kind())
        found.read += n
        if known:
            found.known += n
        else:
            found.new += n

    def skip(self, kind: str, why: str, n: int = 1) -> None:
        """Count what was read and left out."""
        found = self.kinds.setdefault(kind, Kind())
        found.read += n
        found.skipped[why] += n

    def note(self, what: str, n: int = 1) -> None:
        """Count something that was changed on the way, or not understood."""
        self.notes[what] += n

    def rows(self) -> list[dict[str, object]]:
        """One row a kind, with the columns `COLUMNS`."""
        return [
            {
                "kind": name,
                "read": kind.read,
                "new": kind.new,
                "known": kind.known,
                "skipped": sum(kind.skipped.values()),
                "why": "; ".join(f"{n}: {why}" for why, n in kind.skipped.most_common()),
            }
            for name, kind in self.kinds.items()
        ]

    def to_dict(self) -> dict[str, object]:
        """All of it, as JSON takes it."""
        kinds = {
            name: {"read": kind.read, "new": kind.new, "known": kind.known, "skipped": dict(kind.skipped)}
            for name, kind in self.kinds.items()
        }
        return {"kinds": kinds, "notes": dict(self.notes)}
