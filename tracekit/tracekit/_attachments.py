"""Attachments: large and binary values, told by digest instead of being written into a span.

The bytes go to `<store>/artifacts/<sha256>` where spans go to the local store. With an endpoint nothing but the
description leaves the process: `{"type": "blob", "mime_type": …, "sha256": …, "bytes": …}`, `file` for a file.

A text is redacted before it is written, and its description says so. What is written is not synchronised with the disk,
for which the code that is traced would have to wait: after a loss of power an artifact may be missing or cut, which its
name, the digest, gives away.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tracekit import _guard
from tracekit._runtime import runtime

LARGE = 4_096
"""From how many bytes, or characters of Base64, on a binary value is an attachment."""

_LARGEST = 1 << 30  # what is larger is told by its size alone
_LARGEST_TEXT = 1 << 22  # what is larger takes too long to redact
_PIXELS = 1 << 24
_BLOCK = 1 << 20
_UNKNOWN = "application/octet-stream"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftyp", "video/mp4"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
)

Description = dict[str, object]


class Attachment:
    """Bytes or a file, given as an argument, output or fact, that the trace tells by digest.

    Args:
        content: The bytes, or the path of a file.
        mime_type: The media type; told from the first bytes or the file's name when not given.
        name: What it is called; a file's own name when not given.

    Example:
        >>> Attachment(b"%PDF-1.7", name="offer").describe()["mime_type"]
        'application/pdf'
    """

    __slots__ = ("_content", "_mime_type", "_name")

    def __init__(
        self,
        content: bytes | bytearray | memoryview | str | os.PathLike[str],
        *,
        mime_type: str | None = None,
        name: str | None = None,
    ) -> None:
        self._content = content
        self._mime_type = mime_type
        self._name = name

    def __repr__(self) -> str:
        return f"<tracekit.Attachment {self._name or type(self._content).__name__}>"

    def describe(self, *, keep: bool = True) -> Description:
        """What the trace says of it: type, media type, digest and size.

        Args:
            keep: Whether the content goes to the store's artifacts, where the process records to a local store.
        """
        if isinstance(self._content, (bytes, bytearray, memoryview)):
            return described(self._content, mime_type=self._mime_type, name=self._name, keep=keep)
        return _file(Path(self._content), self._mime_type, self._name, keep=keep)


def described(
    content: bytes | bytearray | memoryview,
    *,
    mime_type: str | None = None,
    name: str | None = None,
    keep: bool = True,
) -> Description:
    """What the trace says of some bytes, which are kept by their digest.

    Args:
        content: The bytes.
        mime_type: Their media type; told from the first of them when not given.
        name: What they are called.
        keep: As for `Attachment.describe`.
    """
    whole = bytes(content) if not isinstance(content, memoryview) else content.tobytes()
    found = _described(io.BytesIO(whole), "blob", len(whole), keep=keep)
    return _description(found, mime_type or _sniffed(whole[:16]) or _UNKNOWN, name)


def of_text(text: str, *, mime_type: str | None = None, keep: bool = True) -> Description | None:
    """What the trace says of a `data:` URL or other Base64 text; `None` where the text is neither.

    Args:
        text: The text.
        mime_type: The media type; mere Base64 is decoded only where this is given.
        keep: As for `Attachment.describe`.
    """
    if text.startswith("data:"):
        head, comma, text = text[5:].partition(",")
        if not comma or not head.endswith(";base64"):
            return None
        mime_type = head.partition(";")[0] or _UNKNOWN
    elif mime_type is None:
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return described(content, mime_type=mime_type, keep=keep)


def encoded_field(value: Mapping[Any, Any]) -> tuple[str, str] | None:
    """The key under which a mapping has large Base64 text, and its media type, as chat APIs write images and audio."""
    for key in ("data", "file_data", "b64_json"):
        text = value.get(key)
        if type(text) is not str or len(text) < LARGE:
            continue
        if key == "b64_json":
            return key, "image/png"
        for said in ("media_type", "mime_type", "mimeType"):
            if isinstance(value.get(said), str):
                return key, value[said]
        if value.get("format") in {"wav", "mp3", "flac", "opus", "aac"}:
            return key, f"audio/{value['format']}"
    return None


def image(value: Any, *, keep: bool = True) -> Description:
    """What the trace says of a Pillow image, which is kept as PNG.

    Args:
        value: The image.
        keep: As for `Attachment.describe`.
    """
    width, height = value.size
    if width * height > _PIXELS:
        return {"type": "image", "width": width, "height": height, "mode": str(value.mode)}
    written = io.BytesIO()
    value.save(written, "PNG")
    found = described(written.getvalue(), mime_type="image/png", keep=keep)
    return {**found, "width": width, "height": height}


def _file(path: Path, mime_type: str | None, name: str | None, *, keep: bool) -> Description:
    called = name or path.name
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(16)
            file.seek(0)
            found = _described(file, "file", size, keep=keep)
    except (OSError, ValueError) as error:
        return {"type": "file", "name": called, "error": f"cannot be read: {type(error).__name__}"}
    return _description(found, mime_type or _sniffed(head) or _guessed(path) or _UNKNOWN, called)


def _described(source: BinaryIO, kind: str, size: int, *, keep: bool) -> Description:
    """Type, digest and size of what a file holds, which is kept where there is a local store, its texts redacted."""
    if size > _LARGEST:
        return {"type": kind, "bytes": size}
    keep = keep and runtime.artifacts is not None
    if keep and runtime.redactor is not None:
        readable = is_text(source)
        if readable and size > _LARGEST_TEXT:
            keep = False  # the trace has its digest
        elif readable:
            before = source.read().decode()
            source.seek(0)
            seen = str(runtime.redactor.text(before))
            if seen != before:
                redacted = seen.encode()
                digest = _written(io.BytesIO(redacted), keep=True)
                return {"type": kind, "sha256": digest, "bytes": len(redacted), "redacted": True}
    return {"type": kind, "sha256": _written(source, keep=keep), "bytes": size}


def is_text(source: BinaryIO) -> bool:
    """Whether a file holds nothing but UTF-8 text; it is at its beginning again."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in iter(lambda: source.read(_BLOCK), b""):
            if b"\0" in block:
                return False
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        source.seek(0)
    return True


