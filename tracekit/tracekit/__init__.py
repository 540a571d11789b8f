"""Tracing for agents on OpenTelemetry: decorators, spans by hand, sessions, scores, agent versions."""

from __future__ import annotations

__version__ = "0.1.0"

from tracekit._attachments import Attachment
from tracekit._configuration import flush, init, shutdown
from tracekit._decorators import agent, embedding, llm, retriever, step, tool
from tracekit._definitions import tool_definition
from tracekit._identity import case, session
from tracekit._labels import metadata, tags
from tracekit._records import register_agent, score
from tracekit._spans import Span, current_span, span, trace_id
from tracekit.instrumentation import instrument
from tracekit.prompts import Prompt, prompt
from tracekit.propagation import carry, extract, inject
from tracekit.sampling import keep
from tracekit.tracking import Run, current_run, run

__all__ = [
    "Attachment",
    "Prompt",
    "Run",
    "Span",
    "agent",
    "carry",
    "case",
    "current_run",
    "current_span",
    "embedding",
    "extract",
    "flush",
    "init",
    "inject",
    "instrument",
    "keep",
    "llm",
    "metadata",
    "prompt",
    "register_agent",
    "retriever",
    "run",
    "score",
    "session",
    "shutdown",
    "span",
    "step",
    "tags",
    "tool",
    "tool_definition",
    "trace_id",
]
