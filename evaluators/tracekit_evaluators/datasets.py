"""Datasets: named sets of cases, in versions that never change, kept in a store.

A version is the SHA-256 of its cases, which are JSON lines among the store's artifacts; the catalog has its name and
number. `NAME`, `NAME@VERSION` and `NAME@VERSION:SPLIT` stand for cases wherever a dataset is asked for.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators._case_files import FIELDS
from tracekit_evaluators._cases import DatasetSource, dataset_bytes, read_dataset
from tracekit_evaluators.subject import input_digest

if TYPE_CHECKING:
    from tracekit_collector.catalog import DatasetVersion
    from tracekit_collector.store import Store

Row = dict[str, object]


@dataclass(frozen=True)
class Chosen:
    """Some cases, and where they come from.

    Args:
        rows: The cases.
        version: The version of a dataset that they are of; `None` where they come from elsewhere.
        split: The one split that they are of.
        file: The file that they come from.
    """

    rows: list[Row]
    version: DatasetVersion | None = None
    split: str | None = None
    file: str | None = None

    def selection(self) -> dict[str, object]:
        """What a run keeps of where its cases come from."""
        found: dict[str, object] = {"dataset_file": self.file, "cases": len(self.rows)}
        if self.version is not None:
            named = {"name": self.version.dataset, "version": self.version.number, "digest": self.version.digest}
            found.update({f"dataset_{key}": value for key, value in named.items()})
            found["dataset_split"] = self.split
        return found


@dataclass(frozen=True)
class Difference:
    """What one version has that another has not.

    Args:
        added: Ids of cases that only the second has.
        removed: Ids of cases that only the first has.
        changed: For each case that both have and that differs, the fields that differ.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)


def cases_of(store: Store, source: DatasetSource, *, split: str | None = None) -> Chosen:
    """The cases that a source stands for.

    Args:
        store: Whose datasets are meant.
        source: `NAME`, `NAME@VERSION`, either with `:SPLIT`; a JSONL, CSV or Parquet file; or mappings.
        split: Only the cases of this split.

    Raises:
        UsageError: A file cannot be read or holds no cases, or no case is of the split.
        NotFoundError: There is no such dataset.
    """
    named = _named(store, source) if isinstance(source, str) else None
    if named is not None:
        version, said = named
        if said is not None and split is not None and said != split:
            raise UsageError(f"two splits are named: {said} and {split}")
        split = split if said is None else said
        found = Chosen(rows_of(store, version), version, split)
    else:
        where = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        found = Chosen(read_dataset(source), split=split, file=where)
    if split is None:
        return found
    rows = [row for row in found.rows if split in _words(row.get("splits"))]
    if not rows:
        known = sorted({each for row in found.rows for each in _words(row.get("splits"))})
        raise UsageError(f"no case is of the split {split!r}; there are {', '.join(known) or 'no splits'}")
    return Chosen(rows, found.version, split, found.file)


def rows_of(store: Store, version: DatasetVersion) -> list[Row]:
    """The cases of a version.

    Raises:
        StoreError: They are not there, or damaged.
    """
    return [json.loads(line) for line in kept(store.artifacts, version.digest).splitlines()]


def save(
    store: Store, name: str, rows: Iterable[Mapping[str, object]], *, note: str = "", based_on: int | None = None
) -> DatasetVersion:
    """Make cases the newest version of a dataset; where it says the same already, nothing changes.

    Args:
        store: Where to.
        name: The dataset.
        rows: All of its cases; one without `case_id` gets one from its input.
        note: What was done.
        based_on: The number of the version that this one revises; 0 where the dataset must be new.

    Raises:
        UsageError: A case is none, or the dataset has another version by now.
    """
    cleaned = [_cleaned(row, place) for place, row in enumerate(rows, start=1)]
    checked = read_dataset(sorted(cleaned, key=lambda row: str(row["case_id"])))
    splits = Counter(split for row in checked for split in _words(row.get("splits")))
    digest = keep(store.artifacts, dataset_bytes(checked))
    return store.catalog.datasets.add(
        name, digest=digest, cases=len(checked), splits=dict(sorted(splits.items())), note=note, based_on=based_on
    )


