"""`tracekit agents list` and `show`: versions as people read them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracekit.command import add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_COLUMNS = ["agent", "number", "label", "digest", "source", "aliases", "traces", "created_at"]


def configure(actions: Any) -> None:
    """Add the actions to `tracekit agents`."""
    listed = actions.add_parser("list", help="every version of every agent")
    listed.add_argument("--deleted", action="store_true", help="those that were deleted, and only those")
    listed.set_defaults(action=_list)
    add_format_option(listed)
    shown = actions.add_parser("show", help="one version, whole")
    shown.add_argument("ref", metavar="REF", help="name, name@number, name@alias or name@label")
    shown.add_argument("--deleted", action="store_true", help="also where it was deleted")
    shown.set_defaults(action=_show)
    add_format_option(shown, formats=("table", "json"))
    for each in (listed, shown):
        add_store_option(each)


def print_version(store: Store, version: AgentVersion, format_: str) -> int:
    """Print one version, whole; the exit code."""
    from tracekit_collector.catalog.versions import tool_name
    from tracekit_collector.terminal import print_json, visible

    row = _rows(store, [version])[0]
    description, tags = store.catalog.agents.description(version.agent)
    more = {"package": version.package, "description": version.description, "tags": version.tags}
    facts: dict[str, Any] = {"ref": version.ref, **row, **version.facts(), **more, "deleted_at": version.deleted_at}
    if format_ == "json":
        print_json({**facts, "about_agent": {"description": description, "tags": tags}})
        return 0
    for name in ("ref", *_COLUMNS[2:]):
        print(f"{name:12} {visible(_shown(facts[name]))}")
    for name in ("entry_point", "python", "models", "package", "deleted_at"):
        if facts.get(name):
            print(f"{name:12} {visible(_shown(facts[name]))}")
    for name in ("code", "parameters", "prompts", "tags", "signature"):
        if name in facts and (facts[name] or name not in more):
            print(f"{name:12} {visible(json.dumps(facts[name], ensure_ascii=False))}")
    if version.tools is not None:
        print(f"{'tools':12} {visible(', '.join(tool_name(each) for each in version.tools) or '-')}")
    print(f"{'dependencies':12} {len(version.dependencies)} distributions (--format json lists them)")
    for text in (description, version.description):
        if text:
            print("\n" + "\n".join(visible(line) for line in text.splitlines()))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        versions = store.catalog.agents.list(deleted=arguments.deleted)
        if arguments.deleted:
            versions = [each for each in versions if each.deleted_at is not None]
        columns = [*_COLUMNS, "deleted_at"] if arguments.deleted else _COLUMNS
        print_rows(_rows(store, versions), columns, format=arguments.format)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(arguments.ref, deleted=arguments.deleted)
        return print_version(store, version, arguments.format)


def _rows(store: Store, versions: Sequence[AgentVersion]) -> list[dict[str, object]]:
    counts = {
        (row["agent_name"], row["agent_version"]): row["traces"]
        for row in store.sql(
            "SELECT agent_name, agent_version, count(DISTINCT trace_id) AS traces FROM spans "
            "WHERE agent_name IS NOT NULL GROUP BY ALL",
            settle=False,
        )
    }
    aliases: dict[int, list[str]] = {}
    for agent in {version.agent for version in versions}:
        for alias, version in store.catalog.agents.aliases(agent).items():
            aliases.setdefault(version.id, []).append(alias)
    return [
        {
            "agent": version.agent,
            "number": version.number,
            "label": version.label,
            "digest": version.digest,
            "source": version.source,
            "aliases": aliases.get(version.id, []),
            "traces": counts.get((version.agent, version.label), 0),
            "created_at": version.created_at,
            "deleted_at": version.deleted_at,
        }
        for version in versions
    ]


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
