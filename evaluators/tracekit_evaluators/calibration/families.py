"""Self-preference of a judge on stored traces: which answers its own family of models wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.labelled import Meeting
from tracekit_evaluators.calibration.probes import self_preference

if TYPE_CHECKING:
    from tracekit_collector.store import Store

OWN, OTHERS = "own", "others"


def self_preference_in(store: Store, meeting: Meeting, *, family: str) -> dict[str, object]:
    """By how much a judge scores answers of its own family higher than others that people value the same.

    Args:
        store: Where the traces are: the models that they name tell who wrote an answer.
        meeting: Verdicts and labels of the same traces.
        family: What the names of the family's models hold: `gpt`, `claude`, `qwen`. Upper and lower case are one.

    Returns:
        The difference as a metric, and in `own` and `others` the judge's score less people's.

    Raises:
        UsageError: Verdicts are words, or not both the family and others wrote.
    """
    if meeting.kind == "label":
        raise UsageError("self-preference is a matter of scores; these verdicts are words")
    items = [item for item in meeting.items if item.human is not None]
    query = (
        "SELECT trace_id, string_agg(DISTINCT coalesce(model, model_requested), ' ') FROM llm_calls "
        "WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY 1"
    )
    found = store.sql(query, [sorted({str(item.key[0]) for item in items})], settle=False).fetchall()
    models = {str(trace_id): str(names).casefold() for trace_id, names in found if names}
    named = [
        (float(item.judged), float(item.human or 0), OWN if family.casefold() in models[str(item.key[0])] else OTHERS)
        for item in items
        if str(item.key[0]) in models
    ]
    if len({each for _, _, each in named}) < 2:
        raise UsageError(f"of {len(named)} answers whose model is known, all or none are of the family {family!r}")
    difference, residuals = self_preference(named, own=OWN)
    return {"family": family, **difference.to_dict(), **residuals}