def create(store: Store, name: str, rows: Iterable[Mapping[str, object]], *, note: str = "") -> DatasetVersion:
    """Make a dataset.

    Raises:
        UsageError: There is one of that name already, or a case is none.
    """
    try:
        there = store.catalog.datasets.resolve(name)
    except NotFoundError:
        return save(store, name, rows, note=note, based_on=0)
    raise UsageError(f"there is a dataset {there.ref} already; `tracekit datasets add` revises it")


def add(store: Store, name: str, rows: Iterable[Mapping[str, object]], *, note: str = "") -> DatasetVersion:
    """A revision of a dataset with more cases; one whose id is there already takes that one's place."""
    newest = store.catalog.datasets.resolve(name)
    by_id = {str(row["case_id"]): row for row in rows_of(store, newest)}
    for place, row in enumerate(rows, start=1):
        cleaned = _cleaned(row, place)
        by_id[str(cleaned["case_id"])] = cleaned
    return save(store, newest.dataset, by_id.values(), note=note, based_on=newest.number)


def without(store: Store, name: str, case_ids: Sequence[str], *, note: str = "") -> DatasetVersion:
    """A revision of a dataset without some of its cases.

    Raises:
        UsageError: A case is not there, or none would be left.
    """
    newest = store.catalog.datasets.resolve(name)
    rows = rows_of(store, newest)
    unknown = sorted(set(case_ids) - {str(row["case_id"]) for row in rows})
    if unknown:
        raise UsageError(f"{newest.ref} has no case {', '.join(unknown)}")
    left = [row for row in rows if str(row["case_id"]) not in set(case_ids)]
    return save(store, newest.dataset, left, note=note, based_on=newest.number)


def difference(first: Sequence[Mapping[str, object]], second: Sequence[Mapping[str, object]]) -> Difference:
    """What two sets of cases do not have in common.

    Example:
        >>> difference([{"case_id": "a", "input": 1}], [{"case_id": "a", "input": 2}, {"case_id": "b"}])
        Difference(added=['b'], removed=[], changed={'a': ['input']})
    """
    before = {str(row["case_id"]): row for row in first}
    after = {str(row["case_id"]): row for row in second}
    changed = {
        key: fields
        for key in sorted(before.keys() & after.keys())
        if (
            fields := [
                name
                for name in sorted(before[key].keys() | after[key].keys())
                if _differ(before[key], after[key], name)
            ]
        )
    }
    return Difference(sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys()), changed)


def case_id(row: Mapping[str, object]) -> str:
    """A case's id; one that follows from its input where it has none."""
    given = row.get("case_id")
    return input_digest(row.get("input"))[:16] if given is None else str(given)


def _differ(first: Mapping[str, object], second: Mapping[str, object], name: str) -> bool:
    return bool(first.get(name) != second.get(name))


def _cleaned(row: Mapping[str, object], place: int) -> Row:
    unknown = sorted(set(row) - set(FIELDS) - {"split"})
    if unknown:
        raise UsageError(f"case {place}: unknown: {', '.join(unknown)}; what does not fit elsewhere goes into metadata")
    found = {key: value for key, value in row.items() if value is not None and key != "split"}
    if row.get("split") is not None:
        found["splits"] = [*_words(row.get("splits")), str(row["split"])]
    for name in ("tags", "splits"):
        if name in found:
            found[name] = sorted(set(_words(found[name])))
    if found.get("case_id") is None and found.get("input") is None:
        raise UsageError(f"case {place}: a case needs case_id or input, so that traces can be matched to it")
    found["case_id"] = case_id(found)
    return {key: found[key] for key in FIELDS if key in found}


def _words(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [] if value is None else [str(value)]


def _named(store: Store, source: str) -> tuple[DatasetVersion, str | None] | None:
    """The version and split that a text names; `None` where it is a file's."""
    from tracekit_collector.catalog.datasets import FILE_SUFFIXES  # noqa: PLC0415 - the façade stays light

    ref, _, split = source.partition(":")
    if source.endswith(FILE_SUFFIXES) or "/" in source or os.sep in source:
        return None
    try:
        return store.catalog.datasets.resolve(ref), split or None
    except NotFoundError:
        if Path(source).is_file():
            return None
        raise
