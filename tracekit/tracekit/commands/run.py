"""`tracekit run`: a Python program with tracing and every installed instrumentation on, its code unchanged."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tracekit import settings
from tracekit.command import Command, add_store_option
from tracekit.errors import UsageError

_FOLDER = Path(__file__).parent.parent / "_launch"


def command() -> Command:
    """Run a program traced."""
    return Command(
        help="run a Python program with tracing and the installed instrumentations on",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit run agent.py --question 'When does the library open?'",
            "tracekit run --project library -m my_agent.server --port 8000",
            "tracekit run --no-instrument agent.py",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument("--endpoint", metavar="URL", help="an OTLP/HTTP collector, instead of the local store")
    parser.add_argument("--project", help="the project that the traces belong to")
    parser.add_argument("--agent", help="the agent's name, put on every span")
    parser.add_argument("--no-instrument", action="store_true", help="only what the program itself records")
    parser.add_argument(
        "-m",
        dest="module",
        metavar="MODULE",
        nargs=argparse.REMAINDER,
        help="run a module instead of a script, as `python -m` does; what follows is the program's",
    )
    parser.add_argument("script", nargs="?", help="the script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own arguments")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.module:
        program = ["-m", *arguments.module]
    elif arguments.script:
        program = [arguments.script, *arguments.arguments]
    else:
        raise UsageError("there is nothing to run; write `tracekit run SCRIPT` or `tracekit run -m MODULE`")
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing
    sys.stdout.flush()
    sys.stderr.flush()
    # The program takes this process's place, so that signals, exit code and output are its own.
    os.execve(sys.executable, [sys.executable, *flags, *program], _environment(arguments))  # noqa: S606 - no shell is meant


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment of the program; a script that calls `init` itself finds the same settings."""
    given = {
        "TRACEKIT_STORE": arguments.store,
        "TRACEKIT_ENDPOINT": arguments.endpoint,
        "TRACEKIT_PROJECT": arguments.project,
        "TRACEKIT_AGENT": arguments.agent,
        "TRACEKIT_INSTRUMENT": "0" if arguments.no_instrument else None,
    }
    found = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    if arguments.store is not None and arguments.endpoint is None:
        found["TRACEKIT_RUN_STORE"] = arguments.store  # a store that is asked for wins over an endpoint of the settings
    if not arguments.no_instrument and settings.origin("instrument") == "default":
        found["TRACEKIT_INSTRUMENT"] = "1"
    if settings.origin("handle_sigterm") == "default":
        found["TRACEKIT_HANDLE_SIGTERM"] = "1"  # nobody else sees to it in a program that does not know of us
    found["TRACEKIT_RUN"] = str(os.getpid())
    found["PYTHONPATH"] = os.pathsep.join([str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    return found
