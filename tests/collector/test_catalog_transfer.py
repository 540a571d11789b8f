"""Moving a catalog between SQLite and PostgreSQL: every row, the numbers after it, and what is refused."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Float, Integer, insert, select
from sqlalchemy.types import DateTime

from tracekit.cli import main
from tracekit.errors import StoreError, UsageError
from tracekit_collector.catalog import Catalog, location
from tracekit_collector.catalog.tables import METADATA
from tracekit_collector.catalog.transfer import count, digests, transferring
from tracekit_collector.store import Store

FACTS: dict[str, dict[str, object]] = {
    "code": {"commit": "é" * 5, "dirty": True},
    "parameters": {"temperature": 0.1, "most": 2**60, "stop": None, "list": [1, "2", []]},
    "prompts": {"system": 'Say \u0000 "nothing" \' \\ — 你好 🎺 %s :x'},
    "dependencies": {},
}


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.in_folder(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def server(postgresql: str, tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(postgresql, lock=tmp_path / ".lock")
    yield opened
    opened.close()


def lived_in(catalog: Catalog) -> None:
    """Give a catalog what life gives it: rows in every table that acts of its own fill."""
    with catalog.transaction() as connection:
        _a_row_of_every_table(connection)
    for number in range(3):
        version = catalog.agents.register("bot", digest=f"{number:064x}", label=f"1.{number}", **FACTS)
        catalog.agents.set_alias("bot", "production", version)
    catalog.agents.see("other", None)
    run = catalog.runs.create("nightly", kind="eval", agent_version=version, parameters=FACTS["parameters"])
    unknown = {"value": None, "low": None, "high": None, "n": 0, "method": "none"}
    third = {"value": 1 / 3, "low": float("nan"), "high": 1e300, "n": 3, "method": "t", "more": float("inf")}
    catalog.runs.update(run.id, status="finished", metrics={"cost": unknown, "reward": third})
    catalog.datasets.add("cases", digest="c" * 64, cases=3, splits={"dev": 1})
    catalog.tokens.create("ci", role="evaluator", principal="ana", project="library")
    catalog.tokens.create("old", scopes=["write", "read"])
    catalog.add_requests(
        [f"{number:032x}" for number in range(2_500)], settled_at=datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
    )


def _a_row_of_every_table(connection: Any) -> None:
    """One row in each table, whichever there are, so that a new one is not forgotten."""
    for table in METADATA.sorted_tables:
        if table.name == "audit":  # has a chain, and is filled by what follows
            continue
        row: dict[str, object] = {}
        for column in table.columns:
            if column.foreign_keys:
                (key,) = column.foreign_keys
                row[column.name] = connection.scalar(select(key.column))
            elif isinstance(column.type, JSON):
                row[column.name] = {"a": [1, None]}
            elif isinstance(column.type, DateTime):
                row[column.name] = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901)
            elif isinstance(column.type, Boolean):
                row[column.name] = True
            elif isinstance(column.type, Integer):
                row[column.name] = 41
            elif isinstance(column.type, Float):
                row[column.name] = 0.1 + 0.2
            else:
                row[column.name] = "filler"
        connection.execute(insert(table).values(**row))


def without_audit(catalog: Catalog) -> dict[str, object]:
    """What a catalog holds, but for the acts, of which each move adds one."""
    return {name: found for name, found in digests(catalog).items() if name != "audit"}


class TestRoundTrip:
    def test_there_and_back_is_the_same_in_every_table(self, lite: Catalog, server: Catalog, tmp_path: Path) -> None:
        lived_in(lite)
        before = digests(lite)
        assert all(found.rows > 0 for found in before.values())
        total = count(lite)
        told: list[int] = []
        with transferring(lite, server, done=told.append) as copied:
            assert copied == before
        assert sum(told) == 2 * total
        assert without_audit(server) == {name: found for name, found in before.items() if name != "audit"}
        (tmp_path / "back").mkdir()
        back = Catalog.in_folder(tmp_path / "back")
        with transferring(server, back):
            pass
        assert without_audit(back) == without_audit(server)
        assert [act.act for act in back.audit.list(limit=2)] == ["catalog.migrate"] * 2
        for each in (lite, server, back):
            assert each.audit.verify().fault is None
        assert back.agents.resolve("bot@production") == lite.agents.resolve("bot@production")
        assert back.runs.find("nightly") == server.runs.find("nightly") == lite.runs.find("nightly")
        back.close()

    def test_new_rows_are_numbered_after_those_that_were_copied(self, lite: Catalog, server: Catalog) -> None:
        lived_in(lite)
        with transferring(lite, server):
            pass
        assert server.agents.register("bot", digest="f" * 64, **FACTS).number == 4
        assert server.datasets.add("more", digest="d" * 64, cases=1, splits={}).number == 1
        assert server.audit.verify().fault is None

    def test_an_empty_catalog_moves_and_its_first_numbers_are_one(self, lite: Catalog, server: Catalog) -> None:
        with transferring(lite, server):
            pass
        assert server.agents.register("bot", digest="f" * 64, **FACTS).id == 1


class TestRefused:
    def test_a_catalog_that_was_moved_takes_no_more_writes(
        self, lite: Catalog, server: Catalog, tmp_path: Path
    ) -> None:
        with transferring(lite, server):
            pass
        with pytest.raises(StoreError, match="it moved to postgresql"):
            lite.audit.record("test", "late")
        (tmp_path / "back").mkdir()
        back = Catalog.in_folder(tmp_path / "back")
        with transferring(server, back):
            pass
        back.close()
        with pytest.raises(StoreError, match="it moved to sqlite"):
            server.tokens.create("late")

    def test_a_target_that_holds_something_is_left_unless_told(self, lite: Catalog, server: Catalog) -> None:
        lived_in(lite)
        server.tokens.create("theirs")
        with (
            pytest.raises(UsageError, match=r"holds a catalog already \(1 audit, 1 tokens\); --replace"),
            transferring(lite, server),
        ):
            pass
        assert [token.name for token in server.tokens.list()] == ["theirs"]
        lite.audit.record("test", "goes on")
        with transferring(lite, server, replace=True):
            pass
        assert "theirs" not in [token.name for token in server.tokens.list()]

    @pytest.mark.parametrize(
        ("name", "says"), [("x" * 201, "its name is longer than 200"), ("a\0b", "its name holds a NUL character")]
    )
    def test_a_row_that_postgresql_cannot_take_is_named(
        self, lite: Catalog, server: Catalog, name: str, says: str
    ) -> None:
        with lite.transaction() as connection:
            table = METADATA.tables["agents"]
            connection.execute(insert(table).values(name=name, created_at=datetime.datetime(2026, 1, 1)))
        with pytest.raises(UsageError, match=f"row of agents with id 1: {says}"), transferring(lite, server):
            pass
        assert count(server) == 0
        lite.audit.record("test", "goes on")

    def test_a_row_that_changes_on_its_way_undoes_the_copy(self, lite: Catalog, server: Catalog) -> None:
        """A trigger stands for a database that keeps something else than it was told."""
        lived_in(lite)
        with server.transaction() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER change BEFORE INSERT ON datasets FOR EACH ROW EXECUTE FUNCTION change()"
            )
        with pytest.raises(StoreError, match="does not hold of datasets what was written"), transferring(lite, server):
            pass
        assert count(server) == 0
        lite.audit.record("test", "goes on")


class TestCommand:
    def test_a_store_uses_the_catalog_where_it_was_moved_to(
        self, postgresql: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Store.open("S") as store:
            lived_in(store.catalog)
            before = without_audit(store.catalog)
        assert main(["store", "migrate", "--to", postgresql, "--store", "S"]) == 0
        assert "tables are at postgresql+psycopg://tracekit@/" in capsys.readouterr().out
        with Store.open("S") as store:
            assert store.catalog.url.startswith("postgresql+psycopg://")
            assert without_audit(store.catalog) == before
        assert main(["store", "migrate", "--to", postgresql, "--store", "S"]) == 2
        assert "already" in capsys.readouterr().err
        assert main(["store", "migrate", "--to", "sqlite", "--store", "S"]) == 0
        with Store.open("S") as store:
            assert store.catalog.url == "sqlite:///S/catalog.db"
            assert without_audit(store.catalog) == before
            assert store.catalog.audit.verify().fault is None
        assert not Path("S/catalog.json").exists()

    def test_who_has_set_the_new_place_already_means_the_one_before(
        self, postgresql: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Store.open("S") as store:
            store.catalog.tokens.create("ci")
        monkeypatch.setenv("TRACEKIT_CATALOG", postgresql)
        assert main(["store", "migrate", "--to", postgresql, "--store", "S"]) == 0
        with Store.open("S") as store:
            assert [token.name for token in store.catalog.tokens.list()] == ["ci"]

    def test_a_setting_that_names_another_catalog_is_warned_of(
        self, postgresql: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Store.open("S").close()
        monkeypatch.setenv("TRACEKIT_CATALOG", f"sqlite:///{Path.cwd() / 'elsewhere.db'}")
        assert main(["store", "migrate", "--to", postgresql, "--store", "S"]) == 0
        assert "warning: $TRACEKIT_CATALOG sets another catalog, and wins" in capsys.readouterr().err

    def test_no_password_is_kept(self, tmp_path: Path) -> None:
        location.remember(tmp_path, "postgresql://ana:secret@db/traces?password=secret")
        assert "secret" not in (tmp_path / "catalog.json").read_text()
        assert location.url_of(tmp_path) == "postgresql+psycopg://ana@db/traces"

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"url"'])
    def test_a_file_that_names_no_catalog_is_said(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "catalog.json").write_text(content)
        with pytest.raises(StoreError, match=r"catalog\.json, which names the store's catalog"):
            location.url_of(tmp_path)
