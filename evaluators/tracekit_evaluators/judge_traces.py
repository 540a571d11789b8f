"""Traces of judging itself: one for each verdict that a model gave, linked to what was judged.

They go to the same store as any trace, under a root of the step `evaluator`, by which a run leaves them out when it
selects what to judge.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from tracekit import attributes as names
from tracekit._wire import SpanEncoder
from tracekit.errors import TracekitError
from tracekit.inbox import SegmentWriter
from tracekit.redaction import redactor
from tracekit_evaluators.models.chat import ChatModel, Completion, Message, Request

if TYPE_CHECKING:
    from tracekit_evaluators.judge import Judge
    from tracekit_evaluators.subject import Subject

_AT_ONCE = 256
_LONGEST_TEXT = 16_000
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_log = logging.getLogger("tracekit")
Link = tuple[int, int, dict[str, str]]


class JudgeTraces:
    """Records what judges ask models.

    Args:
        inbox: The store's `inbox` folder.
        run_id: The run that judges.
    """

    def __init__(self, inbox: Path, run_id: str) -> None:
        self._spans = _Spans(inbox)
        self._run_id = run_id

    @contextlib.contextmanager
    def judging(self, judge: Judge, subject: Subject) -> Iterator[None]:
        """Everything inside belongs to one judge's verdict on one subject."""
        attributes: dict[str, Any] = {
            names.STEP: "evaluator",
            names.SCORE_NAME: judge.name,
            names.RUN: self._run_id,
            "tracekit.judge.digest": judge.digest,
        }
        if subject.case.id is not None:
            attributes[names.CASE] = subject.case.id
        with self._spans.span(f"judge {judge.name}", attributes, _judged(subject)):
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
            **_told(request.messages),
        }
        with self._spans.span(f"chat {name}", attributes):
            yield lambda answer: attributes.update(_said(answer))

    @contextlib.contextmanager
    def scorer(self, name: str, package: str) -> Iterator[Callable[[Completion], None]]:
        """One question to another package's scorer, which asks its model out of sight.

        Gives a function that takes what it took, as far as the package tells; the model, the cost and the tokens stay
        unknown otherwise.
        """
        attributes: dict[str, Any] = {
            names.STEP: "llm",
            names.OPERATION: "chat",
            names.RUN: self._run_id,
            "tracekit.judge.package": package,
        }
        with self._spans.span(f"ask {name}", attributes):
            yield lambda took: attributes.update(_took(took))

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
        with self._spans.span(f"look {action}", attributes):
            yield lambda seen: attributes.__setitem__(names.TOOL_RESULT, _cut(seen))

    def close(self) -> None:
        """Write what is left."""
        self._spans.close()


