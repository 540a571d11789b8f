"""Views that are made when a query first names them: to make one takes as long as to plan it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tracekit_collector.query import Engine

_WORD = re.compile(r"[a-z_]\w*")
# What lists the views, or may name one without its name being there.
_LISTING = re.compile(r"\b(show|query|query_table|sqlite_master|information_schema|duckdb_\w+|pg_\w+|pragma\w*)\b")


class Shown:
    """The views of an engine.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queries: dict[str, str] = {}
        self._made: dict[str, str] = {}

    def offer(self, queries: Mapping[str, str]) -> None:
        """Let names stand for queries from now on, each only over those before it; views that are made already change.

        Args:
            queries: Names and their queries.
        """
        self._queries.update(queries)
        self._make({name for name, query in self._made.items() if self._queries[name] != query})

    def need(self, text: str) -> None:
        """Make the views that a query names, and those that they read.

        Args:
            text: The query, or any words.
        """
        wanted: set[str] = set()
        found = set(self._queries) if lists(text) else self._named(text)
        while found:
            wanted |= found
            found = set().union(*(self._named(self._queries[name]) for name in found)) - wanted
        self._make(wanted - set(self._made))

    def need_all(self) -> bool:
        """Make all views; whether one was missing."""
        missing = set(self._queries) - set(self._made)
        self._make(missing)
        return bool(missing)

    def _named(self, text: str) -> set[str]:
        return set(_WORD.findall(text.lower())) & set(self._queries)

    def _make(self, names: set[str]) -> None:
        some = {name: query for name, query in self._queries.items() if name in names}
        self._engine.define(some)
        self._made.update(some)


def lists(text: str) -> bool:
    """Whether a query may ask what views there are, such as `SHOW TABLES`."""
    return _LISTING.search(text.lower()) is not None
