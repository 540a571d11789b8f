"""Spans of the SDK's own class, begun and filled without what it does for attributes that may be anything.

The SDK checks each attribute's key and value and takes locks for them, which is half of what a span with a dozen
attributes costs. Ours are texts and numbers by the time they come here. A span that has others, and every span of a
provider of another make or of an SDK that looks different, the SDK begins itself. What comes out is the same either
way, and samplers and processors see what they would have seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, _Span
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes, AttributeValue

from tracekit._delivery import Relay
from tracekit._sampler import HeadSampler

_PLAIN = frozenset({str, int, float, bool})
_FLAGS = tuple(TraceFlags(number) for number in range(4))  # by whether sampled, and whether the id is random
_SAMPLED, _RANDOM = 1, 2


class StepTracer(trace.Tracer):
    """A provider's tracer whose spans with plain attributes begin sooner.

    Args:
        tracer: The provider's tracer.
        relay: Our processor in the provider.
    """

    def __init__(self, tracer: trace.Tracer, relay: Relay) -> None:
        self._tracer: Any = tracer
        self._relay = relay
        self._room = _room(tracer)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 - as above
    ) -> trace.Span:
        """A span that has begun, as the provider's tracer gives it."""
        tracer = self._tracer
        plain = (
            type(attributes) is dict
            and len(attributes) <= self._room
            and _PLAIN.issuperset(map(type, attributes.values()))
            and "" not in attributes
        )
        if not plain or links or not (record_exception and set_status_on_exception) or not tracer._is_enabled():  # noqa: SLF001 - as the module says
            found: trace.Span = tracer.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
            return found
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, random = parent.trace_id, parent.trace_flags & _RANDOM
        else:
            parent, ids = None, tracer.id_generator
            trace_id, random = ids.generate_trace_id(), _RANDOM * ids.is_trace_id_random()
        sampler = tracer.sampler
        if type(sampler) is HeadSampler:
            sampler = sampler.present
        sampled: Any = attributes
        if sampler is DEFAULT_ON and (parent is None or parent.trace_flags & _SAMPLED):
            decision, state = Decision.RECORD_AND_SAMPLE, None if parent is None else parent.trace_state
        else:
            result = sampler.should_sample(context, trace_id, name, kind, attributes, ())
            decision, state, sampled = result.decision, result.trace_state, result.attributes
        flags = _FLAGS[random | int(decision is Decision.RECORD_AND_SAMPLE)]
        place = SpanContext(trace_id, tracer.id_generator.generate_span_id(), False, flags, state)  # noqa: FBT003 - its third
        ended = tracer._tracer_metrics.start_span(parent, decision)  # noqa: SLF001
        if decision is Decision.DROP:
            return trace.NonRecordingSpan(place)
        span = _Span(
            name,
            place,
            parent,
            tracer.sampler,
            resource=tracer.resource,
            kind=kind,
            span_processor=tracer.span_processor,
            instrumentation_info=tracer.instrumentation_info,
            limits=tracer._span_limits,  # noqa: SLF001
            instrumentation_scope=tracer._instrumentation_scope,  # noqa: SLF001
            record_end_metrics=ended,
        )
        if sampled is attributes:
            span._attributes._dict.update(sampled)  # type: ignore[union-attr]  # noqa: SLF001 - seen to be plain above
        else:
            self.add(span, sampled or {})
        self._relay.begin(span, start_time, context)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:
        """As the provider's tracer does it."""
        with self._tracer.start_as_current_span(*args, **kwargs) as span:
            yield span

    def add(self, span: trace.Span, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes on a span, as its `set_attributes` does.

        Args:
            span: The span.
            attributes: By name.
        """
        if type(span) is _Span:
            bounded: Any = span._attributes  # noqa: SLF001 - as the module says
            known: dict[str, AttributeValue] = bounded._dict  # noqa: SLF001
            if (
                bounded.max_value_len is None
                and (bounded.maxlen is None or len(known) + len(attributes) <= bounded.maxlen)
                and _PLAIN.issuperset(map(type, attributes.values()))
                and known.keys().isdisjoint(attributes)  # the SDK puts what is set again at the end
                and "" not in attributes
            ):
                with span._lock:  # noqa: SLF001
                    if span._end_time is None:  # noqa: SLF001
                        known.update(attributes)
                        return
        span.set_attributes(attributes)


def _room(tracer: trace.Tracer) -> int:
    """How many attributes a span of the tracer may have to begin sooner; -1 for none of its spans."""
    if type(tracer) is not Tracer or not _is_known(tracer):
        return -1
    limits = tracer._span_limits  # noqa: SLF001 - as the module says
    most = limits.max_span_attributes
    if limits.max_span_attribute_length is not None:
        return -1
    return 1 << 30 if most is None else most


def _is_known(tracer: Tracer) -> bool:
    """Whether the SDK makes its spans of what we make them of."""
    wanted = {"name", "context", "parent", "sampler", "resource", "kind", "span_processor", "instrumentation_info"}
    wanted |= {"limits", "instrumentation_scope", "record_end_metrics"}
    facts = {"_is_enabled", "_tracer_metrics", "_span_limits", "_instrumentation_scope", "instrumentation_info"}
    return (
        wanted <= inspect.signature(_Span.__init__).parameters.keys()
        and all(hasattr(tracer, fact) for fact in facts)
        and hasattr(IdGenerator, "is_trace_id_random")
        and type(getattr(BoundedAttributes(), "_dict", None)) is dict
    )
