"""Verifying a package: built in a fresh environment, its example answered, the output compared."""

from __future__ import annotations

import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError
from tracekit_collector.packaging import environment, pythons
from tracekit_collector.packaging.package import Package
from tracekit_collector.packaging.running import NOTHING, run_entry

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_SHOWN = 20
_SHOWN_LENGTH = 200


@dataclass(frozen=True)
class Verdict:
    """What a verification came to.

    Args:
        passed: Whether the package could be built and answered its example with the same output.
        differences: Where the outputs differ, or why there is none; at most 20.
        output: What it answered; `None` also where it did not.
        has_example: Whether there was an example to answer; without one it was only imported.
        seconds: How long building and running took.
        environment: Python, platform, package digest and whether the environment was fresh.
    """

    passed: bool
    differences: list[str]
    output: object
    has_example: bool
    seconds: float
    environment: dict[str, object] = field(default_factory=dict)

    def record(self) -> dict[str, object]:
        """What the catalog keeps of it."""
        return {
            "passed": self.passed,
            "differences": self.differences,
            "has_example": self.has_example,
            "seconds": round(self.seconds, 3),
            **self.environment,
        }


def verify(
    package: Package,
    *,
    tolerance: float = 0.0,
    timeout: float = 120.0,
    cache: Path | None = None,
    fresh: bool = True,
    progress: Callable[[str], object] = lambda _said: None,
) -> Verdict:
    """Build a package and have it answer its example.

    Args:
        package: The package.
        tolerance: How far numbers may be apart, relative to the larger of the two; 0 for exact.
        timeout: How long the example may take, in seconds.
        cache: The folder of environments, where they are not to be fresh.
        fresh: Whether to build an environment for this alone.
        progress: Told what is being done.

    Raises:
        UsageError: The package's Python is not on this machine.
        TracekitError: A dependency cannot be installed.
    """
    began = time.monotonic()
    told = package.manifest
    pythons.interpreter(told["python"])
    example = told["example"]
    output: object = None
    with tempfile.TemporaryDirectory(prefix="tracekit-verify-") as scratch:
        place = Path(scratch) / "environments" if fresh else cache
        made = environment.environment(package, cache=place, progress=progress)
        progress("running the example" if example is not None else "importing the entry point")
        given = NOTHING if example is None else example["input"]
        try:
            output = run_entry(made.python, made.source, told["entry_point"], input=given, timeout=timeout).output
            found = [] if example is None else list(differences(example["output"], output, tolerance=tolerance))
        except UsageError as error:
            found = [str(error)]
    shown = found[:_SHOWN] + ([f"… and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])
    facts: dict[str, object] = {
        "package": package.digest,
        "python": told["python"],
        "platform": f"{sys.platform}-{platform.machine()}",
        "fresh": fresh,
        "tolerance": tolerance,
    }
    return Verdict(not found, shown, output, example is not None, time.monotonic() - began, facts)


def verify_version(store: Store, version: AgentVersion, **how: Any) -> Verdict:
    """Verify a version's package, and take down what it came to as a fact of the version.

    Args:
        store: Where the version is.
        version: A packaged version.
        how: As for `verify`.

    Raises:
        UsageError: The version is not packaged, or its Python is not on this machine.
        StoreError: The package is missing or damaged.
        TracekitError: A dependency cannot be installed.
    """
    verdict = verify(Package.load(store, version), **how)
    store.catalog.verifications.add(version, verdict.record())
    return verdict


def differences(wanted: Any, found: Any, *, tolerance: float = 0.0, path: str = "output") -> Iterator[str]:
    """Where two JSON values differ, as lines; a number is equal to itself however it is written.

    Args:
        wanted: What it should be.
        found: What it is.
        tolerance: How far numbers may be apart, relative to the larger of the two.
        path: What to call the value.

    Example:
        >>> list(differences({"n": 1, "s": "a"}, {"n": 1.0, "s": "b"}))
        ["output.s: 'a' became 'b'"]
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}):
            if key not in found:
                yield f"{path}.{key}: {_shown(wanted[key])} is missing"
            elif key not in wanted:
                yield f"{path}.{key}: {_shown(found[key])} is new"
            else:
                yield from differences(wanted[key], found[key], tolerance=tolerance, path=f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield f"{path}: {len(wanted)} items became {len(found)}"
        for at, (one, other) in enumerate(zip(wanted, found, strict=False)):
            yield from differences(one, other, tolerance=tolerance, path=f"{path}[{at}]")
    elif not _same(wanted, found, tolerance):
        yield f"{path}: {_shown(wanted)} became {_shown(found)}"


def _same(wanted: Any, found: Any, tolerance: float) -> bool:
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (wanted, found))
    if numbers:
        return bool(wanted == found) or math.isclose(wanted, found, rel_tol=tolerance, abs_tol=tolerance * 1e-9)
    return type(wanted) is type(found) and bool(wanted == found)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"
