"""Subjects of what another evaluation framework tells: inputs, outputs, expectations, and the spans that it saw."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit import attributes as names
from tracekit_collector import anyvalue
from tracekit_collector.rows import span_rows
from tracekit_collector.trace import assemble
from tracekit_evaluators.judge import Judge
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Case, Subject, as_text

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


def subject_of(
    given: object,
    answered: object,
    *,
    expected: Mapping[str, object] | None = None,
    case_id: str | None = None,
    spans: Sequence[Span] = (),
    seconds: float | None = None,
) -> Subject:
    """A subject of inputs and outputs, with the spans that were seen under a root of its own.

    Args:
        given: What the task was given; anything but a text is JSON.
        answered: What it answered; `None` where nothing is known.
        expected: Expectations by name.
        case_id: The case's name.
        spans: What was recorded, as OTLP's spans; those whose parent is not among them hang from the root.
        seconds: How long the task took; from the spans where not given.
    """
    trace_id = spans[0].trace_id if spans else os.urandom(16)
    request = ExportTraceServiceRequest()
    into = request.resource_spans.add().scope_spans.add().spans
    root = into.add(trace_id=trace_id, span_id=os.urandom(8), name="task")
    ends = [span.end_time_unix_nano for span in spans]
    root.start_time_unix_nano = min((span.start_time_unix_nano for span in spans), default=time.time_ns())
    took = int((seconds or 0.0) * 1e9)
    root.end_time_unix_nano = max([root.start_time_unix_nano + took, *ends])
    told = {names.STEP: "agent", names.INPUT: _text(given), names.OUTPUT: _text(answered), names.CASE: case_id}
    anyvalue.attributes_of(
        json.dumps({key: value for key, value in told.items() if value is not None}), root.attributes
    )
    there = {span.span_id for span in spans}
    for span in spans:
        copy = into.add()
        copy.CopyFrom(span)
        copy.trace_id = trace_id
        if copy.parent_span_id not in there:
            copy.parent_span_id = root.span_id
    rows, _ = span_rows(request, received_ns=time.time_ns())
    return Subject(assemble(rows), Case(case_id, None, dict(expected) if expected else None))


async def scores_of(judge: Judge, subject: Subject) -> dict[str, Score]:
    """A judge's scores of a subject; what the judge raises is raised."""
    verdict = judge(subject)
    return judge.scores(await verdict if inspect.isawaitable(verdict) else verdict)


def scores_now(judge: Judge, subject: Subject) -> dict[str, Score]:
    """The same for a caller that cannot wait, within an event loop or without one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_closing(judge, subject))
    done: list[Any] = []

    def work() -> None:
        try:
            done.append(asyncio.run(_closing(judge, subject)))
        except Exception as error:  # noqa: BLE001 - it is raised again where it was asked
            done.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(done[0], Exception):
        raise done[0]
    scores: dict[str, Score] = done[0]
    return scores


async def _closing(judge: Judge, subject: Subject) -> dict[str, Score]:
    try:
        return await scores_of(judge, subject)
    finally:
        close = getattr(judge.call, "aclose", None)
        if close is not None:
            await close()


def _text(value: object) -> str | None:
    dump = getattr(value, "model_dump", None)
    return None if value is None else as_text(dump(mode="json") if callable(dump) else value)
