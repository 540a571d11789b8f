"""What makes an agent version itself: a digest over what it consists of.

The digest is SHA-256 over canonical JSON (sorted keys, no spaces, UTF-8) of
`{"code": …, "dependencies": …, "parameters": …, "prompts": …}`, and of `entry_point`, `models`, `python`, `signature`
and `tools` where they are given. The same inputs give the same digest on any machine. It needs the standard library
alone, because the light environment of an agent and the command line both use it.
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

Tool = Callable[..., Any] | Mapping[str, object]
Code = str | os.PathLike[str] | Callable[..., Any] | types.ModuleType
_GIT_SECONDS = 10.0
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*(\(\))?")
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
        entry_point: What is called to run it, `module:callable`; `None` where it was not given, as the rest.
        tools: Definitions of its tools, by name.
        models: Names of its models, sorted.
        python: The Python that it runs on.
        signature: JSON schemas of `input` and `output`.
    """

    name: str
    label: str
    digest: str
    code: Mapping[str, object] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    prompts: Mapping[str, object] = field(default_factory=dict)
    dependencies: Mapping[str, str] = field(default_factory=dict)
    entry_point: str | None = None
    tools: tuple[Mapping[str, object], ...] | None = None
    models: tuple[str, ...] | None = None
    python: str | None = None
    signature: Mapping[str, object] | None = None

    def given(self) -> dict[str, object]:
        """Those of entry point, tools, models, Python and signature that were given, as JSON takes them."""
        told: dict[str, object] = {"entry_point": self.entry_point, "python": self.python, "signature": self.signature}
        told["tools"] = None if self.tools is None else list(self.tools)
        told["models"] = None if self.models is None else list(self.models)
        return {name: value for name, value in told.items() if value is not None}


def describe(
    name: str,
    *,
    version: str | None = None,
    parameters: Mapping[str, object] | None = None,
    prompts: Mapping[str, object] | None = None,
    code: Mapping[str, object] | Code | Iterable[Code] | None = None,
    dependencies: Mapping[str, str] | Iterable[str] | None = None,
    entry_point: str | Callable[..., Any] | None = None,
    tools: Iterable[Tool] | None = None,
    models: Iterable[str] | None = None,
    python: str | None = None,
    signature: Mapping[str, object] | None = None,
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
        entry_point: What is called to run it, as `module:callable` or the callable itself. This and what follows
            counts where it is given.
        tools: Its tools: functions, or definitions as models are given them. Their order does not count.
        models: Names of its models. Their order does not count.
        python: The Python that it runs on, such as `3.11`.
        signature: JSON schemas of `input` and `output`.

    Raises:
        UsageError: The code has no source to be found, a dependency is not installed, the entry point is no
            `module:callable`, or two tools have one name.

    Example:
        >>> one = describe("bot", code={"commit": "4f2a"}, prompts={"system": "Be brief."}, dependencies={})
        >>> one.label, len(one.digest)
        ('0025c6222b1d', 64)
    """
    facts = {
        "code": _plain(code if isinstance(code, Mapping) else code_state(code)),
        "parameters": _plain(parameters or {}),
        "prompts": _plain({key: _prompt(each) for key, each in (prompts or {}).items()}),
        "dependencies": _plain(_dependencies(dependencies)),
    }
    given: dict[str, Any] = {
        "entry_point": None if entry_point is None else _entry_point(entry_point),
        "tools": None if tools is None else _tools(tools),
        "models": None if models is None else sorted({str(each) for each in models}),
        "python": python,
        "signature": None if signature is None else _plain(signature),
    }
    digest = digest_of({**facts, **{key: value for key, value in given.items() if value is not None}})
    return AgentVersionInfo(
        name=name,
        label=version or digest[:LABEL_DIGITS],
        digest=digest,
        code=facts["code"],
        parameters=facts["parameters"],
        prompts=facts["prompts"],
        dependencies={key: str(value) for key, value in facts["dependencies"].items()},
        entry_point=given["entry_point"],
        tools=None if given["tools"] is None else tuple(given["tools"]),
        models=None if given["models"] is None else tuple(given["models"]),
        python=python,
        signature=given["signature"],
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


def _prompt(value: object) -> object:
    """A prompt as a version keeps it: a registered one with its `name@number`."""
    from tracekit.prompts import Prompt  # noqa: PLC0415 - it imports this module

    return value.facts() if isinstance(value, Prompt) else value


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


def _entry_point(given: str | Callable[..., Any]) -> str:
    if isinstance(given, str):
        named = given.strip()
    else:
        named = f"{getattr(given, '__module__', '')}:{getattr(given, '__qualname__', '')}"
    if not _ENTRY_POINT.fullmatch(named) or named.startswith("__main__:"):
        raise UsageError(f"the entry point {named!r} cannot be imported; write it as module:callable")
    return named


def _tools(given: Iterable[Tool]) -> list[dict[str, object]]:
    from tracekit._definitions import tool_definition  # noqa: PLC0415 - keeps `import tracekit` quick

    found: dict[str, dict[str, object]] = {}
    for item in given:
        definition = _plain(item if isinstance(item, Mapping) else tool_definition(item))
        inner = definition.get("function")  # OpenAI's chat format
        name = definition.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
        if not isinstance(name, str) or not name:
            raise UsageError("a tool's definition has no name")
        if name in found:
            raise UsageError(f"two tools are called {name!r}")
        found[name] = definition
    return [definition for _, definition in sorted(found.items())]


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
