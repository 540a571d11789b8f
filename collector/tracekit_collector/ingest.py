"""OTLP files into a store: `.pb`, `.json` and `.jsonl`, each also `.gz`, alone or in folders.

What a file holds is told by what is in it; its name only says how to read it. A file is read and checked whole
before any of it is kept; of a `.jsonl` file, where each line is a request of its own, a bad line costs that line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NoReturn, cast

from tracekit.errors import DecodeError, UsageError
from tracekit.inbox import SIGNALS, SegmentWriter, Signal
from tracekit_collector._otlp_json import parse_json
from tracekit_collector.otlp import (
    Decoded,
    Kind,
    decode,
    decode_json,
    genai_metrics,
    kind_of_json,
    kind_of_protobuf,
    refusal_message,
)
from tracekit_collector.store import Store

SUFFIXES = (".pb", ".json", ".jsonl")

_LARGEST = (1 << 31) - 1  # protobuf's own limit for a message
_WRITE_BYTES = 8 << 20
_SETTLE_BYTES = 32 << 20
_PIECE = 1 << 20


@dataclass(frozen=True)
class Fault:
    """Something that was not taken in.

    Args:
        path: The file.
        reason: What is wrong, and what to do.
        line: Its line, where the file has lines.
    """

    path: Path
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}{'' if self.line is None else f', line {self.line}'}: {self.reason}"


@dataclass
class Ingested:
    """What was taken in.

    Args:
        files: How many files held requests.
        requests: How many requests they held.
        spans: How many spans.
        logs: How many log records.
        known: How many of the requests the store had already.
        skipped: What was left alone, for a good reason.
        faults: What could not be taken in.
    """

    files: int = 0
    requests: int = 0
    spans: int = 0
    logs: int = 0
    known: int = 0
    skipped: list[Fault] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class _NothingHere(Exception):  # noqa: N818 - never leaves this module
    """A file that is sound and holds nothing for a store."""


def find_files(paths: Iterable[Path]) -> list[tuple[Path, bool]]:
    """The files that paths stand for, each with whether it was named itself rather than found in a folder.

    Args:
        paths: Files, and folders that are searched to the bottom for `.pb`, `.json`, `.jsonl` and their `.gz`.

    Raises:
        UsageError: A path is not there, or a folder holds no such file.
    """
    found: list[tuple[Path, bool]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file() and _form(each))
            if not inside:
                raise UsageError(f"the folder {path} holds no .pb, .json or .jsonl file (nor .gz of these)")
            found += [(each, False) for each in inside]
        elif path.exists():
            found.append((path, True))
        else:
            raise UsageError(f"there is no file {path}; check the path")
    return list({path.resolve(): (path, named) for path, named in found}.values())


def ingest(store: Store, files: Iterable[tuple[Path, bool]], *, advance: Callable[[], None] = lambda: None) -> Ingested:
    """Take OTLP files into a store and settle them; what the store has already changes nothing.

    Args:
        store: Where to.
        files: From `find_files`.
        advance: Called after each file.

    Returns:
        What was taken in and what was not.

    Raises:
        StoreError: The store cannot be written; it is safe to ingest the same files again.

    Example:
        >>> import tempfile
        >>> with Store.open(tempfile.mkdtemp()) as store:
        ...     ingest(store, []).requests
        0
    """
    told = Ingested()
    intake = _Intake(store, told)
    try:
        for path, named in files:
            _take(path, intake, told, named=named)
            advance()
        intake.write()
    finally:
        intake.close()
    intake.settle()
    return told


class _Intake:
    """Gathers requests into large writes and settles now and then."""

    def __init__(self, store: Store, told: Ingested) -> None:
        self._store = store
        self._told = told
        self._writers: dict[Signal, SegmentWriter] = {signal: SegmentWriter(store.inbox, signal) for signal in SIGNALS}
        self._waiting: dict[Signal, list[bytes]] = {signal: [] for signal in SIGNALS}
        self._size = 0
        self._unsettled = 0

    def add(self, decoded: Decoded) -> None:
        self._told.requests += 1
        self._told.spans += decoded.spans
        self._told.logs += decoded.records
        self._waiting[decoded.kind].append(decoded.payload)
        self._size += len(decoded.payload)
        if self._size >= _WRITE_BYTES:
            self.write()
        if self._unsettled >= _SETTLE_BYTES:
            self.settle()

    def write(self) -> None:
        for signal, payloads in self._waiting.items():
            if payloads:
                self._writers[signal].append(*payloads)
                payloads.clear()
        self._unsettled += self._size
        self._size = 0

    def settle(self) -> None:
        self._told.known += self._store.settle().repeated
        self._unsettled = 0

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _take(path: Path, intake: _Intake, told: Ingested, *, named: bool) -> None:
    before = told.requests
    try:
        form = _how_to_read(path)
        if form == ".jsonl":
            _take_lines(path, intake, told)
        else:
            for decoded in _whole(path, form):
                _note_refusals(path, None, decoded, told)
                if decoded.items:
                    intake.add(decoded)
    except _NothingHere as nothing:
        # A folder may hold other files beside its traces; a file that was named should hold some.
        metrics = "metrics" in str(nothing)
        (told.faults if named and not metrics else told.skipped).append(Fault(path, str(nothing)))
    except DecodeError as error:
        told.faults.append(Fault(path, str(error)))
    except OSError as error:
        told.faults.append(Fault(path, f"cannot be read: {error.strerror or error}"))
    told.files += told.requests > before


def _whole(path: Path, form: str) -> list[Decoded]:
    body = _content(path)
    if form == ".pb":
        hint: Kind = "logs" if ".logs." in path.name else "metrics" if ".metrics." in path.name else "traces"
        kind = kind_of_protobuf(body, hint)
        if kind == "metrics":
            return [_of_models(decode(kind, body)) or _only_metrics()]
        return [decode(kind, body)]
    value = parse_json(body)
    values = value if isinstance(value, list) else [value]
    return [decoded for each in values if (decoded := _from_json(each))] or _only_metrics()


def _only_metrics() -> NoReturn:
    raise _NothingHere("holds metrics, and none of models (`gen_ai.…`), which alone are kept")


def _of_models(decoded: Decoded) -> Decoded | None:
    """A request with its metrics of models alone; `None` where it has none."""
    payload = genai_metrics(decoded)
    return replace(decoded, payload=payload) if payload else None


def _from_json(value: object) -> Decoded | None:
    """The request that parsed JSON is; `None` for metrics that are not kept."""
    kind = kind_of_json(value)
    if kind is None:
        raise _NothingHere("holds no OTLP request: there is neither resourceSpans nor resourceLogs in it")
    decoded = decode_json(kind, value)
    return _of_models(decoded) if kind == "metrics" else decoded


def _take_lines(path: Path, intake: _Intake, told: Ingested) -> None:
    if _is_gzip(path):
        for _ in _pieces(path):  # a torn file shows before its first line is kept
            pass
    number, sound, other = 0, 0, ""
    faults: list[Fault] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            decoded = _from_json(parse_json(line))
            sound += 1
            if decoded is not None:
                _note_refusals(path, number, decoded, told)
                if decoded.items:
                    intake.add(decoded)
        except _NothingHere as nothing:
            other = str(nothing)
            faults.append(Fault(path, other, number))
        except DecodeError as error:
            faults.append(Fault(path, str(error), number))
    if not sound and other and len({fault.reason for fault in faults}) == 1:
        raise _NothingHere(other)
    told.faults += faults


def _note_refusals(path: Path, line: int | None, decoded: Decoded, told: Ingested) -> None:
    if decoded.refusals:
        told.faults.append(Fault(path, refusal_message(decoded), line))


def _content(path: Path) -> bytes:
    out = bytearray()
    for piece in _pieces(path):
        out += piece
        if len(out) > _LARGEST:
            raise DecodeError("the file holds more than 2 GiB; write it as .jsonl, one request a line")
    return bytes(out)


def _pieces(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        while piece := _guarded(path, lambda: file.read(_PIECE)):
            yield piece


def _lines(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        while line := _guarded(path, file.readline):
            yield line


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DecodeError(
            f"the gzip ends too early or is damaged ({error}); copy {path.name} again from where it came from"
        ) from None


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b" or path.suffix == ".gz"


def _form(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def _how_to_read(path: Path) -> str:
    if path.stat().st_size == 0:
        raise DecodeError("the file is empty; export it again, or leave it out")
    form = _form(path) or _form_by_content(path)
    # Exporters write one request a line into files called .json as well.
    return ".jsonl" if form == ".json" and _has_request_lines(path) else form


def _has_request_lines(path: Path) -> bool:
    lines = (line for line in _lines(path) if line.strip())
    try:
        return kind_of_json(parse_json(next(lines, b""))) is not None and next(lines, None) is not None
    except DecodeError:
        return False


def _form_by_content(path: Path) -> str:
    with _opened(path) as file:
        head = _guarded(path, lambda: file.read(1024)).lstrip(b"\xef\xbb\xbf \t\r\n")
    return ".json" if head[:1] in {b"{", b"["} else ".pb"
