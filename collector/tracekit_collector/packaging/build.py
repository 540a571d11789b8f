"""Making a package: lock, environment, signature and example, and its registration as a version.

The version's digest is that of `tracekit.agent_version` over code (digest of the files, commit), dependencies (versions
by name), parameters, prompts, entry point, Python, signature, tools and models. The example is no part of it: it shows
what the version answers, and an agent that asks a model may answer differently each time. Nor is tracekit's SDK, which
an environment gets from whoever makes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.agent_version import Tool, describe
from tracekit.errors import UsageError
from tracekit_collector import artifacts
from tracekit_collector.packaging import environment, pythons
from tracekit_collector.packaging.lock import Lock, Locker, lock
from tracekit_collector.packaging.package import Package
from tracekit_collector.packaging.running import NOTHING, run_entry
from tracekit_collector.signatures import Fit, first_misfit

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.packaging.source import Source
    from tracekit_collector.store import Store

EXAMPLE_SECONDS = 120.0
_DEEPEST = 8


@dataclass(frozen=True)
class Wanted:
    """What is to be packaged.

    Args:
        name: The agent's name.
        entry_point: `module:callable`.
        source: Its files.
        roots: Folders of the source in which modules may be, besides the top and `src`.
        requirements: What it depends on, as lines of a requirements file.
        python: The Python that it runs on, such as `3.11`; that of this process when not given.
        parameters: What it is configured with.
        prompts: Its prompts, by name.
        tools: Its tools.
        models: Names of its models.
        label: What to call the version.
        example: `{"input": …}` or `{"input": …, "output": …}`; where there is no output, it is what the agent gives.
        locker: What locks the dependencies; see `lock`.
        timeout: How long the example may take, in seconds.
    """

    name: str
    entry_point: str
    source: Source
    roots: Sequence[str] = ()
    requirements: Sequence[str] = ()
    python: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    prompts: Mapping[str, object] = field(default_factory=dict)
    tools: Sequence[Tool] | None = None
    models: Sequence[str] | None = None
    label: str | None = None
    example: Mapping[str, object] | None = None
    locker: Locker | None = None
    timeout: float = EXAMPLE_SECONDS


def build(
    wanted: Wanted, *, cache: Path | None = None, progress: Callable[[str], object] = lambda _said: None
) -> Package:
    """Make a package: the same inputs give the same bytes.

    Args:
        wanted: What is to be in it.
        cache: The folder of environments; that of the setting `environments` when not given.
        progress: Told what is being done, where that takes time.

    Raises:
        UsageError: The entry point cannot be imported; its example raises, or its input does not fit; a
            dependency cannot be locked; the Python is not on this machine.
        TracekitError: A dependency cannot be installed.
    """
    python = wanted.python or pythons.ours()
    pythons.interpreter(python)  # said before anything takes time
    root = wanted.source.root(wanted.entry_point.partition(":")[0], wanted.roots)
    if wanted.requirements:
        progress("locking dependencies")
    locked = lock(wanted.requirements, python=python, locker=wanted.locker)
    facts = _facts(wanted, locked, python, root)
    draft = Package.made({**facts, "signature": {}, "example": None}, locked.requirements, wanted.source.files)
    place = environment.folder(cache)
    made = environment.interpreter_of(locked.requirements, python, cache=place, progress=progress)
    given = NOTHING if wanted.example is None or "output" in wanted.example else wanted.example["input"]
    progress("importing the entry point" if given is NOTHING else "running the example")
    with tempfile.TemporaryDirectory(prefix="tracekit-package-") as scratch:
        draft.unpack(Path(scratch) / "package")
        source = Path(scratch) / "package" / "source" / root
        told = run_entry(made, source, wanted.entry_point, input=given, timeout=wanted.timeout)
    example = None if wanted.example is None else {"output": told.output, **wanted.example}
    signature = {
        end: told.signature.get(end) or ({} if example is None else inferred(example[end]))
        for end in ("input", "output")
    }
    if example is not None:
        _check_input(told.signature.get("input") or {}, example["input"])
    return Package.made({**facts, "signature": signature, "example": example}, locked.requirements, wanted.source.files)


def register(store: Store, package: Package) -> AgentVersion:
    """Keep a package among the artifacts, and register its version; the same version again changes nothing.

    Args:
        store: Where to.
        package: What was built.

    Returns:
        The version. Where it had a package before, it has that still.

    Raises:
        UsageError: The version was deleted.
        StoreError: The store cannot be written.
    """
    told = package.manifest
    found = describe(
        told["agent"],
        version=told["label"],
        parameters=told["parameters"],
        prompts=told["prompts"],
        code=told["code"],
        dependencies=told["dependencies"],
        entry_point=told["entry_point"],
        tools=told["tools"],
        models=told["models"],
        python=told["python"],
        signature=told["signature"],
    )
    digest = artifacts.keep(store.artifacts, package.content)
    version = store.catalog.agents.register_described(found)
    if version.package is not None and (store.artifacts / version.package).is_file():
        return version
    return store.catalog.agents.set_package(version, version.package or digest)


def inferred(value: object, *, depth: int = 0) -> dict[str, object]:
    """The JSON schema that an example suggests.

    Example:
        >>> inferred({"question": "Why?", "limit": 3})["properties"]
        {'question': {'type': 'string'}, 'limit': {'type': 'integer'}}
    """
    if depth > _DEEPEST:
        return {}
    if isinstance(value, Mapping):
        properties = {str(key): inferred(item, depth=depth + 1) for key, item in value.items()}
        return {"type": "object", "properties": properties, "required": sorted(properties)}
    if isinstance(value, list):
        kinds = [inferred(item, depth=depth + 1) for item in value]
        alike = bool(kinds) and all(kind == kinds[0] for kind in kinds)
        return {"type": "array", "items": kinds[0]} if alike else {"type": "array"}
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return {"type": names[type(value)]} if type(value) in names else {}  # null may stand for anything


def _check_input(schema: Mapping[str, Any], value: object) -> None:
    """Refuse an example that the version would refuse when it is served."""
    found = Fit(schema).misfits(value)
    if found:
        raise UsageError(
            f"the example's input does not fit the annotations of the entry point: {first_misfit(found)}; "
            f"correct the one or the other"
        )


def _facts(wanted: Wanted, locked: Lock, python: str, root: str) -> dict[str, Any]:
    found = describe(
        wanted.name,
        code=wanted.source.code,
        parameters=wanted.parameters,
        prompts=wanted.prompts,
        dependencies=locked.dependencies,
        entry_point=wanted.entry_point,
        tools=wanted.tools,
        models=wanted.models,
    )
    return {
        "agent": wanted.name,
        "label": wanted.label,
        "entry_point": wanted.entry_point,
        "root": root,
        "python": python,
        "code": found.code,
        "parameters": found.parameters,
        "prompts": found.prompts,
        "tools": None if found.tools is None else list(found.tools),
        "models": None if found.models is None else list(found.models),
        "dependencies": found.dependencies,
    }
