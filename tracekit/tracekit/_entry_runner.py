"""Runs an entry point once, in a process and an environment of its own, for whoever packages or verifies it.

    python -m tracekit._entry_runner ANSWER < REQUEST

The request is JSON on standard input: `entry_point`, `folder`, and `input` where it is to be called. The answer is
JSON in the file ANSWER, since standard output is the agent's: `signature` and `output`, or `error`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tracekit.entry_point import last_lines, load
from tracekit.errors import UsageError


def main(arguments: list[str]) -> int:
    """Answer one request; returns the exit code."""
    answer = Path(arguments[0])
    request = json.load(sys.stdin)
    try:
        told = _told(request)
    except UsageError as error:
        told = {"error": {"type": "UsageError", "message": str(error)}}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the agent may raise what it likes
        told = {"error": {"type": type(error).__name__, "message": last_lines(error)}}
    answer.write_text(json.dumps(told, ensure_ascii=True, allow_nan=False), encoding="utf-8")
    return 0


def _told(request: dict[str, Any]) -> dict[str, object]:
    entry = load(request["entry_point"], folder=request["folder"])
    told: dict[str, object] = {"kind": entry.kind, "signature": entry.signature()}
    if "input" in request:
        told["output"] = asyncio.run(entry.call(request["input"]))
    return told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
