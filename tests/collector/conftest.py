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
