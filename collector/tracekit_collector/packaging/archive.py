"""The file of a package: a tar within gzip, whose bytes depend on the names, contents and executable bits alone.

Names are sorted, times and owners zero, modes 644 or 755. The gzip stream (RFC 1952) holds stored blocks (RFC 1951,
3.2.4): compressors of different machines and versions write different bytes, and a package is known by its bytes.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tracekit.errors import DecodeError, StoreError

LIMIT = 256 << 20
"""The most bytes that a package's files have together."""

FILES = 20_000
"""The most files that a package has."""

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = 0xFFFF
_SLACK = 2_048 * FILES  # headers and padding of a tar


@dataclass(frozen=True)
class File:
    """One file.

    Args:
        content: Its bytes.
        executable: Whether it can be run.
    """

    content: bytes
    executable: bool = False


def pack(files: Mapping[str, File]) -> bytes:
    """Files as the bytes of a package.

    Args:
        files: By their names, with `/` between folders.

    Example:
        >>> unpacked(pack({"a.txt": File(b"one")}))["a.txt"].content
        b'one'
    """
    told = io.BytesIO()
    with tarfile.open(fileobj=told, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(file.content)
            info.mode = 0o755 if file.executable else 0o644
            tar.addfile(info, io.BytesIO(file.content))
    return _gzip(told.getvalue())


def unpacked(content: bytes) -> dict[str, File]:
    """The files of a package.

    Raises:
        DecodeError: The bytes are cut short or damaged, too many, or hold something else than plain files under
            relative names.
    """
    plain = _plain(content)
    files: dict[str, File] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for info in tar:
                _check(info, files)
                source = tar.extractfile(info)
                data = b"" if source is None else source.read()
                if len(data) != info.size:
                    raise DecodeError(f"the package is cut short within {info.name}")
                files[info.name] = File(data, bool(info.mode & 0o100))
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DecodeError(f"the package is damaged: {error}") from error
    return files


def write(files: Mapping[str, File], folder: Path) -> None:
    """Write files below a folder.

    Args:
        files: By checked names, as `unpacked` gives them.
        folder: A folder that nothing else is in.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:  # never through a link, and never over something
                out.write(file.content)
            path.chmod(0o755 if file.executable else 0o644)
    except OSError as error:
        raise StoreError(f"cannot unpack to {folder}: {error.strerror or error}") from error


def _check(info: tarfile.TarInfo, known: Mapping[str, File]) -> None:
    shown = info.name[:200]
    if not info.isreg() or info.issparse():
        raise DecodeError(f"the package holds {shown!r}, which is no plain file but a link, device or the like")
    path = PurePosixPath(info.name)
    plain = (
        path.as_posix() == info.name and "\\" not in info.name and "\0" not in info.name and ":" not in path.parts[0]
    )
    if path.is_absolute() or ".." in path.parts or not plain:
        raise DecodeError(f"the package holds the name {shown!r}, which leads out of it")
    if info.name in known or any(str(parent) in known for parent in path.parents):
        raise DecodeError(f"the package holds {shown!r} twice")
    if len(known) >= FILES:
        raise DecodeError(f"the package holds more than {FILES} files")


def _gzip(plain: bytes) -> bytes:
    out = bytearray(_HEADER)
    for last, block in _blocks(plain):
        out += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    out += struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)
    return bytes(out)


def _blocks(plain: bytes) -> Iterator[tuple[bool, bytes]]:
    for start in range(0, len(plain) or 1, _BLOCK):
        yield start + _BLOCK >= len(plain), plain[start : start + _BLOCK]


def _plain(content: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(content, LIMIT + _SLACK)
    except zlib.error as error:
        raise DecodeError(f"the package is no gzip file, or damaged: {error}") from error
    if stream.unconsumed_tail:
        raise DecodeError(f"the package holds more than {LIMIT >> 20} MiB")
    if not stream.eof:
        raise DecodeError("the package is cut short")
    if stream.unused_data:
        raise DecodeError("the package is damaged: something follows its end")
    return plain
