"""Datasets: names, and their numbered versions, each the digest of a file of cases that never changes."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note as audited
from tracekit_collector.catalog.audit import user
from tracekit_collector.catalog.tables import DATASET_VERSIONS, DATASETS

Transaction = Callable[[], AbstractContextManager[Connection]]
FILE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class DatasetVersion:
    """One immutable state of a dataset.

    Args:
        id: Its key in the catalog.
        dataset: The dataset's name.
        number: 1, 2, 3 …, dense per dataset.
        digest: SHA-256 of the cases as they are kept among the store's artifacts.
        cases: How many.
        splits: How many of them by split; a case without a split is in none.
        note: What was done, in its maker's words.
        created_by: The machine's user; `None` where the system knows no name.
        created_at: UTC.
    """

    id: int
    dataset: str
    number: int
    digest: str
    cases: int
    splits: dict[str, int]
    note: str
    created_by: str | None
    created_at: datetime.datetime

    @property
    def ref(self) -> str:
        """The version as one writes it: `name@number`."""
        return f"{self.dataset}@{self.number}"


class Datasets:
    """The datasets in a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def add(
        self,
        name: str,
        *,
        digest: str,
        cases: int,
        splits: Mapping[str, int],
        note: str = "",
        based_on: int | None = None,
    ) -> DatasetVersion:
        """Add a version, or find the newest one where that says the same.

        Args:
            name: The dataset; made where there is none of that name.
            digest: SHA-256 of its cases.
            cases: How many.
            splits: How many of them by split.
            note: What was done.
            based_on: The number of the version that this one revises, 0 for a new dataset; not looked at when `None`.

        Raises:
            UsageError: The name cannot be one, or another version came meanwhile.
        """
        if not _NAME.fullmatch(name) or name.endswith(FILE_SUFFIXES):
            raise UsageError(
                f"{name!r} cannot be a dataset's name: letters, digits, '.', '_' and '-', and no ending of a file"
            )

        def put(connection: Connection) -> DatasetVersion:
            dataset = _dataset_id(connection, name)
            newest = _one(connection, _versions().where(DATASETS.c.id == dataset))
            number = 0 if newest is None else newest.number
            if newest is not None and newest.digest == digest:
                return newest
            if based_on is not None and based_on != number:
                raise UsageError(
                    f"{name} is at version {number} by now, and this was made from {based_on}; do it again"
                )
            values = {
                "dataset_id": dataset,
                "number": number + 1,
                "digest": digest,
                "cases": cases,
                "splits": dict(splits),
                "note": note[:1000],
                "created_by": user(),
                "created_at": _now(),
            }
            connection.execute(insert(DATASET_VERSIONS).values(**values))
            audited(connection, "dataset.add", f"{name}@{number + 1}", {"digest": digest, "cases": cases})
            return _only(connection, name, number + 1)

        return attempted(self._transaction, put)

    def list(self) -> Sequence[DatasetVersion]:
        """The newest version of every dataset, by name."""
        newest = (
            select(func.max(DATASET_VERSIONS.c.number))
            .where(DATASET_VERSIONS.c.dataset_id == DATASETS.c.id)
            .correlate(DATASETS)
            .scalar_subquery()
        )
        with self._reading() as connection:
            rows = connection.execute(_versions().where(DATASET_VERSIONS.c.number == newest).order_by(DATASETS.c.name))
            return [_version(row) for row in rows]

    def versions(self, name: str) -> Sequence[DatasetVersion]:
        """The versions of one dataset, by number.

        Raises:
            NotFoundError: There is no such dataset.
        """
        with self._reading() as connection:
            query = _versions().where(DATASETS.c.name == name).order_by(DATASET_VERSIONS.c.number)
            found = [_version(row) for row in connection.execute(query)]
        if not found:
            raise NotFoundError(f"there is no dataset {name!r}; `tracekit datasets list` shows the known ones")
        return found

    def resolve(self, ref: str) -> DatasetVersion:
        """The version that `name`, `name@number` or `name@digest` stands for; a bare name is the newest one.

        Raises:
            NotFoundError: Nothing has that name.
        """
        name, _, wanted = ref.partition("@")
        versions = self.versions(name)
        if not wanted:
            return versions[-1]
        for version in versions:
            if str(version.number) == wanted:
                return version
        near = [each for each in versions if len(wanted) >= 8 and each.digest.startswith(wanted)]
        if len({each.digest for each in near}) == 1:
            return near[-1]
        raise NotFoundError(f"the dataset {name!r} has no version {wanted!r}; it has 1 to {versions[-1].number}")

    def remove(self, name: str) -> int:
        """Forget a dataset with all of its versions; returns how many. Runs keep what they read.

        Raises:
            NotFoundError: There is no such dataset.
        """
        count = len(self.versions(name))
        with self._transaction() as connection:
            dataset = _dataset_id(connection, name)
            connection.execute(delete(DATASET_VERSIONS).where(DATASET_VERSIONS.c.dataset_id == dataset))
            connection.execute(delete(DATASETS).where(DATASETS.c.id == dataset))
            audited(connection, "dataset.remove", name, {"versions": count})
        return count


def _versions() -> Select[Any]:
    joined = DATASET_VERSIONS.c.dataset_id == DATASETS.c.id
    return select(DATASET_VERSIONS, DATASETS.c.name.label("dataset")).join(DATASETS, joined)


def _dataset_id(connection: Connection, name: str) -> int:
    found = connection.scalar(select(DATASETS.c.id).where(DATASETS.c.name == name))
    if found is None:
        made = insert(DATASETS).values(name=name, created_at=_now()).returning(DATASETS.c.id)
        found = connection.execute(made).scalar_one()
    # PostgreSQL lets one revision at a time past this row, so that each number goes to one version.
    connection.execute(select(DATASETS.c.id).where(DATASETS.c.id == found).with_for_update())
    return int(found)


def _one(connection: Connection, query: Select[Any]) -> DatasetVersion | None:
    row = connection.execute(query.order_by(DATASET_VERSIONS.c.number.desc()).limit(1)).first()
    return None if row is None else _version(row)


def _only(connection: Connection, name: str, number: int) -> DatasetVersion:
    query = _versions().where(DATASETS.c.name == name, DATASET_VERSIONS.c.number == number)
    return _version(connection.execute(query).one())


def _version(row: Row[Any]) -> DatasetVersion:
    return DatasetVersion(
        id=row.id,
        dataset=row.dataset,
        number=row.number,
        digest=row.digest,
        cases=row.cases,
        splits=row.splits,
        note=row.note,
        created_by=row.created_by,
        created_at=row.created_at,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
