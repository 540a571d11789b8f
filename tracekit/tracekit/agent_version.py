"""What makes an agent version itself: a digest over its code, parameters, prompts and dependencies.

The digest is SHA-256 over canonical JSON (sorted keys, no spaces, UTF-8) of
`{"code": …, "dependencies": …, "parameters": …, "prompts": …}`. The same inputs give the same digest on any machine. It
needs the standard library alone, because the light environment of an agent and the command line both use it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracekit._capture import plain
from tracekit.errors import UsageError

LABEL_DIGITS = 12

Code = str | os.PathLike[str] | Callable[..., Any] | types.ModuleType
_GIT_SECONDS = 10.0
_METADATA_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.(?:dist-info|egg-info)$")


@dataclass(frozen=True)
class AgentVersionInfo:
    """One immutable state of an agent.

    Args:
        name: The agent's name.
        label: What people call the version; the digest's first 12 digits where nobody named it.
        digest: SHA-256 over the rest, 64 hex digits.
        code: Git commit and digest of what differs from it, or digests of sources.
        parameters: Settings that change what it does.
        prompts: Its prompts, by name.
        dependencies: Versions of what it uses, by name.
    """

    name: str
    label: str
    digest: str
    code: Mapping[str, object] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    prompts: Mapping[str, object] = field(default_factory=dict)
    dependencies: Mapping[str, str] = field(default_factory=dict)


def describe(
    name: str,
    *,
    version: str | None = None,
    parameters: Mapping[str, object] | None = None,
    prompts: Mapping[str, object] | None = None,
    code: Mapping[str, object] | Code | Iterable[Code] | None = None,
    dependencies: Mapping[str, str] | Iterable[str] | None = None,
) -> AgentVersionInfo:
    """The version that an agent is at, by what it consists of.

    Args:
        name: The agent's name.
        version: What to call the version; the digest's first 12 digits when not given.
        parameters: Settings that change what it does, such as a model's name or a temperature.
        prompts: Its prompts, by name.
        code: Functions, classes, modules, files or folders whose source counts, or a mapping that is taken as it is.
            When not given, the git commit of the working folder with a digest of what differs from it.
        dependencies: Versions by name, or a list of `name==version` or names of installed distributions. When not
            given, every installed distribution.

    Raises:
        UsageError: The code has no source to be found, or a dependency is not installed.

    Example:
        >>> one = describe("bot", code={"commit": "4f2a"}, prompts={"system": "Be brief."}, dependencies={})
        >>> one.label, len(one.digest)
        ('0025c6222b1d', 64)
    """
    facts = {
        "code": _plain(code if isinstance(code, Mapping) else code_state(code)),
        "parameters": _plain(parameters or {}),
        "prompts": _plain(prompts or {}),
        "dependencies": _plain(_dependencies(dependencies)),
    }
    digest = digest_of(facts)
    return AgentVersionInfo(
        name=name,
        label=version or digest[:LABEL_DIGITS],
        digest=digest,
        code=facts["code"],
        parameters=facts["parameters"],
        prompts=facts["prompts"],
        dependencies={key: str(value) for key, value in facts["dependencies"].items()},
    )


def digest_of(facts: object) -> str:
    """SHA-256 over the canonical JSON of plain values, as 64 hex digits.

    Example:
        >>> digest_of({"b": 1, "a": [True]}) == digest_of({"a": [True], "b": 1})
        True
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def code_state(
    code: Code | Iterable[Code] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    seconds: float = _GIT_SECONDS,
) -> dict[str, object]:
    """What code an agent runs.

    Args:
        code: Functions, classes, modules, files or folders whose source counts.
        folder: Where to ask git when no code is given; the working folder when not given.
        seconds: How long git may take to say what differs.

    Returns:
        `{"sources": {name: sha256}}` for given code. Else `{"commit": …, "diff": …}`, where `diff` is a digest over
        what differs from the commit (untracked Python files included), or `None` where nothing does; it is missing
        where git does not know. Outside of a git repository, the digest of the program's main file.

    Raises:
        UsageError: The code has no source to be found.
    """
    if code is not None:
        given = [code] if isinstance(code, (str, os.PathLike)) or not isinstance(code, Iterable) else list(code)
        sources: dict[str, str] = {}
        for item in given:
            sources.update(_sources(item))
        return {"sources": dict(sorted(sources.items()))}
    place = Path(folder) if folder is not None else Path.cwd()
    state = _git_state(place, seconds)
    if state is not None:
        return state
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return {"sources": _sources(main)} if main and Path(main).is_file() else {}


