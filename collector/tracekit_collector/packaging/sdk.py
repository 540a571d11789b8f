"""tracekit's own light SDK for the environments of agents, copied from what this process runs: no index is asked.

An environment finds it behind its own packages, by a `.pth` file: what an agent's lock names wins. OpenTelemetry is
copied along only where the lock does not name it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import tracekit
from tracekit.errors import StoreError

NEEDS = ("opentelemetry-sdk>=1.38", "opentelemetry-exporter-otlp-proto-common>=1.38")
"""What the SDK imports; with an agent's dependencies it is locked, so that there is one version of everything."""

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_SKIPPED = (".pyc", ".pyo")


@lru_cache(maxsize=2)
def files(*, alone: bool) -> dict[str, Path]:
    """The files of the SDK by their place in `site-packages`.

    Args:
        alone: Whether tracekit is enough, since the lock names OpenTelemetry.

    Raises:
        StoreError: OpenTelemetry is installed in a way that leaves no list of its files.
    """
    home = Path(tracekit.__file__).parent
    found = {f"tracekit/{path.relative_to(home).as_posix()}": path for path in home.rglob("*") if _counts(path)}
    try:
        own = distribution("tracekit")
        about = f"tracekit-{own.version}.dist-info"
        found |= {f"{about}/{name}": path for name in ("METADATA", "entry_points.txt") if (path := _about(own, name))}
    except PackageNotFoundError:
        pass  # run from its source: nothing in the SDK asks for its metadata
    if alone:
        return found
    for each in _needed():
        for file in each.files or ():
            path = Path(str(each.locate_file(file)))
            if ".." not in file.parts and _counts(path):
                found[file.as_posix()] = path
    if "opentelemetry/sdk/trace/__init__.py" not in found:
        raise StoreError("OpenTelemetry was installed here without a list of its files; install it with pip or uv")
    return found


def digest(*, alone: bool) -> str:
    """SHA-256 over names and contents of the SDK's files."""
    told = hashlib.sha256()
    for name, path in sorted(files(alone=alone).items()):
        told.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()


def folder(cache: Path, *, alone: bool) -> Path:
    """A folder with the SDK, made where it is not there yet.

    Args:
        cache: The folder of environments.
        alone: As for `files`.

    Raises:
        StoreError: It cannot be written.
    """
    place = cache / "sdk" / digest(alone=alone)[:32]
    if place.is_dir():
        return place
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        for name, path in files(alone=alone).items():
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        aside.rename(place)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not place.is_dir():  # else another process was quicker
            raise StoreError(f"cannot write to {cache}: {error.strerror or error}") from error
    return place


def _needed() -> list[Distribution]:
    """The distributions that the SDK needs, and those that they need, as far as they are installed."""
    found: dict[str, Distribution] = {}
    waiting = [*NEEDS, "tomli"]
    while waiting:
        match = _NAME.match(waiting.pop().strip())
        name = "" if match is None else re.sub(r"[-_.]+", "-", match[0]).lower()
        if not name or name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # its marker leaves it out here
        waiting += [line for line in found[name].requires or () if "extra ==" not in line.replace("'", '"')]
    return [found[name] for name in sorted(found)]


def _about(own: Distribution, name: str) -> Path | None:
    known = getattr(own, "_path", None)
    path = None if known is None else Path(os.fspath(known)) / name
    return path if path is not None and path.is_file() else None


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix not in _SKIPPED
