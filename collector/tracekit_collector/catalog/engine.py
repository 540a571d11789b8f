"""The database behind a catalog: its URL, its connections, and what went wrong with it in words.

A URL may hold a password, so it is never shown as it is. Connections to PostgreSQL wait ten seconds to be made and
thirty for a lock, unless the URL says otherwise.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, SQLAlchemyError

from tracekit.errors import MissingExtraError, SettingError, StoreBusyError, StoreError, TracekitError, UsageError

READING = {"tracekit_reading": True}
"""Execution options of a connection that only reads, so that it makes no writer wait."""

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 10
_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"})
_WAITED = frozenset({"55P03"})  # lock_not_available
_REFUSED = frozenset({"42501", "25006"})  # insufficient privilege, read only


def parsed(url: str) -> URL:
    """The URL of a catalog's database, checked.

    Raises:
        SettingError: It is no URL, or of a database that catalogs do not live in.

    Example:
        >>> parsed("postgres://ana@db/traces").drivername
        'postgresql+psycopg'
    """
    mend = "write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingError(f"the catalog's URL cannot be read; {mend}") from None
    if found.drivername in _POSTGRESQL:
        return found.set(drivername="postgresql+psycopg")
    if found.drivername in ("sqlite", "sqlite+pysqlite"):
        return found
    raise SettingError(f"a catalog cannot be in {found.drivername[:40]!r}; {mend}")


def shown(url: URL) -> str:
    """The URL as it may be shown and kept: without its password.

    Example:
        >>> shown(parsed("postgresql://ana:secret@db/traces?host=/run"))
        'postgresql+psycopg://ana@db/traces?host=/run'
    """
    query = {key: value for key, value in url.query.items() if key not in ("password", "sslpassword")}
    plain = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return plain.render_as_string(hide_password=False).replace("%2F", "/")


def secrets_of(url: URL) -> tuple[str, ...]:
    """What of a URL must not be shown."""
    told = [url.password, url.query.get("password"), url.query.get("sslpassword")]
    return tuple(str(each) for each in told if each)


def connected(url: URL) -> Engine:
    """An engine for this URL, not yet connected.

    Raises:
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    query = dict(url.query)
    query.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    query.setdefault("application_name", "tracekit")
    try:
        engine = create_engine(url.set(query=query), pool_pre_ping=True, json_serializer=as_json)
    except ImportError:
        raise MissingExtraError("a catalog in PostgreSQL needs a driver: pip install 'tracekit[postgres]'") from None

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
                (f"{_BUSY_SECONDS}s",),
            )
        connection.commit()

    return engine


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, json_serializer=as_json)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver opens a transaction at the first write only; we open them ourselves, below.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later must own the write lock from the start, or SQLite refuses it.
        reading = connection.get_execution_options().get("tracekit_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def as_json(value: object) -> str:
    """JSON as every database takes it: numbers that are none become null.

    Example:
        >>> as_json({"value": float("nan")})
        '{"value": null}'
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def failure(error: SQLAlchemyError, url: URL, doing: str) -> TracekitError:
    """What a database's error is to the user, without what must not be shown.

    Args:
        error: What SQLAlchemy raised.
        url: The database.
        doing: What failed: `cannot be opened`, `refused`.
    """
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in secrets_of(url):
        cause = cause.replace(secret, "***")
    said = f"the catalog {shown(url)} {doing}: {cause}"
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    if isinstance(error, DataError):
        return UsageError(said)
    if state in _WAITED or "database is locked" in cause:
        return StoreBusyError(f"{said}; another process holds a lock for {_BUSY_SECONDS} s; try again")
    if state in _REFUSED:
        return StoreError(f"{said}; the user of the URL must be allowed to make and write tables")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StoreError(f"{said}; the connection was lost, and what was under way was undone; try again")
    return StoreError(said + _mend(cause))


def _mend(cause: str) -> str:
    for sign, mend in (
        ("password authentication failed", "; check user and password, which PGPASSWORD or ~/.pgpass may hold too"),
        ("no password supplied", "; give a password in the URL, in PGPASSWORD or in ~/.pgpass"),
        ("Connection refused", "; is the server running, and is it there?"),
        ("No such file or directory", "; is the server running, and is it there?"),
        ("could not translate host name", "; check the host"),
        ("failed to resolve host", "; check the host"),
        ("timeout expired", "; is the server running, and can it be reached?"),
        ("timeout", "; is the server running, and can it be reached?"),
    ):
        if sign in cause:
            return mend
    return ""
