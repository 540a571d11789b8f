"""LangChain's runs as OpenTelemetry's current span, where OpenInference records them.

OpenInference's LangChain instrumentation does not make its spans current, so a span that is begun within a tool or a
node of a graph would lie beside the graph, or in a trace of its own. LangChain itself knows which run its code is
in: it is asked when somebody asks OpenTelemetry for the current context.
"""

from __future__ import annotations

import importlib
import sys
from contextvars import Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from tracekit import _guard


def make_current() -> None:
    """See to it, once, that code within a LangChain run has the run's span as its current one."""
    inner: Any = otel_context._RUNTIME_CONTEXT  # noqa: SLF001 - the one place to ask at
    if not isinstance(inner, _Runs):
        runs: Any = _Runs(inner)
        otel_context._RUNTIME_CONTEXT = runs  # noqa: SLF001 - as above


class _Runs:
    """The runtime context of before, which knows of LangChain's runs.

    Args:
        inner: The runtime context of before.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        recorded: Any = importlib.import_module("openinference.instrumentation.langchain")
        self._current = recorded.get_current_span
        self._ancestors = recorded.get_ancestor_spans

    def attach(self, context: Context) -> Token[Context]:
        """Make a context the current one."""
        token: Token[Context] = self._inner.attach(context)
        return token

    def detach(self, token: Token[Context]) -> None:
        """Go back to the context from before."""
        self._inner.detach(token)

    def get_current(self) -> Context:
        """The current context; its span is the present run's where no span was begun since the outermost run."""
        context: Context = self._inner.get_current()
        runnables: Any = sys.modules.get("langchain_core.runnables.config")
        if runnables is None:
            return context  # nothing of LangChain's can be running
        try:
            if runnables.var_child_runnable_config.get() is None:
                return context
            run = self._current()
            if run is None:
                return context
            outermost = next(reversed(self._ancestors()), run)
            around = getattr(outermost, "parent", None)
            here = trace.get_current_span(context).get_span_context()
            if here.span_id == (0 if around is None else around.span_id):
                return trace.set_span_in_context(run, context)
        except Exception:  # noqa: BLE001 - LangChain's insides change; the trace is flatter then
            _guard.fault("asking for LangChain's run")
        return context
