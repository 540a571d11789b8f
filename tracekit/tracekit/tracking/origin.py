"""Where a run's code stands, what it runs on, and how it was called."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from tracekit._runtime import runtime
from tracekit.agent_version import installed_distributions

_SECONDS = 10.0
_DIFF_BYTES = 1 << 20
_COMMAND = 4_000
# A repository's own settings may name programs to run; none of them is wanted here.
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotepath=off")
_DIFF = ("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative")


def code(folder: Path | None = None) -> tuple[dict[str, object], str | None]:
    """The git state of the working folder, and what differs from its commit.

    Args:
        folder: A folder of the repository; the working folder when not given.

    Returns:
        `commit`, `branch`, `dirty`, `remote`, `untracked` (names, of files that git does not ignore) and
        `diff_digest`; nothing outside of a repository. And the difference as text, cut at a mebibyte.
    """
    here = Path.cwd() if folder is None else folder
    commit = _git(here, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {}, None
    branch = _git(here, "symbolic-ref", "--short", "-q", "HEAD")
    diff = _git(here, *_DIFF)
    others = _git(here, "ls-files", "--others", "--exclude-standard", "-z", ":/")
    untracked = sorted(filter(None, (others or b"").decode("utf-8", "replace").split("\0")))
    dirty = None if diff is None or others is None else bool(diff or untracked)
    state: dict[str, object] = {
        "commit": commit.decode("ascii", "replace").strip(),
        "branch": None if branch is None else branch.decode("utf-8", "replace").strip(),
        "dirty": dirty,
        "diff_digest": hashlib.sha256(diff).hexdigest() if diff else None,
        "untracked": untracked[:100],
    }
    text = (diff or b"")[:_DIFF_BYTES].decode("utf-8", "replace")
    if diff is not None and len(diff) > _DIFF_BYTES:
        text += f"\n…[truncated: {len(diff) - _DIFF_BYTES} more bytes]\n"
    return state, text or None


def environment() -> dict[str, object]:
    """Python, platform, machine, processors, host, and the version of every installed distribution."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "host": platform.node(),
        "packages": installed_distributions(),
    }


def command() -> str:
    """How the program was called; the values of options whose names are sensitive are left out."""
    words = list(getattr(sys, "orig_argv", None) or sys.argv)
    rules = runtime.redactor
    told: list[str] = []
    hidden = False
    for word in words:
        flag, equals, _ = word.partition("=")
        sensitive = rules is not None and flag.startswith("-") and rules.key(flag.lstrip("-")) is not None
        if hidden and not word.startswith("-"):
            told.append("[redacted]")
        elif sensitive and equals:
            told.append(f"{flag}=[redacted]")
        else:
            told.append(word)
        hidden = sensitive and not equals
    return shlex.join(told)[:_COMMAND]


def _git(folder: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words, and no shell
            ["git", "-C", os.fspath(folder), *_QUIET, *words],  # noqa: S607 - the user's own git
            capture_output=True,
            check=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
