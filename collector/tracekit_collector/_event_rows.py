"""What some log records and span events say besides: scores, agent versions, served inferences."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit import attributes as names
from tracekit_collector import anyvalue, fields, messages
from tracekit_collector.normalise import resource_columns
from tracekit_collector.schema import SCHEMA_VERSION

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - the lake keeps UTC without a zone
_LAST_NS = 2**63 - 1
_SOURCES = frozenset({"code", "llm", "human", "environment", "user"})
_DIRECTIONS = frozenset({"maximize", "minimize", "neutral"})
_INFERENCE = names.INFERENCE_EVENT + "."

# Columns of `inferences`: the attribute that holds each, and how it is read.
_INFERENCE_FIELDS: dict[str, tuple[str, fields.Reader]] = {
    "request_id": (_INFERENCE + "request_id", fields.text),
    "endpoint": (_INFERENCE + "endpoint", fields.text),
    "status_code": (_INFERENCE + "status_code", fields.small_count),
    "latency_ms": (_INFERENCE + "latency_ms", fields.milliseconds),
    "ttft_ms": (_INFERENCE + "ttft_ms", fields.milliseconds),
    "request": (_INFERENCE + "request", fields.payload),
    "response": (_INFERENCE + "response", fields.payload),
    "metadata": (_INFERENCE + "metadata", fields.payload),
    "agent_name": (names.AGENT_NAME, fields.text),
    "agent_version": (names.AGENT_VERSION, fields.text),
    "provider": (names.PROVIDER, fields.provider),
    "model": (names.RESPONSE_MODEL, fields.text),
    "input_tokens": (names.INPUT_TOKENS, fields.count),
    "output_tokens": (names.OUTPUT_TOKENS, fields.count),
    "cost_usd": (names.COST_USD, fields.money),
    "user_id": (names.USER, fields.text),
    "session_id": (names.SESSION, fields.text),
}


class _Said(NamedTuple):
    """An event, wherever it stood: when, on what, and what it says."""

    place: str
    time_ns: int
    trace_id: str | None
    span_id: str | None
    attributes: dict[str, object]
    resource: dict[str, object]


def utc(time_ns: int) -> datetime.datetime:
    """A time in nanoseconds since 1970 as UTC without a zone, cut to microseconds.

    Example:
        >>> utc(1_500)
        datetime.datetime(1970, 1, 1, 0, 0, 0, 1)
    """
    return _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)


def score_rows(
    request: ExportTraceServiceRequest | ExportLogsServiceRequest, *, digest: str, received_ns: int
) -> list[dict[str, object]]:
    """The rows of `scores` in a request: evaluation events, as log records or as span events.

    Args:
        request: A decoded request of traces or logs.
        digest: The request's digest, from which scores get their ids.
        received_ns: When it arrived; the time of scores that name none.

    Returns:
        One row for each event that names what it scores.
    """
    said = (
        _span_events(request, names.SCORE_EVENT, received_ns)
        if isinstance(request, ExportTraceServiceRequest)
        else _records(request, names.SCORE_EVENT, received_ns)
    )
    return [row for event in said if (row := _score(event, digest)) is not None]


def version_rows(request: ExportLogsServiceRequest, *, received_ns: int) -> list[dict[str, object]]:
    """The agent versions that a request's log records register.

    Args:
        request: A decoded request of logs.
        received_ns: When it arrived.

    Returns:
        Dicts of agent, label, digest, code, parameters, prompts, dependencies, alias, actor and seen_at (naive UTC),
        and of entry_point, tools, models, python and signature where the record has them.
    """
    rows: list[dict[str, object]] = []
    for said in _records(request, names.VERSION_EVENT, received_ns):
        agent = fields.text(said.attributes.get(names.AGENT_NAME))
        digest = fields.text(said.attributes.get(names.VERSION_DIGEST))
        if agent is None or digest is None:
            continue
        rows.append(
            {
                "agent": agent,
                "label": fields.text(said.attributes.get(names.AGENT_VERSION)),
                "digest": digest,
                "code": _mapping(said.attributes.get(names.VERSION_CODE)),
                "parameters": _mapping(said.attributes.get(names.VERSION_PARAMETERS)),
                "prompts": _mapping(said.attributes.get(names.VERSION_PROMPTS)),
                "dependencies": _mapping(said.attributes.get(names.VERSION_DEPENDENCIES)),
                "alias": fields.text(said.attributes.get(names.VERSION_ALIAS)),
                "actor": fields.text(said.attributes.get(names.PRINCIPAL)),
                "seen_at": utc(said.time_ns),
                **_given(said.attributes),
            }
        )
    return rows


def inference_rows(request: ExportLogsServiceRequest, *, received_ns: int, digest: str) -> list[dict[str, object]]:
    """The rows of `inferences` in a request: one for each request that a served agent answered.

    Args:
        request: A decoded request of logs.
        received_ns: When it arrived.
        digest: The request's digest, for the id of an inference that names none.
    """
    rows: list[dict[str, object]] = []
    for said in _records(request, names.INFERENCE_EVENT, received_ns):
        time = utc(said.time_ns)
        row: dict[str, object] = {
            column: read(said.attributes.get(key)) for column, (key, read) in _INFERENCE_FIELDS.items()
        }
        row["request_id"] = row["request_id"] or f"{digest}-{said.place}"
        row["model"] = row["model"] or fields.text(said.attributes.get(names.REQUEST_MODEL))
        row.update(
            date=time.date(),
            time=time,
            trace_id=said.trace_id,
            span_id=said.span_id,
            project=resource_columns(said.resource).get("project"),
            received_at=utc(received_ns),
            schema_version=SCHEMA_VERSION,
        )
        rows.append(row)
    return rows


def _score(said: _Said, digest: str) -> dict[str, object] | None:
    found = said.attributes
    name = fields.text(found.get(names.SCORE_NAME))
    if name is None or said.trace_id is None:
        return None
    value, label = _number(found.get(names.SCORE_VALUE)), fields.text(found.get(names.SCORE_LABEL))
    kind = fields.text(found.get(names.SCORE_TYPE))
    if kind not in ("number", "bool", "label", "text"):
        kind = "label" if value is None else "number"
    failed = names.ERROR_TYPE in found
    target = fields.text(found.get(names.SCORE_TARGET))
    if target not in ("trace", "span"):
        target = "trace" if said.span_id is None else "span"
    time = utc(said.time_ns)
    source, direction = fields.text(found.get(names.SCORE_SOURCE)), fields.text(found.get(names.SCORE_DIRECTION))
    return {
        "date": time.date(),
        "score_id": f"{digest}-{said.place}",
        "time": time,
        "run_id": fields.text(found.get(names.RUN)),
        "target": target,
        "trace_id": said.trace_id,
        "span_id": said.span_id if target == "span" else None,
        "session_id": fields.text(found.get(names.SESSION)),
        "case_id": fields.text(found.get(names.CASE)),
        "repeat": fields.small_count(found.get(names.REPEAT)),
        "source": source if source in _SOURCES else None,
        "annotator": fields.text(found.get(names.SCORE_ANNOTATOR)),
        "name": name,
        "value_type": kind,
        "value": None if failed else value,
        "label": None if failed else label,
        "passed": bool(value) if kind == "bool" and value is not None and not failed else None,
        "direction": direction if direction in _DIRECTIONS else None,
        "status": "judge_error" if failed or (value is None and label is None) else "scored",
        "explanation": fields.payload(found.get(names.SCORE_EXPLANATION)),
        "metadata": fields.payload(found.get(names.SCORE_METADATA)),
        "schema_version": SCHEMA_VERSION,
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, bool) else fields.real(value)


def _given(said: Mapping[str, object]) -> dict[str, object]:
    tools, models = (messages.decoded(said.get(key)) for key in (names.VERSION_TOOLS, names.VERSION_MODELS))
    signature = messages.decoded(said.get(names.VERSION_SIGNATURE))
    found: dict[str, object] = {
        "entry_point": fields.text(said.get(names.VERSION_ENTRY_POINT)),
        "tools": [each for each in tools if isinstance(each, dict)] if isinstance(tools, list) else None,
        "models": [each for each in models if isinstance(each, str)] if isinstance(models, list) else None,
        "python": fields.text(said.get(names.VERSION_PYTHON)),
        "signature": signature if isinstance(signature, dict) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _mapping(value: object) -> Mapping[str, object]:
    found = messages.decoded(value)
    return found if isinstance(found, dict) else {}


def _records(request: ExportLogsServiceRequest, name: str, received_ns: int) -> Iterator[_Said]:
    place = -1
    for resource_logs in request.resource_logs:
        resource: dict[str, object] | None = None
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                place += 1
                if record.event_name not in ("", name):
                    continue
                attributes = anyvalue.python_attributes(record.attributes)
                if not record.event_name and attributes.get("event.name") != name:
                    continue
                if resource is None:
                    resource = anyvalue.python_attributes(resource_logs.resource.attributes)
                times = (record.time_unix_nano, record.observed_time_unix_nano)
                yield _Said(
                    str(place),
                    _first_time(times, received_ns),
                    _id(record.trace_id),
                    _id(record.span_id),
                    attributes,
                    resource,
                )


def _span_events(request: ExportTraceServiceRequest, name: str, received_ns: int) -> Iterator[_Said]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                for place, event in enumerate(span.events):
                    if event.name == name:
                        yield _Said(
                            f"{span.span_id.hex()}-{place}",
                            _first_time((event.time_unix_nano,), received_ns),
                            _id(span.trace_id),
                            _id(span.span_id),
                            anyvalue.python_attributes(event.attributes),
                            {},
                        )


def _first_time(times: Iterable[int], otherwise: int) -> int:
    return next((time for time in times if 0 < time <= _LAST_NS), otherwise)


def _id(raw: bytes) -> str | None:
    return raw.hex() if raw.strip(b"\0") else None
