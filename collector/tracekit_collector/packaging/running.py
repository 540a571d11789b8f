"""Running a package's entry point once: in its environment, a process of its own, an empty folder, a limited time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tracekit.errors import TracekitError, UsageError

NOTHING = object()
_DROPPED = ("PYTHON", "TRACEKIT_", "OTEL_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_SAID_BYTES = 2_000
_READ_BYTES = 65_536
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Told:
    """What an entry point told of itself.

    Args:
        kind: `function`, or the framework that it is of.
        signature: JSON schemas of `input` and `output`, by its types.
        output: What it gave for the input; `None` also where it was not called.
    """

    kind: str
    signature: dict[str, dict[str, object]]
    output: object


def run_entry(
    python: Path,
    source: Path,
    entry_point: str,
    *,
    input: object = NOTHING,  # noqa: A002 - the word of the whole project
    timeout: float,
) -> Told:
    """Import an entry point, and call it where an input is given. Nothing that it traces is kept.

    Args:
        python: The interpreter of its environment.
        source: The folder of its modules.
        entry_point: `module:callable`.
        input: What to call it with; it is only imported when not given.
        timeout: How long it may take, in seconds.

    Raises:
        UsageError: It cannot be imported, raised something, took too long or ended its process; the message ends with
            the agent's own words.
    """
    request = {"entry_point": entry_point, "folder": str(source)}
    asked = request if input is NOTHING else {**request, "input": input}
    with tempfile.TemporaryDirectory(prefix="tracekit-run-") as scratch:
        empty, answer = Path(scratch) / "folder", Path(scratch) / "answer.json"
        empty.mkdir()
        asking = Path(scratch) / "request.json"
        asking.write_text(json.dumps(asked), encoding="utf-8")
        said = _ran([str(python), "-m", "tracekit._entry_runner", str(answer)], asking, empty, timeout)
        try:
            told = json.loads(answer.read_bytes())
        except (OSError, ValueError):
            raise UsageError(f"the entry point {entry_point} ended its process{said and ', saying: ' + said}") from None
    if "error" in told:
        error = told["error"]
        if error["type"] == "UsageError":
            raise UsageError(str(error["message"]))
        raise UsageError(f"the entry point {entry_point} raised {error['message']}")
    return Told(told["kind"], told["signature"], told.get("output"))


def _ran(words: list[str], request: Path, folder: Path, timeout: float) -> str:
    try:
        with request.open("rb") as asked:
            process = subprocess.Popen(  # noqa: S603 - our own words, and no shell
                words,
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_variables(os.environ),
                start_new_session=True,
            )
    except OSError as error:
        raise TracekitError(f"cannot run {words[0]}: {error.strerror or error}") from error
    kept = bytearray()
    listener = threading.Thread(target=_keep_end, args=(process.stdout, kept), daemon=True)
    listener.start()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise UsageError(f"the entry point did not answer within {timeout:g} seconds") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it started
        process.wait()
        listener.join(_CLOSE_SECONDS)  # what left the group on purpose may hold the pipe open
    return bytes(kept).decode(errors="replace").strip()


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    """Read whatever an agent says, however much it is, and keep the end of it."""
    with stream:
        while said := os.read(stream.fileno(), _READ_BYTES):
            kept += said
            del kept[:-_SAID_BYTES]


def _variables(known: Mapping[str, str]) -> dict[str, str]:
    """This process's variables, such as keys of models, without those that change Python or send traces somewhere."""
    found = {key: value for key, value in known.items() if not key.startswith(_DROPPED)}
    return {**found, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "TRACEKIT_DISABLED": "1"}
