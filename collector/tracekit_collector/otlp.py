"""Bodies of OTLP requests, protobuf or JSON, to checked protobuf requests.

A body that cannot be read is a `DecodeError` that says where. A span that cannot be kept, because it has no valid
id or does not fit its message, is left out and told of, and costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # generated without types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tracekit.errors import DecodeError
from tracekit_collector._otlp_bounds import MAX_ATTRIBUTES, check_json, check_protobuf, cut_item
from tracekit_collector._otlp_json import JsonReader, Misfit, parse_json
from tracekit_collector._otlp_wire import fault_in

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

Kind = Literal["traces", "logs", "metrics"]

_MEDIA = {PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF, JSON: JSON}
_LAST_NS = (1 << 63) - 1
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_TOLD = 5  # how many refusals a message spells out
_REMEMBERED = 100  # and how many are described at all
_GENAI = "gen_ai."


@dataclass(frozen=True)
class Refusal:
    """An item of a request that is not kept.

    Args:
        where: Which one: its place in the request, and its name if it has one.
        reason: Why, as one clause.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} {self.reason}"


@dataclass(frozen=True)
class Decoded:
    """A request that was read and checked.

    Args:
        kind: `traces`, `logs` or `metrics`.
        request: The request, without what was refused.
        payload: The same, serialized, as the inbox keeps it.
        items: How many spans, log records or metrics it holds.
        refusals: What was left out, and why; the first hundred.
        refused: How many were left out.
        cuts: What was kept but lost something, the first few.
    """

    kind: Kind
    request: Message
    payload: bytes
    items: int
    refusals: tuple[Refusal, ...] = ()
    refused: int = 0
    cuts: tuple[Refusal, ...] = ()

    @property
    def spans(self) -> int:
        """How many spans the request holds."""
        return self.items if self.kind == "traces" else 0

    @property
    def records(self) -> int:
        """How many log records the request holds."""
        return self.items if self.kind == "logs" else 0


@dataclass(frozen=True)
class _Signal:
    """How one kind of request is laid out."""

    kind: Kind
    request: Any  # protobuf message classes, whose fields are spoken to by name
    response: Any
    outer: str  # the request's only field, and its name in JSON
    outer_json: str
    scopes: str
    items: str
    noun: str
    rejected: str
    rejected_json: str
    reader: JsonReader


def _signal(kind: Kind, request: Any, response: Any, stem: str, items: str, noun: str, rejected: str) -> _Signal:
    scope = request.DESCRIPTOR.fields[0].message_type.fields_by_name[f"scope_{stem}"].message_type
    field = scope.fields_by_name[items]
    reader = JsonReader(request.DESCRIPTOR, lenient=frozenset({field.full_name}))
    camel = rejected.split("_")
    return _Signal(
        kind,
        request,
        response,
        f"resource_{stem}",
        f"resource{stem.title()}",
        f"scope_{stem}",
        items,
        noun,
        rejected,
        camel[0] + "".join(word.title() for word in camel[1:]),
        reader,
    )


_SIGNALS: dict[str, _Signal] = {
    signal.kind: signal
    for signal in (
        _signal(
            "traces", ExportTraceServiceRequest, ExportTraceServiceResponse, "spans", "spans", "span", "rejected_spans"
        ),
        _signal(
            "logs",
            ExportLogsServiceRequest,
            ExportLogsServiceResponse,
            "logs",
            "log_records",
            "log record",
            "rejected_log_records",
        ),
        _signal(
            "metrics",
            ExportMetricsServiceRequest,
            ExportMetricsServiceResponse,
            "metrics",
            "metrics",
            "metric",
            "rejected_data_points",
        ),
    )
}


def media_type(content_type: str) -> str | None:
    """`application/x-protobuf` or `application/json`, whatever parameters follow; `None` for any other.

    Example:
        >>> media_type("Application/JSON; charset=utf-8")
        'application/json'
    """
    return _MEDIA.get(content_type.partition(";")[0].strip().lower())


