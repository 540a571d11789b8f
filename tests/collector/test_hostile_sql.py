"""SQL of readers only reads: no file, no network, no settings, no second statement, no endless query, no memory hog."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import SettingError, StoreError, UsageError
from tracekit_collector.query import Engine
from tracekit_collector.store import Store

FILES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_blob('{store}/catalog.db')",
    "SELECT * FROM read_text('{store}/lake/../catalog.db')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{store}/out''')",
    "SELECT * FROM query_table('/etc/passwd')",
    "DESCRIBE SELECT * FROM read_text('/etc/hostname')",
    "SUMMARIZE '/etc/passwd'",
    "COPY (SELECT 1) TO '{store}/out'",
    "EXPORT DATABASE '{store}/out'",
    "IMPORT DATABASE '{store}/out'",
    "ATTACH '{store}/out' AS other",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/out'",
]
NETWORK = [
    "SELECT * FROM read_parquet('https://example.com/a.parquet')",
    "SELECT * FROM read_csv('s3://bucket/a.csv')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "ATTACH 'postgres:dbname=x' AS other (TYPE postgres)",
    "SELECT * FROM postgres_query('x', 'SELECT 1')",
    "SELECT * FROM sqlite_scan('{store}/catalog.db', 'tokens')",
    "CREATE SECRET (TYPE s3)",
]
SYSTEM = [
    "SET enable_external_access = true",
    "SET memory_limit = '100GB'",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "SELECT getenv('HOME')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT set_config('a', 'b', false)",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM enable_logging()",
    "USE memory",
    "CHECKPOINT",
    "VACUUM",
]
WRITES = [
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW spans AS SELECT 1",
    "CREATE MACRO f(a) AS a",
    "DROP VIEW spans",
    "INSERT INTO runs SELECT * FROM runs",
    "DELETE FROM runs",
    "UPDATE agents SET agent_name = 'x'",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW spans",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM runs",
]
ENDLESS = [
    "SELECT count(*) FROM range(1000000) a, range(1000000) b",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    "SELECT pg_sleep(60)",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("hostile") / "S") as opened:
        opened.append("spans", [{"trace_id": "a" * 32, "span_id": "b" * 16, "name": "here"}])
        yield opened


@pytest.mark.parametrize("query", [*FILES, *NETWORK, *SYSTEM, *WRITES])
def test_it_is_refused_and_leaves_everything_as_it_was(store: Store, query: str) -> None:
    with pytest.raises((UsageError, StoreError)):
        store.sql(query.format(store=store.location), settle=False)
    assert not (store.location / "out").exists()
    assert store.sql("SELECT name FROM spans", settle=False).fetchall() == [("here",)]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("WITH a AS (SELECT 1 AS n) SELECT n FROM a", [(1,)]),
        ("FROM spans SELECT name", [("here",)]),
        ("VALUES (1)", [(1,)]),
        ("SELECT name FROM spans; ", [("here",)]),
        ("SELECT count(*) FROM (DESCRIBE spans) WHERE column_name = 'trace_id'", [(1,)]),
        ("PIVOT (SELECT 'x' AS k, 2 AS v) ON k USING sum(v)", [(2,)]),
    ],
)
def test_what_reads_is_answered(store: Store, query: str, rows: list[tuple[object, ...]]) -> None:
    assert store.sql(query, settle=False).fetchall() == rows


@pytest.mark.parametrize("query", ENDLESS)
def test_a_query_without_an_end_is_ended(store: Store, query: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"took longer than 0\.3 s"):
        store.sql(query, settle=False, seconds=0.3)
    assert time.monotonic() - begun < 10


def test_the_command_takes_a_time_limit(store: Store, capsys) -> None:
    assert main(["sql", ENDLESS[0], "--timeout", "0.3", "--store", str(store.location)]) == 2
    assert "took longer than 0.3 s; narrow it, or ask for less" in capsys.readouterr().err
    assert main(["sql", "SELECT 1", "--timeout", "0", "--store", str(store.location)]) == 2


HOG = """
import resource, sys
from pathlib import Path
from tracekit.errors import StoreError
from tracekit_collector.query import Engine
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hogs = ("SELECT len(list(range)) FROM range(40000000)", "SELECT count(DISTINCT hash(range)) FROM range(5000000)")
for query in hogs:
    try:
        print(Engine(Path(sys.argv[1]), memory_mb=128).run(query).fetchall())
    except StoreError as error:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HOG, str(tmp_path)], capture_output=True, text=True, check=True)
    first, second, grown = done.stdout.split("\n")[:3]
    assert first == "refused"
    assert second in ("refused", "[(5000000,)]")  # spilled to the disk, or given up
    assert int(grown) < 400 * 1024, "KiB, of which 128 MiB are DuckDB's own"


def test_a_memory_limit_that_is_no_number_is_a_wrong_setting(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRACEKIT_QUERY_MEMORY_MB", "lots")
    with pytest.raises(SettingError, match="query_memory_mb must be a number of MiB, 64 or more, not 'lots'"):
        Engine(tmp_path)
