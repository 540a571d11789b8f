"""`tracekit plugins`: what is installed, by the group that it plugs into."""

from __future__ import annotations

import argparse
import json

from tracekit import plugins
from tracekit.command import Command, add_format_option

_COLUMNS = ("group", "name", "value", "distribution", "version")


def command() -> Command:
    """List the installed plugins."""
    return Command(
        help="list the installed plugins: commands, dialects, processors, judges, models, reporters, gates",
        run=_run,
        configure=lambda parser: add_format_option(parser, formats=("table", "json")),
        examples=("tracekit plugins", "tracekit plugins --format json"),
    )


def _run(arguments: argparse.Namespace) -> int:
    rows = [
        {
            "group": group.removeprefix("tracekit."),
            "name": point.name,
            "value": point.value,
            "distribution": None if point.dist is None else point.dist.name,
            "version": None if point.dist is None else point.dist.version,
        }
        for group, point in plugins.installed()
    ]
    if arguments.format == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    lines = [_COLUMNS, *(tuple(str(row[column] or "") for column in _COLUMNS) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_COLUMNS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0