def _description(found: Description, mime_type: str, name: str | None) -> Description:
    ordered: Description = {"type": found["type"], "mime_type": mime_type, **found, "name": name}
    return {key: fact for key, fact in ordered.items() if fact is not None}


def _sniffed(head: bytes) -> str | None:
    return next((mime for at, magic, mime in _MAGIC if head[at : at + len(magic)] == magic), None)


def _guessed(path: Path) -> str | None:
    import mimetypes  # noqa: PLC0415 - only a file needs it

    return mimetypes.guess_type(path.name)[0]


def _written(source: BinaryIO, *, keep: bool) -> str:
    """The digest of what a file holds; its content is put under that name where there is a local store."""
    import hashlib  # noqa: PLC0415 - only an attachment needs it

    digest = hashlib.sha256()
    folder = runtime.artifacts if keep else None
    for block in iter(lambda: source.read(_BLOCK), b""):
        digest.update(block)
    name = digest.hexdigest()
    if folder is not None and not (folder / name).exists():
        source.seek(0)
        try:
            _store(source, folder, name)
        except OSError as error:
            _guard.note(
                f"artifacts {folder}", f"cannot keep an attachment in {folder}: {error}; the trace has its digest"
            )
    return name


def _store(source: BinaryIO, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arriving = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
    try:
        with arriving.open("xb") as file:
            for block in iter(lambda: source.read(_BLOCK), b""):
                file.write(block)
        arriving.replace(folder / name)  # whole or not at all, whoever else is writing the same
    finally:
        arriving.unlink(missing_ok=True)
