"""Traces of judging itself: one for each verdict that a model gave, linked to what was judged.

They go to the same store as any trace, under a root of the step `evaluator`, by which a run leaves them out when it
selects what to judge.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from tracekit import attributes as names
from tracekit._wire import SpanEncoder
from tracekit.errors import TracekitError
from tracekit.inbox import SegmentWriter
from tracekit.redaction import redactor
from tracekit_evaluators.models.chat import ChatModel, Completion, Request

if TYPE_CHECKING:
    from tracekit_evaluators.judge import Judge
    from tracekit_evaluators.subject import Subject

_AT_ONCE = 256
_LONGEST_TEXT = 16_000
_log = logging.getLogger("tracekit")


class JudgeTraces:
    """Records what judges ask models.

    Args:
        inbox: The store's `inbox` folder.
        run_id: The run that judges.
    """

    def __init__(self, inbox: Path, run_id: str) -> None:
        self._spans = _Spans(inbox)
        resource = Resource({names.SERVICE: "tracekit-evaluators", "service.namespace": "tracekit"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._spans)
        self._tracer = self._provider.get_tracer("tracekit.evaluators")
        self._run_id = run_id

    @contextlib.contextmanager
    def judging(self, judge: Judge, subject: Subject) -> Iterator[None]:
        """Everything inside belongs to one judge's verdict on one subject."""
        attributes: dict[str, str] = {
            names.STEP: "evaluator",
            names.SCORE_NAME: judge.name,
            names.RUN: self._run_id,
            "tracekit.judge.digest": judge.digest,
        }
        links = [trace.Link(_context_of(subject), {"tracekit.link": "judged"})]
        with self._tracer.start_as_current_span(
            f"judge {judge.name}", context=Context(), attributes=attributes, links=links
        ) as span:
            if subject.case.id is not None:
                span.set_attribute(names.CASE, subject.case.id)
            yield

    @contextlib.contextmanager
    def call(self, model: ChatModel, request: Request) -> Iterator[Callable[[Completion], None]]:
        """One call of a model; gives a function that takes its answer."""
        name = str(model.fingerprint.get("model", type(model).__name__))
        attributes = {
            names.STEP: "llm",
            names.OPERATION: "chat",
            names.REQUEST_MODEL: name,
            names.RUN: self._run_id,
            names.INPUT_MESSAGES: _messages(request.messages),
        }
        with self._tracer.start_as_current_span(f"chat {name}", attributes=attributes) as span:
            yield lambda answer: span.set_attributes(_said(answer))

    @contextlib.contextmanager
    def look(self, action: str, arguments: Mapping[str, object]) -> Iterator[Callable[[str], None]]:
        """One look of a judge at a trace; gives a function that takes what it saw."""
        attributes = {
            names.STEP: "tool",
            names.OPERATION: "execute_tool",
            names.TOOL_NAME: action,
            names.TOOL_ARGUMENTS: json.dumps(dict(arguments), ensure_ascii=False, default=str)[:_LONGEST_TEXT],
            names.RUN: self._run_id,
        }
        with self._tracer.start_as_current_span(f"look {action}", attributes=attributes) as span:
            yield lambda seen: span.set_attribute(names.TOOL_RESULT, _cut(seen))

    def close(self) -> None:
        """Write what is left."""
        self._provider.shutdown()
        self._spans.close()


class _Spans(SpanProcessor):
    """Ended spans, some hundreds at a time, into the inbox."""

    def __init__(self, inbox: Path) -> None:
        self._writer = SegmentWriter(inbox, "traces")
        self._encoder = SpanEncoder(redactor())
        self._ended: list[ReadableSpan] = []
        self._mutex = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        with self._mutex:
            self._ended.append(span)
            full = len(self._ended) >= _AT_ONCE
        if full:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        with self._mutex:
            ended, self._ended = self._ended, []
            if not ended:
                return
            try:
                self._writer.append(self._encoder.request(ended))
            except TracekitError as error:
                _log.warning("%d spans of judging are lost: %s", len(ended), error)


def _context_of(subject: Subject) -> trace.SpanContext:
    spans = subject.trace.spans
    span_id = subject.span.span_id if subject.span is not None else (spans[0].span_id if spans else "0" * 16)
    return trace.SpanContext(int(subject.trace.trace_id, 16), int(span_id, 16), is_remote=True)


def _messages(messages: object) -> str:
    shown = [
        {"role": each.get("role"), "parts": [{"type": "text", "content": _cut(str(each.get("content") or ""))}]}
        for each in (messages if isinstance(messages, (list, tuple)) else ())
        if isinstance(each, Mapping)
    ]
    return json.dumps(shown, ensure_ascii=False)


def _said(answer: Completion) -> dict[str, Any]:
    told: dict[str, object] = {
        names.OUTPUT_MESSAGES: _messages([{"role": "assistant", "content": answer.text}]),
        names.RESPONSE_MODEL: answer.model,
        names.INPUT_TOKENS: answer.input_tokens,
        names.OUTPUT_TOKENS: answer.output_tokens,
        names.CACHED_TOKENS: answer.cached_tokens,
        names.COST_USD: answer.cost_usd,
        "tracekit.attempts": answer.attempts,
    }
    found: dict[str, Any] = {key: value for key, value in told.items() if isinstance(value, (str, int, float))}
    if answer.finish_reason:
        found[names.FINISH_REASONS] = [answer.finish_reason]
    return found


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
