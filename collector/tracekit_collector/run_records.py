"""What log records say of tracked runs: news of the catalog's rows, points of series, content of artifacts."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tracekit import attributes as names
from tracekit.errors import UsageError
from tracekit.tracking.points import Points, unpacked
from tracekit_collector import anyvalue, fields, messages
from tracekit_collector._event_rows import utc
from tracekit_collector.normalise import resource_columns
from tracekit_collector.run_news import RunNews
from tracekit_collector.schema import POINTS, SCHEMA_VERSION

if TYPE_CHECKING:
    from tracekit_collector.catalog import Catalog

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTS = ".parts"
_MOST_PARTS = 4_096
_LAST_NS = 2**63 - 1
_STATES = frozenset({"open", "finished", "failed"})
_SAYS = {"steps": 1, "values": 2}  # bits of `known`

logger = logging.getLogger(__name__)


def is_ours(record: LogRecord) -> bool:
    """Whether a log record says something of a run that is kept elsewhere than among log records."""
    name = record.event_name
    if name == names.RUN_EVENT:
        return _run_of(record) is not None
    if name == names.RUN_POINTS_EVENT:
        return _run_of(record) is not None and _points_of(record) is not None
    return name == names.RUN_CONTENT_EVENT and _content_of(record) is not None


def read(
    request: ExportLogsServiceRequest, *, received_ns: int, artifacts: Path
) -> tuple[list[RunNews], list[pa.Table]]:
    """What a request says of runs; content of artifacts is put where it belongs.

    Args:
        request: A decoded request of logs.
        received_ns: When it arrived; the time of records that name none.
        artifacts: The store's folder of artifacts.

    Returns:
        News of runs, and rows of `points`, a table for each record.
    """
    news: list[RunNews] = []
    points: list[pa.Table] = []
    for resource_logs in request.resource_logs:
        project: str | None = None
        asked = False
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                if not record.event_name.startswith(names.RUN_EVENT):
                    continue
                if not asked:
                    known = resource_columns(anyvalue.python_attributes(resource_logs.resource.attributes))
                    project, asked = fields.text(known.get("project")), True
                if record.event_name == names.RUN_EVENT:
                    found = _news(record, received_ns, project)
                    news += [] if found is None else [found]
                elif record.event_name == names.RUN_POINTS_EVENT:
                    table = _point_rows(record, received_ns)
                    points += [] if table is None else [table]
                elif record.event_name == names.RUN_CONTENT_EVENT:
                    _keep_content(record, artifacts)
    return news, points


def take_down(catalog: Catalog, news: Iterable[RunNews]) -> None:
    """Tell the catalog what is new of runs, in order of time.

    Args:
        catalog: The store's catalog.
        news: What records said; the same once more changes nothing.
    """
    by_run: dict[str, list[RunNews]] = {}
    for each in sorted(news, key=lambda one: one.at):
        by_run.setdefault(each.run_id, []).append(each)
    for told in by_run.values():
        agent = next((each.agent for each in reversed(told) if each.agent is not None), None)
        version = None
        if agent is not None:
            try:
                version = catalog.agents.see(*agent)
            except UsageError as error:
                logger.warning("an agent version that a run names was not taken down: %s", error)
        catalog.runs.take(told, agent_version=version)


def forget_parts(artifacts: Path, *, before: float) -> int:
    """Remove parts of artifacts whose rest never came; returns of how many artifacts.

    Args:
        artifacts: The store's folder of artifacts.
        before: Seconds since 1970: those that nobody has touched since.
    """
    gone = 0
    for folder in (artifacts / _PARTS).glob("*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder)
                gone += 1
    return gone


def _news(record: LogRecord, received_ns: int, project: str | None) -> RunNews | None:
    run_id = _run_of(record)
    if run_id is None:
        return None
    said = anyvalue.python_attributes(record.attributes)
    writer = _mapping(said.get(names.RUN_WRITER))
    parent = fields.text(said.get(names.RUN_PARENT))
    agent, version = fields.text(said.get(names.AGENT_NAME)), fields.text(said.get(names.AGENT_VERSION))
    error = _mapping(said.get(names.RUN_ERROR))
    return RunNews(
        run_id,
        utc(_time(record, received_ns)),
        name=_short(said.get(names.RUN_NAME), 200),
        parent_id=parent if parent is not None and _ULID.fullmatch(parent) and parent != run_id else None,
        project=_short(project, 200),
        parameters=_mapping(said.get(names.RUN_PARAMETERS)),
        tags=_mapping(said.get(names.RUN_TAGS)),
        code=_mapping(said.get(names.RUN_CODE)),
        environment=_mapping(said.get(names.RUN_ENVIRONMENT)),
        command=_short(said.get(names.RUN_COMMAND), 4_000),
        seed=_short(said.get(names.RUN_SEED), 100),
        error=error or None,
        artifacts={name: told for name, told in _mapping(said.get(names.RUN_ARTIFACTS)).items() if _is_artifact(told)},
        writer=writer if writer.get("state") in _STATES and isinstance(writer.get("id"), str) else None,
        agent=None if agent is None or version is None else (agent, version),
        actor=_short(said.get(names.PRINCIPAL), 250),
    )


def _point_rows(record: LogRecord, received_ns: int) -> pa.Table | None:
    run_id, points = _run_of(record), _points_of(record)
    if run_id is None or points is None:
        return None
    series = [str(name) for name in _names_of(record)]
    count = len(points)
    at = _time(record, received_ns)
    times = pa.array([time if 0 < time <= _LAST_NS else at for time in points.times], pa.int64())
    known = points.known.tobytes()
    micros = pc.divide(times, 1_000).cast(pa.timestamp("us"))
    columns: dict[str, pa.Array] = {
        "date": micros.cast(pa.date32()),
        "run_id": pa.repeat(pa.scalar(run_id), count),
        "name": pa.DictionaryArray.from_arrays(pa.array(points.names), pa.array(series, pa.string())).cast(pa.string()),
        "step": _where(pa.array(points.steps, pa.int64()), known, _SAYS["steps"]),
        "value": _where(pa.array(points.values, pa.float64()), known, _SAYS["values"]),
        "time": micros,
        "time_ns": times,
        "writer": pa.repeat(pa.scalar(points.writer), count),
        "place": pa.array(range(points.first, points.first + count), pa.int64()),
        "received_at": pa.repeat(pa.scalar(utc(received_ns), pa.timestamp("us")), count),
        "schema_version": pa.repeat(pa.scalar(SCHEMA_VERSION, pa.int32()), count),
    }
    return pa.table([columns[name] for name in POINTS.names], schema=POINTS)


def _where(values: pa.Array, known: bytes, bit: int) -> pa.Array:
    if known.count(3) == len(known):
        return values
    return pc.if_else(pa.array([bool(each & bit) for each in known]), values, pa.scalar(None, values.type))


def _points_of(record: LogRecord) -> Points | None:
    try:
        points = unpacked(record.body.bytes_value)
    except ValueError:
        return None
    return points if len(points) and max(points.names) < len(_names_of(record)) else None


def _content_of(record: LogRecord) -> tuple[str, int, int] | None:
    said = {pair.key: pair.value for pair in record.attributes}
    try:
        digest = said[names.RUN_CONTENT_DIGEST].string_value
        part, parts = (said[name].int_value for name in (names.RUN_CONTENT_PART, names.RUN_CONTENT_PARTS))
    except KeyError:
        return None
    sound = _DIGEST.fullmatch(digest) and 0 <= part < parts <= _MOST_PARTS and record.body.HasField("bytes_value")
    return (digest, part, parts) if sound else None


def _keep_content(record: LogRecord, artifacts: Path) -> None:
    """Put a part on the disk; with the last one the artifact is whole. Another process may be doing the same."""
    found = _content_of(record)
    if found is None or (artifacts / found[0]).exists():
        return
    digest, part, parts = found
    folder = artifacts / _PARTS / digest
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / str(part), [record.body.bytes_value])
    places = [folder / str(each) for each in range(parts)]
    if not all(place.is_file() for place in places):
        return
    try:
        whole = hashlib.sha256()
        for place in places:
            whole.update(place.read_bytes())
        if whole.hexdigest() == digest:
            _write(artifacts / digest, (place.read_bytes() for place in places))
        else:
            logger.warning("the artifact %s came with other content than its name says; it is not kept", digest)
    except FileNotFoundError:
        return  # the other process was faster
    shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    arriving = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with arriving.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        arriving.replace(path)
    finally:
        arriving.unlink(missing_ok=True)


def _run_of(record: LogRecord) -> str | None:
    found = next((pair.value.string_value for pair in record.attributes if pair.key == names.RUN), "")
    return found if _ULID.fullmatch(found) else None


def _names_of(record: LogRecord) -> Sequence[str]:
    for pair in record.attributes:
        if pair.key == names.RUN_POINTS_NAMES:
            return [value.string_value for value in pair.value.array_value.values]
    return ()


def _time(record: LogRecord, otherwise: int) -> int:
    times = (record.time_unix_nano, record.observed_time_unix_nano)
    return next((time for time in times if 0 < time <= _LAST_NS), otherwise)


def _mapping(value: object) -> dict[str, object]:
    found = messages.decoded(value)
    return found if isinstance(found, dict) else {}


def _short(value: object, limit: int) -> str | None:
    text = fields.text(value)
    return None if text is None else text.replace("\0", "")[:limit] or None


def _is_artifact(told: object) -> bool:
    return isinstance(told, Mapping) and _DIGEST.fullmatch(str(told.get("sha256"))) is not None
