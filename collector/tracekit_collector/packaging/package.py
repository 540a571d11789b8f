"""A package: manifest, locked requirements and source of one agent version, known by the digest of its bytes.

package.json        the manifest
requirements.txt    every dependency with its version and hashes; empty where there are none
source/             the agent's files
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import DecodeError, UsageError
from tracekit_collector.artifacts import kept
from tracekit_collector.packaging import archive
from tracekit_collector.packaging.archive import File
from tracekit_collector.packaging.manifest import Manifest, read, written

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.store import Store

_MANIFEST, _REQUIREMENTS, _SOURCE = "package.json", "requirements.txt", "source/"


@dataclass(frozen=True)
class Package:
    """One packaged version.

    Args:
        manifest: What the version is.
        requirements: Its locked dependencies, as pip reads them.
        files: Its source, by name below the source folder.
        content: The package's own bytes.
    """

    manifest: Manifest
    requirements: str
    files: Mapping[str, File]
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes, which the artifact is named by."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def made(cls, manifest: Manifest, requirements: str, files: Mapping[str, File]) -> Package:
        """A package of its parts.

        Args:
            manifest: Without the format.
            requirements: As `lock` writes them.
            files: By name below the source folder.
        """
        held = {
            _MANIFEST: File(written(manifest)),
            _REQUIREMENTS: File(requirements.encode()),
            **{_SOURCE + name: file for name, file in files.items()},
        }
        return cls.of(archive.pack(held))

    @classmethod
    def of(cls, content: bytes) -> Package:
        """The package that bytes are.

        Raises:
            DecodeError: They are none, or damaged.
        """
        files = archive.unpacked(content)
        for name in (_MANIFEST, _REQUIREMENTS):
            if name not in files:
                raise DecodeError(f"the package has no {name}")
        strange = sorted(
            name for name in files if name not in (_MANIFEST, _REQUIREMENTS) and not name.startswith(_SOURCE)
        )
        if strange:
            raise DecodeError(f"the package holds {strange[0]!r}, which is neither its source nor about it")
        try:
            requirements = files[_REQUIREMENTS].content.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("requirements.txt of the package is no text") from error
        source = {name.removeprefix(_SOURCE): file for name, file in files.items() if name.startswith(_SOURCE)}
        return cls(read(files[_MANIFEST].content), requirements, source, content)

    @classmethod
    def load(cls, store: Store, version: AgentVersion) -> Package:
        """The package of a version, out of the store's artifacts.

        Raises:
            UsageError: The version is not packaged.
            StoreError: The artifact is missing or damaged.
            DecodeError: It is no package.
        """
        if version.package is None:
            raise UsageError(
                f"{version.ref} is not packaged; `tracekit agents package {version.agent} …` makes a version that is"
            )
        return cls.of(kept(store.artifacts, version.package))

    def unpack(self, folder: Path) -> None:
        """Write all of it below a folder that nothing else is in.

        Raises:
            UsageError: There is something in the folder.
            StoreError: It cannot be written.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already and not empty; name a folder to make")
        archive.write(archive.unpacked(self.content), folder)