def decode_traces(body: bytes, content_type: str = PROTOBUF) -> Decoded:
    """Read the body of a traces request.

    Args:
        body: The body, with no content encoding left on it.
        content_type: Its `Content-Type`, with or without parameters.

    Returns:
        The request and its spans; those without valid ids or with an impossible start are left out and among the
        refusals.

    Raises:
        DecodeError: The body is no such request; the message says where it goes wrong.

    Example:
        >>> decode_traces(b'{"resourceSpans": []}', "application/json").spans
        0
    """
    return decode("traces", body, content_type)


def decode_logs(body: bytes, content_type: str = PROTOBUF) -> Decoded:
    """Read the body of a logs request, as `decode_traces` does; a record needs no trace id."""
    return decode("logs", body, content_type)


def decode(kind: Kind, body: bytes, content_type: str = PROTOBUF) -> Decoded:
    """Read the body of a request of one kind.

    Args:
        kind: `traces`, `logs` or `metrics`.
        body: The body, with no content encoding left on it.
        content_type: Its `Content-Type`, with or without parameters.

    Raises:
        TooLargeError: The body holds more values than a request may.
        DecodeError: The body is no such request; the message says where it goes wrong.
    """
    media = media_type(content_type)
    if media == JSON:
        check_json(body)
        return decode_json(kind, parse_json(body))
    if media != PROTOBUF:
        raise DecodeError(f"cannot read {content_type!r:.100}; send {PROTOBUF} or {JSON}")
    check_protobuf(body, _SIGNALS[kind].request.DESCRIPTOR)
    return _from_protobuf(_SIGNALS[kind], body)


def decode_json(kind: Kind, value: object) -> Decoded:
    """Read parsed JSON as a request of one kind.

    Args:
        kind: `traces`, `logs` or `metrics`.
        value: What `json.loads` gave.

    Raises:
        DecodeError: It is no such request; the message says where it goes wrong.
    """
    signal = _SIGNALS[kind]
    other = kind_of_json(value)
    if other is not None and other != kind:
        raise DecodeError(f"this is a {other} request, with {_SIGNALS[other].outer_json}; send it to /v1/{other}")
    arguments, misfits = signal.reader.read(value)
    try:
        request = signal.request(**arguments)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"this is no {kind} request: {error}") from None
    described = [_refused(signal, misfit) for misfit in misfits[:_REMEMBERED]]
    return _checked(signal, request, None, described, len(misfits))


def kind_of_json(value: object) -> Kind | None:
    """Which kind of request parsed JSON is, by its keys; `None` where it has none of them."""
    if isinstance(value, Mapping):
        for signal in _SIGNALS.values():
            if signal.outer_json in value or signal.outer in value:
                return signal.kind
    return None


def kind_of_protobuf(body: bytes, hint: Kind = "traces") -> Kind:
    """Which kind of request serialized protobuf is, by what is sound in it.

    The three kinds differ only in what stands three levels deep, so all of them may parse. What counts is how many
    of the items make sense: a span has ids of 16 and 8 bytes, a log record no field of the wrong type, a metric a
    name and data.

    Args:
        body: A serialized request.
        hint: What to say when nothing speaks for either.
    """
    order = [hint, *(kind for kind in _SIGNALS if kind != hint)]
    shares = {kind: _sound_share(_SIGNALS[kind], body) for kind in order}
    best = max(order, key=lambda kind: shares[kind])  # the first of equals: the hint
    return _SIGNALS[best].kind


