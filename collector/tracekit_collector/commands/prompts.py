"""`tracekit prompts`: registered prompts, from a file to the traces that used them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog.prompts import PromptVersion
    from tracekit_collector.store import Store

_COLUMNS = ("prompt", "number", "aliases", "variables", "tags", "message", "created_at", "digest")
_REF = "NAME, NAME@NUMBER or NAME@ALIAS"


def command() -> Command:
    """The command `prompts`."""
    return Command(
        help="keep prompts under a name, in versions that never change",
        run=lambda arguments: int(arguments.action(arguments) or 0),
        configure=_configure,
        examples=(
            "tracekit prompts register support/answer prompts/answer.txt --message 'shorter' --alias production",
            "tracekit prompts list",
            "tracekit prompts show support/answer@production",
            "tracekit prompts render support/answer@2 --var question='When does it open?'",
            "tracekit prompts diff support/answer@1 support/answer@2",
            "tracekit prompts alias support/answer production 1 --why 'version 2 is too terse'",
            "tracekit prompts usage support/answer@2",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    adding = actions.add_parser("register", help="register a file's text or messages as a version")
    adding.add_argument("name", metavar="NAME", help="the prompt's name, such as support/answer")
    adding.add_argument("file", metavar="FILE", help="a text, or chat messages as .json, .yaml or .yml")
    adding.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="a word about it; repeatable")
    adding.add_argument("--message", default="", metavar="TEXT", help="why it is made")
    adding.add_argument("--alias", metavar="ALIAS", help="let this alias stand for it from now on")
    adding.set_defaults(action=_register)
    listing = actions.add_parser("list", help="the prompts, or the versions of one")
    listing.add_argument("name", metavar="NAME", nargs="?")
    listing.set_defaults(action=_list)
    showing = actions.add_parser("show", help="one version, whole")
    showing.add_argument("ref", metavar="REF", help=_REF)
    showing.set_defaults(action=_show)
    rendering = actions.add_parser("render", help="a version with a value for each variable")
    rendering.add_argument("ref", metavar="REF", help=_REF)
    rendering.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="a value; repeatable")
    rendering.set_defaults(action=_render)
    differing = actions.add_parser("diff", help="what differs between two versions")
    differing.add_argument("before", metavar="REF", help=_REF)
    differing.add_argument("after", metavar="REF", help=_REF)
    differing.set_defaults(action=_diff)
    naming = actions.add_parser("alias", help="let an alias stand for a version from now on, or for none")
    naming.add_argument("name", metavar="NAME")
    naming.add_argument("alias", metavar="ALIAS")
    naming.add_argument("number", metavar="NUMBER", nargs="?", help="the version's number, or another alias")
    naming.add_argument("--remove", action="store_true", help="let it stand for nothing")
    naming.add_argument("--why", metavar="TEXT", help="why it moves")
    naming.set_defaults(action=_alias)
    moved = actions.add_parser("history", help="the moves of a prompt's aliases, newest first")
    moved.add_argument("name", metavar="NAME")
    moved.add_argument("alias", metavar="ALIAS", nargs="?", help="only this one's")
    moved.set_defaults(action=_history)
    using = actions.add_parser("usage", help="which traces and agents used a prompt, by version")
    using.add_argument("ref", metavar="REF", help=f"{_REF}; a bare name is all of its versions")
    using.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many traces (default: 20)")
    using.set_defaults(action=_usage)
    for each in (adding, listing, showing, rendering, differing, naming, moved, using):
        add_store_option(each)
    for each in (listing, moved):
        add_format_option(each)
    for each in (adding, showing, rendering, differing, using):
        add_format_option(each, formats=("table", "json"))


def _register(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store

    content = read_content(arguments.file)
    tags = dict(_pair(each, "--tag", "KEY=VALUE") for each in arguments.tag)
    with Store.open(arguments.store) as store:
        version = store.catalog.prompts.register(arguments.name, content, tags=tags, message=arguments.message)
        if arguments.alias:
            why = arguments.message or None
            store.catalog.prompts.set_alias(version.name, arguments.alias, version, why=why)
        _print(store, version, arguments.format)


def read_content(file: str) -> object:
    """A prompt's content out of a file: JSON and YAML by the ending, else the text.

    Raises:
        UsageError: It cannot be read, or is no JSON or YAML.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the prompt {file}: {error}") from error
    ending = Path(file).suffix.lower()
    if ending == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{file} is no JSON: {error}") from error
    return _yaml(file, text) if ending in (".yaml", ".yml") else text


def _yaml(file: str, text: str) -> object:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtraError("YAML needs PyYAML; pip install pyyaml, or write the messages as JSON") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{file} is no YAML: {error}") from error


