"""The source of a package: what git has committed, or listed files, without what does not belong into a package."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tracekit.errors import UsageError
from tracekit_collector.packaging.archive import FILES, LIMIT, File

_NEVER = frozenset(
    [
        *(".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "node_modules", ".eggs", ".idea", ".DS_Store"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".tracekit"),
    ]
)
_NEVER_LIKE = ("*.pyc", "*.pyo", "*.egg-info")
_SECRET_LIKE = (
    *(".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", ".netrc", ".pypirc", ".npmrc"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".htpasswd", ".git-credentials", "credentials.json"),
    *("service-account*.json", "client_secret*.json", "secrets.toml", "secrets.y*ml"),
)
_NO_SECRET_LIKE = (".env.example", ".env.sample", ".env.template", ".env.dist")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s*[A-Za-z0-9+/=]{20}")
_GIT_SECONDS = 120


@dataclass(frozen=True)
class Source:
    """What a package holds of an agent's code.

    Args:
        files: By name, with `/` between folders.
        code: The commit where it is one, whether it was dirty, and the digest of the files.
        left_out: What was there and is not held, with the reason.
    """

    files: dict[str, File]
    code: dict[str, object]
    left_out: list[str] = field(default_factory=list)

    def root(self, module: str, given: Iterable[str] = ()) -> str:
        """The folder of the source that a module is imported from: the top, `src`, or one of those that were given.

        Raises:
            UsageError: The module is in none of them.
        """
        top = module.replace(".", "/")
        roots = ["", "src", *given]
        for root in roots:
            place = f"{root}/{top}" if root else top
            if f"{place}.py" in self.files or any(name.startswith(f"{place}/") for name in self.files):
                return root
        raise UsageError(
            f"the source has no module {module!r}: neither {top}.py nor a folder {top}/ is in it (it has "
            f"{len(self.files)} files); name what is missing with --source, or commit it"
        )


def from_git(folder: Path, *, dirty: bool = False) -> Source:
    """The files of a folder as git's HEAD has them, or as they are.

    Args:
        folder: A folder of a repository.
        dirty: Whether to take what differs from HEAD, and what is new and not ignored.

    Raises:
        UsageError: It is no repository, has no commit, differs from HEAD where that is not wanted, or is too large.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD").decode().strip()
    changed = _changes(folder)
    if changed and not dirty:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UsageError(
            f"{folder} differs from its commit {commit[:12]} ({shown}); commit it, or package it with --dirty"
        )
    if not changed:
        return _checked(_archived(folder), {"commit": commit})
    names = _names(_git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
    return _checked(_on_disk(folder, names, ""), {"commit": commit, "dirty": True})


def from_paths(paths: Sequence[Path], *, folder: Path, modules: Sequence[str] = ()) -> Source:
    """Listed files and folders; those below `folder` keep their names there, the content of others goes to the top.

    Args:
        paths: The files and folders.
        folder: What names are relative to.
        modules: Modules and packages that can be imported here, which keep their full names.

    Raises:
        UsageError: One is not there, two would have one name, or they are too large.
    """
    found: dict[str, File | str] = {name: file for module in modules for name, file in _of_module(module)}
    for path in paths:
        place = path.resolve()
        if not place.exists():
            raise UsageError(f"--source {path}: there is no such file or folder")
        is_inside = place.is_relative_to(folder.resolve())
        if place.is_dir():
            name = place.relative_to(folder.resolve()).as_posix() if is_inside else ""
            more = list(_on_disk(place, _listed(place), "" if name in ("", ".") else name))
        else:
            name = place.relative_to(folder.resolve()).as_posix() if is_inside else place.name
            more = [(name, _read(place))]
        for each, file in more:
            if each in found and found[each] != file:
                raise UsageError(f"--source gives two files the name {each}")
            found[each] = file
    return _checked(found.items(), {})


def _of_module(module: str) -> list[tuple[str, File | str]]:
    """The files of an importable module; of the packages that it is in, only the folders."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"--source-module {module}: no module of this name with a source can be imported here")
    top, path = module.replace(".", "/"), Path(spec.origin)
    if spec.submodule_search_locations is None:
        return [(f"{top}.py", _read(path))]
    names = [each.relative_to(path.parent).as_posix() for each in path.parent.rglob("*")]
    return list(_on_disk(path.parent, names, top))


def is_repository(folder: Path) -> bool:
    """Whether git has a commit of a folder."""
    try:
        return bool(_git(folder, "rev-parse", "--verify", "HEAD"))
    except UsageError:
        return False


def _checked(found: Iterable[tuple[str, File | str]], code: Mapping[str, object]) -> Source:
    """The files that belong into a package; a text in place of a file says why there is none."""
    files: dict[str, File] = {}
    left_out: list[str] = []
    size = 0
    for name, file in found:
        parts = name.split("/")
        if _NEVER & set(parts) or any(fnmatch.fnmatch(part, like) for part in parts for like in _NEVER_LIKE):
            continue
        reason = file if isinstance(file, str) else _secret(parts[-1], file)
        if reason is not None:
            left_out.append(f"{name} ({reason})")
            continue
        assert isinstance(file, File)  # noqa: S101 - a text is a reason
        files[name] = file
        size += len(file.content)
        if size > LIMIT or len(files) > FILES:
            raise UsageError(_too_large(files))
    if not files:
        raise UsageError("the source has no files; commit some, or name them with --source")
    told = hashlib.sha256()
    for name, file in sorted(files.items()):
        told.update(f"{int(file.executable)} {hashlib.sha256(file.content).hexdigest()} {name}\n".encode())
    return Source(dict(sorted(files.items())), {**code, "source": told.hexdigest()}, sorted(left_out))


def _too_large(files: Mapping[str, File]) -> str:
    largest = sorted(files, key=lambda name: -len(files[name].content))[:3]
    shown = ", ".join(f"{name} ({len(files[name].content) / 2**20:.1f} MiB)" for name in largest)
    return (
        f"the source is larger than a package may be ({LIMIT >> 20} MiB, {FILES:,} files); the largest: {shown}. "
        "Name what is needed with --source, or keep data where the agent can load it from"
    )


def _secret(name: str, file: File) -> str | None:
    if name not in _NO_SECRET_LIKE and any(fnmatch.fnmatch(name.lower(), like) for like in _SECRET_LIKE):
        return "its name is that of a secret"
    return "it holds a private key" if _PRIVATE_KEY.search(file.content) else None


def _archived(folder: Path) -> Iterator[tuple[str, File | str]]:
    # The same bytes on every machine: line endings are not the checkout's.
    made = _git(folder, "-c", "core.autocrlf=false", "-c", "core.eol=lf", "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        for info in tar:
            if info.isreg():
                content = tar.extractfile(info)
                yield info.name, File(b"" if content is None else content.read(), bool(info.mode & 0o100))
            elif not info.isdir():
                yield info.name, "it is a link"


def _changes(folder: Path) -> list[str]:
    """What differs from HEAD; of new files, only Python's count."""
    differing = _names(_git(folder, "diff", "HEAD", "--name-only", "--relative", "-z", "--no-ext-diff"))
    new = _names(_git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py"))
    return sorted({*differing, *(name for name in new if not _NEVER & set(name.split("/")))})


def _listed(folder: Path) -> list[str]:
    """The files below a folder, without what git would ignore there."""
    asked = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        return _names(_git(folder, *asked))
    except UsageError:
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="tracekit-git-") as bare:  # its .gitignore counts all the same
            _git(folder, "init", "--quiet", "--bare", bare)
            return _names(_git(folder, f"--git-dir={bare}", f"--work-tree={folder}", *asked))
    except UsageError:
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]


