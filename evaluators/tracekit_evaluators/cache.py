"""What models answered, kept on disk so that nothing is paid for twice.

An entry's key is the digest of all that decides an answer: the model with its parameters and server, the messages,
the schema and the sample's number. Only answers that gave a verdict are kept, never a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.subject import canonical

_TOGETHER = 0.01  # seconds
_KNOWN = "SELECT completion FROM completions WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO completions (key, completion, created) VALUES (?, ?, ?)"
_Row = tuple[str, str, float]
_log = logging.getLogger("tracekit")


class Cache:
    """Answers of models in a SQLite file, shared by any number of processes.

    A file that cannot be used is reported once and then left alone: a cache never costs a verdict. In an event loop,
    answers that come within some milliseconds are written together.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False
        self._unwritten: dict[str, _Row] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # that is going to write them

    def get(self, key: str) -> Completion | None:
        """The answer under a key, if there is one."""
        kept = self._unwritten.get(key)
        text = kept[1] if kept is not None else self._read(key)
        if text is None:
            return None
        try:
            return Completion(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def put(self, key: str, completion: Completion) -> None:
        """Keep an answer."""
        first = not self._unwritten
        self._unwritten[key] = (key, json.dumps(vars(completion)), time.time())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
        else:
            if first or self._loop is not loop:  # one that was closed writes nothing
                self._loop = loop
                loop.call_later(_TOGETHER, self._write)

    def close(self) -> None:
        """Close the file."""
        self._write()
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _write(self) -> None:
        with self._mutex:
            rows, self._unwritten = self._unwritten, {}
            if rows and not self._broken:
                with self._spared():
                    connection = self._open()
                    connection.execute("BEGIN IMMEDIATE")
                    with connection:
                        connection.executemany(_KEEP, rows.values())

    def _read(self, key: str) -> str | None:
        with self._mutex:
            if not self._broken:
                with self._spared():
                    row: tuple[str] | None = self._open().execute(_KNOWN, (key,)).fetchone()
                    return None if row is None else row[0]
            return None

    @contextlib.contextmanager
    def _spared(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._broken = True
            _log.warning("the judges' cache %s cannot be used, models are asked again: %s", self._path, error)

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
