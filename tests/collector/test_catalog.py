"""The catalog: agents, versions, aliases, runs, and its migrations."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import tracekit_collector.catalog.database as database
from tracekit.errors import NotFoundError, StoreError, StoreVersionError, UsageError
from tracekit_collector.catalog import AgentVersion, Catalog
from tracekit_collector.catalog.tables import METADATA

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def catalog(url: str, tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(url, lock=tmp_path / ".lock")
    yield opened
    opened.close()


def register(catalog: Catalog, digest: str, label: str | None = None) -> AgentVersion:
    return catalog.agents.register("bot", digest=digest, label=label, **FACTS)


class TestMigrations:
    @pytest.mark.parametrize("older", [True, False])
    def test_the_migrations_make_what_a_new_catalog_has(self, url: str, tmp_path: Path, older: bool) -> None:
        if older:
            engine = create_engine(url)
            with engine.begin() as connection:
                database.migrate(connection, "001")
            engine.dispose()
        catalog = Catalog(url, lock=tmp_path / ".lock")
        with catalog.reading() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == database.REVISION
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        catalog.close()

    def test_the_newest_migration_is_the_revision_that_the_code_expects(self) -> None:
        folder = Path(database.__file__).parent / "migrations"
        assert ScriptDirectory(str(folder)).get_current_head() == database.REVISION

    def test_opens_in_a_folder_whose_name_holds_a_space_and_a_percent_sign(self, tmp_path: Path) -> None:
        folder = tmp_path / "100 % mine"
        folder.mkdir()
        Catalog.in_folder(folder).close()
        assert (folder / "catalog.db").is_file()

    def test_a_catalog_of_a_newer_tracekit_is_refused(self, tmp_path: Path) -> None:
        Catalog.in_folder(tmp_path).close()
        with sqlite3.connect(tmp_path / "catalog.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '999'")
        connection.close()
        with pytest.raises(StoreVersionError, match="upgrade tracekit"):
            Catalog.in_folder(tmp_path)

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").write_text("no database at all, and long enough to be read as one" * 20)
        with pytest.raises(StoreError, match=r"catalog\.db"):
            Catalog.in_folder(tmp_path)


class TestAgents:
    def test_versions_are_numbered_in_the_order_of_registration(self, catalog: Catalog) -> None:
        assert [register(catalog, digest).ref for digest in ("aa", "bb", "cc")] == ["bot@1", "bot@2", "bot@3"]

    def test_the_same_digest_is_the_same_version(self, catalog: Catalog) -> None:
        assert register(catalog, "aa", "one") == register(catalog, "aa", "another")

    def test_a_version_that_a_trace_named_becomes_registered(self, catalog: Catalog) -> None:
        seen = catalog.agents.see("bot", "2.1")
        registered = register(catalog, "aa", "2.1")
        assert (seen.source, registered.source) == ("seen", "registered")
        assert (registered.number, registered.label, registered.digest) == (1, "2.1", "aa")

    def test_a_label_stays_with_the_digest_that_had_it_first(self, catalog: Catalog) -> None:
        register(catalog, "aa", "2.1")
        second = register(catalog, "bb", "2.1")
        assert (second.number, second.label) == (2, None)

    def test_a_trace_that_names_a_digest_means_the_registered_version(self, catalog: Catalog) -> None:
        version = register(catalog, "aa" * 32, "2.1")
        assert catalog.agents.see("bot", "aa" * 32) == version

    @pytest.mark.parametrize("ref", ["bot", "bot@2", "bot@production", "bot@2.2", "bot@bbbbbbbb"])
    def test_a_version_is_found_by(self, catalog: Catalog, ref: str) -> None:
        register(catalog, "a" * 64, "2.1")
        version = register(catalog, "b" * 64, "2.2")
        catalog.agents.set_alias("bot", "production", version)
        assert catalog.agents.resolve(ref) == version

    def test_an_alias_moves(self, catalog: Catalog) -> None:
        first, second = register(catalog, "aa"), register(catalog, "bb")
        catalog.agents.set_alias("bot", "production", first)
        catalog.agents.set_alias("bot", "production", second)
        assert catalog.agents.aliases("bot") == {"production": second}

    @pytest.mark.parametrize("ref", ["nobody", "bot@9", "bot@nightly"])
    def test_what_is_not_there_is_said(self, catalog: Catalog, ref: str) -> None:
        register(catalog, "aa")
        with pytest.raises(NotFoundError):
            catalog.agents.resolve(ref)

    @pytest.mark.parametrize("alias", ["", "7", "a@b"])
    def test_an_alias_that_could_mean_something_else_is_refused(self, catalog: Catalog, alias: str) -> None:
        version = register(catalog, "aa")
        with pytest.raises(UsageError):
            catalog.agents.set_alias("bot", alias, version)

    def test_many_processes_register_at_once_and_numbers_stay_dense(self, catalog: Catalog, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_register_ten, args=(url, part)) for part in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(50)
        versions = catalog.agents.versions("bot")
        assert [version.number for version in versions] == list(range(1, 26))
        assert len({version.digest for version in versions}) == 25


def _register_ten(url: str, part: int) -> None:
    catalog = Catalog(url, lock=Path("unused.lock"))
    for place in range(10):
        # Half of each worker's versions are its neighbour's too.
        register(catalog, f"{part * 5 + place:064x}")
    catalog.close()


class TestRuns:
    def test_a_run_is_found_by_id_by_its_beginning_and_by_name(self, catalog: Catalog) -> None:
        run = catalog.runs.create("nightly", kind="eval")
        assert [catalog.runs.find(ref).id for ref in (run.id, run.id[:20], "nightly")] == [run.id] * 3

    def test_a_name_stands_for_its_newest_run(self, catalog: Catalog) -> None:
        catalog.runs.create("nightly", kind="eval")
        newest = catalog.runs.create("nightly", kind="eval")
        assert catalog.runs.find("nightly").id == newest.id

    def test_metrics_come_back_in_order_with_what_they_carry(self, catalog: Catalog) -> None:
        metrics = {
            "reward": {"value": 0.42, "low": 0.3, "high": 0.54, "n": 200, "method": "clustered"},
            "cost": {"value": None, "low": None, "high": None, "n": 0, "method": "none"},
        }
        run = catalog.runs.create("tau", kind="import")
        assert catalog.runs.update(run.id, status="finished", metrics=metrics).metrics == metrics
        assert list(catalog.runs.find("tau").metrics) == ["reward", "cost"]

    def test_a_finished_run_has_its_end(self, catalog: Catalog) -> None:
        run = catalog.runs.create("tau", kind="import")
        assert run.finished_at is None
        assert catalog.runs.update(run.id, status="finished").finished_at is not None

    def test_a_missing_run_is_said(self, catalog: Catalog) -> None:
        with pytest.raises(NotFoundError, match="tracekit runs list"):
            catalog.runs.find("nightly")