class _Spans:
    """Ended spans, some hundreds at a time, into the inbox.

    They are rows of `tracekit._wire`, not spans of an SDK's provider: a run makes two for each verdict, and neither a
    program's sampler nor its processors are to see them. Inside, the span is OpenTelemetry's current one all the same.
    """

    def __init__(self, inbox: Path) -> None:
        self._writer = SegmentWriter(inbox, "traces")
        self._encoder = SpanEncoder(redactor())
        self._resource = Resource({names.SERVICE: "tracekit-evaluators", "service.namespace": "tracekit"})
        self._scope = InstrumentationScope("tracekit.evaluators")
        self._ended: list[Any] = []
        self._mutex = threading.Lock()
        self._random = random.Random(os.urandom(16))  # noqa: S311 - ids; whoever seeds `random` shall not repeat them

    @contextlib.contextmanager
    def span(self, name: str, attributes: dict[str, Any], judged: Link | None = None) -> Iterator[None]:
        """A span around the block, with what the attributes are at its end.

        Args:
            name: Its name.
            attributes: By name; may be changed inside.
            judged: What a root is linked to; a span without is a child of the current one.
        """
        parent = None if judged is not None else get_current_span().get_span_context()
        parent = parent if parent is not None and parent.is_valid else None
        trace_id = self._random.getrandbits(128) or 1 if parent is None else parent.trace_id
        own = SpanContext(trace_id, self._random.getrandbits(64) or 1, is_remote=False, trace_flags=_SAMPLED)
        token = attach(set_span_in_context(NonRecordingSpan(own), Context() if parent is None else None))
        began = time.time_ns()
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            fault = error
            raise
        finally:
            detach(token)
            end = time.time_ns()
            head = (self._resource, self._scope, own.trace_id, own.span_id, parent, name, SpanKind.INTERNAL)
            links = () if judged is None else (judged,)
            row: Any = (*head, began, end, attributes, None, *links)
            self._add(row if fault is None else self._failed(row, own, fault))

    def close(self) -> None:
        """Write what is left, and give the segment free."""
        self._write()
        self._writer.close()

    def _failed(self, row: Any, context: SpanContext, error: Exception) -> ReadableSpan:
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        told = {"exception.type": kind, "exception.message": str(error), "exception.escaped": "False"}
        told["exception.stacktrace"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return ReadableSpan(
            row[5],
            context,
            row[4],
            self._resource,
            row[9],
            [Event("exception", told, row[8])],
            kind=row[6],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"),
            start_time=row[7],
            end_time=row[8],
        )

    def _add(self, row: Any) -> None:
        with self._mutex:
            self._ended.append(row)
            full = len(self._ended) >= _AT_ONCE
        if full:
            self._write()

    def _write(self) -> None:
        with self._mutex:
            ended, self._ended = self._ended, []
            if not ended:
                return
            try:
                self._writer.append(self._encoder.request(ended))
            except TracekitError as error:
                _log.warning("%d spans of judging are lost: %s", len(ended), error)


def _judged(subject: Subject) -> Link:
    spans = subject.trace.spans
    span_id = subject.span.span_id if subject.span is not None else (spans[0].span_id if spans else "0" * 16)
    return int(subject.trace.trace_id, 16), int(span_id, 16), {"tracekit.link": "judged"}


def _told(messages: Sequence[Message]) -> dict[str, str]:
    """What a model was told: instructions, which are the same every time, apart from what was said after them."""
    if len(messages) < 2 or messages[0].get("role") != "system" or not isinstance(messages[0].get("content"), str):
        return {names.INPUT_MESSAGES: _messages(messages)}
    return {
        names.SYSTEM_INSTRUCTIONS: _instructions(messages[0]["content"]),
        names.INPUT_MESSAGES: _messages(messages[1:]),
    }


@lru_cache(maxsize=64)
def _instructions(text: str) -> str:
    return _encoded([{"type": "text", "content": _cut(text)}])


def _messages(messages: object) -> str:
    shown = [
        {"role": each.get("role"), "parts": [{"type": "text", "content": _cut(str(each.get("content") or ""))}]}
        for each in (messages if isinstance(messages, (list, tuple)) else ())
        if isinstance(each, Mapping)
    ]
    return _encoded(shown)


def _encoded(value: object) -> str:
    try:
        return orjson.dumps(value).decode("utf-8")  # a tenth of the time
    except TypeError:  # a lone surrogate
        return json.dumps(value, ensure_ascii=False)


def _said(answer: Completion) -> dict[str, Any]:
    found = {names.OUTPUT_MESSAGES: _messages([{"role": "assistant", "content": answer.text}]), **_took(answer)}
    found["tracekit.attempts"] = answer.attempts
    if answer.finish_reason:
        found[names.FINISH_REASONS] = [answer.finish_reason]
    return found


def _took(answer: Completion) -> dict[str, Any]:
    told: dict[str, object] = {
        names.RESPONSE_MODEL: answer.model,
        names.INPUT_TOKENS: answer.input_tokens,
        names.OUTPUT_TOKENS: answer.output_tokens,
        names.CACHED_TOKENS: answer.cached_tokens,
        names.COST_USD: answer.cost_usd,
    }
    return {key: value for key, value in told.items() if value is not None}


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
