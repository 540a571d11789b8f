"""Twenty processes at one catalog at once, in SQLite and in PostgreSQL."""

from __future__ import annotations

import datetime
import itertools
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from tracekit_collector.catalog import Catalog, database
from tracekit_collector.catalog.tables import ALIAS_MOVES

PROCESSES = 20
Work = Callable[[Catalog, int], None]

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}


def at_once(work: Work, url: str, folder: Path, count: int = PROCESSES) -> None:
    """Run `work(url, folder, part)` in so many processes that begin together; each has to end well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tracekit_collector.catalog", "sqlalchemy.dialects.sqlite", "psycopg"])
    barrier = context.Barrier(count)
    workers = [context.Process(target=_begin, args=(work, barrier, url, folder, part)) for part in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
    assert [worker.exitcode for worker in workers] == [0] * count


def _begin(work: Work, barrier: Barrier, url: str, folder: Path, part: int) -> None:
    catalog = Catalog(url, lock=folder / f"{part}.lock")  # each on a machine of its own, as it were
    barrier.wait(60)
    work(catalog, part)
    catalog.close()


def _register(catalog: Catalog, part: int) -> None:
    """Two versions that all have and two of its own; an alias moved to a shared and to its own, another to its own."""
    for digest in ("shared-0", f"own-{part}-0", "shared-1", f"own-{part}-1"):
        version = catalog.agents.register("bot", digest=digest, **FACTS)
        if digest.endswith("1"):
            catalog.agents.set_alias("bot", "production", version)
    catalog.agents.set_alias("bot", "latest", version, why=f"process {part}")
    catalog.agents.see("bot", "seen by all")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_numbers_are_dense_digests_unique_and_the_history_of_an_alias_is_whole(
    catalog: Catalog, catalog_url: str, tmp_path: Path
) -> None:
    at_once(_register, catalog_url, tmp_path)
    versions = catalog.agents.versions("bot")
    assert [version.number for version in versions] == list(range(1, 2 * PROCESSES + 4))
    assert Counter(version.digest for version in versions) == Counter(
        [*(f"own-{part}-{turn}" for part in range(PROCESSES) for turn in (0, 1)), "shared-0", "shared-1", None]
    )
    with catalog.reading() as connection:
        rows = connection.execute(select(ALIAS_MOVES).order_by(ALIAS_MOVES.c.id)).all()
    moves = [row for row in rows if row.name == "production"]
    digests = {version.id: version.digest for version in versions}
    assert {digests[move.version_id] for move in moves} == {"shared-1", *(f"own-{part}-1" for part in range(PROCESSES))}
    # Every move that changed something is there: no two in a row are to the same version, and the last one holds.
    assert all(one.version_id != two.version_id for one, two in itertools.pairwise(moves))
    assert catalog.agents.aliases("bot")["production"].id == moves[-1].version_id
    latest = catalog.agents.history("bot", "latest")
    assert {move.version.digest: move.why for move in latest} == {
        f"own-{part}-1": f"process {part}" for part in range(PROCESSES)
    }
    assert len(latest) == PROCESSES
    assert catalog.agents.aliases("bot")["latest"] == latest[0].version
    acts = Counter(act.act for act in catalog.audit.list())
    assert acts == {"version.register": 2 * PROCESSES + 2, "version.see": 1, "alias.move": len(rows)}
    assert catalog.audit.verify().fault is None


def _everything(catalog: Catalog, part: int) -> None:
    catalog.datasets.add("cases", digest=f"{part:064x}", cases=part, splits={})
    catalog.tokens.create(f"ci {part}", role="writer", principal=f"service-{part % 3}", kind="service")
    catalog.runs.create("nightly", kind="eval")
    catalog.add_requests([f"{number:032x}" for number in range(50)], settled_at=datetime.datetime(2026, 1, 1))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_datasets_tokens_runs_and_requests_made_at_once_are_all_there(
    catalog: Catalog, catalog_url: str, tmp_path: Path
) -> None:
    at_once(_everything, catalog_url, tmp_path, 4)
    assert [version.number for version in catalog.datasets.versions("cases")] == list(range(1, 5))
    assert len(catalog.tokens.list()) == len(catalog.runs.list()) == 4
    assert [principal.name for principal in catalog.principals.list()] == ["service-0", "service-1", "service-2"]
    assert catalog.count_requests() == 50
    assert catalog.audit.verify().fault is None


@pytest.mark.parametrize("older", [True, False])
def test_those_who_open_a_catalog_at_once_migrate_it_once(catalog_url: str, tmp_path: Path, older: bool) -> None:
    """In PostgreSQL each has a lock file of its own, as on a machine of its own."""
    if older:
        engine = create_engine(catalog_url)
        with engine.begin() as connection:
            database.migrate(connection, "002")
        engine.dispose()
    own = catalog_url.startswith("postgresql")
    faults: list[Exception] = []

    def come(part: int) -> None:
        try:
            Catalog(catalog_url, lock=tmp_path / (f"{part}.lock" if own else "lock")).close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=come, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