def _on_disk(folder: Path, names: Iterable[str], below: str) -> Iterator[tuple[str, File | str]]:
    environments = {path.parent.relative_to(folder).as_posix() + "/" for path in folder.glob("*/pyvenv.cfg")}
    size = 0
    for name in names:
        if name.startswith(tuple(environments)) or _NEVER & set(name.split("/")):
            continue
        path = folder / name
        told = f"{below}/{name}" if below else name
        if path.is_symlink():
            yield told, "it is a link"
        elif path.is_file():
            size += path.stat().st_size
            if size > LIMIT:  # not read: it may not fit into memory
                raise UsageError(_too_large({told: File(b"")}).partition("; the largest")[0] + f", with {told}")
            yield told, _read(path)


def _read(path: Path) -> File:
    try:
        if path.stat().st_size > LIMIT:
            raise UsageError(f"{path} is larger than a package may be ({LIMIT >> 20} MiB)")
        return File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    except OSError as error:
        raise UsageError(f"cannot read the source {path}: {error.strerror or error}") from error


def _names(answer: bytes) -> list[str]:
    return sorted({os.fsdecode(name) for name in answer.split(b"\0") if name})


def _git(folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - our own words, and no shell
            ["git", "-C", os.fspath(folder), "-c", "core.quotepath=off", *words],  # noqa: S607 - the user's git
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git did not answer ({error}); name the files with --source") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"git cannot tell the source of {folder} ({said[-1] if said else '?'}); name it with --source")
    return done.stdout
