"""What models answered, kept on disk so that nothing is paid for twice.

An entry's key is the digest of all that decides an answer: the model with its parameters and server, the messages,
the schema and the sample's number. Only answers that gave a verdict are kept, never a failure.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.subject import canonical

_log = logging.getLogger("tracekit")


class Cache:
    """Answers of models in a SQLite file, shared by any number of processes.

    A file that cannot be used is reported once and then left alone: a cache never costs a verdict.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False

    def get(self, key: str) -> Completion | None:
        """The answer under a key, if there is one."""
        row = self._run("SELECT completion FROM completions WHERE key = ?", (key,))
        if row is None:
            return None
        try:
            return Completion(**json.loads(row[0]))
        except (ValueError, TypeError):
            return None

    def put(self, key: str, completion: Completion) -> None:
        """Keep an answer."""
        values = (key, json.dumps(vars(completion)), time.time())
        self._run("INSERT OR REPLACE INTO completions (key, completion, created) VALUES (?, ?, ?)", values)

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, query: str, values: tuple[object, ...]) -> tuple[str] | None:
        with self._mutex:
            if self._broken:
                return None
            try:
                row: tuple[str] | None = self._open().execute(query, values).fetchone()
            except sqlite3.Error as error:
                self._broken = True
                _log.warning("the judges' cache %s cannot be used, models are asked again: %s", self._path, error)
                return None
            return row

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS completions "
                "(key TEXT PRIMARY KEY, completion TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
            )
        return self._connection


def key_of(fingerprint: Mapping[str, object], request: Request) -> str:
    """What an answer is kept under: SHA-256, in hex, of all that decides it.

    Args:
        fingerprint: The model's.
        request: The question, without anything random in it.
    """
    asked = {"messages": list(request.messages), "schema": request.schema, "max_tokens": request.max_tokens}
    if request.logprobs:
        asked["logprobs"] = request.logprobs
    text = canonical([dict(fingerprint), asked, request.sample])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
