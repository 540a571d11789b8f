"""What a pool of workers runs: a packaged version in an environment of its own, or code of this environment."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tracekit.errors import UsageError
from tracekit.settings import SETTINGS, setting
from tracekit_collector.catalog.versions import AgentVersion
from tracekit_collector.serving.worker import environment_of
from tracekit_collector.store import Store

# What decides where a worker's spans go and what is in them; a settings file of the server's folder says it for
# workers too, which run in another one.
_SHARED = (
    "project",
    "environment",
    "service",
    "capture_content",
    "redact",
    "attachments",
    "sample",
    "sample_errors",
    "spool",
    "spool_mb",
    "instrument",
    "baggage",
)


@dataclass(frozen=True)
class Target:
    """One version, ready to be run.

    Args:
        agent: The agent's name.
        version: What spans and logs call the version.
        ref: How people call it: `bot@4`.
        key: What tells it from other versions.
        entry_point: `module:callable`.
        folder: Where its source is.
        python: The interpreter of its environment.
        isolated: Whether the interpreter is to know nothing of this process's environment.
        environment: The workers' variables.
        signature: The schemas of input and output that its package says; those of the code when `None`.
        digest: The package's or version's digest.
    """

    agent: str
    version: str
    ref: str
    key: str
    entry_point: str
    folder: Path
    python: Path
    isolated: bool
    environment: Mapping[str, str] = field(repr=False)
    signature: Mapping[str, Any] | None = None
    digest: str | None = None

    def command(self, concurrency: int) -> list[str]:
        """The command line of a worker.

        Args:
            concurrency: How many requests it answers at once.
        """
        isolation = ["-I"] if self.isolated else []
        module = ["-m", "tracekit._serving_worker", "--entry", self.entry_point, "--folder", str(self.folder)]
        return [str(self.python), *isolation, *module, "--threads", str(2 * concurrency)]


class Source(Protocol):
    """Where the version that is to be served comes from; asked on a thread."""

    def look(self) -> str:
        """What tells the version that is to be served now from others.

        Raises:
            TracekitError: That cannot be found out.
        """

    def prepare(self) -> Target:
        """The version that is to be served now, ready to be run; this may take minutes.

        Raises:
            TracekitError: It cannot be made ready.
        """


class Registered:
    """A version of the registry, by a reference that may move.

    Args:
        store: Where the registry and the packages are.
        ref: `bot@production`, `bot@4`.
        variables: The workers' variables, as of `worker_variables`.
        progress: Told what is being done where an environment is made.
    """

    def __init__(
        self,
        store: Store,
        ref: str,
        variables: Mapping[str, str],
        *,
        progress: Callable[[str], object] = lambda _said: None,
    ) -> None:
        self._progress = progress
        self._store = store
        self._ref = ref
        self._variables = variables

    def look(self) -> str:
        """The key of the version that the reference stands for."""
        return _key(self._store.catalog.agents.resolve(self._ref))

    def prepare(self) -> Target:
        """The package of that version, in its environment."""
        from tracekit_collector.packaging.environment import environment  # noqa: PLC0415 - only packages need it
        from tracekit_collector.packaging.package import Package  # noqa: PLC0415 - as above

        version = self._store.catalog.agents.resolve(self._ref)
        package = Package.load(self._store, version)
        made = environment(package, progress=self._progress)
        label = version.label or version.digest or str(version.number)
        entry_point = made.manifest.get("entry_point")
        if not isinstance(entry_point, str):
            raise UsageError(
                f"the package of {version.ref} has no entry point; `tracekit agents package` makes another"
            )
        signature = made.manifest.get("signature")
        return Target(
            agent=version.agent,
            version=label,
            ref=version.ref,
            key=_key(version),
            entry_point=entry_point,
            folder=made.source,
            python=made.python,
            isolated=True,
            environment=environment_of({**self._variables, **_identity(version.agent, label)}),
            signature=signature if isinstance(signature, Mapping) else None,
            digest=package.digest,
        )


class Code:
    """Code of this environment that is not packaged, for development.

    Args:
        entry_point: `module:callable`.
        folder: Where the module is.
        agent: What to call the agent.
        version: What to call the version; `dev` and the beginning of a digest of its file when not given.
        variables: The workers' variables, as of `worker_variables`.
    """

    def __init__(
        self, entry_point: str, folder: Path, agent: str, variables: Mapping[str, str], *, version: str | None = None
    ) -> None:
        self._entry_point = entry_point
        self._folder = folder.resolve()
        self._agent = agent
        self._variables = variables
        self._version = version

    def look(self) -> str:
        """The digest of the module's file, so that saving it is seen."""
        module = self._entry_point.partition(":")[0].replace(".", "/")
        for path in (self._folder / f"{module}.py", self._folder / module / "__init__.py"):
            if path.is_file():
                return hashlib.sha256(path.read_bytes()).hexdigest()
        return "installed"

    def prepare(self) -> Target:
        """The code as it is now."""
        key = self.look()
        version = self._version or f"dev-{key[:8]}"
        identity = {**self._variables, **_identity(self._agent, version)}
        return Target(
            agent=self._agent,
            version=version,
            ref=f"{self._agent}@{version}",
            key=key,
            entry_point=self._entry_point,
            folder=self._folder,
            python=Path(sys.executable),
            isolated=False,
            environment=environment_of(identity),
        )


def worker_variables(store: str | os.PathLike[str], *, endpoint: str | None) -> dict[str, str]:
    """Where the spans of workers go, and what else of this process's settings holds for them.

    Args:
        store: The store's folder.
        endpoint: The collector that gets the spans; the store's inbox does when `None`.

    Raises:
        SettingError: The settings file cannot be read.
    """
    found = {"TRACEKIT_STORE": str(Path(store).absolute())}
    for name in _SHARED:
        value = setting(name)
        if value is not None and value != SETTINGS[name].default:
            found[SETTINGS[name].variables[0]] = value
    found["TRACEKIT_ENDPOINT"] = endpoint or ""
    if endpoint is None:
        found["OTEL_EXPORTER_OTLP_ENDPOINT"] = ""
    return found


def _identity(agent: str, version: str) -> dict[str, str]:
    return {"TRACEKIT_AGENT": agent, "TRACEKIT_AGENT_VERSION": version}


def _key(version: AgentVersion) -> str:
    return f"{version.ref} {version.digest}"
