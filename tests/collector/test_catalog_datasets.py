"""Datasets in the catalog: numbers, digests, revisions that meet each other; in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading

import pytest

from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog import Catalog, DatasetVersion


def add(catalog: Catalog, digit: str, name: str = "sums", **more: object) -> DatasetVersion:
    return catalog.datasets.add(name, digest=digit * 64, cases=2, splits={"dev": 2}, **more)  # type: ignore[arg-type]


def test_versions_are_numbered_and_found_by_number_and_digest(catalog: Catalog) -> None:
    first, second = add(catalog, "a", note="first"), add(catalog, "b")
    assert (first.ref, second.ref) == ("sums@1", "sums@2")
    assert (first.splits, first.note, first.cases) == ({"dev": 2}, "first", 2)
    resolve = catalog.datasets.resolve
    assert (resolve("sums"), resolve("sums@1"), resolve("sums@" + "b" * 8)) == (second, first, second)
    assert [each.ref for each in catalog.datasets.list()] == ["sums@2"]


def test_the_same_cases_make_no_new_version_and_going_back_does(catalog: Catalog) -> None:
    assert add(catalog, "a") == add(catalog, "a")
    add(catalog, "b")
    assert add(catalog, "a").ref == "sums@3"


@pytest.mark.parametrize("ref", ["none", "sums@2", "sums@aaaa", "sums@cccccccc"])
def test_what_is_not_there_is_said(catalog: Catalog, ref: str) -> None:
    add(catalog, "a")
    with pytest.raises(NotFoundError):
        catalog.datasets.resolve(ref)


@pytest.mark.parametrize("name", ["", "a b", "a@b", "a:b", "../a", "cases.jsonl", "x.csv", "-a"])
def test_a_name_that_could_be_something_else_is_refused(catalog: Catalog, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a dataset's name"):
        add(catalog, "a", name)


def test_a_revision_of_what_has_changed_meanwhile_is_refused(catalog: Catalog) -> None:
    add(catalog, "a")
    add(catalog, "b", based_on=1)
    with pytest.raises(UsageError, match="is at version 2 by now"):
        add(catalog, "c", based_on=1)


def test_many_at_once_make_dense_numbers(catalog: Catalog) -> None:
    workers = [threading.Thread(target=add, args=(catalog, digit)) for digit in "0123456789abcdef"[:8]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [each.number for each in catalog.datasets.versions("sums")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_dataset_is_removed_with_its_versions_and_the_audit_log_says_so(catalog: Catalog) -> None:
    add(catalog, "a")
    add(catalog, "b")
    assert catalog.datasets.remove("sums") == 2
    assert list(catalog.datasets.list()) == []
    assert [act.target for act in catalog.audit.list(act="dataset.remove")] == ["sums"]
    assert add(catalog, "a").ref == "sums@1"


def test_artifacts_of_datasets_are_named_so_that_keeping_house_leaves_them(catalog: Catalog) -> None:
    add(catalog, "a")
    assert "a" * 64 in catalog.all_text()