def response_body(decoded: Decoded, media: str) -> bytes:
    """The body of the answer to a request that was kept: empty, or a partial success with the reasons.

    Args:
        decoded: The request.
        media: `application/x-protobuf` or `application/json`.
    """
    signal = _SIGNALS[decoded.kind]
    if not decoded.refused and not decoded.cuts:
        return b"{}" if media == JSON else b""
    count, message = decoded.refused, refusal_message(decoded)
    if media == JSON:
        return orjson.dumps({"partialSuccess": {signal.rejected_json: str(count), "errorMessage": message}})
    partial = {signal.rejected: count, "error_message": message}
    body: bytes = signal.response(partial_success=partial).SerializeToString()
    return body


def refusal_message(decoded: Decoded) -> str:
    """How many items of a request are not kept, or not whole, and why, the first few spelt out."""
    signal, count = _SIGNALS[decoded.kind], decoded.refused
    cuts = "; ".join(str(cut) for cut in decoded.cuts)
    if not count:
        return cuts
    told = "; ".join(str(refusal) for refusal in decoded.refusals[:_TOLD])
    more = f"; and {count - _TOLD} more" if count > _TOLD else ""
    return f"{count} of {count + decoded.items} {signal.noun}s refused: {told}{more}" + (f"; {cuts}" if cuts else "")


def genai_metrics(decoded: Decoded) -> bytes:
    """The GenAI metrics of a metrics request, those named `gen_ai.…`, serialized; empty where it has none.

    Args:
        decoded: A metrics request; its other metrics are taken out of it.
    """
    request: Any = decoded.request
    if not any(metric.name.startswith(_GENAI) for metric in _first_items(_SIGNALS["metrics"], request, decoded.items)):
        return b""
    for outer in request.resource_metrics:
        for scope in outer.scope_metrics:
            _keep_only(scope.metrics, [metric for metric in scope.metrics if metric.name.startswith(_GENAI)])
        _keep_only(outer.scope_metrics, [scope for scope in outer.scope_metrics if scope.metrics])
    _keep_only(request.resource_metrics, [outer for outer in request.resource_metrics if outer.scope_metrics])
    payload: bytes = request.SerializeToString()
    return payload


def serialized_again(decoded: Decoded) -> Decoded:
    """The same after its request was changed: its payload made, and its items counted, anew."""
    signal = _SIGNALS[decoded.kind]
    items = sum(
        len(getattr(scope, signal.items))
        for outer in getattr(decoded.request, signal.outer)
        for scope in getattr(outer, signal.scopes)
    )
    return replace(decoded, payload=decoded.request.SerializeToString(), items=items)


def _keep_only(found: Any, wanted: list[Any]) -> None:
    """Make a repeated field hold these of its own messages; deleting them one by one would move the rest each time."""
    if len(wanted) < len(found):
        copies = [type(each).FromString(each.SerializeToString()) for each in wanted]
        del found[:]
        found.extend(copies)


def status_body(code: int, message: str, media: str) -> bytes:
    """A `google.rpc.Status`, as OTLP/HTTP answers a request that failed.

    Args:
        code: The gRPC status code: 3 invalid argument, 8 resource exhausted, 14 unavailable, and so on.
        message: What was wrong and what to do.
        media: `application/x-protobuf` or `application/json`.
    """
    text = message.encode("utf-8", "replace").decode("utf-8")
    if media == JSON:
        return orjson.dumps({"code": code, "message": text})
    body: bytes = Status(code=code, message=text).SerializeToString()
    return body


def _from_protobuf(signal: _Signal, body: bytes) -> Decoded:
    try:
        request = signal.request.FromString(body)
    except ProtobufError:
        where = fault_in(body, signal.request.DESCRIPTOR)
        raise DecodeError(f"this is no {signal.kind} request in protobuf ({len(body)} bytes): {where}") from None
    if body and not getattr(request, signal.outer):
        raise DecodeError(
            f"this is no {signal.kind} request in protobuf ({len(body)} bytes): it holds no {signal.outer}"
        )
    return _checked(signal, request, body, [])


