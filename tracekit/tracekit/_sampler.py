"""The sampler of our own provider: it records also what it does not sample, so that it can be kept after all.

The flag in the trace context stays true to the draw, so services that are called follow it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, _get_from_env_or_default
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from tracekit import attributes as names
from tracekit.sampling import Sampling, drawn, root_of


class HeadSampler(Sampler):
    """Draws at the root and follows the parent elsewhere; the variables' sampler while there is no `sampling`."""

    def __init__(self) -> None:
        self.sampling: Sampling | None = None
        self._otherwise = _get_from_env_or_default()

    @property
    def present(self) -> Sampler:
        """What decides at present: this, or the variables' sampler."""
        return self._otherwise if self.sampling is None else self

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision for a span that is about to begin."""
        sampling = self.sampling
        if sampling is None:
            return self._otherwise.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            decision = Decision.RECORD_AND_SAMPLE if parent.trace_flags.sampled else Decision.RECORD_ONLY
            return SamplingResult(decision, attributes, parent.trace_state)
        rate = sampling.rate(root_of(name, attributes or {}))
        decision = Decision.RECORD_AND_SAMPLE if drawn(trace_id, rate) else Decision.RECORD_ONLY
        return SamplingResult(decision, {**(attributes or {}), names.SAMPLE_PROBABILITY: rate})

    def get_description(self) -> str:
        """What a log line says of it."""
        return self._otherwise.get_description() if self.sampling is None else "tracekit.HeadSampler"


def with_attributes(span: ReadableSpan, more: Mapping[str, Any]) -> ReadableSpan:
    """A copy of an ended span that says more."""
    before = span.attributes or {}
    merged = BoundedAttributes(attributes={**before, **more}, immutable=True)
    merged.dropped = span.dropped_attributes
    told = copy.copy(span)
    told._attributes = merged  # noqa: SLF001 - the SDK has no public way to copy a span
    return told
