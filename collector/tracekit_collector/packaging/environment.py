"""Environments of packages: a virtual environment by lock and Python, made once, kept, shared by processes.

    <cache>/<key>/            a virtual environment; `ready` in it says that it is whole
    <cache>/.<key>.lock       held while it is made
    <cache>/sources/<digest>/ a package, unpacked
    <cache>/sdk/<digest>/     tracekit's SDK, see `sdk`

A virtual environment cannot be moved, so it is made in its place under the lock; one without the mark was not finished
and is made anew. Sources are unpacked aside and renamed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracekit._locks import held
from tracekit._spool import cache_folder
from tracekit.errors import StoreBusyError, StoreError
from tracekit.settings import setting
from tracekit_collector.packaging import pythons, sdk
from tracekit_collector.packaging.package import Package

_WAIT_SECONDS = 1_800.0
_READY = "ready"
_KEY_DIGITS = 32


@dataclass(frozen=True)
class Environment:
    """Where a packaged version can be run.

    Args:
        python: The interpreter of its environment, which has its dependencies and tracekit's SDK.
        source: The folder that its modules are imported from.
        manifest: What it is.
    """

    python: Path
    source: Path
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """One environment of the cache.

    Args:
        key: Its name.
        python: Its Python, such as `3.11`.
        dependencies: How many distributions its lock names.
        made_at: When it was made, UTC; `None` for one that was not finished.
        bytes: What it takes on the disk, in bytes.
    """

    key: str
    python: str | None
    dependencies: int | None
    made_at: datetime.datetime | None
    bytes: int


def environment(
    package: Package, *, cache: Path | None = None, progress: Callable[[str], object] = lambda _said: None
) -> Environment:
    """The environment that a package runs in, made where it is not there yet.

    Args:
        package: The package.
        cache: The folder of environments; that of the setting `environments` when not given.
        progress: Told what is being done, where that takes time.

    Raises:
        UsageError: The package's Python is not on this machine, or there is neither uv nor pip to install with.
        TracekitError: A dependency cannot be installed.
        StoreError: The cache cannot be written.
    """
    place = folder(cache)
    python = interpreter_of(package.requirements, str(package.manifest["python"]), cache=place, progress=progress)
    source = _source(package, place)
    return Environment(python, source / "source" / package.manifest["root"], package.manifest)


def interpreter_of(
    requirements: str, version: str, *, cache: Path, progress: Callable[[str], object] = lambda _said: None
) -> Path:
    """The interpreter of an environment with what a lock names; see `environment`.

    Args:
        requirements: The lock.
        version: The Python, such as `3.11`.
        cache: The folder of environments.
        progress: Told what is being done, where that takes time.
    """
    base = pythons.interpreter(version)
    alone = "\nopentelemetry-sdk==" in "\n" + requirements
    told = {
        "requirements": hashlib.sha256(requirements.encode()).hexdigest(),
        "python": version,
        "interpreter": str(base),
        "machine": f"{sys.platform}-{platform.machine()}",
        "sdk": sdk.digest(alone=alone),
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]
    place = cache / key
    python = place / "bin" / "python"
    if _is_ready(place, python):
        return python
    try:
        with held(cache / f".{key}.lock", timeout=_WAIT_SECONDS) as got:
            if not got:
                raise StoreBusyError(f"another process has been making {place} for {_WAIT_SECONDS / 60:.0f} minutes")
            if not _is_ready(place, python):
                shutil.rmtree(place, ignore_errors=True)
                _make(place, base, requirements, sdk.folder(cache, alone=alone), progress)
                _mark(place, told, requirements)
    except OSError as error:
        raise StoreError(f"cannot make an environment in {cache}: {error.strerror or error}") from error
    return python


def folder(given: Path | None = None) -> Path:
    """The folder of environments that is in force."""
    if given is not None:
        return given.absolute()
    said = setting("environments")
    return Path(said).absolute() if said else cache_folder() / "tracekit" / "environments"


def listed(cache: Path | None = None) -> list[Kept]:
    """The environments of the cache, oldest first."""
    place = folder(cache)
    found = [_kept(each) for each in place.glob("*") if len(each.name) == _KEY_DIGITS and each.is_dir()]
    return sorted(found, key=lambda each: (str(each.made_at or ""), each.key))


def clear(cache: Path | None = None, *, key: str | None = None) -> int:
    """Remove environments, and with all of them also the sources; returns how many environments.

    Args:
        cache: The folder of environments.
        key: Only the one whose name begins so.

    Raises:
        StoreBusyError: One of them is being made.
    """
    place = folder(cache)
    chosen = [each.key for each in listed(place) if key is None or each.key.startswith(key)]
    for name in chosen:
        with held(place / f".{name}.lock", timeout=5.0) as got:
            if not got:
                raise StoreBusyError(f"{place / name} is being made by another process; try again when it is done")
            (place / name / _READY).unlink(missing_ok=True)  # first, so that nobody takes a half for the whole
            shutil.rmtree(place / name)
    if key is None:
        for name in ("sources", "sdk"):
            shutil.rmtree(place / name, ignore_errors=True)
    return len(chosen)


def _make(place: Path, base: Path, requirements: str, own: Path, progress: Callable[[str], object]) -> None:
    progress(f"making an environment with {base.name}")
    pythons.run([str(base), "-m", "venv", "--without-pip", str(place)])
    site = next(place.glob("lib/python*/site-packages"), None)
    if site is None:
        raise StoreError(f"{base} made an environment in {place} that has no site-packages")
    if requirements.strip():
        progress(f"installing {requirements.count('==')} distributions")
        _install(place, requirements)
    # Sorted last, so that the paths of the agent's own packages come first.
    (site / "zz_tracekit_sdk.pth").write_text(f"{own}\n", encoding="utf-8")


def _install(place: Path, requirements: str) -> None:
    python = place / "bin" / "python"
    file = place / "requirements.txt"
    file.write_text(requirements, encoding="utf-8")
    tool = pythons.uv()
    if tool is not None:
        words = [tool, "pip", "install", "--quiet", "--no-config", "--python", str(python)]
    else:
        words = [*pythons.pip_for(python), "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pythons.run([*words, "--require-hashes", "--no-deps", "-r", str(file)])


def _mark(place: Path, told: Mapping[str, str], requirements: str) -> None:
    made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    facts = {**told, "dependencies": requirements.count("=="), "made_at": made}
    half = place / f".{_READY}"
    with half.open("w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    half.replace(place / _READY)


def _is_ready(place: Path, python: Path) -> bool:
    return (place / _READY).is_file() and python.exists() and _sdk_is_there(place)


def _sdk_is_there(place: Path) -> bool:
    for pth in place.glob("lib/python*/site-packages/zz_tracekit_sdk.pth"):
        return Path(pth.read_text(encoding="utf-8").strip()).is_dir()
    return False


def _source(package: Package, cache: Path) -> Path:
    place = cache / "sources" / package.digest
    if place.is_dir():
        return place
    aside = place.with_name(f".{package.digest[:12]}.{secrets.token_hex(4)}")
    package.unpack(aside)
    (aside / "source").mkdir(exist_ok=True)
    try:
        aside.rename(place)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not place.is_dir():  # else another process was quicker
            raise StoreError(f"cannot write to {cache}: {error.strerror or error}") from error
    return place


def _kept(place: Path) -> Kept:
    try:
        facts = json.loads((place / _READY).read_text(encoding="utf-8"))
        made = datetime.datetime.fromisoformat(facts["made_at"]).replace(tzinfo=None)
        python, count = str(facts["python"]), int(facts["dependencies"])
    except (OSError, ValueError, KeyError, TypeError):
        made = python = count = None  # type: ignore[assignment]  # it was not finished
    size = sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
    return Kept(place.name, python, count, made, size)
