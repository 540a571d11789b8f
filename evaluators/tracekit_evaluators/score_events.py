"""Scores to an OTLP endpoint, as OpenTelemetry's `gen_ai.evaluation.result` events on what they judge."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tracekit import __version__
from tracekit import attributes as names
from tracekit._delivery import signal_url
from tracekit._sender import Answer, Sender
from tracekit.errors import StoreError

_AT_ONCE = 500
_ATTEMPTS = 5
_LONGEST_PAUSE = 30.0
Row = Mapping[str, object]


def send_scores(rows: Iterable[Row], endpoint: str, *, headers: Mapping[str, str] | None = None) -> int:
    """Send scores to a collector.

    Args:
        rows: Rows of the table `scores`.
        endpoint: The collector's base URL, or that of its logs.
        headers: Headers besides those of `OTEL_EXPORTER_OTLP_HEADERS`.

    Returns:
        How many were taken.

    Raises:
        SettingError: The endpoint is no URL.
        StoreError: It did not take them; the message says how many it did.

    Example:
        >>> send_scores([], "http://127.0.0.1:4318")
        0
    """
    sender = Sender(signal_url(endpoint, "logs"), "logs", headers)
    sent = 0
    for batch in _batches(rows):
        body = gzip.compress(request_of(batch).SerializeToString(), mtime=0)
        answer = _insist(sender, body)
        if answer.outcome != "taken":
            raise StoreError(f"{sender.url} did not take the scores ({answer.reason}); {sent} were sent before")
        sent += len(batch) - answer.rejected
    return sent


def request_of(rows: Sequence[Row]) -> ExportLogsServiceRequest:
    """The OTLP request that says these scores; those without a value say their status as `error.type`."""
    request = ExportLogsServiceRequest()
    outer = request.resource_logs.add()
    outer.resource.attributes.add(key=names.SERVICE).value.string_value = "tracekit-evaluators"
    inner = outer.scope_logs.add()
    inner.scope.name, inner.scope.version = "tracekit.evaluators", __version__
    for row in rows:
        _fill(inner.log_records.add(), row)
    return request


def _fill(record: LogRecord, row: Row) -> None:
    at = row.get("time")
    if isinstance(at, datetime):
        record.time_unix_nano = int(at.replace(tzinfo=timezone.utc).timestamp() * 1_000_000) * 1_000
    record.observed_time_unix_nano = time.time_ns()
    record.event_name = names.SCORE_EVENT
    for column, size in (("trace_id", 16), ("span_id", 8)):
        text = row.get(column)
        if isinstance(text, str) and len(text) == 2 * size:
            setattr(record, column, bytes.fromhex(text))
    told: dict[str, object] = {
        names.SCORE_NAME: row.get("name"),
        names.SCORE_VALUE: row.get("value"),
        names.SCORE_LABEL: row.get("label"),
        names.SCORE_EXPLANATION: row.get("explanation"),
        names.SCORE_TARGET: row.get("target"),
        names.SCORE_SOURCE: row.get("source"),
        names.SCORE_TYPE: row.get("value_type"),
        names.SCORE_DIRECTION: row.get("direction"),
        names.SCORE_ANNOTATOR: row.get("annotator"),
        names.SCORE_METADATA: row.get("metadata"),
        names.RUN: row.get("run_id"),
        names.CASE: row.get("case_id"),
        names.SESSION: row.get("session_id"),
        "tracekit.judge.name": row.get("judge"),
        "tracekit.judge.version": row.get("judge_version"),
        "tracekit.judge.digest": row.get("judge_digest"),
        names.ERROR_TYPE: None if row.get("status") == "scored" else row.get("status"),
    }
    for key, value in told.items():
        if isinstance(value, str):
            record.attributes.add(key=key).value.string_value = value
        elif isinstance(value, (int, float)):
            record.attributes.add(key=key).value.double_value = float(value)


def _insist(sender: Sender, body: bytes) -> Answer:
    answer = sender.send(body)
    for attempt in range(_ATTEMPTS):
        if answer.outcome not in {"later", "doubtful"}:
            break
        wait = 2.0**attempt if answer.retry_after is None else answer.retry_after
        time.sleep(min(_LONGEST_PAUSE, wait))
        answer = sender.send(body)
    return answer


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    listed = iter(rows)
    while batch := list(islice(listed, _AT_ONCE)):
        yield batch
