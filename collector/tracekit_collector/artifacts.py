"""Files that a store keeps under the digest of their content."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from tracekit.errors import StoreError


def keep(folder: Path, content: bytes) -> str:
    """Keep content as a file and return its name: SHA-256, in hex.

    Raises:
        StoreError: The folder cannot be written.
    """
    name = hashlib.sha256(content).hexdigest()
    path = folder / name
    if path.is_file():
        return name
    half = folder / f".{name}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error
    return name


def kept(folder: Path, name: str) -> bytes:
    """The content that was kept under a name.

    Raises:
        StoreError: It is not there, or is not what its name says.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read the artifact {folder / name}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != name:
        raise StoreError(f"the artifact {folder / name} is damaged: its content does not have this digest")
    return content
