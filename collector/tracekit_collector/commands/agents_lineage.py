"""`tracekit agents lineage`: what a version was made of, and what was done with it."""

from __future__ import annotations

import argparse
from typing import Any

from tracekit.command import add_format_option, add_store_option


def configure(actions: Any) -> None:
    """Add the action to `tracekit agents`."""
    lineage = actions.add_parser("lineage", help="what a version was made of, and what was done with it")
    lineage.add_argument("ref", metavar="REF", help="name, name@number, name@alias or name@label; deleted ones too")
    lineage.add_argument("--openlineage", action="store_true", help="as OpenLineage's run events, a line of JSON each")
    lineage.add_argument("--to", metavar="URL", help="post these events to an OpenLineage endpoint")
    lineage.set_defaults(action=_lineage)
    add_store_option(lineage)
    add_format_option(lineage, formats=("table", "json"))


def _lineage(arguments: argparse.Namespace) -> int:
    from tracekit_collector.lineage import version_lineage
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(arguments.ref, deleted=True)
        found = version_lineage(store, version)
    if arguments.openlineage or arguments.to:
        return _events(found, arguments.to)
    from tracekit_collector.lineage_tree import print_lineage

    print_lineage(found, arguments.format)
    return 0


def _events(found: dict[str, Any], url: str | None) -> int:
    from tracekit_collector.openlineage import events, post
    from tracekit_collector.terminal import json_text

    made = events(found)
    if url is None:
        for each in made:
            print(json_text(each))
    else:
        print(f"{post(made, url)} events were taken")
    return 0
