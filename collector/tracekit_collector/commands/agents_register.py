"""`tracekit agents register`: the agent whose code is here, taken down as a version."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.command import add_format_option, add_store_option
from tracekit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from tracekit.agent_version import Tool
    from tracekit.prompts import Prompt


def configure(actions: Any) -> None:
    """Add the action to `tracekit agents`."""
    register = actions.add_parser("register", help="register the agent whose code is in this folder")
    register.add_argument("name", metavar="NAME", help="the agent's name")
    register.add_argument("--version", metavar="LABEL", help="what spans call this version (default: from the digest)")
    register.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter; JSON or text")
    register.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a prompt's text, from a file, or a registered prompt as prompt:NAME@ALIAS",
    )
    register.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder of its source (default: this folder's git commit and what differs from it)",
    )
    register.add_argument("--entry-point", metavar="MODULE:CALLABLE", help="what is called to run it")
    register.add_argument(
        "--tool",
        action="append",
        metavar="TOOL",
        help="a tool: module:function, or a JSON file with a definition or a list of them",
    )
    register.add_argument("--model", action="append", metavar="NAME", help="a model that it uses")
    register.add_argument("--python", metavar="VERSION", help="the Python that it runs on, such as 3.11")
    register.add_argument("--alias", metavar="ALIAS", help="let this alias stand for it from now on")
    register.add_argument("--why", metavar="TEXT", help="why the alias moves")
    register.set_defaults(action=_register)
    add_store_option(register)
    add_format_option(register, formats=("table", "json"))


def _register(arguments: argparse.Namespace) -> int:
    from tracekit.agent_version import describe
    from tracekit_collector.commands.agents_list import print_version
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.store import Store

    found = describe(
        arguments.name,
        version=arguments.version,
        parameters=parameters_of(arguments.param),
        prompts=prompts_of(arguments.prompt, arguments.store),
        code=_code(arguments.code),
        entry_point=arguments.entry_point,
        tools=None if arguments.tool is None else tools_of(arguments.tool),
        models=arguments.model,
        python=arguments.python,
    )
    with Store.open(arguments.store) as store:
        store.settle()
        version = store.catalog.agents.register_described(found)
        if arguments.alias:
            store.catalog.agents.set_alias(version.agent, arguments.alias, version, why=arguments.why)
        tell(store)
        return print_version(store, version, arguments.format)


def _code(given: Sequence[str]) -> dict[str, object]:
    """Where the agent's source stands: the files given, else git's word on this folder, else the folder's sources."""
    from tracekit.agent_version import code_state

    if given:
        return code_state([Path(each) for each in given])
    state = code_state()
    return state if "commit" in state else code_state(Path.cwd())


def parameters_of(given: Sequence[str]) -> dict[str, object]:
    """Parameters as `--param KEY=VALUE` gives them."""
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


def prompts_of(given: Sequence[str], store: str | None) -> dict[str, object]:
    """Prompts as `--prompt NAME=FILE` gives them, or as a store has them: `--prompt NAME=prompt:support@2`."""
    found: dict[str, object] = {}
    for each in given:
        name, equals, file = each.partition("=")
        if not equals or not name:
            raise UsageError(f"--prompt {each!r} is not NAME=FILE")
        ref = file.removeprefix("prompt:")
        found[name] = _read(file, "the prompt") if ref == file else _registered(ref, store)
    return found


def _registered(ref: str, folder: str | None) -> Prompt:
    from tracekit.prompts import Prompt
    from tracekit_collector.store import Store

    with Store.open(folder, create=False) as store:
        held = store.catalog.prompts.resolve(ref)
    return Prompt(held.name, held.number, held.content, held.digest)


def tools_of(given: Sequence[str]) -> list[Tool]:
    """Tools as `--tool` gives them."""
    found: list[Tool] = []
    for each in given:
        if each.endswith(".json"):
            found += _definitions(each)
        else:
            found.append(_imported(each))
    return found


def _definitions(file: str) -> list[dict[str, object]]:
    try:
        said = json.loads(_read(file, "the tool's definition"))
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}") from error
    listed = said if isinstance(said, list) else [said]
    if not all(isinstance(each, dict) for each in listed):
        raise UsageError(f"{file} holds no definition of a tool, nor a list of them")
    return listed


def _imported(path: str) -> Tool:
    from tracekit.plugins import find

    if ":" not in path:
        raise UsageError(f"--tool {path!r} is neither module:function nor a .json file")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the folder that one stands in is found, as with `python -m`
    try:
        return find("tracekit.tools", path)
    except PluginError as error:
        raise UsageError(f"--tool: {error}") from error


def _read(file: str, what: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {what} {file}: {error}") from error
