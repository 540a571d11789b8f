"""What is written straight into bytes is what OpenTelemetry's own encoder and the redaction of messages make."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from tracekit import _wire
from tracekit._redacted import redact_request
from tracekit._wire import SpanEncoder, taken
from tracekit.redaction import Redactor, redactor

_texts = st.text(max_size=40) | st.sampled_from(
    ["", "x" * 3000, '{"password": "hunter2"}', "sk-proj-" + "a1B2" * 10, "[redacted: key password]"]
)
_plain = _texts | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False)
_lists = st.lists(_texts, max_size=3) | st.lists(st.integers(-5, 5), max_size=3) | st.lists(st.booleans(), max_size=2)
_keys = st.text(min_size=1, max_size=8) | st.sampled_from(["password", "input.value", "output.value", "api_key"])
_attributes = st.dictionaries(_keys, _plain | _lists, max_size=6)


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _span_of(draw: Any, provider: TracerProvider, scope: str) -> None:
    remote = SpanContext(7, 8, is_remote=draw(st.booleans()), trace_state=draw(_states))
    links = [Link(remote, draw(_attributes))] if draw(st.booleans()) else None
    parent: Any = _in(remote) if draw(st.booleans()) else None
    span = provider.get_tracer(scope, "1").start_span(
        draw(_texts), parent, draw(st.sampled_from(list(SpanKind))), draw(_attributes), links
    )
    assert isinstance(span, Span)
    if draw(st.booleans()):
        span.add_event(draw(_texts), draw(_attributes))
    code = draw(st.sampled_from(list(StatusCode)))
    span.set_status(Status(code, draw(_texts) if code is StatusCode.ERROR else None))
    span.end()


_states = st.just(TraceState()) | st.just(TraceState([("a", "b")]))


def _in(context: SpanContext) -> Any:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    sampled = SpanContext(
        context.trace_id, context.span_id, context.is_remote, TraceFlags(TraceFlags.SAMPLED), context.trace_state
    )
    return set_span_in_context(NonRecordingSpan(sampled))


@settings(deadline=None)  # what it takes the first time says more of the machine
@given(st.data(), st.sampled_from([None, "keys,secrets", "keys,patterns"]))
def test_the_bytes_say_what_the_sdks_encoder_says(data: st.DataObject, rules: str | None) -> None:
    kept = _Kept()
    for name in ("one", "two"):
        provider = TracerProvider(resource=Resource({"service.name": name, "password": "hunter2"}))
        provider.add_span_processor(kept)
        for _ in range(data.draw(st.integers(0, 3))):
            _span_of(data.draw, provider, data.draw(st.sampled_from(["a", "b"])))
    found = redactor(rules)
    encoder = SpanEncoder(found)
    for _ in range(2):  # the second time from what is remembered
        ours = ExportTraceServiceRequest.FromString(encoder.request([taken(span) for span in kept.spans]))
        assert _flat(ours) == _flat(_by_messages(kept.spans, found))


def _by_messages(spans: list[ReadableSpan], rules: Redactor | None) -> ExportTraceServiceRequest:
    request = encode_spans(spans)
    if rules is not None:
        redact_request(request, rules)
    return request


def _flat(request: ExportTraceServiceRequest) -> list[tuple[object, ...]]:
    """Every span with its resource and scope: how a request groups them says nothing."""
    found = []
    for outer in request.resource_spans:
        for inner in outer.scope_spans:
            for span in inner.spans:
                if not span.status.ByteSize():
                    span.ClearField("status")  # an empty one says as much as none
                found.append((str(outer.resource), str(inner.scope), inner.schema_url, str(span)))
    return sorted(found)


def test_half_a_character_costs_itself_and_not_the_span() -> None:
    kept = _Kept()
    provider = TracerProvider()
    provider.add_span_processor(kept)
    span = provider.get_tracer("a").start_span("caf\udce9")
    span.set_attribute("said", "a\ud800b")
    span.set_attribute("big", 1 << 80)
    span.end()
    request = ExportTraceServiceRequest.FromString(SpanEncoder(None).request([taken(each) for each in kept.spans]))
    (written,) = request.resource_spans[0].scope_spans[0].spans
    assert written.name == "caf?"
    assert [(pair.key, pair.value.string_value) for pair in written.attributes] == [
        ("said", "a?b"),
        ("big", "1208925819614629174706176"),
    ]


def test_a_users_rule_is_asked_each_time() -> None:
    """A function may say another thing about the same text later, so nothing of it is remembered."""
    asked: list[str] = []

    def rule(key: str, text: str) -> str:
        asked.append(key)
        return f"{text} {len(asked)}"

    kept = _Kept()
    provider = TracerProvider()
    provider.add_span_processor(kept)
    with provider.get_tracer("a").start_as_current_span("step", attributes={"said": "hello"}):
        pass
    encoder = SpanEncoder(Redactor([rule]))
    encoder.request([taken(span) for span in kept.spans])
    before = len(asked)
    again = ExportTraceServiceRequest.FromString(encoder.request([taken(span) for span in kept.spans]))
    (written,) = again.resource_spans[0].scope_spans[0].spans
    assert len(asked) > before
    assert written.attributes[0].value.string_value == f"hello {len(asked)}"


@pytest.mark.parametrize("limits", [SpanLimits(max_attributes=1), SpanLimits(max_events=0)])
def test_what_the_sdk_dropped_is_told(limits: SpanLimits) -> None:
    kept = _Kept()
    provider = TracerProvider(span_limits=limits)
    provider.add_span_processor(kept)
    with provider.get_tracer("a").start_as_current_span("step") as span:
        span.set_attributes({"one": 1, "two": 2})
        span.add_event("seen")
    request = ExportTraceServiceRequest.FromString(SpanEncoder(None).request([taken(each) for each in kept.spans]))
    assert _flat(request) == _flat(encode_spans(kept.spans))


def test_what_most_spans_say_is_remembered_within_bounds() -> None:
    kept = _Kept()
    provider = TracerProvider()
    provider.add_span_processor(kept)
    encoder = SpanEncoder(None)
    for number in range(6000):
        with provider.get_tracer("a").start_as_current_span("step", attributes={"said": f"{number} " + "x" * 400}):
            pass
        if len(kept.spans) == 500:
            encoder.request([taken(span) for span in kept.spans])
            kept.spans.clear()
    assert sum(map(len, encoder._attributes.values())) < 2 << 20


def test_what_waits_is_nothing_for_the_garbage_collector() -> None:
    kept = _Kept()
    provider = TracerProvider()
    provider.add_span_processor(kept)
    with provider.get_tracer("a").start_as_current_span("step", attributes={"said": "hello", "count": 2}):
        pass
    row = taken(kept.spans[0])
    gc.collect()
    assert not gc.is_tracked(row)
    assert row[-2:] == ("hello", 2)


def test_steps_beyond_those_that_are_numbered_go_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire, "_SHAPES", 0)
    monkeypatch.setattr(_wire, "_latest", {})
    kept = _Kept()
    provider = TracerProvider(resource=Resource({"service.name": "one"}))
    provider.add_span_processor(kept)
    tracer = provider.get_tracer("a")
    with tracer.start_as_current_span("root") as root:
        tracer.start_span("child", attributes={"said": "hello"}).end()
        root.set_status(Status(StatusCode.ERROR, "no"))
    rows = [taken(span) for span in kept.spans]
    assert rows[0][0] is provider.resource
    ours = ExportTraceServiceRequest.FromString(SpanEncoder(None).request(rows))
    assert _flat(ours) == _flat(encode_spans(kept.spans))


def test_a_row_with_a_link_says_what_the_sdks_encoder_says_of_such_a_span() -> None:
    kept = _Kept()
    provider = TracerProvider(resource=Resource({"service.name": "one"}))
    provider.add_span_processor(kept)
    told = {"kind": "judged", "password": "hunter2"}
    provider.get_tracer("a").start_span("s", links=[Link(SpanContext(7, 8, is_remote=True), told)]).end()
    provider.get_tracer("a").start_span("s").end()
    with_link, without = kept.spans
    row = list(taken(without))
    assert with_link.context is not None
    row[1:3] = with_link.context.trace_id, with_link.context.span_id
    row[6:8] = with_link.start_time, with_link.end_time
    found = redactor("keys,secrets")
    ours = ExportTraceServiceRequest.FromString(SpanEncoder(found).request([(*row, (7, 8, told))]))
    assert _flat(ours) == _flat(_by_messages([with_link], found))
    assert b"hunter2" not in ours.SerializeToString()
