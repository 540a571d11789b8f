"""Judges as evaluators of pydantic-evals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tracekit.errors import UsageError
from tracekit_collector import anyvalue
from tracekit_evaluators.adapters.subjects import scores_of, subject_of
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.score import NotApplicable, Score, Unscored
from tracekit_evaluators.subject import Subject

try:
    from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext
except ImportError:
    _WORDS = "the package pydantic-evals is not installed; pip install 'tracekit[pydantic-evals]'"
    raise UsageError(_WORDS) from None

_STATUSES = {"ok": Status.STATUS_CODE_OK, "error": Status.STATUS_CODE_ERROR}


@dataclass(repr=False)
class TracekitJudge(Evaluator):  # type: ignore[misc]  # where the package is not installed, its class is Any
    """A judge as an evaluator: bools become assertions, numbers scores, labels labels, each with its explanation.

    What has no verdict has no result where the question makes no sense, else it is a failure of the evaluator.

    Args:
        judge: A judge's spec, as `judge.load` takes it.
    """

    judge: Any

    def __post_init__(self) -> None:
        self._loaded: Judge = load(self.judge)

    def get_default_evaluation_name(self) -> str:
        """What the judge's scores are called."""
        return self._loaded.name

    def get_evaluator_version(self) -> str:
        """The judge's digest, of which the first 12 letters are enough to know it by."""
        return self._loaded.digest[:12]

    async def evaluate(self, ctx: EvaluatorContext) -> Any:
        """The judge's scores on a task's output.

        Raises:
            Unscored: It has no verdict; the message says why.
        """
        try:
            scores = await scores_of(self._loaded, context_subject(ctx))
        except NotApplicable:
            return {}
        told = {name: _reason(score) for name, score in scores.items() if score.status == "scored"}
        lost = [score for score in scores.values() if score.status not in ("scored", "not_applicable")]
        if lost and not told:
            raise Unscored(f"{self._loaded.name}: {lost[0].status}: {lost[0].explanation}")
        return told


def evaluator(judge: Any) -> TracekitJudge:
    """A judge as an evaluator of pydantic-evals.

    Args:
        judge: A judge's spec (`"rubric?criteria=…"`), a `Judge` or a function.

    Raises:
        PluginError: There is no such judge, or it does not take these parameters.
    """
    return TracekitJudge(judge)


def context_subject(ctx: EvaluatorContext) -> Subject:
    """What a context tells, as a subject: the expected output is the expectation `output`.

    A mapping `expected` in the case's metadata adds expectations by name.
    """
    expected: dict[str, object] = {} if ctx.expected_output is None else {"output": ctx.expected_output}
    more = ctx.metadata.get("expected") if isinstance(ctx.metadata, Mapping) else None
    if isinstance(more, Mapping):
        expected |= {str(key): value for key, value in more.items()}
    try:
        spans = [_span(node) for node in ctx.span_tree]
    except Exception:  # noqa: BLE001 - it says by raising that nothing was recorded
        spans = []
    return subject_of(
        ctx.inputs, ctx.output, expected=expected, case_id=ctx.name, spans=spans, seconds=ctx.duration or None
    )


def _span(node: Any) -> Span:
    span = Span(
        trace_id=node.trace_id.to_bytes(16, "big"),
        span_id=node.span_id.to_bytes(8, "big"),
        parent_span_id=b"" if node.parent_span_id is None else node.parent_span_id.to_bytes(8, "big"),
        name=node.name,
        start_time_unix_nano=_nanoseconds(node.start_timestamp),
        end_time_unix_nano=_nanoseconds(node.end_timestamp),
    )
    span.status.code = _STATUSES.get(getattr(node, "status", ""), Status.STATUS_CODE_UNSET)
    anyvalue.attributes_of(json.dumps(dict(node.attributes), default=str), span.attributes)
    return span


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000


def _reason(score: Score) -> Any:
    return EvaluationReason(value=score.value, reason=score.explanation)
