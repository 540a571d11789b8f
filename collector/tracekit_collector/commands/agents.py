"""`tracekit agents`: registering, listing and naming the versions of agents."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_COLUMNS = ["agent", "number", "label", "digest", "source", "aliases", "traces", "created_at"]


def command() -> Command:
    """The command `agents`."""
    return Command(
        help="register, list and name versions of agents",
        run=lambda arguments: int(arguments.action(arguments)),
        configure=_configure,
        examples=(
            "tracekit agents register bot --version 2.1 --param temperature=0.2 --prompt system=prompts/system.txt",
            "tracekit agents list",
            "tracekit agents show bot@production",
            "tracekit agents alias bot production 4",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    register = actions.add_parser("register", help="register the agent whose code is in this folder")
    register.add_argument("name", metavar="NAME", help="the agent's name")
    register.add_argument("--version", metavar="LABEL", help="what spans call this version (default: from the digest)")
    register.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter; JSON or text")
    register.add_argument(
        "--prompt", action="append", default=[], metavar="NAME=FILE", help="a prompt's text, from a file"
    )
    register.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder of its source (default: this folder's git commit and what differs from it)",
    )
    register.add_argument("--alias", metavar="ALIAS", help="let this alias stand for it from now on")
    register.set_defaults(action=_register)
    listed = actions.add_parser("list", help="every version of every agent")
    listed.set_defaults(action=_list)
    shown = actions.add_parser("show", help="one version, whole")
    shown.add_argument("ref", metavar="REF", help="name, name@number, name@alias or name@label")
    shown.set_defaults(action=_show)
    alias = actions.add_parser("alias", help="let an alias stand for a version from now on")
    alias.add_argument("name", metavar="NAME", help="the agent's name")
    alias.add_argument("alias", metavar="ALIAS", help="such as production")
    alias.add_argument("version", metavar="VERSION", help="a number, label or other alias")
    alias.set_defaults(action=_alias)
    for each in (register, listed, shown, alias):
        add_store_option(each)
        add_format_option(
            each, formats=("table", "json") if each is not listed else ("table", "json", "csv", "markdown")
        )


def _register(arguments: argparse.Namespace) -> int:
    from tracekit.agent_version import describe
    from tracekit_collector.store import Store

    found = describe(
        arguments.name,
        version=arguments.version,
        parameters=_parameters(arguments.param),
        prompts=_prompts(arguments.prompt),
        code=_code(arguments.code),
    )
    with Store.open(arguments.store) as store:
        store.settle()
        version = store.catalog.agents.register(
            found.name,
            label=found.label,
            digest=found.digest,
            code=found.code,
            parameters=found.parameters,
            prompts=found.prompts,
            dependencies=found.dependencies,
        )
        if arguments.alias:
            store.catalog.agents.set_alias(version.agent, arguments.alias, version)
        return _print_one(store, version, arguments.format)


def _code(given: Sequence[str]) -> dict[str, object]:
    """Where the agent's source stands: the files given, else git's word on this folder, else the folder's sources."""
    from tracekit.agent_version import code_state

    if given:
        return code_state([Path(each) for each in given])
    state = code_state()
    return state if "commit" in state else code_state(Path.cwd())


def _list(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        print_rows(_rows(store, store.catalog.agents.list()), _COLUMNS, format=arguments.format)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        return _print_one(store, store.catalog.agents.resolve(arguments.ref), arguments.format)


def _alias(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(f"{arguments.name}@{arguments.version}")
        store.catalog.agents.set_alias(arguments.name, arguments.alias, version)
        return _print_one(store, version, arguments.format)


def _print_one(store: Store, version: AgentVersion, format_: str) -> int:
    from tracekit_collector.terminal import print_json, visible

    row = _rows(store, [version])[0]
    facts = {
        "ref": version.ref,
        **row,
        "code": version.code,
        "parameters": version.parameters,
        "prompts": version.prompts,
        "dependencies": version.dependencies,
    }
    if format_ == "json":
        print_json(facts)
        return 0
    for name in ("ref", *_COLUMNS[2:]):
        print(f"{name:12} {visible(_shown(facts[name]))}")
    for name in ("code", "parameters", "prompts"):
        print(f"{name:12} {visible(json.dumps(facts[name], ensure_ascii=False))}")
    print(f"{'dependencies':12} {len(version.dependencies)} distributions (--format json lists them)")
    return 0


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
        }
        for version in versions
    ]


def _parameters(given: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise UsageError(f"--param {each!r} is not KEY=VALUE")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _prompts(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, file = each.partition("=")
        if not equals or not name:
            raise UsageError(f"--prompt {each!r} is not NAME=FILE")
        try:
            found[name] = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the prompt {file}: {error}") from error
    return found


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    return ", ".join(value) if isinstance(value, list) else str(value)
