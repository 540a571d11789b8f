"""Where a store's catalog is: in the setting `catalog`, else where it was moved to, else in the store's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tracekit.errors import StoreError
from tracekit.settings import setting

_FILE = "catalog.json"


def own(folder: Path) -> str:
    """The URL of the SQLite catalog in a store's folder."""
    return f"sqlite:///{folder / 'catalog.db'}"


def url_of(folder: Path, *, set_elsewhere: bool = True) -> str:
    """The URL of a store's catalog.

    Args:
        folder: The store's folder.
        set_elsewhere: Whether the setting `catalog` counts.

    Raises:
        StoreError: The file that names the catalog cannot be read.
    """
    told = setting("catalog") if set_elsewhere else None
    return told or _remembered(folder) or own(folder)


def remember(folder: Path, url: str) -> None:
    """Have the store use this catalog from now on; a password is not kept.

    Raises:
        StoreError: The file cannot be written.
    """
    from tracekit_collector.catalog.engine import parsed, shown  # noqa: PLC0415 - heavy, and reading takes none of it

    path = folder / _FILE
    try:
        if url == own(folder):
            path.unlink(missing_ok=True)
            return
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"version": 1, "url": shown(parsed(url))}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _remembered(folder: Path) -> str | None:
    path = folder / _FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["url"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read {path}, which names the store's catalog: {error}") from error
