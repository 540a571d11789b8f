"""The `tracekit` command: finds its subcommands by entry point and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import traceback
from importlib.metadata import EntryPoint
from typing import cast
from urllib.parse import unquote, urlsplit

from tracekit import plugins
from tracekit.command import Command
from tracekit.errors import MissingExtraError, TracekitError


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The words after `tracekit`; the process's own when not given.
    """
    words = sys.argv[1:] if argv is None else argv
    # What follows `run` is another program's.
    ours = words.index("run") if next((word for word in words if word[:1] != "-"), None) == "run" else len(words)
    debug = "--debug" in words[:ours]
    words = [word for word in words[:ours] if word != "--debug"] + words[ours:]
    try:
        return _run(words)
    except TracekitError as error:
        if debug:
            traceback.print_exc()
        print(f"tracekit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tracekit: stopped", file=sys.stderr)
        return 4
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is its right, and no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the outermost edge: a person gets a line, not a traceback
        if debug:
            traceback.print_exc()
        kind = type(error).__name__
        print(f"tracekit: {kind}: {error} (this is a fault in tracekit; --debug shows where)", file=sys.stderr)
        return 4


def _run(words: list[str]) -> int:
    found = {point.name: point for point in plugins.points("tracekit.commands")}
    wanted = next((word for word in words if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="tracekit",
        description="Trace agents, keep the traces in open files, score them, compare versions.",
        epilog="`tracekit COMMAND --help` shows a command's arguments and examples.",
    )
    parser.add_argument("--version", action="version", version=f"tracekit {_version()}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, point in found.items():
        if wanted in found and name != wanted:
            continue
        command = _command(point)
        examples = "\n".join(f"  {line}" for line in command.examples)
        sub = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(sub)
        sub.set_defaults(_run=command.run, _point=point)
    arguments = parser.parse_args(words)
    return _guarded(arguments)


def _command(point: EntryPoint) -> Command:
    return cast("Command", point.load()())


def _guarded(arguments: argparse.Namespace) -> int:
    point: EntryPoint = arguments._point  # noqa: SLF001 - set by us, kept apart from the command's own names
    try:
        return cast("int", arguments._run(arguments))  # noqa: SLF001
    except ModuleNotFoundError as error:
        extras = point.extras
        if not extras or (error.name or "").partition(".")[0].startswith("tracekit"):
            raise
        missing = f"`{point.name}` needs the extra '{extras[0]}' ({error.name} is not installed)"
        message = f"{missing}; run: pip install {_source(point, extras[0])}"
        raise MissingExtraError(message) from error


def _source(point: EntryPoint, extra: str) -> str:
    """What to give pip to install this very tracekit again with an extra: where it came from, else its name."""
    if point.dist is None:
        return f"'tracekit[{extra}]'"
    origin = json.loads(point.dist.read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    place = unquote(url.path) if url.scheme == "file" else point.dist.name
    return shlex.quote(f"{place}[{extra}]")


def _version() -> str:
    from tracekit import __version__  # noqa: PLC0415 - only --version asks

    return __version__
