"""What the collector's tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit_collector.catalog import Catalog

_NOBODY = 65534


def _server_programs() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl (Debian: postgresql)")
    return places[-1]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A real PostgreSQL of this test session's own, on a socket in a folder of its own."""
    programs = _server_programs()
    # The server refuses to run as root, and a socket's path must be short.
    user = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if user:
        os.chown(folder, _NOBODY, _NOBODY)
    control = [str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    options = f"-k {folder} -c listen_addresses= -c fsync=off"

    def run(*words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user)

    run(str(programs / "initdb"), "-D", str(folder / "data"), "-U", "tracekit", "--auth", "trust")
    access = folder / "data" / "pg_hba.conf"
    access.write_text("local all locked scram-sha-256\n" + access.read_text())  # one user that needs a password
    run(*control, "-l", str(folder / "log"), "-o", options, "start")
    yield str(folder)
    run(*control, "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql(postgresql_server: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database."""
    import psycopg

    name = f"t{abs(hash(request.node.nodeid))}"
    with psycopg.connect(f"host={postgresql_server} user=tracekit dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql+psycopg://tracekit@/{name}?host={postgresql_server}"


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog that is still to be made, in each of the databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def catalog(catalog_url: str, tmp_path: Path) -> Iterator[Catalog]:
    """A new catalog, in each of the databases."""
    opened = Catalog(catalog_url, lock=tmp_path / ".lock")
    yield opened
    opened.close()


class Three:
    """Three collectors, each with a store of its own, for the same spans by three ways."""

    def __init__(self, folder: Path) -> None:
        from tracekit_collector.service import Collector
        from tracekit_collector.store import Store

        self.stores = [Store.open(folder / name) for name in ("first", "second", "third")]
        self.collectors = [Collector(store, port=0, grpc_port=0) for store in self.stores]
        for collector in self.collectors:
            collector.start()

    def rows(self) -> list[list[dict]]:
        """The rows of each store, whole but for the time when they arrived."""
        for collector in self.collectors:
            collector.stop()
        found = []
        for store in self.stores:
            rows = store.sql("SELECT * EXCLUDE (received_at) FROM spans ORDER BY span_id").dicts()
            found.append([dict(row) for row in rows])
        return found

    def close(self) -> None:
        for collector, store in zip(self.collectors, self.stores, strict=True):
            collector.stop()
            store.close()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    made = Three(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "cert.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*made, *names, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key
