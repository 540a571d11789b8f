"""A command that shows traces loads only what that takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tracekit_collector.catalog.revision import is_current
from tracekit_collector.store import Store

_RUN = """
import sys
from tracekit.cli import main
code = main(sys.argv[1:])
print(sorted({'sqlalchemy', 'alembic', 'pandas', 'rich', 'tracekit_collector.settle'} & set(sys.modules)))
raise SystemExit(code)
"""


@pytest.mark.parametrize("words", [["sql", "select 1 AS one"], ["traces"], ["trace", "0" * 31 + "1"]])
def test_no_database_library_is_loaded_to_show_traces(tmp_path: Path, words: list[str]) -> None:
    with Store.open(tmp_path / "S") as store:
        store.append("spans", [{"trace_id": "0" * 31 + "1", "span_id": "1" * 16, "name": "a", "start_ns": 1}])
    told = subprocess.run(
        [sys.executable, "-c", _RUN, *words, "--store", str(tmp_path / "S"), "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.splitlines()[-1] == "[]"


def test_a_catalog_of_another_revision_is_looked_at_when_the_store_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "S" / "catalog.db"
    assert not is_current(path)
    Store.open(tmp_path / "S").close()
    assert is_current(path)
    path.write_bytes(b"no database at all, but some text that stands in its place")
    assert not is_current(path)