def _checked(
    signal: _Signal, request: Message, payload: bytes | None, refusals: list[Refusal], refused: int = 0
) -> Decoded:
    items = 0
    cuts: list[Refusal] = []
    may_be_long = payload is None or len(payload) > 2 * MAX_ATTRIBUTES  # an attribute has two bytes at least
    for outer in getattr(request, signal.outer):
        for scope in getattr(outer, signal.scopes):
            found = getattr(scope, signal.items)
            if signal.kind == "traces":
                bad = [(index, reason) for index, span in enumerate(found) if (reason := _why_no_span(span))]
                if bad:
                    room = max(0, _REMEMBERED - len(refusals))
                    refusals += [Refusal(_place("spans", i, found[i].name), reason) for i, reason in bad[:room]]
                    refused += len(bad)
                    gone = {index for index, _ in bad}
                    _keep_only(found, [span for index, span in enumerate(found) if index not in gone])
                    payload = None
            items += len(found)
            if may_be_long and signal.kind != "metrics" and (cut := _cut_long(signal, found)):
                cuts += cut
                payload = None
    if payload is None:
        payload = request.SerializeToString()
    return Decoded(signal.kind, request, payload, items, tuple(refusals), refused, tuple(cuts[:_TOLD]))


def _cut_long(signal: _Signal, found: Any) -> list[Refusal]:
    spans = signal.kind == "traces"
    return [
        Refusal(_place(signal.items, index, ""), cut)
        for index, item in enumerate(found)
        if (
            len(item.attributes) > MAX_ATTRIBUTES
            or (spans and (len(item.events) > MAX_ATTRIBUTES or len(item.links) > MAX_ATTRIBUTES))
        )
        and (cut := cut_item(item))
    ]


def _why_no_span(span: Any) -> str | None:
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) == 16 and len(span_id) == 8 and trace_id != _NO_TRACE and span_id != _NO_SPAN:
        # The lake's times are signed; what cannot be stored must not be acknowledged.
        start = span.start_time_unix_nano
        return f"starts at {start} ns, after the year 2262" if start > _LAST_NS else None
    if len(trace_id) != 16:
        return f"has a trace id of {len(trace_id)} bytes; it must have 16"
    if len(span_id) != 8:
        return f"has a span id of {len(span_id)} bytes; it must have 8"
    return f"has a {'span' if any(trace_id) else 'trace'} id of zeros only, which is none"


def _refused(signal: _Signal, misfit: Misfit) -> Refusal:
    name = misfit.item.get("name") if isinstance(misfit.item, dict) else None
    index, _, rest = misfit.where.removeprefix("[").partition("]")
    place = _place(signal.items, int(index), name if isinstance(name, str) else "")
    return Refusal(place, f"{rest} {misfit.reason}".strip(" ."))


def _place(items: str, index: int, name: str) -> str:
    return f"{items}[{index}]" + (f" {name[:80]!r}" if name else "")


def _sound_share(signal: _Signal, body: bytes) -> float:
    try:
        request = signal.request.FromString(body)
    except ProtobufError:
        return -1.0
    judged = [_SOUND[signal.kind](item) for item in _first_items(signal, request, 50)]
    return sum(judged) / len(judged) if judged else 0.0


def _first_items(signal: _Signal, request: Message, limit: int) -> Iterator[Any]:
    for outer in getattr(request, signal.outer):
        for scope in getattr(outer, signal.scopes):
            for item in getattr(scope, signal.items):
                if limit <= 0:
                    return
                limit -= 1
                yield item


def _is_record(record: Any) -> bool:
    known = LogRecord()
    known.CopyFrom(record)
    known.DiscardUnknownFields()
    return bool(record.ByteSize()) and known.ByteSize() == record.ByteSize() and len(record.trace_id) in (0, 16)


_SOUND: dict[str, Callable[[Any], bool]] = {
    "traces": lambda span: _why_no_span(span) is None,
    "logs": _is_record,
    "metrics": lambda metric: bool(metric.name) and metric.WhichOneof("data") is not None,
}
