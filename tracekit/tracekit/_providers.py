"""Our own TracerProvider, which makes room for the one that somebody else sets after it.

OpenTelemetry lets the global provider be set once. Where ours was set first, the provider that the program itself sets
later would be refused, and its exporters would stay empty. So ours yields, once: theirs becomes the global one, we join
it, and what still holds a tracer of ours reaches their processors all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.util._once import Once

from tracekit import _guard
from tracekit._runtime import runtime


def offer(ours: TracerProvider) -> None:
    """Make our provider the global one, until somebody sets theirs.

    Args:
        ours: The provider.
    """
    trace.set_tracer_provider(ours)
    if trace.get_tracer_provider() is not ours:
        return  # somebody was quicker
    if isinstance(getattr(trace, "_TRACER_PROVIDER_SET_ONCE", None), Once):
        trace._TRACER_PROVIDER_SET_ONCE = _Yielding(ours)  # noqa: SLF001 - there is no other way to give way


class _Yielding(Once):
    """Lets the provider be set one more time.

    Args:
        ours: The provider that is set now.
    """

    def __init__(self, ours: TracerProvider) -> None:
        super().__init__()
        self._ours = ours

    def do_once(self, func: Callable[[], None]) -> bool:
        done = super().do_once(func)
        if done:
            try:
                _give_way(self._ours, trace.get_tracer_provider())
            except Exception:  # noqa: BLE001 - never into the code that sets its provider
                _guard.fault("joining the TracerProvider that was set after ours")
        return done


def _give_way(ours: TracerProvider, theirs: Any) -> None:
    if theirs is ours or not hasattr(theirs, "add_span_processor"):
        return
    if runtime.provider is ours and runtime.join is not None and runtime.tracer is not None:
        runtime.join(theirs)
    passing = _Passing(theirs)
    ours.add_span_processor(passing)


class _Passing(SpanProcessor):
    """Passes the spans of tracers that were made before on to their provider's processors.

    Our own processor in our provider is idle by then: the one in theirs gets these spans too.

    Args:
        theirs: The provider.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def _processor(self) -> Any:
        return getattr(self._theirs, "_active_span_processor", None)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        processor = self._processor()
        if processor is not None:
            processor.on_start(span, parent_context=parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        processor = self._processor()
        if processor is not None:
            processor.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        processor = self._processor()
        return processor is None or bool(processor.force_flush(timeout_millis))
