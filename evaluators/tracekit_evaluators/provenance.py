"""Where a run's code stood and what it ran on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

_LARGEST = 10_000_000  # bytes of an untracked file whose content still counts
_WORTH_NAMING = ("tracekit", "duckdb", "deltalake", "numpy", "scipy", "httpx", "genai-prices", "opentelemetry-sdk")


def code_version(folder: str | os.PathLike[str] | None = None) -> dict[str, object]:
    """Where the source in a folder stands.

    Args:
        folder: A folder in a git working tree; the process's own when not given.

    Returns:
        `commit`, `branch`, `dirty` (whether anything differs from the commit, untracked files too) and `diff_digest`
        (SHA-256 of what differs; `None` where nothing does). All `None` where there is no git or no commit.

    Example:
        >>> sorted(code_version("/"))
        ['branch', 'commit', 'diff_digest', 'dirty']
    """
    here = Path.cwd() if folder is None else Path(folder)
    unknown = dict.fromkeys(("commit", "branch", "dirty", "diff_digest"))
    top = _git(here, "rev-parse", "--show-toplevel")
    commit = _git(here, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None:
        return dict(unknown)
    root = Path(os.fsdecode(top.strip()))
    branch = _git(here, "symbolic-ref", "--short", "-q", "HEAD")
    digest = _changes(root)
    return {
        "commit": _text(commit),
        "branch": None if branch is None else _text(branch),
        "dirty": digest is not None,
        "diff_digest": digest,
    }


def environment() -> dict[str, object]:
    """What the process runs on: Python, platform, processors, and the distributions that results depend on."""
    found = {}
    for name in _WORTH_NAMING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": found,
    }


def _changes(root: Path) -> str | None:
    diff = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv") or b""
    others = _git(root, "ls-files", "--others", "--exclude-standard", "-z") or b""
    names = sorted(name for name in others.split(b"\0") if name)
    if not diff and not names:
        return None
    digest = hashlib.sha256(diff)
    for name in names:
        digest.update(b"\0" + name + b"\0" + _content(root / os.fsdecode(name)))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        if path.is_symlink():
            return os.fsencode(path.readlink())
        size = path.stat().st_size
        return path.read_bytes() if size <= _LARGEST else str(size).encode()
    except OSError:
        return b""


def _git(folder: Path, *words: str) -> bytes | None:
    # A repository's own settings may name programs to run; none of them is wanted here.
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(folder), *quiet, *words],  # noqa: S607 - the user's own git
            capture_output=True,
            check=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()