def installed_distributions() -> dict[str, str]:
    """The version of every installed distribution by its normalised name; what is first on `sys.path` counts."""
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            children = os.listdir(entry or ".")  # noqa: PTH208 - thousands of names, no need for paths
        except OSError:
            continue
        for child in children:
            match = _METADATA_FOLDER.match(child)
            if match:
                found.setdefault(_normalised(match["name"]), match["version"])
    return dict(sorted(found.items()))


def _plain(value: object) -> Any:
    return plain(value, limit=None)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _dependencies(given: Mapping[str, str] | Iterable[str] | None) -> Mapping[str, str]:
    if given is None:
        return installed_distributions()
    if isinstance(given, Mapping):
        return given
    found: dict[str, str] = {}
    installed: dict[str, str] | None = None
    for item in [given] if isinstance(given, str) else given:
        name, equals, version = item.partition("==")
        if not equals:
            installed = installed_distributions() if installed is None else installed
            version = installed.get(_normalised(name.strip()), "")
            if not version:
                raise UsageError(f"the dependency {name.strip()!r} is not installed; write it as NAME==VERSION")
        found[_normalised(name.strip())] = version.strip()
    return dict(sorted(found.items()))


def _sources(item: object) -> dict[str, str]:
    if isinstance(item, (str, os.PathLike)):
        path = Path(item)
        if path.is_dir():
            files = sorted(path.rglob("*.py"))
            return {file.relative_to(path).as_posix(): _sha256(_read(file)) for file in files}
        return {path.name: _sha256(_read(path))}
    named: Any = inspect.unwrap(item) if callable(item) else item
    name = getattr(named, "__qualname__", None) or getattr(named, "__name__", None) or type(named).__qualname__
    try:
        return {name: _sha256(inspect.getsource(named).encode("utf-8", "backslashreplace"))}
    except (OSError, TypeError) as error:
        raise UsageError(f"the code {name} has no source to be found ({error}); give its file instead") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().replace(b"\r\n", b"\n")  # a checkout on another system is the same code
    except OSError as error:
        raise UsageError(f"cannot read the code {path}: {error.strerror}") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_state(folder: Path, seconds: float) -> dict[str, object] | None:
    """The commit and the digest of what differs from it; `None` outside of a repository that has a commit.

    Args:
        folder: A folder of the repository.
        seconds: How long git may take; where it takes longer, what differs is unknown, and `diff` is missing.
    """
    found = _head(folder) or _asked_head(folder)
    if found is None:
        return None
    root, commit = found
    asked = [
        _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative"),
        _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py"),
    ]  # both at once
    deadline = time.monotonic() + seconds
    difference, listed = (_answer(process, deadline) for process in asked)
    if difference is None or listed is None:
        return {"commit": commit}
    digest = hashlib.sha256(difference)
    untracked = sorted(name for name in listed.split(b"\0") if name)
    for name in untracked:
        path = root / os.fsdecode(name)
        digest.update(b"\0" + name + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return {"commit": commit, "diff": digest.hexdigest() if difference or untracked else None}


def _head(folder: Path) -> tuple[Path, str] | None:
    """The repository's top folder and its commit, as its files say; `None` where they do not say it plainly."""
    if any(name in os.environ for name in ("GIT_DIR", "GIT_WORK_TREE")):
        return None
    try:
        place = folder.resolve()
        top = next((above for above in (place, *place.parents) if (above / ".git").exists()), None)
        if top is None:
            return None
        git = top / ".git"
        if git.is_file():  # a linked working tree or a submodule
            git = top / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        shared = git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref: "):
            head = _reference(common, head.removeprefix("ref: "))
    except (OSError, ValueError):
        return None
    return (top, head) if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", head) else None


def _reference(common: Path, name: str) -> str:
    loose = common / name
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip()
    for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return ""


def _asked_head(folder: Path) -> tuple[Path, str] | None:
    answer = _answer(_git(folder, "rev-parse", "HEAD", "--show-toplevel"), time.monotonic() + _GIT_SECONDS)
    lines = (answer or b"").splitlines()
    return (Path(os.fsdecode(lines[1])), lines[0].decode()) if len(lines) == 2 else None


def _git(folder: Path, *words: str) -> subprocess.Popen[bytes] | None:
    command = ["git", "-C", os.fspath(folder), "-c", "core.quotepath=off", *words]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.Popen(  # noqa: S603 - our own words, and no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        return None  # no git here: the code's state is then unknown to it


def _answer(process: subprocess.Popen[bytes] | None, deadline: float) -> bytes | None:
    if process is None:
        return None
    with process:
        try:
            answer, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    return answer if process.returncode == 0 else None
