"""Opening a catalog: the engine, its settings, and bringing its tables up to date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from tracekit._locks import held
from tracekit.errors import StoreError, StoreVersionError
from tracekit_collector.catalog import audit
from tracekit_collector.catalog.agents import Agents
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import Audit
from tracekit_collector.catalog.datasets import Datasets
from tracekit_collector.catalog.engine import READING, connected, failure, parsed, shown
from tracekit_collector.catalog.principals import Principals
from tracekit_collector.catalog.prompts import Prompts
from tracekit_collector.catalog.revision import REVISION
from tracekit_collector.catalog.runs import Runs
from tracekit_collector.catalog.tables import DATASET_VERSIONS, METADATA, REQUESTS, RUNS, VERSIONS
from tracekit_collector.catalog.tokens import Tokens
from tracekit_collector.catalog.verifications import Verifications
from tracekit_collector.catalog.webhooks import Webhooks

_MIGRATING_SECONDS = 60
_ASKED_AT_ONCE = 500
_ONE_MIGRATES = "SELECT pg_advisory_xact_lock(7161301, 2)"


class Catalog:
    """The catalog of a store, its tables up to date.

    Args:
        url: An SQLAlchemy URL: `sqlite:///path` or `postgresql+psycopg://…`. The attribute `url` has no password.
        lock: A file that one process at a time holds while it migrates.

    Raises:
        SettingError: The URL cannot be read.
        MissingExtraError: PostgreSQL's driver is not installed.
        StoreVersionError: The catalog was made by a newer tracekit.
        StoreError: The database cannot be opened or migrated.
    """

    def __init__(self, url: str, *, lock: Path) -> None:
        self._url = parsed(url)
        self.url = shown(self._url)
        self._engine = connected(self._url)
        try:
            self._ready(lock)
        except BaseException:
            self._engine.dispose()
            raise
        self.agents = Agents(self.transaction, self.reading)
        self.runs = Runs(self.transaction, self.reading, self.agents)
        self.datasets = Datasets(self.transaction, self.reading)
        self.audit = Audit(self.transaction, self.reading)
        self.tokens = Tokens(self.transaction, self.reading)
        self.verifications = Verifications(self.transaction, self.reading)
        self.webhooks = Webhooks(self.transaction, self.reading)
        self.principals = Principals(self.transaction, self.reading)
        self.prompts = Prompts(self.transaction, self.reading)

    @classmethod
    def in_folder(cls, folder: Path) -> Catalog:
        """The SQLite catalog of a store's folder."""
        return cls(f"sqlite:///{folder / 'catalog.db'}", lock=folder / ".catalog.lock")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept as a whole when the block ends, and undone when it raises."""
        try:
            with self._engine.begin() as connection:
                audit.forget(connection)
                yield connection
                audit.write(connection)
        except SQLAlchemyError as error:
            raise failure(error, self._url, "refused") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads one state of the catalog and makes no writer wait."""
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(**READING)
        except SQLAlchemyError as error:
            raise failure(error, self._url, "cannot be read") from error

    def known_requests(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests whose requests have been settled before."""
        wanted = sorted(set(digests))
        known: set[str] = set()
        with self.reading() as connection:
            for at in range(0, len(wanted), _ASKED_AT_ONCE):
                some = wanted[at : at + _ASKED_AT_ONCE]
                known.update(connection.scalars(select(REQUESTS.c.digest).where(REQUESTS.c.digest.in_(some))))
        return known

    def add_requests(self, digests: Iterable[str], *, settled_at: datetime.datetime) -> None:
        """Remember that the requests with these digests have been settled."""
        given = set(digests)

        def add(connection: Connection) -> None:
            # Another process may settle the same request at this moment; whoever comes second looks again.
            if new := sorted(given - self.known_requests(given)):
                connection.execute(insert(REQUESTS), [{"digest": each, "settled_at": settled_at} for each in new])

        if given - self.known_requests(given):
            attempted(self.transaction, add)

    def count_requests(self) -> int:
        """How many requests were ever settled."""
        with self.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(REQUESTS)) or 0)

    def forget_requests(self, *, before: datetime.datetime, dry_run: bool = False) -> int:
        """Forget requests that were settled before a time; returns how many.

        Args:
            before: UTC, without a zone.
            dry_run: Only count them.
        """
        if dry_run:
            with self.reading() as connection:
                old = select(func.count()).select_from(REQUESTS).where(REQUESTS.c.settled_at < before)
                return int(connection.scalar(old) or 0)
        with self.transaction() as connection:
            return int(connection.execute(delete(REQUESTS).where(REQUESTS.c.settled_at < before)).rowcount)

    def all_text(self) -> str:
        """All that runs, agent versions and datasets say, as one text in which a digest can be looked for."""
        with self.reading() as connection:
            tables = (RUNS, VERSIONS, DATASET_VERSIONS)
            rows = [row for table in tables for row in connection.execute(select(table))]
        return "\n".join(str(tuple(row)) for row in rows)

    def faults(self) -> list[str]:
        """What the database itself finds wrong with its file; nothing where it cannot tell."""
        if not self.url.startswith("sqlite"):
            return []
        with self.reading() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            broken = [tuple(row) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
        keys = [f"{table} row {row} names a row of {other} that is not there" for table, row, other, _ in broken]
        return [fault for fault in found if fault != "ok"] + keys

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _ready(self, lock: Path) -> None:
        try:
            if self._revision() != REVISION:
                self._migrate(lock)
        except SQLAlchemyError as error:
            raise failure(error, self._url, "cannot be opened") from error
        except OSError as error:
            raise StoreError(f"the catalog {self.url} cannot be opened: {lock}: {error.strerror or error}") from error

    def _revision(self) -> str | None:
        with self._engine.connect().execution_options(**READING) as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if found is not None and found > REVISION:
            raise StoreVersionError(
                f"the catalog {self.url} is of revision {found}, this tracekit knows {REVISION}; upgrade tracekit"
            )
        return found

    def _migrate(self, lock: Path) -> None:
        with held(lock, timeout=_MIGRATING_SECONDS) as ours:
            if not ours:
                raise StoreError(f"another process has been migrating {self.url} for a minute; is it stuck?")
            if self._revision() == REVISION:
                return
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    # The file is of this machine; those of others wait here, and find the tables made.
                    connection.exec_driver_sql(_ONE_MIGRATES)
                    if self._revision() == REVISION:
                        return
                if inspect(connection).get_table_names():
                    migrate(connection)
                else:
                    _make(connection)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring a catalog's tables up to a revision, step by step."""
    from alembic import command  # noqa: PLC0415 - heavy, and needed only where a catalog is older than its reader
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # Alembic's configuration reads % as the start of a placeholder; a folder's name may hold one.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _make(connection: Connection) -> None:
    """Make a new catalog's tables at once: what the migrations come to, without what they take to load."""
    METADATA.create_all(connection)
    versions = Table(
        "alembic_version",
        MetaData(),
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    )
    versions.create(connection)
    connection.execute(insert(versions).values(version_num=REVISION))
