"""`tracekit agents package`, `verify`, `unpack` and `environments`: a version as one file that runs anywhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.command import add_format_option, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.packaging.source import Source
    from tracekit_collector.store import Store

_EXAMPLES = """examples:
  tracekit agents package bot --entry-point bot:answer --example '"When is it open?"' --alias candidate
  tracekit agents package bot --entry-point bot.main:graph --source src --requirements requirements.txt --python 3.11
"""
_KEPT_COLUMNS = ["key", "python", "dependencies", "mib", "made_at"]


def configure(actions: Any) -> None:
    """Add the actions to `tracekit agents`."""
    _configure_package(actions)
    verify = actions.add_parser("verify", help="build a packaged version in a fresh environment and run its example")
    verify.add_argument("ref", metavar="REF", help="a packaged version, such as bot@4")
    verify.add_argument(
        "--tolerance", type=float, default=0.0, metavar="SHARE", help="how far numbers may be apart (default: 0, exact)"
    )
    verify.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="how long the example may take (default: 120)"
    )
    verify.add_argument("--reuse", action="store_true", help="take the kept environment, where there is one")
    verify.set_defaults(action=_verify)
    unpack = actions.add_parser("unpack", help="write a packaged version's manifest, lock and source to a folder")
    unpack.add_argument("ref", metavar="REF", help="a packaged version, such as bot@4")
    unpack.add_argument("folder", metavar="FOLDER", type=Path, help="a folder to make")
    unpack.set_defaults(action=_unpack)
    environments = actions.add_parser("environments", help="list or clear the kept environments of packages")
    environments.add_argument("act", metavar="ACT", choices=("list", "clear"), help="list or clear")
    environments.add_argument("key", metavar="KEY", nargs="?", help="clear only the one whose key begins so")
    environments.set_defaults(action=_environments)
    add_format_option(environments)
    for each in (verify, unpack):
        add_store_option(each)
    add_format_option(verify, formats=("table", "json"))


def _configure_package(actions: Any) -> None:
    package = actions.add_parser(
        "package",
        help="keep an agent's source, locked dependencies and entry point as a version",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    package.add_argument("name", metavar="NAME", help="the agent's name")
    package.add_argument(
        "--entry-point", required=True, metavar="MODULE:CALLABLE", help="what is called to run it; MODULE:FACTORY() too"
    )
    package.add_argument(
        "--source",
        action="append",
        type=Path,
        metavar="PATH",
        help="a file or folder of its source (default: what git has committed of this folder)",
    )
    package.add_argument(
        "--source-module",
        action="append",
        metavar="MODULE",
        help="a package or module that can be imported here, whose source is taken under its own name",
    )
    package.add_argument("--dirty", action="store_true", help="take what differs from git's commit, and say so")
    needs = package.add_mutually_exclusive_group()
    needs.add_argument("--requirements", type=Path, metavar="FILE", help="what it depends on, as pip reads it")
    needs.add_argument(
        "--dependency",
        action="append",
        metavar="NAME",
        help="a distribution that it depends on, with bounds (default: what ./pyproject.toml says)",
    )
    package.add_argument("--locker", choices=("uv", "pip"), help="what locks (default: uv where it is installed)")
    package.add_argument(
        "--python", metavar="VERSION", help="the Python that it runs on (default: the one that runs this)"
    )
    package.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter; JSON or text")
    package.add_argument(
        "--prompt", action="append", default=[], metavar="NAME=FILE", help="a prompt's text, from a file"
    )
    package.add_argument("--tool", action="append", metavar="TOOL", help="a tool, as for `register`")
    package.add_argument("--model", action="append", metavar="NAME", help="a model that it uses")
    package.add_argument(
        "--example",
        metavar="JSON",
        help='an input, or {"input": …, "output": …}, or @FILE with either; where there is no output, it is run once',
    )
    package.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="how long the example may take (default: 120)"
    )
    package.add_argument("--label", metavar="LABEL", help="what spans call this version (default: from the digest)")
    package.add_argument("--alias", metavar="ALIAS", help="let this alias stand for it from now on")
    package.add_argument("--why", metavar="TEXT", help="why the alias moves")
    package.set_defaults(action=_package)
    add_store_option(package)
    add_format_option(package, formats=("table", "json"))


def _package(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands.agents_register import parameters_of, prompts_of, tools_of
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.packaging.build import Wanted, build, register
    from tracekit_collector.store import Store

    source = _source(arguments)
    for each in source.left_out:
        print(f"left out: {each}", file=sys.stderr)
    wanted = Wanted(
        arguments.name,
        arguments.entry_point,
        source,
        roots=_roots(arguments.source or ()),
        requirements=_requirements(arguments),
        python=arguments.python,
        parameters=parameters_of(arguments.param),
        prompts=prompts_of(arguments.prompt, arguments.store),
        tools=None if arguments.tool is None else tools_of(arguments.tool),
        models=arguments.model,
        label=arguments.label,
        example=_example(arguments.example),
        locker=arguments.locker,
        timeout=arguments.timeout,
    )
    package = build(wanted, progress=_say)
    with Store.open(arguments.store) as store:
        store.settle()
        version = register(store, package)
        if version.package != package.digest:
            print(f"{version.ref} was packaged before, and keeps that package and its example", file=sys.stderr)
        if arguments.alias:
            store.catalog.agents.set_alias(version.agent, arguments.alias, version, why=arguments.why)
        tell(store)
        return _print(store, version, arguments.format)


def _print(store: Store, version: AgentVersion, format_: str) -> int:
    from tracekit_collector.packaging.package import Package
    from tracekit_collector.terminal import print_json, visible

    package = Package.load(store, version)
    told = package.manifest
    facts = {
        "ref": version.ref,
        "label": version.label,
        "digest": version.digest,
        "package": package.digest,
        "bytes": len(package.content),
        "files": len(package.files),
        **{key: told[key] for key in ("entry_point", "python", "dependencies", "code", "signature", "example")},
    }
    if format_ == "json":
        print_json(facts)
        return 0
    for key, value in facts.items():
        shown = f"{len(told['dependencies'])} distributions, with hashes" if key == "dependencies" else value
        text = json.dumps(shown, ensure_ascii=False) if isinstance(shown, (dict, list)) else str(shown)
        print(f"{key:12} {visible(text if value is not None else '-')}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from tracekit_collector.packaging.verify import verify_version
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, visible

    if arguments.tolerance < 0 or arguments.timeout <= 0:
        raise UsageError("--tolerance must be 0 or more, and --timeout above 0")
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(arguments.ref)
        verdict = verify_version(
            store,
            version,
            tolerance=arguments.tolerance,
            timeout=arguments.timeout,
            fresh=not arguments.reuse,
            progress=_say,
        )
    if arguments.format == "json":
        print_json({"ref": version.ref, **verdict.record(), "output": verdict.output})
        return 0 if verdict.passed else 1
    if verdict.passed:
        what = "answered its example with the same output" if verdict.has_example else "was imported; it has no example"
        print(f"{version.ref} {what} ({verdict.seconds:.1f} s, Python {verdict.environment['python']})")
        return 0
    print(f"{version.ref} did not answer its example with the same output:")
    for line in verdict.differences:
        print("\n".join(f"  {visible(each)}" for each in line.splitlines()))
    return 1


def _unpack(arguments: argparse.Namespace) -> int:
    from tracekit_collector.packaging.package import Package
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        version = store.catalog.agents.resolve(arguments.ref)
        package = Package.load(store, version)
    package.unpack(arguments.folder)
    count = len(package.files)
    print(f"{version.ref}: {count} file{'' if count == 1 else 's'} in {arguments.folder}")
    return 0


def _environments(arguments: argparse.Namespace) -> int:
    from tracekit_collector.packaging.environment import clear, folder, listed
    from tracekit_collector.terminal import print_rows

    if arguments.act == "clear":
        count = clear(key=arguments.key)
        print(f"{count} environment{'' if count == 1 else 's'} removed from {folder()}")
        return 0
    rows = [
        {
            "key": each.key[:12],
            "python": each.python,
            "dependencies": each.dependencies,
            "mib": round(each.bytes / 2**20, 1),
            "made_at": each.made_at,
        }
        for each in listed()
    ]
    print_rows(rows, _KEPT_COLUMNS, format=arguments.format)
    return 0


def _source(arguments: argparse.Namespace) -> Source:
    from tracekit_collector.packaging.source import from_git, from_paths

    if arguments.source or arguments.source_module:
        if arguments.dirty:
            raise UsageError("--dirty is about git's commit; files that --source names are taken as they are")
        return from_paths(arguments.source or (), folder=Path.cwd(), modules=arguments.source_module or ())
    return from_git(Path.cwd(), dirty=arguments.dirty)


def _roots(paths: Any) -> list[str]:
    """Folders that were named, as their modules may be meant to be imported from there."""
    here = Path.cwd().resolve()
    folders = [path.resolve() for path in paths if path.is_dir()]
    return [path.relative_to(here).as_posix() for path in folders if path != here and path.is_relative_to(here)]


def _requirements(arguments: argparse.Namespace) -> list[str]:
    from tracekit_collector.packaging.lock import project_requirements, requirements_of

    if arguments.requirements is not None:
        return requirements_of(arguments.requirements)
    if arguments.dependency is not None:
        return [str(each) for each in arguments.dependency]
    return project_requirements(Path("pyproject.toml"))


def _example(given: str | None) -> Mapping[str, object] | None:
    if given is None:
        return None
    text = given
    if given.startswith("@"):
        try:
            text = Path(given[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the example {given[1:]}: {error}") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--example is no JSON: {error}; a text has quotes of its own, as in '\"Why?\"'") from None
    if isinstance(value, dict) and "input" in value and value.keys() <= {"input", "output"}:
        return value
    return {"input": value}


def _say(text: str) -> None:
    print(f"{text} …", file=sys.stderr)
