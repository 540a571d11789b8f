"""Our tracer's spans are the provider's own, whichever way they are begun, filled and ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState

from tracekit._delivery import Relay
from tracekit._sampler import HeadSampler
from tracekit._tracer import StepTracer

PLAIN = st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans()
ANYTHING = PLAIN | st.none() | st.lists(st.text(), max_size=3) | st.binary(max_size=9)
NAMES = st.text(min_size=1, max_size=9)


class Ids(RandomIdGenerator):
    def __init__(self, *, random: bool) -> None:
        self._numbers = itertools.count(1)
        self._random = random

    def generate_span_id(self) -> int:
        return next(self._numbers)

    def generate_trace_id(self) -> int:
        return next(self._numbers)

    def is_trace_id_random(self) -> bool:
        return self._random


class Log(SpanProcessor):
    """Keeps what a processor is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.contexts: list[Context | None] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.told.append(("start", said(span)))
        self.contexts.append(parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        self.told.append(("end", said(span)))


class Queue:
    """Stands where a `Batch` does."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def put(self, row: Any) -> None:
        self.rows.append(row)


class Never(Sampler):
    """Records what it does not sample, and says more on it."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY, {"drawn": 0.25}, TraceState([("a", "b")]))

    def get_description(self) -> str:
        return "never"


def said(span: Any) -> dict[str, Any]:
    """All that a span says, its attributes in order."""
    return {
        "name": span.name,
        "context": tuple(span.get_span_context()),
        "parent": span.parent and tuple(span.parent),
        "kind": span.kind,
        "attributes": list(span.attributes.items()),
        "dropped": span.dropped_attributes,
        "times": (span.start_time, span.end_time),
        "status": span.status.status_code,
        "scope": span.instrumentation_scope,
        "resource": span.resource,
        "events": span.events,
        "links": span.links,
    }


def provider(random: bool = True, **settings: Any) -> tuple[TracerProvider, Log]:
    made, log = TracerProvider(id_generator=Ids(random=random), shutdown_on_exit=False, **settings), Log()
    made.add_span_processor(log)
    return made, log


def ours(made: TracerProvider) -> StepTracer:
    return StepTracer(made.get_tracer("s", "1"), Relay())


def both(make: Callable[[Any], object], **settings: Any) -> tuple[Any, Any]:
    """What processors are told by the SDK's tracer and by ours."""
    (theirs, first), (mine, second) = provider(**settings), provider(**settings)
    make(theirs.get_tracer("s", "1"))
    make(ours(mine))
    return first.told, second.told


@given(st.dictionaries(NAMES, PLAIN, max_size=20) | st.dictionaries(NAMES, ANYTHING, max_size=5), st.booleans())
def test_a_span_says_what_the_sdk_says(attributes: dict[str, Any], random: bool) -> None:
    def make(tracer: Any) -> None:
        with trace.use_span(tracer.start_span("a", Context(), SpanKind.CLIENT, attributes, start_time=5)) as root:
            inside = trace.set_span_in_context(root, Context())
            tracer.start_span("b", inside, SpanKind.INTERNAL, {"n": 1}, start_time=6).end(7)
        root.end(8)

    theirs, mine = both(make, random=random)
    assert mine == theirs
    assert [kind for kind, _ in mine] == ["start", "start", "end", "end"]


@pytest.mark.parametrize("flags", [TraceFlags(0), TraceFlags(1), TraceFlags(2), TraceFlags(3)], ids=str)
@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF, Never(), HeadSampler()], ids=["default", "off", "never", "ours"])
def test_a_remote_parent_and_every_sampler_are_followed(flags: TraceFlags, sampler: Sampler | None) -> None:
    parent = SpanContext(77, 88, is_remote=True, trace_flags=flags, trace_state=TraceState([("x", "y")]))
    above = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
    made: list[Any] = []

    def make(tracer: Any) -> None:
        span = tracer.start_span("a", above, attributes={"k": "v"}, start_time=5)
        made.append((tuple(span.get_span_context()), span.is_recording(), type(span)))
        span.end(6)

    theirs, mine = both(make, sampler=sampler)
    assert mine == theirs
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "limits",
    [
        SpanLimits(max_span_attributes=2),
        SpanLimits(max_span_attributes=0),
        SpanLimits(max_attribute_length=3),
        SpanLimits(max_span_attribute_length=2),
        SpanLimits(max_attributes=SpanLimits.UNSET),
    ],
    ids=["two", "none", "short", "shorter", "unset"],
)
def test_a_providers_limits_hold(limits: SpanLimits, caplog: pytest.LogCaptureFixture) -> None:
    def make(tracer: Any) -> None:
        span = tracer.start_span("a", Context(), attributes={"a": "long text", "b": 2, "c": "x"}, start_time=5)
        getattr(tracer, "add", lambda span, more: span.set_attributes(more))(span, {"d": "another", "e": 5})
        span.end(6)

    theirs, mine = both(make, span_limits=limits)
    assert mine == theirs


