"""The lake and the SQL over it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.errors import StoreError, UsageError
from tracekit_collector.compaction import compact
from tracekit_collector.lake import Batch, Lake, to_arrow
from tracekit_collector.query import Engine

DAY = datetime.date(2026, 11, 23)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "100 % lake")


@pytest.fixture
def engine(lake: Lake) -> Iterator[Engine]:
    lake.folder.mkdir()
    opened = Engine(lake.folder)
    yield opened
    opened.close()


def span(number: int, **more: object) -> dict[str, object]:
    return {"date": DAY, "trace_id": f"{number:032x}", "span_id": f"{number:016x}", "start_ns": number, **more}


def names(lake: Lake, engine: Engine) -> list[tuple[object, ...]]:
    engine.show_files("spans", "spans", lake.files("spans"))
    return engine.run("SELECT right(span_id, 1), name FROM spans ORDER BY span_id").fetchall()


def test_a_table_that_was_never_written_is_empty_and_has_no_version(lake: Lake, engine: Engine) -> None:
    assert lake.version("spans") is None
    assert names(lake, engine) == []


def test_rows_are_read_back(lake: Lake, engine: Engine) -> None:
    lake.append("spans", to_arrow("spans", [span(1, name="a"), span(2, name="b")]))
    assert names(lake, engine) == [("1", "a"), ("2", "b")]


def test_a_batch_is_known_again_and_an_earlier_one_too(lake: Lake) -> None:
    lake.append("spans", to_arrow("spans", [span(1)]), batch=Batch("box", 7))
    assert [lake.holds("spans", Batch("box", number)) for number in (6, 7, 8)] == [True, True, False]
    assert not lake.holds("spans", Batch("other", 1))


def test_replacing_keeps_one_row_a_key_and_names_the_batch(lake: Lake, engine: Engine) -> None:
    lake.append("spans", to_arrow("spans", [span(1, name="old"), span(2, name="kept")]), batch=Batch("box", 1))
    rows = to_arrow("spans", [span(1, name="new"), span(3, name="added")])
    lake.replace("spans", rows, dates={DAY}, batch=Batch("box", 2))
    assert names(lake, engine) == [("1", "new"), ("2", "kept"), ("3", "added")]
    assert lake.holds("spans", Batch("box", 2))


def test_compacting_joins_files_and_changes_no_row(lake: Lake, engine: Engine) -> None:
    for number in range(5):
        lake.append("spans", to_arrow("spans", [span(number, name="x")]))
    before = names(lake, engine)
    assert compact(lake, "spans", every=True) == 5
    assert (len(lake.files("spans")), names(lake, engine)) == (1, before)
    assert lake.vacuum("spans", hours=0) == 5


def test_every_row_carries_the_schema_version(lake: Lake, engine: Engine) -> None:
    lake.append("spans", to_arrow("spans", [span(1)]))
    engine.show_files("spans", "spans", lake.files("spans"))
    assert engine.run("SELECT DISTINCT schema_version FROM spans").fetchall() == [(2,)]


def test_two_writers_at_once_both_succeed(tmp_path: Path, engine: Engine) -> None:
    first, second = Lake(tmp_path / "100 % lake"), Lake(tmp_path / "100 % lake")
    first.append("spans", to_arrow("spans", [span(0)]))
    second.version("spans")
    first.append("spans", to_arrow("spans", [span(1)]))
    second.append("spans", to_arrow("spans", [span(2)]))
    assert len(names(first, engine)) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [({"colour": "red"}, "colour"), ({"start_ns": "soon"}, "spans.start_ns"), ({"name": 3}, "spans.name")],
)
def test_a_row_that_does_not_fit_is_named(row: dict[str, object], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        to_arrow("spans", [row])


def test_a_table_whose_log_is_broken_is_named(lake: Lake) -> None:
    lake.append("spans", to_arrow("spans", [span(1)]))
    (lake.folder / "spans" / "_delta_log" / "00000000000000000000.json").write_text("{broken")
    with pytest.raises(StoreError, match="spans"):
        Lake(lake.folder).version("spans")


class TestSql:
    def test_a_wrong_query_is_a_usage_error(self, engine: Engine) -> None:
        with pytest.raises(UsageError, match="nonsense"):
            engine.run("SELECT * FROM nonsense")

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT * FROM read_text('/etc/hostname')",
            "COPY (SELECT 1) TO '/tmp/tracekit-must-not-appear'",
            "ATTACH '/tmp/tracekit-must-not-appear.db' AS other",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ],
    )
    def test_a_query_reaches_nothing_but_the_lake(self, engine: Engine, query: str) -> None:
        with pytest.raises((UsageError, StoreError)):
            engine.run(query)

    def test_a_zoned_time_comes_back_as_utc_without_a_zone(self, engine: Engine) -> None:
        found = engine.run("SELECT TIMESTAMPTZ '2026-11-23 10:00:00+02' AS moment").fetchone()
        assert found == (datetime.datetime(2026, 11, 23, 8),)

    def test_parameters_take_their_places(self, engine: Engine) -> None:
        result = engine.run("SELECT ? AS a, ? AS b", [1, "'; DROP TABLE x; --"])
        assert (result.dicts(), result.columns, len(result)) == ([{"a": 1, "b": "'; DROP TABLE x; --"}], ["a", "b"], 1)
