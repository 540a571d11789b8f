"""The shape of a command, and what all commands share.

A command is a factory under the entry-point group `tracekit.commands` that returns a `Command`. Its module stays light
to import; `run` imports what it needs, so that `tracekit --help` works in the lightest environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

FORMATS = ("table", "json", "csv", "markdown")


@dataclass(frozen=True)
class Command:
    """One subcommand of `tracekit`.

    Args:
        help: What the command does, in one line.
        run: Takes the parsed arguments and returns the exit code: 0 done, 1 the answer is no, 2 bad usage,
            3 inconclusive, 4 could not finish.
        configure: Adds the command's arguments to its parser.
        examples: Lines for the end of `--help`, each a command that can be run.
    """

    help: str
    run: Callable[[argparse.Namespace], int]
    configure: Callable[[argparse.ArgumentParser], None] = lambda _parser: None
    examples: tuple[str, ...] = ()


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Give a command `--store`, whose default is the setting `store`."""
    parser.add_argument(
        "--store", metavar="FOLDER", default=None, help="the store's folder (default: TRACEKIT_STORE, else ./.tracekit)"
    )


def add_format_option(parser: argparse.ArgumentParser, *, formats: tuple[str, ...] = FORMATS) -> None:
    """Give a command `--format`, `table` unless told otherwise."""
    parser.add_argument("--format", choices=formats, default=formats[0], help=f"how to print (default: {formats[0]})")
