"""How the turns of a session went one by one: how long they took, whether they were cut off, what each retrieved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of, limit_of, limited
from tracekit_evaluators.judges.retrieval import precision_at, recall_at
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

_SECOND = 1e9
_CUT = ("turn.was_interrupted", "lk.interrupted", "interrupted", "was_interrupted")


@judge(subject="session", direction="minimize", needs=("session",), values="seconds ≥ 0")
def turn_latency(*, first: bool = False, max: float | None = None) -> Call:  # noqa: A002 - the word that one writes
    """Seconds that the user waited for an answer, on average over the turns of a session.

    Besides it says `turn_latency.worst`: the longest wait. Of the agent's answer in text; how long speech took to be
    made is in it where the trace's root covers that.

    Args:
        first: Whether the wait ends at the first chunk of the turn's last model call, where that is known.
        max: The longest wait that passes; without it nothing passes or fails.

    Raises:
        UsageError: `max` is no number.
    """
    limit = limit_of("turn_latency", max)

    def call(subject: Subject) -> dict[str, Score]:
        waits = [wait for wait in (_wait(trace, first=first) for trace in subject.turns) if wait is not None]
        if not waits:
            raise MissingInput("no turn of the session says how long it took")
        return {
            "turn_latency": Score(math.fsum(waits) / len(waits), explanation=f"{len(waits)} turns"),
            "turn_latency.worst": limited(_longest(waits), limit, "seconds"),
        }

    return call


def _longest(waits: Sequence[float]) -> float:
    return max(waits)


def _wait(trace: Trace, *, first: bool) -> float | None:
    if first and trace.model_calls and trace.model_calls[-1].ttft_ms is not None:
        last = trace.model_calls[-1]
        return (last.start_ns - trace.start_ns) / _SECOND + (last.ttft_ms or 0.0) / 1e3
    return None if trace.duration_ns is None else trace.duration_ns / _SECOND


@judge(subject="session", direction="minimize", needs=("session",), values="[0,1]")
def turn_interruptions() -> Call:
    """Share of the agent's turns that were cut off: the user's next turn began before the answer had ended.

    Told by the traces' times, by attributes of voice frameworks (`turn.was_interrupted`, `lk.interrupted`), and by
    events whose name says `interrupt`. Not applicable to a session of one turn that nothing says so of.
    """

    def call(subject: Subject) -> Score:
        turns = list(subject.turns)
        cut = [
            trace
            for trace, after in zip(turns, [*turns[1:], None], strict=True)
            if _marked(trace) or (after is not None and _overlaps(trace, after))
        ]
        if len(turns) < 2 and not cut:
            raise NotApplicable("the session has one turn, which nothing says was cut off")
        return Score(
            len(cut) / len(turns),
            explanation=f"{len(cut)} of {len(turns)} turns",
            evidence=[Evidence(None, trace.output[-200:]) for trace in cut[:10] if trace.output],
        )

    return call


def _overlaps(trace: Trace, after: Trace) -> bool:
    return trace.duration_ns is not None and after.start_ns < trace.start_ns + trace.duration_ns


def _marked(trace: Trace) -> bool:
    for span in trace.spans:
        if "interrupt" in str(span.row.get("attributes") or "") and any(
            span.attributes.get(key) in (True, "true", "True") for key in _CUT
        ):
            return True
        if "interrupt" in str(span.row.get("events") or "") and any(
            "interrupt" in str(event.get("name", "")).lower() for event in span.events
        ):
            return True
    return False


@judge(subject="session", needs=("documents", "expected.turn_documents"), values="[0,1] each")
def turn_retrieval(*, k: int | None = None) -> Call:
    """How much of what each turn needed was retrieved in it, by ids: recall, on average over the turns.

    Besides it says `turn_retrieval.worst`, the recall of the worst turn, and `turn_retrieval.precision`, on average
    over the turns that retrieved anything. A turn for which nothing is expected counts in neither.

    Args:
        k: How many documents of each turn count, at least 1; all when not given.

    Raises:
        UsageError: k is less than 1.
    """
    first = None if k is None else count_of("turn_retrieval", "k", k, at_least=1)

    def call(subject: Subject) -> dict[str, Score]:
        wanted = subject.expect("turn_documents")
        if not isinstance(wanted, (list, tuple)) or len(wanted) != len(subject.turns):
            told = len(wanted) if isinstance(wanted, (list, tuple)) else "no list"
            raise MissingInput(f"turn_documents needs a list of ids for each of {len(subject.turns)} turns, not {told}")
        pairs = [
            (_ids(trace)[:first], {as_text(each): 1.0 for each in stated})
            for trace, stated in zip(subject.turns, wanted, strict=True)
            if isinstance(stated, (list, tuple)) and stated
        ]
        if not pairs:
            raise NotApplicable("no turn is expected to retrieve anything")
        recalls = _each(recall_at, pairs)
        found = {
            "turn_retrieval": Score(_mean(recalls), explanation=", ".join(f"{each:.2f}" for each in recalls)),
            "turn_retrieval.worst": Score(min(recalls)),
        }
        precisions = _each(precision_at, [(ids, relevant) for ids, relevant in pairs if ids])
        return {**found, "turn_retrieval.precision": Score(_mean(precisions))} if precisions else found

    return call


_At = Callable[[Sequence[str], dict[str, float], int], float]


def _each(measure: _At, pairs: Sequence[tuple[list[str], dict[str, float]]]) -> list[float]:
    return [measure(ids, relevant, len(ids)) for ids, relevant in pairs]


def _ids(trace: Trace) -> list[str]:
    return list(dict.fromkeys(as_text(document.id) for document in trace.documents if document.id is not None))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
