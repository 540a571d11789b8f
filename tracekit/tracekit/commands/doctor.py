"""`tracekit doctor`: what is installed, what is set and from where, whether traces can arrive where they are sent."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tracekit.command import Command, add_format_option, add_store_option


def command() -> Command:
    """Look for what keeps traces from arriving."""
    return Command(
        help="check the installation, the settings and the way that traces take",
        run=_run,
        configure=_configure,
        examples=("tracekit doctor", "tracekit doctor --endpoint http://127.0.0.1:4318 --format json"),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument("--endpoint", metavar="URL", help="check this collector instead of that of the settings")
    add_format_option(parser, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit import _checks

    found = _checks.examine(endpoint=arguments.endpoint, store=arguments.store)
    if arguments.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)
    return 0 if found["ok"] else 1


def _print(found: dict[str, Any]) -> None:
    _section("versions", [(name, version or "not installed") for name, version in found["versions"].items()])
    _section(
        "settings",
        [
            (row["name"], f"{'' if row['value'] is None else row['value']}  ({row['source']})".strip())
            for row in found["settings"]
            if row["source"] != "default"
        ]
        or [("all", "default")],
    )
    _section(
        "instrumentations",
        [
            (row["name"], f"{row['state']}: {row['distribution']} {row['version'] or ''} {row['reason']}".rstrip())
            for row in found["instrumentations"]
        ]
        or [("none", "no package that instruments another library is installed")],
    )
    _section("checks", [(row["status"], f"{row['what']}: {row['detail']}") for row in found["checks"]])
    faults = sum(row["status"] == "fault" for row in found["checks"])
    print("all is well" if not faults else f"{faults} {'fault' if faults == 1 else 'faults'} found")


def _section(title: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    print(title)
    for name, text in rows:
        print(f"  {name.ljust(width)}  {text}".rstrip())
    print()
