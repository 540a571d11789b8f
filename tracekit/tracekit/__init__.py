"""Tracing for agents on OpenTelemetry: decorators, spans by hand, sessions, scores, agent versions."""

from __future__ import annotations

__version__ = "0.1.0"

from tracekit._configuration import flush, init, shutdown
from tracekit._decorators import agent, embedding, llm, retriever, step, tool
from tracekit._identity import case, session
from tracekit._records import register_agent, score
from tracekit._spans import Span, current_span, span, trace_id

__all__ = [
    "Span",
    "agent",
    "case",
    "current_span",
    "embedding",
    "flush",
    "init",
    "llm",
    "register_agent",
    "retriever",
    "score",
    "session",
    "shutdown",
    "span",
    "step",
    "tool",
    "trace_id",
]
