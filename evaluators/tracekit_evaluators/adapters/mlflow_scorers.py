"""Judges as scorers of MLflow."""

from __future__ import annotations

import re
from typing import Any

from tracekit.errors import UsageError
from tracekit_evaluators.adapters.subjects import scores_now, subject_of
from tracekit_evaluators.judge import Judge, load
from tracekit_evaluators.score import Score, unscored
from tracekit_evaluators.subject import Subject

try:
    from mlflow.entities import AssessmentError, AssessmentSource, Feedback
    from mlflow.genai.scorers import scorer as mlflow_scorer
except ImportError:
    raise UsageError("the package mlflow is not installed; pip install 'tracekit[mlflow]'") from None

_OURS = {"expected_response": "output", "expected_facts": "facts"}


def scorer(judge: Any) -> Any:
    """A judge as a scorer for `mlflow.genai.evaluate`.

    Each score is a `Feedback` with its value, explanation and status; one without a verdict has an error and no value,
    and where the question makes no sense there is none.

    Args:
        judge: A judge's spec (`"rubric?criteria=…"`), a `Judge` or a function.

    Raises:
        PluginError: There is no such judge, or it does not take these parameters.
    """
    loaded = load(judge)

    def score(inputs: Any = None, outputs: Any = None, expectations: Any = None, trace: Any = None) -> Any:
        try:
            scores = scores_now(loaded, mlflow_subject(inputs, outputs, expectations, trace))
        except Exception as error:  # noqa: BLE001 - whatever a judge raises is a feedback with an error
            scores = {loaded.name: unscored(error)}
        return [_feedback(name, each, loaded) for name, each in scores.items() if each.status != "not_applicable"]

    return mlflow_scorer(name=re.sub(r"\W", "_", loaded.name))(score)


def mlflow_subject(inputs: object, outputs: object, expectations: object, trace: Any) -> Subject:
    """What MLflow tells a scorer, as a subject: `expected_response` is the expectation `output`."""
    told = expectations if isinstance(expectations, dict) else {}
    expected = {_OURS.get(str(key), str(key)): value for key, value in told.items()}
    spans = [span.to_otel_proto() for span in trace.data.spans] if trace is not None else []
    if isinstance(inputs, dict) and len(inputs) == 1:
        inputs = next(iter(inputs.values()))
    return subject_of(inputs, outputs, expected=expected, spans=spans)


def _feedback(name: str, score: Score, judge: Judge) -> Any:
    kind = "LLM_JUDGE" if judge.declared.source == "llm" else "CODE"
    told = {"status": score.status, "judge_digest": judge.digest, "cost_usd": score.cost_usd}
    lost = score.status != "scored"
    return Feedback(
        name=name,
        value=score.value,
        error=AssessmentError(error_code=score.status.upper(), error_message=score.explanation) if lost else None,
        rationale=None if lost else score.explanation,
        source=AssessmentSource(source_type=kind, source_id=judge.spec),
        metadata={key: str(value) for key, value in told.items() if value is not None},
    )
