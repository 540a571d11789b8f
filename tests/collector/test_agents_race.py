"""Many processes at once at the registry of one catalog."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from tracekit_collector.catalog import Catalog

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}


@pytest.mark.slow
def test_twenty_processes_register_and_move_an_alias_at_once(catalog: Catalog, catalog_url: str) -> None:
    """Each registers two versions that all share and two of its own, and puts `latest` on its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tracekit_collector.catalog", "sqlalchemy.dialects.sqlite", "psycopg"])
    barrier = context.Barrier(20)
    workers = [context.Process(target=_race, args=(catalog_url, part, barrier)) for part in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(50)
    assert [worker.exitcode for worker in workers] == [0] * 20
    versions = catalog.agents.versions("bot")
    assert [version.number for version in versions] == list(range(1, 43))
    assert len({version.digest for version in versions}) == 42
    moves = catalog.agents.history("bot", "latest")
    assert Counter(move.version.digest for move in moves) == Counter(f"own-{part}-1" for part in range(20))
    assert {move.why for move in moves} == {f"process {part}" for part in range(20)}
    assert catalog.agents.aliases("bot")["latest"] == moves[0].version
    noted = Counter(act.act for act in catalog.audit.list())
    assert noted == {"version.register": 42, "alias.move": 20}


def _race(url: str, part: int, barrier) -> None:
    catalog = Catalog(url, lock=Path("unused.lock"))
    barrier.wait(40)
    for digest in ("shared-0", f"own-{part}-0", "shared-1", f"own-{part}-1"):
        version = catalog.agents.register("bot", digest=digest, **FACTS)
    catalog.agents.set_alias("bot", "latest", version, why=f"process {part}")
    catalog.close()
