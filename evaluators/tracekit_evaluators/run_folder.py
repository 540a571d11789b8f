"""A run as files: what it was started with, its series, and its artifacts, in a folder or a zip."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from tracekit.errors import StoreError, UsageError
from tracekit_evaluators._records import plain

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_UNFIT = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_FIXED = (1980, 1, 1, 0, 0, 0)  # the same run gives the same zip

Write = Callable[[str, BinaryIO], None]


def export_run(
    store: Store, record: RunRecord, target: Path, *, metrics: Literal["csv", "parquet"] = "csv"
) -> list[str]:
    """Write a run to files.

    Args:
        store: The store, settled.
        record: The run.
        target: A folder that is empty or not there yet, or a file whose name ends in `.zip`.
        metrics: How its series are written.

    Returns:
        The names of the files: `run.json`, `params.json`, `metrics.csv` or `metrics.parquet`, `artifacts/…`.

    Raises:
        UsageError: There is something at the target already.
        StoreError: The files cannot be written.
    """
    zipped = target.suffix.lower() == ".zip"
    if target.exists() and (zipped or not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already; name another folder, or a file that ends in .zip")
    try:
        if not zipped:
            target.mkdir(parents=True, exist_ok=True)
            return list(_written(store, record, metrics, _into(target)))
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = target.with_name(f".{target.name}.new")
        try:
            with zipfile.ZipFile(arriving, "w", zipfile.ZIP_DEFLATED) as opened:
                names = list(_written(store, record, metrics, _into_zip(opened)))
            arriving.replace(target)
        finally:
            arriving.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    return names


def safe_name(name: str) -> str:
    """An artifact's name as a path that stays in its folder.

    Example:
        >>> safe_name("../../etc/passwd"), safe_name("plots/loss.png")
        ('etc/passwd', 'plots/loss.png')
    """
    parts = [_UNFIT.sub("_", part).strip() for part in re.split(r"[/\\]", name)]
    kept = [part[:200].rstrip(".") or "_" for part in parts if part.strip(". ")]
    return "/".join(kept) or "_"


def _written(store: Store, record: RunRecord, metrics: str, write: Write) -> Iterator[str]:
    from tracekit_collector.terminal import json_text  # noqa: PLC0415 - brings rich

    for name, value in (("run.json", plain(record)), ("params.json", record.parameters)):
        write(name, io.BytesIO((json_text(value, indent=2) + "\n").encode("utf-8", "backslashreplace")))
        yield name
    name = f"metrics.{metrics}"
    write(name, io.BytesIO(_series(_points(store, record.id), metrics)))
    yield name
    for place, content in _artifacts(store, record.artifacts):
        with content.open("rb") as file:
            write(place, file)
        yield place


def _artifacts(store: Store, artifacts: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, Path]]:
    """Where each artifact goes, and its content; one that is not kept here is left out."""
    taken: set[str] = set()
    for name, told in artifacts.items():
        content = store.artifacts / str(told.get("sha256"))
        if not content.is_file():
            continue
        place = f"artifacts/{safe_name(name)}"
        # Two names may come to one, also where the file system does not tell a from A; or one be another's folder.
        while any(_clash(place.lower(), other) for other in taken):
            place += "_"
        taken.add(place.lower())
        yield place, content


def _clash(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _points(store: Store, run_id: str) -> pa.Table:
    return store.sql(
        "SELECT name, step, value, time FROM points WHERE run_id = ? ORDER BY name, step NULLS FIRST, time_ns, place",
        [run_id],
        settle=False,
    ).to_arrow()


def _series(points: pa.Table, kind: str) -> bytes:
    from pyarrow import csv, parquet  # noqa: PLC0415 - needed here alone

    written = io.BytesIO()
    if kind == "csv":
        csv.write_csv(points, written)
    else:
        parquet.write_table(points, written, compression="zstd")
    return written.getvalue()


def _into(folder: Path) -> Write:
    def write(name: str, content: BinaryIO) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)

    return write


def _into_zip(opened: zipfile.ZipFile) -> Write:
    def write(name: str, content: BinaryIO) -> None:
        entry = zipfile.ZipInfo(name, _FIXED)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        with opened.open(entry, "w", force_zip64=True) as file:
            shutil.copyfileobj(content, file, 1 << 20)

    return write