def _list(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        prompts = store.catalog.prompts
        versions = prompts.list() if arguments.name is None else prompts.versions(arguments.name)
        print_rows([_row(store, each) for each in versions], _COLUMNS, format=arguments.format)


def _show(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        _print(store, store.catalog.prompts.resolve(arguments.ref), arguments.format)


def _render(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json

    values = dict(_pair(each, "--var", "NAME=VALUE") for each in arguments.var)
    with Store.open(arguments.store, create=False) as store:
        rendered = store.catalog.prompts.resolve(arguments.ref).render(values)
    if arguments.format == "json":
        print_json(rendered)
    else:
        print(_shown(rendered))


def _diff(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, visible

    with Store.open(arguments.store, create=False) as store:
        one, two = (store.catalog.prompts.resolve(each) for each in (arguments.before, arguments.after))
    lines = _differing(one, two)
    if arguments.format == "json":
        added = [each for each in two.variables if each not in one.variables]
        removed = [each for each in one.variables if each not in two.variables]
        told = {"before": one.ref, "after": two.ref, "same": one.digest == two.digest, "lines": "\n".join(lines)}
        print_json({**told, "variables_added": added, "variables_removed": removed})
    elif not lines:
        print(f"{one.ref} → {two.ref}: nothing differs")
    else:
        print("\n".join(visible(line) for line in lines))


def _differing(one: PromptVersion, two: PromptVersion) -> list[str]:
    import difflib

    before, after = (_shown(each.content, whole=True).splitlines() for each in (one, two))
    return list(difflib.unified_diff(before, after, one.ref, two.ref, lineterm=""))


def _alias(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store

    if arguments.remove == (arguments.number is not None):
        raise UsageError("say which version the alias stands for, or --remove")
    with Store.open(arguments.store, create=False) as store:
        prompts = store.catalog.prompts
        if arguments.remove:
            held = prompts.remove_alias(arguments.name, arguments.alias, why=arguments.why)
            print(f"{arguments.name}@{arguments.alias} is gone; it was {held.ref}")
            return
        version = prompts.resolve(f"{arguments.name}@{arguments.number}")
        prompts.set_alias(version.name, arguments.alias, version, why=arguments.why)
        print(f"{version.name}@{arguments.alias} is {version.ref} now")


def _history(arguments: argparse.Namespace) -> None:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        moves = store.catalog.prompts.history(arguments.name, arguments.alias)
    rows = [
        {"at": each.at, "alias": each.alias, "by": each.by, "why": each.why}
        | {"version": None if each.removed else each.version.ref, "was": each.version.ref if each.removed else None}
        for each in moves
    ]
    print_rows(rows, ("at", "alias", "version", "was", "by", "why"), format=arguments.format)


def _usage(arguments: argparse.Namespace) -> None:
    from tracekit_collector.prompt_usage import usage
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        found = usage(store, arguments.ref, limit=arguments.limit)
    if arguments.format == "json":
        print_json(found)
        return
    columns = ("version", "agent", "traces", "spans", "first", "last")
    print_rows(found["used"], columns, format="table", title=str(found["prompt"]))
    print_rows(found["traces"], ("trace_id", "version", "agent", "start_time", "calls"), format="table")


def _print(store: Store, version: PromptVersion, format_: str) -> None:
    from tracekit_collector.terminal import print_json, visible

    row = _row(store, version)
    if format_ == "json":
        print_json({**version.to_dict(), "aliases": row["aliases"]})
        return
    for name in ("ref", *_COLUMNS[2:]):
        value: Any = version.ref if name == "ref" else row[name]
        if isinstance(value, dict):
            value = ", ".join(f"{key}={item}" for key, item in value.items())
        print(f"{name:12} {visible(', '.join(value) if isinstance(value, list) else str(value)) or '-'}")
    print(f"\n{_shown(version.content)}")


def _row(store: Store, version: PromptVersion) -> dict[str, object]:
    aliases = [alias for alias, held in store.catalog.prompts.aliases(version.name).items() if held.id == version.id]
    told = {name: getattr(version, name) for name in ("number", "tags", "message", "created_at", "digest")}
    return {"prompt": version.name, "aliases": aliases, "variables": list(version.variables), **told}


def _shown(content: object, *, whole: bool = False) -> str:
    """A text as it is; messages with their roles as headings, or as JSON where all of them counts."""
    from tracekit_collector.terminal import visible

    if isinstance(content, str):
        return "\n".join(line if whole else visible(line) for line in content.split("\n"))
    if whole or not isinstance(content, list):
        return json.dumps(content, indent=1, ensure_ascii=False)
    parts = [(str(each.get("role")), _shown(each.get("content"))) for each in content]
    return "\n\n".join(f"[{visible(role)}]\n{text}" for role, text in parts)


def _pair(given: str, option: str, shape: str) -> tuple[str, str]:
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise UsageError(f"{option} {given!r} is not {shape}")
    return key, value
