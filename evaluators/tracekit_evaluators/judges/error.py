"""Whether the agent failed."""

from __future__ import annotations

from tracekit_evaluators.judge import judge
from tracekit_evaluators.score import Evidence, Score
from tracekit_evaluators.subject import Subject


@judge(direction="minimize", values="{0,1}")
def error(subject: Subject) -> Score:
    """Whether the trace as a whole ended in an error; its rate is the error rate.

    An error that the agent got over is none of the whole.

    Example:
        >>> error.declared.direction
        'minimize'
    """
    trace = subject.trace
    if trace.status != "error":
        return Score(value=False)
    fault = trace.error or {}
    kind, message = fault.get("type"), fault.get("message")
    words = ": ".join(part for part in (kind, message) if part)
    evidence = [Evidence(fault.get("span_id"), message)] if message else []
    return Score(value=True, explanation=words or "the trace's status is error", evidence=evidence)
