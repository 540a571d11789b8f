"""How many of the tool calls worked."""

from __future__ import annotations

from tracekit_evaluators.judge import judge
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.trajectory import is_error

_SHOWN = 10


@judge(needs=("tool calls",), values="[0,1]", version="2")
def tool_success(subject: Subject) -> Score:
    """Share of the tool calls that did not end in an error: 1 − failed / all.

    Failed is a call whose span says so, or whose result does (`{"error": …}`, `Error: …`). Passes when every call
    worked; not applicable where no tool was called. A call that a model asked for, of which nothing shows how it ended,
    does not count.

    Example:
        >>> tool_success.declared.values
        '[0,1]'
    """
    if not subject.tool_calls:
        raise NotApplicable("no tool was called")
    calls = [call for call in subject.tool_calls if call.status is not None]
    if not calls:
        raise MissingInput("the trace does not say how its tool calls ended")
    failed = [call for call in calls if call.status == "error" or is_error(call.result)]
    faults = [(call.span_id, (call.error or {}).get("message") or as_text(call.result)) for call in failed[:_SHOWN]]
    return Score(
        1 - len(failed) / len(calls),
        passed=not failed,
        explanation=f"{len(calls) - len(failed)} of {len(calls)} tool calls worked",
        evidence=[Evidence(span, text[:500]) for span, text in faults],
    )
