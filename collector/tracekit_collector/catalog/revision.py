"""Which revision of its tables a catalog must be of, and a look at a file for it that loads no database library."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

REVISION = "004"


def is_current(path: Path) -> bool:
    """Whether an SQLite catalog is there, can be read and is of our revision; such a one can be opened later.

    Args:
        path: The file.

    Example:
        >>> is_current(Path("no/such/file"))
        False
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError):  # whoever opens it says what is wrong
        return False
    return found == [(REVISION,)]
