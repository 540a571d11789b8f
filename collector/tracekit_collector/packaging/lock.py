"""Locking dependencies: every distribution that is needed, with its version and the hashes of its files.

uv does it where it is installed, else pip; both come to the same versions. uv takes down the hashes of all files of a
version, so that its lock serves every platform; pip knows only the file that it would install here.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from tracekit.errors import TracekitError, UsageError
from tracekit_collector.packaging import pythons, sdk

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAMED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*($|[<>=!~;(])")
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_OPTIONS = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--pre", "--no-index", "--prefer-binary")
_DEEPEST = 10

Locker = Literal["uv", "pip"]


@dataclass(frozen=True)
class Lock:
    """What an agent's environment consists of.

    Args:
        requirements: The lock as pip reads it, sorted by name; empty where nothing is needed.
        dependencies: Versions by normalised name.
    """

    requirements: str
    dependencies: dict[str, str]


def lock(requirements: Sequence[str], *, python: str, locker: Locker | None = None) -> Lock:
    """Find what requirements come to, from the index that uv or pip is configured with.

    Args:
        requirements: Lines of a requirements file: names with bounds, and options that name an index.
        python: The Python that it is for, such as `3.11`.
        locker: Which tool; uv where it is installed, else pip, when not given.

    Returns:
        The lock, empty without a network where nothing is required.

    Raises:
        UsageError: A requirement names a folder, a repository or a URL rather than a distribution, or there is no tool.
        TracekitError: The tool failed, or the index has no hash for a file.
    """
    wanted = [line for line in requirements if line.strip()]
    for line in wanted:
        _check(line)
    if python == "3.10" and pythons.ours() != "3.10":
        wanted.append("tomli>=2")  # the SDK's on that Python; there is none here to copy
    if not any(_NAMED.match(line) for line in wanted):
        return Lock("", {})
    wanted += sdk.NEEDS
    chosen = locker or ("uv" if pythons.uv() else "pip")
    interpreter = pythons.interpreter(python)
    pins = (_by_uv if chosen == "uv" else _by_pip)("\n".join(wanted) + "\n", interpreter)
    lines = [
        " \\\n    ".join([f"{name}=={version}", *hashes]) + "\n" for name, (version, hashes) in sorted(pins.items())
    ]
    return Lock("".join(lines), {name: version for name, (version, _) in sorted(pins.items())})


def requirements_of(file: Path, *, depth: int = 0) -> list[str]:
    """The lines of a requirements file, those of the files that it names with `-r` included; hashes are found anew.

    Raises:
        UsageError: It cannot be read, or names itself.
    """
    if depth > _DEEPEST:
        raise UsageError(f"{file} names itself with -r")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the requirements {file}: {error}") from error
    found: list[str] = []
    for line in _logical_lines(text):
        option, _, rest = line.partition(" ")
        if option in ("-r", "--requirement"):
            found += requirements_of(file.parent / rest.strip(), depth=depth + 1)
        elif line:
            found.append(re.sub(r"\s*--hash[= ]\S+", "", line).strip())
    return found


def project_requirements(file: Path) -> list[str]:
    """What `[project]` in a `pyproject.toml` depends on; nothing where there is no such file.

    Raises:
        UsageError: The file cannot be read, or its dependencies are left to its build.
    """
    if not file.is_file():
        return []
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    if "dependencies" in project.get("dynamic", ()):
        raise UsageError(f"{file} leaves its dependencies to its build; name them with --requirements or --dependency")
    return [str(each) for each in project.get("dependencies", ())]


def _logical_lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        yield re.sub(r"(^|\s)#.*$", "", line).strip()


def _check(line: str) -> None:
    if line.startswith("-"):
        if line.partition("=")[0].split()[0] not in _OPTIONS:
            raise UsageError(
                f"the requirement {pythons.said(line)!r} cannot be locked: name distributions, not options"
            )
    elif not _NAMED.match(line):
        raise UsageError(
            f"the requirement {pythons.said(line)!r} is no distribution of an index; a package holds nothing that "
            "comes from a folder, a repository or a URL: publish it to an index, or add its source with --source"
        )


def _by_uv(text: str, python: Path) -> dict[str, tuple[str, list[str]]]:
    tool = pythons.uv()
    if tool is None:
        raise UsageError("uv is not installed; leave it to pip")
    words = [tool, "pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--no-config"]
    with tempfile.TemporaryDirectory(prefix="tracekit-lock-") as folder:  # away from other people's pyproject.toml
        done = _done([*words, "--python", str(python), "--no-emit-index-url"], stdin=text, cwd=Path(folder))
    pins: dict[str, tuple[str, list[str]]] = {}
    for line in _logical_lines(done):
        match = _PINNED.match(line)
        if match is not None:
            _pin(pins, match["name"], match["version"], _HASH.findall(line))
        elif line and not line.startswith("-"):
            raise TracekitError(f"uv locked {line.split()[0]!r}, which comes from no index")
    return pins


def _by_pip(text: str, python: Path) -> dict[str, tuple[str, list[str]]]:
    with tempfile.TemporaryDirectory(prefix="tracekit-lock-") as folder:
        file, report = Path(folder) / "requirements.in", Path(folder) / "report.json"
        file.write_text(text, encoding="utf-8")
        words = [*pythons.pip_for(python), "install", "--dry-run", "--ignore-installed", "--quiet", "--no-input"]
        _done([*words, "--disable-pip-version-check", "--report", str(report), "-r", str(file)], cwd=Path(folder))
        found: dict[str, Any] = json.loads(report.read_bytes())
    pins: dict[str, tuple[str, list[str]]] = {}
    for each in found["install"]:
        about, download = each["metadata"], each["download_info"]
        if "archive_info" not in download:
            raise TracekitError(f"pip locked {about['name']!r}, which comes from no index")
        _pin(pins, about["name"], about["version"], _hashes(download))
    return pins


def _hashes(download: Mapping[str, Any]) -> list[str]:
    told: Mapping[str, Any] = download["archive_info"]
    known = (told.get("hashes") or {}).get("sha256") or str(told.get("hash") or "").partition("sha256=")[2]
    if not known and download["url"].startswith("file:"):  # pip before 23.1 says nothing of files on the disk
        known = hashlib.sha256(Path(unquote(urlsplit(download["url"]).path)).read_bytes()).hexdigest()
    return [f"sha256:{known}"] if known else []


def _pin(pins: dict[str, tuple[str, list[str]]], name: str, version: str, hashes: Sequence[str]) -> None:
    if not hashes:
        raise TracekitError(f"the index gives no sha256 for {name} {version}, so that it cannot be locked")
    normal = re.sub(r"[-_.]+", "-", name).lower()
    pins[normal] = (version, [f"--hash={each}" for each in sorted(set(hashes))])


def _done(words: Sequence[str], *, stdin: str | None = None, cwd: Path) -> str:
    try:
        return pythons.run(words, stdin=stdin, cwd=cwd).stdout
    except TracekitError as error:
        raise TracekitError(f"the dependencies cannot be locked: {error}") from None
