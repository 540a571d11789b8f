"""`tracekit agents diff`: what differs between two versions."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from tracekit.command import add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.catalog.version_diff import Change, VersionDiff

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def configure(actions: Any) -> None:
    """Add the action to `tracekit agents`."""
    diff = actions.add_parser("diff", help="what differs between two versions: code, prompts, parameters and the rest")
    diff.add_argument("before", metavar="REF", help="the one, such as bot@3")
    diff.add_argument("after", metavar="REF", help="the other, such as bot@production")
    diff.set_defaults(action=_diff)
    add_store_option(diff)
    add_format_option(diff, formats=("table", "json", "markdown"))


def _diff(arguments: argparse.Namespace) -> int:
    from tracekit_collector.catalog.version_diff import version_diff
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, visible

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        one, two = (store.catalog.agents.resolve(ref, deleted=True) for ref in (arguments.before, arguments.after))
        found = version_diff(one, two, artifacts=store.artifacts)
    if arguments.format == "json":
        print_json(found.to_dict())
        return 0
    lines = _markdown(found) if arguments.format == "markdown" else _plain(found)
    print("\n".join(visible(line) for line in lines))
    return 0


def _plain(found: VersionDiff) -> list[str]:
    lines = [_title(found)]
    for name, changes in found.sections.items():
        lines += ["", name.replace("_", " ")]
        for change in changes:
            lines.append(f"  {_SIGNS[change.change]} {_said(change)}")
            text = change.words if change.words is not None else change.lines
            lines += [f"    {line}" for line in (text or "").splitlines()]
    return lines


def _markdown(found: VersionDiff) -> list[str]:
    lines = [f"## {_title(found)}"]
    for name, changes in found.sections.items():
        lines += ["", f"### {name.replace('_', ' ').capitalize()}", ""]
        for change in changes:
            lines.append(f"- {change.change}: {_code(_said(change))}")
            if change.lines:
                ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", change.lines)), default=0))
                lines += ["", f"  {ticks}diff", *(f"  {line}" for line in change.lines.splitlines()), f"  {ticks}", ""]
    return lines


def _title(found: VersionDiff) -> str:
    same = "" if found.sections else ": nothing differs"
    return f"{_named(found.before.ref, found.before.label)} → {_named(found.after.ref, found.after.label)}{same}"


def _named(ref: str, label: str | None) -> str:
    return ref if label is None else f"{ref} ({label})"


def _said(change: Change) -> str:
    if change.lines is not None:
        return change.name
    if change.change == "changed":
        return f"{change.name}: {_value(change.before)} → {_value(change.after)}"
    value = change.after if change.change == "added" else change.before
    return change.name if value is None else f"{change.name}: {_value(value)}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _code(text: str) -> str:
    """Text as Markdown shows it literally."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}".replace("\n", " ")
