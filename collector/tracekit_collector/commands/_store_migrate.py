"""`tracekit store migrate`: moving a store's catalog to another database."""

from __future__ import annotations

import argparse
import sys

from tracekit.command import add_store_option
from tracekit.errors import NotFoundError, UsageError


def add_migrate(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action to those of `tracekit store`."""
    migrate = actions.add_parser("migrate", help="move the catalog to PostgreSQL, or back into the store's folder")
    migrate.add_argument(
        "--to",
        required=True,
        metavar="URL",
        help="postgresql+psycopg://USER@HOST/DATABASE, whose password PGPASSWORD or ~/.pgpass may hold; or sqlite",
    )
    migrate.add_argument("--replace", action="store_true", help="put it in the place of a catalog that is there")
    add_store_option(migrate)


def run(arguments: argparse.Namespace) -> int:
    """Move the catalog; the store uses it where it is then."""
    from tracekit.settings import origin, setting, store_path
    from tracekit_collector.catalog import Catalog, location
    from tracekit_collector.catalog.engine import parsed, shown
    from tracekit_collector.catalog.transfer import count, transferring
    from tracekit_collector.terminal import progress

    folder = store_path(arguments.store)
    if not folder.is_dir():
        raise NotFoundError(f"there is no store at {folder}; name one with --store")
    to = location.own(folder) if arguments.to == "sqlite" else arguments.to
    there = shown(parsed(to))
    places = [location.url_of(folder), location.url_of(folder, set_elsewhere=False)]
    # Who has set the new place already means the catalog that the store had before.
    source = next((url for url in places if shown(parsed(url)) != there), None)
    if source is None:
        raise UsageError(f"the catalog of {folder} is at {there} already")
    lock = folder / ".catalog.lock"
    old, new = Catalog(source, lock=lock), None
    try:
        new = Catalog(to, lock=lock)
        with (
            progress("moving rows", 2 * count(old)) as advance,
            transferring(old, new, replace=arguments.replace, done=advance) as copied,
        ):
            location.remember(folder, to)
    finally:
        for each in (old, new):
            if each is not None:
                each.close()
    rows = sum(table.rows for table in copied.values())
    print(f"{rows} rows of {len(copied)} tables are at {there} now, each as it was")
    print(f"{shown(parsed(source))} takes no more writes; start collectors again", file=sys.stderr)
    told = setting("catalog")
    if told is not None and shown(parsed(told)) != there:
        print(f"warning: {origin('catalog')} sets another catalog, and wins: change it or unset it", file=sys.stderr)
    elif told is None and parsed(to).password is not None:
        print("the password is not kept: set PGPASSWORD, ~/.pgpass or TRACEKIT_CATALOG", file=sys.stderr)
    return 0
