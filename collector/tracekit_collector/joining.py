"""Joining: files of one date become files of some 128 MB in order of time; here, or in a process that ends with it.

A process of its own gives all its memory back, and runs when nobody else wants the processor. It writes files that no
version of the table names yet; whoever started it commits them. It ends when the one who started it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.errors import StoreError
from tracekit.inbox import synced, ulid
from tracekit_collector import parquet
from tracekit_collector._heap import child_code
from tracekit_collector.merging import Merge, fitted
from tracekit_collector.schema import TIMES

TARGET_BYTES = 128 << 20
GROUP_BYTES = 16 << 20  # in memory, where rows are large
GROUP_ROWS = 32_768  # fewer make lists slower, more make one trace slower; in order of trace ids lists take half more
WINDOW_ROWS = GROUP_ROWS // 16  # what is put in order at a time

_LEVEL = 3  # 6 takes twice the time for a hundredth less
_LOOKED_UP = ("trace_id", "session_id", "run_id")
_NICE = 10
# Small heaps give memory back; several keep what each once needed.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OMP_NUM_THREADS": "1",
}

Change = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Joined:
    """A file that was written.

    Args:
        name: Its path relative to the table.
        bytes: Its size.
        stats: The Delta log's statistics of it, as JSON.
    """

    name: str
    bytes: int
    stats: str


@dataclass(frozen=True)
class Outcome:
    """What joining gave.

    Args:
        files: The files that were written.
        read: How many rows there were.
        kept: How many there are now.
    """

    files: list[Joined]
    read: int
    kept: int


def join(folder: Path, table: str, date: str, paths: Sequence[str], change: Change | None = None) -> Outcome:
    """Join files, in this process.

    Args:
        folder: The table's folder.
        table: One of `TABLES`.
        date: The date of all of the files' rows, as YYYY-MM-DD.
        paths: The files, oldest first.
        change: Makes new rows of those of a window; keys and times stay.

    Raises:
        OSError: A file cannot be read or written; nothing is left of those that were.
        pyarrow.ArrowException: A file is no Parquet.
    """
    merge = Merge(table, paths, window=WINDOW_ROWS)
    files = write(folder, table, date, merge.windows(), change)
    return Outcome(files, merge.rows, merge.kept)


def join_apart(folder: Path, table: str, date: str, paths: Sequence[str], change: Change | None = None) -> Outcome:
    """As `join`, in a process of its own; raises StoreError where that fails."""
    if change is not None:
        return join(folder, table, date, paths, change)
    task = json.dumps({"folder": str(folder), "table": table, "date": date, "paths": list(paths)})
    code = child_code("tracekit_collector.joining")
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
    )
    answer = b""
    to, back = process.stdin, process.stdout
    with contextlib.suppress(BrokenPipeError), process:
        if to is not None and back is not None:
            to.write(task.encode() + b"\n")
            to.flush()  # and stays open: its end tells the process that we are gone
            answer = back.read()
    if process.returncode or not answer:
        raise StoreError(
            f"the process that joins files of {table} ended with {process.returncode}; they stay as they are"
        )
    said = json.loads(answer)
    if "error" in said:
        raise StoreError(said["error"])
    return Outcome([Joined(**each) for each in said["files"]], said["read"], said["kept"])


def serve() -> None:
    """Be the process: take a task from standard input, answer on standard output."""
    source = sys.stdin.buffer
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else this process prints must not get between
    os.nice(_NICE)
    task = json.loads(source.readline())

    def leave() -> None:
        source.read()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
    try:
        outcome = join(Path(task["folder"]), task["table"], task["date"], task["paths"])
        answer: dict[str, object] = {
            "files": [vars(each) for each in outcome.files],
            "read": outcome.read,
            "kept": outcome.kept,
        }
    except (OSError, pa.ArrowException) as error:
        answer = {"error": f"cannot write {task['folder']} anew: {error}"}
    back.write(json.dumps(answer).encode())
    back.flush()
    os._exit(0)  # the thread still waits for the input


def write(
    folder: Path, table: str, date: str, windows: Iterable[pa.Table], change: Change | None = None
) -> list[Joined]:
    """Write windows of rows to files of some `TARGET_BYTES`; all of them, or none is left."""
    written: list[Joined] = []
    try:
        for each in _written(folder, table, date, windows, change):
            written.append(each)  # noqa: PERF402 - what there is when it fails is taken back
    except BaseException:
        for file in written:
            (folder / file.name).unlink(missing_ok=True)
        raise
    return written


def _written(
    folder: Path, table: str, date: str, windows: Iterable[pa.Table], change: Change | None
) -> Iterator[Joined]:
    place = folder / f"date={date}"
    place.mkdir(exist_ok=True)
    writer: pq.ParquetWriter | None = None
    path = place
    rows, least, most = 0, None, None
    try:
        for group in _groups(fitted(window if change is None else change(window), table) for window in windows):
            if writer is None:
                path = place / f"joined-{ulid()}.zstd.parquet"
                writer = parquet.writer(path, table, level=_LEVEL, looked_up=_LOOKED_UP, rows=GROUP_ROWS)
                rows, least = 0, group.column(TIMES[table])[0].as_py()
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
            rows, most = rows + group.num_rows, group.column(TIMES[table])[-1].as_py()
            del group  # the next one takes its room
            synced(path)  # bit by bit: who waits for the disk meanwhile would wait for all of it
            if path.stat().st_size >= TARGET_BYTES:
                writer.close()
                writer = None
                yield _told(folder, path, table, rows, least, most)
        if writer is not None:
            writer.close()
            writer = None
            yield _told(folder, path, table, rows, least, most)
    except BaseException:
        if writer is not None:
            writer.close()
            path.unlink(missing_ok=True)
        raise


def _groups(windows: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Windows together until they make a row group."""
    waiting: list[pa.Table] = []
    count = size = 0
    for window in windows:
        count, size = count + window.num_rows, size + window.nbytes
        if waiting and (count > GROUP_ROWS + WINDOW_ROWS // 2 or size > GROUP_BYTES):
            whole = pa.concat_tables(waiting)
            waiting.clear()
            yield whole
            del whole
            count, size = window.num_rows, window.nbytes
        waiting.append(window)
    if waiting:
        yield pa.concat_tables(waiting)


def _told(folder: Path, path: Path, table: str, rows: int, least: object, most: object) -> Joined:
    stats: dict[str, object] = {"numRecords": rows}
    if isinstance(least, int) and isinstance(most, int):
        stats |= {"minValues": {TIMES[table]: least}, "maxValues": {TIMES[table]: most}}
    return Joined(path.relative_to(folder).as_posix(), path.stat().st_size, json.dumps(stats))