@given(
    st.dictionaries(NAMES, PLAIN, max_size=4),
    st.dictionaries(st.text(max_size=3), ANYTHING, max_size=4),
    st.booleans(),
)
def test_what_is_added_is_as_set_attributes_has_it(before: dict[str, Any], more: dict[str, Any], late: bool) -> None:
    """Names said again, an empty name, values that are no plain ones, and a span that has ended."""

    def make(tracer: Any) -> None:
        span = tracer.start_span("a", Context(), attributes=before, start_time=5)
        if late:
            span.end(6)
        getattr(tracer, "add", lambda span, more: span.set_attributes(more))(span, {**more, "a": 1})
        span.end(6)
        made.append(said(span))

    made: list[Any] = []
    theirs, mine = both(make)
    assert mine == theirs
    assert made[0] == made[1]


def test_the_mapping_that_was_given_stays_the_callers() -> None:
    given = {"a": 1}
    tracer = ours(provider()[0])
    span = tracer.start_span("a", attributes=given)
    tracer.add(span, {"b": 2})
    span.set_attribute("c", 3)
    given["d"] = 4
    assert said(span)["attributes"] == [("a", 1), ("b", 2), ("c", 3)]
    assert given == {"a": 1, "d": 4}


def test_links_and_current_spans_go_the_providers_way() -> None:
    made, _ = provider()
    tracer = ours(made)
    with tracer.start_as_current_span("a", attributes={"k": 1}) as root:
        assert trace.get_current_span() is root
    link = trace.Link(root.get_span_context(), {"why": "because"})
    span: Any = tracer.start_span("b", links=[link], attributes={"k": 1})
    assert [found.context for found in span.links] == [root.get_span_context()]


def test_a_tracer_that_is_switched_off_begins_nothing() -> None:
    made, log = provider()
    tracer: Any = made.get_tracer("s")
    tracer._tracer_config.is_enabled = False  # what a configurator does
    span = StepTracer(tracer, Relay()).start_span("a", attributes={"k": 1})
    assert not span.is_recording()
    assert log.told == []


class TestAlone:
    """Where ours is the provider's only processor, nobody else is told; a second one hears all from then on."""

    @pytest.fixture
    def queue(self) -> Queue:
        return Queue()

    @pytest.fixture
    def relay(self, queue: Queue) -> Relay:
        relay = Relay()
        relay.batch, relay.active = cast("Any", queue), True
        return relay

    @pytest.fixture
    def made(self, relay: Relay) -> TracerProvider:
        made = TracerProvider(id_generator=Ids(random=True), shutdown_on_exit=False)
        made.add_span_processor(relay)
        return made

    def test_a_span_is_queued_once_and_over(self, made: TracerProvider, relay: Relay, queue: Queue) -> None:
        span: Any = StepTracer(made.get_tracer("s"), relay).start_span("a", Context(), attributes={"k": "v"})
        relay.end(span, 9)
        span.end(11)
        relay.end(span, 12)
        span.set_attribute("late", 1)
        assert span.end_time == 9
        assert list(span.attributes) == ["k"]
        assert len(queue.rows) == 1
        assert queue.rows[0][-1] == "v"

    def test_one_with_events_waits_as_the_sdk_reads_it(self, made: TracerProvider, relay: Relay, queue: Queue) -> None:
        span: Any = StepTracer(made.get_tracer("s"), relay).start_span("a", Context())
        span.add_event("e", {"x": 1}, 4)
        relay.end(span, 9)
        (row,) = queue.rows
        assert type(row) is ReadableSpan
        assert [event.name for event in row.events] == ["e"]

    def test_one_that_is_not_sampled_is_not_queued(self, relay: Relay, queue: Queue) -> None:
        made = TracerProvider(Never(), shutdown_on_exit=False)
        made.add_span_processor(relay)
        span: Any = StepTracer(made.get_tracer("s"), relay).start_span("a", Context(), attributes={"k": "v"})
        relay.end(span, 9)
        assert span.end_time == 9
        assert queue.rows == []

    def test_a_processor_that_comes_between_hears_the_end(
        self, made: TracerProvider, relay: Relay, queue: Queue
    ) -> None:
        log = Log()
        span: Any = StepTracer(made.get_tracer("s"), relay).start_span("a", Context(), start_time=5)
        made.add_span_processor(log)
        relay.end(span, 9)
        assert [(kind, facts["times"]) for kind, facts in log.told] == [("end", (5, 9))]
        assert len(queue.rows) == 1

    def test_what_is_told_at_the_first_span_is_told(self, made: TracerProvider, relay: Relay) -> None:
        seen: list[str] = []
        relay.first = lambda span: seen.append(span.name)
        StepTracer(made.get_tracer("s"), relay).start_span("a", Context(), attributes={"k": "v"})
        assert seen == ["a"]
