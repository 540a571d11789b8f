"""A catalog in PostgreSQL: what can go wrong with a server, in words, and two collectors that share one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import Connection, text

from tracekit.errors import MissingExtraError, SettingError, StoreBusyError, StoreError, StoreVersionError, UsageError
from tracekit_collector.catalog import Catalog
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.engine import parsed, shown
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
SECRET = "s3cr3t"


def opened(url: str, tmp_path: Path) -> Catalog:
    return Catalog(url, lock=tmp_path / ".lock")


def says(url: str, tmp_path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        opened(url, tmp_path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


class TestOpening:
    def test_a_server_that_is_down(self, tmp_path: Path) -> None:
        said = says(f"postgresql+psycopg://ana:{SECRET}@/traces?host={tmp_path}", tmp_path)
        assert said.startswith(f"the catalog postgresql+psycopg://ana@/traces?host={tmp_path} cannot be opened: ")
        assert said.endswith("; is the server running, and is it there?")
        assert "is the server running" in says(f"postgresql://ana:{SECRET}@127.0.0.1:1/traces", tmp_path)

    def test_a_wrong_password_is_never_shown(self, postgresql: str, tmp_path: Path) -> None:
        admin = opened(postgresql, tmp_path)
        with admin.transaction() as connection:
            connection.execute(text("DROP ROLE IF EXISTS locked"))
            connection.execute(text("CREATE ROLE locked LOGIN PASSWORD 'right'"))
        admin.close()
        wrong = postgresql.replace("tracekit@", f"locked:{SECRET}@")
        assert "check user and password, which PGPASSWORD or ~/.pgpass may hold" in says(wrong, tmp_path)
        assert "give a password" in says(postgresql.replace("tracekit@", "locked@"), tmp_path)
        # The right one gets in, and is told that it may not make tables of its own.
        assert opened_says(postgresql.replace("tracekit@", "locked:right@"), tmp_path).startswith("the catalog")

    def test_a_database_that_is_not_there(self, postgresql: str, tmp_path: Path) -> None:
        assert "does not exist" in says(postgresql.replace("tracekit@/", f"tracekit:{SECRET}@/not"), tmp_path)

    def test_a_newer_revision(self, postgresql: str, tmp_path: Path) -> None:
        catalog = opened(postgresql, tmp_path)
        with catalog.transaction() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '999'"))
        catalog.close()
        with pytest.raises(StoreVersionError, match="upgrade tracekit"):
            opened(postgresql, tmp_path)

    @pytest.mark.parametrize(
        "url", [f"nonsense {SECRET}", f"mysql://ana:{SECRET}@db/x", "", "postgresql://ana@db:port/x"]
    )
    def test_a_url_that_is_none(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match=r"write postgresql\+psycopg://") as caught:
            opened(url, tmp_path)
        assert SECRET not in str(caught.value)

    def test_without_the_driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'tracekit\[postgres\]'"):
            opened("postgresql://ana@db/x", tmp_path)

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            (f"postgres://ana:{SECRET}@db:5433/x", "postgresql+psycopg://ana@db:5433/x"),
            (
                f"postgresql+psycopg2://ana@db/x?password={SECRET}&sslmode=require",
                "postgresql+psycopg://ana@db/x?sslmode=require",
            ),
            ("sqlite:///S/catalog.db", "sqlite:///S/catalog.db"),
        ],
    )
    def test_what_is_shown_of_a_url(self, url: str, told: str) -> None:
        assert shown(parsed(url)) == told


def opened_says(url: str, tmp_path: Path) -> str:
    try:
        opened(url, tmp_path).close()
    except StoreError as error:
        return str(error)
    return "the catalog opens"


class TestLost:
    def kill(self, catalog: Catalog, pid: int) -> None:
        with catalog.reading() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    def pid(self, connection: Connection) -> int:
        return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    def test_a_connection_that_was_lost_between_is_made_again(self, postgresql: str, tmp_path: Path) -> None:
        catalog, other = opened(postgresql, tmp_path), opened(postgresql, tmp_path)
        with catalog.reading() as connection:
            pid = self.pid(connection)
        self.kill(other, pid)
        assert catalog.tokens.list() == []
        catalog.close()
        other.close()

    def test_what_was_under_way_is_undone_and_said(self, postgresql: str, tmp_path: Path) -> None:
        catalog, other = opened(postgresql, tmp_path), opened(postgresql, tmp_path)

        def half() -> None:
            with catalog.transaction() as connection:
                connection.execute(text("INSERT INTO datasets (name, created_at) VALUES ('half', now())"))
                self.kill(other, self.pid(connection))
                connection.execute(text("SELECT 1"))

        with pytest.raises(StoreError, match="the connection was lost, and what was under way was undone"):
            half()
        assert catalog.datasets.list() == []
        catalog.close()
        other.close()

    def test_work_that_comes_to_the_same_is_done_again(self, postgresql: str, tmp_path: Path) -> None:
        catalog, other = opened(postgresql, tmp_path), opened(postgresql, tmp_path)
        lost: list[int] = []

        def work(connection: Connection) -> str:
            if not lost:
                lost.append(self.pid(connection))
                self.kill(other, lost[0])
            return str(connection.scalar(text("SELECT 'done'")))

        assert attempted(catalog.transaction, work) == "done"
        assert len(lost) == 1
        catalog.close()
        other.close()

    def test_a_lock_that_another_holds_for_too_long(self, postgresql: str, tmp_path: Path) -> None:
        catalog = opened(f"{postgresql}&options=-c%20lock_timeout%3D100ms", tmp_path)
        version = catalog.agents.register("bot", digest="a" * 64, **FACTS)
        with catalog.transaction() as holder:
            holder.execute(text("SELECT * FROM agents FOR UPDATE"))
            with pytest.raises(StoreBusyError, match="another process holds a lock"):
                catalog.agents.set_alias("bot", "production", version)
        catalog.close()

    def test_what_the_database_cannot_keep_is_the_users_to_mend(self, postgresql: str, tmp_path: Path) -> None:
        catalog = opened(postgresql, tmp_path)
        with pytest.raises(UsageError, match="value too long"):
            catalog.runs.create("x" * 201, kind="eval")
        with pytest.raises(UsageError, match="NUL"):
            catalog.agents.see("bot", "a\0b")
        assert catalog.audit.list() == []
        catalog.close()


def test_two_collectors_share_a_lake_and_a_catalog(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has an inbox of its own; what both get is there once, and what one registers the other knows."""
    monkeypatch.setenv("TRACEKIT_CATALOG", postgresql)
    Store.open("one").close()
    Path("two").mkdir()
    for shared in ("lake", "artifacts"):
        (Path("two") / shared).symlink_to((Path("one") / shared).resolve())

    def body(number: int) -> bytes:
        span = {"name": f"span {number}", "trace_id": number.to_bytes(16, "big"), "span_id": number.to_bytes(8, "big")}
        span |= {"start_time_unix_nano": 10**18, "end_time_unix_nano": 10**18 + 5}
        return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}]).SerializeToString()

    def send(url: str, numbers: range) -> None:
        for number in numbers:
            headers = {"content-type": "application/x-protobuf"}
            assert httpx.post(f"{url}/v1/traces", content=body(number), headers=headers, timeout=20).status_code == 200

    with Store.open("one") as one, Store.open("two") as two:
        assert one.catalog.url == two.catalog.url
        with Collector(one, port=0) as first, Collector(two, port=0) as second:
            senders = [
                threading.Thread(target=send, args=(first.url, range(1, 31))),
                threading.Thread(target=send, args=(second.url, range(21, 51))),
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            version = one.catalog.agents.register("bot", digest="a" * 64, **FACTS)
            assert two.catalog.agents.resolve("bot") == version
        for store in (one, two):
            store.settle()
            assert store.sql("SELECT count(*), count(DISTINCT span_id) FROM spans").fetchone() == (50, 50)
        assert one.catalog.count_requests() == 50
