"""`tracekit agents describe`, `tag`, `delete` and `restore`: what may change about a version."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tracekit.command import add_store_option
from tracekit.errors import UsageError


def configure(actions: Any) -> None:
    """Add the actions to `tracekit agents`."""
    describe = actions.add_parser("describe", help="say in Markdown what an agent or a version is")
    describe.add_argument("ref", metavar="REF", help="an agent (bot) or a version (bot@3)")
    describe.add_argument("text", metavar="TEXT", nargs="?", help="the description")
    describe.add_argument("--file", metavar="FILE", help="read it from a file; - is the standard input")
    describe.set_defaults(action=_describe)
    tag = actions.add_parser("tag", help="change the tags of an agent or a version")
    tag.add_argument("ref", metavar="REF", help="an agent (bot) or a version (bot@3)")
    tag.add_argument("tags", metavar="KEY=VALUE", nargs="*", help="a tag to set")
    tag.add_argument("--remove", action="append", default=[], metavar="KEY", help="a tag to take off")
    tag.set_defaults(action=_tag)
    delete = actions.add_parser("delete", help="mark a version as deleted; what came from it still names it")
    delete.set_defaults(action=_delete)
    restore = actions.add_parser("restore", help="take back that a version was deleted")
    restore.set_defaults(action=_restore)
    for each in (delete, restore):
        each.add_argument("ref", metavar="REF", help="a version, such as bot@3")
        each.add_argument("--why", metavar="TEXT", help="the reason, kept in the audit log")
    for each in (describe, tag, delete, restore):
        add_store_option(each)


def _describe(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    if (arguments.text is None) == (arguments.file is None):
        raise UsageError("give the description as TEXT or with --file")
    text = arguments.text if arguments.file is None else _read(arguments.file)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        store.catalog.agents.describe(arguments.ref, text)
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import visible

    added: dict[str, str] = {}
    for each in arguments.tags:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise UsageError(f"the tag {each!r} is not KEY=VALUE")
        added[key] = value
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        tags = store.catalog.agents.tag(arguments.ref, add=added, remove=arguments.remove)
    for key, value in sorted(tags.items()):
        print(visible(f"{key}={value}"))
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(_one(arguments.ref))
        store.catalog.agents.delete(version, why=arguments.why)
        tell(store)
    print(f"{version.ref} is deleted; `tracekit agents restore {version.ref}` takes that back")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(_one(arguments.ref), deleted=True)
        store.catalog.agents.restore(version, why=arguments.why)
        tell(store)
    print(f"{version.ref} is there again")
    return 0


def _one(ref: str) -> str:
    if not ref.partition("@")[2]:
        raise UsageError(f"{ref!r} is an agent; name one version, such as {ref}@3")
    return ref


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the description {file}: {error}") from error
